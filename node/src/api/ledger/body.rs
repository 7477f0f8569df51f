//! Bodies of requests to the ledger, read strictly: an unknown field, or an amount that is none, is named.

use purser_events::ledger::ResourceKind;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::amount;
use crate::api::problem::{Problem, WrongField};

/// A field of a body that is wrong.
pub(super) fn wrong(path: impl Into<String>, message: impl ToString) -> WrongField {
    WrongField { path: path.into(), message: message.to_string() }
}

/// One wrong field as an answer.
pub(super) fn invalid(path: impl Into<String>, message: impl ToString) -> Problem {
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
pub(super) fn strict<T: DeserializeOwned + Serialize>(given: Value) -> Result<T, Problem> {
    let read: T = serde_path_to_error::deserialize(&given)
        .map_err(|error| invalid(error.path().to_string(), error.inner()))?;
    let taken = serde_json::to_value(&read).unwrap_or_default();
    let foreign = first_beyond(&given, &taken, |_| true, &mut String::new());
    let absent = first_beyond(&taken, &given, |value| !value.is_null(), &mut String::new());
    match (foreign, absent) {
        (Some(path), _) => Err(invalid(path, "is no field of this")),
        (None, Some(path)) => Err(invalid(path, "is missing")),
        (None, None) => Ok(read),
    }
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
    use std::collections::BTreeSet;

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
