//! What follows by itself from a change, in the same decision: who waits gets what came free, others make way, alerts
//! are raised and cleared. So that no crash can come between.

use std::ops::Bound;
use std::sync::Arc;

use super::event::{AlertCleared, AlertRaised, Allocated, LedgerEvent, PreemptionRequested};
use super::kept::Kept;
use super::preempt;
use super::queue::Walk;
use super::resource::ResourceKind;
use super::state::{Ledger, Rank, Waiting};
use super::tenant::TenantId;
use crate::context::Context;
use crate::decider::Decider;

/// Pods at the head of the queue for which others may be made to leave at once.
const PREEMPTORS_MAX: usize = 8;

/// The events of an answer and all that follow from them now; `looks_again` also if the answer changes nothing: what
/// holds outside of the ledger may have.
pub(super) fn complete(
    ledger: &Ledger,
    mut events: Vec<LedgerEvent>,
    context: &Context,
    looks_again: bool,
) -> Vec<LedgerEvent> {
    if !looks_again && !events.iter().any(may_lead_on) {
        return events;
    }
    let mut next = ledger.clone();
    for event in &events {
        next = evolved(&next, event);
    }
    // A node that takes no pods begins none that wait, and makes nobody leave for them.
    if !next.waiting.is_empty() && context.cordoned.is_none() {
        // Who came to wait takes nothing, and behind all others he changes nothing for them. In front of others he may: what
        // is kept for one of them then is not what it was, and the next one may have what it was.
        let last = next.waiting.last().map(|(_, waiting)| waiting.pod);
        let only_waits =
            |event: &LedgerEvent| matches!(event, LedgerEvent::Queued(it) if Some(it.pod) == last);
        if looks_again || !events.iter().all(only_waits) {
            next = serve(next, &mut events, context);
        }
        next = make_way(next, &mut events, context);
    }
    alert(&next, &mut events);
    events
}

/// Whether an event can be the cause of others.
fn may_lead_on(event: &LedgerEvent) -> bool {
    use LedgerEvent as E;
    !matches!(event, E::StaleTokenRefused(_) | E::UseRecorded(_) | E::DriftFound(_) | E::DriftResolved(_))
}

fn evolved(ledger: &Ledger, event: &LedgerEvent) -> Ledger {
    ledger.evolve(event).expect("a decider only emits events that its state can follow")
}

/// Gives those who wait what they can have now, the first first. Nobody takes what one in front of him waits for.
fn serve(mut ledger: Ledger, events: &mut Vec<LedgerEvent>, context: &Context) -> Ledger {
    while serve_once(&mut ledger, events, context) {}
    ledger
}

/// Goes through the queue until somebody was given a GPU, which changes what devices are kept for those in front of him;
/// says whether anybody was given something.
fn serve_once(ledger: &mut Ledger, events: &mut Vec<LedgerEvent>, context: &Context) -> bool {
    let before = events.len();
    let (mut kept, mut walk) = (Kept::default(), Walk::begin(ledger));
    let mut next = first_from(ledger, Bound::Unbounded);
    while let Some((rank, waiting)) = next {
        if walk.is_over() || ledger.has_nothing_left(&kept) {
            break;
        }
        next = first_from(ledger, Bound::Excluded(rank));
        if !walk.looks_at(ledger, &waiting.tenant, &kept) {
            continue;
        }
        let grant = match ledger.available(&waiting.tenant, &waiting.demand, &kept) {
            Ok(grant) => grant,
            Err(shortages) => {
                ledger.keep(&mut kept, &waiting, &shortages);
                walk.pass(ledger, &waiting.tenant, &kept, &shortages);
                continue;
            }
        };
        let allocated = Allocated {
            pod: waiting.pod,
            tenant: waiting.tenant.clone(),
            priority: waiting.priority,
            demand: waiting.demand.clone(),
            grant,
            at: context.now,
            stays: waiting.stays,
        };
        let event = allocated.into();
        *ledger = evolved(ledger, &event);
        events.push(event);
        walk.pass_alone();
        if waiting.demand.gpu.is_some() {
            break;
        }
    }
    before < events.len()
}

