//! What can be violated, and how far the answer goes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is violated.
///
/// On disk for ever: append a variant at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// A pod uses more of a GPU's processors than its share while others want them.
    GpuOverQuota,
    /// A pod uses more of a GPU's processors than its share while nobody else wants them.
    GpuOverQuotaIdle,
    /// A pod holds more of a GPU's memory than it was given.
    GpuMemoryOverQuota,
    /// A GPU is busy nearly all the time.
    GpuDeviceSaturated,
    /// A limited pod uses a GPU past the limiter. Needs the limiter, without which it is never raised.
    LimiterBypass,
    /// A process of a pod that is gone still uses a GPU.
    ZombieGpuProcess,
    /// A process of nobody that this node knows uses a GPU.
    UnknownProcess,
    /// Memory of a GPU is used, and by no process.
    OrphanMemory,
    /// A GPU is of no use: lost, faulty, or it does not answer.
    DeviceHealth,
    /// A GPU's hardware slows it for heat or for want of power.
    ThermalThrottle,
    /// A pod is close to its limit of processor time, or at it.
    CpuUsage,
    /// A pod is close to its limit of memory, or at it.
    MemoryUsage,
}

impl ViolationKind {
    /// Every kind.
    pub const ALL: [ViolationKind; 12] = [
        ViolationKind::GpuOverQuota,
        ViolationKind::GpuOverQuotaIdle,
        ViolationKind::GpuMemoryOverQuota,
        ViolationKind::GpuDeviceSaturated,
        ViolationKind::LimiterBypass,
        ViolationKind::ZombieGpuProcess,
        ViolationKind::UnknownProcess,
        ViolationKind::OrphanMemory,
        ViolationKind::DeviceHealth,
        ViolationKind::ThermalThrottle,
        ViolationKind::CpuUsage,
        ViolationKind::MemoryUsage,
    ];

    /// The word for it, as in the journal and in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ViolationKind::GpuOverQuota => "gpu_over_quota",
            ViolationKind::GpuOverQuotaIdle => "gpu_over_quota_idle",
            ViolationKind::GpuMemoryOverQuota => "gpu_memory_over_quota",
            ViolationKind::GpuDeviceSaturated => "gpu_device_saturated",
            ViolationKind::LimiterBypass => "limiter_bypass",
            ViolationKind::ZombieGpuProcess => "zombie_gpu_process",
            ViolationKind::UnknownProcess => "unknown_process",
            ViolationKind::OrphanMemory => "orphan_memory",
            ViolationKind::DeviceHealth => "device_health",
            ViolationKind::ThermalThrottle => "thermal_throttle",
            ViolationKind::CpuUsage => "cpu_usage",
            ViolationKind::MemoryUsage => "memory_usage",
        }
    }

    /// The kind that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<ViolationKind> {
        ViolationKind::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// What its figures count.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            ViolationKind::GpuOverQuota
            | ViolationKind::GpuOverQuotaIdle
            | ViolationKind::GpuDeviceSaturated
            | ViolationKind::CpuUsage
            | ViolationKind::MemoryUsage => Unit::Permille,
            ViolationKind::GpuMemoryOverQuota
            | ViolationKind::LimiterBypass
            | ViolationKind::OrphanMemory => Unit::Bytes,
            ViolationKind::ZombieGpuProcess | ViolationKind::UnknownProcess => Unit::Processes,
            ViolationKind::DeviceHealth | ViolationKind::ThermalThrottle => Unit::Flag,
        }
    }

    /// The last rung that it climbs to unless the policy says otherwise. `exclusive_node` is whether no process but
    /// those of pods has any business on this node's GPUs; `strict` whether a share of processors is worth an
    /// eviction.
    #[must_use]
    pub fn max_level(self, strict: bool, exclusive_node: bool) -> Level {
        match self {
            ViolationKind::GpuOverQuota if strict => Level::Evict,
            ViolationKind::GpuOverQuota => Level::Throttle,
            ViolationKind::GpuOverQuotaIdle => Level::Record,
            ViolationKind::GpuMemoryOverQuota | ViolationKind::LimiterBypass => Level::Evict,
            ViolationKind::ZombieGpuProcess | ViolationKind::OrphanMemory | ViolationKind::DeviceHealth => {
                Level::Cordon
            }
            ViolationKind::UnknownProcess if exclusive_node => Level::Evict,
            ViolationKind::UnknownProcess
            | ViolationKind::GpuDeviceSaturated
            | ViolationKind::ThermalThrottle
            | ViolationKind::CpuUsage
            | ViolationKind::MemoryUsage => Level::Warn,
        }
    }

    /// Whether it is a pod's alone, and not of a pod on a GPU.
    #[must_use]
    pub fn is_of_pod_alone(self) -> bool {
        matches!(self, ViolationKind::CpuUsage | ViolationKind::MemoryUsage)
    }
}

