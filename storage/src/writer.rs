//! The one thread that writes: takes what waits, writes it together, syncs once, then answers everyone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use purser_events::{
    CommandId, Event, Header, Layout, Origin, Record, Seq, StreamId, StreamVersion, Timestamp,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::answers::{self, AnswerOrder, StoredAnswer};
use crate::codec::Codec;
use crate::error::{AppendError, JournalError};
use crate::evidence::Evidence;
use crate::folder::{Folder, HeadFile};
use crate::frame::{self, FrameParts, Hash};
use crate::index::{self, IndexBatch};
use crate::journal::{Appended, CommandWrite};
use crate::observer::{CommitCost, JournalObserver};
use crate::sealer::exchange::Exchange;
use crate::segment::SegmentHeader;
use crate::segment::entry::{self, AnswerEntry, Opened};
use crate::segment::open_segment::OpenSegment;
use crate::segment::set::Segments;
use crate::snapshot::{self, SnapshotThread};
use crate::store::Store;
use crate::store_thread::StoreThread;
use crate::verify::Head;

/// Most requests that are made durable together.
const GROUP_LEN_MAX: usize = 256;

/// Payload bytes beyond which a group takes no further request.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// A request with its events encoded.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub writes: Vec<PreparedWrite>,
    pub origin: Origin,
    pub command: Option<CommandWrite>,
    /// Bytes of all payloads.
    pub bytes: usize,
}

#[derive(Debug)]
pub(crate) struct PreparedWrite {
    pub stream: StreamId,
    pub expected: StreamVersion,
    pub events: Vec<PreparedEvent>,
}

#[derive(Debug)]
pub(crate) struct PreparedEvent {
    pub event: Event,
    pub layout: Layout,
    pub payload: Vec<u8>,
    pub payload_hash: Hash,
    /// Whether the payload is sealed with the key of its subject.
    pub sealed: bool,
}

/// Is shown the records of each commit.
pub(crate) type OnCommit = Box<dyn FnMut(&[Record]) + Send>;

type Outcome = Result<Appended, AppendError>;

#[derive(Debug)]
pub(crate) struct Request {
    pub append: Prepared,
    pub reply: oneshot::Sender<Outcome>,
}

/// What is durable, for readers.
pub(crate) struct Published {
    state: Mutex<PublishedState>,
    pub heads: watch::Sender<Seq>,
    pub fatal: watch::Sender<Option<Arc<JournalError>>>,
    pub observer: OnceLock<Box<dyn JournalObserver>>,
}

#[derive(Clone, Copy)]
pub(crate) struct PublishedState {
    pub head: Head,
    /// Answers from this place in order on may not be shown yet.
    pub answers_end: u64,
}

impl Published {
    pub(crate) fn new(head: Head, answers_end: u64) -> Published {
        Published {
            state: Mutex::new(PublishedState { head, answers_end }),
            heads: watch::Sender::new(head.seq),
            fatal: watch::Sender::new(None),
            observer: OnceLock::new(),
        }
    }

    pub(crate) fn state(&self) -> PublishedState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that nothing more will be written; the first reason stays.
    fn fence(&self, error: JournalError) {
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            fatal.get_or_insert_with(|| Arc::new(error));
            first
        });
    }
}

/// Where the journal stands; owned by the thread.
pub(crate) struct Writer {
    /// The segment that takes what is written; none after a failure to go on to the next.
    pub segment: Option<OpenSegment>,
    /// What goes to and comes from the thread that seals.
    pub exchange: Arc<Exchange>,
    pub segments: Arc<Segments>,
    pub segment_bytes: u64,
    pub segment_age_ms: u64,
    pub store: Arc<dyn Store>,
    pub store_thread: StoreThread,
    /// The folder, held until the thread ends, and the file that remembers the head outside the segments.
    pub head_file: HeadFile,
    pub _folder: Folder,
    pub codec: Codec,
    pub now: Box<dyn Fn() -> Timestamp + Send>,
    pub on_commit: OnCommit,
    pub head: Head,
    pub epoch: u64,
    pub opened: Opened,
    pub streams: BTreeMap<StreamId, StreamVersion>,
    /// Versions as the snapshot had them, of streams that the store may not know.
    pub base_streams: BTreeMap<StreamId, StreamVersion>,
    pub answers: AnswerOrder,
    pub snapshots: Option<SnapshotThread>,
    pub known_snapshots: snapshot::Known,
    pub published: Arc<Published>,
}

