//! The journal as the benchmarks use it: opened, appended to by many, filled.

use std::path::Path;
use std::sync::Arc;

use purser_events::{Event, StreamId, StreamVersion, Timestamp};
use purser_storage::{Append, Appended, Journal, JournalConfig, Replayed, StreamWrite};

use purser_tests::random::Random;
use uuid::Uuid;

use crate::event::{self, FILL_BATCH};
use crate::versions::Versions;

/// Streams that a journal is filled with in one opening.
const FILL_STREAMS: usize = 100;

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

/// The defaults, in one boot of the host: after a reboot the store is made again.
fn config(dir: &Path) -> JournalConfig {
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

/// Appends until the journal holds so many records.
pub(crate) fn fill(journal: &Journal, records: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
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
