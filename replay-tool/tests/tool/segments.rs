//! Segments by themselves, without the folder that they came from.

use std::fs;
use std::path::{Path, PathBuf};

use purser_events::Timestamp;
use purser_replay::Exit;
use purser_storage::{Journal, JournalConfig, SEGMENT_BYTES_MIN};

use crate::long;
use crate::snapshots::segments;
use crate::support::{START, Told, tool};

/// Records of the journal.
const RECORDS: u64 = 20_000;

/// A journal of several segments, and a folder with copies of them alone.
struct Alone {
    dir: tempfile::TempDir,
}

impl Alone {
    fn new() -> Alone {
        let alone = Alone { dir: tempfile::tempdir().unwrap() };
        long::write(alone.config(), RECORDS, 0);
        fs::create_dir(alone.path("kept")).unwrap();
        for segment in segments(&alone.path("journal")) {
            fs::copy(&segment, alone.path("kept").join(segment.file_name().unwrap())).unwrap();
        }
        assert!(alone.kept().len() > 3, "{:?}", alone.kept());
        alone
    }

    fn config(&self) -> JournalConfig {
        JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(self.path("journal")) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn kept(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("kept")).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    fn tool(&self, args: &[&str]) -> Told {
        tool(&[args, &["--archive", self.path("kept").to_str().unwrap()]].concat())
    }
}

fn first_of(segment: &Path) -> u64 {
    segment.file_name().unwrap().to_str().unwrap()[..20].parse().unwrap()
}

#[test]
fn segments_alone_are_a_journal() {
    let alone = Alone::new();
    let (journal, kept) = (alone.path("journal"), alone.path("kept"));
    let names = [format!("b={}", kept.display())];
    for verb in [
        &["log", "-n", "5", "-o", "jsonl"][..],
        &["state", "--digest"],
        &["state", "--at", "400", "--view", "pods"],
        &["streams", "--kind", "node"],
        &["stats", "-o", "json"],
        &["why", "500"],
    ] {
        let whole = tool(&[verb, &["--dir", journal.to_str().unwrap()]].concat());
        assert_eq!(whole.exit, Exit::Ok, "{verb:?}: {}", whole.notes);
        for way in [["--archive", kept.to_str().unwrap()], ["--dir", kept.to_str().unwrap()]] {
            let told = tool(&[verb, &way].concat());
            assert_eq!(
                (told.exit, told.notes, told.out),
                (whole.exit, whole.notes.clone(), whole.out.clone())
            );
        }
    }
    assert_eq!(tool(&["log", "-n", "3", "--node", &names[0]]).exit, Exit::Ok);
    let told = alone.tool(&["verify"]);
    assert_eq!((told.exit, told.notes.as_str()), (Exit::Ok, ""));
    let trusted = format!("verdict   sound\ntrusted   records 1 to {RECORDS}\n");
    assert!(
        told.out.starts_with(&trusted) && told.out.contains("\nend       segments alone"),
        "{}",
        told.out
    );
    assert!(alone.tool(&["info"]).out.contains(&format!("segments in {}", kept.display())));
}

#[test]
fn where_the_history_begins_is_told() {
    let alone = Alone::new();
    fs::remove_file(&alone.kept()[0]).unwrap();
    let first = first_of(&alone.kept()[0]);
    let note = format!("the source begins with record {first}");
    for verb in [&["log", "-n", "1"][..], &["info"], &["streams", "--kind", "pod"], &["stats"]] {
        let told = alone.tool(verb);
        assert!(told.exit == Exit::Ok && told.notes.contains(&note), "{verb:?}: {}", told.notes);
    }
    let told = alone.tool(&["state"]);
    assert_eq!((told.exit, told.out.as_str()), (Exit::Usage, ""), "{}", told.notes);
    assert!(told.notes.contains("begins after record"), "{}", told.notes);
    let told = alone.tool(&["verify"]);
    assert!(told.out.contains(&format!("\nassumed   record {}", first - 1)), "{}", told.out);
}

#[test]
fn what_comes_before_a_missing_segment_is_shown() {
    let alone = Alone::new();
    let gone = alone.kept()[2].clone();
    fs::remove_file(&gone).unwrap();
    let last = first_of(&gone) - 1;
    let told = alone.tool(&["log", "-o", "oneline"]);
    assert_eq!((told.exit, told.out.lines().count() as u64), (Exit::Integrity, last), "{}", told.notes);
    assert!(told.notes.contains(&format!("damaged after record {last}")), "{}", told.notes);
    let told = alone.tool(&["verify"]);
    assert_eq!(told.exit, Exit::Integrity);
    assert!(told.out.contains(&format!("\ntrusted   records 1 to {last}\n")), "{}", told.out);
    // The same of a journal's folder.
    fs::remove_file(alone.path("journal/segments").join(gone.file_name().unwrap())).unwrap();
    let told = tool(&["verify", "--dir", alone.path("journal").to_str().unwrap()]);
    assert_eq!(told.exit, Exit::Integrity);
    assert!(told.out.contains(&format!("\ntrusted   records 1 to {last}\n")), "{}", told.out);
}

#[test]
fn the_segments_of_a_running_node_are_refused() {
    let alone = Alone::new();
    let segments = alone.path("journal/segments");
    let asked = || tool(&["log", "-n", "1", "--dir", segments.to_str().unwrap()]);
    assert_eq!(asked().exit, Exit::Ok);
    let held = Journal::open(alone.config(), || Timestamp(START), |_| {}, |_| {}).unwrap();
    let told = asked();
    assert!(told.exit == Exit::Io && told.notes.contains("is in use"), "{}", told.notes);
    held.close().unwrap();
    fs::create_dir(alone.path("empty")).unwrap();
    let told = tool(&["log", "--archive", alone.path("empty").to_str().unwrap()]);
    assert!(told.exit == Exit::Io && told.notes.contains("no segment is in it"), "{}", told.notes);
}
