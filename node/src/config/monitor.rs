//! How violations are seen and answered at first.

use std::collections::BTreeMap;

use purser_events::violation::{Level, MonitorPolicy, ViolationKind};
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// How violations are seen and answered. What each number means is said in [`MonitorPolicy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Monitor {
    /// Time between two evaluations.
    pub interval_ms: u64,
    /// Percent of a pod's limit of processor time from which on it is a violation.
    pub cpu_percent: u32,
    /// Percent of a pod's limit of memory from which on it is a violation.
    pub memory_percent: u32,
    /// Percent of the time that a GPU is busy from which on it is contended.
    pub gpu_percent: u32,
    /// Evaluations in a row before a violation climbs a rung.
    pub violations_max: u32,
    /// How long use over a share must last.
    pub raise_ms: u64,
    /// How long use within a share must last.
    pub clear_ms: u64,
    /// How long nothing is judged after a start.
    pub warm_up_ms: u64,
    /// How long a violation raises the next of its kind.
    pub cool_down_ms: u64,
    /// Time between two evictions from one GPU.
    pub eviction_gap_ms: u64,
    /// Seconds that an evicted pod has.
    pub eviction_grace_s: u32,
    /// Whether a pod may be evicted for its share of processors.
    pub strict: bool,
    /// Whether no process but those of pods has any business on GPUs.
    pub exclusive_node: bool,
    /// Processes that may use GPUs and belong to no pod.
    pub allowed_processes: Vec<String>,
    /// The last rung by kind.
    pub max_actions: BTreeMap<ViolationKind, Level>,
}

impl Monitor {
    /// The policy as the journal holds it.
    pub(crate) fn in_force(&self) -> Result<MonitorPolicy, ConfigError> {
        let policy = MonitorPolicy {
            interval_ms: self.interval_ms,
            cpu_percent: self.cpu_percent,
            memory_percent: self.memory_percent,
            gpu_percent: self.gpu_percent,
            violations_max: self.violations_max,
            raise_ms: self.raise_ms,
            clear_ms: self.clear_ms,
            warm_up_ms: self.warm_up_ms,
            cool_down_ms: self.cool_down_ms,
            eviction_gap_ms: self.eviction_gap_ms,
            eviction_grace_s: self.eviction_grace_s,
            strict: self.strict,
            exclusive_node: self.exclusive_node,
            allowed_processes: self.allowed_processes.clone(),
            max_actions: self.max_actions.clone(),
        };
        policy.check().map_err(|error| {
            let key = format!("policy.monitor.{}", error.field);
            ConfigError::value(key, format!("must be {}, is {}", error.wanted, error.value))
        })?;
        Ok(policy)
    }
}
