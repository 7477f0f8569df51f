//! Damaged segments: what is wrong is named with file and place, whether the journal is opened or only read; a
//! shorter history never passes for the whole; what was not acknowledged may be damaged; and nothing is changed in a
//! folder that is damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use purser_events::{CommandId, Record};
use purser_storage::offline::{Scanned, Source, SourceError};
use purser_storage::{
    Append, Journal, JournalConfig, JournalError, Replayed, SEGMENT_BYTES_MIN, StoredRecord,
};
use uuid::Uuid;

use crate::faulty_disk::FaultyDisk;
use crate::folders::{contents, copy};
use crate::memory_store::Memory;
use crate::support::*;

pub(crate) const COMMITS: u64 = 14;

const HEADER_LEN: usize = 72;
const TRAILER_LEN: usize = 16;
const RECORD: u8 = 1;
const ANSWER: u8 = 0xa0;
const CLOSED: u8 = 0xa2;
const FOOTER: u8 = 0xaf;

/// A commit of an answer, a short record and a long one.
pub(crate) fn commit(number: u64, text: &str) -> Append {
    let long = format!("{text} {number:03} {}", "x".repeat(30_000));
    let writes = vec![write(stream(1), number, &[text]), write(stream(2), number, &[&long])];
    Append { writes, origin: origin(), command: Some(command(u128::from(number) + 1, b"answer")) }
}

/// A journal's folder to be copied and damaged.
pub(crate) struct Original {
    pub(crate) dir: tempfile::TempDir,
    stores: Memory,
    pub(crate) records: Vec<Record>,
    /// Its segments in order.
    pub(crate) segments: Vec<PathBuf>,
}

