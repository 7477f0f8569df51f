//! A store that was relieved of nearly all of its records gives their room back at the next opening.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use purser_events::{Seq, StreamVersion};
use purser_storage::found::StoreFound;
use purser_storage::store::Backend;
use purser_storage::{Journal, JournalConfig, StoredRecord};
use uuid::Uuid;

use crate::retention::{compress_all, read_all, reason};
use crate::support::*;

/// Records of a commit, of about a kilobyte each.
const BATCH: u64 = 900;

/// A journal with one boot of the host behind it, and with segments of 8 MiB.
fn open(dir: &Path, backend: Backend) -> Journal {
    let config = JournalConfig {
        boot_id: Some(Uuid::from_u128(1)),
        segment_bytes: 8 << 20,
        snapshot_every: u64::MAX,
        backend,
        ..JournalConfig::new(dir)
    };
    Versions::open(config, NOW).unwrap()
}

/// Fills nine segments, more than a store has to have held to be made anew; then it holds what is in the open one.
async fn relieved(dir: &Path, backend: Backend) -> Vec<StoredRecord> {
    let journal = open(dir, backend);
    while journal.segments().len() < 9 {
        let from = journal.head().seq.0;
        let reasons: Vec<String> = (from..from + BATCH).map(reason).collect();
        let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
        journal.append(append(stream(1), from, &reasons)).await.unwrap();
    }
    compress_all(&journal);
    journal.trim_store(Seq(u64::MAX)).unwrap();
    let records = read_all(&journal);
    journal.close().unwrap();
    records
}

/// Bytes of the store's files, and what tells its main one from another.
fn files(dir: &Path, backend: Backend) -> (u64, u64) {
    let main = match backend {
        Backend::Sled => "sled/db",
        Backend::Redb => "redb/index.redb",
    };
    (len(&dir.join(backend.name())), fs::metadata(dir.join(main)).unwrap().ino())
}

/// Bytes of a file, or of all that is in a folder.
fn len(path: &Path) -> u64 {
    let about = fs::metadata(path).unwrap();
    if !about.is_dir() {
        return about.len();
    }
    fs::read_dir(path).unwrap().map(|entry| len(&entry.unwrap().path())).sum()
}

#[tokio::test]
async fn a_relieved_store_gets_a_shorter_file_and_holds_what_it_held() {
    for backend in [Backend::Sled, Backend::Redb] {
        let dir = tempfile::tempdir().unwrap();
        let records = relieved(dir.path(), backend).await;
        let (long, _) = files(dir.path(), backend);
        let journal = open(dir.path(), backend);
        assert_eq!(journal.found().store, StoreFound::Kept);
        assert_eq!(read_all(&journal), records);
        let found = journal.read_stream(stream(1), StreamVersion(5), 2).unwrap();
        assert_eq!(found, records[4..6]);
        let head = journal.head().seq.0;
        journal.append(append(stream(1), head, &["goes on"])).await.unwrap();
        journal.close().unwrap();
        let (short, made) = files(dir.path(), backend);
        assert!(short < long / 2, "{backend:?}: {long} bytes became {short}");
        assert!(!dir.path().join("migrating").exists());
        // Once is enough.
        let journal = open(dir.path(), backend);
        assert_eq!(journal.found().store, StoreFound::Kept);
        assert_eq!(journal.head().seq.0, head + 1);
        journal.close().unwrap();
        assert_eq!(files(dir.path(), backend).1, made);
    }
}

#[tokio::test]
async fn a_stop_in_between_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let records = filled(dir.path()).await;
    let (sled, made) = (dir.path().join("sled"), dir.path().join("migrating"));
    // Before the copy was whole.
    fs::create_dir(&made).unwrap();
    fs::create_dir(made.join("sled")).unwrap();
    fs::write(made.join("sled/db"), "half").unwrap();
    let journal = open(dir.path(), Backend::Sled);
    assert_eq!((journal.found().store, made.exists()), (StoreFound::Kept, false));
    journal.close().unwrap();
    // After the one in use was removed, and before the copy got its name.
    fs::create_dir(&made).unwrap();
    fs::rename(&sled, made.join("sled")).unwrap();
    let journal = open(dir.path(), Backend::Sled);
    assert_eq!((journal.found().store, made.exists()), (StoreFound::MadeAgain, false));
    assert_eq!(read_all(&journal), records);
}

/// A closed journal of a few records.
async fn filled(dir: &Path) -> Vec<StoredRecord> {
    let journal = open(dir, Backend::Sled);
    for number in 0..5 {
        journal.append(append(stream(1), number, &[&reason(number)])).await.unwrap();
    }
    let records = read_all(&journal);
    journal.close().unwrap();
    records
}
