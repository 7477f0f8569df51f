//! Payloads taken out of a closed journal: nothing of them is left, everything else is as it was, and a stop at any
//! call to the disk leaves a journal that can be read and finished.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use nix::libc::{EIO, ENOSPC};
use purser_events::{Seq, StreamId};
use purser_storage::disk::{Disk, SystemDisk};
use purser_storage::merkle::{Frontier, Leaf, inclusion_proof, verify_inclusion};
use purser_storage::redaction::{
    Holding, Redacted, RedactionError, Subject, forget_progress, holding, redact,
};
use purser_storage::{FolderError, Journal, JournalConfig, SEGMENT_BYTES_MIN, StoredRecord};
use uuid::Uuid;

use crate::faulty_disk::{Call, FaultyDisk, Plan, Way};
use crate::folders::{contents, copy, scratch};
use crate::retention::{fill_until_sealed, offline, open_small, read_all};
use crate::sealing::{Sealed, write};
use crate::support::*;

/// Stands in payloads and answers of the subject and nowhere else.
const WORD: &str = "hapaxlegomenon";

const REDACTION: Uuid = Uuid::from_u128(77);

pub(crate) fn subject_stream() -> StreamId {
    stream(9)
}

pub(crate) fn redact_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Redacted, RedactionError> {
    let streams = BTreeSet::from([subject_stream()]);
    let answer = |answer: &[u8]| {
        let text = std::str::from_utf8(answer).ok()?;
        text.contains(WORD).then(|| text.replace(WORD, "gone").into_bytes())
    };
    redact(&disk, dir, REDACTION, &Subject { streams: &streams, answer: &answer })
}

/// A closed journal with three segments that are sealed, of which the first is compressed and archived, and an open
/// one; each of the first, the third and the open one has records of the subject, the second has an answer about it.
async fn filled(dir: &Path) -> Vec<StoredRecord> {
    let journal = open_small(dir);
    let subject = subject_stream();
    let about = async |journal: &Journal, version: u64| {
        let reason = format!("{version} {WORD}");
        // Two in one commit, so that a commit lies around them.
        let writes =
            vec![write_of(subject, version, &[&reason, "b"]), write_of(stream(8), version / 2, &["c"])];
        let append = purser_storage::Append { writes, origin: origin(), command: None };
        journal.append(append).await.unwrap();
    };
    fill_others(&journal, 1).await;
    about(&journal, 0).await;
    while journal.segments().is_empty() {
        fill_others(&journal, 10).await;
    }
    let answer = format!("no room for {WORD}");
    let refusal = purser_storage::Append {
        writes: vec![],
        origin: origin(),
        command: Some(command(5, answer.as_bytes())),
    };
    journal.append(refusal).await.unwrap();
    while journal.segments().len() < 2 {
        fill_others(&journal, 10).await;
    }
    about(&journal, 2).await;
    while journal.segments().len() < 3 {
        fill_others(&journal, 10).await;
    }
    about(&journal, 4).await;
    let first = journal.segments().remove(0);
    journal.compress(first.first).unwrap();
    journal.note_archived(&journal.segments()[0]).unwrap();
    let records = read_all(&journal);
    journal.close().unwrap();
    records
}

fn write_of(stream: StreamId, expected: u64, reasons: &[&str]) -> purser_storage::StreamWrite {
    crate::support::write(stream, expected, reasons)
}

/// Appends so many records of a stream that has nothing to do with the subject.
async fn fill_others(journal: &Journal, count: u64) {
    let from = journal.read_stream(stream(1), purser_events::StreamVersion(1), 100_000).unwrap().len() as u64;
    for version in from..from + count {
        journal.append(append(stream(1), version, &[&crate::retention::reason(version)])).await.unwrap();
    }
}

