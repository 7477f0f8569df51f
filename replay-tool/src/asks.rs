//! Who asked for an end: the record of a process that ended names its start as its cause, but if the node had asked it to end
//! since, that is why it did. What an agent told of a task is because of what gave it the task, and that of who handed it in.

use std::collections::BTreeMap;

use purser_events::event::LAYOUTS;
use purser_events::pod::PodEvent;
use purser_events::pool::{PoolEvent, TaskId};
use purser_events::worker::WorkerEvent;
use purser_events::{Cause, ContainerName, Event, Principal, Seq, StreamId};
use purser_storage::StoredRecord;

use crate::graph::cause_of;

/// The types that ask for the end of a container, tell of it, or say whose process it is; and what becomes of tasks.
const TYPES: [&str; 15] = [
    "pod.container-stop-requested",
    "pod.container-kill-requested",
    "pod.container-exited",
    "pod.terminated",
    "worker.registered",
    "worker.exited",
    "pool.task-submitted",
    "pool.task-assigned",
    "pool.task-started",
    "pool.task-planned",
    "pool.task-approved",
    "pool.task-confirmed",
    "pool.task-requeued",
    "pool.task-cancel-requested",
    "pool.task-ended",
];

/// What the names of agents that ask for something begin with.
const AGENT: &str = "agent:";

/// Requests to end that are open, learnt from records as they pass.
pub(crate) struct Asks {
    /// The numbers of [`TYPES`].
    numbers: Vec<u16>,
    /// The container of each worker that runs.
    workers: BTreeMap<StreamId, (StreamId, ContainerName)>,
    /// The last request of each container that is to end.
    open: BTreeMap<(StreamId, ContainerName), Seq>,
    /// The last record of each task that is not over on which somebody acts: the pool, or an agent.
    tasks: BTreeMap<(StreamId, TaskId), Seq>,
    /// The decision that told of the last end that was asked for.
    told: Option<Told>,
}

/// A decision that tells of an end, as far as it is known.
struct Told {
    stream: StreamId,
    last: Seq,
    cause: Cause,
    ask: Seq,
}

impl Asks {
    pub(crate) fn new() -> Asks {
        let numbers = LAYOUTS.iter().filter(|layout| TYPES.contains(&layout.name));
        let numbers = numbers.map(|layout| layout.number).collect();
        let (workers, open, tasks) = <_>::default();
        Asks { numbers, workers, open, tasks, told: None }
    }

    /// Takes notice of the next record; gives what asked for the end that it tells of, if something did.
    pub(crate) fn note(&mut self, stored: &StoredRecord) -> Option<Seq> {
        let header = &stored.header;
        let event = if self.numbers.contains(&stored.layout_number) { stored.event().ok() } else { None };
        let ask = match event {
            Some(Event::Pod(event)) => self.note_pod(header.stream, header.seq, &event),
            Some(Event::Worker(WorkerEvent::Registered(worker))) => {
                self.workers.insert(header.stream, (worker.pod.stream(), worker.container));
                None
            }
            Some(Event::Worker(WorkerEvent::Exited(_))) => {
                let container = self.workers.remove(&header.stream);
                container.and_then(|container| self.open.get(&container).copied())
            }
            Some(Event::Pool(event)) => {
                let acted_on = self.note_pool(header.stream, header.seq, &event);
                // Of what others ask for, that they did is the beginning.
                return acted_on.filter(|_| is_told(&header.origin.principal, header.origin.cause));
            }
            Some(Event::Node(_) | Event::Ledger(_) | Event::Gpu(_)) | None => None,
        };
        let cause = header.origin.cause;
        let goes_on = self.told.take().filter(|told| {
            told.stream == header.stream && told.last.next() == header.seq && told.cause == cause
        });
        // What the same decision led to besides came about in the same way.
        let ask = ask.or(goes_on.map(|told| told.ask))?;
        self.told = Some(Told { stream: header.stream, last: header.seq, cause, ask });
        // What came after the request, as the worker's end before the pod's, leads to it by itself.
        cause_of(cause).is_some_and(|cause| cause < ask).then_some(ask)
    }

    /// Takes notice of what becomes of a task; gives what was acted on.
    fn note_pool(&mut self, stream: StreamId, seq: Seq, event: &PoolEvent) -> Option<Seq> {
        use PoolEvent as E;
        let task = match event {
            E::TaskSubmitted(it) => it.spec.id,
            E::TaskAssigned(it) => it.task,
            E::TaskPlanned(it) => it.task,
            E::TaskApproved(it) => it.task,
            E::TaskConfirmed(it) => it.task,
            E::TaskRequeued(it) => it.task,
            E::TaskCancelRequested(it) => it.task,
            // That it begins is nothing that anybody acts on.
            E::TaskStarted(it) => return self.tasks.get(&(stream, it.task)).copied(),
            E::TaskEnded(it) => return self.tasks.remove(&(stream, it.task)),
            _ => return None,
        };
        self.tasks.insert((stream, task), seq)
    }

    fn note_pod(&mut self, stream: StreamId, seq: Seq, event: &PodEvent) -> Option<Seq> {
        match event {
            PodEvent::ContainerStopRequested(asked) => {
                self.open.insert((stream, asked.container.clone()), seq);
            }
            PodEvent::ContainerKillRequested(asked) => {
                self.open.insert((stream, asked.container.clone()), seq);
            }
            PodEvent::ContainerExited(exited) => {
                return self.open.remove(&(stream, exited.container.clone()));
            }
            PodEvent::Terminated(_) => self.open.retain(|(other, _), _| *other != stream),
            _ => {}
        }
        None
    }
}

/// Whether a record is of what an agent told.
fn is_told(principal: &Principal, cause: Cause) -> bool {
    matches!(cause, Cause::Command(_)) && principal.as_str().starts_with(AGENT)
}
