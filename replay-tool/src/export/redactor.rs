//! Replaces texts of payloads by numbers: the same text by the same number, in the order in which they come first.
//!
//! What stays is what no subject can choose: field names and words of the layouts, resources, uuids and times. All
//! other texts are replaced, also such as a later release records and this one has no word for.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::Timestamp;
use purser_events::ledger::ResourceKind;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::verb::schema::SHAPES;

/// Bytes of a text's hash by which it is known again: two texts that share them are not to be had.
const KNOWN_BY_LEN: usize = 16;

/// The version of uuids that are hashes of names, as those of pools, GPUs, workers and keys of requests are: whoever tries
/// names finds which.
const VERSION_OF_NAMES: usize = 8;

/// Numbers of texts so far: about 50 bytes a text.
pub(super) struct Redactor {
    words: BTreeSet<String>,
    numbers: BTreeMap<[u8; KNOWN_BY_LEN], u64>,
}

impl Default for Redactor {
    fn default() -> Redactor {
        let mut words: BTreeSet<String> =
            ResourceKind::KNOWN.iter().map(|kind| kind.word().to_owned()).collect();
        for (_, shape) in SHAPES {
            gather(&serde_json::from_str(shape).unwrap_or_default(), &mut words);
        }
        Redactor { words, numbers: BTreeMap::new() }
    }
}

/// The names of fields, variants and types.
fn gather(shape: &Value, words: &mut BTreeSet<String>) {
    match shape {
        Value::Object(parts) => {
            for (name, part) in parts {
                // Variants have numbers too, and a number may be what somebody chose.
                if name.starts_with(|char: char| char.is_ascii_alphabetic()) {
                    words.insert(name.clone());
                }
                gather(part, words);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, words)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Redactor {
    /// A value with its texts replaced, in keys too.
    pub(super) fn value(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.unless_plain(text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                let mut shown = Map::with_capacity(fields.len());
                for (name, field) in fields {
                    let name = self.unless_plain(name);
                    shown.insert(name, self.value(field));
                }
                Value::Object(shown)
            }
            value @ (Value::Null | Value::Bool(_) | Value::Number(_)) => value,
        }
    }

    /// What stands for a uuid: of one that was made of names one that says no more than a number does.
    pub(super) fn uuid(&mut self, uuid: Uuid) -> Uuid {
        if uuid.get_version_num() != VERSION_OF_NAMES {
            return uuid;
        }
        let number = self.number(&uuid.to_string());
        uuid::Builder::from_custom_bytes(u128::from(number).to_be_bytes()).into_uuid()
    }

    /// What stands for a text.
    pub(super) fn text(&mut self, text: &str) -> String {
        format!("redacted-{}", self.number(text))
    }

    fn number(&mut self, text: &str) -> u64 {
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let mut known_by = [0; KNOWN_BY_LEN];
        known_by.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        let next = self.numbers.len() as u64 + 1;
        *self.numbers.entry(known_by).or_insert(next)
    }

    fn unless_plain(&mut self, text: String) -> String {
        let is_plain = text.is_empty() || self.words.contains(&text) || text.parse::<Timestamp>().is_ok();
        match Uuid::try_parse(&text) {
            _ if is_plain => text,
            Ok(uuid) => self.uuid(uuid).to_string(),
            Err(_) => self.text(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_that_somebody_chose_are_replaced_and_all_else_stays() {
        let mut redactor = Redactor::default();
        let uid = "019a0000-0000-7000-8000-000000000002";
        let before = json!({
            "uid": uid, "spec": { "id": { "namespace": "prod", "name": "web" }, "labels": { "team": "web" },
            "restartPolicy": "Always" }, "at": "2026-03-01T12:00:05.500000Z", "cpu": 5, "kind": "gpu-memory",
            "passphrase": "prod", "args": ["5"],
        });
        let after = json!({
            "uid": uid, "spec": { "id": { "namespace": "redacted-1", "name": "redacted-2" },
            "labels": { "redacted-3": "redacted-2" }, "restartPolicy": "Always" },
            "at": "2026-03-01T12:00:05.500000Z", "cpu": 5, "kind": "gpu-memory", "redacted-4": "redacted-1", "args": ["redacted-5"],
        });
        assert_eq!(redactor.value(before), after);
        assert_eq!(redactor.text("web"), "redacted-2");
        let derived = purser_events::pool::PoolName::new("prod").unwrap().stream().id;
        let shown = redactor.value(json!([derived, derived, uid]));
        let stands_for = "00000000-0000-8000-8000-000000000006";
        assert_eq!(shown, json!([stands_for, stands_for, uid]), "names can be tried");
        assert_eq!(redactor.uuid(derived).to_string(), stands_for);
    }
}
