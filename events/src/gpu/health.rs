//! How a GPU is: its facts, its health with the evidence for it, and the numbers by which that is decided.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::xid;
use crate::ledger::GpuUuid;
use crate::record::Principal;
use crate::units::{Bytes, MilliTflops, Timestamp};

/// What a GPU is, as far as it was ever read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuFacts {
    /// Which.
    pub uuid: GpuUuid,
    /// What it is called.
    pub model: Option<String>,
    /// Its memory.
    pub memory: Option<Bytes>,
    /// Its compute; none if the figure of its model is not known.
    pub tflops: Option<MilliTflops>,
    /// Release of its driver.
    pub driver: Option<String>,
    /// Of an instance of MIG, the GPU that it is a part of.
    pub parent: Option<GpuUuid>,
    /// Whether it is divided (MIG): its instances are given out in its place.
    pub is_divided: Option<bool>,
    /// Errors of its memory that were not corrected, over its life: those that are known. One more is a fault.
    pub ecc_uncorrected: Option<u64>,
}

impl GpuFacts {
    /// These facts after `seen`: what was not read stays, and errors that were not known are no fact.
    #[must_use]
    pub fn after(&self, seen: &GpuFacts) -> GpuFacts {
        let ecc_uncorrected = match (self.ecc_uncorrected, seen.ecc_uncorrected) {
            (Some(known), Some(seen)) => Some(known.min(seen)),
            (known, seen) => known.or(seen),
        };
        GpuFacts {
            uuid: self.uuid.clone(),
            model: seen.model.clone().or_else(|| self.model.clone()),
            memory: seen.memory.or(self.memory),
            tflops: seen.tflops.or(self.tflops),
            driver: seen.driver.clone().or_else(|| self.driver.clone()),
            parent: seen.parent.clone().or_else(|| self.parent.clone()),
            is_divided: seen.is_divided.or(self.is_divided),
            ecc_uncorrected,
        }
    }
}

impl GpuFacts {
    /// Whether `more` only says what was not known here, or that the GPU is divided now.
    #[must_use]
    pub(super) fn is_part_of(&self, more: &GpuFacts) -> bool {
        fn is_kept<T: PartialEq>(known: &Option<T>, more: &Option<T>) -> bool {
            known.is_none() || known == more
        }
        is_kept(&self.model, &more.model)
            && is_kept(&self.memory, &more.memory)
            && is_kept(&self.tflops, &more.tflops)
            && is_kept(&self.driver, &more.driver)
            && is_kept(&self.parent, &more.parent)
            && (is_kept(&self.is_divided, &more.is_divided) || more.is_divided == Some(true))
            && is_kept(&self.ecc_uncorrected, &more.ecc_uncorrected)
    }
}

/// How a GPU is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// It works.
    Healthy,
    /// It works, and not as fast as it could.
    Degraded {
        /// Why; never empty.
        reasons: BTreeSet<Degradation>,
    },
    /// It works again, and has yet to show that it goes on doing so.
    Probation,
    /// A call about it does not come back.
    Unresponsive {
        /// Which call.
        call: String,
    },
    /// It is gone.
    Lost {
        /// What was seen.
        reason: String,
    },
    /// It is broken until somebody says otherwise.
    Faulty {
        /// What it has done.
        fault: Fault,
    },
}

/// The word for a GPU of which an operator wants nothing given out.
const CORDONED: &str = "Cordoned";

impl Health {
    /// Every word for how a GPU stands.
    pub const WORDS: [&str; 7] =
        ["Healthy", "Degraded", "Probation", "Unresponsive", "Lost", "Faulty", CORDONED];

    /// The word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Health::Healthy => "Healthy",
            Health::Degraded { .. } => "Degraded",
            Health::Probation => "Probation",
            Health::Unresponsive { .. } => "Unresponsive",
            Health::Lost { .. } => "Lost",
            Health::Faulty { .. } => "Faulty",
        }
    }

    /// The word for it on a GPU that is cordoned: what is wrong with it matters more than that.
    pub(super) fn word_cordoned(&self) -> &'static str {
        match self {
            Health::Healthy | Health::Degraded { .. } | Health::Probation => CORDONED,
            Health::Unresponsive { .. } | Health::Lost { .. } | Health::Faulty { .. } => self.word(),
        }
    }

    /// Whether a GPU that is so takes pods.
    #[must_use]
    pub fn takes_pods(&self) -> bool {
        match self {
            Health::Healthy | Health::Degraded { .. } => true,
            Health::Probation | Health::Unresponsive { .. } | Health::Lost { .. } | Health::Faulty { .. } => {
                false
            }
        }
    }

    /// What is to be said of it beside the word.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match self {
            Health::Healthy | Health::Probation => None,
            Health::Degraded { reasons } => {
                Some(reasons.iter().map(|reason| reason.sentence()).collect::<Vec<_>>().join(", "))
            }
            Health::Unresponsive { call } => Some(format!("{call} does not come back")),
            Health::Lost { reason } => Some(reason.clone()),
            Health::Faulty { fault } => Some(fault.to_string()),
        }
    }
}

/// What makes a GPU slower than it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Degradation {
    /// It is too hot.
    Thermal,
    /// The power supply slows it down.
    PowerBrake,
    /// The hardware slows it down for another reason.
    Hardware,
}

impl Degradation {
    /// Every one.
    pub const ALL: [Degradation; 3] = [Degradation::Thermal, Degradation::PowerBrake, Degradation::Hardware];

