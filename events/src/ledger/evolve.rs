//! What each event makes of the ledger.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::decide::pod_of;
use super::event::{
    Allocated, LedgerEvent, PolicySet, PreemptionRequested, Queued, ReservationActivated, Reserved,
};
use super::grant::{Grant, HolderId};
use super::manager::Conflict;
use super::resize;
use super::resource::{Amounts, ResourceKind};
use super::state::{Holding, Ledger, Rank, Reservation, Waiting};
use super::tenant::TenantId;
use crate::decider::IllegalTransition;
use crate::ids::PodUid;

/// Most reservations that have ended and are still known.
const ENDED_MAX: usize = 1_000;

/// Carries an event out. After an error the ledger is of no use any more.
pub(super) fn apply(ledger: &mut Ledger, event: &LedgerEvent) -> Result<(), IllegalTransition> {
    use LedgerEvent as E;
    match event {
        E::CapacitySet(set) => {
            ledger.capacity = Arc::new(set.capacity.clone());
            ledger.managers.set_capacity(&set.capacity, &ledger.policy);
        }
        E::PolicySet(set) => set_policy(ledger, set),
        E::TenantSet(set) => {
            ledger.tenants.insert_mut(set.id.clone(), Arc::new(set.tenant.clone()));
        }
        E::TenantRemoved(removed) if ledger.tenants.remove_mut(&removed.id) => {}
        E::TenantRemoved(_) => return Err(illegal("ledger.tenant-removed of a tenant without bounds")),
        E::Allocated(allocated) => allocate(ledger, allocated)?,
        E::Queued(queued) => queue(ledger, queued)?,
        E::Withdrawn(withdrawn) if leave_queue(ledger, withdrawn.pod) => {}
        E::Withdrawn(_) => return Err(illegal("ledger.withdrawn of a pod that does not wait")),
        E::Released(released) => release(ledger, released.pod)?,
        E::PreemptionRequested(requested) => preempt(ledger, requested)?,
        E::Reserved(reserved) => reserve(ledger, reserved)?,
        E::ReservationActivated(activated) => activate(ledger, activated)?,
        E::ReservationExpired(expired) => give_up(ledger, expired.reservation)?,
        E::ReservationCancelled(cancelled) => give_up(ledger, cancelled.reservation)?,
        E::ManagerStopped(stopped) => {
            ledger.managers.set_stopped(&stopped.kind, Some(stopped.reason.clone()));
        }
        E::ManagerStarted(started) => ledger.managers.set_stopped(&started.kind, None),
        E::AlertRaised(raised) => {
            ledger.alerts.insert((raised.tenant.clone(), raised.kind.clone()));
        }
        E::AlertCleared(cleared) => {
            ledger.alerts.remove(&(cleared.tenant.clone(), cleared.kind.clone()));
        }
        E::DriftFound(found) => {
            ledger.drifts.insert(found.drift.clone());
        }
        E::DriftResolved(resolved) => {
            ledger.drifts.remove(&resolved.drift);
        }
        E::ForeignPortsSeen(seen) => ledger.managers.network.set_foreign(seen.ports.clone()),
        E::ResizeGranted(granted) => resize::follow_grant(ledger, granted)?,
        E::ResizeSettled(settled) => resize::follow_settle(ledger, settled)?,
        // What was refused, and what was really used, changes nothing that is given out.
        E::StaleTokenRefused(_) | E::UseRecorded(_) => {}
    }
    Ok(())
}

fn set_policy(ledger: &mut Ledger, set: &PolicySet) {
    ledger.policy = Arc::new(set.policy.clone());
    if set.from_config {
        ledger.config_policy = Some(ledger.policy.clone());
    }
    ledger.managers.set_limits(&set.policy);
}

fn allocate(ledger: &mut Ledger, allocated: &Allocated) -> Result<(), IllegalTransition> {
    leave_queue(ledger, allocated.pod);
    let holding = Holding {
        tenant: allocated.tenant.clone(),
        priority: allocated.priority,
        grant: allocated.grant.clone(),
        since: allocated.at,
        leaves_for: None,
        stays: allocated.stays,
        resizing: None,
    };
    give(ledger, HolderId::Pod(allocated.pod), holding)
}

