//! Advice from what was recorded of use.

use std::sync::PoisonError;

use purser_events::event::LAYOUTS;
use purser_events::ledger::advice::{NodeFacts, PodFacts, advise};
use purser_events::ledger::event::UseRecorded;
use purser_events::ledger::{Advice, GpuGrant, HolderId, LedgerEvent};
use purser_events::pod::spec::{ContainerSpec, Resources};
use purser_events::pod::{Pod, PodSpec};
use purser_events::{Bytes, Event, MilliCpu, PodUid, StreamId, StreamKind, StreamVersion, Timestamp, World};
use purser_storage::{JournalError, StoredRecord};

use super::Service;
use super::used::{PAGE, Seen};

/// How old use may be, in milliseconds: 7 days.
const AGE_MAX_MS: u64 = 7 * 24 * 3_600_000;
/// How records of use are called.
const USE: &str = "ledger.use-recorded";
/// Label by which pods are advised together.
const POOL_LABEL: &str = "purser.dev/pool";

impl Service {
    /// What recorded use gives reason to say. Blocks on the disk, and takes a while where there are many pods.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn advice(&self) -> Result<Vec<Advice>, JournalError> {
        let now = self.now();
        let (pods, node) = self.world(facts);
        let Some(uid) = self.world(|world| world.node_uid) else { return Ok(vec![]) };
        let stream = StreamId { kind: StreamKind::Ledger, id: uid.0 };
        let places = self.places_of_use(stream, now)?;
        let mut failed = None;
        // Read one by one as they are needed: of a record no more is kept than advice is made of.
        let history = places.into_iter().map_while(|version| match self.use_at(stream, version) {
            Ok(used) => Some(used.filter(|used| now.ms_since(used.to) <= AGE_MAX_MS)),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let advice = advise(now, history.flatten(), &pods, node);
        failed.map_or(Ok(advice), Err)
    }

    /// Where the newest records of use are.
    fn places_of_use(&self, stream: StreamId, now: Timestamp) -> Result<Vec<u64>, JournalError> {
        let head = self.inner.shell.live.head(stream).map_or(0, |head| head.version.0);
        let number = LAYOUTS.iter().find(|layout| layout.name == USE).map(|layout| layout.number);
        let seen = |record: &StoredRecord| Seen {
            version: record.header.version.0,
            time: record.header.time,
            is_use: Some(record.layout_number) == number,
        };
        let page = |from| {
            let page = self.journal().read_stream(stream, StreamVersion(from), PAGE)?;
            Ok(page.iter().map(seen).collect())
        };
        let age_us = i64::try_from(AGE_MAX_MS * 1_000).unwrap_or(i64::MAX);
        let oldest = Timestamp(now.0.saturating_sub(age_us));
        // One look at a time: the others find what it has found.
        let mut places = self.inner.places_of_use.lock().unwrap_or_else(PoisonError::into_inner);
        places.follow::<JournalError>(head, oldest, page)?;
        Ok(places.all().collect())
    }

    /// The use that is recorded at a place; none if it was trimmed meanwhile, or cannot be read any more.
    fn use_at(&self, stream: StreamId, version: u64) -> Result<Option<UseRecorded>, JournalError> {
        let page = self.journal().read_stream(stream, StreamVersion(version), 1)?;
        let record = page.first().filter(|record| record.header.version.0 == version);
        Ok(record.and_then(|record| match record.event() {
            Ok(Event::Ledger(LedgerEvent::UseRecorded(used))) => Some(*used),
            Ok(_) | Err(_) => None,
        }))
    }
}

fn facts(world: &World) -> (Vec<PodFacts>, NodeFacts) {
    let pods = world.pods.iter().filter_map(|(uid, pod)| Some((*uid, Pod::live(pod)?)));
    let pods = pods.map(|(uid, pod)| facts_of(uid, &pod.spec, world)).collect();
    let capacity = &world.ledger.capacity;
    let cpu = MilliCpu(capacity.cpus.cpus.len() as u64 * 1_000);
    (pods, NodeFacts { cpu, memory: capacity.memory, disk: capacity.disk })
}

fn facts_of(pod: PodUid, spec: &PodSpec, world: &World) -> PodFacts {
    let holding = world.ledger.holdings.get(&HolderId::Pod(pod));
    let gpus = holding.map(|holding| holding.grant.gpus.as_slice()).filter(|gpus| !gpus.is_empty());
    let share = |gpus: &[GpuGrant]| gpus.iter().map(|gpu| u64::from(gpu.share)).sum();
    let memory = |gpus: &[GpuGrant]| gpus.iter().fold(0_u64, |sum, gpu| sum.saturating_add(gpu.memory.0));
    let sum = |of: fn(&Resources) -> Option<u64>| total(&spec.containers, of);
    PodFacts {
        pod,
        pool: spec.labels.get(POOL_LABEL).cloned(),
        requested_cpu: sum(|it| it.cpu_request.map(|it| it.0)).map(MilliCpu),
        limit_cpu: sum(|it| it.cpu_limit.map(|it| it.0)).map(MilliCpu),
        requested_memory: sum(|it| it.memory_request.map(|it| it.0)).map(Bytes),
        limit_memory: sum(|it| it.memory_limit.map(|it| it.0)).map(Bytes),
        requested_disk: sum(|it| it.disk_request.map(|it| it.0)).map(Bytes),
        limit_disk: sum(|it| it.disk_limit.map(|it| it.0)).map(Bytes),
        given_gpu_share: gpus.map(share),
        given_gpu_memory: gpus.map(memory).map(Bytes),
    }
}

/// The sum over the containers; none if one of them does not say.
fn total(containers: &[ContainerSpec], of: fn(&Resources) -> Option<u64>) -> Option<u64> {
    containers.iter().try_fold(0_u64, |sum, container| sum.checked_add(of(&container.resources)?))
}
