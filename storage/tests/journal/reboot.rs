//! After the host went down the store is made again, without what is read from compressed segments anyway.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use purser_events::{CommandId, Seq, StreamVersion, Timestamp};
use purser_storage::found::StoreFound;
use purser_storage::store::Backend;
use purser_storage::{
    Append, AppendError, Journal, JournalConfig, JournalError, SEGMENT_BYTES_MIN, StoredRecord,
};
use uuid::Uuid;

use crate::retention::{compress_all, read_all, reason};
use crate::support::*;

/// Answered in the first segment, in the last sealed one, and in the open one.
const EARLY: u128 = 70;
const MIDDLE: u128 = 71;
const LATE: u128 = 72;

const KEPT_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;

fn config(boot: u128, dir: &Path) -> JournalConfig {
    JournalConfig {
        boot_id: Some(Uuid::from_u128(boot)),
        segment_bytes: SEGMENT_BYTES_MIN,
        snapshot_every: u64::MAX,
        command_ids_kept_ms: KEPT_MS,
        ..JournalConfig::new(dir)
    }
}

fn later(ms: u64) -> Timestamp {
    NOW.plus_ms(ms)
}

fn open_later(boot: u128, dir: &Path, ms: u64) -> Journal {
    Versions::open(config(boot, dir), later(ms)).unwrap()
}

async fn made(dir: &Path) -> (Vec<StoredRecord>, Seq) {
    made_of(open_later(1, dir, 0), 1).await
}

async fn answer(journal: &Journal, id: u128, version: u64) {
    let command = Some(command(id, b"yes"));
    journal.append(Append { command, ..append(stream(9), version, &["asked for"]) }).await.unwrap();
}

fn is_known(journal: &Journal, id: u128) -> bool {
    journal.answer(CommandId(Uuid::from_u128(id))).unwrap().is_some()
}

/// A journal with three compressed segments and an open one, closed; gives its records and the last compressed one.
async fn made_of(journal: Journal, record_kib: usize) -> (Vec<StoredRecord>, Seq) {
    for version in 0..3 {
        journal.append(append(stream(7), version, &["only at first"])).await.unwrap();
    }
    answer(&journal, EARLY, 0).await;
    journal.append(append(stream(8), 0, &["once", "again"])).await.unwrap();
    let mut version = 0;
    for sealed in [2, 3] {
        while journal.segments().len() < sealed {
            journal.append(append(stream(1), version, &[&reason(version).repeat(record_kib)])).await.unwrap();
            version += 1;
        }
        answer(&journal, if sealed == 2 { MIDDLE } else { LATE }, sealed as u64 - 1).await;
    }
    compress_all(&journal);
    let (records, last) = (read_all(&journal), journal.segments()[2].last.seq);
    journal.close().unwrap();
    (records, last)
}

/// The first version that the store of a closed journal knows of a stream.
fn begins(dir: &Path, number: u128) -> Option<u64> {
    let store = Backend::default().open(dir, 1 << 20).unwrap();
    let first = |from: &[u8], to: &[u8]| {
        let mut first = None;
        let note = &mut |key: &[u8], _: &[u8]| {
            first = key.last_chunk().map(|number| u64::from_be_bytes(*number));
            ControlFlow::Break(())
        };
        store.scan(from, to, note).unwrap();
        first
    };
    let of = |number: u128| [&b"s\x01"[..], stream(number).id.as_bytes()].concat();
    first(&of(number), &of(number + 1))
}

fn of_stream(records: &[StoredRecord], number: u128, from: u64) -> Vec<StoredRecord> {
    let is_of = |record: &&StoredRecord| {
        record.header.stream == stream(number) && record.header.version >= StreamVersion(from)
    };
    records.iter().filter(is_of).cloned().collect()
}

