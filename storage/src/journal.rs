//! The journal as its users see it.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use purser_events::{CommandId, Event, Origin, Record, StreamId, StreamVersion, Timestamp};
use tokio::sync::oneshot::{self, Receiver};
use tokio::sync::watch;

use crate::answers::{self, StoredAnswer};
use crate::ballast::Ballast;
use crate::codec::Codec;
use crate::disk::{Disk, SystemDisk};
use crate::error::{AppendError, JournalError};
use crate::found::Found;
use crate::frame::Hash;
use crate::observer::JournalObserver;
use crate::open::Replayed;
use crate::opening::{self, Watched};
use crate::projection::Projections;
use crate::published::Published;
use crate::queue::Queue;
use crate::read::Reader;
use crate::request::{Outcome, Prepared, Request, prepare};
use crate::retention::Holds;
use crate::sealer::exchange::Exchange;
use crate::sealer::{self, SealerError, SealingParts, SealingStatus};
use crate::segment::set::Segments;
use crate::snapshot::{self, Snapshots};
use crate::store::{FolderStores, Store, Stores};
use crate::subjects::SubjectKeys;
use crate::terms::{Class, PerClass, Terms};
use crate::verify::Head;

/// Most payload bytes that one request may hold.
pub const COMMIT_BYTES_MAX: usize = 1 << 20;

