//! What the machine has to give out, and how it is given out at first.

use std::collections::BTreeMap;

use purser_events::Bytes;
use purser_events::ledger::capacity::{PortRange, SubnetRange};
use purser_events::ledger::policy::{
    CpuPlacement, GpuPlacement, LimitsError, PRIORITY_MAX, Preemption, Preset, is_priority_bound,
};
use purser_events::ledger::tenant::{Operation, Period, Rate, RequestLimits};
use purser_events::ledger::{Amounts, CustomName, GpuDevice, GpuUuid, LedgerPolicy, ResourceKind};
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::tiers::{Tier, built_in};
use crate::amount;
use crate::limits::Written;

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
    /// GPUs that are given out without being looked at; where there is a driver, what is said of those that it lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
    /// Sizes of containers by name, for `purser resize --tier`.
    #[serde(default = "built_in")]
    pub tiers: Vec<Tier>,
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
    /// How often tenants may ask that were not set.
    pub default_requests: RequestsConfig,
    /// The highest priority that pods may have of tenants that have no bound of their own.
    pub default_priority_max: i32,
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
    /// The soft limit in percent of the hard one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_percent: Option<u32>,
}

/// How often somebody may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RequestsConfig {
    /// Most requests under way at once; unbounded if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// Rates by operation; one that is absent is unbounded.
    pub rates: BTreeMap<String, RateConfig>,
}

/// So many in such a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RateConfig {
    /// How many, from 1.
    pub count: u32,
    /// In which time.
    pub per: Period,
    /// How many at once after a pause, from 1; `count` if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl RequestsConfig {
    /// The limits as the journal holds them.
    fn in_force(&self) -> Result<RequestLimits, ConfigError> {
        let rate = |(name, RateConfig { count, per, burst }): (&String, &RateConfig)| {
            let operation = Operation::ALL.into_iter().find(|operation| operation.word() == name);
            let unknown = || {
                let key = format!("policy.resources.default-requests.rates.{name}");
                ConfigError::value(key, "must be one of any, create, delete, change and read")
            };
            Ok((operation.ok_or_else(unknown)?, Rate { count: *count, per: *per, burst: *burst }))
        };
        let rates = self.rates.iter().map(rate).collect::<Result<_, ConfigError>>()?;
        let limits = RequestLimits { rates, concurrent: self.concurrent };
        let checked = limits.check("policy.resources.default-requests");
        checked.map_err(|error| ConfigError::value(error.field, error.message))?;
        Ok(limits)
    }
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
            let device = GpuDevice {
                uuid: uuid.clone(),
                model: gpu.model.clone(),
                memory: Bytes(memory),
                tflops: None,
            };
            if gpus.insert(uuid, device).is_some() {
                return Err(ConfigError::value(at("uuid"), "is given twice"));
            }
        }
        Ok(gpus.into_values().collect())
    }
}

impl ConfigError {
    /// A GPU of which the config says what the driver denies.
    pub(crate) fn of_gpu(resources: &Resources, gpu: &GpuUuid, reason: &str) -> ConfigError {
        let index = resources.gpus.iter().position(|named| named.uuid == gpu.as_str()).unwrap_or_default();
        ConfigError::value(format!("resources.gpus[{index}].memory"), reason)
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
            let kind = kind(&at, name)?;
            let wrong = |field: &str, message: String| ConfigError::value(format!("{at}.{field}"), message);
            let config = Written::from(config).read(&kind).map_err(|errors| {
                let (field, error) = errors.first();
                wrong(field, error.to_string())
            })?;
            config.check(&kind).map_err(|error| ConfigError::of_limits(&error))?;
            limits.insert(kind, config);
        }
        let quota = self.default_quota.iter().map(|(name, text)| {
            let at = format!("policy.resources.default-quota.{name}");
            let kind = kind(&at, name)?;
            let amount =
                amount::read(&kind, text).map_err(|error| ConfigError::value(at, error.to_string()))?;
            Ok((kind, amount))
        });
        if !is_priority_bound(self.default_priority_max) {
            let at = "policy.resources.default-priority-max";
            return Err(ConfigError::value(at, format!("must be from 0 to {PRIORITY_MAX}")));
        }
        Ok(LedgerPolicy {
            limits,
            cpu_placement: self.cpu_placement,
            gpu_placement: self.gpu_placement,
            strict: self.strict,
            refuse_when_full: self.when_full == WhenFullName::Refuse,
            preemption: self.preemption,
            preemption_grace_s: self.preemption_grace_s,
            default_quota: Amounts(quota.collect::<Result<_, ConfigError>>()?),
            default_requests: self.default_requests.in_force()?,
            default_priority_max: Some(self.default_priority_max),
        })
    }
}