/// The first who waits, from a place in the queue on.
fn first_from(ledger: &Ledger, from: Bound<Rank>) -> Option<(Rank, Arc<Waiting>)> {
    let (rank, waiting) = ledger.waiting.range((from, Bound::Unbounded)).next()?;
    Some((*rank, waiting.clone()))
}

/// Asks pods to leave for the first of those who wait.
fn make_way(mut ledger: Ledger, events: &mut Vec<LedgerEvent>, context: &Context) -> Ledger {
    let queue: Vec<_> =
        ledger.waiting.iter().take(PREEMPTORS_MAX).map(|(rank, it)| (*rank, it.clone())).collect();
    for (rank, waiting) in queue {
        if !waiting.victims.is_empty() {
            continue;
        }
        let victims = preempt::victims(&ledger, rank, &waiting, context.now);
        if victims.is_empty() {
            continue;
        }
        let grace_s = ledger.policy.preemption_grace_s;
        let event = PreemptionRequested { pod: waiting.pod, victims, grace_s }.into();
        ledger = evolved(&ledger, &event);
        events.push(event);
    }
    ledger
}

/// Raises and clears the alerts of the tenants whom the events concern.
fn alert(ledger: &Ledger, events: &mut Vec<LedgerEvent>) {
    let mut changes = vec![];
    for id in concerned(ledger, events) {
        for (kind, used, most) in near_bounds(ledger, &id) {
            let is_raised = ledger.alerts.contains(&(id.clone(), kind.clone()));
            if !is_raised {
                changes.push(AlertRaised { tenant: id.clone(), kind, used, most }.into());
            }
        }
        let near: Vec<ResourceKind> = near_bounds(ledger, &id).into_iter().map(|(kind, ..)| kind).collect();
        let raised = ledger.alerts.iter().filter(|(tenant, kind)| *tenant == id && !near.contains(kind));
        changes.extend(raised.map(|(tenant, kind)| {
            LedgerEvent::from(AlertCleared { tenant: tenant.clone(), kind: kind.clone() })
        }));
    }
    events.extend(changes);
}

/// The tenants with an alert of whom something changed.
fn concerned(ledger: &Ledger, events: &[LedgerEvent]) -> Vec<TenantId> {
    use LedgerEvent as E;
    let of = |event: &LedgerEvent| match event {
        E::Allocated(it) => Some(it.tenant.clone()),
        E::Reserved(it) => Some(it.tenant.clone()),
        _ => None,
    };
    let all = events.iter().any(|event| {
        matches!(
            event,
            E::Released(_)
                | E::ReservationExpired(_)
                | E::ReservationCancelled(_)
                | E::TenantSet(_)
                | E::TenantRemoved(_)
                | E::PolicySet(_)
                | E::ResizeGranted(_)
                | E::ResizeSettled(_)
        )
    });
    let with_alert = ledger.tenants.iter().filter(|(_, tenant)| tenant.alert_percent.is_some());
    let raised = ledger.alerts.iter().map(|(tenant, _)| tenant.clone());
    let mut found: Vec<TenantId> = match all {
        // Whose pod it was is told by the state alone, and it is gone from there: who has an alert is looked at.
        true => with_alert.map(|(id, _)| id.clone()).chain(raised).collect(),
        false => events.iter().filter_map(of).collect(),
    };
    found.sort();
    found.dedup();
    found
}

/// Of what a tenant uses so much that its alert is raised: kind, use and bound.
pub(super) fn near_bounds(ledger: &Ledger, id: &TenantId) -> Vec<(ResourceKind, u64, u64)> {
    let percent = ledger.tenants.get(id).and_then(|tenant| tenant.alert_percent);
    let Some(percent) = percent else { return vec![] };
    let used = ledger.used.get(id);
    let bounds = ledger.quota(id).quota.iter();
    let of = |(kind, most): (&ResourceKind, u64)| (kind.clone(), used.map_or(0, |used| used.get(kind)), most);
    let is_near = |(_, used, most): &(ResourceKind, u64, u64)| {
        0 < *used && u128::from(*most) * u128::from(percent) <= u128::from(*used) * 100
    };
    bounds.map(of).filter(is_near).collect()
}
