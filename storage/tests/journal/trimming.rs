//! A journal without its oldest records: what goes, what stays, and how it goes on.

use std::fs;
use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::path::Path;

use purser_events::{CommandId, Seq, StreamVersion};
use purser_storage::audit::Auditor;
use purser_storage::checkpoint::Seed;
use purser_storage::merkle::{Frontier, Leaf};
use purser_storage::offline::{Item, Source};
use purser_storage::sealer::{SealingConfig, SealingParts, SealingState};
use purser_storage::sealing::{KeyFile, SealingKey};
use purser_storage::{Append, AppendError, Evidence, Journal, JournalConfig, JournalError, SealedTree};
use uuid::Uuid;

use crate::retention::{fill_until_sealed, offline, open_again, open_small, read_all, reason, segment_files};
use crate::support::{NOW, Versions, append, command, stream};

/// A command that was answered before all that is left.
const EARLY: u128 = 77;

#[tokio::test]
async fn only_what_nobody_needs_goes() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, 3).await;
    assert_eq!(journal.protected_from(), Seq(1));
    assert_eq!(journal.trim(Seq(u64::MAX), |_| true).unwrap().segments, 0);
    let journal = open_again(journal, dir.path());
    let snapshot = journal.head().seq;
    fill_until_sealed(&journal, 4).await;
    let segments = journal.segments();
    let last = |number: usize| segments[number].last;
    assert!((last(2).seq..last(3).seq).contains(&snapshot));
    journal.set_cursor("slow", last(0).seq.next());
    journal.set_cursor("fast", journal.head().seq.next());
    let trimmed = journal.trim(Seq(u64::MAX), |_| true).unwrap();
    assert_eq!((trimmed.segments, trimmed.before, trimmed.bytes), (1, last(0), segments[0].bytes));
    journal.drop_cursor("slow");
    // What is trimmed under a reader's hands must not pass for the end.
    let mut reader = journal.records(Seq(1)).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().header.seq, last(0).seq.next());
    // Never part of a segment.
    assert_eq!(journal.trim(Seq(last(1).seq.0 - 1), |_| true).unwrap().segments, 0);
    assert_eq!(journal.trim(Seq(u64::MAX), |_| true).unwrap().before, last(2));
    let read: Vec<_> = reader.by_ref().collect();
    let (lost, sound) = read.split_last().unwrap();
    assert_eq!(sound.last().unwrap().as_ref().unwrap().header.seq, last(1).seq);
    assert!(lost.is_err() && reader.next().is_none(), "{lost:?}");
    assert_eq!(journal.records(Seq(1)).unwrap().next().unwrap().unwrap().header.seq, last(2).seq.next());
    assert_eq!(journal.before(), last(2));
    assert_eq!(segment_files(dir.path()).len(), 2);
    // A younger snapshot does not help while the older one is kept.
    let journal = open_again(journal, dir.path());
    assert_eq!(journal.protected_from(), snapshot.next());
    assert_eq!(journal.trim(Seq(u64::MAX), |_| true).unwrap().segments, 0);
    let kept = read_all(&journal).into_iter().filter(|record| record.header.seq > last(3).seq);
    let mut kept: Vec<_> = kept.collect();
    journal.append(append(stream(50), 0, &["one more"])).await.unwrap();
    kept.extend(journal.read(journal.head().seq, 1).unwrap());
    let journal = open_again(journal, dir.path());
    // The open segment stays, whatever is said.
    journal.trim(Seq(u64::MAX), |_| true).unwrap();
    assert_eq!((journal.segments().len(), segment_files(dir.path()).len()), (0, 1));
    assert_eq!(read_all(&journal), kept);
    let mut exported = Vec::new();
    journal.export(Seq(1), &mut exported).unwrap();
    let source = Source::from_export(std::io::Cursor::new(exported)).unwrap();
    assert_eq!(source.before(), last(3));
    assert_eq!(source.collect::<Result<Vec<_>, _>>().unwrap(), kept);
}

