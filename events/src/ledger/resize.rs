//! Other amounts for a pod that goes on. The ledger has the greater of the old and the new amounts from before the
//! runtime is told until it has done it, so that never more is used than is given out.

use serde::{Deserialize, Serialize};

use super::claims::Demand;
use super::command::LedgerRejection;
use super::decide::with_defaults;
use super::event::LedgerEvent;
use super::grant::{Bound, Grant, HolderId, Shortage};
use super::kept::Kept;
use super::resource::{Amounts, ResourceKind};
use super::state::{Holding, Ledger, Rank};
use crate::context::Context;
use crate::decider::IllegalTransition;
use crate::ids::PodUid;
use crate::units::{Bytes, MilliCpu, Timestamp};

/// Processor time and memory of a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Processor time.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
}

impl Size {
    /// What a grant has.
    #[must_use]
    pub fn of(grant: &Grant) -> Size {
        Size { cpu: grant.cpu, memory: grant.memory }
    }

    /// The greater of both, each for itself.
    fn max(self, other: Size) -> Size {
        Size { cpu: self.cpu.max(other.cpu), memory: self.memory.max(other.memory) }
    }

    /// How much more this is than another, each for itself.
    fn beyond(self, other: Size) -> Size {
        let cpu = MilliCpu(self.cpu.0.saturating_sub(other.cpu.0));
        Size { cpu, memory: Bytes(self.memory.0.saturating_sub(other.memory.0)) }
    }

    /// As amounts of the ledger.
    fn amounts(self) -> Amounts {
        [(ResourceKind::Cpu, self.cpu.0), (ResourceKind::Memory, self.memory.0)].into_iter().collect()
    }

    fn part(self) -> Grant {
        Grant { cpu: self.cpu, memory: self.memory, ..Grant::default() }
    }
}

/// A pod's wish for other amounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResizeHolding {
    /// Which.
    pub pod: PodUid,
    /// The generation of the pod that it is for.
    pub generation: u32,
    /// Processor time that it is to have; none if that stays.
    pub cpu: Option<MilliCpu>,
    /// Memory that it is to have; none if that stays.
    pub memory: Option<Bytes>,
}

/// Other amounts that a pod is getting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resizing {
    /// The generation of the pod that they are for.
    pub generation: u32,
    /// What it had before.
    pub from: Size,
    /// What it is to have.
    pub to: Size,
}

/// `ledger.resize-granted` version 1. The pod has the greater of both until `ledger.resize-settled`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeGranted {
    /// To whom.
    pub pod: PodUid,
    /// The generation of the pod that it is for.
    pub generation: u32,
    /// What it had before.
    pub from: Size,
    /// What it is to have.
    pub to: Size,
    /// When.
    pub at: Timestamp,
}

/// `ledger.resize-settled` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeSettled {
    /// Whose.
    pub pod: PodUid,
    /// The generation of the pod that it was for.
    pub generation: u32,
    /// What the pod has now.
    pub size: Size,
    /// Whether that is what it was to have, and not what it had before.
    pub done: bool,
    /// When.
    pub at: Timestamp,
}

type Answer = Result<Vec<LedgerEvent>, LedgerRejection>;

/// Gives a pod what it needs for other sizes, all of it or nothing.
pub(super) fn grant(ledger: &Ledger, asked: &ResizeHolding, context: &Context) -> Answer {
    let Some(holding) = ledger.holdings.get(&HolderId::Pod(asked.pod)) else { return Ok(vec![]) };
    if let Some(open) = &holding.resizing {
        return Err(LedgerRejection::ResizeOpen { generation: open.generation });
    }
    let from = Size::of(&holding.grant);
    let wanted = Demand {
        cpu: asked.cpu.unwrap_or(from.cpu),
        memory: asked.memory.unwrap_or(from.memory),
        ..Demand::default()
    };
    let wanted = with_defaults(ledger, &holding.tenant, &wanted);
    let to = Size { cpu: wanted.cpu, memory: wanted.memory };
    if from == to {
        return Ok(vec![]);
    }
    let rank = Rank { behind: -i64::from(holding.priority), order: ledger.queued + 1 };
    let shortages = short(ledger, holding, from, to, &ledger.kept_before(rank));
    if !shortages.is_empty() {
        let anyhow = short(ledger, holding, from, to, &Kept::default());
        return Err(ledger.refused_beside(rank, &anyhow, shortages));
    }
    let (pod, generation, at) = (asked.pod, asked.generation, context.now);
    Ok(vec![ResizeGranted { pod, generation, from, to, at }.into()])
}

