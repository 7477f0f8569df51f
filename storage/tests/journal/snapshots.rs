//! Snapshots: a start folds only what came after one, and a bad one costs time, never truth.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use purser_events::{Seq, StreamVersion};
use purser_storage::{
    Capture, Journal, JournalConfig, JournalError, Replayed, SEGMENT_BYTES_MIN, SnapshotError, Snapshots,
    StoredSnapshot, StreamEnd, Streams,
};

use crate::lazy::LAZY;
use crate::retention::reason;
use crate::support::*;

/// Counts records; what it was at the start, and what it was given after.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Counted>>);

#[derive(Default)]
struct Counted {
    records: u64,
    restored: u64,
    replayed: Vec<Seq>,
    /// Releases that came since.
    upgrades: u32,
    /// Whether this release makes something else of what was put away.
    reads_otherwise: bool,
    /// What whoever puts one away waits for: its sender goes.
    held_up: Option<Receiver<()>>,
}

/// Of the first release.
const LAYOUT: u32 = 7;

impl Snapshots for Counter {
    fn layout(&self) -> u32 {
        LAYOUT + self.0.lock().unwrap().upgrades
    }

    fn capture(&self) -> Capture {
        let mut counted = self.0.lock().unwrap();
        let (records, held_up) = (counted.records, counted.held_up.take());
        Box::new(move || {
            if let Some(gate) = held_up {
                gate.recv().expect_err("nothing is ever sent");
            }
            Ok(records.to_le_bytes().to_vec())
        })
    }

    fn restore(&mut self, stored: &StoredSnapshot<'_>) -> Result<Streams, SnapshotError> {
        let records = u64::from_le_bytes(stored.body.try_into()?);
        let mut counted = self.0.lock().unwrap();
        if counted.reads_otherwise && !stored.is_only_way {
            return Err("it is read as something else".into());
        }
        assert_eq!((stored.layout, stored.seq), (LAYOUT, Seq(records)));
        (counted.records, counted.restored) = (records, records);
        let end = StreamEnd { version: StreamVersion(records), seq: Seq(records) };
        Ok([(stream(1), end)].into())
    }
}

fn open_counted(dir: &Path, snapshot_every: u64) -> Result<(Journal, Counter), JournalError> {
    open_as(Counter::default(), dir, snapshot_every)
}

fn open_as(counter: Counter, dir: &Path, snapshot_every: u64) -> Result<(Journal, Counter), JournalError> {
    let (replayed, committed) = (counter.clone(), counter.clone());
    let config = JournalConfig {
        snapshot_every,
        lazy_ms_max: u64::MAX,
        segment_bytes: SEGMENT_BYTES_MIN,
        ..JournalConfig::new(dir)
    };
    let replay = move |found: Replayed| {
        let Replayed::Record(record) = found else { panic!("{found:?}") };
        let mut counted = replayed.0.lock().unwrap();
        counted.records += 1;
        counted.replayed.push(record.header.seq);
    };
    let commit = move |records: &[_]| committed.0.lock().unwrap().records += records.len() as u64;
    let journal = Journal::open_with_snapshots(config, || NOW, replay, commit, counter.clone())?;
    Ok((journal, counter))
}

async fn add(journal: &Journal, count: u64) {
    for _ in 0..count {
        let version = journal.head().seq.0;
        journal.append(append(stream(1), version, &["x"])).await.unwrap();
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(dir.join("snapshots")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn a_snapshot_is_of_what_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_counted(dir.path(), 1).unwrap();
    journal.append_on(append(stream(1), 0, &["x"]), LAZY).await.unwrap();
    journal.append(append(stream(1), 1, &["x"])).await.unwrap();
    journal.close().unwrap();
    let names: Vec<_> = files(dir.path()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["00000000000000000002.snap"]);
    let (_, counter) = open_counted(dir.path(), 1).unwrap();
    let counted = counter.0.lock().unwrap();
    assert_eq!((counted.restored, counted.records, counted.replayed.len()), (2, 2, 0));
}

/// Twenty records with snapshots at 10 and 20 and one more record after.
async fn with_two_snapshots() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let (journal, _) = open_counted(dir.path(), 1_000).unwrap();
        add(&journal, 10).await;
        // The close in order takes one.
        journal.close().unwrap();
    }
    let (journal, counter) = open_counted(dir.path(), 1_000).unwrap();
    {
        let counted = counter.0.lock().unwrap();
        assert_eq!((counted.restored, counted.replayed.len()), (20, 0));
    }
    assert_eq!(journal.snapshots().iter().map(|head| head.seq.0).collect::<Vec<_>>(), [10, 20]);
    add(&journal, 1).await;
    journal.close().unwrap();
    // That close has taken one at 21 as well: the oldest made way.
    assert_eq!(files(dir.path()).len(), 2);
    fs::remove_file(&files(dir.path())[1]).unwrap();
    dir
}

