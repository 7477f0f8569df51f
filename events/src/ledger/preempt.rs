//! Who makes way for a pod with a higher priority.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::decide::pod_of;
use super::evolve::{give, take};
use super::grant::{Bound, Grant, HolderId, Shortage};
use super::kept::Kept;
use super::manager::Usage;
use super::policy::Preemption;
use super::resource::ResourceKind;
use super::state::{Holding, Ledger, Rank, Waiting};
use crate::ids::PodUid;
use crate::units::Timestamp;

/// What a pod's shares are counted in: parts of all that the machine has of a resource.
const WHOLE: u128 = 1_000_000;

/// The pods that must leave so that a pod can have what it waits for: none if it would not help, or may not be.
pub(super) fn victims(ledger: &Ledger, rank: Rank, waiting: &Waiting, now: Timestamp) -> Vec<PodUid> {
    if ledger.policy.preemption == Preemption::Never {
        return vec![];
    }
    let kept = ledger.kept_before(rank);
    let Err(shortages) = ledger.available(&waiting.tenant, &waiting.demand, &kept) else { return vec![] };
    if !shortages.iter().all(Shortage::may_pass) {
        return vec![];
    }
    let mut candidates: Vec<(PodUid, &Holding)> = ledger
        .holdings
        .iter()
        .filter_map(|(holder, holding)| Some((pod_of(*holder)?, holding.as_ref())))
        .filter(|(_, holding)| holding.priority < waiting.priority && !holding.stays)
        .collect();
    let scale = Scale::of(ledger, &candidates, now);
    candidates.sort_by_cached_key(|(pod, holding)| scale.cost(*pod, holding));
    // Those who leave already are counted on first.
    candidates.sort_by_key(|(_, holding)| holding.leaves_for.is_none());
    if shortages.iter().any(|shortage| cannot_help(&candidates, shortage)) {
        return vec![];
    }
    let Some(chosen) = enough(ledger, waiting, &kept, &candidates) else { return vec![] };
    chosen.into_iter().filter(|pod| !is_leaving(ledger, *pod)).collect()
}

/// Whether there would be too little of something even if all of them left. Looks at what is summed and at what is not
/// held at all, and at nothing that depends on which device it is.
fn cannot_help(candidates: &[(PodUid, &Holding)], shortage: &Shortage) -> bool {
    if !matches!(shortage.bound, Bound::Free) {
        return false;
    }
    let held = |of: fn(&Grant) -> u64| {
        candidates.iter().fold(shortage.free, |sum, (_, holding)| sum.saturating_add(of(&holding.grant)))
    };
    let most = match &shortage.kind {
        ResourceKind::Memory => held(|grant| grant.memory.0),
        ResourceKind::Disk => held(|grant| grant.disk.0),
        ResourceKind::Custom(name) => {
            let of = |(_, holding): &(PodUid, &Holding)| holding.grant.custom.get(name).copied().unwrap_or(0);
            candidates.iter().map(of).fold(shortage.free, u64::saturating_add)
        }
        ResourceKind::Gpus | ResourceKind::GpuShare | ResourceKind::GpuMemory => {
            return candidates.iter().all(|(_, holding)| holding.grant.gpus.is_empty());
        }
        _ => return false,
    };
    most < shortage.asked
}

fn is_leaving(ledger: &Ledger, pod: PodUid) -> bool {
    ledger.holdings.get(&HolderId::Pod(pod)).is_some_and(|holding| holding.leaves_for.is_some())
}

/// What it costs to make a pod leave: who costs least goes first. The uid makes the order certain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    /// Work that is lost; 0 where the policy does not look at it.
    lost: u128,
    priority: i32,
    since: Reverse<Timestamp>,
    pod: PodUid,
}

/// What costs are measured by: see [`Preemption`].
#[derive(Debug)]
struct Scale {
    is_cost_aware: bool,
    now: Timestamp,
    /// What the machine has.
    there: BTreeMap<ResourceKind, Usage>,
    /// Priorities of those who may be asked.
    priorities: BTreeSet<i32>,
}

impl Scale {
    fn of(ledger: &Ledger, candidates: &[(PodUid, &Holding)], now: Timestamp) -> Scale {
        Scale {
            is_cost_aware: ledger.policy.preemption == Preemption::CostAware,
            now,
            there: ledger.managers.usage(ledger.policy.strict),
            priorities: candidates.iter().map(|(_, holding)| holding.priority).collect(),
        }
    }

    fn cost(&self, pod: PodUid, holding: &Holding) -> Cost {
        let lost = if self.is_cost_aware { self.lost(holding) } else { 0 };
        Cost { lost, priority: holding.priority, since: Reverse(holding.since), pod }
    }

    /// The work that is lost with a pod.
    fn lost(&self, holding: &Holding) -> u128 {
        let held_s = u128::from(self.now.ms_since(holding.since) / 1_000) + 1;
        let rank = self.priorities.range(..=holding.priority).count() as u128;
        held_s.saturating_mul(self.share(holding)).saturating_mul(rank)
    }

    /// What a pod would give back: its parts of all that there is of each resource, added up.
    fn share(&self, holding: &Holding) -> u128 {
        // A whole GPU is all of its compute and memory.
        let amounts = holding.grant.amounts();
        let counted = amounts.iter().filter(|(kind, _)| **kind != ResourceKind::Gpus);
        let parts = counted.map(|(kind, amount)| {
            let there = self.there.get(kind).map_or(0, |usage| usage.capacity);
            // Of what is there no longer, the pod has all.
            (u128::from(amount) * WHOLE).checked_div(u128::from(there)).unwrap_or(WHOLE)
        });
        parts.fold(0, u128::saturating_add)
    }
}

