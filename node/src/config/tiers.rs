//! Tiers: sizes of containers by name.

use std::collections::BTreeMap;

use purser_events::ledger::ResourceKind;
use purser_events::{Bytes, MilliCpu};
use serde::{Deserialize, Serialize};

use super::{ConfigError, Resources};
use crate::amount;

/// Longest name of a tier, in bytes.
const NAME_LEN_MAX: usize = 63;

/// A size by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Processor time, as in `500m`.
    pub cpu: String,
    /// Memory, as in `1Gi`.
    pub memory: String,
}

/// Processor time and memory of a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierSize {
    /// Processor time.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
}

/// The tiers where the config names none.
pub(super) fn built_in() -> Vec<Tier> {
    let of = |(name, cpu, memory): (&str, &str, &str)| Tier {
        name: name.to_owned(),
        cpu: cpu.to_owned(),
        memory: memory.to_owned(),
    };
    let known = [
        ("dev.small", "500m", "1Gi"),
        ("dev.medium", "1", "2Gi"),
        ("dev.large", "2", "4Gi"),
        ("dev.xlarge", "4", "8Gi"),
    ];
    known.map(of).to_vec()
}

impl Resources {
    /// The tiers by name.
    pub(crate) fn tiers(&self) -> Result<BTreeMap<String, TierSize>, ConfigError> {
        let mut tiers = BTreeMap::new();
        for (index, tier) in self.tiers.iter().enumerate() {
            let wrong = |field: &str, message: String| {
                ConfigError::value(format!("resources.tiers[{index}].{field}"), message)
            };
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if tier.name.is_empty() || NAME_LEN_MAX < tier.name.len() || !tier.name.bytes().all(letter) {
                let message = format!("must be 1 to {NAME_LEN_MAX} letters, digits, `-`, `_` and `.`");
                return Err(wrong("name", message));
            }
            let read = |field: &str, kind: ResourceKind, text: &str| match amount::read(&kind, text) {
                Ok(0) => Err(wrong(field, "must be more than 0".to_owned())),
                Ok(amount) => Ok(amount),
                Err(error) => Err(wrong(field, error.to_string())),
            };
            let cpu = MilliCpu(read("cpu", ResourceKind::Cpu, &tier.cpu)?);
            let memory = Bytes(read("memory", ResourceKind::Memory, &tier.memory)?);
            if tiers.insert(tier.name.clone(), TierSize { cpu, memory }).is_some() {
                return Err(wrong("name", "is given twice".to_owned()));
            }
        }
        Ok(tiers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers(text: &str) -> Result<BTreeMap<String, TierSize>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let loaded = crate::config::load(Some(file.path()), &crate::config::Surroundings::default());
        loaded.and_then(|config| config.resources.tiers()).map_err(|error| error.to_string())
    }

    #[test]
    fn tiers_are_replaced_as_a_whole() {
        let small = TierSize { cpu: MilliCpu(500), memory: Bytes(1 << 30) };
        assert_eq!((tiers("").unwrap().len(), tiers("").unwrap()["dev.small"]), (4, small));
        let own = tiers("[[resources.tiers]]\nname = \"big\"\ncpu = \"8\"\nmemory = \"64Gi\"\n").unwrap();
        assert_eq!(own.into_keys().collect::<Vec<_>>(), ["big"]);
    }

    #[test]
    fn wrong_tiers_are_named_to_the_field() {
        let tier = |name: &str, cpu: &str, memory: &str| {
            format!("[[resources.tiers]]\nname = \"{name}\"\ncpu = \"{cpu}\"\nmemory = \"{memory}\"\n")
        };
        let cases = [
            (tier("", "1", "1Gi"), "`resources.tiers[0].name`"),
            (tier("a b", "1", "1Gi"), "`resources.tiers[0].name`"),
            (tier("a", "0", "1Gi"), "`resources.tiers[0].cpu`"),
            (tier("a", "1", "1GB"), "`resources.tiers[0].memory`"),
            (tier("a", "1", "1Gi") + &tier("a", "1", "1Gi"), "`resources.tiers[1].name`"),
        ];
        for (text, key) in cases {
            let told = tiers(&text).unwrap_err();
            assert!(told.contains(key), "{text}: {told}");
        }
    }
}
