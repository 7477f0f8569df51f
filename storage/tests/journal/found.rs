//! What an opening says that it found.

use std::fs;
use std::path::Path;

use purser_events::{Seq, StreamVersion};
use purser_storage::found::{Found, StoreFound};
use purser_storage::store::Backend;
use purser_storage::{Journal, JournalConfig};
use uuid::Uuid;

use crate::folders::copy;
use crate::support::*;

const IN_ORDER: Found = Found { closed: true, torn_bytes: 0, snapshot: None, store: StoreFound::Kept };

fn in_boot(boot: u128, dir: &Path) -> JournalConfig {
    JournalConfig { boot_id: Some(Uuid::from_u128(boot)), snapshot_every: 4, ..JournalConfig::new(dir) }
}

fn opened(boot: u128, dir: &Path) -> Journal {
    Journal::open(in_boot(boot, dir), || NOW, |_| {}, |_| {}).unwrap()
}

async fn write_to(journal: &Journal, expected: u64) {
    journal.append(append(stream(1), expected, &["one", "two"])).await.unwrap();
}

#[tokio::test]
async fn a_new_journal_and_one_that_was_closed_are_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let journal = opened(1, dir.path());
    assert_eq!(journal.found(), IN_ORDER);
    write_to(&journal, 0).await;
    journal.close().unwrap();
    assert_eq!(opened(1, dir.path()).found(), IN_ORDER);
}

#[tokio::test]
async fn a_kill_and_what_it_tore_off_are_told() {
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let journal = opened(1, dir.path());
    write_to(&journal, 0).await;
    copy(dir.path(), killed.path());
    let segment = killed.path().join("segments/00000000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[end..end + 100].fill(0x55);
    fs::write(&segment, bytes).unwrap();
    let found = opened(1, killed.path()).found();
    assert!(!found.closed, "{found:?}");
    assert!((100..1_000).contains(&found.torn_bytes), "{found:?}");
}

#[tokio::test]
async fn a_store_that_was_made_again_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let journal = opened(1, dir.path());
    write_to(&journal, 0).await;
    journal.close().unwrap();
    let after_a_reboot = opened(2, dir.path());
    assert_eq!(after_a_reboot.found(), Found { store: StoreFound::MadeAgain, ..IN_ORDER });
    after_a_reboot.close().unwrap();
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    assert_eq!(opened(2, dir.path()).found().store, StoreFound::MadeAgain);
}

#[tokio::test]
async fn the_snapshot_that_was_restored_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Versions::open(in_boot(1, dir.path()), NOW).unwrap();
    for round in 0..3 {
        write_to(&journal, 2 * round).await;
    }
    journal.close().unwrap();
    let again = Versions::open(in_boot(1, dir.path()), NOW).unwrap();
    let taken = again.snapshots().last().map(|snapshot| snapshot.seq);
    assert!(taken.is_some_and(|seq| seq >= Seq(4)), "{taken:?}");
    assert_eq!(again.found().snapshot, taken);
}

/// Takes keys out of the store of a closed journal, and leaves all else as it is.
fn lose(dir: &Path, from: &[u8], to: &[u8]) {
    let store = Backend::default().open(dir, 1 << 20).unwrap();
    assert!(store.remove_range(from, to, 1_000).unwrap() > 0);
    store.sync().unwrap();
}

/// What the store says of a stream is believed by whoever writes to it, and no record after the snapshot speaks of it.
#[tokio::test]
async fn a_store_that_forgot_a_stream_of_the_snapshot_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let opened = || Versions::open(in_boot(1, dir.path()), NOW).unwrap();
    let journal = opened();
    for stream in [1, 2].map(stream) {
        journal.append(append(stream, 0, &["one", "two"])).await.unwrap();
    }
    journal.close().unwrap();
    let journal = opened();
    assert_eq!((journal.found().snapshot, journal.found().store), (Some(Seq(4)), StoreFound::Kept));
    journal.close().unwrap();
    let key = |number: u128| [&b"s\x01"[..], stream(number).id.as_bytes()].concat();
    lose(dir.path(), &key(2), &key(3));
    let journal = opened();
    assert_eq!((journal.found().snapshot, journal.found().store), (Some(Seq(4)), StoreFound::MadeAgain));
    assert_eq!(journal.read_stream(stream(2), StreamVersion(1), 10).unwrap().len(), 2);
    journal.append(append(stream(2), 2, &["three"])).await.unwrap();
}
