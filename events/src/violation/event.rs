//! What happens to violations. Payloads are on disk for ever, see [`crate::pod::event`]; the stream says of which GPU or
//! pod they speak.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::kind::{Level, ViolationKind};
use crate::ids::PodUid;
use crate::units::Timestamp;

/// What has happened to the violations of one GPU or pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViolationEvent {
    /// A violation began.
    Detected(Detected),
    /// It climbed a rung.
    Escalated(Escalated),
    /// Intent: something is to be done about it.
    EnforcementRequested(EnforcementRequested),
    /// It was done, or could not be.
    EnforcementEnded(EnforcementEnded),
    /// A violation ended.
    Resolved(Resolved),
    /// Limits are not checked from here on: evidence is missing.
    GapOpened(GapOpened),
    /// Limits are checked again.
    GapClosed(GapClosed),
}

macro_rules! from_payload {
    ($($name:ident),* $(,)?) => {
        $(impl From<$name> for ViolationEvent {
            fn from(payload: $name) -> ViolationEvent {
                ViolationEvent::$name(payload)
            }
        })*
    };
}

from_payload!(Detected, Escalated, EnforcementRequested, EnforcementEnded, Resolved, GapOpened, GapClosed);

/// `*.violation-detected` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detected {
    /// This episode.
    pub id: Uuid,
    /// When it began.
    pub at: Timestamp,
    /// What is violated.
    pub kind: ViolationKind,
    /// Who does it; none if no pod does.
    pub pod: Option<PodUid>,
    /// The rung on which it begins: the lowest, unless it did not end long ago.
    pub level: Level,
    /// Why it begins higher up than the lowest; none if it does not.
    pub repeats: Option<String>,
    /// What was seen, in the unit of the kind.
    pub value: u64,
    /// What is allowed, in the same unit.
    pub limit: u64,
    /// What was seen, in words; at most 512 bytes.
    pub evidence: String,
}

/// `*.violation-escalated` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Escalated {
    /// Which episode.
    pub id: Uuid,
    /// The rung that it leaves.
    pub from: Level,
    /// The rung that it climbs to: the next one.
    pub to: Level,
    /// Why; at most 512 bytes.
    pub reason: String,
    /// The most that was seen so far, in the unit of the kind.
    pub peak: u64,
}

/// `*.enforcement-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnforcementRequested {
    /// Which episode.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// For which rung.
    pub level: Level,
    /// Seconds that a pod has to end by itself; 0 where nothing is to end.
    pub grace_s: u32,
}

/// `*.enforcement-ended` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnforcementEnded {
    /// Which episode.
    pub id: Uuid,
    /// For which rung.
    pub level: Level,
    /// What came of it.
    pub outcome: Outcome,
    /// In words; at most 512 bytes.
    pub reason: String,
}

/// What came of something that was to be done about a violation.
///
/// On disk for ever: append a variant at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done, and seen to be.
    Completed,
    /// It was tried, and did not help.
    Failed,
    /// It was not tried: this machine cannot, or nothing was left to do.
    Skipped,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        }
    }
}

/// `*.violation-resolved` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// Which episode.
    pub id: Uuid,
    /// When it ended.
    pub at: Timestamp,
    /// How long it was open, in milliseconds, by the clock.
    pub duration_ms: u64,
    /// The most that was seen, in the unit of the kind.
    pub peak: u64,
    /// What was used over the limit, summed over time: in the unit of the kind times seconds. None if it was not watched
    /// from its beginning to its end: the service was started again meanwhile, or the pod or the GPU is gone.
    pub area: Option<u64>,
    /// Why; at most 512 bytes.
    pub reason: String,
}

/// `*.enforcement-gap-opened` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GapOpened {
    /// Since when limits are not checked: no later than the event.
    pub since: Timestamp,
    /// Why.
    pub cause: GapCause,
    /// Pods whose limits are not checked.
    pub pods: Vec<PodUid>,
}

/// Why limits are not checked.
///
/// On disk for ever: append a variant at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The service did not run.
    ServiceDown,
    /// The GPU, or its driver, does not answer.
    DriverAway,
    /// The figures that are needed cannot be read.
    NoFigures,
}

impl GapCause {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            GapCause::ServiceDown => "service_down",
            GapCause::DriverAway => "driver_away",
            GapCause::NoFigures => "no_figures",
        }
    }
}

/// `*.enforcement-gap-closed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GapClosed {
    /// How long limits were not checked, in milliseconds, by the clock.
    pub duration_ms: u64,
}
