//! Taking pods that are gone out of the journal, while no service runs: what is to go is put on record first, and
//! whoever opens the journal next finishes what a stop left undone.

mod survey;

use std::sync::Arc;

use purser_events::node::event::{RedactionCompleted, RedactionRequested, SegmentRewritten};
use purser_events::node::redaction::PendingRedaction;
use purser_events::node::{NodeCommand, NodeRejection};
use purser_events::worker::Worker;
use purser_events::{Cause, Origin, PodId, PodUid, Principal, Seq, StreamId, WorkerUid, World};
use purser_storage::disk::Disk;
use purser_storage::redaction::{self, Redacted, RedactionError, Subject};
use purser_storage::subjects::SubjectKeys;
use purser_storage::{AppendError, FolderError, Journal, JournalConfig, JournalError};
use uuid::Uuid;

pub use survey::{Incarnation, Survey, Wanted};

use crate::entity::Entity;
use crate::live::LiveWorld;
use crate::port::{Clock, Ids};
use crate::retention::hex;
use crate::verdict::redacted_answer;

/// What it takes to work on a journal that no service has open.
pub struct Offline {
    /// The journal.
    pub config: JournalConfig,
    /// The disk that segments are written anew on.
    pub disk: Arc<dyn Disk>,
    /// Stamps records.
    pub clock: Arc<dyn Clock>,
    /// Draws ids.
    pub ids: Arc<dyn Ids>,
    /// On whose behalf it happens.
    pub principal: Principal,
}

/// Why a pod cannot be taken out of the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRedactable {
    /// It is not gone.
    #[error("pod {id} ({uid}) is {phase}: delete it first; only a pod that is gone can be redacted")]
    StillThere {
        /// Its name.
        id: PodId,
        /// The incarnation.
        uid: PodUid,
        /// The word for its state.
        phase: String,
    },
    /// Its end is not on record.
    #[error("the end of pod {uid} is not on record; only a pod that is gone can be redacted")]
    NoEnd {
        /// The incarnation.
        uid: PodUid,
    },
    /// What became of it is unknown.
    #[error(
        "{stream} is in quarantine from record {seq} on: what became of it is unknown, so it is not redacted"
    )]
    Quarantined {
        /// The pod's stream, or a worker's.
        stream: StreamId,
        /// The record that does not fit.
        seq: Seq,
    },
    /// A process of it may still write.
    #[error(
        "the end of worker {worker} of pod {uid} is not on record: start purserd once, which looks for it"
    )]
    WorkerLeft {
        /// The incarnation.
        uid: PodUid,
        /// Its worker.
        worker: StreamId,
    },
}