impl fmt::Display for ViolationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a figure of a violation counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of a GPU's time, or of a limit.
    Permille,
    /// Bytes of memory.
    Bytes,
    /// Processes.
    Processes,
    /// 1 if it is so.
    Flag,
}

impl Unit {
    /// A figure in words.
    #[must_use]
    pub fn show(self, figure: u64) -> String {
        match self {
            Unit::Permille => format!("{}.{} %", figure / 10, figure % 10),
            Unit::Bytes => format!("{} MiB", figure >> 20),
            Unit::Processes if figure == 1 => "1 process".to_owned(),
            Unit::Processes => format!("{figure} processes"),
            Unit::Flag => if figure == 0 { "no" } else { "yes" }.to_owned(),
        }
    }
}

/// A rung of the ladder: what is done about a violation.
///
/// On disk for ever: append a variant at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It is on record.
    #[default]
    Record,
    /// It is told.
    Warn,
    /// The pod is made slower.
    Throttle,
    /// The pod is stopped, or the process ended.
    Evict,
    /// The GPU takes no new pods.
    Cordon,
}

impl Level {
    /// Every rung, the lowest first.
    pub const ALL: [Level; 5] = [Level::Record, Level::Warn, Level::Throttle, Level::Evict, Level::Cordon];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Level::Record => "record",
            Level::Warn => "warn",
            Level::Throttle => "throttle",
            Level::Evict => "evict",
            Level::Cordon => "cordon",
        }
    }

    /// The rung above.
    #[must_use]
    pub fn next(self) -> Option<Level> {
        match self {
            Level::Record => Some(Level::Warn),
            Level::Warn => Some(Level::Throttle),
            Level::Throttle => Some(Level::Evict),
            Level::Evict => Some(Level::Cordon),
            Level::Cordon => None,
        }
    }

    /// This rung lowered by so many, and not below the lowest.
    #[must_use]
    pub fn lowered(self, rungs: u64) -> Level {
        let place = Level::ALL.iter().position(|level| *level == self).unwrap_or(0);
        let rungs = usize::try_from(rungs).unwrap_or(usize::MAX);
        Level::ALL.get(place.saturating_sub(rungs)).copied().unwrap_or_default()
    }

    /// Whether something outside is done for it.
    #[must_use]
    pub fn is_enforced(self) -> bool {
        matches!(self, Level::Throttle | Level::Evict | Level::Cordon)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_what_the_journal_has() {
        for kind in ViolationKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
            assert_eq!(ViolationKind::from_word(kind.word()), Some(kind));
        }
        for level in Level::ALL {
            assert_eq!(serde_json::to_value(level).unwrap(), level.word());
        }
    }

    #[test]
    fn rungs_are_climbed_one_by_one_and_lowered_to_the_first() {
        let mut level = Level::Record;
        let mut climbed = vec![level];
        while let Some(next) = level.next() {
            climbed.push(next);
            level = next;
        }
        assert_eq!(climbed, Level::ALL);
        assert_eq!(Level::Evict.lowered(1), Level::Throttle);
        assert_eq!(Level::Warn.lowered(7), Level::Record);
    }
}
