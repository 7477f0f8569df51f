//! The world as the journal has it, kept up to date by the journal's writer before any reply goes out: who
//! reads here after an answer sees at least what the answer speaks of.

mod snapshot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use purser_events::invariant::{self, Inconsistency};
use purser_events::{
    Context, Header, Policy, Record, Seq, StreamId, StreamKind, StreamVersion, Timestamp, World,
};
use purser_storage::Replayed;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The live view. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LiveWorld {
    inner: Arc<RwLock<Inner>>,
    /// What decisions may know of the node: each asks for it, so they do not wait for who folds records in.
    circumstances: Arc<RwLock<Circumstances>>,
    /// What the last self-check found.
    inconsistencies: Arc<Mutex<Vec<Inconsistency>>>,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    world: World,
    heads: BTreeMap<StreamId, StreamHead>,
    unreadable: u64,
    /// The last record up to which the world is what could be read of another release's snapshot.
    assumed_upto: Option<Seq>,
}

/// What decisions may know of the node.
#[derive(Debug, Clone, Default)]
struct Circumstances {
    policy: Policy,
    cordoned: Option<String>,
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamHead {
    /// Version of its last record.
    pub version: StreamVersion,
    /// Where in the journal that record is.
    pub seq: Seq,
    /// The conversation that it belongs to.
    pub correlation: Uuid,
}

impl LiveWorld {
    /// A world in which nothing has happened.
    #[must_use]
    pub fn new() -> LiveWorld {
        LiveWorld::default()
    }

    /// Folds in what the journal holds from before; a record that cannot be read puts its stream into quarantine.
    pub fn replay(&self, replayed: Replayed) {
        match replayed {
            Replayed::Record(record) => self.commit(std::slice::from_ref(&record)),
            Replayed::Unreadable { header, layout_number, reason, .. } if reason.is_withheld() => {
                let mut inner = self.write();
                inner.world.apply_withheld(&header, layout_number);
                inner.note_folded(&header);
            }
            Replayed::Unreadable { seq, header, reason, .. } => {
                tracing::error!(%seq, %reason, "a record cannot be read; its stream is left as it was before");
                let mut inner = self.write();
                inner.unreadable += 1;
                inner.note_head(&header);
                inner.world.quarantine(header.stream, seq, reason.to_string());
            }
        }
    }

    /// Folds in records that have just been made durable.
    pub fn commit(&self, records: &[Record]) {
        let mut inner = self.write();
        for record in records {
            inner.fold(record);
        }
        if records.iter().any(|record| record.header.stream.kind == StreamKind::Node) {
            self.note_circumstances(&inner);
        }
    }

    /// Reads the world; nothing is committed meanwhile, so be brief.
    pub fn read<R>(&self, read: impl FnOnce(&World) -> R) -> R {
        read(&self.inner.read().unwrap_or_else(PoisonError::into_inner).world)
    }

    /// Where a stream stands, if its entity is not gone.
    #[must_use]
    pub fn head(&self, stream: StreamId) -> Option<StreamHead> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).heads.get(&stream).copied()
    }

    /// Records of the journal that this release could not read at its start.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).unreadable
    }

    /// The last record up to which the world was taken from a snapshot that is not read as it was put away, because
    /// the records before it are gone; none if all of it was folded by the rules in force.
    #[must_use]
    pub fn assumed_upto(&self) -> Option<Seq> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).assumed_upto
    }

    /// The circumstances of a decision made now.
    #[must_use]
    pub fn context(&self, now: Timestamp) -> Context {
        let circumstances = self.circumstances.read().unwrap_or_else(PoisonError::into_inner);
        let Circumstances { policy, cordoned } = circumstances.clone();
        Context { now, policy, cordoned }
    }

    /// Takes over what decisions may know of the node.
    fn note_circumstances(&self, inner: &Inner) {
        let node = inner.world.node.known();
        let mut circumstances = self.circumstances.write().unwrap_or_else(PoisonError::into_inner);
        *circumstances = Circumstances {
            policy: node.map_or_else(Policy::default, |node| node.policy.clone()),
            cordoned: node.and_then(|node| node.cordoned.clone()),
        };
    }

    /// Checks the catalogue of invariants, adds what `others` found, and keeps it all until the next check.
    pub fn check(&self, others: Vec<Inconsistency>) -> usize {
        let mut found = self.read(invariant::check);
        found.extend(others);
        for inconsistency in &found {
            tracing::error!(%inconsistency, "an invariant is broken: please report this with an export of the journal");
        }
        let count = found.len();
        *self.inconsistencies.lock().unwrap_or_else(PoisonError::into_inner) = found;
        count
    }

    /// What the last self-check found.
    #[must_use]
    pub fn inconsistencies(&self) -> Vec<Inconsistency> {
        self.inconsistencies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn fold(&mut self, record: &Record) {
        let header = &record.header;
        if let Err(illegal) = self.world.apply(record) {
            tracing::error!(seq = %header.seq, stream = %header.stream, %illegal, "a record does not fit its stream");
        }
        self.note_folded(header);
    }

    /// Takes notice of where a stream stands, if its entity is not gone.
    fn note_folded(&mut self, header: &Header) {
        let over = match header.stream.kind {
            // What becomes of it cannot be known any more; where its stream stands can.
            _ if self.world.quarantined.contains_key(&header.stream) => false,
            StreamKind::Node | StreamKind::Ledger | StreamKind::Gpu | StreamKind::Pool => false,
            StreamKind::Pod => {
                let uid = purser_events::PodUid(header.stream.id);
                !self.world.pods.contains_key(&uid) && !self.world.withheld.contains(&uid)
            }
            StreamKind::Worker => {
                !self.world.workers.contains_key(&purser_events::WorkerUid(header.stream.id))
            }
        };
        if over {
            self.heads.remove(&header.stream);
        } else {
            self.note_head(header);
        }
    }

    fn note_head(&mut self, header: &Header) {
        let (version, seq, correlation) = (header.version, header.seq, header.origin.correlation);
        self.heads.insert(header.stream, StreamHead { version, seq, correlation });
    }
}