/// Reads everything, by position and by stream.
fn check(journal: &Journal, records: &[StoredRecord]) {
    assert!(read_all(journal).starts_with(records));
    for (number, from) in [(1, 1), (1, 100), (7, 1), (7, 3), (8, 2), (9, 1), (99, 1)] {
        let found = journal.read_stream(stream(number), StreamVersion(from), 100).unwrap();
        let wanted: Vec<_> = of_stream(records, number, from).into_iter().take(100).collect();
        assert_eq!(found, wanted, "stream {number} from {from}");
    }
    assert_eq!(journal.read_stream(stream(1), StreamVersion(5), 2).unwrap().len(), 2);
}

#[tokio::test]
async fn the_store_begins_behind_what_is_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let (records, compressed) = made(dir.path()).await;
    let journal = open_later(2, dir.path(), DAY_MS);
    assert_eq!(journal.found().store, StoreFound::MadeAgain);
    check(&journal, &records);
    journal.close().unwrap();
    let version = begins(dir.path(), 1);
    let known = |record: &&StoredRecord| record.header.seq > compressed;
    let wanted = of_stream(&records, 1, 1).iter().find(known).map(|record| record.header.version.0);
    assert_eq!(version, wanted);
    // It is kept from there on, and goes on where every stream was.
    let journal = open_later(2, dir.path(), DAY_MS);
    assert_eq!(journal.found().store, StoreFound::Kept);
    check(&journal, &records);
    assert!(!is_known(&journal, EARLY), "it is too old");
    assert!(is_known(&journal, LATE), "no record says that it is");
    let wrong = journal.append(append(stream(7), 0, &["from nothing"])).await.unwrap_err();
    assert!(matches!(wrong, AppendError::Conflict { actual: StreamVersion(3), .. }), "{wrong}");
    answer(&journal, EARLY, 3).await;
    journal.append(append(stream(7), 3, &["goes on"])).await.unwrap();
    assert_eq!(journal.read_stream(stream(7), StreamVersion(1), 10).unwrap().len(), 4);
    assert!(!is_known(&journal, LATE), "now one does");
    let records = read_all(&journal);
    journal.close().unwrap();
    // Who reads all of it finds nothing amiss, the order of answers included.
    let mut count = 0;
    let whole = Journal::open(config(3, dir.path()), || NOW, |_| count += 1, |_| {}).unwrap();
    check(&whole, &records);
    whole.close().unwrap();
    assert_eq!(count, records.len());
    assert_eq!(begins(dir.path(), 1), Some(1), "without a snapshot all streams are known");
}

#[tokio::test]
async fn answers_that_are_still_to_be_known_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (records, _) = made(dir.path()).await;
    for (boot, kept_ms) in [(2, KEPT_MS), (3, 0)] {
        let config = JournalConfig { command_ids_kept_ms: kept_ms, ..config(boot, dir.path()) };
        let journal = Versions::open(config, later(if kept_ms > 0 { 1_000 } else { DAY_MS })).unwrap();
        assert_eq!(journal.found().store, StoreFound::MadeAgain);
        assert!([EARLY, MIDDLE, LATE].iter().all(|id| is_known(&journal, *id)));
        check(&journal, &records);
        journal.close().unwrap();
        assert_eq!(begins(dir.path(), 1), Some(1));
    }
}

#[tokio::test]
async fn what_is_not_needed_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    // Longer than a compressed block, of which a start reads the last: there the footer is.
    let long = JournalConfig { segment_bytes: 5 << 18, ..config(1, dir.path()) };
    made_of(Versions::open(long, NOW).unwrap(), 40).await;
    let mut paths: Vec<_> =
        fs::read_dir(dir.path().join("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let sound = fs::read(&paths[0]).unwrap();
    let mut damaged = sound.clone();
    damaged[sound.len() / 4] ^= 1;
    fs::write(&paths[0], damaged).unwrap();
    let journal = open_later(2, dir.path(), DAY_MS);
    assert_eq!(journal.found().store, StoreFound::MadeAgain);
    journal.close().unwrap();
    // Without the snapshot it is, and its damage is named.
    fs::remove_dir_all(dir.path().join("snapshots")).unwrap();
    let refused = Versions::open(config(3, dir.path()), later(DAY_MS)).unwrap_err();
    assert!(matches!(refused, JournalError::Damaged { .. }), "{refused}");
}
