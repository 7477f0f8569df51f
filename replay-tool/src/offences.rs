//! Violations and the health of GPUs, learnt from records as they pass: what is open, and what each record changed of it.

use std::collections::BTreeMap;

use purser_events::gpu::{Gpu, GpuEvent};
use purser_events::pod::PodEvent;
use purser_events::violation::{Level, ViolationEvent, ViolationKind};
use purser_events::{Decider, Event, PodUid, StreamId};
use uuid::Uuid;

/// A violation that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offence {
    pub(crate) id: Uuid,
    pub(crate) kind: ViolationKind,
    /// By whom; none if no pod does it.
    pub(crate) pod: Option<PodUid>,
    /// On which GPU; none if it is a pod's alone, or the GPU's name is not known.
    pub(crate) gpu: Option<String>,
    /// The rung that it is on.
    pub(crate) level: Level,
}

/// What a record changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A violation began.
    Began(Offence),
    /// It climbed a rung.
    Climbed(Offence),
    /// It ended, after so many milliseconds by the clock.
    Ended(Offence, u64),
    /// A GPU is in another state.
    Health {
        /// Its name.
        gpu: String,
        /// The word for its state.
        word: &'static str,
    },
}

/// What is open, and how GPUs are.
#[derive(Debug, Default)]
pub(crate) struct Offences {
    open: BTreeMap<Uuid, Offence>,
    gpus: BTreeMap<StreamId, (String, Gpu)>,
}

impl Offences {
    /// Takes notice of a record's event; gives what it changed.
    pub(crate) fn note(&mut self, stream: StreamId, event: &Event) -> Option<Turn> {
        match event {
            Event::Pod(PodEvent::Violation(event)) => self.violation(stream, event),
            Event::Gpu(GpuEvent::Violation(event)) => {
                let turn = self.violation(stream, event);
                self.follow(stream, &GpuEvent::Violation(event.clone()));
                turn
            }
            Event::Gpu(event) => self.follow(stream, event),
            _ => None,
        }
    }

    /// What a GPU is called, if it was found.
    pub(crate) fn gpu_name(&self, stream: StreamId) -> Option<&str> {
        self.gpus.get(&stream).map(|(name, _)| name.as_str())
    }

    fn violation(&mut self, stream: StreamId, event: &ViolationEvent) -> Option<Turn> {
        match event {
            ViolationEvent::Detected(part) => {
                let gpu = self.gpu_name(stream).map(str::to_owned);
                let offence = Offence { id: part.id, kind: part.kind, pod: part.pod, gpu, level: part.level };
                self.open.insert(part.id, offence.clone());
                Some(Turn::Began(offence))
            }
            ViolationEvent::Escalated(part) => {
                let offence = self.open.get_mut(&part.id)?;
                offence.level = part.to;
                Some(Turn::Climbed(offence.clone()))
            }
            ViolationEvent::Resolved(part) => {
                self.open.remove(&part.id).map(|offence| Turn::Ended(offence, part.duration_ms))
            }
            ViolationEvent::EnforcementRequested(_)
            | ViolationEvent::EnforcementEnded(_)
            | ViolationEvent::GapOpened(_)
            | ViolationEvent::GapClosed(_) => None,
        }
    }

    fn follow(&mut self, stream: StreamId, event: &GpuEvent) -> Option<Turn> {
        if let GpuEvent::Found(found) = event {
            self.gpus.insert(stream, (found.facts.uuid.to_string(), Gpu::Unknown));
        }
        let (name, gpu) = self.gpus.get_mut(&stream)?;
        let was = gpu.word();
        // What does not fit is told by other verbs: what was before stays.
        let _ = gpu.follow(event);
        let word = gpu.word();
        (was != word).then(|| Turn::Health { gpu: name.clone(), word })
    }
}
