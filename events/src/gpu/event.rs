//! What happens to a GPU. Payloads are on disk for ever, see [`crate::pod::event`].

use serde::{Deserialize, Serialize};

use super::health::{Evidence, GpuFacts, Health};
use crate::record::Principal;
use crate::units::Timestamp;
use crate::violation::ViolationEvent;

/// What has happened to one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuEvent {
    /// It was seen for the first time.
    Found(Found),
    /// It is another than was known: other memory, another driver.
    FactsChanged(FactsChanged),
    /// It is better or worse than before.
    HealthChanged(HealthChanged),
    /// Its driver told of faults of one kind.
    FaultNoted(FaultNoted),
    /// Nothing of it is given out from now on.
    Cordoned(Cordoned),
    /// That is over, and what it had done is forgiven.
    Uncordoned(Uncordoned),
    /// Something happened to its violations.
    Violation(ViolationEvent),
    /// Intent: the pods that have something of it are to be stopped.
    DrainRequested(DrainRequested),
    /// That is over.
    DrainEnded(DrainEnded),
    /// It is gone for good: what was known of it is let go.
    Forgotten(Forgotten),
}

impl From<ViolationEvent> for GpuEvent {
    fn from(event: ViolationEvent) -> GpuEvent {
        GpuEvent::Violation(event)
    }
}

macro_rules! from_payload {
    ($($name:ident),* $(,)?) => {
        $(impl From<$name> for GpuEvent {
            fn from(payload: $name) -> GpuEvent {
                GpuEvent::$name(payload)
            }
        })*
    };
}

from_payload!(
    Found,
    FactsChanged,
    HealthChanged,
    FaultNoted,
    Cordoned,
    Uncordoned,
    DrainRequested,
    DrainEnded,
    Forgotten
);

/// `gpu.found` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What it is.
    pub facts: GpuFacts,
    /// How it is.
    pub health: Health,
    /// What was seen.
    pub evidence: Evidence,
    /// When.
    pub at: Timestamp,
}

/// `gpu.facts-changed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsChanged {
    /// What it is from now on.
    pub facts: GpuFacts,
    /// When.
    pub at: Timestamp,
}

/// `gpu.health-changed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthChanged {
    /// How it is from now on.
    pub health: Health,
    /// What was seen.
    pub evidence: Evidence,
    /// When.
    pub at: Timestamp,
}

/// `gpu.fault-noted` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultNoted {
    /// NVIDIA's number for the kind of fault.
    pub xid: u32,
    /// How often it was told since it was noted last; at least once.
    pub count: u64,
    /// When it was told last.
    pub last_at: Timestamp,
    /// When this was noted.
    pub at: Timestamp,
}

/// `gpu.cordoned` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordoned {
    /// Who wanted it.
    pub by: Principal,
    /// Why, in his words; at most 256 bytes without control characters.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// `gpu.uncordoned` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uncordoned {
    /// Who wanted it.
    pub by: Principal,
    /// Errors of its memory that were not corrected until then; none if that cannot be read.
    pub ecc_uncorrected: Option<u64>,
    /// When.
    pub at: Timestamp,
}

/// `gpu.forgotten` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Who wanted it.
    pub by: Principal,
    /// When.
    pub at: Timestamp,
}

/// `gpu.drain-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainRequested {
    /// Who wanted it.
    pub by: Principal,
    /// Seconds that each pod has to end by itself; none for what its manifest says.
    pub grace_s: Option<u32>,
    /// When.
    pub at: Timestamp,
}

/// `gpu.drain-ended` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainEnded {
    /// How.
    pub outcome: DrainOutcome,
    /// When.
    pub at: Timestamp,
}

/// How a drain ended.
///
/// On disk for ever: append a variant at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainOutcome {
    /// No pod has anything of it.
    Drained,
    /// Somebody wanted it otherwise meanwhile.
    GivenUp,
}