/// A smallest set of the candidates, taken in their order, without whom there is room; none if even all do not help.
fn enough(
    ledger: &Ledger,
    waiting: &Waiting,
    kept: &Kept,
    candidates: &[(PodUid, &Holding)],
) -> Option<Vec<PodUid>> {
    let fits = |ledger: &Ledger| ledger.available(&waiting.tenant, &waiting.demand, kept).is_ok();
    if !fits(&without(ledger, candidates.iter())) {
        return None;
    }
    let mut room = ledger.clone();
    let mut chosen = vec![];
    for candidate in candidates {
        leave(&mut room, candidate.0);
        chosen.push(*candidate);
        if fits(&room) {
            break;
        }
    }
    // The last one is needed; of those before it, some may hold nothing that helps.
    for index in (0..chosen.len().saturating_sub(1)).rev() {
        let stays = chosen[index];
        let mut fewer = room.clone();
        give(&mut fewer, HolderId::Pod(stays.0), stays.1.clone()).expect("what was taken can be given back");
        if fits(&fewer) {
            room = fewer;
            chosen.remove(index);
        }
    }
    Some(chosen.into_iter().map(|(pod, _)| pod).collect())
}

/// The ledger as it would be without some of its holders.
fn without<'a>(ledger: &Ledger, gone: impl Iterator<Item = &'a (PodUid, &'a Holding)>) -> Ledger {
    let mut next = ledger.clone();
    gone.for_each(|(pod, _)| leave(&mut next, *pod));
    next
}

fn leave(ledger: &mut Ledger, pod: PodUid) {
    take(ledger, HolderId::Pod(pod)).expect("a holder can give back what it holds");
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ledger::grant::{GpuGrant, Grant};
    use crate::ledger::{GpuUuid, TenantId};
    use crate::units::{Bytes, MilliCpu};

    /// Seconds after the first holder came.
    const NOW_S: i64 = 1_000;

    /// 8 cores, 100 of memory and 2 GPUs with 80 each, at [`NOW_S`].
    fn scale(priorities: &[i32]) -> Scale {
        let kinds = [
            (ResourceKind::Cpu, 8_000),
            (ResourceKind::Memory, 100),
            (ResourceKind::GpuShare, 200),
            (ResourceKind::GpuMemory, 160),
        ];
        let usage = |capacity| Usage { capacity, ..Usage::default() };
        Scale {
            is_cost_aware: true,
            now: Timestamp(NOW_S * 1_000_000),
            there: kinds.into_iter().map(|(kind, capacity)| (kind, usage(capacity))).collect(),
            priorities: priorities.iter().copied().collect(),
        }
    }

    fn holding(since_s: i64, priority: i32, grant: Grant) -> Holding {
        let tenant = TenantId::new("red").unwrap();
        let since = Timestamp(since_s * 1_000_000);
        Holding { tenant, priority, grant, since, leaves_for: None, stays: false, resizing: None }
    }

    fn memory(bytes: u64) -> Grant {
        Grant { memory: Bytes(bytes), ..Grant::default() }
    }

    #[test]
    fn what_is_lost_is_the_time_times_the_share_times_the_rank() {
        let scale = scale(&[-5, 0, 7]);
        let lost = |since_s, priority, grant| scale.lost(&holding(since_s, priority, grant));
        // 401 seconds of a quarter, with the lowest, the second and the third priority.
        assert_eq!(lost(600, -5, memory(25)), 401 * 250_000);
        assert_eq!(lost(600, 0, memory(25)), 401 * 250_000 * 2);
        assert_eq!(lost(600, 7, memory(25)), 401 * 250_000 * 3);
        // Half of the processors and a quarter of the memory, which came this second.
        let both = Grant { cpu: MilliCpu(4_000), ..memory(25) };
        assert_eq!(lost(NOW_S, -5, both), 750_000);
        // One of two GPUs, whole: half of the compute and half of the memory, and not a GPU beside them.
        let uuid = GpuUuid::new("GPU-1").unwrap();
        let gpu = GpuGrant { uuid, share: 100, memory: Bytes(80), whole: true };
        assert_eq!(lost(NOW_S, -5, Grant { gpus: vec![gpu], ..Grant::default() }), 1_000_000);
    }

    #[test]
    fn nothing_is_lost_of_a_time_that_has_not_come_and_what_is_gone_counts_whole() {
        let scale = scale(&[0]);
        assert_eq!(scale.lost(&holding(NOW_S + 60, 0, memory(50))), 500_000);
        let disk = Grant { disk: Bytes(1), ..Grant::default() };
        assert_eq!(scale.lost(&holding(NOW_S, 0, disk)), WHOLE);
    }

    #[test]
    fn equal_costs_go_by_priority_then_youth_then_uid() {
        let mut scale = scale(&[0, 1]);
        scale.is_cost_aware = false;
        let pod = |number: u128| PodUid(Uuid::from_u128(number));
        let cost =
            |number, since_s, priority| scale.cost(pod(number), &holding(since_s, priority, memory(9)));
        let mut costs = [cost(1, 0, 1), cost(2, 5, 1), cost(3, 0, 0), cost(4, 9, 0), cost(5, 9, 0)];
        costs.sort();
        let order: Vec<u128> = costs.iter().map(|cost| cost.pod.0.as_u128()).collect();
        assert_eq!(order, [4, 5, 3, 2, 1]);
    }
}
