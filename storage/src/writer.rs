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
use crate::folder::{Folder, HeadFile};
use crate::frame::{self, FrameParts};
use crate::journal::{Appended, CommandWrite};
use crate::observer::{CommitCost, JournalObserver};
use crate::store::{Batch, Store, keys};
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
    pub store: Arc<dyn Store>,
    /// The folder, held until the thread ends, and the file that remembers the head outside the store.
    pub folder: Option<(HeadFile, Folder)>,
    pub codec: Codec,
    pub now: Box<dyn Fn() -> Timestamp + Send>,
    pub on_commit: OnCommit,
    pub head: Head,
    pub epoch: u64,
    pub streams: BTreeMap<StreamId, StreamVersion>,
    pub answers: AnswerOrder,
    pub published: Arc<Published>,
}

/// A group that is about to be written.
#[derive(Default)]
struct Group {
    batch: Batch,
    answers: BTreeMap<CommandId, StoredAnswer>,
    records: usize,
    bytes: usize,
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
    }

    /// Makes a group durable and gives one outcome a request; none if the journal failed.
    fn commit(&mut self, appends: Vec<Prepared>) -> Option<Vec<Outcome>> {
        match self.try_commit(appends) {
            Ok(outcomes) => Some(outcomes),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the journal failed and is fenced");
                self.published.fence(error);
                None
            }
        }
    }

    fn try_commit(&mut self, appends: Vec<Prepared>) -> Result<Vec<Outcome>, JournalError> {
        let requests = appends.len();
        let now = (self.now)();
        let mut group = Group::default();
        let mut outcomes = Vec::with_capacity(requests);
        for append in appends {
            outcomes.push(self.stage(append, now, &mut group)?);
        }
        if group.batch.writes.is_empty() {
            return Ok(outcomes);
        }
        let Group { batch, records, bytes, .. } = group;
        let started = Instant::now();
        self.store.apply(batch)?;
        let written = Instant::now();
        // Never tried again: after a failed sync the kernel may have dropped the pages and report success.
        self.store.sync()?;
        let synced = Instant::now();
        if let Some((head_file, _)) = &self.folder {
            head_file.write(self.head)?;
        }
        if let Some(observer) = self.published.observer.get() {
            let (write, sync) = (written - started, synced - written);
            observer.committed(CommitCost { requests, records, bytes, write, sync });
        }
        self.publish(&outcomes);
        Ok(outcomes)
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
        if let Err(conflict) = self.check_expected(&append.writes) {
            return Ok(Err(conflict));
        }
        let Prepared { writes, origin, command, .. } = append;
        let before = self.head.seq;
        let count: usize = writes.iter().map(|write| write.events.len()).sum();
        let mut records = Vec::with_capacity(count);
        for write in writes {
            for event in write.events {
                let continued = records.len() + 1 < count;
                records.push(self.stage_event(write.stream, event, &origin, now, continued, group));
            }
        }
        if let Some(CommandWrite { id, fingerprint, answer }) = command {
            let wrote = self.head.seq != before;
            let (first, last) = if wrote { (before.next(), self.head.seq) } else { (Seq::ZERO, Seq::ZERO) };
            let answer = StoredAnswer { fingerprint, answer, first, last };
            self.answers.push(&*self.store, &mut group.batch, id, &answer)?;
            group.answers.insert(id, answer);
        }
        Ok(Ok(Appended { records, duplicate: None }))
    }

    fn known_answer(&self, id: CommandId, group: &Group) -> Result<Option<StoredAnswer>, JournalError> {
        match group.answers.get(&id) {
            Some(answer) => Ok(Some(answer.clone())),
            None => Ok(answers::find(&*self.store, id)?.map(|(answer, _)| answer)),
        }
    }

    fn check_expected(&self, writes: &[PreparedWrite]) -> Result<(), AppendError> {
        // A stream may be written twice in one request.
        let mut ahead: BTreeMap<StreamId, StreamVersion> = BTreeMap::new();
        for write in writes {
            let PreparedWrite { stream, expected, .. } = *write;
            let known = ahead.get(&stream).or_else(|| self.streams.get(&stream));
            let actual = known.copied().unwrap_or(StreamVersion::NONE);
            if actual != expected {
                return Err(AppendError::Conflict { stream, expected, actual });
            }
            ahead.insert(stream, StreamVersion(actual.0 + write.events.len() as u64));
        }
        Ok(())
    }

    fn stage_event(
        &mut self,
        stream: StreamId,
        prepared: PreparedEvent,
        origin: &Origin,
        now: Timestamp,
        continued: bool,
        group: &mut Group,
    ) -> Record {
        let PreparedEvent { event, layout, payload } = prepared;
        let version = self.streams.get(&stream).copied().unwrap_or(StreamVersion::NONE).next();
        let seq = self.head.seq.next();
        let header = Header { seq, stream, version, time: now, epoch: self.epoch, origin: origin.clone() };
        let (frame, hash) = frame::encode(&FrameParts {
            header: &header,
            layout_number: layout.number,
            layout_version: layout.version,
            codec: self.codec,
            continued,
            payload: &payload,
            previous: &self.head.hash,
        });
        group.records += 1;
        group.bytes += frame.len();
        group.batch.put(keys::record(seq), frame);
        group.batch.put(keys::stream(stream, version), seq.0.to_be_bytes().to_vec());
        self.streams.insert(stream, version);
        self.head = Head { seq, hash };
        Record { header, event }
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
