//! The numbers by which violations are seen and answered. The config says them at first; a change is an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kind::{Level, ViolationKind};

/// How violations are seen and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonitorPolicy {
    /// Time between two evaluations, in milliseconds: 1,000 to 300,000.
    pub interval_ms: u64,
    /// Percent of a pod's limit of processor time from which on it is a violation: 1 to 100.
    pub cpu_percent: u32,
    /// Percent of a pod's limit of memory from which on it is a violation: 1 to 100.
    pub memory_percent: u32,
    /// Percent of the time that a GPU is busy from which on it counts as contended and saturated: 1 to 100.
    pub gpu_percent: u32,
    /// Evaluations in a row that find a violation before it climbs a rung: 1 to 1,000.
    pub violations_max: u32,
    /// How long use over a share must last to be a violation, in milliseconds: at most 600,000.
    pub raise_ms: u64,
    /// How long use within a share must last to end one, in milliseconds: at most 600,000.
    pub clear_ms: u64,
    /// How long nothing is judged after a start, in milliseconds: at most 600,000.
    pub warm_up_ms: u64,
    /// How long after an episode a new one of the same kind begins higher up; each such time lowers it by a rung. In
    /// milliseconds: 1,000 to 86,400,000.
    pub cool_down_ms: u64,
    /// Time between two evictions from one GPU, in milliseconds: at most 3,600,000.
    pub eviction_gap_ms: u64,
    /// Seconds that an evicted pod has to end by itself: at most 3,600.
    pub eviction_grace_s: u32,
    /// Whether a pod may be evicted for its share of processors.
    pub strict: bool,
    /// Whether no process but those of pods has any business on this node's GPUs.
    pub exclusive_node: bool,
    /// Names of processes that may use GPUs and belong to no pod.
    pub allowed_processes: Vec<String>,
    /// The last rung of kinds that do not climb as far as they could.
    pub max_actions: BTreeMap<ViolationKind, Level>,
}

/// A number of a policy that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("`{field}` is {value}; it must be {wanted}")]
pub struct MonitorPolicyError {
    /// Which number.
    pub field: String,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub wanted: String,
}

/// Bytes of a process' name that Linux keeps.
const COMM_LEN_MAX: usize = 15;
/// Processes that may be named.
const ALLOWED_MAX: usize = 256;

impl Default for MonitorPolicy {
    /// Interval 5 s, thresholds 90, 85 and 95 percent, 3 in a row; times as in docs/violations.md.
    fn default() -> MonitorPolicy {
        let allowed = ["Xorg", "nvidia-persistenced", "nv-hostengine", "nvidia-cuda-mps-server", "purserd"];
        MonitorPolicy {
            interval_ms: 5_000,
            cpu_percent: 90,
            memory_percent: 85,
            gpu_percent: 95,
            violations_max: 3,
            raise_ms: 10_000,
            clear_ms: 10_000,
            warm_up_ms: 30_000,
            cool_down_ms: 300_000,
            eviction_gap_ms: 30_000,
            eviction_grace_s: 30,
            strict: false,
            exclusive_node: false,
            allowed_processes: allowed.map(str::to_owned).to_vec(),
            // Nothing of such a GPU is given out by its own health, until it has been fine for long enough; a cordon
            // waits for an operator, also where a driver was only loaded again.
            max_actions: BTreeMap::from([(ViolationKind::DeviceHealth, Level::Warn)]),
        }
    }
}

impl MonitorPolicy {
    /// The last rung that a kind climbs to.
    #[must_use]
    pub fn max_level(&self, kind: ViolationKind) -> Level {
        let own = kind.max_level(self.strict, self.exclusive_node);
        self.max_actions.get(&kind).map_or(own, |asked| own.min(*asked))
    }

