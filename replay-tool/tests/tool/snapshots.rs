//! Worlds that are put away, and what becomes of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use purser_replay::Exit;
use purser_storage::disk::{Disk, SystemDisk};
use purser_storage::redaction::{Subject, redact};
use purser_storage::{JournalConfig, SEGMENT_BYTES_MIN};
use serde_json::json;

use crate::long;
use crate::support::{Fixture, Told, event, tool};

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

/// A journal whose worlds are put away, and the first of its pods.
struct Kept {
    dir: tempfile::TempDir,
}

impl Kept {
    fn new() -> Kept {
        let kept = Kept { dir: tempfile::tempdir().unwrap() };
        long::write(kept.config(), 50_500, 0);
        assert_eq!((kept.state(&[]).exit, kept.files()), (Exit::Ok, 1));
        kept
    }

    fn config(&self) -> JournalConfig {
        JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(self.journal()) }
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path().join("snapshots")).unwrap().count()
    }

    /// What is told of a moment behind the world that was put away.
    fn state(&self, more: &[&str]) -> Told {
        self.state_of(&self.journal(), more)
    }

    fn state_of(&self, journal: &Path, more: &[&str]) -> Told {
        let snapshots = self.dir.path().join("snapshots");
        let at = ["state", "--at", "50400", "--dir", journal.to_str().unwrap()];
        tool(&[&at[..], &["--snapshots", snapshots.to_str().unwrap()], more].concat())
    }

    /// Puts on record that a pod is to be redacted, as so many records of the node are there.
    fn ask_to_redact(&self, pod: u64, node_records: u64) {
        let uid = long::uid(pod);
        let payload = json!({ "redaction": uid, "pods": [uid], "workers": [], "reason": "asked for" });
        long::append_to_node(self.config(), node_records, event("node.redaction-requested", &payload));
    }

    /// What is told by a copy of which the first segments were trimmed.
    fn state_of_trimmed(&self) -> Told {
        let (journal, copy) = (self.journal(), tempfile::tempdir_in(self.dir.path()).unwrap());
        fs::create_dir(copy.path().join("segments")).unwrap();
        fs::copy(journal.join("format"), copy.path().join("format")).unwrap();
        for segment in segments(&journal).iter().skip(3) {
            fs::copy(segment, copy.path().join("segments").join(segment.file_name().unwrap())).unwrap();
        }
        self.state_of(copy.path(), &[])
    }
}

#[test]
fn what_was_redacted_since_is_not_shown() {
    let kept = Kept::new();
    let pod = ["--pod", "default/web-3"];
    assert!(kept.state(&pod).out.contains("web-3"), "it was not redacted");
    kept.ask_to_redact(3, 1);
    assert!(kept.state(&pod).out.contains("web-3"), "it is still there");
    let subject = Subject { streams: &BTreeSet::from([long::stream(3)]), answer: &|_| None };
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    redact(&disk, &kept.journal(), long::uid(3).0, &subject).unwrap();
    let told = kept.state(&pod);
    assert_eq!((told.exit, told.out.as_str()), (Exit::NothingMatched, ""), "{}", told.notes);
    assert_eq!(kept.files(), 0, "what had it in the clear is gone");
    assert!(kept.state(&[]).out.contains("withheld"), "the journal is folded from its beginning");
}

#[test]
fn of_a_trimmed_journal_they_stand_until_what_they_tell_of_is_redacted() {
    let kept = Kept::new();
    let whole = kept.state(&[]).out;
    let of_trimmed = || {
        let told = kept.state_of_trimmed();
        assert_eq!((told.exit, told.out.as_str()), (Exit::Ok, whole.as_str()), "{}", told.notes);
    };
    of_trimmed();
    kept.ask_to_redact(long::PODS + 7, 1);
    of_trimmed();
    kept.ask_to_redact(3, 2);
    let told = kept.state_of_trimmed();
    assert_eq!((told.exit, told.out.as_str()), (Exit::Usage, ""), "{}", told.notes);
    assert!(told.notes.contains("begins after record"), "{}", told.notes);
}

#[test]
fn only_a_folder_has_them() {
    let fixture = Fixture::new();
    let told = tool(&["state", "--socket", "/nonexistent/socket", "--snapshots", "/nonexistent"]);
    assert_eq!(told.exit, Exit::Usage);
    assert_eq!(fixture.tool(&["state", "--snapshots", "/nonexistent"]).exit, Exit::Usage);
}
