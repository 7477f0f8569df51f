//! What is wrong with the specification of a pool.

use serde::{Deserialize, Serialize};

use super::freeze::DAY_MINUTES;
use super::spec::{AgentPolicy, PoolSpec, ScalingPolicy, TaskPolicy};
use crate::names::check_label;

/// A field of a pool's specification that cannot be, named as in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{field}: {reason}")]
pub struct PoolSpecError {
    /// Which field, as in `spec.scaling.minReplicas`.
    pub field: String,
    /// What is wrong with it, and what it must be.
    pub reason: String,
}

fn wrong(field: &str, reason: impl Into<String>) -> Result<(), PoolSpecError> {
    Err(PoolSpecError { field: format!("spec.{field}"), reason: reason.into() })
}

fn within(field: &str, value: u64, least: u64, most: u64) -> Result<(), PoolSpecError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        wrong(field, format!("must be from {least} to {most}, is {value}"))
    }
}

/// Shortest silence after which a pod may count as lost, in milliseconds: three heartbeats.
const OFFLINE_MS_MIN: u64 = 30_000;
/// Longest of all waits, in milliseconds: a day.
const WAIT_MS_MAX: u64 = 86_400_000;

impl PoolSpec {
    /// Checks all but the pod template, whose form its types ensure.
    ///
    /// # Errors
    /// Names the first field that cannot be.
    pub fn check(&self) -> Result<(), PoolSpecError> {
        if let Err(error) = check_label(&self.namespace) {
            return wrong("namespace", error.to_string());
        }
        if self.template.containers.is_empty() {
            return wrong("template.spec.containers", "must name at least one container");
        }
        within("slots.count", u64::from(self.slots.count), 1, 64)?;
        self.scaling.check()?;
        self.tasks.check()?;
        self.agents.check()?;
        within("references", self.references.len() as u64, 0, PoolSpec::REFERENCES_MAX as u64)?;
        for (index, reference) in self.references.iter().enumerate() {
            let field = format!("references[{index}].name");
            if let Err(error) = crate::names::check_subdomain(&reference.name) {
                return wrong(&field, error.to_string());
            }
            if self.references.iter().take(index).any(|other| other == reference) {
                return wrong(&field, format!("`{}` is named twice: leave one out", reference.name));
            }
        }
        Ok(())
    }
}

impl ScalingPolicy {
    fn check(&self) -> Result<(), PoolSpecError> {
        let (min, max) = (u64::from(self.min_replicas), u64::from(self.max_replicas));
        within("scaling.maxReplicas", max, 1, u64::from(ScalingPolicy::REPLICAS_MAX))?;
        if max < min {
            return wrong(
                "scaling.minReplicas",
                format!("must not be more than maxReplicas: {min} is more than {max}"),
            );
        }
        within("scaling.upAbovePermille", u64::from(self.up_above_permille), 1, 1_000)?;
        if self.up_above_permille <= self.down_below_permille {
            return wrong("scaling.downBelowPermille", "must be less than upAbovePermille");
        }
        within("scaling.upStableMs", self.up_stable_ms, 0, WAIT_MS_MAX)?;
        within("scaling.downStableMs", self.down_stable_ms, 0, WAIT_MS_MAX)?;
        within("scaling.maxUnavailable", u64::from(self.max_unavailable), 1, max.max(1))?;
        within("scaling.freezes", self.freezes.len() as u64, 0, ScalingPolicy::FREEZES_MAX as u64)?;
        for (index, window) in self.freezes.iter().enumerate() {
            let field = |name| format!("scaling.freezes[{index}].{name}");
            if window.days.is_empty() {
                return wrong(&field("days"), "must name at least one day, as in `mon`");
            }
            let last = u64::from(DAY_MINUTES) - 1;
            within(&field("fromMinute"), u64::from(window.from_minute), 0, last)?;
            within(&field("toMinute"), u64::from(window.to_minute), 0, u64::from(DAY_MINUTES))?;
            if window.from_minute == window.to_minute {
                return wrong(
                    &field("toMinute"),
                    "must not be the minute of the beginning; a whole day is 0 to 1440",
                );
            }
        }
        let zone = &self.time_zone;
        let is_plain = !zone.is_empty() && zone.len() <= 64 && !zone.chars().any(char::is_control);
        if is_plain { Ok(()) } else { wrong("scaling.timeZone", "must be a name as in `Europe/Paris`") }
    }
}

impl TaskPolicy {
    fn check(&self) -> Result<(), PoolSpecError> {
        within("tasks.attemptsMax", u64::from(self.attempts_max), 1, 100)?;
        within("tasks.backOff.maxMs", self.back_off.max_ms, self.back_off.first_ms, WAIT_MS_MAX)?;
        within("tasks.timeoutS", u64::from(self.timeout_s), 1, u64::from(TaskPolicy::TIMEOUT_S_MAX))?;
        within("tasks.reservationTtlS", u64::from(self.reservation_ttl_s), 1, 30 * 86_400)?;
        within("tasks.queueMax", u64::from(self.queue_max), 1, 100_000)?;
        within("tasks.keptMax", u64::from(self.kept_max), 0, 10_000)
    }
}

impl AgentPolicy {
    fn check(&self) -> Result<(), PoolSpecError> {
        within("agents.offlineAfterMs", self.offline_after_ms, OFFLINE_MS_MIN, WAIT_MS_MAX)?;
        within("agents.startWithinMs", self.start_within_ms, 10_000, WAIT_MS_MAX)?;
        within("agents.cancelGraceS", u64::from(self.cancel_grace_s), 0, 3_600)
    }
}
