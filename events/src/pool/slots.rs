//! Who may have which slot.

use rpds::RedBlackTreeSetSync;
use serde::{Deserialize, Serialize};

use super::member::{Member, Slot};
use super::spec::SlotRule;
use super::task::TaskKind;

/// How much room a task needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Weight {
    /// Any slot takes it.
    Light,
    /// It needs a pod, or its first slot, for itself.
    Heavy,
}

impl Weight {
    /// Both.
    pub(super) const ALL: [Weight; 2] = [Weight::Light, Weight::Heavy];
}

impl SlotRule {
    /// How many slots a pod has if nobody says. With `Flexible` one slot more than elsewhere: what other rules keep the
    /// first for may be in any.
    #[must_use]
    pub fn default_count(self) -> u8 {
        match self {
            SlotRule::Seed | SlotRule::Exclusive => 3,
            SlotRule::Flexible => 4,
        }
    }

    /// How much room a kind of task needs by this rule.
    #[must_use]
    pub fn weight(self, kind: TaskKind) -> Weight {
        match (self, kind) {
            (_, TaskKind::Plan | TaskKind::DriftCheck) => Weight::Light,
            (_, TaskKind::Apply | TaskKind::PlanAndApply) => Weight::Heavy,
            (SlotRule::Seed, TaskKind::Work) => Weight::Heavy,
            (SlotRule::Exclusive | SlotRule::Flexible, TaskKind::Work) => Weight::Light,
        }
    }

    /// The slot that a pod has for a task of this weight, if it has one. What needs no certain slot gets the last that is
    /// idle, so that the first stays free for what does.
    #[must_use]
    pub fn pick(self, slots: &[Slot], weight: Weight) -> Option<u8> {
        let first = || slots.first().filter(|slot| slot.is_idle()).map(|_| 0);
        let last = || slots.iter().rposition(Slot::is_idle).and_then(|at| u8::try_from(at).ok());
        let heavy = |slot: &Slot, is_running: bool| match slot {
            Slot::Idle => false,
            Slot::Running { kind, .. } => self.weight(*kind) == Weight::Heavy,
            // One that was confirmed has the pod as soon as the others are done.
            Slot::Reserved { confirmed, .. } => !is_running || *confirmed,
        };
        let runs_heavy = slots.iter().any(|slot| heavy(slot, true));
        match (self, weight) {
            (SlotRule::Seed, Weight::Heavy) => first(),
            (SlotRule::Seed | SlotRule::Flexible, Weight::Light) => last(),
            (SlotRule::Exclusive, _) if runs_heavy => None,
            (SlotRule::Exclusive, Weight::Light) => last(),
            (SlotRule::Exclusive, Weight::Heavy) => {
                let runs = slots.iter().any(|slot| matches!(slot, Slot::Running { .. }));
                if runs { None } else { first() }
            }
            (SlotRule::Flexible, Weight::Heavy) => {
                if slots.iter().any(|slot| heavy(slot, false)) {
                    None
                } else {
                    last()
                }
            }
        }
    }

    /// Whether a plan that was confirmed may be applied in a pod now: by some rules nothing else may run beside it.
    #[must_use]
    pub fn may_apply(self, slots: &[Slot]) -> bool {
        match self {
            SlotRule::Exclusive => !slots.iter().any(|slot| matches!(slot, Slot::Running { .. })),
            SlotRule::Seed | SlotRule::Flexible => true,
        }
    }

    /// How many of a pod's slots nobody can have now.
    #[must_use]
    pub fn used(self, slots: &[Slot]) -> usize {
        let is_closed = self.pick(slots, Weight::Light).is_none();
        if is_closed { slots.len() } else { slots.iter().filter(|slot| !slot.is_idle()).count() }
    }
}

/// Members that take tasks, the best first: of the present revision before others, fuller before emptier so that others
/// can empty, older before younger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Takers {
    /// Members with a slot for a task that any takes.
    pub(super) light: RedBlackTreeSetSync<Taker>,
    /// Members with a slot for one of the others.
    pub(super) heavy: RedBlackTreeSetSync<Taker>,
}

/// A member that takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Taker {
    /// Whether it was made for an older revision.
    pub(super) is_old: bool,
    /// How many of its slots are idle.
    pub(super) idle: u8,
    /// Which.
    pub(super) member: u64,
}

impl Takers {
    /// The best member for a task of this weight.
    pub(super) fn first(&self, weight: Weight) -> Option<u64> {
        let takers = match weight {
            Weight::Light => &self.light,
            Weight::Heavy => &self.heavy,
        };
        takers.first().map(|taker| taker.member)
    }

    /// Notes that a member is another than it was.
    pub(super) fn changed(
        &mut self,
        rule: SlotRule,
        revision: u64,
        before: Option<&Member>,
        after: Option<&Member>,
    ) {
        let place = |member: Option<&Member>| member.and_then(|member| Place::of(member, rule, revision));
        let (before, after) = (place(before), place(after));
        if before == after {
            return;
        }
        let has = |place: &Option<Place>, light: bool| {
            place.as_ref().and_then(|it| (if light { it.light } else { it.heavy }).then_some(it.taker))
        };
        for (takers, light) in [(&mut self.light, true), (&mut self.heavy, false)] {
            let (was, is) = (has(&before, light), has(&after, light));
            if was == is {
                continue;
            }
            if let Some(was) = was {
                takers.remove_mut(&was);
            }
            if let Some(is) = is {
                takers.insert_mut(is);
            }
        }
    }
}

/// Where a member stands among those that take tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    taker: Taker,
    light: bool,
    heavy: bool,
}

impl Place {
    fn of(member: &Member, rule: SlotRule, revision: u64) -> Option<Place> {
        if !member.may_be_given() {
            return None;
        }
        let idle = member.slots.iter().filter(|slot| slot.is_idle()).count();
        let taker = Taker {
            is_old: member.revision < revision,
            idle: u8::try_from(idle).unwrap_or(u8::MAX),
            member: member.member,
        };
        let light = rule.pick(&member.slots, Weight::Light).is_some();
        let heavy = rule.pick(&member.slots, Weight::Heavy).is_some();
        (light || heavy).then_some(Place { taker, light, heavy })
    }
}