/// Streams whose versions are kept in memory; the store knows the others.
const STREAMS_LEN_MAX: usize = 20_000;

/// Bytes that are left free at the end of a segment for its footer.
const FOOTER_RESERVE: u64 = 64 << 10;

/// A group that is about to be written.
#[derive(Default)]
struct Group {
    /// What goes to the segment.
    bytes: Vec<u8>,
    /// What goes to the store.
    index: IndexBatch,
    answers: BTreeMap<CommandId, StoredAnswer>,
    records: usize,
    /// Of the records, in order.
    hashes: Vec<Hash>,
    evidence: Vec<Evidence>,
}

impl Writer {
    /// Serves requests until every sender is gone.
    pub(crate) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let _on_panic = FenceOnPanic(Arc::clone(&self.published));
        let mut fenced = false;
        while let Some(first) = requests.blocking_recv() {
            let (appends, replies) = take_group(first, &mut requests);
            let outcomes = if fenced { None } else { self.commit(appends) };
            fenced = outcomes.is_none();
            let outcomes =
                outcomes.unwrap_or_else(|| replies.iter().map(|_| Err(AppendError::Fenced)).collect());
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // Whoever asked may have gone: what was written stays written.
                let _ = reply.send(outcome);
            }
        }
        if !fenced && let Err(error) = self.close() {
            error.note(self.segments.dir());
            self.published.fence(error);
        }
    }

    /// Leaves a note that the store can be trusted at the next start, whatever happened to the host.
    fn close(&mut self) -> Result<(), JournalError> {
        if let Some(snapshots) = self.snapshots.take() {
            snapshots.close(self.head);
        }
        self.store.sync()?;
        let mut group = Group::default();
        self.stage_evidence(&mut group);
        let segment = self.segment.as_mut().ok_or(JournalError::Closed)?;
        if !group.bytes.is_empty() {
            segment.write(&group.bytes, None)?;
            segment.sync()?;
        }
        let mut bytes = Vec::new();
        entry::put_closed(&mut bytes);
        segment.write(&bytes, None)?;
        Ok(segment.sync()?)
    }

    /// Makes a group durable and gives one outcome a request; none if the journal failed.
    fn commit(&mut self, appends: Vec<Prepared>) -> Option<Vec<Outcome>> {
        match self.try_commit(appends) {
            Ok(outcomes) => Some(outcomes),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the journal failed and is fenced");
                error.note(self.segments.dir());
                self.published.fence(error);
                None
            }
        }
    }

    fn try_commit(&mut self, appends: Vec<Prepared>) -> Result<Vec<Outcome>, JournalError> {
        let requests = appends.len();
        let now = (self.now)();
        let before = self.head;
        let mut group = Group::default();
        let mut outcomes = Vec::with_capacity(requests);
        for append in appends {
            outcomes.push(self.stage(append, now, &mut group)?);
        }
        self.stage_evidence(&mut group);
        if group.bytes.is_empty() {
            return Ok(outcomes);
        }
        let (head, Group { bytes, index, records, hashes, evidence, .. }) = (self.head, group);
        let started = Instant::now();
        let segment = self.segment_for(bytes.len(), before, now)?;
        let last = (records > 0).then_some((head, now));
        segment.write(&bytes, last)?;
        let written = Instant::now();
        self.store_thread.begin(index.finish(head));
        // Never tried again: after a failed sync the kernel may have dropped the pages and report success.
        let synced = self.segment.as_ref().map_or(Ok(()), OpenSegment::sync);
        let synced_at = Instant::now();
        self.store_thread.finish()?;
        synced?;
        self.head_file.write(self.head)?;
        if let Some(observer) = self.published.observer.get() {
            let (write, sync) = (written - started, synced_at - written);
            observer.committed(CommitCost { requests, records, bytes: bytes.len(), write, sync });
        }
        self.publish(&outcomes);
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.committed(records, head);
        }
        self.exchange.note_written(evidence);
        self.exchange.tell(before.seq.next(), hashes);
        if self.streams.len() > STREAMS_LEN_MAX {
            self.streams.clear();
        }
        Ok(outcomes)
    }

    /// The segment that has room for so many bytes: the open one, or a new one after it.
    fn segment_for(
        &mut self,
        len: usize,
        before: Head,
        now: Timestamp,
    ) -> Result<&mut OpenSegment, JournalError> {
        let is_due = self.segment.as_ref().is_some_and(|segment| {
            let full = segment.end() + len as u64 + FOOTER_RESERVE > self.segment_bytes;
            let old = now.ms_since(segment.header.created) > self.segment_age_ms;
            (full || old) && segment.contents().last().seq >= segment.header.first()
        });
        if is_due && let Some(segment) = self.segment.take() {
            let sealed = segment.seal()?;
            self.segments.note_sealed(&sealed);
            tracing::info!(segment = %sealed.path.display(), last = %sealed.footer.last.seq, "segment sealed");
            self.segment = Some(self.new_segment(before, now)?);
        }
        self.segment.as_mut().ok_or(JournalError::Closed)
    }

    fn new_segment(&self, before: Head, now: Timestamp) -> Result<OpenSegment, JournalError> {
        let (epoch, disk, dir) = (self.opened.epoch, self.segments.disk(), self.segments.dir());
        let header = SegmentHeader { before, epoch, created: now };
        let mut segment = OpenSegment::create(disk, dir, header)?;
        segment.carry(&self.exchange.newest())?;
        let mut bytes = Vec::new();
        // Each segment begins with whose it is, so that nobody has to look in the one before.
        entry::put_opened(&mut bytes, &self.opened);
        segment.write(&bytes, None)?;
        self.segments.note_open(header.first(), segment.path.clone(), segment.contents().marks());
        Ok(segment)
    }

    /// Shows what is durable now: first to the projection, then to those who wait for a new head.
    fn publish(&mut self, outcomes: &[Outcome]) {
        let state = PublishedState { head: self.head, answers_end: self.answers.next };
        *self.published.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        for appended in outcomes.iter().flatten() {
            if !appended.records.is_empty() {
                (self.on_commit)(&appended.records);
            }
        }
        self.published.heads.send_if_modified(|seq| std::mem::replace(seq, self.head.seq) != self.head.seq);
    }

    /// Adds what was signed in the meantime. It speaks of records that are durable, never of this group's.
    fn stage_evidence(&self, group: &mut Group) {
        group.evidence = self.exchange.take();
        for evidence in &group.evidence {
            let begins_group = group.bytes.is_empty();
            entry::put_evidence(&mut group.bytes, begins_group, evidence);
        }
    }

    /// Adds a request to the group, or says why it is left out.
    fn stage(
        &mut self,
        append: Prepared,
        now: Timestamp,
        group: &mut Group,
    ) -> Result<Outcome, JournalError> {
        if let Some(command) = &append.command
            && let Some(first) = self.known_answer(command.id, group)?
        {
            return Ok(Ok(Appended { records: Vec::new(), duplicate: Some(first) }));
        }
        if let Err(conflict) = self.check_expected(&append.writes)? {
            return Ok(Err(conflict));
        }
        let Prepared { writes, origin, command, .. } = append;
        let count: usize = writes.iter().map(|write| write.events.len()).sum();
        // Before its records: a commit that a stop tears is told by its last record, which is then missing.
        if let Some(CommandWrite { id, fingerprint, answer }) = command {
            let next = self.head.seq.next();
            let last = Seq(self.head.seq.0 + count as u64);
            let (first, last) = if count > 0 { (next, last) } else { (Seq::ZERO, Seq::ZERO) };
            let answer = StoredAnswer { fingerprint, answer, first, last };
            let order = self.answers.push(&*self.store, &mut group.index.batch, id, &answer)?;
            let entry = AnswerEntry { id, order, answer, continued: count > 0 };
            let begins_group = group.bytes.is_empty();
            entry::put_answer(&mut group.bytes, begins_group, &entry);
            group.answers.insert(id, entry.answer);
        }
        let mut records = Vec::with_capacity(count);
        for write in writes {
            for event in write.events {
                let continued = records.len() + 1 < count;
                records.push(self.stage_event(write.stream, event, &origin, now, continued, group)?);
            }
        }
        Ok(Ok(Appended { records, duplicate: None }))
    }

    fn known_answer(&self, id: CommandId, group: &Group) -> Result<Option<StoredAnswer>, JournalError> {
        match group.answers.get(&id) {
            Some(answer) => Ok(Some(answer.clone())),
            None => Ok(answers::find(&*self.store, id)?.map(|(answer, _)| answer)),
        }
    }

    fn check_expected(&mut self, writes: &[PreparedWrite]) -> Result<Result<(), AppendError>, JournalError> {
        // A stream may be written twice in one request.
        let mut ahead: BTreeMap<StreamId, StreamVersion> = BTreeMap::new();
        for write in writes {
            let PreparedWrite { stream, expected, .. } = *write;
            let actual = match ahead.get(&stream) {
                Some(version) => *version,
                None => self.version(stream)?,
            };
            if actual != expected {
                return Ok(Err(AppendError::Conflict { stream, expected, actual }));
            }
            ahead.insert(stream, StreamVersion(actual.0 + write.events.len() as u64));
        }
        Ok(Ok(()))
    }

    /// The version of a stream's last record, those of this group included.
    fn version(&mut self, stream: StreamId) -> Result<StreamVersion, JournalError> {
        if let Some(version) = self.streams.get(&stream) {
            return Ok(*version);
        }
        let stored = index::last_version(&*self.store, stream)?;
        let version =
            stored.or_else(|| self.base_streams.get(&stream).copied()).unwrap_or(StreamVersion::NONE);
        self.streams.insert(stream, version);
        Ok(version)
    }

    fn stage_event(
        &mut self,
        stream: StreamId,
        prepared: PreparedEvent,
        origin: &Origin,
        now: Timestamp,
        continued: bool,
        group: &mut Group,
    ) -> Result<Record, JournalError> {
        let PreparedEvent { event, layout, payload, payload_hash, sealed } = prepared;
        let version = self.version(stream)?.next();
        let seq = self.head.seq.next();
        let epoch = self.opened.epoch;
        let header = Header { seq, stream, version, time: now, epoch, origin: origin.clone() };
        let start = group.bytes.len();
        let hash = frame::encode_into(
            &mut group.bytes,
            &FrameParts {
                header: &header,
                layout_number: layout.number,
                layout_version: layout.version,
                codec: self.codec,
                sealed,
                continued,
                begins_group: start == 0,
                payload: &payload,
                payload_hash: &payload_hash,
                previous: &self.head.hash,
            },
        );
        group.records += 1;
        group.hashes.push(hash);
        group.index.add(&header, group.bytes.get(start..).unwrap_or_default());
        self.streams.insert(stream, version);
        self.head = Head { seq, hash };
        Ok(Record { header, event })
    }
}

fn take_group(
    first: Request,
    requests: &mut mpsc::Receiver<Request>,
) -> (Vec<Prepared>, Vec<oneshot::Sender<Outcome>>) {
    let mut bytes = first.append.bytes;
    let (mut appends, mut replies) = (vec![first.append], vec![first.reply]);
    while appends.len() < GROUP_LEN_MAX && bytes < GROUP_BYTES_MAX {
        let Ok(next) = requests.try_recv() else { break };
        bytes += next.append.bytes;
        appends.push(next.append);
        replies.push(next.reply);
    }
    (appends, replies)
}

/// Tells that the thread is gone, if it goes by a panic; in programs that abort on one it has nothing to do.
struct FenceOnPanic(Arc<Published>);

impl Drop for FenceOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fence(JournalError::Panicked);
        }
    }
}
