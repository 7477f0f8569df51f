//! The journal as its users see it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use purser_events::{CommandId, Event, Origin, Record, Seq, StreamId, StreamVersion, Timestamp};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::answers::{self, ANSWER_LEN_MAX, StoredAnswer};
use crate::ballast::{Ballast, BallastStanding};
use crate::codec::Codec;
use crate::disk::{Disk, Space, SystemDisk};
use crate::error::{AppendError, JournalError};
use crate::frame::{self, FRAME_LEN_MAX, HEADER_LEN_MAX, Hash, PREFIX_LEN};
use crate::observer::JournalObserver;
use crate::open::Replayed;
use crate::opening;
use crate::queue::Queue;
use crate::segment::set::Segments;
use crate::store::{Backend, FolderStores, Store, Stores};
use crate::terms::{Class, Durability, PerClass, Terms};
use crate::verify::Head;
use crate::writer::{OnCommit, Prepared, PreparedEvent, PreparedWrite, Published, Request};

/// Most payload bytes that one request may hold.
pub const COMMIT_BYTES_MAX: usize = 1 << 20;

pub use crate::segment::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};

/// Longest payload that fits into a frame under every header.
const PAYLOAD_LEN_MAX: usize = FRAME_LEN_MAX - PREFIX_LEN - HEADER_LEN_MAX - size_of::<Hash>();

/// Where and how a journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// Its folder; made if it is absent.
    pub dir: PathBuf,
    /// The codec of new records; old ones keep theirs.
    pub codec: Codec,
    /// What keeps the store.
    pub backend: Backend,
    /// Memory in which the store keeps pages, in bytes.
    pub cache_bytes: u64,
    /// Requests of each class that may wait; more are refused as [`AppendError::Busy`].
    pub queue_len_max: usize,
    /// Length at which a segment is sealed, in bytes, from [`SEGMENT_BYTES_MIN`] to [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u64,
    /// Age at which a segment that holds records is sealed by the next commit, in milliseconds.
    pub segment_age_ms: u64,
    /// Which boot of the host this is. A store that was not closed in order is made again unless it was written in
    /// the same boot: a loss of power may have left any part of it.
    pub boot_id: Option<Uuid>,
    /// Room on the disk that is held for what ends pods, see [`Journal::make_ballast`]; 0 for none.
    pub ballast_bytes: u64,
}

impl JournalConfig {
    /// A journal in `dir` with defaults for all else.
    pub fn new(dir: impl Into<PathBuf>) -> JournalConfig {
        JournalConfig {
            dir: dir.into(),
            codec: Codec::default(),
            backend: Backend::default(),
            cache_bytes: 16 << 20,
            queue_len_max: 4_096,
            segment_bytes: 64 << 20,
            segment_age_ms: 3_600_000,
            boot_id: None,
            ballast_bytes: 0,
        }
    }
}

/// What is to be written together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// Events with the versions that they were decided on.
    pub writes: Vec<StreamWrite>,
    /// What led to them.
    pub origin: Origin,
    /// The request from outside that is answered by this, if it is one.
    pub command: Option<CommandWrite>,
}

/// Events for one stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamWrite {
    /// The stream.
    pub stream: StreamId,
    /// The version that the stream must have; also checked if there are no events.
    pub expected: StreamVersion,
    /// The events in order; none only if a command is answered.
    pub events: Vec<Event>,
}

/// The answer to a request from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandWrite {
    /// The request's id.
    pub id: CommandId,
    /// Hash of what was asked.
    pub fingerprint: Hash,
    /// The answer that a retry gets too, at most 4 KiB.
    pub answer: Vec<u8>,
}

/// What an append came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// What was written, in order.
    pub records: Vec<Record>,
    /// The first answer, if the command was known already; nothing was written then.
    pub duplicate: Option<StoredAnswer>,
}

/// Figures about a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalStats {
    /// The last acknowledged record.
    pub head: Head,
    /// Which opening of the journal this is.
    pub epoch: u64,
    /// Bytes that it takes on disk.
    pub bytes_on_disk: u64,
    /// Requests that wait.
    pub queue_len: usize,
    /// Requests of each class that may wait.
    pub queue_len_max: usize,
    /// Requests that wait, by class.
    pub waiting: PerClass<usize>,
    /// Requests that were refused since the journal was opened, for want of a place in the queue or on the disk.
    pub refused: PerClass<u64>,
    /// Bytes of the ballast, if it is there.
    pub ballast_bytes: u64,
}