fn queue(ledger: &mut Ledger, queued: &Queued) -> Result<(), IllegalTransition> {
    let holds = ledger.holdings.contains_key(&HolderId::Pod(queued.pod));
    if holds || ledger.ranks.contains_key(&queued.pod) {
        return Err(illegal("ledger.queued of a pod that waits or holds"));
    }
    ledger.queued += 1;
    let rank = Rank { behind: -i64::from(queued.priority), order: ledger.queued };
    let waiting = Waiting {
        pod: queued.pod,
        tenant: queued.tenant.clone(),
        priority: queued.priority,
        demand: queued.demand.clone(),
        since: queued.at,
        victims: leaving_for(ledger, queued.pod),
        stays: queued.stays,
    };
    ledger.asking = ledger.asking.with(&waiting.demand);
    let of_tenant = ledger.asking_of.get(&waiting.tenant).copied().unwrap_or_default();
    ledger.asking_of.insert_mut(waiting.tenant.clone(), of_tenant.with(&waiting.demand));
    ledger.waiting.insert_mut(rank, Arc::new(waiting));
    ledger.ranks.insert_mut(queued.pod, rank);
    Ok(())
}

/// Who makes way for a pod since it waited before.
fn leaving_for(ledger: &Ledger, pod: PodUid) -> BTreeSet<PodUid> {
    let leaving = ledger.holdings.iter().filter(|(_, holding)| holding.leaves_for == Some(pod));
    leaving.filter_map(|(holder, _)| pod_of(*holder)).collect()
}

fn release(ledger: &mut Ledger, pod: PodUid) -> Result<(), IllegalTransition> {
    let holding = take(ledger, HolderId::Pod(pod))?;
    ledger.managers.forget_gone();
    if let Some(preemptor) = holding.leaves_for {
        change_waiting(ledger, preemptor, |waiting| {
            waiting.victims.remove(&pod);
        });
    }
    Ok(())
}

fn preempt(ledger: &mut Ledger, requested: &PreemptionRequested) -> Result<(), IllegalTransition> {
    for victim in &requested.victims {
        let id = HolderId::Pod(*victim);
        let Some(holding) = ledger.holdings.get(&id) else {
            return Err(illegal("ledger.preemption-requested of a pod that holds nothing"));
        };
        let leaving = Holding { leaves_for: Some(requested.pod), ..Holding::clone(holding) };
        ledger.holdings.insert_mut(id, Arc::new(leaving));
    }
    change_waiting(ledger, requested.pod, |waiting| waiting.victims.extend(&requested.victims));
    Ok(())
}

fn reserve(ledger: &mut Ledger, reserved: &Reserved) -> Result<(), IllegalTransition> {
    if reserved.token <= ledger.last_token {
        return Err(illegal("ledger.reserved with a token that was given before"));
    }
    if reserved.token == u64::MAX {
        return Err(illegal("ledger.reserved with the last token of all: none could follow"));
    }
    let holding = Holding {
        tenant: reserved.tenant.clone(),
        priority: 0,
        grant: reserved.grant.clone(),
        since: reserved.at,
        leaves_for: None,
        stays: false,
        resizing: None,
    };
    give(ledger, HolderId::Reservation(reserved.reservation), holding)?;
    ledger.last_token = reserved.token;
    let reservation = Reservation {
        owner: reserved.owner.clone(),
        demand: reserved.demand.clone(),
        token: reserved.token,
        expires_at: reserved.expires_at,
    };
    ledger.reservations.insert_mut(reserved.reservation, Arc::new(reservation));
    Ok(())
}

fn activate(ledger: &mut Ledger, activated: &ReservationActivated) -> Result<(), IllegalTransition> {
    let held = end_reservation(ledger, activated.reservation)?;
    leave_queue(ledger, activated.pod);
    let (priority, since) = (activated.priority, activated.at);
    give(ledger, HolderId::Pod(activated.pod), Holding { priority, since, ..held })
}

fn illegal(event: &str) -> IllegalTransition {
    IllegalTransition::new("the ledger", event)
}

fn impossible(conflict: &Conflict) -> IllegalTransition {
    illegal(&conflict.to_string())
}

