//! A store made from the segments ahead of time: it is compared, put in place of the other, and trusted by the next
//! start.

use std::fs;
use std::path::Path;

use purser_events::StreamVersion;
use purser_storage::migrate::{Step, migrate};
use purser_storage::store::Backend;
use purser_storage::{FolderError, Journal, JournalConfig, JournalError, SEGMENT_BYTES_MIN};
use uuid::Uuid;

use crate::folders::contents;
use crate::retention::{fill_until_sealed, offline, open_small, read_all};
use crate::support::*;

const CACHE: u64 = 1 << 20;

fn open_with(dir: &Path, backend: Backend) -> Journal {
    let config = JournalConfig {
        backend,
        segment_bytes: SEGMENT_BYTES_MIN,
        boot_id: Some(Uuid::from_u128(3)),
        ..JournalConfig::new(dir)
    };
    Journal::open(config, || NOW, |_| {}, |_| {}).unwrap()
}

#[tokio::test]
async fn each_backend_is_made_from_the_segments_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_with(dir.path(), Backend::Sled);
    fill_until_sealed(&journal, 2).await;
    for id in 0..3 {
        let version = journal.read_stream(stream(7), StreamVersion(1), 10).unwrap().len() as u64;
        let mut append = append(stream(7), version, &["answered"]);
        append.command = Some(command(id + 1, b"yes"));
        journal.append(append).await.unwrap();
    }
    let records = read_all(&journal);
    journal.close().unwrap();
    for (to, name, other) in [(Backend::Redb, "redb", "sled"), (Backend::Sled, "sled", "redb")] {
        let mut steps = Vec::new();
        let migrated = migrate(dir.path(), to, CACHE, &mut |step, at, of| {
            assert!(at <= of);
            steps.push(step);
        });
        let migrated = migrated.unwrap_or_else(|error| panic!("{}", told(&error)));
        assert_eq!((migrated.records, migrated.answers), (records.len() as u64, 3));
        assert_eq!((migrated.streams, steps[0]), (4, Step::Make));
        assert!(dir.path().join(name).exists() && !dir.path().join(other).exists());
        assert!(!dir.path().join("migrating").exists());
        let journal = open_with(dir.path(), to);
        assert_eq!(read_all(&journal), records);
        assert!(journal.answer(command(2, b"").id).unwrap().is_some());
        journal.close().unwrap();
        // It was taken as it is: a store that is made again leaves the old one aside.
        assert!(!dir.path().join(format!("{name}.aside")).exists());
    }
}

#[tokio::test]
async fn a_journal_in_use_or_damaged_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, 2).await;
    let error = migrate(dir.path(), Backend::Redb, CACHE, &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(error, JournalError::Folder(FolderError::Locked { .. })), "{error}");
    let segment = journal.segments()[0].path.clone();
    journal.close().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let stores = |dir: &Path| contents(&dir.join("sled"));
    let before = stores(dir.path());
    let error = migrate(dir.path(), Backend::Redb, CACHE, &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
    assert_eq!(stores(dir.path()), before);
    assert!(!dir.path().join("redb").exists());
}

#[tokio::test]
async fn what_a_stop_left_half_made_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let records = fill(dir.path(), 5).await.len();
    let leave_half = || {
        fs::create_dir_all(dir.path().join("migrating/redb")).unwrap();
        fs::write(dir.path().join("migrating/redb/index.redb"), "half").unwrap();
    };
    leave_half();
    assert_eq!(open(dir.path()).unwrap().1.len(), records, "the one in use is as before");
    assert!(!dir.path().join("migrating").exists(), "an opening clears it away");
    leave_half();
    let migrated = migrate(dir.path(), Backend::Redb, CACHE, &mut |_, _, _| {}).unwrap();
    assert_eq!(migrated.records, records as u64);
    assert_eq!(offline(dir.path()).unwrap().len(), records);
}
