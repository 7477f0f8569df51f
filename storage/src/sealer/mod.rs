//! Sealing a journal while it is written: signs checkpoints, replaces keys, all beside the thread that writes.
//!
//! The thread that writes hands over the hashes of what is durable, and takes what was signed along with the next
//! group. Whatever goes wrong here ends the sealing and is told; the journal goes on.

pub(crate) mod exchange;
mod thread;

use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use purser_events::{Timestamp, causes};

use self::exchange::{COMMITS_WAITING_MAX, Exchange};
use self::thread::Sealer;
use crate::checkpoint::{Seed, SignedNote};
use crate::evidence::{Evidence, Newest};
use crate::merkle::Frontier;
use crate::published::Published;
use crate::queue::Queue;
use crate::sealing::{Appointment, KeyFile, KeyFileError, SealingError, SealingKey};
use crate::segment::set::{Segments, SegmentsError};

/// When to seal, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealingConfig {
    /// The file with the key in force.
    pub key_file: PathBuf,
    /// Records after which there is a checkpoint.
    pub checkpoint_events: NonZeroU64,
    /// Time after which there is a checkpoint if there are records since the last, in milliseconds.
    pub checkpoint_ms: NonZeroU64,
    /// Time after which the key is replaced if there are records since it took over, in milliseconds.
    pub interval_ms: NonZeroU64,
}

impl SealingConfig {
    /// Sealing with the key in this file and defaults for all else.
    #[must_use]
    pub fn new(key_file: impl Into<PathBuf>) -> SealingConfig {
        SealingConfig {
            key_file: key_file.into(),
            checkpoint_events: const { NonZeroU64::new(1_024).unwrap() },
            checkpoint_ms: const { NonZeroU64::new(60_000).unwrap() },
            interval_ms: const { NonZeroU64::new(900_000).unwrap() },
        }
    }
}

/// What sealing needs from outside.
pub struct SealingParts {
    /// When to seal, and with what.
    pub config: SealingConfig,
    /// Gives the seeds of keys to come.
    pub seeds: Box<dyn FnMut() -> io::Result<Seed> + Send>,
    /// The node's clock.
    pub now: Box<dyn Fn() -> Timestamp + Send>,
    /// Hears of what was signed.
    pub observer: Box<dyn SealingObserver>,
}

/// Hears of what was signed, on the thread that seals: must be quick.
pub trait SealingObserver: Send {
    /// A checkpoint was signed; its records are durable.
    fn sealed(&mut self, note: &SignedNote, size: u64);
}

/// For those who need not hear of it.
impl SealingObserver for () {
    fn sealed(&mut self, _: &SignedNote, _: u64) {}
}

/// How the sealing stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealingStatus {
    /// Whether it goes on.
    pub state: SealingState,
    /// Records under the last checkpoint.
    pub sealed: u64,
    /// The period of the key in force.
    pub period: u64,
    /// Why the key could not be replaced when it was due, if so; it is tried again.
    pub overdue: Option<String>,
}

/// Whether a journal is sealed while it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SealingState {
    /// No key was given.
    #[default]
    Off,
    /// It is.
    On,
    /// It was, or should be, and cannot.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why a journal cannot be sealed, or not any longer.
#[derive(Debug, thiserror::Error)]
pub enum SealerError {
    /// There is no usable key.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The key cannot seal what there is.
    #[error(transparent)]
    Key(#[from] SealingError),
    /// Records that have to be sealed cannot be read.
    #[error("failed to read the records that are to be sealed")]
    Records(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The first records are not there any more, and no checkpoint is over them.
    #[error("record {seq} is to be sealed, but is not in the journal any more")]
    Trimmed {
        /// Which record.
        seq: u64,
    },
    /// The journal lost records that were sealed, or is an older copy.
    #[error(
        "journal has {records} records, but had {start} when the key took over: its end was cut off, or it is an \
         older copy"
    )]
    Shortened {
        /// Records there.
        records: u64,
        /// Records at the start of the key's period.
        start: u64,
    },
    /// The newest checkpoint is not by the key that should have made it.
    #[error("newest checkpoint, of {size} records, is not signed with the key in force")]
    ForeignCheckpoint {
        /// Its size.
        size: u64,
    },
    /// The journal knows of a later key.
    #[error(
        "key file holds the key of period {held}, the journal was sealed by that of period {newest} already"
    )]
    Superseded {
        /// The period of the key in the file.
        held: u64,
        /// The newest period in the journal.
        newest: u64,
    },
    /// There is no seed for the next key.
    #[error("failed to get a seed for the next key")]
    Seed(#[source] io::Error),
    /// There is a sealer already.
    #[error("the journal is sealed already")]
    Twice,
    /// The thread could not be started.
    #[error("failed to start the thread that seals")]
    Thread(#[source] io::Error),
}

impl From<SegmentsError> for SealerError {
    fn from(error: SegmentsError) -> SealerError {
        SealerError::Records(Box::new(error))
    }
}

/// The journal as the thread that seals sees it.
pub(crate) struct Sealed {
    pub(crate) segments: Arc<Segments>,
    pub(crate) published: Arc<Published>,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) queue: Arc<Queue>,
}

