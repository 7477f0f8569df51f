//! Which streams belong to a pod, learnt from records as they pass.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::gpu::GpuEvent;
use purser_events::pod::PodEvent;
use purser_events::violation::ViolationEvent;
use purser_events::worker::WorkerEvent;
use purser_events::{Event, PodUid, Seq, StreamId};
use serde_json::Value;
use uuid::Uuid;

use crate::cli::PodName;
use crate::failure::Failure;
use crate::fold::Until;
use crate::reading::Reading;
use crate::source::Place;

/// The streams of a pod and its workers, of every incarnation that is meant.
pub(crate) struct Members<'a> {
    pod: &'a PodName,
    streams: BTreeSet<StreamId>,
    on_gpus: OnGpus,
}

impl<'a> Members<'a> {
    pub(crate) fn of(pod: &'a PodName) -> Members<'a> {
        let streams = match pod {
            PodName::Incarnation(uid) => BTreeSet::from([uid.stream()]),
            PodName::Name(_) => BTreeSet::new(),
        };
        Members { pod, streams, on_gpus: OnGpus::default() }
    }

    /// With every incarnation that the journal has: the ledger decides about a pod before the pod is on record.
    pub(crate) fn all(pod: &'a PodName, place: &Place) -> Result<Members<'a>, Failure> {
        let mut members = Members::of(pod);
        match incarnations(pod, None, place) {
            Ok(pods) => members.streams.extend(pods.iter().map(|pod| pod.stream())),
            // That there is none, and damage, is told where the records are listed.
            Err(Failure::NoPod { .. } | Failure::Source(_)) => {}
            Err(failure) => return Err(failure),
        }
        Ok(members)
    }

    /// Whether the ledger decides about one of the pods, or a GPU has one of them on record. To be asked of each record, in
    /// order.
    pub(crate) fn are_in(&mut self, stream: StreamId, event: &Event) -> bool {
        let Members { streams, on_gpus, .. } = self;
        let is_meant = |pod: &PodUid| streams.contains(&pod.stream());
        match event {
            Event::Ledger(event) => event.pods().iter().any(is_meant),
            event => on_gpus.pod_of(stream, event, is_meant).is_some(),
        }
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

/// What GPUs have on record about pods that are meant, learnt from records as they pass.
#[derive(Default)]
pub(crate) struct OnGpus {
    violations: BTreeMap<Uuid, PodUid>,
    /// GPUs on which nobody looks whether one of them keeps to its limits.
    gaps: BTreeMap<StreamId, PodUid>,
}

impl OnGpus {
    /// The pod that a GPU's record is about, if it is one that is meant.
    pub(crate) fn pod_of(
        &mut self,
        stream: StreamId,
        event: &Event,
        is_meant: impl Fn(&PodUid) -> bool,
    ) -> Option<PodUid> {
        use ViolationEvent as V;
        let Event::Gpu(GpuEvent::Violation(event)) = event else { return None };
        match event {
            V::Detected(it) => {
                let pod = it.pod.filter(is_meant)?;
                self.violations.insert(it.id, pod);
                Some(pod)
            }
            V::Escalated(it) => self.violations.get(&it.id).copied(),
            V::EnforcementRequested(it) => self.violations.get(&it.id).copied(),
            // It may come after the end of the violation.
            V::EnforcementEnded(it) => self.violations.get(&it.id).copied(),
            V::Resolved(it) => self.violations.get(&it.id).copied(),
            V::GapOpened(it) => {
                let pod = it.pods.iter().copied().find(is_meant)?;
                self.gaps.insert(stream, pod);
                Some(pod)
            }
            V::GapClosed(_) => self.gaps.remove(&stream),
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
        // What cannot be read is told of by the reading that shows something, and so is damage behind what was found.
        if let Ok(Event::Pod(PodEvent::Admitted(admitted))) = stored.event()
            && admitted.spec.id == *id
        {
            found.push(admitted.uid);
        }
    }
    match reading.into_failure() {
        _ if !found.is_empty() => Ok(found),
        // It may be on record behind the damage.
        Some(error) => Err(error.into()),
        None => Err(Failure::NoPod { pod: pod.to_string() }),
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