/// A journal whose streams 7 and 8 have no record left, with 3 and 2 that are gone.
async fn trimmed(dir: &Path) -> Journal {
    let journal = open_small(dir);
    for (id, count) in [(7, 3), (8, 2)] {
        for version in 0..count {
            journal.append(append(stream(id), version, &["early"])).await.unwrap();
        }
    }
    let early = Append { command: Some(command(EARLY, b"yes")), ..append(stream(9), 0, &["asked for"]) };
    journal.append(early).await.unwrap();
    let mut version = 0;
    while journal.segments().len() < 2 {
        journal.append(append(stream(1), version, &[&reason(version)])).await.unwrap();
        version += 1;
    }
    let journal = open_again(journal, dir);
    // Of the segments: sled gives its room back when it likes.
    let len = |name: &String| fs::metadata(dir.join("segments").join(name)).unwrap().len();
    let bytes = || segment_files(dir).iter().map(len).sum::<u64>();
    let before = bytes();
    let gone = journal.segments()[1].last;
    assert_eq!(journal.trim(Seq(u64::MAX), |asked| asked != stream(8)).unwrap().before, gone);
    assert!(bytes() < before);
    journal
}

#[tokio::test]
async fn streams_go_on_after_their_records_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let journal = trimmed(dir.path()).await;
    assert_eq!(journal.read_stream(stream(7), StreamVersion(1), 1).unwrap(), []);
    let left = journal.read_stream(stream(1), StreamVersion(1), 1).unwrap();
    assert_eq!(left[0].header.seq, journal.before().seq.next());
    let answered = |journal: &Journal| journal.answer(CommandId(Uuid::from_u128(EARLY))).unwrap().is_some();
    assert!(answered(&journal));
    let next = journal.append(append(stream(7), 3, &["late"])).await.unwrap();
    assert_eq!(next.records[0].header.version, StreamVersion(4));
    let (before, kept) = (journal.before(), read_all(&journal));
    let mut journal = open_again(journal, dir.path());
    for version in 4..7 {
        assert_eq!(journal.before(), before);
        assert!(read_all(&journal).starts_with(&kept));
        journal.append(append(stream(7), version, &["later"])).await.unwrap();
        journal.close().unwrap();
        // The store is made again, of what is left.
        fs::remove_dir_all(dir.path().join("sled")).unwrap();
        journal = open_small(dir.path());
        assert!(!answered(&journal), "it is not in what is left");
    }
    let wrong = journal.append(append(stream(8), 0, &["from nothing"])).await.unwrap_err();
    assert!(matches!(wrong, AppendError::Conflict { actual: StreamVersion(2), .. }), "{wrong}");
    journal.append(append(stream(8), 2, &["on"])).await.unwrap();
    let all = read_all(&journal);
    journal.close().unwrap();
    assert_eq!(offline(dir.path()).unwrap(), all);
}

#[tokio::test]
async fn without_a_snapshot_that_reaches_its_first_record_it_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let journal = trimmed(dir.path()).await;
    let before = journal.before().seq;
    journal.close().unwrap();
    let config = || JournalConfig::new(dir.path());
    fs::rename(dir.path().join("snapshots"), dir.path().join("elsewhere")).unwrap();
    let refused = Versions::open(config(), NOW).unwrap_err();
    assert!(matches!(refused, JournalError::Trimmed { before: found, .. } if found == before), "{refused}");
    fs::rename(dir.path().join("elsewhere"), dir.path().join("snapshots")).unwrap();
    Versions::open(config(), NOW).unwrap().close().unwrap();
}

/// Seals when the journal is closed, and not before.
fn seal(journal: &Journal, key_file: &Path) {
    let hour_ms = const { NonZeroU64::new(3_600_000).unwrap() };
    let config = SealingConfig {
        checkpoint_events: NonZeroU64::MAX,
        checkpoint_ms: hour_ms,
        interval_ms: hour_ms,
        ..SealingConfig::new(key_file)
    };
    let seeds = Box::new(|| Err(ErrorKind::Unsupported.into()));
    journal.seal(SealingParts { config, seeds, now: Box::new(|| NOW), observer: Box::new(()) }).unwrap();
    assert_eq!(journal.sealing().borrow().state, SealingState::On);
}

