//! The numbers by which the ledger decides. The config sets the first policy; each change is an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::resource::{Amounts, ResourceKind};
use super::tenant::RequestLimits;

/// How resources are given out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerPolicy {
    /// Limits by kind; a kind that is absent has [`Limits::default`].
    pub limits: BTreeMap<ResourceKind, Limits>,
    /// Which processors a pod gets that has them alone.
    pub cpu_placement: CpuPlacement,
    /// Which GPUs a pod gets.
    pub gpu_placement: GpuPlacement,
    /// Whether nothing is given out beyond what is there, and only to pods that say what they need.
    pub strict: bool,
    /// Whether a pod for which there is no room now is refused rather than made to wait.
    pub refuse_when_full: bool,
    /// Whether, and how, running pods make way.
    pub preemption: Preemption,
    /// Seconds that a pod which makes way has to end.
    pub preemption_grace_s: u32,
    /// Bounds of tenants that have none of their own; a kind that is absent is unbounded.
    pub default_quota: Amounts,
    /// How often tenants may ask that were not set; whoever was set has what was set, even if that is nothing.
    #[serde(default)]
    pub default_requests: RequestLimits,
    /// The highest priority that pods may have of tenants that have no bound of their own; unbounded without.
    #[serde(default)]
    pub default_priority_max: Option<i32>,
}

/// How much of a resource may be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Most of what is there that is used at all; all of it if none.
    pub hard: Option<u64>,
    /// From here on the resource counts as degraded; nothing is refused.
    pub soft: Option<u64>,
    /// How much is given out of what is there, in percent: 100 to 1,000.
    pub overcommit_percent: u32,
    /// What is kept for the system, in percent of what is there: 0 to 90.
    pub reserve_percent: u32,
    /// The soft limit in percent of the hard one, 1 to 100; of what is there if there is no hard one. Not beside `soft`.
    #[serde(default)]
    pub soft_percent: Option<u32>,
}

impl Default for Limits {
    /// All that is there, once.
    fn default() -> Limits {
        Limits { hard: None, soft: None, overcommit_percent: 100, reserve_percent: 0, soft_percent: None }
    }
}

/// Why limits are not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum LimitsError {
    /// The hard limit is beyond what is there.
    #[error("hard limit {} of {kind} is more than the node has ({})", kind.show(*hard), kind.show(*capacity))]
    BeyondCapacity {
        /// Of what.
        kind: ResourceKind,
        /// What was asked for.
        hard: u64,
        /// What is there.
        capacity: u64,
    },
    /// The soft limit is beyond the hard one.
    #[error("soft limit {} of {kind} is more than the hard one ({})", kind.show(*soft), kind.show(*hard))]
    SoftBeyondHard {
        /// Of what.
        kind: ResourceKind,
        /// The soft limit.
        soft: u64,
        /// The hard limit.
        hard: u64,
    },
    /// A ratio out of range.
    #[error("overcommit of {kind} must be 100 to 1000 percent, is {percent}")]
    Overcommit {
        /// Of what.
        kind: ResourceKind,
        /// What was asked for.
        percent: u32,
    },
    /// The resource cannot be given out twice.
    #[error("{kind} cannot be overcommitted: each is one thing")]
    NotDivisible {
        /// Which.
        kind: ResourceKind,
    },
    /// A reserve out of range.
    #[error("reserve of {kind} must be 0 to 90 percent, is {percent}")]
    Reserve {
        /// Of what.
        kind: ResourceKind,
        /// What was asked for.
        percent: u32,
    },
    /// Pods and whole GPUs are bounded by tenants' quotas, or follow from other resources.
    #[error("{kind} has no limits of its own")]
    NoLimits {
        /// Which.
        kind: ResourceKind,
    },
    /// A soft limit out of range.
    #[error("soft limit of {kind} must be 1 to 100 percent of the hard one, is {percent}")]
    SoftPercent {
        /// Of what.
        kind: ResourceKind,
        /// What was asked for.
        percent: u32,
    },
    /// A soft limit is given twice.
    #[error("{kind} has a soft limit as an amount and in percent: leave one of them out")]
    TwoSofts {
        /// Of what.
        kind: ResourceKind,
    },
    /// All that the hard limit lets be used is kept for the system.
    #[error("hard limit {} of {kind} leaves nothing to give out: {percent} % are kept for the system", kind.show(*hard))]
    NothingLeft {
        /// Of what.
        kind: ResourceKind,
        /// What was asked for.
        hard: u64,
        /// What is kept, in percent of what is there.
        percent: u32,
    },
}

