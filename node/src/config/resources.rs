//! What the machine has to give out, and how it is given out at first.

use std::collections::BTreeMap;

use purser_events::Bytes;
use purser_events::ledger::capacity::{PortRange, SubnetRange};
use purser_events::ledger::policy::{CpuPlacement, GpuPlacement, Preemption, Preset};
use purser_events::ledger::{Amounts, CustomName, GpuDevice, GpuUuid, LedgerPolicy, Limits, ResourceKind};
use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::amount;

/// What the machine has that nothing measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Resources {
    /// Ports for pods that ask for a number of them, as in `30000-40000`.
    pub ports: String,
    /// Where pods' subnets of 256 addresses are taken from, as in `10.88.0.0/16`.
    pub subnets: String,
    /// What the operator counts, as in `"example.com/dongle" = 4`.
    pub custom: BTreeMap<String, u64>,
    /// GPUs that are given out without being looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
}

/// A GPU that is given out without being looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Gpu {
    /// Its name, as `nvidia-smi -L` shows it.
    pub uuid: String,
    /// What it is called.
    pub model: String,
    /// Its memory, as in `80Gi`.
    pub memory: String,
}

/// How resources are given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ResourcePolicy {
    /// Limits for processors, memory and disk to begin with.
    pub preset: PresetName,
    /// Nothing beyond what is there, and only to pods that say what they need.
    pub strict: bool,
    /// What happens to a pod for which there is no room now.
    pub when_full: WhenFullName,
    /// Which processors a pod gets that has them alone.
    pub cpu_placement: CpuPlacement,
    /// Which GPUs a pod gets.
    pub gpu_placement: GpuPlacement,
    /// Whether running pods make way for those with a higher priority.
    pub preemption: Preemption,
    /// Seconds that they have to end.
    pub preemption_grace_s: u32,
    /// Limits by resource; they replace the preset's.
    pub limits: BTreeMap<String, LimitsConfig>,
    /// Bounds of tenants that have none of their own, by resource.
    pub default_quota: BTreeMap<String, String>,
}

/// A set of limits by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresetName {
    /// All that is there, once.
    None,
    /// See [`Preset::Conservative`].
    Conservative,
    /// See [`Preset::Moderate`].
    Moderate,
    /// See [`Preset::Aggressive`].
    Aggressive,
}

/// What happens to a pod for which there is no room now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFullName {
    /// It waits.
    Wait,
    /// It is refused.
    Refuse,
}

/// Limits of one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LimitsConfig {
    /// Most that is used at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard: Option<String>,
    /// From here on the resource counts as degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft: Option<String>,
    /// How much is given out of what is there, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overcommit_percent: Option<u32>,
    /// What is kept for the system, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve_percent: Option<u32>,
}

