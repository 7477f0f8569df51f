//! Sealed segments on real folders: compressed, archived, trimmed, and read from wherever they are.

use std::fs;
use std::path::{Path, PathBuf};

use purser_events::{Seq, StreamVersion};
use purser_storage::disk::SystemDisk;
use purser_storage::offline::{Scanned, Source, SourceError, SourceFailure};
use purser_storage::retention::{ArchiveError, SegmentInfo, copy_to_folder};
use purser_storage::{Fault, Journal, JournalConfig, JournalError, SEGMENT_BYTES_MIN, StoredRecord};

use crate::folders::copy;
use crate::support::*;

/// Bytes of a reason: a few hundred records fill a segment.
const REASON_LEN: usize = 1_000;

/// With a snapshot at every close, and none in between.
pub(crate) fn open_small(dir: &Path) -> Journal {
    let config = JournalConfig {
        segment_bytes: SEGMENT_BYTES_MIN,
        snapshot_every: u64::MAX,
        ..JournalConfig::new(dir)
    };
    Versions::open(config, NOW).unwrap()
}

/// Closed and opened again, the journal has a snapshot of its last record.
pub(crate) fn open_again(journal: Journal, dir: &Path) -> Journal {
    let head = journal.head();
    journal.close().unwrap();
    let journal = open_small(dir);
    assert_eq!(journal.snapshots().last(), Some(&head));
    journal
}

pub(crate) fn reason(number: u64) -> String {
    let word = format!("{number:08x} {:016x} ", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word.repeat(REASON_LEN / word.len())
}

/// Appends one record at a time to three streams in turn until there are that many sealed segments.
pub(crate) async fn fill_until_sealed(journal: &Journal, count: usize) {
    let mut number = journal.head().seq.0;
    while journal.segments().len() < count {
        let (id, version) = (number % 3 + 1, number / 3);
        journal.append(append(stream(u128::from(id)), version, &[&reason(number)])).await.unwrap();
        number += 1;
    }
}

pub(crate) fn read_all(journal: &Journal) -> Vec<StoredRecord> {
    let (mut records, head) = (Vec::<StoredRecord>::new(), journal.head().seq);
    let mut next = Seq(1);
    while next <= head {
        records.extend(journal.read(next, 1_000).unwrap());
        next = records.last().unwrap().header.seq.next();
    }
    records
}

pub(crate) fn compress_all(journal: &Journal) {
    for segment in journal.segments() {
        journal.compress(segment.first).unwrap();
    }
}

pub(crate) fn offline(dir: &Path) -> Result<Vec<StoredRecord>, SourceError> {
    let mut scanned = Vec::new();
    let scan = Source::from_folder(dir).unwrap().read_through(&StoredRecord::clone, |item| match item {
        Scanned::Record(_, record) => scanned.push(record),
        Scanned::Evidence(_) => {}
    });
    let read = Source::from_folder(dir).unwrap().collect::<Result<Vec<_>, _>>();
    // Read through on several threads, it is the same.
    match (scan, &read) {
        (Ok(()), Ok(read)) => assert!(scanned == *read),
        (Err(scan), Err(read)) => assert_eq!(scan.to_string(), read.to_string()),
        (scan, read) => panic!("{scan:?}, and {:?}", read.as_ref().err()),
    }
    read
}

pub(crate) fn segment_files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir.join("segments")).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn plain_of(segment: &SegmentInfo) -> PathBuf {
    segment.path.with_file_name(format!("{:020}.seg", segment.first.0))
}