/// Sees that no file has the word, and that the records are as they were but for their payloads.
fn assert_gone(what: &str, dir: &Path, before: &[StoredRecord]) {
    for (path, bytes) in contents(dir) {
        let plain = if path.extension().is_some_and(|it| it == "zst") {
            zstd::stream::decode_all(&bytes[..]).unwrap()
        } else {
            bytes
        };
        let found = plain.windows(WORD.len()).any(|window| window == WORD.as_bytes());
        assert!(!found, "{what}: the word is still in {}", path.display());
    }
    let after = offline(dir).unwrap_or_else(|error| panic!("{what}: {}", told(&error)));
    assert_eq!(after.len(), before.len(), "{what}");
    for (old, new) in before.iter().zip(&after) {
        if old.header.stream == subject_stream() {
            assert!(new.redacted, "{what}: record {}", old.header.seq);
            assert_eq!((&new.header, new.hash), (&old.header, old.hash), "{what}");
            assert_eq!((new.layout_number, new.continued), (old.layout_number, old.continued), "{what}");
        } else {
            assert_eq!(new, old, "{what}");
        }
    }
}

#[tokio::test]
async fn the_payloads_go_and_all_else_stays() {
    let dir = scratch();
    let before = filled(dir.path()).await;
    let head = before.last().unwrap();
    let streams = BTreeSet::from([subject_stream()]);
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    let subject = Subject { streams: &streams, answer: &|_| None };
    let held = holding(&disk, dir.path(), &subject).unwrap();
    let payloads: Vec<u64> = held.iter().map(|Holding { payloads, .. }| *payloads).collect();
    assert_eq!(payloads, [2, 2, 2]);
    assert!(held[0].archived && !held[1].archived);

    let done = redact_on(disk.clone(), dir.path()).unwrap();
    assert_gone("redacted", dir.path(), &before);
    assert_eq!(done.records(), 6);
    let counts: Vec<u64> = done.segments.iter().map(|segment| segment.records).collect();
    assert_eq!(counts, [2, 0, 2, 2], "the second held an answer alone");
    assert_eq!(done.archived, [Seq(1)]);
    assert!(done.segments.iter().all(|segment| segment.before != segment.after));
    // Once more, as after a stop before its end was on record.
    assert_eq!(redact_on(disk.clone(), dir.path()).unwrap(), done);
    assert_gone("again", dir.path(), &before);
    forget_progress(&*disk, dir.path()).unwrap();
    assert_eq!(holding(&disk, dir.path(), &subject).unwrap(), []);

    // The journal goes on: the first is compressed and archived as it was, and every answer is there.
    let journal = open_small(dir.path());
    assert_eq!((journal.head().seq, journal.head().hash), (head.header.seq, head.hash));
    let segments = journal.segments();
    assert_eq!(segments.len(), 4);
    assert!(segments[0].compressed && segments[0].archived && !segments[1].compressed);
    let answer = journal.answer(command(5, b"").id).unwrap().unwrap();
    assert_eq!(answer.answer, b"no room for gone");
    fill_others(&journal, 300).await;
    for segment in journal.segments() {
        journal.compress(segment.first).unwrap();
    }
    journal.close().unwrap();
    assert_eq!(offline(dir.path()).unwrap().len(), before.len() + 300);
}

#[tokio::test]
async fn another_file_of_the_same_segment_goes_too() {
    let dir = scratch();
    let before = filled(dir.path()).await;
    let plain = dir.path().join("segments/00000000000000000001.seg");
    let compressed = plain.with_extension("seg.zst");
    let bytes = zstd::stream::decode_all(&fs::read(&compressed).unwrap()[..]).unwrap();
    // As a stop leaves it that comes while a segment is compressed.
    fs::write(&plain, &bytes).unwrap();
    fs::write(compressed.with_extension("zst.new"), &bytes).unwrap();
    fs::write(dir.path().join("snapshots/new"), WORD).unwrap();
    fs::create_dir_all(dir.path().join("redb.aside")).unwrap();
    fs::write(dir.path().join("redb.aside/page"), WORD).unwrap();
    redact_on(Arc::new(SystemDisk), dir.path()).unwrap();
    assert!(plain.exists() && !compressed.exists());
    assert_gone("redacted", dir.path(), &before);
}

