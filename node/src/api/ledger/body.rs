//! Bodies of requests to the ledger, read strictly: an unknown field, or an amount that is none, is named.

use purser_events::ledger::ResourceKind;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::amount;
use crate::api::problem::{Problem, WrongField};

/// Most wrong fields of one body that are named.
const WRONG_MAX: usize = 16;
/// What stands in a path for a name that is wrong itself.
const UNKNOWN: &str = "?";

/// A field of a body that is wrong.
pub(super) fn wrong(path: impl Into<String>, message: impl ToString) -> WrongField {
    WrongField { path: path.into(), message: message.to_string() }
}

/// One wrong field as an answer.
pub(in crate::api) fn invalid(path: impl Into<String>, message: impl ToString) -> Problem {
    Problem::invalid([wrong(path, message)])
}

/// Reads an amount that is text, as in `1500m` or `64Mi`.
pub(super) fn amount_at(kind: &ResourceKind, path: &str, text: &str) -> Result<u64, WrongField> {
    amount::read(kind, text).map_err(|error| wrong(path, error))
}

/// Reads what is known in full by a type of the journal, whose fields that are absent have no default there.
///
/// # Errors
/// A field that is unknown, missing or wrong.
pub(in crate::api) fn strict<T: DeserializeOwned + Serialize + Default>(given: Value) -> Result<T, Problem> {
    let Ok(read) = T::deserialize(&given) else {
        return Err(Problem::invalid(every_wrong::<T>(given)));
    };
    let taken = serde_json::to_value(&read).unwrap_or_default();
    let foreign = first_beyond(&given, &taken, |_| true, &mut String::new());
    let absent = first_beyond(&taken, &given, |value| !value.is_null(), &mut String::new());
    match (foreign, absent) {
        (Some(path), _) => Err(invalid(path, "is no field of this")),
        (None, Some(path)) => Err(invalid(path, "is missing")),
        (None, None) => Ok(read),
    }
}

/// Every field that cannot be read, at most [`WRONG_MAX`]: each that is found gives way to its default, until all is well
/// or the same is found again.
fn every_wrong<T: DeserializeOwned + Serialize + Default>(mut given: Value) -> Vec<WrongField> {
    let plain = serde_json::to_value(T::default()).unwrap_or_default();
    let mut found: Vec<WrongField> = vec![];
    while let Some((at, message)) = first_wrong::<T>(&given).filter(|_| found.len() < WRONG_MAX) {
        let path = at.join(".");
        if found.iter().any(|known| known.path == path) {
            break;
        }
        take_out(&mut given, &at);
        // What has no default is missing then, and was found already.
        let is_missing = message.starts_with("missing field") && !found.is_empty();
        if !is_missing {
            found.push(wrong(path, message));
        }
        fill(&mut given, plain.clone());
    }
    found
}

/// The first field that cannot be read, and why.
fn first_wrong<T: DeserializeOwned>(given: &Value) -> Option<(Vec<String>, String)> {
    let error = serde_path_to_error::deserialize::<_, T>(given).err()?;
    let mut at: Vec<String> = error.path().iter().map(ToString::to_string).collect();
    let message = in_plain_words(&error.inner().to_string());
    while let Some(place) = at.iter().position(|field| field == UNKNOWN) {
        // A name in a map is not told if it is wrong, or none of a text's: without it, something else is wrong, or nothing.
        let before = at.get(..place).unwrap_or_default();
        let names = before.iter().try_fold(given, |value, field| value.get(field)).and_then(Value::as_object);
        let is_it = |name: &&String| {
            let mut without = given.clone();
            let path: Vec<String> = before.iter().cloned().chain([(*name).clone()]).collect();
            take_out(&mut without, &path);
            let next = serde_path_to_error::deserialize::<_, T>(&without).err();
            next.is_none_or(|next| next.to_string() != error.to_string())
        };
        match names.and_then(|names| names.keys().find(is_it)).cloned() {
            Some(name) => drop(at.splice(place..=place, [name])),
            None => at.truncate(place),
        };
    }
    Some((at, message))
}

/// Takes a field out of the objects that it is in.
fn take_out(given: &mut Value, at: &[String]) {
    let Some((last, before)) = at.split_last() else { return };
    let holder = before.iter().try_fold(given, |value, field| value.get_mut(field));
    if let Some(Value::Object(holder)) = holder {
        holder.remove(last);
    }
}

/// What a field was expected to be, in words that need no knowledge of the program.
fn in_plain_words(message: &str) -> String {
    let (begin, expected) = message.split_once("expected ").unwrap_or((message, ""));
    let plain = match expected {
        "" => return message.to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "a map" => "an object",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        object if object.starts_with("struct ") => "an object",
        other => other,
    };
    format!("{begin}expected {plain}")
}

/// The same with the fields of a default for those that are absent.
///
/// # Errors
/// A field that is unknown or wrong.
pub(super) fn completed<T: DeserializeOwned + Serialize + Default>(
    given: Map<String, Value>,
) -> Result<T, Problem> {
    let mut given = Value::Object(given);
    fill(&mut given, serde_json::to_value(T::default()).unwrap_or_default());
    strict(given)
}