/// The last checkpoint in a folder.
fn last_checkpoint(dir: &Path) -> Box<SealedTree> {
    let mut source = Source::from_folder(dir).unwrap();
    let mut last = None;
    while let Some(item) = source.next_item() {
        if let Item::Evidence(Evidence::Checkpoint(tree)) = item.unwrap() {
            last = Some(tree);
        }
    }
    last.unwrap()
}

#[tokio::test]
async fn it_goes_on_being_sealed_from_its_newest_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, key_file) = (folder.path().join("journal"), folder.path().join("seal.key"));
    let key =
        SealingKey::first("purser/test", &Seed::read_from(&mut [7; 64].as_slice()).unwrap(), NOW).unwrap();
    KeyFile::create(&key_file, &key).unwrap();
    let journal = open_small(&dir);
    fill_until_sealed(&journal, 2).await;
    let journal = open_again(journal, &dir);
    let head = journal.head().seq;
    let mut whole = Frontier::new();
    whole.extend(read_all(&journal).iter().map(|record| Leaf::of_record(&record.hash)));
    seal(&journal, &key_file);
    // Nothing goes that no checkpoint is over.
    assert_eq!(journal.protected_from(), Seq(1));
    assert_eq!(journal.trim(Seq(u64::MAX), |_| true).unwrap().segments, 0);
    journal.close().unwrap();
    for version in 0..3 {
        assert_eq!(*last_checkpoint(&dir).frontier(), whole);
        let journal = open_small(&dir);
        seal(&journal, &key_file);
        assert!(journal.protected_from() > head);
        assert_eq!(journal.trim(Seq(u64::MAX), |_| true).unwrap().segments, if version == 0 { 2 } else { 0 });
        let written = journal.append(append(stream(60), version, &["goes on"])).await.unwrap();
        let record = journal.read(written.records[0].header.seq, 1).unwrap().remove(0);
        whole.append(Leaf::of_record(&record.hash));
        journal.close().unwrap();
    }
    // Who has no more than this takes the first checkpoint on trust, and cannot tell who signed.
    let mut source = Source::from_folder(&dir).unwrap();
    assert!(source.before().seq > Seq::ZERO);
    let mut auditor = Auditor::new(source.before().seq, Some(key.verifier().clone()), Vec::new()).unwrap();
    while let Some(item) = source.next_item() {
        match item.unwrap() {
            Item::Record(record) => auditor.record(&record.hash),
            Item::Evidence(evidence) => auditor.evidence(&evidence),
        }
    }
    let report = auditor.finish();
    assert_eq!(report.findings, []);
    assert!(!report.signatures_checked);
    assert_eq!(report.sealed.unwrap().size, whole.len());
}

/// The file of the only snapshot, as the system numbers it.
fn snapshot_file(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries: Vec<_> = fs::read_dir(dir.join("snapshots")).unwrap().flatten().collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].metadata().unwrap().ino()
}

#[tokio::test]
async fn a_snapshot_that_was_found_is_written_again_before_records_go() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, 2).await;
    // The process that wrote it may have been stopped, or failed, before its name was on the disk.
    let journal = open_again(journal, dir.path());
    let found = snapshot_file(dir.path());
    assert_eq!(journal.trim(Seq(0), |_| true).unwrap().segments, 0);
    assert_eq!(snapshot_file(dir.path()), found, "nothing goes");
    let first = journal.segments()[0].last.seq;
    assert_eq!(journal.trim(first, |_| true).unwrap().segments, 1);
    let written = snapshot_file(dir.path());
    assert_ne!(written, found);
    assert_eq!(journal.trim(Seq(u64::MAX), |_| true).unwrap().segments, 1);
    assert_eq!(snapshot_file(dir.path()), written, "once is enough");
    let head = journal.head();
    let journal = open_again(journal, dir.path());
    assert_eq!((journal.head(), journal.found().snapshot), (head, Some(head.seq)));
}