pub use crate::config::JournalConfig;
pub use crate::segment::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};

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
    found: Found,
    codec: Codec,
    keys: Option<Arc<SubjectKeys>>,
    epoch: u64,
    published: Arc<Published>,
    reader: Reader,
    segments: Arc<Segments>,
    holds: Arc<Holds>,
    projections: Projections,
    known_snapshots: snapshot::Known,
    exchange: Arc<Exchange>,
    sealer: Mutex<Option<JoinHandle<()>>>,
    queue: Arc<Queue>,
    ballast: Arc<Ballast>,
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
        let stores = FolderStores::of(&config);
        Journal::open_on(Arc::new(SystemDisk), &stores, config, now, replay, on_commit)
    }

    /// As [`Journal::open`], for a projection that can be put away: `snapshots` is restored first, and `replay`
    /// gets what came after.
    ///
    /// # Errors
    /// As for [`Journal::open`].
    pub fn open_with_snapshots(
        config: JournalConfig,
        now: impl Fn() -> Timestamp + Send + 'static,
        replay: impl FnMut(Replayed),
        on_commit: impl FnMut(&[Record]) + Send + 'static,
        snapshots: impl Snapshots + 'static,
    ) -> Result<Journal, JournalError> {
        let (disk, stores) = (Arc::new(SystemDisk), FolderStores::of(&config));
        Journal::open_on_with_snapshots(disk, &stores, config, now, replay, on_commit, snapshots)
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
        let watched = Watched { replay: &mut replay, on_commit: Box::new(on_commit), snapshots: None };
        Journal::start(disk, stores, config, Box::new(now), watched)
    }

    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        stores: &dyn Stores,
        config: JournalConfig,
        now: Box<dyn Fn() -> Timestamp + Send>,
        watched: Watched<'_>,
    ) -> Result<Journal, JournalError> {
        let keys = config.subjects.clone().map(|subjects| Arc::new(SubjectKeys::new(subjects)));
        let writer = opening::open(disk, stores, &config, keys.as_deref(), now, watched);
        let writer = writer.inspect_err(|error| error.note(&config.dir))?;
        let known_snapshots = Arc::clone(&writer.known_snapshots);
        let (store, segments) = (Arc::clone(&writer.store), Arc::clone(&writer.segments));
        let lag = Arc::clone(writer.store_thread.lag());
        let (published, epoch, found) = (Arc::clone(&writer.published), writer.epoch, writer.found);
        let (exchange, ballast) = (Arc::clone(&writer.exchange), Arc::clone(&writer.ballast));
        let queue =
            Arc::new(Queue::new(config.queue_len_max, Duration::from_micros(config.group_wait_us_max)));
        let served = Arc::clone(&queue);
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&served));
        let shared = Shared {
            codec: config.codec,
            epoch,
            found,
            reader: Reader::new(store, lag, Arc::clone(&segments), Arc::clone(&published), keys.clone()),
            keys,
            published,
            segments,
            holds: Arc::default(),
            projections: Projections::default(),
            known_snapshots,
            exchange,
            sealer: Mutex::new(None),
            queue,
            ballast,
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
        self.enqueue(append, terms)?.await
    }

    /// As [`Journal::append_on`], with its place among those of its class taken when this returns: appends of one
    /// caller that are enqueued one after another on the same terms are written in that order, so each may expect the
    /// versions that those before it lead to. The future that is returned has the answer; without it, the append is
    /// made all the same.
    ///
    /// # Panics
    /// As [`Journal::append`].
    ///
    /// # Errors
    /// Of the future: as [`Journal::append`]. What is refused here has no place, and nothing is written.
    pub fn enqueue(
        &self,
        append: Append,
        terms: Terms,
    ) -> Result<impl Future<Output = Result<Appended, AppendError>> + Send + use<>, AppendError> {
        let started = Instant::now();
        let outcome = self.take_place(append, terms);
        let shared = Arc::clone(&self.shared);
        let answered = move || {
            if let Some(observer) = shared.published.observer.get() {
                observer.answered(started.elapsed());
            }
        };
        let outcome = outcome.inspect_err(|_| answered())?;
        Ok(async move {
            // The thread answers every request that it takes, unless it panicked.
            let outcome = outcome.await.map_or(Err(AppendError::Fenced), |(outcome, _)| outcome);
            answered();
            outcome
        })
    }

    /// Whether appends of a class were taken of late as far as the disk's room goes. That there is room again is seen at
    /// the next append.
    #[must_use]
    pub fn has_room(&self, class: Class) -> bool {
        self.shared.ballast.has_room(class)
    }

    fn take_place(&self, append: Append, terms: Terms) -> Result<Receiver<(Outcome, Prepared)>, AppendError> {
        let append = prepare(append, terms, self.shared.codec, self.shared.keys.as_deref())?;
        if self.shared.published.fatal.borrow().is_some() {
            return Err(AppendError::Fenced);
        }
        if self.shared.ballast.sheds(terms.class) {
            self.shared.queue.note_refused(terms.class);
            return Err(AppendError::NoRoom { class: terms.class });
        }
        let (reply, outcome) = oneshot::channel();
        self.shared.queue.push(Request { append, reply })?;
        Ok(outcome)
    }

    /// Which opening of the journal this is, from 1.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// What this opening of the journal found.
    #[must_use]
    pub fn found(&self) -> Found {
        self.shared.found
    }

    /// The last acknowledged record.
    #[must_use]
    pub fn head(&self) -> Head {
        self.shared.published.state().head
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

    /// The records that sound snapshots are of, oldest first.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Head> {
        let known = self.shared.known_snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|known| known.head).collect()
    }

    pub(crate) fn known_snapshots(&self) -> &snapshot::Known {
        &self.shared.known_snapshots
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
        let found = self.noted(answers::find(&*self.store()?, id))?;
        Ok(found.filter(|(_, order)| *order < answers_end).map(|(answer, _)| answer))
    }

    /// Begins to seal the journal: from now on there are signed checkpoints in it. Trouble later on ends the sealing
    /// alone and is told by [`Journal::sealing`].
    ///
    /// # Errors
    /// The key cannot be used, it is not the one that sealed this journal last, or the journal lacks records that
    /// were sealed. The journal goes on without seals.
    pub fn seal(&self, parts: SealingParts) -> Result<(), SealerError> {
        let sealed = sealer::Sealed {
            segments: Arc::clone(&self.shared.segments),
            published: Arc::clone(&self.shared.published),
            exchange: Arc::clone(&self.shared.exchange),
            queue: Arc::clone(&self.shared.queue),
        };
        let thread = sealer::start(sealed, parts)?;
        *self.shared.sealer.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// How the sealing stands, now and whenever that changes.
    #[must_use]
    pub fn sealing(&self) -> watch::Receiver<SealingStatus> {
        self.shared.exchange.status.subscribe()
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
        self.shared.reader.store()
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.shared.reader
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.shared.exchange
    }

    pub(crate) fn reserve(&self) -> &Ballast {
        &self.shared.ballast
    }

    pub(crate) fn holds(&self) -> &Arc<Holds> {
        &self.shared.holds
    }

    pub(crate) fn projection_set(&self) -> &Projections {
        &self.shared.projections
    }

    /// A reading's result; damage to the store has the next start make it again.
    pub(crate) fn noted<T>(&self, read: Result<T, JournalError>) -> Result<T, JournalError> {
        self.shared.reader.noted(read)
    }

    pub(crate) fn segment_set(&self) -> &Arc<Segments> {
        &self.shared.segments
    }
}

impl Shared {
    fn stop(&self) {
        // First, so that what it seals at last is written still.
        self.exchange.end();
        let sealer = self.sealer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sealer) = sealer.filter(|sealer| sealer.thread().id() != thread::current().id()) {
            // Nothing is lost with its panic but a seal.
            let _ = sealer.join();
        }
        // Before the store is synced for the last time, so that their rows are in it.
        self.published.end();
        self.projections.join();
        // The thread ends once it has served what waits.
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // A panic of the thread is told as `fatal`.
            let _ = thread.join();
        }
        self.reader.close();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}
