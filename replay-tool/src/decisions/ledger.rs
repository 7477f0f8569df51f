//! The commands behind the records of the ledger.

use purser_events::ledger::claims::ReservationRef;
use purser_events::ledger::event::{
    Allocated, DriftFound, Queued, ReleaseReason, Released, ReservationActivated, ReservationVerb, Reserved,
    ResizeGranted, StaleReason, StaleTokenRefused,
};
use purser_events::ledger::{
    Admit, Demand, DriftReport, HolderId, Ledger, LedgerCommand, LedgerEvent, Reserve, ResizeHolding,
    TenantId, WhenFull,
};
use purser_events::{Cause, Event, PodUid};

use super::{About, Redecided};

impl Redecided for Ledger {
    fn commands(&self, events: &[LedgerEvent], about: About) -> Vec<LedgerCommand> {
        use LedgerCommand as C;
        use LedgerEvent as E;
        let Some(first) = events.first() else { return Vec::new() };
        let one = match first {
            E::CapacitySet(it) => C::SetCapacity(Box::new(it.capacity.clone())),
            E::PolicySet(it) if it.from_config => C::Configure(Box::new(it.policy.clone())),
            E::PolicySet(it) => C::SetPolicy(Box::new(it.policy.clone())),
            E::TenantSet(it) => C::SetTenant { id: it.id.clone(), tenant: Box::new(it.tenant.clone()) },
            E::TenantRemoved(it) => C::RemoveTenant { id: it.id.clone() },
            E::Allocated(it) => return allocated(self, it, about),
            E::Queued(it) => queued(self, it, about),
            E::Withdrawn(it) => C::Release { pod: it.pod, reason: ReleaseReason::Ended },
            E::Released(Released { pod, reason }) => C::Release { pod: *pod, reason: *reason },
            E::ResizeGranted(it) => resized(it),
            E::ResizeSettled(it) => C::SettleResize { pod: it.pod, generation: it.generation, done: it.done },
            E::Reserved(it) => reserved(self, it),
            E::ReservationActivated(it) => return activated(self, it).into_iter().collect(),
            E::ReservationExpired(_) => match events.get(1) {
                Some(E::StaleTokenRefused(it)) => return vec![stale(self, it), C::CheckTime],
                Some(_) | None => C::CheckTime,
            },
            E::ReservationCancelled(it) => match self.reservations.get(&it.reservation) {
                Some(held) => {
                    let reservation = ReservationRef { id: it.reservation, token: held.token };
                    let cancel = C::Cancel { reservation, owner: held.owner.clone() };
                    // An operator gives up also what its owner could not any more.
                    return vec![cancel, C::Revoke { reservation: it.reservation }];
                }
                None => C::CheckTime,
            },
            E::StaleTokenRefused(it) => stale(self, it),
            E::ManagerStopped(it) => C::StopManager { kind: it.kind.clone(), reason: it.reason.clone() },
            E::ManagerStarted(it) => C::StartManager { kind: it.kind.clone() },
            E::DriftFound(_) | E::DriftResolved(_) => C::ReportDrift(seen(self, events)),
            E::UseRecorded(it) => C::RecordUse(it.clone()),
            E::ForeignPortsSeen(it) => C::SeePorts { listened: it.ports.clone() },
            // Nobody asks for these: they follow once a time comes, or the node takes pods again.
            E::PreemptionRequested(_) | E::AlertRaised(_) | E::AlertCleared(_) => C::CheckTime,
        };
        vec![one]
    }

    fn of(event: &Event) -> Option<&LedgerEvent> {
        match event {
            Event::Ledger(event) => Some(event),
            _ => None,
        }
    }
}

/// A namespace whose pods go on a tenant's account.
fn namespace_of(ledger: &Ledger, tenant: &TenantId) -> String {
    let known = ledger.tenants.get(tenant).and_then(|tenant| tenant.namespaces.first());
    known.map_or_else(|| tenant.as_str().to_owned(), String::clone)
}

fn admit(pod: PodUid, namespace: String, demand: &Demand, priority: i32) -> Admit {
    let demand = demand.clone();
    let (when_full, reservation, adopt, waited, stays) = (WhenFull::AsPolicy, None, false, false, false);
    Admit { pod, namespace, demand, priority, when_full, reservation, adopt, waited, stays }
}

