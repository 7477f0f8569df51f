//! Keeping the journal's house: sealed segments are put on record, compressed, archived, read again now and then, and
//! given up when they are due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use actix::Addr;
use purser_events::ledger::GpuUuid;
use purser_events::node::event::{JournalTrimmed, SegmentSealed};
use purser_events::node::{Node, NodeCommand};
use purser_events::pool::PoolName;
use purser_events::{BackOffPolicy, Bytes, Cause, NodeUid, Seq, StreamId, StreamKind, Timestamp, World};
use purser_storage::retention::{Retention, SegmentInfo, plan};
use purser_storage::{Hash, Journal, JournalError};

use crate::entity::{By, Execute};
use crate::node::NodeActor;
use crate::port::Archive;
use crate::shell::Shell;

/// Longest time between two rounds, in milliseconds; a new seal begins one at once.
const INTERVAL_MS: u64 = 60_000;

/// Waits between the tries to archive: doubling from one second to five minutes.
const RETRY: BackOffPolicy = BackOffPolicy { first_ms: 1_000, max_ms: 300_000, reset_after_ms: 1 };

/// How the journal's past is kept.
#[derive(Default)]
pub struct Keeping {
    /// What may go when; nothing ever if none.
    pub retention: Option<Retention>,
    /// Where segments are put before they may go.
    pub archives: Vec<Arc<dyn Archive>>,
    /// Time after which a sealed segment is read again, to find damage; never if none.
    pub check_every_ms: Option<u64>,
    /// Where work runs that waits for the journal's disk.
    pub disk_work: DiskWork,
}

/// Where work runs that waits for a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskWork {
    /// On threads of its own, beside the actors.
    #[default]
    Beside,
    /// On the actors' thread, in one order with all that they do, which can be repeated.
    InOrder,
}

/// How the journal's house stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct HouseStanding {
    /// Whether there is an archive at all.
    archives: bool,
    /// Why the last try to archive failed; none once one went well.
    failure: Arc<Mutex<Option<String>>>,
    /// Segments that were found damaged, by their first record: they are left alone until the service starts again.
    damaged: Arc<Mutex<BTreeSet<Seq>>>,
}

impl HouseStanding {
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sealed segments that the archive does not have yet.
    pub(crate) fn waiting(&self, journal: &Journal) -> usize {
        let waits = |segment: &SegmentInfo| self.archives && !segment.archived;
        journal.segments().iter().filter(|segment| waits(segment)).count()
    }

    /// Segments that were found damaged since the service started, by their first record.
    pub(crate) fn damaged(&self) -> BTreeSet<Seq> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_damaged(&self, first: Seq) {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(first);
    }

