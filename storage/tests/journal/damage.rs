//! Damage to the files of a real journal: it is told, never taken for a shorter history.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use purser_events::Seq;
use purser_storage::offline::{Source, SourceError};
use purser_storage::{Fault, JournalError, install_open_guard};

use crate::support::*;

#[tokio::test]
async fn a_store_that_lost_its_end_is_not_taken_for_a_shorter_journal() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 5).await;
    let kept = tempfile::tempdir().unwrap();
    copy(&dir.path().join("sled"), &kept.path().join("sled"));
    {
        let (journal, _, _) = open(dir.path()).unwrap();
        journal.append(append(stream(1), 5, &["acknowledged"])).await.unwrap();
    }
    // As if the store had forgotten: it opens, but without the last record.
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    copy(&kept.path().join("sled"), &dir.path().join("sled"));
    let shortened = Fault::Shortened { found: Seq(5), expected: Seq(6) };
    match open(dir.path()).map(|_| ()) {
        Err(JournalError::Damaged { sound: Seq(5), source, .. }) => assert_eq!(source, shortened),
        other => panic!("{other:?}"),
    }
    let last = Source::from_folder(dir.path()).unwrap().last().unwrap();
    assert!(matches!(last, Err(SourceError::Fault { source, .. }) if source == shortened));
    // A store that opens empty is the same case.
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    assert!(matches!(open(dir.path()), Err(JournalError::Damaged { sound: Seq::ZERO, .. })));
}

#[tokio::test]
async fn a_head_file_that_was_torn_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 2).await;
    for torn in [&[][..], &[0; 44], &[7; 43], &[1; 100]] {
        fs::write(dir.path().join("head"), torn).unwrap();
        let (journal, replayed, _) = open(dir.path()).unwrap();
        assert_eq!(replayed.len(), 2);
        journal.close().unwrap();
    }
}

/// The store panics over damage, and programs abort on a panic: so the case is run as a process of its own.
#[tokio::test]
async fn a_snapshot_that_the_store_had_only_begun_is_no_obstacle() {
    for begun in [&b""[..], b"torn: neither its length nor its checksum is right"] {
        let dir = tempfile::tempdir().unwrap();
        let records = fill(dir.path(), 3).await;
        // Sled writes it under this name before it renames it, and takes it for its newest.
        let path = dir.path().join("sled/snap.FFFFFFFFFFFFFFFF.generating");
        fs::write(&path, begun).unwrap();
        let (journal, replayed, _) = open(dir.path()).unwrap();
        assert_eq!(replayed, records);
        assert!(!path.exists());
        journal.close().unwrap();
    }
}

#[test]
fn a_damaged_store_ends_the_process_with_a_message() {
    const CASE: &str = "PURSER_TEST_DAMAGED_DIR";
    if let Some(dir) = std::env::var_os(CASE) {
        install_open_guard();
        if let Ok((_, replayed, _)) = open(Path::new(&dir)) {
            assert_eq!(replayed.len(), 2_000, "a shorter history passed for the whole");
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(fill(dir.path(), 2_000));
    let used = used_blocks(&dir.path().join("sled/db"));
    let every_block = used.clone();
    let cases = used.chunks(used.len().div_ceil(8)).map(|some| vec![some[0]]).chain([every_block]);
    let mut guarded = 0;
    for blocks in cases {
        let case = tempfile::tempdir().unwrap();
        copy(dir.path(), &case.path().join("journal"));
        let file = OpenOptions::new().write(true).open(case.path().join("journal/sled/db")).unwrap();
        for block in blocks {
            file.write_all_at(&[0xa5; 64], block + 1_000).unwrap();
        }
        let this = std::env::current_exe().unwrap();
        let name = "damage::a_damaged_store_ends_the_process_with_a_message";
        let output = Command::new(this)
            .args(["--exact", name, "--nocapture"])
            .env(CASE, case.path().join("journal"))
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(74) => {
                guarded += 1;
                assert!(stderr.contains("the store is damaged"), "{stderr}");
                assert!(stderr.contains("purser-replay verify --dir COPY"), "{stderr}");
                assert!(!stderr.contains("panicked"), "{stderr}");
            }
            // The damage met free space, or an error of `open` told of it.
            Some(0) => {}
            code => panic!("{code:?}: {stderr}"),
        }
    }
    assert!(guarded > 0, "no damage made the store panic");
}

/// Where the blocks of a file begin that hold more than zeros.
fn used_blocks(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    let blocks = bytes.chunks(4_096).enumerate();
    let used = blocks.filter(|(_, block)| block.iter().any(|&byte| byte != 0));
    used.map(|(number, _)| number as u64 * 4_096).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