/// Everything that stands against it. What is given up counts for nothing yet, and who waits in front goes first.
fn short(ledger: &Ledger, holding: &Holding, from: Size, to: Size, kept: &Kept) -> Vec<Shortage> {
    let more = to.beyond(from);
    let grows = |kind: &ResourceKind| more.amounts().get(kind) != 0;
    let demand = Demand { cpu: more.cpu, memory: more.memory, ..Demand::default() };
    let terms = super::manager::Terms { policy: &ledger.policy, kept };
    let mut found = ledger.managers.check_availability(&demand, &terms).err().unwrap_or_default();
    let usage = ledger.managers.usage(ledger.policy.strict);
    for shortage in &mut found {
        let allocatable = usage.get(&shortage.kind).map_or(0, |usage| usage.allocatable);
        let whole = to.amounts().get(&shortage.kind);
        // What the pod has already is part of what it would have in all.
        if matches!(shortage.bound, Bound::Free | Bound::Node { .. }) && allocatable < whole {
            (shortage.asked, shortage.bound) = (whole, Bound::Node { allocatable });
        }
    }
    let unallowed = ledger.unallowed(&holding.tenant, &to.amounts()).into_iter();
    found.extend(unallowed.filter(|it| it.bound == Bound::Unstated || grows(&it.kind)));
    let beyond = ledger.beyond_quota(&holding.tenant, &more.amounts(), kept).into_iter();
    found.extend(beyond.filter(|it| grows(&it.kind)));
    found
}

/// Leaves a pod with what it has now for good, the old or the new.
pub(super) fn settle(ledger: &Ledger, pod: PodUid, generation: u32, done: bool, context: &Context) -> Answer {
    let resizing = ledger.holdings.get(&HolderId::Pod(pod)).and_then(|holding| holding.resizing);
    let Some(open) = resizing.filter(|open| open.generation == generation) else { return Ok(vec![]) };
    let size = if done { open.to } else { open.from };
    Ok(vec![ResizeSettled { pod, generation, size, done, at: context.now }.into()])
}

pub(super) fn follow_grant(ledger: &mut Ledger, it: &ResizeGranted) -> Result<(), IllegalTransition> {
    let ResizeGranted { pod, generation, from, to, at: _ } = *it;
    change(ledger, pod, from.max(to), Some(Resizing { generation, from, to }))
}

pub(super) fn follow_settle(ledger: &mut Ledger, it: &ResizeSettled) -> Result<(), IllegalTransition> {
    change(ledger, it.pod, it.size, None)
}

fn change(
    ledger: &mut Ledger,
    pod: PodUid,
    size: Size,
    resizing: Option<Resizing>,
) -> Result<(), IllegalTransition> {
    let illegal = |detail: String| IllegalTransition::new("the ledger", &detail);
    let id = HolderId::Pod(pod);
    let Some(held) = ledger.holdings.get(&id).map(|holding| Holding::clone(holding)) else {
        return Err(illegal("other amounts for a pod that holds nothing".to_owned()));
    };
    let before = Size::of(&held.grant);
    let (more, less) = (size.beyond(before).part(), before.beyond(size).part());
    ledger.managers.deallocate(id, &less).map_err(|conflict| illegal(conflict.to_string()))?;
    ledger.managers.allocate(id, &more).map_err(|conflict| illegal(conflict.to_string()))?;
    let mut used = ledger.used.get(&held.tenant).map(|used| Amounts::clone(used)).unwrap_or_default();
    used.take(&less.amounts())
        .and_then(|()| used.add(&more.amounts()))
        .map_err(|kind| illegal(format!("{kind}: more or less than can be counted")))?;
    ledger.used.insert_mut(held.tenant.clone(), std::sync::Arc::new(used));
    let grant = Grant { cpu: size.cpu, memory: size.memory, ..held.grant.clone() };
    ledger.holdings.insert_mut(id, std::sync::Arc::new(Holding { grant, resizing, ..held }));
    Ok(())
}