impl Original {
    /// A journal that was closed in order, or one that a kill left.
    fn made(text: &str, closed: bool) -> Original {
        let (life, stores) = (tempfile::tempdir().unwrap(), Memory::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (journal, _) = open(&stores, life.path()).unwrap();
        let mut records = Vec::new();
        for number in 0..COMMITS {
            records.extend(runtime.block_on(journal.append(commit(number, text))).unwrap().records);
        }
        let killed = tempfile::tempdir().unwrap();
        copy(life.path(), killed.path());
        journal.close().unwrap();
        let dir = if closed { life } else { killed };
        let segments: Vec<PathBuf> = contents(&dir.path().join("segments")).into_keys().collect();
        assert_eq!(segments.len(), 3, "two are sealed and one is open");
        Original { dir, stores, records, segments }
    }

    fn both() -> [Original; 2] {
        [Original::made("ours", true), Original::made("ours", false)]
    }

    fn bytes(&self, segment: usize) -> Vec<u8> {
        fs::read(&self.segments[segment]).unwrap()
    }

    fn name(&self, segment: usize) -> &str {
        self.segments[segment].file_name().unwrap().to_str().unwrap()
    }

    /// A copy of the folder with one segment's bytes changed.
    fn with(&self, segment: usize, bytes: &[u8]) -> tempfile::TempDir {
        let dir = self.copied();
        fs::write(dir.path().join("segments").join(self.name(segment)), bytes).unwrap();
        dir
    }

    fn copied(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        copy(self.dir.path(), dir.path());
        dir
    }

    /// Sees that the damage in a folder is told by who opens it and who reads it, with its place and these words.
    #[track_caller]
    fn assert_told(&self, what: &str, dir: &Path, words: &[&str]) {
        let before = contents(&dir.join("segments"));
        let read = self.read(what, dir).expect_err(&format!("{what}: passed for the whole when read"));
        let opened = self.opened(what, dir).expect_err(&format!("{what}: passed for the whole when opened"));
        for told in [&read, &opened] {
            let places = [".seg`", ": the journal ends at record ", " breaks the chain", " is missing: "];
            assert!(places.iter().any(|place| told.contains(place)), "{what}: no place in: {told}");
            assert!(words.iter().all(|word| told.contains(word)), "{what}: {words:?} is not in: {told}");
        }
        assert!(before == contents(&dir.join("segments")), "{what}: the damaged folder was changed");
    }

    /// Sees that nothing is missing in a folder.
    #[track_caller]
    fn assert_whole(&self, what: &str, dir: &Path) {
        self.read(what, dir).unwrap_or_else(|told| panic!("{what}: {told}"));
        self.opened(what, dir).unwrap_or_else(|told| panic!("{what}: {told}"));
        self.read(what, dir).unwrap_or_else(|told| panic!("{what}, once opened: {told}"));
    }

    /// Reads a folder to its end, which must be this journal's, or says what is told.
    fn read(&self, what: &str, dir: &Path) -> Result<(), String> {
        let mut read = Vec::new();
        let result = Source::from_folder(dir).and_then(|source| {
            for stored in source {
                read.push(stored?.record().unwrap());
            }
            Ok::<(), SourceError>(())
        });
        assert!(self.records.starts_with(&read), "{what}: other records are shown");
        let result = result.map_err(|error| told(&error));
        // Read through on several threads, it is the same.
        let mut scanned = Vec::new();
        let result_of_scan = Source::from_folder(dir).and_then(|mut source| {
            source.read_through(&|stored: &StoredRecord| stored.record().ok(), |item| match item {
                Scanned::Record(_, record) => scanned.push(record.unwrap()),
                Scanned::Evidence(_) => {}
            })
        });
        assert!(scanned == read, "{what}: {} records are scanned, {} are read", scanned.len(), read.len());
        assert_eq!(result_of_scan.map_err(|error| told(&error)), result, "{what}");
        result?;
        assert_eq!(
            read.len(),
            self.records.len(),
            "{what}: a shorter history passed for the whole when read"
        );
        Ok(())
    }

    /// Opens a folder, which must hold all of this journal, or says what is told.
    fn opened(&self, what: &str, dir: &Path) -> Result<(), String> {
        let opened = open(&self.stores.repaired(), dir);
        let (journal, replayed) = opened.map_err(|error| {
            let is_typed = matches!(
                error,
                JournalError::Damaged { .. }
                    | JournalError::Trimmed { .. }
                    | JournalError::Newer { .. }
                    | JournalError::Folder(_)
            );
            assert!(is_typed, "{what}: {}", told(&error));
            told(&error)
        })?;
        assert!(replayed == self.records, "{what}: a shorter history passed for the whole when opened");
        for number in 0..COMMITS {
            let id = CommandId(Uuid::from_u128(u128::from(number) + 1));
            assert!(journal.answer(id).unwrap().is_some(), "{what}: answer {number} is lost");
        }
        Ok(())
    }
}

fn open(stores: &Memory, dir: &Path) -> Result<(Journal, Vec<Record>), JournalError> {
    let config = JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(dir) };
    let mut replayed = Vec::new();
    let replay = |found| match found {
        Replayed::Record(record) => replayed.push(record),
        Replayed::Unreadable { seq, reason, .. } => panic!("record {seq}: {reason}"),
    };
    let disk = std::sync::Arc::new(FaultyDisk::sound());
    let journal = Journal::open_on(disk, stores, config, || NOW, replay, |_| {})?;
    Ok((journal, replayed))
}

/// One entry of a segment.
#[derive(Debug, Clone, Copy)]
struct Span {
    kind: u8,
    start: usize,
    end: usize,
}

/// The entries of a segment, as the format tells them.
fn entries(bytes: &[u8]) -> Vec<Span> {
    let (mut spans, mut start) = (Vec::new(), HEADER_LEN);
    while let Some(prefix) = bytes.get(start..).and_then(|rest| rest.first_chunk::<4>()) {
        let len = usize::try_from(u32::from_le_bytes(*prefix)).unwrap();
        if len == 0 {
            break;
        }
        let (kind, end) = (bytes[start + 8], start + 8 + len);
        spans.push(Span { kind, start, end });
        if kind == FOOTER {
            break;
        }
        start = end;
    }
    spans
}