    fn is_damaged(&self, first: Seq) -> bool {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).contains(&first)
    }

    fn note(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// Begins to keep house, for as long as the actors' thread lives: first at once.
pub(crate) fn begin(shell: &Arc<Shell>, node: &Addr<NodeActor>, keeping: Keeping) -> HouseStanding {
    let archives = !keeping.archives.is_empty();
    let standing = HouseStanding { archives, ..HouseStanding::default() };
    let mut keeper = Keeper {
        shell: shell.clone(),
        node: node.clone(),
        keeping,
        standing: standing.clone(),
        checked: BTreeMap::new(),
        failures: 0,
        archive_at: Timestamp(i64::MIN),
    };
    let mut seals = shell.journal.seals();
    actix::spawn(async move {
        loop {
            seals.mark_unchanged();
            keeper.round().await;
            let clock = &keeper.shell.clock;
            let next = clock.now().plus_ms(INTERVAL_MS);
            let next = if keeper.failures > 0 { next.min(keeper.archive_at) } else { next };
            let wait = clock.sleep_until(next);
            tokio::select! {
                () = wait => {}
                _ = seals.changed() => {}
            }
        }
    });
    standing
}

struct Keeper {
    shell: Arc<Shell>,
    node: Addr<NodeActor>,
    keeping: Keeping,
    standing: HouseStanding,
    /// When each segment was last read again.
    checked: BTreeMap<Seq, Timestamp>,
    /// Tries to archive that failed in a row.
    failures: u32,
    /// Before this, archiving is not tried again.
    archive_at: Timestamp,
}

impl Keeper {
    async fn round(&mut self) {
        self.report_seals().await;
        for segment in self.shell.journal.segments() {
            if !segment.compressed && !self.standing.is_damaged(segment.first) {
                self.compress(segment.first).await;
            }
        }
        if !self.keeping.archives.is_empty() && self.archive_at <= self.shell.clock.now() {
            self.archive().await;
        }
        if let Some(retention) = self.keeping.retention {
            self.trim(&retention).await;
        }
        if let Some(interval_ms) = self.keeping.check_every_ms {
            self.check_one(interval_ms).await;
        }
    }

    /// Reads the oldest segment again that is due, one a round: so damage is found while a copy may still be had.
    async fn check_one(&mut self, interval_ms: u64) {
        let (now, segments) = (self.shell.clock.now(), self.shell.journal.segments());
        self.checked.retain(|first, _| segments.iter().any(|segment| segment.first == *first));
        let is_due = |segment: &&SegmentInfo| {
            let last = self.checked.get(&segment.first);
            !self.standing.is_damaged(segment.first)
                && last.is_none_or(|last| last.plus_ms(interval_ms) <= now)
        };
        let Some(first) = segments.iter().find(is_due).map(|segment| segment.first) else { return };
        match self.on_disk(move |journal| journal.check_segment(first)).await {
            Some(Ok(())) => tracing::debug!(%first, "segment read again: it is sound"),
            Some(Err(error)) => self.note_failure(first, &error, "failed to read a segment again"),
            None => {}
        }
        self.checked.insert(first, now);
    }

    async fn report_seals(&self) {
        let node = |world: &World| world.node.known().map_or(Seq::ZERO, |node| node.sealed_upto);
        let reported = self.shell.live.read(node);
        for segment in self.shell.journal.segments() {
            let SegmentInfo { first, last, content, .. } = segment;
            if last.seq > reported {
                let sealed = SegmentSealed {
                    first,
                    last: last.seq,
                    last_hash: hex(&last.hash),
                    content: hex(&content),
                };
                // In order: one that was left out would never be told.
                if !self.record(NodeCommand::ReportSealed(sealed)).await {
                    return;
                }
            }
        }
    }

    async fn compress(&mut self, first: Seq) {
        if let Some(Err(error)) = self.on_disk(move |journal| journal.compress(first)).await {
            self.note_failure(first, &error, "failed to compress a segment");
        }
    }

    async fn archive(&mut self) {
        for segment in self.shell.journal.segments() {
            if segment.archived || !segment.compressed || self.standing.is_damaged(segment.first) {
                continue;
            }
            for archive in &self.keeping.archives {
                if let Err(error) = archive.keep(&segment).await {
                    tracing::warn!(first = %segment.first, %error, "failed to archive a segment");
                    self.archive_at = self.shell.clock.now().plus_ms(RETRY.retry_wait_ms(self.failures));
                    self.failures = self.failures.saturating_add(1);
                    self.standing.note(Some(error.to_string()));
                    return;
                }
            }
            let first = segment.first;
            match self.on_disk(move |journal| journal.note_archived(&segment)).await {
                Some(Ok(())) => tracing::info!(%first, "segment archived"),
                Some(Err(error)) => {
                    return self.note_failure(first, &error, "failed to note an archived segment");
                }
                None => return,
            }
        }
        self.failures = 0;
        self.standing.note(None);
    }

    async fn trim(&mut self, retention: &Retention) {
        let journal = &self.shell.journal;
        let (segments, before) = (journal.segments(), journal.before().seq);
        let due = plan(&segments, self.shell.clock.now(), retention, journal.protected_from());
        let known = |world: &World| world.node.known().map_or(Seq::ZERO, |node| node.trimmed_upto);
        // A trim that a stop cut short was decided all the same.
        let decided = self.shell.live.read(known);
        let Some(upto) = due.max(Some(decided)).filter(|upto| *upto > before) else { return };
        let going: Vec<&SegmentInfo> = segments.iter().filter(|segment| segment.last.seq <= upto).collect();
        let Some(last) = going.last() else { return };
        if going.iter().any(|segment| self.standing.is_damaged(segment.first)) {
            return;
        }
        let trimmed = JournalTrimmed {
            upto: last.last.seq,
            upto_hash: hex(&last.last.hash),
            segments: going.len() as u64,
            bytes: Bytes(going.iter().map(|segment| segment.bytes).sum()),
        };
        // On record first: history never goes without a word about it.
        if !self.record(NodeCommand::ReportTrimmed(trimmed)).await {
            return;
        }
        let live = self.shell.live.read(live_streams);
        let done = self.on_disk(move |journal| journal.trim(upto, |stream| live.contains(&stream))).await;
        match done {
            Some(Ok(trimmed)) => tracing::info!(
                before = %trimmed.before.seq,
                segments = trimmed.segments,
                bytes = trimmed.bytes,
                "journal trimmed"
            ),
            Some(Err(error)) => {
                let first = self.shell.journal.before().seq.next();
                self.note_failure(first, &error, "failed to trim the journal");
            }
            None => {}
        }
    }

    /// Runs what blocks on the disk; none if it panicked, which is told elsewhere.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Option<Result<T, JournalError>> {
        let journal = self.shell.journal.clone();
        match self.keeping.disk_work {
            DiskWork::Beside => tokio::task::spawn_blocking(move || work(&journal)).await.ok(),
            DiskWork::InOrder => Some(work(&journal)),
        }
    }

    fn note_failure(&mut self, first: Seq, error: &JournalError, message: &'static str) {
        let chain = error as &dyn std::error::Error;
        match error {
            JournalError::Closed => {}
            JournalError::Segment { .. } => {
                tracing::error!(%first, error = chain, "{message}: it is damaged and stays as it is");
                self.standing.note_damaged(first);
            }
            _ => tracing::warn!(%first, error = chain, "{message}"),
        }
    }

    async fn record(&self, command: NodeCommand) -> bool {
        let by = By::node(Cause::Node, self.shell.ids.uuid());
        let done = matches!(self.node.send(Execute::<Node> { command, by }).await, Ok(Ok(_)));
        if !done {
            tracing::warn!("failed to record what became of the journal's segments; it is tried again");
        }
        done
    }
}

