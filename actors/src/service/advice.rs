//! Advice from what was recorded of use.

use purser_events::ledger::advice::{NodeFacts, PodFacts, advise};
use purser_events::ledger::event::UseRecorded;
use purser_events::ledger::{Advice, LedgerEvent};
use purser_events::pod::spec::{ContainerSpec, Resources};
use purser_events::pod::{Pod, PodSpec};
use purser_events::{Bytes, Event, MilliCpu, PodUid, StreamId, StreamKind, StreamVersion, Timestamp, World};
use purser_storage::JournalError;

use super::Service;

/// Records of the ledger that are looked through at most, the newest: those of use come every five minutes.
const LOOK_MAX: u64 = 50_000;
/// Records that are read at once.
const PAGE: usize = 1_000;
/// How old use may be, in milliseconds: 14 days.
const AGE_MAX_MS: u64 = 14 * 24 * 3_600_000;
/// Label by which pods are advised together.
const POOL_LABEL: &str = "purser.dev/pool";

impl Service {
    /// What recorded use gives reason to say. Blocks on the disk, and takes a while where there are many pods.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn advice(&self) -> Result<Vec<Advice>, JournalError> {
        let now = self.now();
        let history = self.recorded_use(now)?;
        let (pods, node) = self.world(facts);
        Ok(advise(now, &history, &pods, node))
    }

    fn recorded_use(&self, now: Timestamp) -> Result<Vec<UseRecorded>, JournalError> {
        let Some(node) = self.world(|world| world.node_uid) else { return Ok(vec![]) };
        let stream = StreamId { kind: StreamKind::Ledger, id: node.0 };
        let last = self.inner.shell.live.head(stream).map_or(0, |head| head.version.0);
        let mut from = last.saturating_sub(LOOK_MAX) + 1;
        let mut found = vec![];
        while from <= last {
            let page = self.journal().read_stream(stream, StreamVersion(from), PAGE)?;
            let Some(end) = page.last().map(|record| record.header.version.0) else { break };
            for record in &page {
                if let Ok(Event::Ledger(LedgerEvent::UseRecorded(used))) = record.event()
                    && now.ms_since(used.to) <= AGE_MAX_MS
                {
                    found.push(*used);
                }
            }
            from = end + 1;
        }
        Ok(found)
    }
}

fn facts(world: &World) -> (Vec<PodFacts>, NodeFacts) {
    let pods = world.pods.iter().filter_map(|(uid, pod)| Some((*uid, Pod::live(pod)?)));
    let pods = pods.map(|(uid, pod)| facts_of(uid, &pod.spec)).collect();
    let capacity = &world.ledger.capacity;
    let cpu = MilliCpu(capacity.cpus.cpus.len() as u64 * 1_000);
    (pods, NodeFacts { cpu, memory: capacity.memory, disk: capacity.disk })
}

fn facts_of(pod: PodUid, spec: &PodSpec) -> PodFacts {
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
    }
}

/// The sum over the containers; none if one of them does not say.
fn total(containers: &[ContainerSpec], of: fn(&Resources) -> Option<u64>) -> Option<u64> {
    containers.iter().try_fold(0_u64, |sum, container| sum.checked_add(of(&container.resources)?))
}
