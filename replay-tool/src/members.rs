//! Which streams belong to a pod, learnt from records as they pass.

use std::collections::BTreeSet;

use purser_events::ledger::LedgerEvent;
use purser_events::pod::PodEvent;
use purser_events::worker::WorkerEvent;
use purser_events::{Event, PodUid, Seq, StreamId};
use serde_json::Value;

use crate::cli::PodName;
use crate::failure::Failure;
use crate::fold::Until;
use crate::reading::Reading;
use crate::source::Place;

/// The streams of a pod and its workers, of every incarnation that is meant.
pub(crate) struct Members<'a> {
    pod: &'a PodName,
    streams: BTreeSet<StreamId>,
}

impl<'a> Members<'a> {
    pub(crate) fn of(pod: &'a PodName) -> Members<'a> {
        let streams = match pod {
            PodName::Incarnation(uid) => BTreeSet::from([uid.stream()]),
            PodName::Name(_) => BTreeSet::new(),
        };
        Members { pod, streams }
    }

    /// Whether a stream belongs to the pod, as far as the records told so far.
    pub(crate) fn has(&self, stream: StreamId) -> bool {
        self.streams.contains(&stream)
    }

    /// Takes notice of what a record says.
    pub(crate) fn learn(&mut self, stream: StreamId, event: &Event) {
        let belongs = match (event, self.pod) {
            (Event::Pod(PodEvent::Admitted(admitted)), PodName::Name(id)) => admitted.spec.id == *id,
            (Event::Worker(WorkerEvent::Registered(worker)), _) => self.has(worker.pod.stream()),
            _ => false,
        };
        if belongs {
            self.streams.insert(stream);
        }
    }
}

/// Every incarnation of a pod until a moment, oldest first. A name needs a reading of the journal of its own.
pub(crate) fn incarnations(pod: &PodName, at: Option<Until>, place: &Place) -> Result<Vec<PodUid>, Failure> {
    let id = match pod {
        PodName::Incarnation(uid) => return Ok(vec![*uid]),
        PodName::Name(id) => id,
    };
    place.again()?;
    let mut reading = Reading::from(place, Seq(1))?;
    let mut found = Vec::new();
    while let Some(stored) = reading.next() {
        if at.is_some_and(|at| at.is_before(&stored.header)) {
            break;
        }
        // What cannot be read, and damage, is told of by the reading that shows something.
        if let Ok(Event::Pod(PodEvent::Admitted(admitted))) = stored.event()
            && admitted.spec.id == *id
        {
            found.push(admitted.uid);
        }
    }
    if found.is_empty() && reading.is_sound() {
        Err(Failure::NoPod { pod: pod.to_string() })
    } else {
        Ok(found)
    }
}

/// The pods that an event of the ledger is about. What is recorded of all pods at once is about none.
pub(crate) fn pods_of_ledger(event: &LedgerEvent) -> Vec<PodUid> {
    use LedgerEvent as L;
    match event {
        L::Allocated(part) => vec![part.pod],
        L::Queued(part) => vec![part.pod],
        L::Withdrawn(part) => vec![part.pod],
        L::Released(part) => vec![part.pod],
        L::PreemptionRequested(part) => part.victims.iter().chain([&part.pod]).copied().collect(),
        L::ReservationActivated(part) => vec![part.pod],
        _ => Vec::new(),
    }
}

/// Whether a text stands anywhere in a value as a whole, as a key or a text.
pub(crate) fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found == text,
        Value::Array(items) => items.iter().any(|item| mentions(item, text)),
        Value::Object(fields) => fields.iter().any(|(name, field)| name == text || mentions(field, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