/// The streams that may be written again.
fn live_streams(world: &World) -> BTreeSet<StreamId> {
    let kinds = (1..=u8::MAX).map_while(StreamKind::from_number);
    kinds.flat_map(|kind| live_of(world, kind)).chain(world.quarantined.keys().copied()).collect()
}

fn live_of(world: &World, kind: StreamKind) -> Vec<StreamId> {
    match kind {
        StreamKind::Node => world.node_uid.map(NodeUid::stream).into_iter().collect(),
        StreamKind::Pod => world.pods.keys().chain(&world.withheld).map(|uid| uid.stream()).collect(),
        StreamKind::Worker => world.workers.keys().map(|uid| uid.stream()).collect(),
        StreamKind::Gpu => world.gpus.keys().map(GpuUuid::stream).collect(),
        StreamKind::Ledger => {
            let ledger = world.node_uid.map(|uid| StreamId { kind: StreamKind::Ledger, id: uid.0 });
            ledger.into_iter().collect()
        }
        // One that is made again goes on counting where it was.
        StreamKind::Pool => world.pools.keys().map(PoolName::stream).collect(),
    }
}

pub(crate) fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use purser_events::gpu::Gpu;
    use purser_events::pod::Pod;
    use purser_events::pool::Pool;
    use purser_events::worker::Worker;
    use purser_events::{PodUid, WorkerUid};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn streams_of_every_kind_that_may_be_written_again_are_kept() {
        let id = Uuid::from_u128;
        let gpu = GpuUuid::new("GPU-8f6ad3c1-1f3f-4a5e-9c0e-0d6f3d6f2b01").expect("a name of a GPU");
        let pool = PoolName::new("runners").expect("a label");
        let mut world = World { node_uid: Some(NodeUid(id(1))), ..World::default() };
        world.pods.insert(PodUid(id(2)), Pod::default());
        world.withheld.insert(PodUid(id(3)));
        world.workers.insert(WorkerUid(id(4)), Worker::default());
        world.gpus.insert(gpu.clone(), Gpu::default());
        world.pools.insert(pool.clone(), Pool::default());
        let live = live_streams(&world);
        let known = [NodeUid(id(1)).stream(), PodUid(id(2)).stream(), PodUid(id(3)).stream()];
        let known = known.into_iter().chain([WorkerUid(id(4)).stream(), gpu.stream(), pool.stream()]);
        for stream in known.chain([StreamId { kind: StreamKind::Ledger, id: id(1) }]) {
            assert!(live.contains(&stream), "{stream:?}");
        }
        let kinds: BTreeSet<StreamKind> = live.iter().map(|stream| stream.kind).collect();
        let all = (1..=u8::MAX).map_while(StreamKind::from_number).count();
        assert_eq!((kinds.len(), live.len()), (all, 7));
    }
}