/// Why work on the journal failed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// It cannot be opened.
    #[error("failed to open the journal")]
    Open(#[source] JournalError),
    /// It cannot be written.
    #[error("failed to write the journal")]
    Append(#[source] AppendError),
    /// It cannot be closed.
    #[error("failed to close the journal")]
    Close(#[source] JournalError),
    /// No node ever started on it.
    #[error("no node has started on this journal yet: there is nothing in it to redact")]
    NotStarted,
    /// The node refuses.
    #[error(transparent)]
    Refused(#[from] NodeRejection),
    /// The pod cannot be redacted.
    #[error(transparent)]
    NotRedactable(#[from] NotRedactable),
    /// The segments could not be written anew; the request is on record and is finished by the next start.
    #[error(
        "the redaction is on record but not finished: the next start of purserd, or this verb, goes on with it"
    )]
    Unfinished(#[source] RedactionError),
    /// A key could not be looked at.
    #[error("failed to look for the keys of pods")]
    Keys(#[source] FolderError),
    /// There is nothing to wait with.
    #[error("failed to make a runtime")]
    Runtime(#[source] std::io::Error),
}

/// A redaction that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// What was asked for.
    pub asked: PendingRedaction,
    /// What was done.
    pub done: Redacted,
    /// Pods whose keys were destroyed.
    pub keys_destroyed: u64,
}

impl Offline {
    /// Puts on record that pods and their workers are to be taken out of the journal. Nothing has gone yet.
    ///
    /// # Errors
    /// One of them is not gone, another redaction is not over, or the journal cannot be written.
    pub fn request(
        &self,
        pods: Vec<PodUid>,
        workers: Vec<WorkerUid>,
        reason: String,
    ) -> Result<Uuid, OfflineError> {
        let open = Open::new(self)?;
        open.live.read(|world| check(world, &pods, &workers))?;
        let redaction = self.ids.uuid();
        open.record(&NodeCommand::RequestRedaction(RedactionRequested { redaction, pods, workers, reason }))?;
        open.close()?;
        Ok(redaction)
    }

    /// Finishes the redaction that is on record and not over, if there is one.
    ///
    /// # Errors
    /// The journal or the disk fails. What was done stands; the next call goes on from there.
    pub fn finish(&self) -> Result<Option<Finished>, OfflineError> {
        let open = Open::new(self)?;
        let pending = open.live.read(pending);
        // Puts the world away as it is after the request: older snapshots may hold what is to go.
        open.close()?;
        let Some(asked) = pending else { return Ok(None) };
        let streams = asked.streams();
        let answer = |answer: &[u8]| redacted_answer(answer, &streams);
        let subject = Subject { streams: &streams, answer: &answer };
        let done = redaction::redact(&self.disk, &self.config.dir, asked.id, &subject);
        let done = done.map_err(OfflineError::Unfinished)?;
        let keys_destroyed = self.destroy_keys(&asked, &done)?;
        let open = Open::new(self)?;
        open.record(&NodeCommand::CompleteRedaction(completed(asked.id, &done, keys_destroyed)))?;
        open.close()?;
        let forgotten = redaction::forget_progress(&*self.disk, &self.config.dir);
        forgotten.map_err(|error| OfflineError::Unfinished(error.into()))?;
        Ok(Some(Finished { asked, done, keys_destroyed }))
    }

    /// Whether a pod has a key: then there may be copies of what it sealed, whatever the journal still holds.
    ///
    /// # Errors
    /// The folder of keys cannot be read.
    pub fn has_key(&self, pod: PodUid) -> Result<bool, OfflineError> {
        self.keys().map_or(Ok(false), |keys| keys.has(pod).map_err(OfflineError::Keys))
    }

    /// Destroys the pods' keys. Counted are those that their records show as well: one may have gone before a stop.
    fn destroy_keys(&self, asked: &PendingRedaction, done: &Redacted) -> Result<u64, OfflineError> {
        let Some(keys) = self.keys() else { return Ok(0) };
        let mut destroyed = 0;
        for &pod in &asked.pods {
            let had = keys.destroy(pod).map_err(|error| OfflineError::Unfinished(error.into()))?;
            destroyed += u64::from(had || done.sealed.contains(&pod.stream()));
        }
        Ok(destroyed)
    }

    fn keys(&self) -> Option<SubjectKeys> {
        self.config.subjects.clone().map(SubjectKeys::new)
    }
}

/// The redaction that was asked for and is not over.
#[must_use]
pub fn pending(world: &World) -> Option<PendingRedaction> {
    world.node.known().and_then(|node| node.redaction.clone())
}

fn completed(redaction: Uuid, done: &Redacted, keys_destroyed: u64) -> RedactionCompleted {
    let segment = |segment: &redaction::Rewritten| SegmentRewritten {
        first: segment.first,
        before: hex(&segment.before),
        after: hex(&segment.after),
    };
    let segments = done.segments.iter().map(segment).collect();
    RedactionCompleted { redaction, records: done.records(), segments, keys_destroyed, more: false }
}

/// Sees that nothing will ever be written about these pods again.
fn check(world: &World, pods: &[PodUid], workers: &[WorkerUid]) -> Result<(), NotRedactable> {
    let streams = pods.iter().map(|pod| pod.stream()).chain(workers.iter().map(|worker| worker.stream()));
    for stream in streams {
        if let Some(quarantine) = world.quarantined.get(&stream) {
            return Err(NotRedactable::Quarantined { stream, seq: quarantine.seq });
        }
    }
    for &uid in pods {
        if let Some(pod) = world.pods.get(&uid).and_then(|pod| pod.live()) {
            let (id, phase) = (pod.spec.id.clone(), pod.phase.word().to_owned());
            return Err(NotRedactable::StillThere { id, uid, phase });
        }
        if world.withheld.contains(&uid) {
            return Err(NotRedactable::NoEnd { uid });
        }
        let left = world.workers.iter().find(|(_, worker)| match worker {
            Worker::Running(worker) | Worker::Exited { worker, .. } => worker.pod == uid,
            Worker::Unknown => false,
        });
        if let Some((worker, _)) = left {
            return Err(NotRedactable::WorkerLeft { uid, worker: worker.stream() });
        }
    }
    Ok(())
}

/// The journal, opened with a view of it.
struct Open<'a> {
    parts: &'a Offline,
    journal: Journal,
    live: LiveWorld,
}

impl Open<'_> {
    fn new(parts: &Offline) -> Result<Open<'_>, OfflineError> {
        let live = LiveWorld::new();
        let (replayed, committed) = (live.clone(), live.clone());
        // One when it is closed, and none before.
        let config = JournalConfig { snapshot_every: u64::MAX, ..parts.config.clone() };
        let clock = Arc::clone(&parts.clock);
        let journal = Journal::open_with_snapshots(
            config,
            move || clock.now(),
            move |record| replayed.replay(record),
            move |records| committed.commit(records),
            live.clone(),
        );
        Ok(Open { parts, journal: journal.map_err(OfflineError::Open)?, live })
    }

    fn record(&self, command: &NodeCommand) -> Result<(), OfflineError> {
        let Offline { clock, ids, principal, .. } = self.parts;
        let (uid, node) = self.live.read(|world| (world.node_uid, world.node.clone()));
        let uid = uid.ok_or(OfflineError::NotStarted)?;
        let origin = Origin { cause: Cause::Node, correlation: ids.uuid(), principal: principal.clone() };
        let entity = Entity::of(uid.0, node, &self.live);
        let append = entity.offline(command, &self.live.context(clock.now()), origin)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(OfflineError::Runtime)?;
        runtime.block_on(self.journal.append(append)).map_err(OfflineError::Append)?;
        Ok(())
    }

    fn close(self) -> Result<(), OfflineError> {
        self.journal.close().map_err(OfflineError::Close)
    }
}
