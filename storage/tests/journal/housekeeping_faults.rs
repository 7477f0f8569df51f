//! Every call to the disk fails once while sealed segments are compressed, archived and trimmed, and while snapshots
//! are written and read: the error names file and action, the journal goes on, nothing acknowledged is lost, the same
//! work done again succeeds, and then it is as if nothing had failed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::libc::{EIO, ENOSPC};
use purser_events::{Seq, StreamVersion};
use purser_storage::offline::Source;
use purser_storage::retention::{ArchiveError, SegmentInfo, copy_to_folder};
use purser_storage::{FolderError, Hash, Journal, JournalConfig, JournalError, SEGMENT_BYTES_MIN};
use tempfile::TempDir;

use crate::faulty_disk::{Call, FaultyDisk, Plan, Way};
use crate::folders::{contents, copy, scratch};
use crate::memory_store::Memory;
use crate::retention::{fill_until_sealed, read_all, reason};
use crate::support::*;

/// Every way in which a call must not simply be tried again.
const ERRORS: [Way; 2] = [Way::Error(EIO), Way::Error(ENOSPC)];

/// What may be asked of sealed segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// The third, from the beginning.
    Compress,
    /// The first: a stop came after the compressed one had its name.
    FinishCompressing,
    Archive,
    /// The first, of which there are two files, and the second.
    Trim,
}

/// What went wrong with it.
#[derive(Debug)]
enum Failure {
    Journal(JournalError),
    Archive(ArchiveError),
}

impl Failure {
    fn folder(&self) -> &FolderError {
        match self {
            Failure::Journal(JournalError::Folder(error)) | Failure::Archive(ArchiveError::Folder(error)) => {
                error
            }
            other => panic!("an error of another kind: {other:?}"),
        }
    }
}

impl Work {
    fn of(self, journal: &Journal, disk: &FaultyDisk, archive: &Path) -> Result<(), Failure> {
        let segments = journal.segments();
        match self {
            Work::Compress => compress(journal, segments.last()),
            Work::FinishCompressing => compress(journal, segments.first()),
            Work::Archive => segments.iter().take(2).try_for_each(|segment| {
                copy_to_folder(disk, &segment.path, archive).map_err(Failure::Archive)?;
                journal.note_archived(segment).map_err(Failure::Journal)
            }),
            Work::Trim => {
                let upto = segments.iter().rev().nth(1).map_or(Seq::ZERO, |segment| segment.last.seq);
                journal.trim(upto, |_| true).map(|_| ()).map_err(Failure::Journal)
            }
        }
    }

    /// The calls that it makes, all of them.
    fn calls(self) -> &'static [Call] {
        use Call as C;
        match self {
            Work::Compress => {
                &[C::Create, C::Open, C::Rename, C::Remove, C::SyncDir, C::Len, C::Read, C::Write, C::Sync]
            }
            Work::FinishCompressing => &[C::Open, C::Remove, C::SyncDir, C::Len, C::Read],
            Work::Archive => &[
                C::CreateDir,
                C::Create,
                C::Open,
                C::Rename,
                C::Remove,
                C::SyncDir,
                C::Len,
                C::Read,
                C::Write,
                C::Sync,
            ],
            Work::Trim => &[C::Open, C::Remove, C::SyncDir, C::Len, C::Read],
        }
    }
}

fn compress(journal: &Journal, segment: Option<&SegmentInfo>) -> Result<(), Failure> {
    let first = segment.map_or(Seq::ZERO, |segment| segment.first);
    journal.compress(first).map(|_| ()).map_err(Failure::Journal)
}

fn open(disk: &FaultyDisk, dir: &Path) -> Result<Journal, JournalError> {
    let config = JournalConfig {
        segment_bytes: SEGMENT_BYTES_MIN,
        snapshot_every: u64::MAX,
        ..JournalConfig::new(dir)
    };
    Versions::open_on(Arc::new(disk.clone()), &Memory::default(), config, NOW)
}

