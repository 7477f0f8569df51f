//! The world: everything that one journal says, folded together.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::registry::Registry;
use super::violations::ViolationHistory;
use super::{by_text, from_text};
use crate::decider::{Decider, IllegalTransition};
use crate::event::Event;
use crate::gpu::{Gpu, GpuEvent};
use crate::ids::{NodeUid, PodUid, Seq, StreamId, StreamKind, WorkerUid};
use crate::ledger::{GpuDevice, GpuUuid, HolderId, Holding, Ledger};
use crate::node::{Node, NodeEvent};
use crate::pod::{Pod, PodEvent};
use crate::pool::{Pool, PoolEvent, PoolName};
use crate::record::{Header, Record};
use crate::units::{Bytes, MilliTflops};
use crate::worker::{Worker, WorkerEvent};

/// Number of the layout in which a world is put away in snapshots. Each change of it, or of the world in it, gets another;
/// older ones are read for ever.
pub const WORLD_LAYOUT: u32 = 3;

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
    /// Every GPU that was ever seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpus: BTreeMap<GpuUuid, Gpu>,
    /// Every pool that was ever made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<PoolName, Pool>,
    /// Workers that were ever registered.
    pub workers_registered: u64,
    /// Pods by name.
    pub registry: Registry,
    /// Violations, open ones and those of late.
    #[serde(default, skip_serializing_if = "ViolationHistory::is_empty")]
    pub violations: ViolationHistory,
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
            Event::Gpu(event) => self.apply_gpu(header, event),
            Event::Pool(event) => self.apply_pool(header, event),
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
                self.keep_pods();
            }
        } else {
            let mut pod = Pod::Unknown;
            pod.follow(event)?;
            self.registry.notice(&pod, &record.header);
            self.pods.insert(uid, pod);
        }
        if let PodEvent::Violation(event) = event {
            self.violations.note(None, &record.header, event);
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

    /// Gaps are remembered as long as the pods whose they are.
    pub(super) fn keep_pods(&mut self) {
        let World { pods, withheld, registry, violations, .. } = self;
        violations.keep_pods(|pod| {
            let is_there = pods.contains_key(&pod) || withheld.contains(&pod);
            is_there || registry.recent.iter().any(|gone| gone.uid == pod)
        });
    }

    fn apply_gpu(&mut self, header: &Header, event: &GpuEvent) -> Result<(), IllegalTransition> {
        let stream = header.stream;
        let known = self.gpus.iter_mut().find(|(uuid, _)| uuid.stream() == stream);
        if let Some((uuid, gpu)) = known {
            gpu.follow(event)?;
            if let GpuEvent::Violation(event) = event {
                self.violations.note(Some(uuid), header, event);
            }
            if *gpu == Gpu::Unknown {
                let uuid = uuid.clone();
                self.gpus.remove(&uuid);
            }
            return Ok(());
        }
        let gpu = Gpu::Unknown.evolve(event)?;
        let uuid = gpu.known().map(|known| known.facts.uuid.clone());
        // A stream of another name would be one that nobody finds again.
        let Some(uuid) = uuid.filter(|uuid| uuid.stream() == stream) else {
            return Err(IllegalTransition::new(gpu.word(), "gpu.found of another stream"));
        };
        self.gpus.insert(uuid, gpu);
        Ok(())
    }

    fn apply_pool(&mut self, header: &Header, event: &PoolEvent) -> Result<(), IllegalTransition> {
        let stream = header.stream;
        if let Some((_, pool)) = self.pools.iter_mut().find(|(name, _)| name.stream() == stream) {
            return pool.follow(event);
        }
        let pool = Pool::default().evolve(event)?;
        // A stream of another name would be one that nobody finds again.
        let Some(name) = pool.name.clone().filter(|name| name.stream() == stream) else {
            return Err(IllegalTransition::new(pool.word(), "pool.spec-set of another stream"));
        };
        self.pools.insert(name, pool);
        Ok(())
    }

    /// The GPUs that take pods, in the order of their names. One whose records cannot be followed takes none.
    fn gpus_that_take_pods(&self) -> impl Iterator<Item = (&GpuUuid, &str, Bytes, Option<MilliTflops>)> {
        let is_sound =
            |uuid: &GpuUuid| self.quarantined.is_empty() || !self.quarantined.contains_key(&uuid.stream());
        self.gpus.values().filter_map(Gpu::to_give_out).filter(move |(uuid, ..)| is_sound(uuid))
    }

    /// Who has something of a GPU.
    pub fn holders_of(&self, gpu: &GpuUuid) -> impl Iterator<Item = HolderId> {
        let has = |holding: &Holding| holding.grant.gpus.iter().any(|granted| granted.uuid == *gpu);
        self.ledger.holdings.iter().filter(move |(_, holding)| has(holding)).map(|(holder, _)| *holder)
    }

    /// What there is to give out of the GPUs.
    #[must_use]
    pub fn gpus_to_give_out(&self) -> Vec<GpuDevice> {
        let given = self.gpus_that_take_pods();
        given
            .map(|(uuid, model, memory, tflops)| GpuDevice {
                uuid: uuid.clone(),
                model: model.to_owned(),
                memory,
                tflops,
            })
            .collect()
    }

    /// Whether these are exactly what there is to give out of the GPUs.
    #[must_use]
    pub fn gives_out(&self, gpus: &[GpuDevice]) -> bool {
        let given = gpus.iter().map(|gpu| (&gpu.uuid, gpu.model.as_str(), gpu.memory, gpu.tflops));
        self.gpus_that_take_pods().eq(given)
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
