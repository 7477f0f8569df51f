//! A state as a list of fields, each with its path and value, so that two states can be compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::render;

/// Values by their path. What is empty is a value too.
pub(crate) type Fields = BTreeMap<String, Value>;

/// Every field of a state.
pub(crate) fn of(state: &Value) -> Fields {
    let mut fields = Fields::new();
    gather(String::new(), state, &mut fields);
    fields
}

fn gather(path: String, value: &Value, fields: &mut Fields) {
    match value {
        Value::Object(parts) if !parts.is_empty() => {
            for (name, part) in parts {
                let dot = if path.is_empty() { "" } else { "." };
                gather(format!("{path}{dot}{}", quoted(name)), part, fields);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let numbered =
                || items.iter().enumerate().map(|(number, item)| (number.to_string(), item)).collect();
            for (key, item) in keys(items).unwrap_or_else(numbered) {
                gather(format!("{path}[{key}]"), item, fields);
            }
        }
        value => {
            fields.insert(path, value.clone());
        }
    }
}

/// A name as a condition has it.
fn quoted(name: &str) -> String {
    let plain = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-');
    if !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", render::safe(name))
    }
}

/// Items by what names them, so that one which is put in front does not make all others differ: items with a `name`,
/// or pairs of a key and a value.
fn keys(items: &[Value]) -> Option<Vec<(String, &Value)>> {
    let keyed: Vec<(String, &Value)> = items.iter().map(key).collect::<Option<_>>()?;
    let distinct: BTreeSet<&String> = keyed.iter().map(|(key, _)| key).collect();
    (distinct.len() == keyed.len()).then_some(keyed)
}

fn key(item: &Value) -> Option<(String, &Value)> {
    match item {
        Value::Object(parts) => {
            let name = parts.get("name")?.as_str()?;
            Some((format!("\"{}\"", render::safe(name)), item))
        }
        Value::Array(pair) => match pair.as_slice() {
            [key, value] => Some((render::compact(key), value)),
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_told_apart_by_what_names_them() {
        let state = json!({
            "containers": [{ "name": "main", "up": true }], "holdings": [[{ "Pod": 1 }, { "cpu": 5 }]],
            "ports": [80, 443], "labels": { "a.b/c": "d" }, "execs": {}, "alerts": [["a", "cpu"], ["a", "disk"]],
        });
        let told: Vec<String> = of(&state).iter().map(|(path, value)| format!("{path} = {value}")).collect();
        let wanted = [
            "alerts[0][0] = \"a\"",
            "alerts[0][1] = \"cpu\"",
            "alerts[1][0] = \"a\"",
            "alerts[1][1] = \"disk\"",
            "containers[\"main\"].name = \"main\"",
            "containers[\"main\"].up = true",
            "execs = {}",
            "holdings[{\"Pod\":1}].cpu = 5",
            "labels.\"a.b/c\" = \"d\"",
            "ports[0] = 80",
            "ports[1] = 443",
        ];
        assert_eq!(told, wanted);
    }
}
