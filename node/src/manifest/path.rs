//! Places in a manifest, written as Kubernetes writes them: `spec.containers[0].env[2].name`.

use serde_json::{Map, Value};

/// Longest key that is shown whole, in characters.
const KEY_LEN_MAX: usize = 64;

/// A key as it is shown: one that comes from outside can be of any length and hold anything.
pub(crate) fn key(key: &str) -> String {
    let mut shown: String = key.chars().take(KEY_LEN_MAX).flat_map(char::escape_debug).collect();
    if key.chars().nth(KEY_LEN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// A step from a value to one inside it.
#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

/// A place in a manifest.
#[derive(Debug, Clone, Default)]
pub(super) struct Place(Vec<Step>);

impl Place {
    /// The place of a key of this map.
    pub(super) fn key(&self, key: &str) -> Place {
        self.then(Step::Key(key.to_owned()))
    }

    /// The place of an element of this list.
    pub(super) fn index(&self, index: usize) -> Place {
        self.then(Step::Index(index))
    }

    fn then(&self, step: Step) -> Place {
        Place(self.0.iter().cloned().chain([step]).collect())
    }

    /// The path, as in `spec.containers[0].resources.limits[example.com/gpu]`.
    pub(super) fn path(&self) -> String {
        self.0.iter().fold(String::new(), |mut path, step| {
            match step {
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Key(name) if !is_plain(name) && !path.is_empty() => {
                    path.push_str(&format!("[{}]", key(name)));
                }
                Step::Key(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&key(name));
                }
            }
            path
        })
    }

    /// The path with every index left out, as in `spec.containers[].name`.
    pub(super) fn pattern(&self) -> String {
        self.0.iter().fold(String::new(), |mut pattern, step| {
            match step {
                Step::Index(_) => pattern.push_str("[]"),
                Step::Key(name) => {
                    if !pattern.is_empty() {
                        pattern.push('.');
                    }
                    pattern.push_str(name);
                }
            }
            pattern
        })
    }

    /// A document that has nothing but `value`, at this place.
    pub(super) fn only(&self, value: Value) -> Value {
        self.0.iter().rev().fold(value, |inner, step| match step {
            Step::Key(name) => Value::Object(Map::from_iter([(name.clone(), inner)])),
            Step::Index(_) => Value::Array(vec![inner]),
        })
    }

    /// What a document made by [`Place::only`] has at this place.
    pub(super) fn is_in(&self, document: &Value) -> bool {
        let found = self.0.iter().try_fold(document, |value, step| match step {
            Step::Key(name) => value.get(name),
            Step::Index(_) => value.get(0),
        });
        found.is_some()
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
