//! Counts what the ledger gives, takes back and refuses, since the service started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::counter;
use purser_events::ledger::event::StaleReason;
use purser_events::ledger::{Amounts, HolderId, Ledger, LedgerEvent, LedgerRejection, ResourceKind};

use crate::durations::{Durations, Took};
use crate::metric::{self, Metric};

/// What was counted. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    managers: Arc<Mutex<BTreeMap<ResourceKind, Done>>>,
    decisions: Arc<Durations>,
}

/// What one manager has done since the service started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Times that it gave something, to a pod or for a reservation.
    pub allocations: u64,
    /// Times that it had too little of what was asked for, and that was refused.
    pub refusals: u64,
    /// Times that it took something back.
    pub releases: u64,
}

impl Counts {
    /// Counts that take in how long `decisions` took.
    pub(super) fn new(decisions: Arc<Durations>) -> Counts {
        Counts { managers: Arc::default(), decisions }
    }

    /// What a manager has done; it is called by the first of its resources.
    #[must_use]
    pub fn of(&self, manager: &ResourceKind) -> Done {
        self.lock().get(manager).copied().unwrap_or_default()
    }

    /// How long decisions took, which are made for all managers at once.
    #[must_use]
    pub fn decisions(&self) -> Took {
        self.decisions.took()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ResourceKind, Done>> {
        self.managers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one refusal, under each resource that there was too little of, or under what is wrong with a token. Of a token
    /// for a reservation that is long gone, or never was, there is nothing else to see: it is not on record.
    pub(super) fn refused(&self, ledger: &Ledger, rejection: &LedgerRejection) {
        let shortages = match rejection {
            LedgerRejection::Insufficient { shortages, .. } => shortages,
            LedgerRejection::StaleToken { reason, .. } => return count_stale(*reason),
            _ => return,
        };
        let kinds = shortages.iter().map(|shortage| shortage.kind.clone()).collect();
        self.count(ledger, metric::ADMISSIONS_REFUSED, kinds, |done| done.refusals += 1);
    }

    /// Counts what was given and taken back by these events, which happened to `before`.
    pub(super) fn happened<'a>(&self, before: &Ledger, events: impl Iterator<Item = &'a LedgerEvent>) {
        use LedgerEvent as E;
        let held = |holder| before.holdings.get(&holder).map(|holding| holding.grant.amounts());
        for event in events {
            let (given, taken) = match event {
                E::Allocated(it) => (Some(it.grant.amounts()), None),
                E::Reserved(it) => (Some(it.grant.amounts()), None),
                E::Released(it) => (None, held(HolderId::Pod(it.pod))),
                E::ReservationExpired(it) => (None, held(HolderId::Reservation(it.reservation))),
                E::ReservationCancelled(it) => (None, held(HolderId::Reservation(it.reservation))),
                E::StaleTokenRefused(it) => {
                    count_stale(it.reason);
                    (None, None)
                }
                // What a reservation had goes on to the pod: nothing is given anew.
                _ => (None, None),
            };
            let kinds = |amounts: &Amounts| {
                amounts.iter().filter(|(_, amount)| *amount != 0).map(|(kind, _)| kind.clone()).collect()
            };
            if let Some(given) = given {
                let kinds = kinds(&given);
                self.count(before, metric::RESOURCE_ALLOCATIONS, kinds, |done| done.allocations += 1);
            }
            if let Some(taken) = taken {
                self.count(before, metric::RESOURCE_RELEASES, kinds(&taken), |done| done.releases += 1);
            }
        }
    }

    fn count(&self, ledger: &Ledger, metric: Metric, kinds: BTreeSet<ResourceKind>, add: fn(&mut Done)) {
        for kind in &kinds {
            counter!(metric.name, "resource" => label(ledger, kind)).increment(1);
        }
        let mut managers = self.lock();
        for manager in ledger.managers.all() {
            let own = manager.kinds();
            if let Some(name) = own.first().filter(|_| own.iter().any(|kind| kinds.contains(kind))) {
                add(managers.entry(name.clone()).or_default());
            }
        }
    }
}

fn count_stale(reason: StaleReason) {
    counter!(metric::STALE_TOKENS.name, "reason" => reason.word()).increment(1);
}

/// A resource's name as a label. One that the node does not count is named by whoever asks: those are one series.
fn label(ledger: &Ledger, kind: &ResourceKind) -> String {
    match kind {
        ResourceKind::Custom(name) if !ledger.capacity.custom.contains_key(name) => "custom".to_owned(),
        known => known.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use purser_events::ledger::event::{
        Allocated, CapacitySet, ReleaseReason, Released, ReservationExpired, Reserved,
    };
    use purser_events::ledger::{Bound, Capacity, CustomName, Demand, Grant, Shortage, TenantId};
    use purser_events::{Bytes, Decider, MilliCpu, PodUid, Timestamp};
    use uuid::Uuid;

    use super::*;

    const AT: Timestamp = Timestamp(0);

    fn custom(name: &str) -> ResourceKind {
        ResourceKind::Custom(CustomName::new(name).unwrap())
    }

    fn done(allocations: u64, refusals: u64, releases: u64) -> Done {
        Done { allocations, refusals, releases }
    }

    #[test]
    fn each_manager_is_counted_once_for_what_it_gives_and_takes_back() {
        let (tenant, demand) = (TenantId::new("red").unwrap(), Demand::default());
        let grant = Grant { cpu: MilliCpu(1), memory: Bytes(1), ..Grant::default() };
        let (pod, reservation) = (PodUid(Uuid::from_u128(1)), Uuid::from_u128(2));
        let allocated = Allocated {
            pod,
            tenant: tenant.clone(),
            priority: 0,
            demand: demand.clone(),
            grant,
            at: AT,
            stays: false,
        };
        let grant = Grant { memory: Bytes(1), ..Grant::default() };
        let owner = "uid:0".to_owned();
        let reserved =
            Reserved { reservation, owner, tenant, demand, grant, token: 1, expires_at: AT, at: AT };
        let mut ledger = Ledger::default();
        let counts = Counts::default();
        let released = Released { pod, reason: ReleaseReason::Ended };
        let steps: [LedgerEvent; 4] =
            [allocated.into(), reserved.into(), released.into(), ReservationExpired { reservation }.into()];
        for event in &steps {
            counts.happened(&ledger, [event].into_iter());
            ledger = ledger.evolve(event).unwrap();
        }
        assert_eq!(counts.of(&ResourceKind::Cpu), done(1, 0, 1));
        assert_eq!(counts.of(&ResourceKind::Memory), done(2, 0, 2));
        assert_eq!(counts.of(&ResourceKind::Disk), Done::default());
    }

    #[test]
    fn what_nobody_counts_is_one_series_whatever_it_is_called() {
        let known = CustomName::new("example.com/dongle").unwrap();
        let capacity = Capacity { custom: [(known, 3)].into(), ..Capacity::default() };
        let ledger = Ledger::default().evolve(&CapacitySet { capacity }.into()).unwrap();
        let labels = [custom("example.com/dongle"), custom("example.com/other"), ResourceKind::GpuShare];
        let labels = labels.map(|kind| label(&ledger, &kind));
        assert_eq!(labels, ["example.com/dongle", "custom", "gpu-share"]);
        let counts = Counts::default();
        let short = |kind| Shortage { kind, asked: 1, free: 0, bound: Bound::Free, holder: None };
        let shortages =
            vec![short(ResourceKind::Memory), short(ResourceKind::Memory), short(custom("a.b/c"))];
        counts.refused(&ledger, &LedgerRejection::Insufficient { shortages, in_front: None });
        assert_eq!(counts.of(&ResourceKind::Memory), done(0, 1, 0));
    }
}