#[tokio::test]
async fn compressed_segments_read_as_the_plain_ones() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    let mut seals = journal.seals();
    fill_until_sealed(&journal, 3).await;
    assert!(seals.has_changed().unwrap());
    let plain = journal.segments();
    assert_eq!(*seals.borrow_and_update(), plain[2].last.seq);
    let records = read_all(&journal);
    compress_all(&journal);
    let compressed = journal.segments();
    for (before, after) in plain.iter().zip(&compressed) {
        assert!(after.compressed && !before.compressed);
        assert!(after.bytes < before.bytes, "{} bytes became {}", before.bytes, after.bytes);
        assert_eq!(after.bytes, fs::metadata(&after.path).unwrap().len());
        assert!(!before.path.exists());
        let same = |info: &SegmentInfo| (info.first, info.last, info.content, info.last_time);
        assert_eq!(same(before), same(after));
        assert_eq!(journal.compress(after.first).unwrap(), None);
    }
    assert_eq!(read_all(&journal), records);
    assert_eq!(journal.read(Seq(100), 1).unwrap(), records[99..100]);
    let versions: Vec<StreamVersion> = journal
        .read_stream(stream(1), StreamVersion(3), 2)
        .unwrap()
        .iter()
        .map(|it| it.header.version)
        .collect();
    assert_eq!(versions, [StreamVersion(3), StreamVersion(4)]);
    journal.close().unwrap();
    assert_eq!(offline(dir.path()).unwrap(), records);
    let journal = open_small(dir.path());
    assert_eq!(read_all(&journal), records);
    assert_eq!(journal.segments(), compressed);
    journal.close().unwrap();
    // A store that is made again takes its records from them as well.
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    assert_eq!(read_all(&open_small(dir.path())), records);
}

#[tokio::test]
async fn a_compression_that_was_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, 2).await;
    let records = read_all(&journal);
    let segment = journal.segments().remove(0);
    let plain = fs::read(&segment.path).unwrap();
    journal.compress(segment.first).unwrap();
    let compressed = journal.segments().remove(0).path;
    let whole = fs::read(&compressed).unwrap();
    journal.close().unwrap();
    let new = PathBuf::from(format!("{}.new", compressed.display()));
    // What lies there after a stop while it was written, after it had its name, and with a file that went bad.
    let mut bad = whole.clone();
    bad[5_000] ^= 1;
    for (named, unfinished) in [(None, Some(&whole[..900])), (Some(&whole), None), (Some(&bad), None)] {
        fs::write(plain_of(&segment), &plain).unwrap();
        let _ = fs::remove_file(&compressed);
        if let Some(bytes) = named {
            fs::write(&compressed, bytes).unwrap();
        }
        if let Some(bytes) = unfinished {
            fs::write(&new, bytes).unwrap();
        }
        assert_eq!(offline(dir.path()).unwrap(), records);
        let journal = open_small(dir.path());
        assert!(!new.exists(), "what was never finished is removed");
        assert_eq!(read_all(&journal), records);
        assert!(!journal.segments()[0].compressed);
        assert_eq!(journal.compress(segment.first).unwrap(), Some(whole.len() as u64));
        assert_eq!(fs::read(&compressed).unwrap(), whole);
        assert!(!plain_of(&segment).exists());
        assert_eq!(read_all(&journal), records);
        journal.close().unwrap();
    }
}

#[tokio::test]
async fn damage_is_named_and_neither_compressed_nor_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, 3).await;
    let journal = open_again(journal, dir.path());
    let [first, second, _] = &journal.segments()[..] else { panic!() };
    let mut bytes = fs::read(&second.path).unwrap();
    let sound = bytes.clone();
    bytes[100_000] ^= 1;
    fs::write(&second.path, &bytes).unwrap();
    let named = |error| match error {
        JournalError::Segment { source: Fault::InSegment { file, .. } } => file,
        other => panic!("{other}"),
    };
    let name = second.path.file_name().unwrap().to_str().unwrap();
    assert_eq!(named(journal.compress(second.first).unwrap_err()), name);
    assert_eq!(fs::read(&second.path).unwrap(), bytes);
    assert_eq!(named(journal.trim(second.last.seq, |_| true).unwrap_err()), name);
    assert!(!first.path.exists() && second.path.exists());
    fs::write(&second.path, &sound).unwrap();
    // So is damage to a compressed one, with the last record that can be trusted.
    journal.compress(second.first).unwrap();
    let compressed = journal.segments()[0].path.clone();
    journal.close().unwrap();
    let whole = fs::read(&compressed).unwrap();
    let mut flipped = whole.clone();
    flipped[2_000] ^= 1;
    for bytes in [&flipped[..], &whole[..whole.len() / 2], b"PURSERZ"] {
        fs::write(&compressed, bytes).unwrap();
        let error = offline_error(dir.path());
        assert_eq!(error.failure(), SourceFailure::Integrity);
        assert!(told(&error).contains(compressed.file_name().unwrap().to_str().unwrap()), "{}", told(&error));
    }
}

