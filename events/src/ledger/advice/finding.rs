//! A piece of advice: one sentence, and the figures that led to it. Nothing of it is written to the journal.

use serde::{Deserialize, Serialize};

use crate::ids::PodUid;
use crate::ledger::resource::ResourceKind;
use crate::units::{Bytes, Timestamp};

/// One thing that recorded use gives reason to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// Of whom.
    pub subject: Subject,
    /// Of which resource. Every amount of the figures is in its unit: thousandths of a core, or bytes.
    pub resource: ResourceKind,
    /// What it is, for people; the subject is not named in it.
    pub sentence: String,
    /// The windows that were looked at.
    pub looked: Looked,
    /// What it is, with the figures that led to it.
    #[serde(flatten)]
    pub finding: Finding,
    /// How far to trust it.
    pub certainty: Certainty,
}

/// Of whom advice speaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "kebab-case")]
pub enum Subject {
    /// The whole machine.
    Node,
    /// All pods of a pool.
    Pool(String),
    /// One pod.
    Pod(PodUid),
}

/// Windows that were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    /// How many there are in the figures; of a pool, those of all pods together.
    pub windows: u32,
    /// How many recorded ones could not be used: without a sample or without a length, later than now, or over a time
    /// that another one has already.
    pub left_out: u32,
    /// When the first begins.
    pub from: Timestamp,
    /// When the last ends.
    pub to: Timestamp,
}

/// What advice says. In JSON: `kind`, and `figures` beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "figures", rename_all = "kebab-case")]
pub enum Finding {
    /// The last window is far from the pod's own past.
    Anomaly(AnomalyFigures),
    /// A bound will be reached if use rises as it did.
    Exhaustion(ExhaustionFigures),
    /// What is asked for is far from what is used.
    RightSizing(SizingFigures),
}

/// What led to an anomaly. `deviation` is more than `threshold`, which is the largest of its three parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnomalyFigures {
    /// When the last window began.
    pub last_from: Timestamp,
    /// Use in the last window.
    pub amount: u64,
    /// Windows before the last.
    pub earlier: u32,
    /// Median of the earlier windows.
    pub median: u64,
    /// Median of their distances from that.
    pub mad: u64,
    /// Distance of the last window from the median.
    pub deviation: u64,
    /// What the distance is more than.
    pub threshold: u64,
    /// A multiple of `mad`.
    pub threshold_of_mad: u64,
    /// A part of `median`.
    pub threshold_relative: u64,
    /// The same for every pod.
    pub threshold_absolute: u64,
}

/// What led to a prediction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExhaustionFigures {
    /// The pod's limit, or what the node has.
    pub bound: u64,
    /// Use at the end of the last window, on the fitted line.
    pub level: u64,
    /// Lower quartile of the slopes, an hour.
    pub slope_low: u64,
    /// Median of the slopes, an hour.
    pub slope: u64,
    /// Upper quartile of the slopes, an hour.
    pub slope_high: u64,
    /// Slopes that there were: one for each two of the windows taken.
    pub slopes: u32,
    /// When the bound is reached with the upper quartile; not before now.
    pub earliest: Timestamp,
    /// When it is reached with the median; not before now.
    pub at: Timestamp,
    /// When it is reached with the lower quartile; none if that is more than a year away.
    pub latest: Option<Timestamp>,
    /// Hours from now within which `at` must be, for there to be advice.
    pub horizon_h: u32,
}

/// What led to another request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SizingFigures {
    /// What is asked for, by all pods together.
    pub requested: u64,
    /// What would do, for all pods together.
    pub suggested: u64,
    /// What would do for each.
    pub suggested_each: u64,
    /// The least limit among the pods, if one has any: it must be raised as well if it is less than `suggested_each`.
    pub limit: Option<u64>,
    /// Pods that this is made of.
    pub pods: u32,
    /// Pods of the pool that have too few windows.
    pub pods_left_out: u32,
    /// What `measured` is.
    pub basis: SizingBasis,
    /// The figure that the suggestion starts from.
    pub measured: u64,
    /// Percent that are added to it.
    pub headroom_percent: u32,
    /// Highest mean of a window: the suggestion is never less.
    pub mean_most: u64,
    /// Most that was seen at any moment.
    pub most: u64,
    /// The suggestion for each is rounded up to a multiple of this.
    pub step: u64,
    /// `requested` and `suggested` differ by more than this.
    pub threshold: u64,
}

/// What a suggestion starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SizingBasis {
    /// The 95th percentile of the windows' maxima.
    Percentile95OfMaxima,
    /// The most of all windows.
    Maximum,
}

/// How far advice can be trusted: a word, and why that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certainty {
    /// The word.
    pub sureness: Sureness,
    /// How much was looked at, how wide the range is, what is not known.
    pub why: String,
}

/// A rule of thumb, not a probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sureness {
    /// Look before you act.
    Low,
    /// Likely, if nothing changes.
    Fair,
    /// As sure as the past can make it.
    Good,
}

impl Sureness {
    /// `Good` from `good` on, `Fair` from `fair` on.
    pub(super) fn of_count(count: u32, fair: u32, good: u32) -> Sureness {
        if count >= good {
            Sureness::Good
        } else if count >= fair {
            Sureness::Fair
        } else {
            Sureness::Low
        }
    }
}

/// A measured amount for people: bytes in whole units of which there are 10 at least, so that two digits are right.
pub(super) fn about(kind: &ResourceKind, amount: u64) -> String {
    let unit = [1_u64 << 40, 1 << 30, 1 << 20, 1 << 10].into_iter().find(|unit| amount / unit >= 10);
    match (kind, unit) {
        (ResourceKind::Memory | ResourceKind::Disk | ResourceKind::GpuMemory, Some(unit)) => {
            let whole = amount.saturating_add(unit / 2) / unit;
            Bytes(whole.saturating_mul(unit)).to_string()
        }
        _ => kind.show(amount),
    }
}

/// A number of things in a list, for figures.
pub(super) fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
