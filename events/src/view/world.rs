//! The world: everything that one journal says, folded together.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::registry::Registry;
use super::{by_text, from_text};
use crate::decider::{Decider, IllegalTransition};
use crate::event::Event;
use crate::ids::{NodeUid, PodUid, Seq, StreamId, StreamKind, WorkerUid};
use crate::ledger::Ledger;
use crate::node::{Node, NodeEvent};
use crate::pod::{Pod, PodEvent};
use crate::record::Record;
use crate::worker::{Worker, WorkerEvent};

/// Everything that a journal says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct World {
    /// The last record that is folded in.
    pub head: Seq,
    /// The node that the journal belongs to, once it has started.
    pub node_uid: Option<NodeUid>,
    /// The node.
    pub node: Node,
    /// Every pod that is not gone.
    pub pods: BTreeMap<PodUid, Pod>,
    /// Every worker that runs, or whose end its pod has not noticed yet.
    pub workers: BTreeMap<WorkerUid, Worker>,
    /// What the node has and who holds how much of it.
    #[serde(default, skip_serializing_if = "is_unused")]
    pub ledger: Ledger,
    /// Workers that were ever registered.
    pub workers_registered: u64,
    /// Pods by name.
    pub registry: Registry,
    /// Streams with a record that their entity cannot follow, and from which on nothing was folded.
    #[serde(serialize_with = "by_text", deserialize_with = "from_text")]
    pub quarantined: BTreeMap<StreamId, Quarantine>,
    /// Pods that are not gone and of which no more than that can be told: their payloads are withheld.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub withheld: BTreeSet<PodUid>,
}

/// Why a stream is no longer folded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// The record that does not fit.
    pub seq: Seq,
    /// Why.
    pub reason: String,
}

impl World {
    /// Folds one record in. A record that does not fit puts its stream into quarantine: what the stream was
    /// before stays, the rest of the world goes on.
    ///
    /// # Errors
    /// The record does not fit; `self` has noted that.
    pub fn apply(&mut self, record: &Record) -> Result<(), IllegalTransition> {
        let header = &record.header;
        self.head = header.seq;
        if self.quarantined.contains_key(&header.stream) {
            return Ok(());
        }
        if header.stream.kind == StreamKind::Pod && self.withheld.contains(&PodUid(header.stream.id)) {
            self.apply_withheld(header, record.event.layout().number);
            return Ok(());
        }
        let folded = match &record.event {
            Event::Node(event) => self.apply_node(NodeUid(header.stream.id), event),
            Event::Pod(event) => self.apply_pod(PodUid(header.stream.id), event, record),
            Event::Worker(event) => self.apply_worker(WorkerUid(header.stream.id), event),
            Event::Ledger(event) => self.ledger.follow(event),
        };
        folded.inspect_err(|illegal| self.quarantine(header.stream, header.seq, illegal.to_string()))
    }

    /// Notes that a stream has a record that cannot be read: nothing of it is folded from here on.
    pub fn quarantine(&mut self, stream: StreamId, seq: Seq, reason: String) {
        self.head = self.head.max(seq);
        self.quarantined.entry(stream).or_insert(Quarantine { seq, reason });
    }

    fn apply_node(&mut self, uid: NodeUid, event: &NodeEvent) -> Result<(), IllegalTransition> {
        self.node.follow(event)?;
        self.node_uid = Some(uid);
        if let NodeEvent::RedactionRequested(requested) = event {
            self.forget(requested);
        }
        Ok(())
    }

    fn apply_pod(&mut self, uid: PodUid, event: &PodEvent, record: &Record) -> Result<(), IllegalTransition> {
        if let Some(pod) = self.pods.get_mut(&uid) {
            pod.follow(event)?;
            self.registry.notice(pod, &record.header);
            if pod.is_terminal() {
                self.pods.remove(&uid);
            }
        } else {
            let mut pod = Pod::Unknown;
            pod.follow(event)?;
            self.registry.notice(&pod, &record.header);
            self.pods.insert(uid, pod);
        }
        let ended_worker = match event {
            PodEvent::ContainerExited(exited) => Some(WorkerUid::of(uid, &exited.container, exited.attempt)),
            _ => None,
        };
        if let Some(worker) = ended_worker {
            self.forget_if_over(worker);
        }
        Ok(())
    }

    fn apply_worker(&mut self, uid: WorkerUid, event: &WorkerEvent) -> Result<(), IllegalTransition> {
        let worker = self.workers.get(&uid).unwrap_or(&Worker::Unknown).evolve(event)?;
        if matches!(event, WorkerEvent::Registered(_)) {
            self.workers_registered += 1;
        }
        self.workers.insert(uid, worker);
        self.forget_if_over(uid);
        Ok(())
    }

    /// A worker that ended stays until its pod knows: after a crash in between, the pod must still be told.
    fn forget_if_over(&mut self, uid: WorkerUid) {
        let Some(Worker::Exited { worker, .. }) = self.workers.get(&uid) else { return };
        let pod = self.pods.get(&worker.pod).and_then(Pod::live);
        let attempt =
            pod.and_then(|pod| pod.container(&worker.container)).and_then(|container| container.attempt());
        if attempt.is_none_or(|attempt| attempt.worker != uid) {
            self.workers.remove(&uid);
        }
    }

    /// A fingerprint of everything in here: two worlds with the same digest are the same.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = HashWriter(Sha256::new());
        serde_json::to_writer(&mut hash, self).expect("the world has text keys and no failing serializers");
        hash.0.finalize().into()
    }

    /// The pod of an incarnation, if it is not gone.
    #[must_use]
    pub fn pod(&self, uid: PodUid) -> Option<&Pod> {
        self.pods.get(&uid)
    }
}

/// Whether nothing has happened to the ledger: snapshots from before there was one are as they were.
fn is_unused(ledger: &Ledger) -> bool {
    *ledger == Ledger::default()
}

struct HashWriter(Sha256);

impl std::io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
