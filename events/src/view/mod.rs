//! Views: read-only folds over records.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::{Serialize, Serializer};

pub mod registry;
pub mod world;

pub use registry::{Entry, Registry, Tombstone};
pub use world::{Quarantine, World};

/// Maps whose keys are structures become maps with text keys, which is what JSON has.
fn by_text<K, V, S>(map: &BTreeMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
where
    K: Display,
    V: Serialize,
    S: Serializer,
{
    serializer.collect_map(map.iter().map(|(key, value)| (key.to_string(), value)))
}