/// A handle on an open journal; clones are the same journal.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    codec: Codec,
    epoch: u64,
    published: Arc<Published>,
    /// None once the journal is closed.
    store: RwLock<Option<Arc<dyn Store>>>,
    segments: Arc<Segments>,
    queue: Arc<Queue>,
    ballast: Arc<Ballast>,
    sheds_observations: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = self.head();
        f.debug_struct("Journal")
            .field("epoch", &self.shared.epoch)
            .field("head", &head.seq)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal in a folder: locks it, reads and checks every record once, handing each to `replay` in
    /// order, then starts the thread that writes. `now` stamps new records. `on_commit` is called on that thread
    /// with the records of each commit, once they are durable and before anyone is told.
    ///
    /// # Errors
    /// The folder is in use, of a newer format or not a journal's, the store cannot be read or written, or the
    /// records are not the ones that were written.
    pub fn open(
        config: JournalConfig,
        now: impl Fn() -> Timestamp + Send + 'static,
        replay: impl FnMut(Replayed),
        on_commit: impl FnMut(&[Record]) + Send + 'static,
    ) -> Result<Journal, JournalError> {
        let stores = FolderStores {
            dir: config.dir.clone(),
            backend: config.backend,
            cache_bytes: config.cache_bytes,
        };
        Journal::open_on(Arc::new(SystemDisk), &stores, config, now, replay, on_commit)
    }

    /// As [`Journal::open`], with segments on another disk and another store behind them.
    ///
    /// # Errors
    /// As for [`Journal::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        stores: &dyn Stores,
        config: JournalConfig,
        now: impl Fn() -> Timestamp + Send + 'static,
        mut replay: impl FnMut(Replayed),
        on_commit: impl FnMut(&[Record]) + Send + 'static,
    ) -> Result<Journal, JournalError> {
        let (now, on_commit): (_, OnCommit) = (Box::new(now), Box::new(on_commit));
        let writer = opening::open(disk, stores, &config, now, &mut replay, on_commit)?;
        let (store, segments) = (Arc::clone(&writer.store), Arc::clone(&writer.segments));
        let (published, epoch) = (Arc::clone(&writer.published), writer.epoch);
        let ballast = Arc::clone(&writer.ballast);
        let queue = Arc::new(Queue::new(config.queue_len_max));
        let served = Arc::clone(&queue);
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&served));
        let shared = Shared {
            codec: config.codec,
            epoch,
            published,
            store: RwLock::new(Some(store)),
            segments,
            queue,
            ballast,
            sheds_observations: AtomicBool::new(false),
            thread: Mutex::new(Some(thread.map_err(JournalError::Thread)?)),
        };
        Ok(Journal { shared: Arc::new(shared) })
    }

    /// Writes records; returns once they are durable. If the caller goes away before, they may be written
    /// all the same.
    ///
    /// # Panics
    /// An event is of another kind than the stream that it is to be written to.
    ///
    /// # Errors
    /// Nothing was written, except with [`AppendError::Fenced`], after which it is unknown.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.append_on(append, Terms::default()).await
    }

    /// As [`Journal::append`], with a class and a durability. What is not durable yet counts for the versions that
    /// later appends expect.
    ///
    /// # Panics
    /// As [`Journal::append`].
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn append_on(&self, append: Append, terms: Terms) -> Result<Appended, AppendError> {
        let started = Instant::now();
        let outcome = self.append_unmeasured(append, terms).await;
        if let Some(observer) = self.shared.published.observer.get() {
            observer.answered(started.elapsed());
        }
        outcome
    }

    async fn append_unmeasured(&self, append: Append, terms: Terms) -> Result<Appended, AppendError> {
        let append = prepare(append, terms, self.shared.codec)?;
        if self.shared.published.fatal.borrow().is_some() {
            return Err(AppendError::Fenced);
        }
        if terms.class == Class::Observation && self.shared.sheds_observations.load(Ordering::Relaxed) {
            self.shared.queue.note_refused(terms.class);
            return Err(AppendError::NoRoom { class: terms.class });
        }
        let (reply, outcome) = oneshot::channel();
        self.shared.queue.push(Request { append, reply })?;
        // The thread answers every request that it takes, unless it panicked.
        outcome.await.unwrap_or(Err(AppendError::Fenced))
    }

    /// Refuses appends of [`Class::Observation`] as [`AppendError::NoRoom`] from now on, or takes them again.
    pub fn shed_observations(&self, shed: bool) {
        self.shared.sheds_observations.store(shed, Ordering::Relaxed);
    }

    /// How full the file system is that the journal is on.
    ///
    /// # Errors
    /// What the system says.
    pub fn space(&self) -> io::Result<Space> {
        self.shared.ballast.space()
    }

    /// Takes room for the ballast if it is not there, unless the disk would then be used to `used_percent_max` or
    /// more; says whether it is there now. Once the disk has less room left than a quarter of the ballast, only what
    /// is of [`Class::Safety`] is taken, and the ballast is given up for it. Blocks on the disk.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn make_ballast(&self, used_percent_max: u8) -> Result<bool, JournalError> {
        Ok(self.shared.ballast.make(used_percent_max)?)
    }

    /// Bytes of the ballast, if it is there.
    #[must_use]
    pub fn ballast_bytes(&self) -> u64 {
        match self.ballast() {
            BallastStanding::Held => self.shared.ballast.bytes(),
            BallastStanding::Absent | BallastStanding::GivenUp => 0,
        }
    }

    /// Whether the ballast is there.
    #[must_use]
    pub fn ballast(&self) -> BallastStanding {
        self.shared.ballast.standing()
    }

    /// Which opening of the journal this is, from 1.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// The last acknowledged record.
    #[must_use]
    pub fn head(&self) -> Head {
        self.shared.published.state().head
    }

    /// Tells of every new head. Those who follow the journal wait here and then read from disk, so a slow one
    /// holds nobody up.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Seq> {
        self.shared.published.heads.subscribe()
    }

    /// Is set once, when a write failed: the journal then takes no more records until it is opened again.
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<Arc<JournalError>>> {
        self.shared.published.fatal.subscribe()
    }

    /// Hands figures about every commit to `observer` from now on; the first one given stays.
    pub fn observe(&self, observer: impl JournalObserver) {
        let _ = self.shared.published.observer.set(Box::new(observer));
    }

    /// Figures about the journal; measures its files.
    ///
    /// # Errors
    /// The journal is closed, or its files cannot be measured.
    pub fn stats(&self) -> Result<JournalStats, JournalError> {
        let bytes_on_disk = self.store()?.bytes_on_disk()? + self.shared.segments.bytes_on_disk()?;
        let (waiting, refused) = (self.shared.queue.lens(), self.shared.queue.refused());
        let ballast_bytes = self.ballast_bytes();
        Ok(JournalStats {
            head: self.head(),
            epoch: self.epoch(),
            bytes_on_disk: bytes_on_disk + ballast_bytes,
            queue_len: waiting.safety + waiting.lifecycle + waiting.observation,
            queue_len_max: self.shared.queue.len_max(),
            waiting,
            refused,
            ballast_bytes,
        })
    }

    /// The first answer to a command, if it is remembered.
    ///
    /// # Errors
    /// The journal is closed or cannot be read.
    pub fn answer(&self, id: CommandId) -> Result<Option<StoredAnswer>, JournalError> {
        // Taken first: an answer that comes in between is not durable yet for all we know.
        let answers_end = self.shared.published.state().answers_end;
        let found = answers::find(&*self.store()?, id)?;
        Ok(found.filter(|(_, order)| *order < answers_end).map(|(answer, _)| answer))
    }

    /// Writes what waits, stops the thread and releases the folder. Blocks until that is done; every other
    /// handle is closed with this one.
    ///
    /// # Errors
    /// A write had failed.
    pub fn close(self) -> Result<(), JournalError> {
        self.shared.stop();
        let fatal = self.shared.published.fatal.borrow().clone();
        fatal.map_or(Ok(()), |error| Err(JournalError::Failed(error)))
    }

    pub(crate) fn store(&self) -> Result<Arc<dyn Store>, JournalError> {
        let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone().ok_or(JournalError::Closed)
    }

    pub(crate) fn segments(&self) -> &Arc<Segments> {
        &self.shared.segments
    }
}

