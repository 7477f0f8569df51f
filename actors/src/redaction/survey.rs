//! Which records are about a pod: its incarnations by name, and their workers.

use std::collections::BTreeMap;

use purser_events::event::LAYOUTS;
use purser_events::node::redaction::PendingRedaction;
use purser_events::pod::PodEvent;
use purser_events::worker::WorkerEvent;
use purser_events::{Event, PodId, PodUid, StreamKind, WorkerUid};
use purser_storage::StoredRecord;

/// Who is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Every incarnation that had this name.
    Name(PodId),
    /// One incarnation.
    Incarnation(PodUid),
}

/// One incarnation as its records tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Incarnation {
    /// What it was called, if that can be read.
    pub id: Option<PodId>,
    /// Whether its end is on record.
    pub gone: bool,
    /// Payloads of its own and of its workers that can be read.
    pub payloads: u64,
    /// Payloads that were taken out before.
    pub redacted: u64,
}

/// What was found in records that were shown in order.
#[derive(Debug)]
pub struct Survey {
    wanted: Wanted,
    /// Incarnations that were found.
    pub incarnations: BTreeMap<PodUid, Incarnation>,
    /// Their workers.
    pub workers: BTreeMap<WorkerUid, PodUid>,
    /// The redaction that was asked for and is not over.
    pub pending: Option<PendingRedaction>,
}

impl Survey {
    /// Nothing found yet.
    #[must_use]
    pub fn new(wanted: Wanted) -> Survey {
        Survey { wanted, incarnations: BTreeMap::new(), workers: BTreeMap::new(), pending: None }
    }

    /// Takes notice of the next record.
    pub fn note(&mut self, record: &StoredRecord) {
        let id = record.header.stream.id;
        let of = match record.header.stream.kind {
            StreamKind::Node => {
                if let Ok(Event::Node(event)) = record.event() {
                    self.pending = PendingRedaction::followed(self.pending.take(), &event);
                }
                return;
            }
            // They name pods by their uid alone, or by names that are the pool's own.
            StreamKind::Ledger | StreamKind::Gpu | StreamKind::Pool => return,
            StreamKind::Pod => self.note_pod(PodUid(id), record),
            StreamKind::Worker => self.note_worker(WorkerUid(id), record),
        };
        if let Some(incarnation) = of.and_then(|uid| self.incarnations.get_mut(&uid)) {
            let count = if record.redacted { &mut incarnation.redacted } else { &mut incarnation.payloads };
            *count += 1;
        }
    }

    fn note_pod(&mut self, uid: PodUid, record: &StoredRecord) -> Option<PodUid> {
        if self.wanted == Wanted::Incarnation(uid) {
            self.incarnations.entry(uid).or_default();
        }
        let event = record.event();
        if let Ok(Event::Pod(PodEvent::Admitted(admitted))) = &event {
            let id = &admitted.spec.id;
            if self.wanted == Wanted::Name(id.clone()) || self.incarnations.contains_key(&uid) {
                self.incarnations.entry(uid).or_default().id = Some(id.clone());
            }
        }
        let incarnation = self.incarnations.get_mut(&uid)?;
        // By the number of its type, which is there also where the payload is withheld.
        let layout = LAYOUTS.iter().find(|layout| layout.number == record.layout_number);
        incarnation.gone |= layout.is_some_and(|layout| layout.name == "pod.terminated");
        Some(uid)
    }

    fn note_worker(&mut self, uid: WorkerUid, record: &StoredRecord) -> Option<PodUid> {
        if let Ok(Event::Worker(WorkerEvent::Registered(registered))) = record.event()
            && self.incarnations.contains_key(&registered.pod)
        {
            self.workers.insert(uid, registered.pod);
        }
        self.workers.get(&uid).copied()
    }
}
