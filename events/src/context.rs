//! What a decision may know beside the state and the command.

use serde::{Deserialize, Serialize};

use crate::gpu::GpuHealthPolicy;
use crate::units::Timestamp;

/// The circumstances of a decision. They are recorded with what follows from them, so a decision can be
/// made again later with the same outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The moment of the decision.
    pub now: Timestamp,
    /// The numbers in force, as the journal has them.
    pub policy: Policy,
    /// Whether the node refuses new pods, and why.
    pub cordoned: Option<String>,
}

/// Numbers that deciders use. The config sets the first policy; each change is an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// How long a container that ended, or could not be set up, waits for its next try.
    pub back_off: BackOffPolicy,
    /// When a GPU takes pods.
    #[serde(default)]
    pub gpus: GpuHealthPolicy,
}

/// Waits between the tries to run a container: as in kubelet, the first restart comes at once, then the wait
/// doubles from `first_ms` up to `max_ms`, and a container that ran for `reset_after_ms` starts over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackOffPolicy {
    /// The first wait that is not zero, in milliseconds.
    pub first_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_ms: u64,
    /// How long a container must have run for its waits to start over, in milliseconds.
    pub reset_after_ms: u64,
}

impl Default for BackOffPolicy {
    /// Kubelet's figures: 10 s doubling to 5 min, reset after 10 min.
    fn default() -> BackOffPolicy {
        BackOffPolicy { first_ms: 10_000, max_ms: 300_000, reset_after_ms: 600_000 }
    }
}

impl BackOffPolicy {
    /// The wait before restart number `step` in a row, from 0: none, first, twice the first, … up to the longest.
    #[must_use]
    pub fn restart_wait_ms(&self, step: u32) -> u64 {
        if step == 0 { 0 } else { self.retry_wait_ms(step - 1) }
    }

    /// The wait before retry number `step` in a row, from 0, of something that failed before it ran.
    #[must_use]
    pub fn retry_wait_ms(&self, step: u32) -> u64 {
        let factor = 1_u64.checked_shl(step.min(63)).unwrap_or(u64::MAX);
        self.first_ms.saturating_mul(factor).min(self.max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_ten_seconds_to_five_minutes() {
        let policy = BackOffPolicy::default();
        let waits: Vec<u64> = (0..9).map(|step| policy.restart_wait_ms(step) / 1_000).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(policy.restart_wait_ms(u32::MAX), 300_000);
    }
}