/// A closed journal with a snapshot at its end and three sealed segments: of the first there is a compressed file
/// beside the plain one, the second is compressed, the third is plain.
async fn template() -> TempDir {
    let dir = scratch();
    let journal = open(&FaultyDisk::sound(), dir.path()).unwrap();
    fill_until_sealed(&journal, 3).await;
    let segments = journal.segments();
    let plain = std::fs::read(&segments[0].path).unwrap();
    for segment in &segments[..2] {
        journal.compress(segment.first).unwrap();
    }
    journal.close().unwrap();
    std::fs::write(&segments[0].path, plain).unwrap();
    dir
}

/// What is there after it: the names and bytes of files that do not change any more, and what reads give.
#[derive(PartialEq, Eq)]
struct Outcome {
    files: BTreeMap<PathBuf, Vec<u8>>,
    segments: Vec<(Seq, bool, bool)>,
    records: Vec<Hash>,
    stream: Vec<Seq>,
    whole: Vec<Hash>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { files, segments, records, stream, whole } = self;
        let (names, counts) = (files.keys(), (records.len(), stream.len(), whole.len()));
        write!(f, "{:?}, segments {segments:?}, {counts:?} records read", names.collect::<Vec<_>>())
    }
}

/// Closes the journal and looks at what is there.
fn outcome(what: &str, journal: Journal, home: &Path) -> Outcome {
    let segments = journal.segments();
    let records = read_from(&journal);
    let stream = journal.read_stream(stream(1), StreamVersion(1), usize::MAX).unwrap();
    let open = format!("{:020}.seg", segments.last().unwrap().last.seq.next().0);
    let segments = segments.iter().map(|it| (it.first, it.compressed, it.archived)).collect();
    journal.close().unwrap();
    let (dir, archive) = (home.join("journal"), home.join("archive"));
    let own = [home.join("journal/segments"), archive.clone(), home.join("journal/archived")];
    let files = contents(home)
        .into_iter()
        .filter(|(path, _)| own.iter().any(|own| path.starts_with(own)) && !path.ends_with(&open))
        .map(|(path, bytes)| (path.strip_prefix(home).unwrap().to_owned(), bytes))
        .collect();
    let whole = if archive.exists() {
        Source::from_folder_and_archive(&dir, &archive).unwrap()
    } else {
        Source::from_folder(&dir).unwrap_or_else(|error| panic!("{what}: {}", told(&error)))
    };
    let whole = whole.map(|record| record.map(|record| record.hash));
    let whole = whole.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{what}: {}", told(&error)));
    Outcome { files, segments, records, stream: stream.iter().map(|it| it.header.seq).collect(), whole }
}

/// The hash of every record that is left.
fn read_from(journal: &Journal) -> Vec<Hash> {
    let (mut hashes, head) = (Vec::new(), journal.head().seq);
    let mut next = journal.before().seq.next();
    while next <= head {
        let records = journal.read(next, 1_000).unwrap();
        next = records.last().unwrap().header.seq.next();
        hashes.extend(records.iter().map(|record| record.hash));
    }
    hashes
}

/// A journal, and work to do on it that may be disturbed.
struct Faults {
    template: TempDir,
    work: Work,
    reference: Outcome,
    runtime: tokio::runtime::Runtime,
}

impl Faults {
    fn new(work: Work) -> Faults {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let template = runtime.block_on(template());
        let home = Faults::home(&template);
        let disk = FaultyDisk::sound();
        let journal = open(&disk, &home.path().join("journal")).unwrap();
        work.of(&journal, &disk, &home.path().join("archive")).unwrap();
        Faults::append(&runtime, &journal);
        let reference = outcome("without a fault", journal, home.path());
        Faults { template, work, reference, runtime }
    }

    fn home(template: &TempDir) -> TempDir {
        let home = scratch();
        copy(template.path(), &home.path().join("journal"));
        home
    }

