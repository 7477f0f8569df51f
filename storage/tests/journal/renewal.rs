//! A store is made anew at an opening: a stop in between leaves one that can be used, or none.

use std::fs;
use std::path::Path;

use purser_storage::found::StoreFound;
use purser_storage::{Journal, JournalConfig, StoredRecord};
use uuid::Uuid;

use crate::retention::{read_all, reason};
use crate::support::*;

/// A journal with one boot of the host behind it.
fn open(dir: &Path) -> Journal {
    let config = JournalConfig { boot_id: Some(Uuid::from_u128(1)), ..JournalConfig::new(dir) };
    Versions::open(config, NOW).unwrap()
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
    let journal = open(dir.path());
    assert_eq!((journal.found().store, made.exists()), (StoreFound::Kept, false));
    journal.close().unwrap();
    // After the one in use was removed, and before the copy got its name.
    fs::create_dir(&made).unwrap();
    fs::rename(&sled, made.join("sled")).unwrap();
    let journal = open(dir.path());
    assert_eq!((journal.found().store, made.exists()), (StoreFound::MadeAgain, false));
    assert_eq!(read_all(&journal), records);
}

/// A closed journal of a few records.
async fn filled(dir: &Path) -> Vec<StoredRecord> {
    let journal = open(dir);
    for number in 0..5 {
        journal.append(append(stream(1), number, &[&reason(number)])).await.unwrap();
    }
    let records = read_all(&journal);
    journal.close().unwrap();
    records
}