fn of_kind(bytes: &[u8], kind: u8) -> Vec<Span> {
    entries(bytes).into_iter().filter(|span| span.kind == kind).collect()
}

/// Where what was acknowledged ends in an open segment.
fn acknowledged_end(bytes: &[u8]) -> usize {
    of_kind(bytes, RECORD).last().unwrap().end
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_named() {
    let seed = Seed::chosen("PURSER_JOURNAL_SEED");
    let mut random = seed.random();
    for original in Original::both() {
        for segment in 0..2 {
            let whole = original.bytes(segment);
            let footer = of_kind(&whole, FOOTER)[0];
            let mut places: Vec<usize> = (0..HEADER_LEN).step_by(5).collect();
            places.extend((footer.start..whole.len()).step_by(7));
            places.extend(whole.len() - TRAILER_LEN..whole.len());
            places.extend((0..40).map(|_| random.index(whole.len())));
            places.extend(entries(&whole).iter().map(|span| span.start + random.index(9)));
            for place in places {
                let mut bytes = whole.clone();
                bytes[place] ^= 1 << random.index(8);
                let what = format!("byte {place} of {}", original.name(segment));
                original.assert_told(&what, original.with(segment, &bytes).path(), &[original.name(segment)]);
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_the_open_segment_is_named_if_it_was_acknowledged() {
    let seed = Seed::chosen("PURSER_JOURNAL_SEED");
    let mut random = seed.random();
    for original in Original::both() {
        let whole = original.bytes(2);
        let end = acknowledged_end(&whole);
        for number in 0..120 {
            let place = random.index(if number % 4 == 0 { HEADER_LEN } else { end });
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << random.index(8);
            let what = format!("byte {place} of {end} of the open segment");
            original.assert_told(&what, original.with(2, &bytes).path(), &[]);
        }
        // Its room that was not used, and the note that it was closed.
        let mut after: Vec<usize> = (end..end + 40).collect();
        after.extend((0..10).map(|_| end + random.index(whole.len() - end)));
        for place in after {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << random.index(8);
            let what = format!("byte {place}, {} after what was acknowledged", place - end);
            original.assert_whole(&what, original.with(2, &bytes).path());
        }
    }
}

#[test]
fn zeroed_pages_are_named() {
    let seed = Seed::chosen("PURSER_JOURNAL_SEED");
    let mut random = seed.random();
    for original in Original::both() {
        for (segment, page) in [(0, 512), (0, 4_096), (1, 4_096), (2, 512), (2, 4_096)] {
            let whole = original.bytes(segment);
            let end = if segment == 2 { acknowledged_end(&whole) } else { whole.len() };
            let pages = end.div_ceil(page);
            for page_number in [0, 1, pages - 1].into_iter().chain((0..12).map(|_| random.index(pages))) {
                let mut bytes = whole.clone();
                let start = page_number * page;
                let stop = bytes.len().min(start + page);
                bytes[start..stop].fill(0);
                let what = format!("page {page_number} of {page} bytes of segment {segment}");
                original.assert_told(&what, original.with(segment, &bytes).path(), &[]);
            }
        }
    }
}

#[test]
fn segments_that_were_cut_short_are_named() {
    for original in Original::both() {
        for segment in 0..3 {
            let whole = original.bytes(segment);
            let end = if segment == 2 { acknowledged_end(&whole) } else { whole.len() };
            let powers = (0..usize::BITS).map(|power| 1_usize << power).take_while(|len| *len < whole.len());
            let borders = entries(&whole).into_iter().flat_map(|span| [span.start, span.end - 1, span.end]);
            let lens: BTreeMap<usize, ()> =
                powers.chain(borders).chain([0, HEADER_LEN]).map(|len| (len, ())).collect();
            for len in lens.into_keys().filter(|len| *len < whole.len()) {
                let what = format!("segment {segment} cut to {len} of {end} bytes");
                let dir = original.with(segment, &whole[..len]);
                if len < end {
                    original.assert_told(&what, dir.path(), &[]);
                } else {
                    original.assert_whole(&what, dir.path());
                }
            }
        }
    }
}

#[test]
fn swapped_and_repeated_entries_are_named() {
    for original in Original::both() {
        for segment in 0..3 {
            for kind in [RECORD, ANSWER] {
                let whole = original.bytes(segment);
                let spans = of_kind(&whole, kind);
                // The short records, or the answers: all have the same length.
                let spans: Vec<Span> =
                    spans.into_iter().filter(|span| span.end - span.start < 1_000).collect();
                let [first, second, ..] = spans[..] else { panic!("{spans:?}") };
                let (one, other) = (first.start..first.end, second.start..second.end);
                let mut swapped = whole.clone();
                swapped[one.clone()].copy_from_slice(&whole[other.clone()]);
                swapped[other.clone()].copy_from_slice(&whole[one.clone()]);
                let mut repeated = whole.clone();
                repeated[other].copy_from_slice(&whole[one.clone()]);
                let mut inserted = whole.clone();
                inserted.splice(one.end..one.end, whole[one.clone()].iter().copied());
                let mut removed = whole.clone();
                removed.drain(one);
                for (how, bytes) in [
                    ("swapped", swapped),
                    ("repeated", repeated),
                    ("inserted", inserted),
                    ("removed", removed),
                ] {
                    // An answer that is gone as a whole leaves no gap in an open segment: nothing tells of it.
                    if (how, kind, segment) != ("removed", ANSWER, 2) {
                        let what = format!("entry of kind {kind} {how} in segment {segment}");
                        let dir = original.with(segment, &bytes);
                        original.assert_told(&what, dir.path(), &[original.name(segment)]);
                    }
                }
            }
        }
    }
}

#[test]
fn a_footer_in_the_midst_of_a_segment_is_named() {
    let original = Original::made("ours", true);
    for segment in 0..2 {
        let whole = original.bytes(segment);
        let footer = of_kind(&whole, FOOTER)[0];
        let record = of_kind(&whole, RECORD)[4];
        let mut bytes = whole.clone();
        bytes.copy_within(footer.start..footer.end, record.start);
        original.assert_told(
            "an early footer",
            original.with(segment, &bytes).path(),
            &[original.name(segment)],
        );
    }
}

#[test]
fn segments_that_are_swapped_repeated_or_missing_are_named() {
    for original in Original::both() {
        let [first, second, third] = [0, 1, 2].map(|segment| original.bytes(segment));
        let named = |segment: usize| [original.name(segment)];
        let swapped = original.with(0, &second);
        fs::write(swapped.path().join("segments").join(original.name(1)), &first).unwrap();
        original.assert_told("swapped", swapped.path(), &named(0));
        original.assert_told("repeated in the next", original.with(1, &first).path(), &named(1));
        original.assert_told("repeated in the last", original.with(2, &second).path(), &named(2));
        original.assert_told("the last in the first", original.with(0, &third).path(), &named(0));
        let extra = original.copied();
        let name = "00000000000000000029.seg";
        fs::write(extra.path().join("segments").join(name), &second).unwrap();
        original.assert_told("repeated after the last", extra.path(), &[name]);
        for (segment, words) in [(1, "is missing"), (2, "was acknowledged")] {
            let dir = original.copied();
            fs::remove_file(dir.path().join("segments").join(original.name(segment))).unwrap();
            original.assert_told(&format!("{segment} missing"), dir.path(), &[words, "record "]);
        }
        let dir = original.copied();
        fs::remove_file(dir.path().join("segments").join(original.name(0))).unwrap();
        let told = original.opened("the first missing", dir.path()).unwrap_err();
        assert!(told.contains("begins after record "), "{told}");
        // Who reads is shown the rest, and what it begins after.
        let source = Source::from_folder(dir.path()).unwrap();
        assert!(source.before().seq.0 > 0);
        let dir = original.copied();
        fs::remove_dir_all(dir.path().join("segments")).unwrap();
        fs::create_dir(dir.path().join("segments")).unwrap();
        original.assert_told("no segment", dir.path(), &["ends at record 0, but record 28"]);
    }
}

#[test]
fn segments_of_another_journal_are_named() {
    for (original, other) in Original::both().into_iter().zip([true, false]) {
        let other = Original::made("them", other);
        for segment in 0..3 {
            assert_eq!(original.name(segment), other.name(segment));
            let dir = original.with(segment, &other.bytes(segment));
            original.assert_told(&format!("foreign segment {segment}"), dir.path(), &[]);
        }
        // All of them: a sound journal, but not the one that was here.
        let dir = original.copied();
        for segment in 0..3 {
            fs::write(dir.path().join("segments").join(original.name(segment)), other.bytes(segment))
                .unwrap();
        }
        let told = match open(&original.stores.repaired(), dir.path()) {
            Err(error) => told(&error),
            Ok(_) => panic!("another journal passed for this one"),
        };
        assert!(told.contains("record 28 is not the one that was acknowledged"), "{told}");
        let last = Source::from_folder(dir.path()).unwrap().last().unwrap();
        assert!(matches!(last, Err(SourceError::Fault { .. })));
    }
}

#[test]
fn foreign_files_are_left_alone_or_named() {
    let original = Original::made("ours", true);
    for name in ["notes.txt", "29.seg", "00000000000000000029.seg.bak", "00000000000000000029.SEG", ".swp"] {
        let dir = original.copied();
        let path = dir.path().join("segments").join(name);
        fs::write(&path, "theirs").unwrap();
        original.assert_whole(name, dir.path());
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }
    let name = "00000000000000000029.seg";
    let mut torn_header = b"PURSERS\n".to_vec();
    torn_header.resize(200, 7);
    for theirs in [&b"theirs"[..], &[0xff; 300], b"SQLite format 3\0", &torn_header] {
        let dir = original.copied();
        fs::write(dir.path().join("segments").join(name), theirs).unwrap();
        original.assert_told("a foreign file", dir.path(), &[name]);
    }
    let dir = original.copied();
    fs::create_dir(dir.path().join("segments").join(name)).unwrap();
    original.assert_told("a folder", dir.path(), &["Is a directory", name]);
}

/// Only the last group may be torn: with something sound after it, it is damage.
#[test]
fn bytes_that_were_never_acknowledged_may_be_anything() {
    let seed = Seed::chosen("PURSER_JOURNAL_SEED");
    let mut random = seed.random();
    for original in Original::both() {
        let whole = original.bytes(2);
        let end = entries(&whole).last().unwrap().end;
        let record = of_kind(&whole, RECORD)[0];
        for number in 0..24 {
            let mut bytes = whole.clone();
            let len = 1 + random.index(3_000);
            match number % 3 {
                0 => bytes[end..end + len]
                    .iter_mut()
                    .for_each(|byte| *byte = 1 + u8::try_from(random.index(255)).unwrap()),
                // A part of something that was written once.
                1 => bytes.copy_within(record.start..record.end - 1 - random.index(40), end),
                _ => bytes[end + len] = 0xff,
            }
            original.assert_whole(&format!("tail {number}"), original.with(2, &bytes).path());
        }
        let closed = of_kind(&whole, CLOSED);
        for span in closed {
            let mut bytes = whole.clone();
            bytes[span.start..span.end].fill(0);
            original.assert_whole("no note of the close", original.with(2, &bytes).path());
        }
    }
}