fn allocated(ledger: &Ledger, it: &Allocated, about: About) -> Vec<LedgerCommand> {
    if ledger.waits(it.pod).is_some() {
        return vec![LedgerCommand::CheckTime];
    }
    let asked = admit(it.pod, namespace_of(ledger, &it.tenant), &it.demand, it.priority);
    let asked = Admit { stays: it.stays, ..asked };
    let again = Admit { waited: true, ..asked.clone() };
    let adopted = Admit { adopt: true, ..asked.clone() };
    let commands = [asked, again, adopted].map(|admit| LedgerCommand::Admit(Box::new(admit)));
    // Nobody but the node itself puts down a pod that runs or waits already.
    let count = if about.cause == Cause::Node { 3 } else { 1 };
    commands.into_iter().take(count).collect()
}

fn queued(ledger: &Ledger, it: &Queued, about: About) -> LedgerCommand {
    let asked = admit(it.pod, namespace_of(ledger, &it.tenant), &it.demand, it.priority);
    LedgerCommand::Admit(Box::new(Admit {
        when_full: WhenFull::Wait,
        waited: about.cause == Cause::Node,
        stays: it.stays,
        ..asked
    }))
}

/// What was asked for in so many words, or by a tenant's default: both come to the same.
fn resized(it: &ResizeGranted) -> LedgerCommand {
    LedgerCommand::Resize(Box::new(ResizeHolding {
        pod: it.pod,
        generation: it.generation,
        cpu: (it.from.cpu != it.to.cpu).then_some(it.to.cpu),
        memory: (it.from.memory != it.to.memory).then_some(it.to.memory),
    }))
}

fn reserved(ledger: &Ledger, it: &Reserved) -> LedgerCommand {
    let ttl_us = it.expires_at.0.saturating_sub(it.at.0);
    LedgerCommand::Reserve(Box::new(Reserve {
        reservation: it.reservation,
        owner: it.owner.clone(),
        namespace: namespace_of(ledger, &it.tenant),
        demand: it.demand.clone(),
        ttl_ms: u64::try_from(ttl_us / 1_000).unwrap_or_default(),
    }))
}

/// What a pod asked for that took up a reservation is not on record: it was no more than is kept.
fn activated(ledger: &Ledger, it: &ReservationActivated) -> Option<LedgerCommand> {
    let held = ledger.reservations.get(&it.reservation)?;
    let holding = ledger.holdings.get(&HolderId::Reservation(it.reservation))?;
    let reservation = ReservationRef { id: it.reservation, token: held.token };
    let asked = admit(it.pod, namespace_of(ledger, &holding.tenant), &held.demand, it.priority);
    let asked = Admit { reservation: Some((reservation, held.owner.clone())), ..asked };
    Some(LedgerCommand::Admit(Box::new(asked)))
}

/// Somebody spoke for a reservation that is not his.
fn stale(ledger: &Ledger, it: &StaleTokenRefused) -> LedgerCommand {
    let reservation = ReservationRef { id: it.reservation, token: it.token };
    let held = ledger.reservations.get(&it.reservation);
    let owner = match it.reason {
        // Whoever it was, the owner it was not.
        StaleReason::Owner => String::new(),
        StaleReason::Gone | StaleReason::Token | StaleReason::Expired => {
            held.map_or_else(String::new, |held| held.owner.clone())
        }
    };
    match it.verb {
        ReservationVerb::Cancel => LedgerCommand::Cancel { reservation, owner },
        ReservationVerb::Activate => {
            let holding = ledger.holdings.get(&HolderId::Reservation(it.reservation));
            let namespace =
                holding.map_or_else(|| "default".to_owned(), |it| namespace_of(ledger, &it.tenant));
            let asked = admit(PodUid(it.reservation), namespace, &Demand::default(), 0);
            LedgerCommand::Admit(Box::new(Admit { reservation: Some((reservation, owner)), ..asked }))
        }
    }
}

/// The look at the machine that found and missed what is on record.
fn seen(ledger: &Ledger, events: &[LedgerEvent]) -> DriftReport {
    let mut gone = Vec::new();
    let mut found = Vec::new();
    for event in events {
        match event {
            LedgerEvent::DriftResolved(it) if found.is_empty() => gone.push(&it.drift),
            LedgerEvent::DriftFound(it) => found.push(it.clone()),
            _ => break,
        }
    }
    let still = ledger.drifts.iter().filter(|drift| !gone.contains(drift));
    found.extend(still.map(|drift| DriftFound { drift: drift.clone(), detail: String::new() }));
    DriftReport { found, unseen: [].into() }
}
