//! Worlds that are put away, and what becomes of them.

use std::fs;
use std::path::{Path, PathBuf};

use purser_replay::Exit;
use purser_storage::{JournalConfig, SEGMENT_BYTES_MIN};

use crate::long;
use crate::support::{Fixture, Told, tool};

/// The folder with a journal's segments.
fn segments(journal: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(journal.join("segments")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_was_put_away_is_what_is_folded() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, other) = (dir.path().join("journal"), dir.path().join("other"));
    let snapshots = dir.path().join("snapshots");
    // So small that what comes before is sealed.
    let config = |dir: &Path| JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(dir) };
    long::write(config(&journal), 50_500, 0);
    let digest = |journal: &Path, at: &str, more: &[&str]| -> Told {
        let dir = ["--dir", journal.to_str().unwrap()];
        tool(&[&["state", "--digest", "--at", at], more, &dir].concat())
    };
    let put = ["--snapshots", snapshots.to_str().unwrap()];
    let same = |journal: &Path, at: &str| {
        let (fresh, put) = (digest(journal, at, &[]), digest(journal, at, &put));
        assert_eq!((put.exit, &put.notes), (Exit::Ok, &String::new()), "{at}");
        assert_eq!(put.out, fresh.out, "{at}");
    };
    let files = || fs::read_dir(&snapshots).map(Iterator::count).unwrap_or_default();
    same(&journal, "400");
    assert_eq!(files(), 0, "nothing is put away before it is time to");
    for at in ["50400", "50001", "50000", "49999", "2026-03-01T14:00:00Z"] {
        same(&journal, at);
        assert_eq!(files(), 1, "{at}");
    }
    // Of another journal they are not taken.
    long::write(config(&other), 50_050, 7);
    same(&other, "50020");
    // What was put away is not read as something else.
    let file = fs::read_dir(&snapshots).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    same(&journal, "50400");
    // It was put away anew; what came before it is not read again.
    let first = segments(&journal).remove(0);
    let mut bytes = fs::read(&first).unwrap();
    bytes[1_000] ^= 1;
    fs::write(&first, bytes).unwrap();
    assert_eq!(digest(&journal, "50400", &put).exit, Exit::Ok);
    assert_eq!(digest(&journal, "50400", &[]).exit, Exit::Integrity);
    assert_eq!(digest(&journal, "49000", &put).exit, Exit::Integrity);
}

#[test]
fn only_a_folder_has_them() {
    let fixture = Fixture::new();
    let told = tool(&["state", "--socket", "/nonexistent/socket", "--snapshots", "/nonexistent"]);
    assert_eq!(told.exit, Exit::Usage);
    assert_eq!(fixture.tool(&["state", "--snapshots", "/nonexistent"]).exit, Exit::Usage);
}