impl LimitsError {
    /// The limits of which resource are wrong, and in which field; none if the resource has no limits at all.
    #[must_use]
    pub fn place(&self) -> (&ResourceKind, Option<&'static str>) {
        match self {
            LimitsError::BeyondCapacity { kind, .. } | LimitsError::NothingLeft { kind, .. } => {
                (kind, Some("hard"))
            }
            LimitsError::SoftBeyondHard { kind, .. } => (kind, Some("soft")),
            LimitsError::Overcommit { kind, .. } | LimitsError::NotDivisible { kind } => {
                (kind, Some("overcommitPercent"))
            }
            LimitsError::Reserve { kind, .. } => (kind, Some("reservePercent")),
            LimitsError::NoLimits { kind } => (kind, None),
            LimitsError::SoftPercent { kind, .. } | LimitsError::TwoSofts { kind } => {
                (kind, Some("softPercent"))
            }
        }
    }
}

impl Limits {
    /// Checks what can be checked without knowing the machine.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, kind: &ResourceKind) -> Result<(), LimitsError> {
        let divisible = match kind {
            ResourceKind::Pods | ResourceKind::Gpus => {
                return Err(LimitsError::NoLimits { kind: kind.clone() });
            }
            ResourceKind::Ports | ResourceKind::Subnets => false,
            ResourceKind::Cpu
            | ResourceKind::Memory
            | ResourceKind::Disk
            | ResourceKind::GpuShare
            | ResourceKind::GpuMemory
            | ResourceKind::Custom(_) => true,
        };
        let (percent, kind) = (self.overcommit_percent, kind.clone());
        if !(100..=1_000).contains(&percent) {
            return Err(LimitsError::Overcommit { kind, percent });
        }
        if percent != 100 && !divisible {
            return Err(LimitsError::NotDivisible { kind });
        }
        if self.reserve_percent > 90 {
            return Err(LimitsError::Reserve { kind, percent: self.reserve_percent });
        }
        match (self.soft_percent, self.soft) {
            (Some(_), Some(_)) => return Err(LimitsError::TwoSofts { kind }),
            (Some(percent), None) if !(1..=100).contains(&percent) => {
                return Err(LimitsError::SoftPercent { kind, percent });
            }
            (Some(_) | None, _) => {}
        }
        match (self.soft, self.hard) {
            (Some(soft), Some(hard)) if hard < soft => Err(LimitsError::SoftBeyondHard { kind, soft, hard }),
            _ => Ok(()),
        }
    }

    /// Checks all of it, on a machine that has so much of the resource.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_on(&self, kind: &ResourceKind, capacity: u64) -> Result<(), LimitsError> {
        self.check(kind)?;
        let kind = kind.clone();
        let hard = self.hard.unwrap_or(capacity);
        match self.soft {
            _ if capacity < hard => Err(LimitsError::BeyondCapacity { kind, hard, capacity }),
            Some(soft) if hard < soft => Err(LimitsError::SoftBeyondHard { kind, soft, hard }),
            Some(_) | None => Ok(()),
        }
    }

    /// What may be given out of `capacity` in all.
    #[must_use]
    pub fn allocatable(&self, capacity: u64, strict: bool) -> u64 {
        let percent = if strict { 100 } else { self.overcommit_percent };
        scaled(self.hard_of(capacity), percent).saturating_sub(self.reserve(capacity))
    }

    /// The amount from which on a resource of which there is `capacity` counts as degraded, if there is one.
    #[must_use]
    pub fn soft_of(&self, capacity: u64) -> Option<u64> {
        self.soft.or_else(|| Some(scaled(self.hard_of(capacity), self.soft_percent?)))
    }

    /// Most of `capacity` that is used at all.
    fn hard_of(&self, capacity: u64) -> u64 {
        self.hard.map_or(capacity, |hard| hard.min(capacity))
    }

    /// What of `capacity` is kept for the system.
    #[must_use]
    pub fn reserve(&self, capacity: u64) -> u64 {
        scaled(capacity, self.reserve_percent)
    }
}

