//! What may be asked of a GPU, and why it may refuse.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::DrainOutcome;
use super::health::{Degradation, Evidence, GpuFacts};
use crate::record::Principal;
use crate::units::Timestamp;
use crate::violation::{ViolationCommand, ViolationRejection};

/// A request to a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuCommand {
    /// It was looked at.
    ReportLook(Box<Look>),
    /// Something was seen of its violations, or done about them.
    Violation(ViolationCommand),
    /// Give nothing of it out.
    Cordon {
        /// Who wants it.
        by: Principal,
        /// Why.
        reason: String,
    },
    /// Give it out again, and forgive what it has done.
    Uncordon {
        /// Who wants it.
        by: Principal,
        /// Errors of its memory that were not corrected until now; none if that cannot be read.
        ecc_uncorrected: Option<u64>,
    },
    /// Give nothing of it out, and have the pods that have something of it stopped.
    Drain {
        /// Who wants it.
        by: Principal,
        /// Why.
        reason: String,
        /// Seconds that each pod has to end by itself; none for what its manifest says.
        grace_s: Option<u32>,
    },
    /// Say how a drain ended. Nothing happens if there is none.
    EndDrain {
        /// How.
        outcome: DrainOutcome,
    },
    /// Let go of what is known of it: it is gone for good.
    Forget {
        /// Who wants it.
        by: Principal,
        /// How many have something of it.
        holders: u64,
        /// Whether the driver or the config still names it.
        is_seen: bool,
    },
}

/// What was seen of a GPU, and for how long. Times are those that have passed, whatever the clock was set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What it is, as far as that can be read.
    pub facts: GpuFacts,
    /// Whether it answers; none if nothing is known of that yet.
    pub standing: Option<Standing>,
    /// For how long it has stood so without a fault, in milliseconds.
    pub steady_ms: u64,
    /// What slows it down, or does not, and for how long.
    pub slowed: BTreeMap<Degradation, Lasting>,
    /// Faults by their numbers: how often each was told since it was noted, and when last.
    pub faults: BTreeMap<u32, (u64, Timestamp)>,
    /// What was read of it; its `for_ms` does not count.
    pub evidence: Evidence,
}

/// Whether a GPU answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It does, or nothing can look at it and the config says that it is there.
    Answers,
    /// A call about it does not come back.
    Unresponsive {
        /// Which.
        call: String,
    },
    /// It is gone.
    Lost {
        /// What was seen.
        reason: String,
    },
}

/// Whether something is so, and for how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lasting {
    /// Whether it is.
    pub is_on: bool,
    /// For how long that has been so, in milliseconds.
    pub for_ms: u64,
}

/// Why a GPU refused a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum GpuRejection {
    /// It was never seen.
    #[error("no such GPU was ever seen; `purser get gpus` lists those that were")]
    NotFound,
    /// What was seen or done about its violations cannot be recorded.
    #[error("{error}")]
    Violation {
        /// Why.
        error: ViolationRejection,
    },
    /// A reason is missing, or in words that a terminal would obey.
    #[error("reason must be one line of text without control characters")]
    BadReason,
    /// A reason is too long.
    #[error("reason has {len} bytes; at most 256 are kept")]
    ReasonTooLong {
        /// Bytes given.
        len: usize,
    },
    /// Pods cannot be given so long to end.
    #[error("pods cannot be given {grace_s} s to end; at most 86,400 s (a day) are allowed")]
    GraceTooLong {
        /// Seconds given.
        grace_s: u32,
    },
    /// It is not gone.
    #[error("the GPU is {health}, not Lost; only one that is gone can be forgotten")]
    NotLost {
        /// How it is.
        health: String,
    },
    /// It would be found again at once.
    #[error(
        "the driver or the config still names the GPU; take it out of the machine, or out of `resources.gpus`, first"
    )]
    StillNamed,
    /// Somebody has something of it.
    #[error(
        "{holders} pods or reservations still have something of the GPU; `purser drain gpu` stops the pods"
    )]
    StillHeld {
        /// How many.
        holders: u64,
    },
}

impl GpuRejection {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            GpuRejection::Violation { error } => error.code(),
            GpuRejection::NotFound => "gpu-not-found",
            GpuRejection::BadReason => "bad-reason",
            GpuRejection::ReasonTooLong { .. } => "reason-too-long",
            GpuRejection::GraceTooLong { .. } => "bad-grace",
            GpuRejection::NotLost { .. } => "gpu-not-lost",
            GpuRejection::StillNamed => "gpu-still-named",
            GpuRejection::StillHeld { .. } => "gpu-still-held",
        }
    }
}
