//! Who makes way for a pod with a higher priority.

use super::decide::pod_of;
use super::evolve::{give, take};
use super::grant::{HolderId, Shortage};
use super::kept::Kept;
use super::policy::Preemption;
use super::resource::Amounts;
use super::state::{Holding, Ledger, Rank, Waiting};
use crate::ids::PodUid;

/// The pods that must leave so that a pod can have what it waits for: none if it would not help, or may not be.
pub(super) fn victims(ledger: &Ledger, rank: Rank, waiting: &Waiting) -> Vec<PodUid> {
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
        .filter(|(_, holding)| holding.priority < waiting.priority)
        .collect();
    let wanted = waiting.demand.amounts();
    let newest = ledger.holdings.values().map(|holding| holding.since.0).max().unwrap_or(0);
    let policy = ledger.policy.preemption;
    candidates.sort_by_cached_key(|(pod, holding)| cost(policy, holding, newest, &wanted, *pod));
    // Those who leave already are counted on first.
    candidates.sort_by_key(|(_, holding)| holding.leaves_for.is_none());
    let Some(chosen) = enough(ledger, waiting, &kept, &candidates) else { return vec![] };
    chosen.into_iter().filter(|pod| !is_leaving(ledger, *pod)).collect()
}

fn is_leaving(ledger: &Ledger, pod: PodUid) -> bool {
    ledger.holdings.get(&HolderId::Pod(pod)).is_some_and(|holding| holding.leaves_for.is_some())
}

/// What it costs to make a pod leave: who costs least goes first. The uid makes the order certain.
fn cost(
    policy: Preemption,
    holding: &Holding,
    newest: i64,
    wanted: &Amounts,
    pod: PodUid,
) -> (i128, i128, PodUid) {
    let youngest_first = -i128::from(holding.since.0);
    match policy {
        Preemption::Never | Preemption::LowerPriorityOnly => {
            (i128::from(holding.priority), youngest_first, pod)
        }
        Preemption::CostAware => {
            // The longer it ran and the more it holds that nobody waits for, the more is lost by it.
            let ran_ms = i128::from(newest.saturating_sub(holding.since.0)) / 1_000;
            let held = holding.grant.amounts();
            let useless = held.iter().filter(|(kind, _)| wanted.get(kind) == 0).count();
            let useless = i128::try_from(useless).unwrap_or(i128::MAX);
            ((ran_ms + 1).saturating_mul(useless + 1), i128::from(holding.priority), pod)
        }
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