#[tokio::test]
async fn a_start_folds_what_came_after_the_newest() {
    let dir = with_two_snapshots().await;
    let (journal, counter) = open_counted(dir.path(), 0).unwrap();
    let counted = counter.0.lock().unwrap();
    assert_eq!((counted.records, counted.restored, &counted.replayed[..]), (21, 20, &[Seq(21)][..]));
    assert_eq!(journal.read(Seq(1), 100).unwrap().len(), 21, "the history is all there");
}

#[tokio::test]
async fn every_so_many_records_there_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_counted(dir.path(), 8).unwrap();
    add(&journal, 40).await;
    journal.close().unwrap();
    assert_eq!(files(dir.path()).len(), 2, "two are kept");
    let (_, counter) = open_counted(dir.path(), 8).unwrap();
    assert_eq!(counter.0.lock().unwrap().restored, 40);
}

#[tokio::test]
async fn a_close_takes_its_last_one_behind_those_that_are_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let counter = Counter::default();
    let (gate, held_up) = channel();
    counter.0.lock().unwrap().held_up = Some(held_up);
    let (journal, _) = open_as(counter, dir.path(), 8).unwrap();
    add(&journal, 30).await;
    drop(gate);
    journal.close().unwrap();
    let (_, counter) = open_counted(dir.path(), 8).unwrap();
    assert_eq!(counter.0.lock().unwrap().restored, 30);
}

#[tokio::test]
async fn a_bad_one_means_more_to_fold_and_nothing_else() {
    let dir = with_two_snapshots().await;
    let path = files(dir.path()).pop().unwrap();
    let sound = fs::read(&path).unwrap();
    let other = tempfile::tempdir().unwrap();
    let (journal, _) = open_counted(other.path(), 1_000).unwrap();
    for number in 0..20 {
        journal.append(append(stream(1), number, &["of another journal"])).await.unwrap();
    }
    journal.close().unwrap();
    let foreign = fs::read(files(other.path()).pop().unwrap()).unwrap();
    let mut bad: Vec<Vec<u8>> =
        vec![Vec::new(), b"no snapshot".to_vec(), foreign, [&sound[..], b"x"].concat()];
    bad.extend((0..sound.len()).step_by(5).map(|at| {
        let mut flipped = sound.clone();
        flipped[at] ^= 0x10;
        flipped
    }));
    bad.extend((0..sound.len()).step_by(29).map(|len| sound[..len].to_vec()));
    for bytes in bad {
        fs::write(&path, &bytes).unwrap();
        let (journal, counter) = open_counted(dir.path(), 0).unwrap();
        let counted = counter.0.lock().unwrap();
        assert_eq!((counted.records, counted.restored), (21, 0), "{bytes:?}");
        drop(counted);
        journal.close().unwrap();
    }
}

/// A release after the first, which may make something else of what was put away.
fn upgraded(reads_otherwise: bool) -> Counter {
    Counter(Arc::new(Mutex::new(Counted { upgrades: 1, reads_otherwise, ..Counted::default() })))
}

fn restored(opened: Result<(Journal, Counter), JournalError>) -> (u64, usize) {
    let (journal, counter) = opened.unwrap();
    journal.close().unwrap();
    let counted = counter.0.lock().unwrap();
    assert_eq!(counted.records, counted.restored + counted.replayed.len() as u64);
    (counted.restored, counted.replayed.len())
}

#[tokio::test]
async fn an_older_layout_is_read_and_what_is_read_otherwise_is_folded_again() {
    let dir = with_two_snapshots().await;
    assert_eq!(restored(open_as(upgraded(false), dir.path(), 0)), (20, 1));
    assert_eq!(restored(open_as(upgraded(true), dir.path(), 0)), (0, 21));
}

#[tokio::test]
async fn once_the_first_records_are_gone_what_can_be_read_of_a_snapshot_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_counted(dir.path(), u64::MAX).unwrap();
    while journal.segments().is_empty() {
        let version = journal.head().seq.0;
        journal.append(append(stream(1), version, &[&reason(version)])).await.unwrap();
    }
    journal.close().unwrap();
    let (journal, _) = open_counted(dir.path(), u64::MAX).unwrap();
    assert_eq!(journal.trim(Seq(u64::MAX), |_| true).unwrap().segments, 1);
    let head = journal.head().seq.0;
    journal.close().unwrap();
    for reads_otherwise in [false, true] {
        assert_eq!(restored(open_as(upgraded(reads_otherwise), dir.path(), 0)), (head, 0));
    }
    let newest = files(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes[12..16].copy_from_slice(&(LAYOUT + 2).to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..96]);
    bytes[96..100].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&newest, bytes).unwrap();
    let before = crate::folders::contents(dir.path());
    let refused = open_as(upgraded(false), dir.path(), 0).err().unwrap();
    assert!(matches!(refused, JournalError::NewerSnapshot { found: 9, known: 8, .. }), "{refused}");
    assert_eq!(crate::folders::contents(dir.path()), before, "nothing was changed");
}