impl Resources {
    /// The ports.
    pub(crate) fn ports(&self) -> Result<PortRange, ConfigError> {
        let wrong =
            || ConfigError::value("resources.ports", "must be two ports of 1 to 65535, as in 30000-40000");
        let (first, last) = self.ports.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong);
        let range = PortRange { first: number(first)?, last: number(last)? };
        if range.is_empty() { Err(wrong()) } else { Ok(range) }
    }

    /// The subnets.
    pub(crate) fn subnets(&self) -> Result<SubnetRange, ConfigError> {
        let wrong =
            || ConfigError::value("resources.subnets", "must be a network of /8 to /24, as in 10.88.0.0/16");
        let (address, prefix) = self.subnets.split_once('/').ok_or_else(wrong)?;
        let address: std::net::Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix =
            prefix.parse::<u32>().ok().filter(|prefix| (8..=24).contains(prefix)).ok_or_else(wrong)?;
        let host_bits = 32 - prefix;
        if u64::from(address.to_bits()) & ((1_u64 << host_bits) - 1) != 0 {
            return Err(ConfigError::value("resources.subnets", "must not have bits behind its prefix"));
        }
        let [a, b, c, _] = address.octets();
        Ok(SubnetRange { first: [a, b, c], count: 1 << (24 - prefix) })
    }

    /// What the operator counts.
    pub(crate) fn custom(&self) -> Result<BTreeMap<CustomName, u64>, ConfigError> {
        let of = |(name, count): (&String, &u64)| match CustomName::new(name) {
            Ok(custom) => Ok((custom, *count)),
            Err(_) => {
                let message = "must be named with a domain, as in example.com/dongle";
                Err(ConfigError::value(format!("resources.custom.\"{name}\""), message))
            }
        };
        self.custom.iter().map(of).collect()
    }

    /// The GPUs, in the order of their names.
    pub(crate) fn gpus(&self) -> Result<Vec<GpuDevice>, ConfigError> {
        let mut gpus = BTreeMap::new();
        for (index, gpu) in self.gpus.iter().enumerate() {
            let at = |field: &str| format!("resources.gpus[{index}].{field}");
            let uuid =
                GpuUuid::new(&gpu.uuid).map_err(|error| ConfigError::value(at("uuid"), error.to_string()))?;
            let memory = amount::read(&ResourceKind::GpuMemory, &gpu.memory)
                .map_err(|error| ConfigError::value(at("memory"), error.to_string()))?;
            let device = GpuDevice { uuid: uuid.clone(), model: gpu.model.clone(), memory: Bytes(memory) };
            if gpus.insert(uuid, device).is_some() {
                return Err(ConfigError::value(at("uuid"), "is given twice"));
            }
        }
        Ok(gpus.into_values().collect())
    }
}

impl ResourcePolicy {
    /// The policy as the journal holds it.
    pub(crate) fn in_force(&self) -> Result<LedgerPolicy, ConfigError> {
        let preset = match self.preset {
            PresetName::None => None,
            PresetName::Conservative => Some(Preset::Conservative),
            PresetName::Moderate => Some(Preset::Moderate),
            PresetName::Aggressive => Some(Preset::Aggressive),
        };
        let mut limits = preset.map(Preset::limits).unwrap_or_default();
        for (name, config) in &self.limits {
            let at = format!("policy.resources.limits.{name}");
            let (kind, config) = (kind(&at, name)?, config.read(&at, name)?);
            config.check(&kind).map_err(|error| ConfigError::value(at.clone(), error.to_string()))?;
            limits.insert(kind, config);
        }
        let quota = self.default_quota.iter().map(|(name, text)| {
            let at = format!("policy.resources.default-quota.{name}");
            let kind = kind(&at, name)?;
            let amount =
                amount::read(&kind, text).map_err(|error| ConfigError::value(at, error.to_string()))?;
            Ok((kind, amount))
        });
        Ok(LedgerPolicy {
            limits,
            cpu_placement: self.cpu_placement,
            gpu_placement: self.gpu_placement,
            strict: self.strict,
            refuse_when_full: self.when_full == WhenFullName::Refuse,
            preemption: self.preemption,
            preemption_grace_s: self.preemption_grace_s,
            default_quota: Amounts(quota.collect::<Result<_, ConfigError>>()?),
        })
    }
}

fn kind(at: &str, name: &str) -> Result<ResourceKind, ConfigError> {
    name.parse::<ResourceKind>().map_err(|error| ConfigError::value(at, error.to_string()))
}

impl LimitsConfig {
    fn read(&self, at: &str, name: &str) -> Result<Limits, ConfigError> {
        let kind = kind(at, name)?;
        let amount = |field: &str, text: &Option<String>| {
            let read = text.as_ref().map(|text| amount::read(&kind, text)).transpose();
            read.map_err(|error| ConfigError::value(format!("{at}.{field}"), error.to_string()))
        };
        let plain = Limits::default();
        Ok(Limits {
            hard: amount("hard", &self.hard)?,
            soft: amount("soft", &self.soft)?,
            overcommit_percent: self.overcommit_percent.unwrap_or(plain.overcommit_percent),
            reserve_percent: self.reserve_percent.unwrap_or(plain.reserve_percent),
        })
    }
}