/// Puts in what is absent, at every depth.
fn fill(given: &mut Value, plain: Value) {
    if let (Value::Object(given), Value::Object(plain)) = (given, plain) {
        for (field, value) in plain {
            match given.get_mut(&field) {
                Some(given) => fill(given, value),
                None => drop(given.insert(field, value)),
            }
        }
    }
}

/// The first field, at any depth, that one has and the other has not, of those whose value counts.
fn first_beyond(one: &Value, other: &Value, counts: fn(&Value) -> bool, path: &mut String) -> Option<String> {
    let (Value::Object(one), Value::Object(other)) = (one, other) else { return None };
    one.iter().find_map(|(field, value)| {
        let len = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(field);
        let found = match other.get(field) {
            Some(other) => first_beyond(value, other, counts, path),
            None => counts(value).then(|| path.clone()),
        };
        path.truncate(len);
        found
    })
}

/// Makes numbers of amounts that are written as text, in a map by resource; what is no map is left to be refused.
///
/// # Errors
/// Every amount and name that is wrong.
pub(super) fn read_amounts(path: &str, amounts: &mut Value) -> Result<(), Vec<WrongField>> {
    let Value::Object(amounts) = amounts else { return Ok(()) };
    let mut errors = vec![];
    for (name, value) in amounts {
        let at = format!("{path}.{name}");
        let kind: ResourceKind = match name.parse() {
            Ok(kind) => kind,
            Err(error) => {
                errors.push(wrong(at, error));
                continue;
            }
        };
        if let Value::String(text) = value {
            match amount_at(&kind, &at, text) {
                Ok(amount) => *value = amount.into(),
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use purser_events::ledger::{LedgerPolicy, Tenant};
    use serde_json::json;

    use super::*;

    fn first_wrong<T: std::fmt::Debug>(read: Result<T, Problem>) -> WrongField {
        read.unwrap_err().errors[0].clone()
    }

    #[test]
    fn fields_that_are_unknown_missing_or_wrong_are_named() {
        let policy = serde_json::to_value(LedgerPolicy::default()).unwrap();
        assert_eq!(strict::<LedgerPolicy>(policy.clone()).unwrap(), LedgerPolicy::default());
        let mut more = policy.clone();
        more["overcommit"] = json!(2);
        assert_eq!(first_wrong(strict::<LedgerPolicy>(more)).path, "overcommit");
        let mut less = policy;
        less.as_object_mut().unwrap().remove("strict");
        assert!(first_wrong(strict::<LedgerPolicy>(less)).message.contains("`strict`"));
        let mut less = serde_json::to_value(LedgerPolicy::default()).unwrap();
        less.as_object_mut().unwrap().remove("defaultRequests");
        assert_eq!(first_wrong(strict::<LedgerPolicy>(less)).path, "defaultRequests");
        let mut deep = Map::new();
        let rate = json!({ "count": 5, "per": "hour", "bust": 2 });
        deep.insert("requests".to_owned(), json!({ "rates": { "create": rate } }));
        assert_eq!(first_wrong(completed::<Tenant>(deep)).path, "requests.rates.create.bust");
    }

    #[test]
    fn everything_that_cannot_be_read_is_named_at_once() {
        let rates =
            json!({ "create": { "count": "many", "per": "hour" }, "creat": { "count": 1, "per": "hour" } });
        let body = json!({
            "alertPercent": -1, "namespaces": "ml", "requests": { "rates": rates, "concurrent": 1.5 },
        });
        let Value::Object(body) = body else { unreachable!("it is an object") };
        let problem = completed::<Tenant>(body).unwrap_err();
        let found: BTreeMap<&str, &str> =
            problem.errors.iter().map(|wrong| (&*wrong.path, &*wrong.message)).collect();
        let paths = BTreeSet::from([
            "alertPercent",
            "namespaces",
            "requests.concurrent",
            "requests.rates.creat",
            "requests.rates.create.count",
        ]);
        assert_eq!(found.keys().copied().collect::<BTreeSet<&str>>(), paths);
        assert!(found["alertPercent"].ends_with("expected a whole number from 0 on"), "{found:?}");
        assert!(found["namespaces"].ends_with("expected a list"), "{found:?}");
    }

    #[test]
    fn amounts_are_text_or_numbers() {
        let mut amounts = json!({ "cpu": "1500m", "memory": "1Gi", "pods": 3 });
        read_amounts("quota", &mut amounts).unwrap();
        assert_eq!(amounts, json!({ "cpu": 1_500, "memory": 1_u64 << 30, "pods": 3 }));
        let mut amounts = json!({ "cpu": "-1", "cores": 2, "memory": "1GB" });
        let errors = read_amounts("quota", &mut amounts).unwrap_err();
        // In the order of the body, or sorted: as the build's JSON keeps it.
        let paths: BTreeSet<&str> = errors.iter().map(|error| &*error.path).collect();
        assert_eq!(paths, BTreeSet::from(["quota.cores", "quota.cpu", "quota.memory"]));
    }
}