    fn sentence(self) -> &'static str {
        match self {
            Degradation::Thermal => "slowed down because it is too hot",
            Degradation::PowerBrake => "slowed down by the power supply",
            Degradation::Hardware => "slowed down by the hardware",
        }
    }
}

/// What takes a GPU out until somebody says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// The driver told of a fault after which the GPU is not to be used.
    Xid {
        /// NVIDIA's number for it.
        xid: u32,
        /// When it was told.
        at: Timestamp,
    },
    /// Its memory had errors that were not corrected.
    Ecc {
        /// How many were known.
        before: u64,
        /// How many there are.
        now: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Xid { xid, .. } => write!(f, "Xid {xid} ({})", xid::word(*xid)),
            Fault::Ecc { before, now } => {
                write!(f, "{} uncorrected errors of its memory", now.saturating_sub(*before))
            }
        }
    }
}

/// What was seen when a GPU's health changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// For how long it had been seen so, in milliseconds; 0 if that was the first look.
    pub for_ms: u64,
    /// When it was read last; none if it never was.
    pub read_at: Option<Timestamp>,
    /// Its temperature then, in degrees Celsius.
    pub temperature_c: Option<u32>,
    /// What it drew then, in milliwatts.
    pub power_mw: Option<u32>,
    /// Errors of its memory until then that were not corrected.
    pub ecc_uncorrected: Option<u64>,
}

/// That nothing of a GPU is to be given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cordon {
    /// Who wanted it.
    pub by: Principal,
    /// Why, in his words.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// That pods are to leave a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Who wanted it.
    pub by: Principal,
    /// Seconds that each pod has to end by itself; none for what its manifest says.
    pub grace_s: Option<u32>,
    /// Since when.
    pub at: Timestamp,
}

/// The numbers by which a GPU's health is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuHealthPolicy {
    /// How long a GPU that was of no use must be fine before it takes pods again, in milliseconds; 1 s to a day.
    pub probation_ms: u64,
    /// How long what a GPU does must last before it counts, once it was of no use, in milliseconds; 1 s to an hour. It
    /// doubles with each relapse, up to `probation_ms`.
    pub settle_ms: u64,
    /// How long a GPU must be slowed down to be degraded, and not to be so again, in milliseconds; 1 s to an hour.
    pub slowdown_ms: u64,
    /// Xids that take a GPU out, beside those of the catalogue; at most 64.
    pub fatal_xids: BTreeSet<u32>,
}

impl Default for GpuHealthPolicy {
    /// A minute of probation; 10 s of settling, as long as a driver takes to come back; 30 s of slowness, which a burst
    /// of work does not last.
    fn default() -> GpuHealthPolicy {
        GpuHealthPolicy {
            probation_ms: 60_000,
            settle_ms: 10_000,
            slowdown_ms: 30_000,
            fatal_xids: BTreeSet::new(),
        }
    }
}

/// Why a policy of GPUs' health is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum GpuPolicyError {
    /// A time is out of range.
    #[error("{field} {}", self.rule())]
    Time {
        /// Which.
        field: String,
        /// What was given.
        given: u64,
        /// The most it may be.
        max: u64,
    },
    /// Too many Xids.
    #[error("fatalXids {}", self.rule())]
    Xids {
        /// How many were given.
        given: usize,
    },
}

impl GpuPolicyError {
    /// What the field must be, without its name.
    #[must_use]
    pub fn rule(&self) -> String {
        match self {
            GpuPolicyError::Time { given, max, .. } => {
                format!("must be {TIME_MIN_MS} to {max} ms, is {given}")
            }
            GpuPolicyError::Xids { given } => {
                format!("may have {FATAL_XIDS_MAX} numbers at most, has {given}")
            }
        }
    }
}

/// Shortest time of the policy, in milliseconds: a look is made each second.
const TIME_MIN_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const FATAL_XIDS_MAX: usize = 64;

impl GpuHealthPolicy {
    /// Checks every number.
    ///
    /// # Errors
    /// The first that is out of range.
    pub fn check(&self) -> Result<(), GpuPolicyError> {
        let times = [
            ("probationMs", self.probation_ms, DAY_MS),
            ("settleMs", self.settle_ms, HOUR_MS),
            ("slowdownMs", self.slowdown_ms, HOUR_MS),
        ];
        let wrong = times.into_iter().find(|(_, given, max)| !(TIME_MIN_MS..=*max).contains(given));
        if let Some((field, given, max)) = wrong {
            return Err(GpuPolicyError::Time { field: field.to_owned(), given, max });
        }
        match self.fatal_xids.len() {
            given if FATAL_XIDS_MAX < given => Err(GpuPolicyError::Xids { given }),
            _ => Ok(()),
        }
    }

    /// Whether this Xid takes a GPU out.
    #[must_use]
    pub fn is_fatal(&self, xid: u32) -> bool {
        xid::is_fatal(xid) || self.fatal_xids.contains(&xid)
    }

    /// How long what a GPU does must last to count, after so many relapses, in milliseconds.
    #[must_use]
    pub fn settle_ms_after(&self, relapses: u32) -> u64 {
        let factor = 1_u64.checked_shl(relapses).unwrap_or(u64::MAX);
        self.settle_ms.saturating_mul(factor).min(self.probation_ms.max(self.settle_ms))
    }
}