/// The highest priority that a pod may have, and that may be a bound of those of pods: as in Kubernetes, which keeps what is
/// above for itself.
pub const PRIORITY_MAX: i32 = 1_000_000_000;

/// Whether a priority may be the node's bound of those that pods have. One below 0 would refuse every pod that says none.
#[must_use]
pub fn is_priority_bound(most: i32) -> bool {
    (0..=PRIORITY_MAX).contains(&most)
}

/// `percent` percent of an amount, rounded down; the largest number rather than wrap.
#[must_use]
pub fn scaled(amount: u64, percent: u32) -> u64 {
    let exact = u128::from(amount) * u128::from(percent) / 100;
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// Which processors a pod gets that has them alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuPlacement {
    /// All in one NUMA node and whole cores, as far as that can be had; else the first that are free.
    #[default]
    AffinityAware,
    /// The first that are free.
    FirstFit,
    /// Those of the NUMA node that has the fewest free and still enough.
    BestFit,
    /// The next that are free after those given out last.
    RoundRobin,
}

/// Which GPUs a pod gets, of those that have room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuPlacement {
    /// Those of which most is given out: others stay free.
    #[default]
    Binpack,
    /// Those of which least is given out.
    Spread,
    /// Those with most free memory.
    MostFreeMemory,
    /// Those with the fewest pods.
    FewestNeighbours,
}

/// Whether, and how, running pods make way for a pod with a higher priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preemption {
    /// None does.
    #[default]
    Never,
    /// Those with the lowest priority first, and of these the youngest.
    LowerPriorityOnly,
    /// Of those with a lower priority, the ones of which least work is lost. What is lost with a pod is the product of
    /// three: the seconds since it was given what it holds, begun ones counted; the sum of its shares of what the machine
    /// has of each resource, whole GPUs by their compute and memory; and the rank of its priority among those that may be
    /// asked, 1 for the lowest. Where that is equal, the lowest priority goes first, and of these the youngest.
    CostAware,
}

/// A named set of limits for processors, memory and disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Nothing is given out twice; 10 % are kept for the system, and there is a warning from 80 % of the hard limit on.
    Conservative,
    /// Processors twice, memory 1.2 times, disk 1.1 times; 15 % are kept, and there is a warning from 90 % on.
    Moderate,
    /// Processors 4 times, memory 1.5 times, disk 1.3 times; 5 % are kept, and there is a warning from 100 % on: what is
    /// given out beyond that is given out twice.
    Aggressive,
}

impl Preset {
    /// The limits that it stands for.
    #[must_use]
    pub fn limits(self) -> BTreeMap<ResourceKind, Limits> {
        let (ratios, reserve_percent, soft_percent) = match self {
            Preset::Conservative => ([100, 100, 100], 10, 80),
            Preset::Moderate => ([200, 120, 110], 15, 90),
            Preset::Aggressive => ([400, 150, 130], 5, 100),
        };
        let kinds = [ResourceKind::Cpu, ResourceKind::Memory, ResourceKind::Disk];
        let limits = |overcommit_percent| Limits {
            overcommit_percent,
            reserve_percent,
            soft_percent: Some(soft_percent),
            ..Limits::default()
        };
        kinds.into_iter().zip(ratios).map(|(kind, ratio)| (kind, limits(ratio))).collect()
    }
}