#[tokio::test]
async fn a_damaged_segment_is_named_and_left_as_it_is() {
    let dir = scratch();
    filled(dir.path()).await;
    let names = crate::retention::segment_files(dir.path());
    let path = dir.path().join("segments").join(&names[2]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = redact_on(Arc::new(SystemDisk), dir.path()).unwrap_err();
    assert!(
        matches!(&error, RedactionError::Damaged(_)) && told(&error).contains(&names[2]),
        "{}",
        told(&error)
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(!path.with_extension("seg.new").exists());
}

#[tokio::test]
async fn a_journal_in_use_is_left_alone() {
    let dir = scratch();
    filled(dir.path()).await;
    let journal = open_small(dir.path());
    let error = redact_on(Arc::new(SystemDisk), dir.path()).unwrap_err();
    assert!(matches!(error, RedactionError::Folder(FolderError::Locked { .. })), "{error}");
    journal.close().unwrap();
}

/// Without a snapshot after the request, a trimmed journal could not be opened any more.
#[tokio::test]
async fn a_trimmed_journal_keeps_the_snapshot_that_it_needs() {
    let dir = scratch();
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, 3).await;
    let journal = crate::retention::open_again(journal, dir.path());
    journal.trim(journal.segments()[0].last.seq, |_| true).unwrap();
    let head = journal.head();
    journal.close().unwrap();
    let snapshots = dir.path().join("snapshots");
    let names = || fs::read_dir(&snapshots).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    redact_on(Arc::new(SystemDisk), dir.path()).unwrap();
    assert_eq!(names(), [snapshots.join(format!("{:020}.snap", head.seq.0))]);
    let sound = names().remove(0);
    let mut bytes = fs::read(&sound).unwrap();
    bytes[50] ^= 1;
    fs::write(&sound, bytes).unwrap();
    let error = redact_on(Arc::new(SystemDisk), dir.path()).unwrap_err();
    assert!(matches!(error, RedactionError::NoSnapshot { seq } if seq == head.seq), "{error}");
    assert!(sound.exists());
}

#[tokio::test]
async fn seals_and_proofs_from_before_stay_good() {
    let sealed = Sealed::new();
    let journal = sealed.open(1);
    write(&journal, 0, 40, "so it was").await;
    for version in 0..4 {
        journal.append(append(subject_stream(), version, &[WORD])).await.unwrap();
    }
    write(&journal, 40, 60, "so it was").await;
    journal.close().unwrap();
    let before = offline(&sealed.dir()).unwrap();
    let leaf =
        |records: &[StoredRecord], at: u64| Leaf::of_record(&records[usize::try_from(at).unwrap()].hash);
    let (size, at) = (before.len() as u64, 42);
    let mut tree = Frontier::new();
    (0..size).for_each(|number| tree.append(leaf(&before, number)));
    let proof = inclusion_proof(
        at,
        size,
        (0..size).map(|number| Ok::<_, std::convert::Infallible>(leaf(&before, number))),
    )
    .unwrap();
    let was = sealed.audit();
    assert_eq!((was.findings_count, was.sealed.is_some()), (0, true));

    redact_on(Arc::new(SystemDisk), &sealed.dir()).unwrap();
    let after = offline(&sealed.dir()).unwrap();
    assert!(after[42].redacted && !before[42].redacted);
    verify_inclusion(leaf(&after, at), at, size, &proof, &tree.root()).unwrap();
    let is = sealed.audit();
    assert_eq!((is.findings_count, &is.sealed), (0, &was.sealed));
    // The node goes on sealing.
    let journal = sealed.open(2);
    write(&journal, 100, 40, "so it is").await;
    journal.close().unwrap();
    assert_eq!(sealed.audit().findings_count, 0);
}

/// What was done, but for the hashes: the open segment is sealed with a note of each opening in it.
fn summary(done: &Redacted) -> (Vec<(Seq, u64)>, &[Seq]) {
    let segments = done.segments.iter().map(|segment| (segment.first, segment.records));
    (segments.collect(), &done.archived)
}

/// A filled folder, and what a redaction without a fault comes to.
struct Faults {
    template: tempfile::TempDir,
    before: Vec<StoredRecord>,
    reference: Redacted,
}

impl Faults {
    async fn new() -> Faults {
        let template = scratch();
        let before = filled(template.path()).await;
        // Each copy is small without it, and it goes in any case.
        fs::remove_dir_all(template.path().join("sled")).unwrap();
        let sound = scratch();
        copy(template.path(), sound.path());
        let reference = redact_on(Arc::new(SystemDisk), sound.path()).unwrap();
        Faults { template, before, reference }
    }

    /// Lets one call fail in a copy, then finishes, with a start in between or not; gives whether it came to that.
    fn one(&self, plan: Plan, starts: bool) -> bool {
        let what = format!("{plan:?}");
        let dir = scratch();
        copy(self.template.path(), dir.path());
        let disk = FaultyDisk::new(Some(plan));
        let done = redact_on(Arc::new(disk.clone()), dir.path());
        match (&done, disk.failed().is_some()) {
            (Ok(done), failed) => {
                // A compressed segment's header lies in its front too, and need not be read from its first block.
                let may = plan.way.is_allowed() || plan.call == Call::Read;
                assert!(!failed || may, "{what}: the failure went unnoticed");
                assert_eq!(summary(done), summary(&self.reference), "{what}");
            }
            (Err(error), failed) => {
                assert!(failed && !plan.way.is_allowed(), "{what}: {}", told(error));
                assert_eq!(disk.changes_after(), [], "{what}: the disk was not left alone");
            }
        }
        // What is there can be read, whatever was done.
        let left = offline(dir.path()).unwrap_or_else(|error| panic!("{what}: {}", told(&error)));
        let hashes = |records: &[StoredRecord]| records.iter().map(|record| record.hash).collect::<Vec<_>>();
        assert_eq!(hashes(&left), hashes(&self.before), "{what}");
        if starts {
            let config = JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(dir.path()) };
            let opened = Journal::open(config, || NOW, |_| {}, |_| {});
            opened.unwrap_or_else(|error| panic!("{what}: {}", told(&error))).close().unwrap();
        }
        let finished = redact_on(Arc::new(SystemDisk), dir.path());
        let finished = finished.unwrap_or_else(|error| panic!("{what}: {}", told(&error)));
        assert_eq!(summary(&finished), summary(&self.reference), "{what}");
        assert_gone(&what, dir.path(), &self.before);
        disk.failed().is_some()
    }

    /// Lets every `step`-th call of a kind fail.
    fn every(&self, call: Call, way: Way, step: usize) {
        let numbers = (1..).step_by(step);
        let failed =
            numbers.take_while(|&number| self.one(Plan { call, number, way }, number % 4 == 1)).count();
        eprintln!("{call:?}, {way:?}: {failed} faults");
        assert!(failed > 0, "{call:?} is never called");
    }
}

#[tokio::test]
async fn a_stop_at_any_change_of_the_folder_is_finished() {
    let faults = Faults::new().await;
    for call in [Call::Names, Call::Create, Call::Rename, Call::Remove, Call::SyncDir] {
        faults.every(call, Way::Error(EIO), 1);
    }
}

#[tokio::test]
async fn a_stop_at_any_write_or_sync_is_finished() {
    let faults = Faults::new().await;
    faults.every(Call::Write, Way::Torn(ENOSPC), 1);
    faults.every(Call::Sync, Way::Error(EIO), 1);
    faults.every(Call::SetLen, Way::Error(EIO), 1);
}

#[tokio::test]
async fn a_stop_while_something_is_read_is_finished() {
    let faults = Faults::new().await;
    for (call, step) in [(Call::Open, 5), (Call::Len, 5), (Call::Read, 17)] {
        faults.every(call, Way::Error(EIO), step);
    }
}

#[tokio::test]
async fn what_a_disk_may_do_is_no_fault() {
    let faults = Faults::new().await;
    faults.every(Call::Write, Way::Half, 3);
    faults.every(Call::Read, Way::Half, 29);
}
