//! Who has a GPU, is on a tenant's account or belongs to a pool, learnt from records as they pass.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::ledger::grant::Grant;
use purser_events::ledger::{GpuUuid, LedgerEvent};
use purser_events::pool::{PoolEvent, PoolName};
use purser_events::worker::WorkerEvent;
use purser_events::{Event, PodUid, Seq, StreamId, StreamKind};
use uuid::Uuid;

use crate::failure::Failure;
use crate::members::mentions;
use crate::reading::Reading;
use crate::source::Place;

/// What is held, or on whose account it is.
enum What {
    Gpu(String),
    Tenant(String),
    Pool(StreamId),
}

/// The pods that are meant by a GPU, a tenant or a pool, at the record that was told last.
pub(crate) struct Holders {
    what: What,
    pods: BTreeSet<PodUid>,
    reservations: BTreeSet<Uuid>,
    /// The pod of each worker.
    workers: BTreeMap<StreamId, PodUid>,
}

impl Holders {
    /// Those who hold this GPU.
    pub(crate) fn of_gpu(uuid: &str) -> Holders {
        Holders::new(What::Gpu(uuid.to_owned()))
    }

    /// Those who are on this tenant's account.
    pub(crate) fn of_tenant(tenant: &str) -> Holders {
        Holders::new(What::Tenant(tenant.to_owned()))
    }

    /// The pods of this pool. They are on record before it says that they are its own, so the journal is read for them.
    pub(crate) fn of_pool(name: &PoolName, place: &Place) -> Result<Holders, Failure> {
        let mut holders = Holders::new(What::Pool(name.stream()));
        place.again()?;
        let mut reading = Reading::from(place, Seq(1))?;
        // What cannot be read, and damage, is told of by the reading that shows something.
        while let Some(stored) = reading.next() {
            if stored.header.stream == name.stream()
                && let Ok(Event::Pool(PoolEvent::MemberAdmitted(admitted))) = stored.event()
            {
                holders.pods.insert(admitted.pod);
            }
        }
        Ok(holders)
    }

    fn new(what: What) -> Holders {
        let (pods, reservations, workers) = <_>::default();
        Holders { what, pods, reservations, workers }
    }

    /// Whether a record is about what is held, or about one who holds it. To be asked of each record, in order.
    pub(crate) fn concern(&mut self, stream: StreamId, event: Option<&Event>) -> bool {
        let held = self.is_of_holder(stream, event);
        let named = event.is_some_and(|event| self.is_named(event)) || self.is_own(stream);
        if let Some(event) = event {
            self.learn(stream, event);
        }
        held || named
    }

    /// Whether a stream is that of what is held.
    fn is_own(&self, stream: StreamId) -> bool {
        match &self.what {
            What::Gpu(uuid) => {
                stream.kind == StreamKind::Gpu && GpuUuid::new(uuid).is_ok_and(|uuid| uuid.stream() == stream)
            }
            What::Tenant(_) => false,
            What::Pool(own) => *own == stream,
        }
    }

    fn is_of_holder(&self, stream: StreamId, event: Option<&Event>) -> bool {
        let pods = match (stream.kind, event) {
            (StreamKind::Pod, _) => vec![PodUid(stream.id)],
            (_, Some(Event::Worker(WorkerEvent::Registered(worker)))) => vec![worker.pod],
            (_, Some(Event::Ledger(event))) => event.pods(),
            _ => self.workers.get(&stream).copied().into_iter().collect(),
        };
        let reservation = match event {
            Some(Event::Ledger(event)) => reservation_of(event),
            Some(_) | None => None,
        };
        pods.iter().any(|pod| self.pods.contains(pod))
            || reservation.is_some_and(|id| self.reservations.contains(&id))
    }

    fn is_named(&self, event: &Event) -> bool {
        match (&self.what, event) {
            (What::Gpu(uuid), event) => mentions(&event.payload_json(), uuid),
            (What::Tenant(tenant), Event::Ledger(LedgerEvent::TenantSet(part))) => part.id.as_str() == tenant,
            (What::Tenant(tenant), Event::Ledger(LedgerEvent::TenantRemoved(part))) => {
                part.id.as_str() == tenant
            }
            (What::Tenant(tenant), Event::Ledger(_)) => {
                event.payload_json().get("tenant").is_some_and(|named| named == tenant.as_str())
            }
            (What::Tenant(_) | What::Pool(_), _) => false,
        }
    }

    fn learn(&mut self, stream: StreamId, event: &Event) {
        match event {
            // The ledger has nothing to say about whose a pod is that a pool has made.
            Event::Ledger(_) if matches!(self.what, What::Pool(_)) => {}
            Event::Ledger(LedgerEvent::Allocated(part)) => {
                let counts = self.counts(part.tenant.as_str(), Some(&part.grant));
                self.set(part.pod, counts);
            }
            Event::Ledger(LedgerEvent::Queued(part)) if matches!(self.what, What::Tenant(_)) => {
                let counts = self.counts(part.tenant.as_str(), None);
                self.set(part.pod, counts);
            }
            Event::Ledger(LedgerEvent::Reserved(part))
                if self.counts(part.tenant.as_str(), Some(&part.grant)) =>
            {
                self.reservations.insert(part.reservation);
            }
            Event::Ledger(LedgerEvent::ReservationActivated(part)) => {
                let counts = self.reservations.remove(&part.reservation);
                self.set(part.pod, counts);
            }
            Event::Ledger(LedgerEvent::Released(part)) if matches!(self.what, What::Gpu(_)) => {
                self.pods.remove(&part.pod);
            }
            Event::Worker(WorkerEvent::Registered(worker)) => {
                self.workers.insert(stream, worker.pod);
            }
            Event::Worker(WorkerEvent::Exited(_)) => {
                self.workers.remove(&stream);
            }
            Event::Ledger(LedgerEvent::ReservationExpired(part)) => {
                self.reservations.remove(&part.reservation);
            }
            Event::Ledger(LedgerEvent::ReservationCancelled(part)) => {
                self.reservations.remove(&part.reservation);
            }
            _ => {}
        }
    }

    fn counts(&self, tenant: &str, grant: Option<&Grant>) -> bool {
        match &self.what {
            What::Tenant(wanted) => wanted == tenant,
            What::Pool(_) => false,
            What::Gpu(uuid) => {
                let gpus = grant.into_iter().flat_map(|grant| &grant.gpus);
                gpus.map(|gpu| gpu.uuid.as_str()).any(|held| held == uuid)
            }
        }
    }

    fn set(&mut self, pod: PodUid, counts: bool) {
        if counts {
            self.pods.insert(pod);
        } else {
            self.pods.remove(&pod);
        }
    }
}

/// The reservation that an event of the ledger is about, if it is about one.
fn reservation_of(event: &LedgerEvent) -> Option<Uuid> {
    use LedgerEvent as L;
    match event {
        L::Reserved(part) => Some(part.reservation),
        L::ReservationActivated(part) => Some(part.reservation),
        L::ReservationExpired(part) => Some(part.reservation),
        L::ReservationCancelled(part) => Some(part.reservation),
        L::StaleTokenRefused(part) => Some(part.reservation),
        _ => None,
    }
}