impl Shared {
    fn stop(&self) {
        // The thread ends once it has served what waits.
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // A panic of the thread is told as `fatal`.
            let _ = thread.join();
        }
        self.store.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Checks a request, encodes its events and hashes them, on the caller's thread.
fn prepare(append: Append, terms: Terms, codec: Codec) -> Result<Prepared, AppendError> {
    let Append { writes, origin, command } = append;
    if command.is_none() && writes.iter().all(|write| write.events.is_empty()) {
        return Err(AppendError::NothingToWrite);
    }
    if let Some(command) = &command {
        check_len(command.answer.len(), ANSWER_LEN_MAX)?;
    }
    // The answer to a command is told to the outside.
    let durability = if command.is_some() { Durability::Sync } else { terms.durability };
    let terms = Terms { durability, ..terms };
    let mut bytes = 0;
    let mut prepared = Vec::with_capacity(writes.len());
    for StreamWrite { stream, expected, events } in writes {
        let mut encoded = Vec::with_capacity(events.len());
        for event in events {
            assert_eq!(event.stream_kind(), stream.kind, "an event belongs in a stream of its own kind");
            let payload =
                event.encode(&codec).expect("payloads are plain structs, which every codec encodes");
            check_len(payload.len(), PAYLOAD_LEN_MAX)?;
            bytes += payload.len();
            check_len(bytes, COMMIT_BYTES_MAX)?;
            let payload_hash = frame::sha256(&payload);
            encoded.push(PreparedEvent { layout: event.layout(), event, payload, payload_hash });
        }
        prepared.push(PreparedWrite { stream, expected, events: encoded });
    }
    Ok(Prepared { writes: prepared, origin, command, terms, bytes })
}

fn check_len(len: usize, max: usize) -> Result<(), AppendError> {
    if len > max { Err(AppendError::TooLarge { len, max }) } else { Ok(()) }
}