    fn append(runtime: &tokio::runtime::Runtime, journal: &Journal) {
        runtime.block_on(journal.append(append(stream(7), 0, &["the journal goes on"]))).unwrap();
    }

    /// Lets one call fail, then has the work done again, by the same journal or after a start; gives whether a call
    /// failed.
    fn one(&self, plan: Plan, starts: bool) -> bool {
        let what = format!("{:?}, {plan:?}, {}", self.work, if starts { "after a start" } else { "at once" });
        let home = Faults::home(&self.template);
        let (dir, archive) = (home.path().join("journal"), home.path().join("archive"));
        let disk = FaultyDisk::sound();
        let mut journal = open(&disk, &dir).unwrap();
        disk.arm(Some(plan), home.path());
        let done = self.work.of(&journal, &disk, &archive);
        let failed = disk.failed();
        match (&done, &failed) {
            (Ok(()), None) => {}
            // A compressed segment's header lies in its front too, and need not be read from its first block.
            (Ok(()), Some(path)) => {
                let may = plan.call == Call::Read && path.extension().is_some_and(|it| it != "seg");
                assert!(plan.way.is_allowed() || may, "{what}: the failure went unnoticed");
            }
            (Err(error), None) => panic!("{what}: {error:?}"),
            (Err(error), Some(path)) => {
                assert!(!plan.way.is_allowed(), "{what}: {error:?}");
                assert_named(&what, error.folder(), path, plan);
                assert_eq!(disk.changes_after(), [], "{what}: the disk was not left alone");
            }
        }
        disk.arm(None, home.path());
        Faults::append(&self.runtime, &journal);
        if starts {
            journal.close().unwrap();
            journal = open(&disk, &dir).unwrap_or_else(|error| panic!("{what}: {}", told(&error)));
        }
        self.work.of(&journal, &disk, &archive).unwrap_or_else(|error| panic!("{what}: again: {error:?}"));
        for folder in [dir.join("archived"), archive] {
            assert_eq!(disk.unsynced(&folder), [] as [PathBuf; 0], "{what}: a loss of power would undo it");
        }
        // The open segment is synced as it is written; what else is there must be.
        assert_eq!(disk.unsynced(&dir.join("segments")), [] as [PathBuf; 0], "{what}");
        let found = outcome(&what, journal, home.path());
        assert_eq!(found.whole.len(), self.reference.whole.len(), "{what}: records are missing");
        assert_eq!(found, self.reference, "{what}");
        failed.is_some()
    }

    /// Lets the n-th call of a kind fail for n = 1, 2, 3 … until nothing fails.
    fn every(&self, call: Call, ways: &[Way]) {
        for &way in ways {
            let is_change = !matches!(call, Call::Open | Call::Len | Call::Read);
            let one = |number: &u64| {
                let plan = Plan { call, number: *number, way };
                let starts = number.is_multiple_of(2);
                let fails = self.one(plan, starts);
                // What is only looked at leaves the same behind either way.
                if fails && is_change {
                    self.one(plan, !starts);
                }
                fails
            };
            let failed = (1..).take_while(one).count();
            eprintln!("{:?}: {call:?}, {way:?}: {failed} faults", self.work);
            assert!(failed > 0, "{call:?} is never called");
        }
    }

    fn every_call(work: Work) {
        let faults = Faults::new(work);
        for &call in work.calls() {
            faults.every(call, &ERRORS);
            if call == Call::Write {
                faults.every(call, &[Way::Torn(ENOSPC), Way::NoBytes]);
            }
            if matches!(call, Call::Write | Call::Read) {
                faults.every(call, &[Way::Half, Way::Interrupted]);
            }
        }
    }
}