    /// Whether a process that belongs to no pod may use GPUs. Linux keeps the first 15 bytes of a process' name.
    #[must_use]
    pub fn allows(&self, process: &str) -> bool {
        let is_cut = process.len() == COMM_LEN_MAX;
        let is_it = |allowed: &String| allowed == process || (is_cut && allowed.starts_with(process));
        self.allowed_processes.iter().any(is_it)
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first that cannot be.
    pub fn check(&self) -> Result<(), MonitorPolicyError> {
        let percents = [
            ("cpu-percent", self.cpu_percent),
            ("memory-percent", self.memory_percent),
            ("gpu-percent", self.gpu_percent),
        ];
        for (field, percent) in percents {
            within(field, u64::from(percent), 1, 100)?;
        }
        within("interval-ms", self.interval_ms, 1_000, 300_000)?;
        within("violations-max", u64::from(self.violations_max), 1, 1_000)?;
        within("raise-ms", self.raise_ms, 0, 600_000)?;
        within("clear-ms", self.clear_ms, 0, 600_000)?;
        within("warm-up-ms", self.warm_up_ms, 0, 600_000)?;
        within("cool-down-ms", self.cool_down_ms, 1_000, 86_400_000)?;
        within("eviction-gap-ms", self.eviction_gap_ms, 0, 3_600_000)?;
        within("eviction-grace-s", u64::from(self.eviction_grace_s), 0, 3_600)?;
        let refuse = |value: String, wanted: &str| MonitorPolicyError {
            field: "allowed-processes".to_owned(),
            value,
            wanted: wanted.to_owned(),
        };
        if self.allowed_processes.len() > ALLOWED_MAX {
            let wanted = format!("a list of at most {ALLOWED_MAX} names");
            return Err(refuse(format!("{} names long", self.allowed_processes.len()), &wanted));
        }
        let is_name = |name: &&String| (1..=64).contains(&name.len()) && !name.contains(char::is_control);
        match self.allowed_processes.iter().find(|name| !is_name(name)) {
            Some(name) => {
                Err(refuse(format!("{name:?}"), "names of 1 to 64 bytes without control characters"))
            }
            None => Ok(()),
        }
    }
}

fn within(field: &str, value: u64, min: u64, max: u64) -> Result<(), MonitorPolicyError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let (value, wanted) = (value.to_string(), format!("{min} to {max}"));
    Err(MonitorPolicyError { field: field.to_owned(), value, wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_cannot_be_is_named() {
        assert_eq!(MonitorPolicy::default().check(), Ok(()));
        let refused = |policy: MonitorPolicy| policy.check().unwrap_err().to_string();
        let policy = MonitorPolicy { gpu_percent: 101, ..MonitorPolicy::default() };
        assert_eq!(refused(policy), "`gpu-percent` is 101; it must be 1 to 100");
        let policy = MonitorPolicy { interval_ms: 0, ..MonitorPolicy::default() };
        assert_eq!(refused(policy), "`interval-ms` is 0; it must be 1000 to 300000");
        let policy = MonitorPolicy { allowed_processes: vec![String::new()], ..MonitorPolicy::default() };
        assert!(refused(policy).starts_with("`allowed-processes` is \"\""));
    }

    #[test]
    fn a_name_that_the_kernel_has_cut_is_known() {
        let policy = MonitorPolicy::default();
        assert!(policy.allows("nvidia-persiste") && policy.allows("nvidia-persistenced"));
        assert!(!policy.allows("nvidia") && !policy.allows("nvidia-persisto"));
    }

    #[test]
    fn a_policy_lowers_a_rung_and_never_raises_it() {
        let kind = ViolationKind::GpuMemoryOverQuota;
        let capped = |level| MonitorPolicy {
            max_actions: BTreeMap::from([(kind, level)]),
            ..MonitorPolicy::default()
        };
        assert_eq!(capped(Level::Warn).max_level(kind), Level::Warn);
        assert_eq!(capped(Level::Cordon).max_level(kind), Level::Evict);
    }
}