pub(super) fn give(ledger: &mut Ledger, id: HolderId, holding: Holding) -> Result<(), IllegalTransition> {
    if ledger.holdings.contains_key(&id) {
        return Err(illegal(&format!("{id} is given something twice")));
    }
    ledger.managers.allocate(id, &holding.grant).map_err(|conflict| impossible(&conflict))?;
    let mut used = ledger.used.get(&holding.tenant).map(|used| Amounts::clone(used)).unwrap_or_default();
    used.add(&on_account(&holding.grant))
        .map_err(|kind| illegal(&format!("{kind}: more than can be counted")))?;
    ledger.used.insert_mut(holding.tenant.clone(), Arc::new(used));
    ledger.holdings.insert_mut(id, Arc::new(holding));
    Ok(())
}

pub(super) fn take(ledger: &mut Ledger, id: HolderId) -> Result<Holding, IllegalTransition> {
    let Some(holding) = ledger.holdings.get(&id).map(|holding| Holding::clone(holding)) else {
        return Err(illegal(&format!("{id} gives back what it does not have")));
    };
    ledger.managers.deallocate(id, &holding.grant).map_err(|conflict| impossible(&conflict))?;
    charge_back(ledger, &holding.tenant, &holding.grant)?;
    ledger.holdings.remove_mut(&id);
    Ok(holding)
}

fn charge_back(ledger: &mut Ledger, tenant: &TenantId, grant: &Grant) -> Result<(), IllegalTransition> {
    let mut used = ledger.used.get(tenant).map(|used| Amounts::clone(used)).unwrap_or_default();
    used.take(&on_account(grant)).map_err(|kind| illegal(&format!("{kind}: tenant {tenant} has less")))?;
    if used.is_empty() {
        ledger.used.remove_mut(tenant);
    } else {
        ledger.used.insert_mut(tenant.clone(), Arc::new(used));
    }
    Ok(())
}

/// What a grant counts against its tenant's quota: the amounts, and one pod.
pub(super) fn on_account(grant: &Grant) -> Amounts {
    let mut amounts = grant.amounts();
    amounts.set(ResourceKind::Pods, 1);
    amounts
}

fn give_up(ledger: &mut Ledger, id: uuid::Uuid) -> Result<(), IllegalTransition> {
    end_reservation(ledger, id)?;
    ledger.managers.forget_gone();
    Ok(())
}

fn end_reservation(ledger: &mut Ledger, id: uuid::Uuid) -> Result<Holding, IllegalTransition> {
    let Some(token) = ledger.reservations.get(&id).map(|reservation| reservation.token) else {
        return Err(illegal("the end of a reservation that there is not"));
    };
    ledger.reservations.remove_mut(&id);
    ledger.ended.insert_mut(token, id);
    if ENDED_MAX < ledger.ended.size()
        && let Some(oldest) = ledger.ended.keys().next().copied()
    {
        ledger.ended.remove_mut(&oldest);
    }
    take(ledger, HolderId::Reservation(id))
}

/// Takes a pod out of the queue; says whether it was in it.
fn leave_queue(ledger: &mut Ledger, pod: PodUid) -> bool {
    let Some(rank) = ledger.ranks.get(&pod).copied() else { return false };
    if let Some(waiting) = ledger.waiting.get(&rank) {
        ledger.asking = ledger.asking.without(&waiting.demand);
        let of_tenant = ledger.asking_of.get(&waiting.tenant).copied().unwrap_or_default();
        let of_tenant = of_tenant.without(&waiting.demand);
        if of_tenant.pods() == 0 {
            ledger.asking_of.remove_mut(&waiting.tenant);
        } else {
            ledger.asking_of.insert_mut(waiting.tenant.clone(), of_tenant);
        }
    }
    ledger.waiting.remove_mut(&rank);
    ledger.ranks.remove_mut(&pod)
}

fn change_waiting(ledger: &mut Ledger, pod: PodUid, change: impl FnOnce(&mut Waiting)) {
    let Some(rank) = ledger.ranks.get(&pod).copied() else { return };
    let Some(waiting) = ledger.waiting.get(&rank) else { return };
    let mut next = Waiting::clone(waiting);
    change(&mut next);
    ledger.waiting.insert_mut(rank, Arc::new(next));
}
