//! What a sample of a pod says: processor time and memory against its own limits.

use std::collections::BTreeSet;

use super::super::event::GapCause;
use super::super::kind::ViolationKind;
use super::super::policy::MonitorPolicy;
use super::look::{Condition, Seen};
use super::watch::Hold;
use crate::ids::PodUid;

/// Permille below a threshold at which a violation begins to end.
const HYSTERESIS: u64 = 50;

/// What a pod uses of what it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSample {
    /// Which.
    pub pod: PodUid,
    /// Processor time, in thousandths of its limit.
    pub cpu: Use,
    /// Memory, in thousandths of its limit.
    pub memory: Use,
}

/// What is used of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// There is no limit.
    Unlimited,
    /// It could not be read, or was read for the first time and says nothing yet.
    Unknown,
    /// So many thousandths.
    Permille(u64),
}

impl PodSample {
    /// Whose limits cannot be checked, and why.
    pub(super) fn missing(&self) -> (GapCause, BTreeSet<PodUid>) {
        let is_missing = [self.cpu, self.memory].contains(&Use::Unknown);
        (GapCause::NoFigures, is_missing.then_some(self.pod).into_iter().collect())
    }
}

/// What a sample says.
pub(super) fn see(sample: &PodSample, policy: &MonitorPolicy) -> Vec<Seen> {
    let condition = Condition { raise: Hold::ms(policy.raise_ms), clear: Hold::ms(policy.clear_ms) };
    let seen = |kind, used, percent: u32| {
        let value = match used {
            Use::Unlimited => return None,
            Use::Unknown => None,
            Use::Permille(value) => Some(value),
        };
        let limit = u64::from(percent) * 10;
        let bounds = (limit, limit.saturating_sub(HYSTERESIS));
        Some(Seen::figure((kind, Some(sample.pod)), value, limit, bounds, condition))
    };
    [
        seen(ViolationKind::CpuUsage, sample.cpu, policy.cpu_percent),
        seen(ViolationKind::MemoryUsage, sample.memory, policy.memory_percent),
    ]
    .into_iter()
    .flatten()
    .collect()
}