/// Begins to seal a journal, on a thread of its own.
pub(crate) fn start(journal: Sealed, parts: SealingParts) -> Result<JoinHandle<()>, SealerError> {
    let exchange = Arc::clone(&journal.exchange);
    let started = try_start(journal, parts);
    if let Err(error) = &started
        && !matches!(error, SealerError::Twice)
    {
        stopped(&exchange, error);
    }
    started
}

fn try_start(journal: Sealed, parts: SealingParts) -> Result<JoinHandle<()>, SealerError> {
    let SealingParts { config, seeds, now, observer } = parts;
    let (key_file, key) = KeyFile::load(&config.key_file)?;
    let newest = journal.exchange.newest();
    let (frontier, sealed) = begin_with(&newest, &key)?;
    check_succession(&newest, &key)?;
    let records = journal.published.state().head.seq.0;
    let start = key.start();
    if records < start.size {
        return Err(SealerError::Shortened { records, start: start.size });
    }
    let (sender, commits) = sync_channel(COMMITS_WAITING_MAX);
    if !journal.exchange.begin(sender) {
        return Err(SealerError::Twice);
    }
    // A stop between the change of the key and the word about it: the key's own file has the word.
    if let Appointment::Succession(succession) = key.appointment()
        && newest.succession.as_ref() != Some(succession)
    {
        journal.exchange.put(Evidence::Succession(succession.clone()));
    }
    let age = Duration::from_millis(now().ms_since(start.started_at));
    let interval = Duration::from_millis(config.interval_ms.get());
    let replace_at = Instant::now() + interval.saturating_sub(age);
    journal.exchange.status.send_modify(|status| {
        *status = SealingStatus { state: SealingState::On, sealed, period: start.number, overdue: None };
    });
    let sealer = Sealer {
        journal,
        config,
        seeds,
        now,
        observer,
        key_file,
        key,
        frontier,
        sealed,
        unsealed_since: None,
        replace_at,
        unasked: false,
    };
    let run = move || sealer.run(&commits);
    std::thread::Builder::new().name("journal-sealer".to_owned()).spawn(run).map_err(SealerError::Thread)
}

/// The tree to go on with, and the size of the last checkpoint.
fn begin_with(newest: &Newest, key: &SealingKey) -> Result<(Frontier, u64), SealerError> {
    let ours = newest.checkpoint.as_ref().filter(|tree| tree.checkpoint().origin() == key.origin());
    let Some(tree) = ours else { return Ok((Frontier::new(), 0)) };
    let (start, size) = (key.start(), tree.checkpoint().size());
    let is_by_key = tree.note().signatures().iter().any(|one| one.is_by(key.verifier(), tree.note().text()));
    // At the very start of the period the key before may have signed it, but not another tree.
    let holds =
        size < start.size || size == start.size && *tree.checkpoint().root() == start.root || is_by_key;
    if !holds {
        return Err(SealerError::ForeignCheckpoint { size });
    }
    Ok((tree.frontier().clone(), size))
}

/// An older key must not go on: it would appoint a second successor.
fn check_succession(newest: &Newest, key: &SealingKey) -> Result<(), SealerError> {
    let Some(succession) = newest.succession.as_ref().filter(|one| one.key().name() == key.origin()) else {
        return Ok(());
    };
    let (held, newest) = (key.start().number, succession.start().number);
    let is_known = held == newest && succession.key() == key.verifier();
    if held > newest || is_known { Ok(()) } else { Err(SealerError::Superseded { held, newest }) }
}

/// Tells that sealing has ended too early.
fn stopped(exchange: &Exchange, error: &SealerError) {
    let reason = causes::told(error);
    tracing::error!(reason, "the journal is not sealed any more; it goes on without");
    exchange.end();
    exchange.status.send_modify(|status| status.state = SealingState::Stopped { reason });
}