/// Sees that an error says which file or folder it is about, and what the system said.
fn assert_named(what: &str, error: &FolderError, path: &Path, plan: Plan) {
    let FolderError::Io { action, path: named, source } = error else { panic!("{what}: {}", told(error)) };
    assert!(!action.is_empty(), "{what}");
    // What is made of a segment, or stands in for it, has its name and more.
    let stem = |path: &Path| path.file_name().unwrap().to_string_lossy().chars().take(8).collect::<String>();
    // A snapshot is written again under a name of its own first.
    let again = path.ends_with("snapshots/again") && named.parent() == path.parent();
    let same = named == path || named.parent() == Some(path) || stem(named) == stem(path) || again;
    assert!(same, "{what}: {} named for {}", named.display(), path.display());
    match plan.way {
        Way::Error(errno) | Way::Torn(errno) => assert_eq!(source.raw_os_error(), Some(errno), "{what}"),
        Way::NoBytes => assert_eq!(source.kind(), std::io::ErrorKind::WriteZero, "{what}"),
        Way::Half | Way::Interrupted => {}
    }
}

#[test]
fn a_fault_while_a_segment_is_compressed() {
    Faults::every_call(Work::Compress);
}

#[test]
fn a_fault_while_a_compression_that_was_cut_short_is_finished() {
    Faults::every_call(Work::FinishCompressing);
}

#[test]
fn a_fault_while_segments_are_archived() {
    Faults::every_call(Work::Archive);
}

#[test]
fn a_fault_while_segments_are_trimmed() {
    Faults::every_call(Work::Trim);
}

/// Three lives of a journal that each end with a snapshot, in one of which a call for snapshots may fail.
fn one_snapshot_fault(plan: Plan, life: u64) -> bool {
    let what = format!("life {life}, {plan:?}");
    let dir = scratch();
    let (disk, folder) = (FaultyDisk::sound(), dir.path().join("snapshots"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut failed = false;
    for number in 0..4 {
        if number == life {
            disk.arm(Some(plan), &folder);
        }
        let journal = open(&disk, dir.path()).unwrap_or_else(|error| panic!("{what}: {}", told(&error)));
        assert_eq!(read_all(&journal).len() as u64, number, "{what}");
        runtime.block_on(journal.append(append(stream(1), number, &[&reason(number)]))).unwrap();
        // A snapshot that is not written is no failure of the journal.
        journal.close().unwrap_or_else(|error| panic!("{what}: {}", told(&error)));
        failed |= disk.failed().is_some();
        disk.arm(None, &folder);
    }
    let journal = open(&disk, dir.path()).unwrap();
    assert_eq!(journal.found().snapshot, Some(Seq(4)), "{what}");
    assert_eq!(read_all(&journal).len(), 4, "{what}");
    assert_eq!(disk.unsynced(&folder).into_iter().filter(|path| path.is_file()).count(), 0, "{what}");
    let mut left: Vec<String> =
        contents(&folder).keys().map(|path| path.file_name().unwrap().to_string_lossy().into()).collect();
    left.sort();
    assert_eq!(left.len(), 2, "{what}: {left:?}");
    assert_eq!(left[1], format!("{:020}.snap", 4), "{what}");
    failed
}

#[test]
fn a_fault_while_snapshots_are_written_and_read() {
    use Call as C;
    let calls = [C::CreateDir, C::Names, C::Create, C::Open, C::Rename, C::Remove, C::SyncDir, C::Len];
    for call in calls.into_iter().chain([C::Read, C::Write, C::Sync]) {
        let ways: &[Way] = match call {
            C::Write => &[Way::Error(EIO), Way::Error(ENOSPC), Way::Torn(ENOSPC), Way::NoBytes, Way::Half],
            C::Read => &[Way::Error(EIO), Way::Half, Way::Interrupted],
            _ => &ERRORS,
        };
        let mut failed = 0;
        for &way in ways {
            for life in 0..3 {
                failed +=
                    (1..).take_while(|&number| one_snapshot_fault(Plan { call, number, way }, life)).count();
            }
        }
        eprintln!("snapshots: {call:?}: {failed} faults");
        assert!(failed > 0, "{call:?} is never called");
    }
}