fn offline_error(dir: &Path) -> SourceError {
    match Source::from_folder(dir) {
        Err(error) => error,
        Ok(source) => source.last().unwrap().unwrap_err(),
    }
}

#[tokio::test]
async fn what_was_trimmed_and_what_is_left_are_the_whole() {
    let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, 3).await;
    let records = read_all(&journal);
    compress_all(&journal);
    for segment in journal.segments() {
        assert!(!segment.archived);
        copy_to_folder(&SystemDisk, &segment.path, archive.path()).unwrap();
        // Again, as after a stop in between.
        copy_to_folder(&SystemDisk, &segment.path, archive.path()).unwrap();
        journal.note_archived(&segment).unwrap();
    }
    assert!(journal.segments().iter().all(|segment| segment.archived));
    let journal = open_again(journal, dir.path());
    let before = journal.trim(journal.segments()[1].last.seq, |_| true).unwrap().before;
    assert!(journal.segments()[0].archived);
    journal.close().unwrap();
    let source = Source::from_folder(dir.path()).unwrap();
    assert_eq!(source.before(), before);
    let left = usize::try_from(before.seq.0).unwrap();
    assert_eq!(source.collect::<Result<Vec<_>, _>>().unwrap(), records[left..]);
    let both = Source::from_folder_and_archive(dir.path(), archive.path()).unwrap();
    assert_eq!(both.collect::<Result<Vec<_>, _>>().unwrap(), records);
    // Put back, they are the journal again.
    copy(archive.path(), &dir.path().join("segments"));
    assert_eq!(offline(dir.path()).unwrap(), records);
    let journal = open_small(dir.path());
    assert_eq!(read_all(&journal), records);
    let version =
        StreamVersion(journal.read_stream(stream(1), StreamVersion(1), 5_000).unwrap().len() as u64);
    journal.append(append(stream(1), version.0, &["goes on"])).await.unwrap();
}

#[tokio::test]
async fn an_archive_with_another_file_in_the_way_is_left_alone() {
    let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, 1).await;
    let segment = journal.segments().remove(0);
    let other = archive.path().join(segment.path.file_name().unwrap());
    fs::write(&other, "another node's").unwrap();
    let error = copy_to_folder(&SystemDisk, &segment.path, archive.path()).unwrap_err();
    assert!(matches!(error, ArchiveError::Occupied { .. }), "{error}");
    assert_eq!(fs::read(&other).unwrap(), b"another node's");
}

#[tokio::test]
async fn a_list_of_archived_segments_that_was_torn_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_small(dir.path());
    fill_until_sealed(&journal, 1).await;
    journal.note_archived(&journal.segments()[0]).unwrap();
    journal.close().unwrap();
    let path = dir.path().join("archived");
    let text = fs::read_to_string(&path).unwrap();
    for (torn, archived) in [(text.as_str(), true), ("", false), (&text[..40], false), ("1 é\n", false)] {
        fs::write(&path, torn).unwrap();
        let journal = open_small(dir.path());
        assert_eq!(journal.segments()[0].archived, archived, "{torn:?}");
        journal.close().unwrap();
    }
}