#[cfg(test)]
mod tests {
    use purser_events::pod::event::{Exit, ExitReason, StartRequested};
    use purser_events::worker::event::{Exited, Registered};
    use purser_events::worker::{ProcessIdentity, WorkerEvent};
    use purser_events::{Cause, ContainerName, Origin, PodUid, Principal};
    use purser_storage::record::PayloadError;

    use super::*;

    fn header(stream: StreamId, seq: u64, version: u64) -> Header {
        let origin = Origin { cause: Cause::Node, correlation: Uuid::nil(), principal: Principal::node() };
        let (seq, version) = (Seq(seq), StreamVersion(version));
        Header { seq, stream, version, time: Timestamp(0), epoch: 1, origin }
    }

    /// An entity whose last record cannot be read must still know where its stream stands: what it appends next
    /// would conflict otherwise.
    #[test]
    fn an_unreadable_record_counts_in_its_stream() {
        let live = LiveWorld::new();
        let worker = StreamId { kind: StreamKind::Worker, id: Uuid::from_u128(1) };
        let unreadable = Replayed::Unreadable {
            seq: Seq(7),
            header: header(worker, 7, 3),
            layout_number: 0x0301,
            reason: PayloadError::UnknownCodec { number: 9 },
        };
        live.replay(unreadable);
        assert_eq!(live.head(worker).map(|head| (head.version, head.seq)), Some((StreamVersion(3), Seq(7))));
        assert_eq!(live.unreadable(), 1);
        // What comes after it is not folded, but counted.
        let process = ProcessIdentity {
            host_pid: 9,
            start_time_ticks: 1,
            boot_id: Uuid::from_u128(2),
            container_pid: 9,
        };
        let container = ContainerName::new("app").expect("a label");
        let registered = Registered { pod: PodUid(Uuid::from_u128(3)), container, attempt: 1, process };
        let exit = Exit { code: 0, reason: ExitReason::Completed, finished_at: Timestamp(0) };
        let events: [WorkerEvent; 2] = [registered.into(), Exited { exit }.into()];
        for (number, event) in events.into_iter().enumerate() {
            let number = number as u64;
            live.commit(&[Record { header: header(worker, 8 + number, 4 + number), event: event.into() }]);
        }
        assert_eq!(live.head(worker).map(|head| head.version), Some(StreamVersion(5)));
        assert_eq!(live.read(|world| (world.head, world.workers.len())), (Seq(9), 0));
    }

    #[test]
    fn a_record_that_does_not_fit_quarantines_its_stream_alone() {
        let live = LiveWorld::new();
        let pod = PodUid(Uuid::from_u128(4)).stream();
        let event = purser_events::pod::PodEvent::from(StartRequested {});
        live.commit(&[Record { header: header(pod, 1, 1), event: event.into() }]);
        assert_eq!(live.check(vec![]), 1);
        assert_eq!(live.head(pod).map(|head| head.version), Some(StreamVersion(1)));
    }
}
