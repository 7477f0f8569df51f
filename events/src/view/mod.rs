//! Views: read-only folds over records.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub mod history;
mod redacted;
pub mod registry;
pub mod violations;
pub mod world;

pub use history::{EndResult, Incarnation, PastContainer, PastExit};
pub use registry::{Entry, Registry, Tombstone};
pub use violations::ViolationHistory;
pub use world::{Quarantine, WORLD_LAYOUT, World};

/// Maps whose keys are structures become maps with text keys, which is what JSON has.
pub(crate) fn by_text<K, V, S>(map: &BTreeMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
where
    K: Display,
    V: Serialize,
    S: Serializer,
{
    serializer.collect_map(map.iter().map(|(key, value)| (key.to_string(), value)))
}

/// The way back from [`by_text`].
pub(crate) fn from_text<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    K: FromStr<Err: Display> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let entries = BTreeMap::<String, V>::deserialize(deserializer)?;
    let parse =
        |(key, value): (String, V)| key.parse().map(|key| (key, value)).map_err(serde::de::Error::custom);
    entries.into_iter().map(parse).collect()
}
