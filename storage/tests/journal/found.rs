//! What an opening says that it found.

use std::fs;
use std::path::Path;

use purser_events::Seq;
use purser_storage::found::{Found, StoreFound};
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