fn kind(at: &str, name: &str) -> Result<ResourceKind, ConfigError> {
    name.parse::<ResourceKind>().map_err(|error| ConfigError::value(at, error.to_string()))
}

impl<'a> From<&'a LimitsConfig> for Written<'a> {
    fn from(config: &'a LimitsConfig) -> Written<'a> {
        let LimitsConfig { hard, soft, overcommit_percent, reserve_percent, soft_percent } = config;
        Written {
            hard: hard.as_deref(),
            soft: soft.as_deref(),
            overcommit_percent: *overcommit_percent,
            reserve_percent: *reserve_percent,
            soft_percent: *soft_percent,
        }
    }
}

impl ConfigError {
    /// Limits that cannot be put in force.
    pub(crate) fn of_limits(error: &LimitsError) -> ConfigError {
        let (kind, field) = error.place();
        let mut key = format!("policy.resources.limits.{kind}");
        if let Some(field) = field {
            key.push('.');
            for letter in field.chars() {
                // The config writes `soft-percent` where the API writes `softPercent`.
                if letter.is_ascii_uppercase() {
                    key.push('-');
                }
                key.push(letter.to_ascii_lowercase());
            }
        }
        ConfigError::value(key, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Result<LedgerPolicy, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("[policy.resources]\n{text}\n")).unwrap();
        let loaded = crate::config::load(Some(file.path()), &crate::config::Surroundings::default());
        loaded.and_then(|config| config.policy.resources.in_force()).map_err(|error| error.to_string())
    }

    #[test]
    fn how_often_others_may_ask_is_read_to_the_last_field() {
        let read = policy(
            "default-requests = { concurrent = 8, rates = { any = { count = 5, per = \"hour\", burst = 2 } } }",
        );
        let requests = read.unwrap().default_requests;
        let rate = Rate { count: 5, per: Period::Hour, burst: Some(2) };
        assert_eq!((requests.concurrent, requests.rates), (Some(8), [(Operation::Any, rate)].into()));
    }

    #[test]
    fn wrong_limits_are_named_to_the_field() {
        let cases = [
            ("limits.memory.hard = \"1GB\"", "`policy.resources.limits.memory.hard`"),
            ("limits.cpu.overcommit-percent = 99", "`policy.resources.limits.cpu.overcommit-percent`"),
            ("limits.cpu.soft-percent = 101", "`policy.resources.limits.cpu.soft-percent`"),
            ("limits.disk = { hard = \"1\", soft = \"2\" }", "`policy.resources.limits.disk.soft`"),
            ("limits.pods.hard = \"1\"", "`policy.resources.limits.pods`"),
            ("default-requests.concurrent = 0", "`policy.resources.default-requests.concurrent`"),
            (
                "default-requests.rates.read = { count = 0, per = \"hour\" }",
                "`policy.resources.default-requests.rates.read`",
            ),
            (
                "default-requests.rates.reed = { count = 1, per = \"hour\" }",
                "`policy.resources.default-requests.rates.reed`",
            ),
            (
                "default-requests.rates.read = { count = 1, per = \"hour\", bust = 1 }",
                "`policy.resources.default-requests.rates.read.bust`",
            ),
        ];
        for (text, key) in cases {
            let told = policy(text).unwrap_err();
            assert!(told.contains(key), "{text}: {told}");
        }
    }
}
