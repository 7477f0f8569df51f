//! Answers to commands make way for their age, by the times of the records and nothing else.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use purser_events::{CommandId, StreamVersion, Timestamp};
use purser_storage::found::StoreFound;
use purser_storage::{Append, Journal, JournalConfig};
use uuid::Uuid;

use crate::memory_store::Memory;
use crate::support::*;

const MINUTE_US: i64 = 60_000_000;

/// An answer is kept for an hour.
const KEPT_MS: u64 = 3_600_000;

/// Moves on as it is told.
#[derive(Clone)]
struct Minutes(Arc<AtomicI64>);

impl Minutes {
    fn pass(&self, minutes: i64) {
        self.0.fetch_add(minutes * MINUTE_US, Ordering::SeqCst);
    }
}

fn open_at(clock: &Minutes, stores: &Memory, dir: &Path, command_ids_kept_ms: u64) -> Journal {
    // Of what the store does not have yet, nothing makes way.
    let config = JournalConfig { command_ids_kept_ms, store_behind_ms: 0, ..JournalConfig::new(dir) };
    let config = JournalConfig { boot_id: Some(Uuid::from_u128(1)), ..config };
    let now = Arc::clone(&clock.0);
    let now = move || Timestamp(now.load(Ordering::SeqCst));
    let disk = Arc::new(purser_storage::disk::SystemDisk);
    Journal::open_on(disk, stores, config, now, |_| {}, |_| {}).unwrap()
}

/// Appends one event, or none, as the answer to a command.
async fn answer(journal: &Journal, id: u64, version: &mut u64, with_event: bool) {
    let command = Some(command(id.into(), b"yes"));
    let writes = if with_event { vec![write(stream(1), *version, &["asked for"])] } else { Vec::new() };
    *version += u64::from(with_event);
    journal.append(Append { writes, origin: origin(), command }).await.unwrap();
}

/// The commands among the first so many that are still known.
fn known(journal: &Journal, count: u64) -> Vec<u64> {
    let is_known = |id: &u64| journal.answer(CommandId(Uuid::from_u128((*id).into()))).unwrap().is_some();
    (0..count).filter(is_known).collect()
}

#[tokio::test]
async fn the_same_answers_are_kept_however_the_store_was_made() {
    let (dir, stores) = (tempfile::tempdir().unwrap(), Memory::default());
    let clock = Minutes(Arc::new(AtomicI64::new(NOW.0)));
    let journal = open_at(&clock, &stores, dir.path(), KEPT_MS);
    let mut version = 0;
    for id in 0..200 {
        clock.pass(2);
        // The last has an event, and so a time.
        answer(&journal, id, &mut version, id % 5 != 0).await;
    }
    // The last record is of minute 400, and that of command 169 of minute 340.
    let lived = known(&journal, 200);
    assert_eq!(lived, (170..200).collect::<Vec<_>>());
    journal.close().unwrap();
    for stores in [stores.clone(), Memory::default()] {
        let journal = open_at(&clock, &stores, dir.path(), KEPT_MS);
        assert_eq!(known(&journal, 200), lived);
        let kept = |letter| stores.change(|map| map.keys().filter(|key| key[0] == letter).count());
        assert_eq!((kept(b'c'), kept(b'o')), (30, 30), "nothing else is left in the store");
        assert!((2..=32).contains(&kept(b't')), "{} marks", kept(b't'));
        journal.close().unwrap();
    }
    // By number alone, all of them are.
    let all = open_at(&clock, &Memory::default(), dir.path(), 0);
    assert_eq!(known(&all, 200).len(), 200);
    all.close().unwrap();
}

#[tokio::test]
async fn their_order_goes_on_when_none_is_left() {
    let (dir, stores) = (tempfile::tempdir().unwrap(), Memory::default());
    let clock = Minutes(Arc::new(AtomicI64::new(NOW.0)));
    let journal = open_at(&clock, &stores, dir.path(), KEPT_MS);
    let mut version = 0;
    // More of them at once than make way with one commit.
    for id in 0..600 {
        answer(&journal, id, &mut version, true).await;
    }
    clock.pass(61);
    for left in [600, 344, 88, 0] {
        assert_eq!(known(&journal, 600).len(), left);
        journal.append(append(stream(2), (600 - left as u64).div_ceil(256), &["later"])).await.unwrap();
    }
    journal.close().unwrap();
    let journal = open_at(&clock, &stores, dir.path(), KEPT_MS);
    answer(&journal, 1_000, &mut version, true).await;
    assert_eq!(known(&journal, 1_001), [1_000]);
    journal.close().unwrap();
    // An order that began again would be damage to who reads the segments.
    let journal = open_at(&clock, &Memory::default(), dir.path(), KEPT_MS);
    assert_eq!(known(&journal, 1_001), [1_000]);
    journal.close().unwrap();
}

#[tokio::test]
async fn what_no_record_dates_is_not_older_than_it_is() {
    let (dir, stores) = (tempfile::tempdir().unwrap(), Memory::default());
    let clock = Minutes(Arc::new(AtomicI64::new(NOW.0)));
    let journal = open_at(&clock, &stores, dir.path(), KEPT_MS);
    journal.append(append(stream(2), 0, &["long ago"])).await.unwrap();
    clock.pass(70);
    answer(&journal, 1, &mut 0, false).await;
    journal.close().unwrap();
    // Made again, the store learns of the answer after the last record.
    let journal = open_at(&clock, &Memory::default(), dir.path(), KEPT_MS);
    journal.append(append(stream(2), 1, &["now"])).await.unwrap();
    assert_eq!(known(&journal, 2), [1]);
    journal.close().unwrap();
}

#[tokio::test]
async fn an_answer_at_the_end_of_a_segment_is_caught_up() {
    let (dir, stores) = (tempfile::tempdir().unwrap(), Memory::default());
    let open = |now| {
        let config = JournalConfig { segment_age_ms: 0, snapshot_every: 1, ..JournalConfig::new(dir.path()) };
        let config = JournalConfig { boot_id: Some(Uuid::from_u128(1)), ..config };
        Versions::open_on(Arc::new(purser_storage::disk::SystemDisk), &stores, config, now).unwrap()
    };
    let journal = open(NOW);
    journal.append(append(stream(2), 0, &["the last of its segment"])).await.unwrap();
    assert_eq!(journal.read_stream(stream(2), StreamVersion(1), 2).unwrap().len(), 1);
    let behind = stores.change(|map| map.clone());
    answer(&journal, 1, &mut 0, false).await;
    journal.close().unwrap();
    let journal = open(NOW.plus_ms(1));
    journal.append(append(stream(2), 1, &["of the next one"])).await.unwrap();
    assert_eq!(journal.segments().len(), 1);
    journal.close().unwrap();
    // As a kill leaves a store that was behind.
    stores.change(|map| *map = behind);
    let journal = open(NOW.plus_ms(2));
    assert_eq!((journal.found().store, known(&journal, 2)), (StoreFound::CaughtUp, vec![1]));
    journal.close().unwrap();
}
