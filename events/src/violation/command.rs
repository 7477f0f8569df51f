//! What may be asked about violations, and why it may be refused.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::{GapCause, Outcome};
use super::kind::{Level, ViolationKind};
use super::policy::MonitorPolicy;
use crate::ids::PodUid;
use crate::units::Timestamp;

/// A request about the violations of one GPU or pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViolationCommand {
    /// Put a violation on record. Nothing happens if it is already.
    Open {
        /// The episode to be.
        id: Uuid,
        /// What is violated.
        kind: ViolationKind,
        /// Who does it.
        pod: Option<PodUid>,
        /// What was seen, in the unit of the kind.
        value: u64,
        /// What is allowed.
        limit: u64,
        /// What was seen, in words.
        evidence: String,
        /// How long an episode raises the next, in milliseconds: [`MonitorPolicy::cool_down_ms`].
        cool_down_ms: u64,
        /// The last rung of the kind.
        max: Level,
    },
    /// Climb a rung. Nothing happens if the episode is there already.
    Escalate {
        /// Which episode.
        id: Uuid,
        /// To which rung: the next.
        to: Level,
        /// Why.
        reason: String,
        /// The most that was seen so far.
        peak: u64,
        /// Seconds that an evicted pod has: [`MonitorPolicy::eviction_grace_s`].
        grace_s: u32,
        /// Time between two evictions, in milliseconds: [`MonitorPolicy::eviction_gap_ms`].
        eviction_gap_ms: u64,
    },
    /// Say what came of an enforcement. Nothing happens if it was said already.
    ReportEnforcement {
        /// Which episode.
        id: Uuid,
        /// For which rung.
        level: Level,
        /// What came of it.
        outcome: Outcome,
        /// In words.
        reason: String,
    },
    /// End an episode. Nothing happens if it has ended.
    Resolve {
        /// Which.
        id: Uuid,
        /// The most that was seen.
        peak: u64,
        /// Use over the limit, summed over time, see [`super::event::Resolved::area`].
        area: Option<u64>,
        /// Why.
        reason: String,
    },
    /// Say that limits are not checked. Nothing happens if that is known.
    OpenGap {
        /// Since when.
        since: Timestamp,
        /// Why.
        cause: GapCause,
        /// Whose.
        pods: Vec<PodUid>,
    },
    /// Say that limits are checked again. Nothing happens if they were.
    CloseGap,
}

impl ViolationCommand {
    /// Climbing as the policy has it.
    #[must_use]
    pub fn escalate(
        policy: &MonitorPolicy,
        id: Uuid,
        to: Level,
        peak: u64,
        reason: String,
    ) -> ViolationCommand {
        let (grace_s, eviction_gap_ms) = (policy.eviction_grace_s, policy.eviction_gap_ms);
        ViolationCommand::Escalate { id, to, reason, peak, grace_s, eviction_gap_ms }
    }
}

/// Why a request about violations is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum ViolationRejection {
    /// No such episode is open.
    #[error("violation {id} is not open")]
    NotOpen {
        /// Which.
        id: Uuid,
    },
    /// A rung was to be left out.
    #[error("violation {id} is at {level}; it cannot go to {to} at once")]
    SkipsRungs {
        /// Which.
        id: Uuid,
        /// Where it is.
        level: Level,
        /// Where it was to go.
        to: Level,
    },
    /// What is to be done for the present rung is not over.
    #[error("violation {id} waits for what is done at {level}")]
    Unfinished {
        /// Which.
        id: Uuid,
        /// Where it is.
        level: Level,
    },
    /// Another pod was evicted from this GPU a moment ago.
    #[error("another eviction was {ago_ms} ms ago; one in {gap_ms} ms is allowed")]
    TooSoon {
        /// How long ago, in milliseconds.
        ago_ms: u64,
        /// What must lie between.
        gap_ms: u64,
    },
    /// As many episodes are open as can be.
    #[error("{open} violations are open; no more are recorded until one ends")]
    TooMany {
        /// How many.
        open: usize,
    },
}

impl ViolationRejection {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ViolationRejection::NotOpen { .. } => "violation-not-open",
            ViolationRejection::SkipsRungs { .. } => "violation-skips-rungs",
            ViolationRejection::Unfinished { .. } => "violation-unfinished",
            ViolationRejection::TooSoon { .. } => "eviction-too-soon",
            ViolationRejection::TooMany { .. } => "too-many-violations",
        }
    }
}
