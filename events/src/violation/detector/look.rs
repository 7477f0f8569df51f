//! What one sample says about one condition.

use super::super::kind::{Level, ViolationKind};
use super::watch::{Hold, Side};
use crate::ids::PodUid;

/// How long a condition must hold to be a violation, and how long it must not to be none any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition {
    pub(super) raise: Hold,
    pub(super) clear: Hold,
}

/// What one sample says about one condition.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) kind: ViolationKind,
    pub(super) pod: Option<PodUid>,
    /// None: it cannot be told.
    pub(super) side: Option<Side>,
    pub(super) value: u64,
    pub(super) limit: u64,
    pub(super) condition: Condition,
    pub(super) evidence: String,
    /// The last rung, whatever the kind's own.
    pub(super) cap: Level,
}

impl Seen {
    /// A figure that is over above `raise_at`, under below `clear_at`, and cannot be told if there is none. Its limit
    /// is what it may be.
    pub(super) fn figure(
        (kind, pod): (ViolationKind, Option<PodUid>),
        value: Option<u64>,
        limit: u64,
        (raise_at, clear_at): (u64, u64),
        condition: Condition,
    ) -> Seen {
        let side = value.map(|value| match value {
            value if raise_at < value => Side::Over,
            value if value < clear_at => Side::Under,
            _ => Side::Between,
        });
        let unit = kind.unit();
        let value = value.unwrap_or(0);
        let evidence = format!("{} used of {}", unit.show(value), unit.show(limit));
        Seen { kind, pod, side, value, limit, condition, evidence, cap: Level::Cordon }
    }

    /// The same with other evidence.
    pub(super) fn because(self, evidence: String) -> Seen {
        Seen { evidence, ..self }
    }
}
