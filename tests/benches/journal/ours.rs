//! The journal as the benchmarks use it: opened, sealed, appended to by many, filled.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use purser_events::{Event, StreamId, StreamVersion, Timestamp};
use purser_storage::{Append, Appended, Journal, JournalConfig, Replayed, StreamWrite};

use purser_tests::random::Random;
use purser_tests::sealed;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::event::{self, FILL_BATCH};
use crate::versions::Versions;

/// Streams that a journal is filled with in one opening.
const FILL_STREAMS: usize = 100;

/// Committers where there are many.
pub(crate) const COMMITTERS: usize = 64;

/// Opens the journal and says how many records it held.
pub(crate) fn open(dir: &Path) -> (Journal, u64) {
    let mut records = 0;
    let replay = |replayed: Replayed| {
        let Replayed::Record(record) = replayed else { panic!("the journal is sound") };
        std::hint::black_box(record);
        records += 1;
    };
    let journal = Journal::open(config(dir), event::clock(), replay, |_| {});
    (journal.expect("the journal opens"), records)
}

/// Opens the journal with snapshots, as the service does.
pub(crate) fn open_with_snapshots(dir: &Path) -> Journal {
    Versions::open(config(dir), Timestamp(event::START_US)).expect("the journal opens")
}

/// Begins to seal it, with the key beside its folder.
pub(crate) fn seal(journal: &Journal, dir: &Path) {
    sealed::seal(journal, &key_file(dir), event::numbers(journal.epoch() << 32), event::clock());
}

fn key_file(dir: &Path) -> PathBuf {
    dir.with_extension("key")
}

/// The defaults, in one boot of the host: after a reboot the store is made again.
pub(crate) fn config(dir: &Path) -> JournalConfig {
    JournalConfig { boot_id: Some(Uuid::from_u128(1)), ..JournalConfig::new(dir) }
}

/// One who appends to a stream of its own.
pub(crate) struct Committer {
    journal: Journal,
    events: Arc<Vec<Event>>,
    random: Random,
    stream: StreamId,
    version: StreamVersion,
    at: usize,
}

impl Committer {
    /// So many committers, each with a stream that this opening of the journal is the first to use.
    pub(crate) fn many(journal: &Journal, count: usize) -> Vec<Committer> {
        let events = Arc::new(event::pool());
        let committers = (0_u64..).take(count).map(|number| {
            let mut random = event::numbers((journal.epoch() << 32) | number);
            Committer {
                journal: journal.clone(),
                events: Arc::clone(&events),
                stream: event::stream(&mut random),
                random,
                version: StreamVersion::NONE,
                at: 0,
            }
        });
        committers.collect()
    }

    /// Appends the next `count` events and waits until they are durable.
    pub(crate) async fn commit(&mut self, count: usize) -> Appended {
        if self.at + count > self.events.len() {
            self.at = 0;
        }
        let events = self.events[self.at..self.at + count].to_vec();
        self.at += count;
        let writes = vec![StreamWrite { stream: self.stream, expected: self.version, events }];
        let append = Append { writes, origin: event::origin(&mut self.random), command: None };
        let appended = self.journal.append(append).await.expect("it is written");
        self.version = appended.records.last().expect("events were appended").header.version;
        appended
    }
}

/// Opens the journal, seals it, has it filled, and closes it after the last checkpoint that is due. Gives its head.
pub(crate) fn fill_sealed(dir: &Path, fill: impl FnOnce(&Journal)) -> u64 {
    let (journal, _) = open(dir);
    seal(&journal, dir);
    fill(&journal);
    let head = journal.head().seq.0;
    runtime().block_on(sealed::settled(&journal));
    journal.close().expect("the journal can be closed");
    head
}

/// Appends until the journal holds so many records.
pub(crate) fn fill(journal: &Journal, records: u64) {
    let runtime = runtime();
    let mut committers = Committer::many(journal, FILL_STREAMS);
    runtime.block_on(async {
        for number in (0..FILL_STREAMS).cycle() {
            let lacking = records.saturating_sub(journal.head().seq.0);
            let count = usize::try_from(lacking).map_or(FILL_BATCH, |lacking| lacking.min(FILL_BATCH));
            if count == 0 {
                break;
            }
            drop(committers[number].commit(count).await);
        }
    });
}

/// As [`fill`], one event at a time by [`COMMITTERS`] at once.
pub(crate) fn fill_one_by_one(journal: &Journal, records: u64) {
    let runtime = runtime();
    let left = Arc::new(AtomicU64::new(records.saturating_sub(journal.head().seq.0)));
    let mut tasks = JoinSet::new();
    for mut committer in Committer::many(journal, COMMITTERS) {
        let left = Arc::clone(&left);
        let task = async move {
            let take = || left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
            while take().is_ok() {
                drop(committer.commit(1).await);
            }
        };
        tasks.spawn_on(task, runtime.handle());
    }
    runtime.block_on(tasks.join_all());
}

/// One thread for all committers, as the service has one for its actors.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made")
}
