//! Every call to the disk and to the store fails once: the error names file and action, the journal is fenced and
//! touches nothing more, what was acknowledged is there afterwards, and of what was not there is no half.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nix::libc::{EIO, ENOSPC};
use purser_events::{CommandId, Record, Seq};
use purser_storage::offline::Source;
use purser_storage::store::Stores;
use purser_storage::{
    Append, AppendError, FolderError, Journal, JournalConfig, JournalError, Replayed, SEGMENT_BYTES_MIN,
    StoreError,
};
use uuid::Uuid;

use crate::faulty_disk::{Call, FaultyDisk, Plan, Way};
use crate::folders::{copy, scratch};
use crate::memory_store::{Memory, StoreCall, StorePlan};
use crate::support::*;

/// Commits of one life: enough for two segments to be sealed.
const COMMITS: u64 = 14;
/// Records of a commit, in two streams.
const EACH: u64 = 2;

/// The commit with this number, from 0: a short record and a long one, so that a write torn in its middle has the
/// first of them whole.
fn commit(number: u64) -> Append {
    let long = format!("{number} {}", "x".repeat(30_000));
    let writes = vec![write(stream(1), number, &["short"]), write(stream(2), number, &[&long])];
    Append { writes, origin: origin(), command: Some(command(u128::from(number) + 1, b"answer")) }
}

fn open_on(
    disk: &FaultyDisk,
    stores: &dyn Stores,
    dir: &Path,
    replayed: &mut Vec<Record>,
) -> Result<Journal, JournalError> {
    // What the store has does not hang on how fast the machine is.
    let store_behind_ms = 3_600_000;
    let config =
        JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, store_behind_ms, ..JournalConfig::new(dir) };
    let replay = |found| match found {
        Replayed::Record(record) => replayed.push(record),
        Replayed::Unreadable { seq, reason, .. } => panic!("record {seq}: {reason}"),
    };
    Journal::open_on(Arc::new(disk.clone()), stores, config, || NOW, replay, |_| {})
}

/// What came of a life that may have failed.
struct Life {
    /// Commits that were there at its start and those that were acknowledged.
    acknowledged: u64,
    /// One more than `acknowledged` if a commit's fate is unknown.
    attempted: u64,
    error: Option<JournalError>,
}

/// Opens a journal, appends up to so many commits, and closes it.
fn live(disk: &FaultyDisk, stores: &dyn Stores, dir: &Path, before: u64) -> Life {
    let mut replayed = Vec::new();
    let journal = match open_on(disk, stores, dir, &mut replayed) {
        Ok(journal) => journal,
        Err(error) => return Life { acknowledged: before, attempted: before, error: Some(error) },
    };
    let mut acknowledged = replayed.len() as u64 / EACH;
    assert!(acknowledged >= before, "{acknowledged} of {before} commits are there");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut attempted = acknowledged;
    let first = acknowledged;
    for number in first..COMMITS {
        attempted = number + 1;
        match runtime.block_on(journal.append(commit(number))) {
            Ok(appended) => {
                assert_eq!(appended.records.len() as u64, EACH);
                acknowledged += 1;
                assert_eq!(journal.head().seq, Seq(acknowledged * EACH));
            }
            Err(error) => {
                assert_eq!(error, AppendError::Fenced);
                assert_eq!(journal.head().seq, Seq(acknowledged * EACH), "shown but not durable");
                // It stays so, and says why.
                let again = runtime.block_on(journal.append(commit(number)));
                assert_eq!(again.unwrap_err(), AppendError::Fenced);
                assert!(journal.fatal().borrow().is_some());
                break;
            }
        }
    }
    Life { acknowledged, attempted, error: journal.close().err() }
}

/// Sees that a folder and a store hold all that was acknowledged and no half of anything, and that life goes on.
fn assert_whole(what: &str, stores: &Memory, dir: &Path, life: &Life) {
    if life.acknowledged > 0 {
        let read = Source::from_folder(dir).unwrap_or_else(|error| panic!("{what}: {}", told(&error)));
        let read = read.map(|record| record.map(|_| ())).collect::<Result<Vec<()>, _>>();
        let read = read.unwrap_or_else(|error| panic!("{what}: {}", told(&error))).len() as u64;
        assert_commits(&format!("{what}, read by itself"), read, life);
    }
    let mut replayed = Vec::new();
    let journal = open_on(&FaultyDisk::sound(), stores, dir, &mut replayed)
        .unwrap_or_else(|error| panic!("{what}: the next start fails: {}", told(&error)));
    let there = assert_commits(what, replayed.len() as u64, life);
    for number in 0..COMMITS {
        let answer = journal.answer(CommandId(Uuid::from_u128(u128::from(number) + 1))).unwrap();
        assert_eq!(answer.is_some(), number < there, "{what}: the answer of commit {number}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in 0..COMMITS {
        let appended = runtime.block_on(journal.append(commit(number))).unwrap();
        assert_eq!(appended.duplicate.is_some(), number < there, "{what}: commit {number}");
    }
    let mut read: Vec<Record> = Vec::new();
    while read.len() as u64 != COMMITS * EACH {
        let next = Seq(read.len() as u64 + 1);
        read.extend(journal.read(next, 100).unwrap().iter().map(|stored| stored.record().unwrap()));
    }
    assert_eq!(read[..replayed.len()], replayed, "{what}");
    for (number, record) in (0..).zip(&read) {
        let Append { writes, .. } = commit(number / EACH);
        let of = usize::try_from(number % EACH).unwrap();
        assert_eq!(
            (record.header.stream, &record.event),
            (writes[of].stream, &writes[of].events[0]),
            "{what}"
        );
    }
    journal.close().unwrap();
    let read_again: Vec<Record> =
        Source::from_folder(dir).unwrap().map(|stored| stored.unwrap().record().unwrap()).collect();
    assert_eq!(read_again, read, "{what}");
}

/// Sees that so many records are whole commits, as many as must be there; gives their number.
fn assert_commits(what: &str, records: u64, life: &Life) -> u64 {
    assert!(records.is_multiple_of(EACH), "{what}: half a commit is there, of {records} records");
    let there = records / EACH;
    let possible = life.acknowledged..=life.attempted;
    assert!(possible.contains(&there), "{what}: {there} commits of {possible:?} are there");
    there
}

fn io_error_of(error: &JournalError) -> &FolderError {
    match error {
        JournalError::Folder(error) => error,
        JournalError::Failed(error) => io_error_of(error),
        error => panic!("an error of another kind: {}", told(error)),
    }
}

fn store_error_of(error: &JournalError) -> &StoreError {
    match error {
        JournalError::Store(error) => error,
        JournalError::Failed(error) => store_error_of(error),
        error => panic!("an error of another kind: {}", told(error)),
    }
}

/// Lets a life begin in a copy of `template` and one call of its disk fail. Gives whether it came to that.
fn one_disk_fault(template: &Template, plan: Plan) -> bool {
    let what = format!("{}, {plan:?}", template.name);
    let dir = scratch();
    copy(template.dir.path(), dir.path());
    let (disk, stores) = (FaultyDisk::new(Some(plan)), template.stores.repaired());
    let life = live(&disk, &stores, dir.path(), template.commits);
    let failed = disk.failed();
    match (&life.error, &failed) {
        (None, None) => assert_eq!(life.acknowledged, COMMITS, "{what}"),
        (None, Some(path)) => assert!(is_coped_with(plan, path), "{what}: the failure went unnoticed"),
        (Some(error), None) => panic!("{what}: {}", told(error)),
        (Some(error), Some(path)) => {
            assert!(!is_coped_with(plan, path), "{what}: {}", told(error));
            let FolderError::Io { action, path: named, source } = io_error_of(error) else {
                panic!("{what}: {}", told(error));
            };
            assert!(!action.is_empty() && told(error).contains(&format!("`{}`", named.display())), "{what}");
            // The making of a segment is one action, the last step of which is a sync of the folder.
            let is_named = named == path || plan.call == Call::SyncDir && named.parent() == Some(path);
            assert!(is_named, "{what}: {} named for {}", named.display(), path.display());
            match plan.way {
                Way::Error(errno) | Way::Torn(errno) => assert_eq!(source.raw_os_error(), Some(errno)),
                Way::NoBytes => assert_eq!(source.kind(), std::io::ErrorKind::WriteZero),
                Way::Half | Way::Interrupted => {}
            }
            // No sync again above all: the kernel may have dropped what it could not write.
            assert_eq!(disk.changes_after(), [], "{what}: the disk was not left alone");
        }
    }
    assert_whole(&what, &stores.repaired(), dir.path(), &life);
    // The store may be lost on top of it.
    assert_whole(
        &format!("{what}, without the store"),
        &Memory::default(),
        dir.path(),
        &Life { acknowledged: COMMITS, attempted: COMMITS, error: None },
    );
    failed.is_some()
}

/// Whether the journal goes on over a failure: where there is no room for what it takes ahead, it takes less.
fn is_coped_with(plan: Plan, path: &Path) -> bool {
    let no_room = Way::Error(ENOSPC);
    let is_segment = path.extension().is_some_and(|extension| extension == "seg");
    let takes_room = is_segment && matches!(plan.call, Call::Create | Call::Allocate);
    plan.way.is_allowed() || takes_room && plan.way == no_room
}

/// A folder to begin with.
struct Template {
    name: &'static str,
    dir: tempfile::TempDir,
    stores: Memory,
    /// Commits in it.
    commits: u64,
}

/// A folder that is new, one that a kill left with a torn end, others where the making of a segment was cut short
/// before and within its header, and one closed.
fn templates() -> [Template; 5] {
    let new = || scratch();
    let template = |name, dir, stores, commits| Template { name, dir, stores, commits };
    let closed = new();
    let stores = Memory::default();
    let life = live(&FaultyDisk::sound(), &stores, closed.path(), 0);
    assert_eq!((life.acknowledged, life.error.is_none()), (COMMITS, true));
    let at_the = |call, number, way| {
        let (dir, stores) = (new(), Memory::default());
        let life = live(&FaultyDisk::new(Some(Plan { call, number, way })), &stores, dir.path(), 0);
        assert!(life.error.is_some(), "no fault at {call:?} {number}");
        (dir, stores, life.acknowledged)
    };
    let first = |is_it: &dyn Fn(&Path, u64) -> bool| {
        (1..).find(|number| {
            let (dir, _, commits) = at_the(Call::Write, *number, Way::Torn(EIO));
            is_it(dir.path(), commits)
        })
    };
    let segments = |dir: &Path| fs::read_dir(dir.join("segments")).map_or(0, Iterator::count);
    // Of the writes for a commit, the last but one is its own: zeros for what comes are before it, the head is after it.
    let own = first(&|_, commits| commits == 5).unwrap() - 2;
    let (torn, torn_stores, torn_commits) = at_the(Call::Write, own, Way::Torn(EIO));
    // The first to a segment is its header.
    let header = first(&|dir, _| segments(dir) == 2).unwrap();
    let (headless, headless_stores, headless_commits) = at_the(Call::Write, header, Way::Torn(EIO));
    assert_eq!((torn_commits, headless_commits), (4, 6));
    let (unmade, unmade_stores, unmade_commits) = at_the(Call::Allocate, 2, Way::Error(EIO));
    [
        template("new", new(), Memory::default(), 0),
        template("torn", torn, torn_stores.repaired(), torn_commits),
        template("headless", headless, headless_stores.repaired(), headless_commits),
        template("unmade", unmade, unmade_stores.repaired(), unmade_commits),
        template("closed", closed, stores.repaired(), COMMITS),
    ]
}

/// Lets the n-th call of a kind fail for n = 1, 2, 3 … until nothing fails; gives how many did.
fn every_disk_fault(call: Call, ways: &[Way]) -> u64 {
    let mut failed = 0;
    for template in templates() {
        for &way in ways {
            let mut number = 1;
            while one_disk_fault(&template, Plan { call, number, way }) {
                number += 1;
            }
            failed += number - 1;
        }
    }
    failed
}

fn every_error(calls: &[Call]) {
    for &call in calls {
        let failed = every_disk_fault(call, &[Way::Error(EIO), Way::Error(ENOSPC)]);
        eprintln!("{call:?}: {failed} faults");
        assert!(failed > 0, "{call:?} is never called");
    }
}

#[test]
fn an_error_while_files_and_folders_are_made_or_listed() {
    every_error(&[Call::CreateDir, Call::Names, Call::Create, Call::Remove, Call::SyncDir]);
}

#[test]
fn an_error_while_room_is_held_or_cut() {
    every_error(&[Call::Allocate, Call::SetLen]);
}

#[test]
fn an_error_while_files_are_opened_measured_or_read() {
    every_error(&[Call::Open, Call::Len, Call::Read]);
}

#[test]
fn an_error_of_a_sync() {
    every_error(&[Call::Sync]);
}

#[test]
fn an_error_of_a_write() {
    every_error(&[Call::Write]);
}

#[test]
fn a_write_that_is_torn_or_takes_nothing() {
    assert!(every_disk_fault(Call::Write, &[Way::Torn(ENOSPC), Way::NoBytes]) > 0);
}

#[test]
fn what_a_disk_may_do_is_no_fault() {
    for call in [Call::Write, Call::Read] {
        assert!(every_disk_fault(call, &[Way::Half, Way::Interrupted]) > 0);
    }
}

/// Lets one call of the store fail. Gives whether it came to that.
fn one_store_fault(template: &Template, plan: StorePlan) -> bool {
    let what = format!("{}, {plan:?}", template.name);
    let dir = scratch();
    copy(template.dir.path(), dir.path());
    let stores = template.stores.repaired().with(plan);
    let disk = FaultyDisk::sound();
    let life = live(&disk, &stores, dir.path(), template.commits);
    match (&life.error, stores.failed()) {
        (None, false) => assert_eq!(life.acknowledged, COMMITS, "{what}"),
        // A store that cannot be read at the start is made again, and all is well.
        (None, true) => {
            assert!(matches!(plan.call, StoreCall::Get | StoreCall::Scan | StoreCall::LastKey), "{what}");
            assert!(stores.set_aside_count() > 0 && life.acknowledged == COMMITS, "{what}");
        }
        (Some(error), false) => panic!("{what}: {}", told(error)),
        (Some(error), true) => {
            let StoreError { action, path, source } = store_error_of(error);
            assert_eq!((*action, path.as_path()), (plan.call.action(), Path::new("memory")), "{what}");
            let source = source.downcast_ref::<std::io::Error>().unwrap();
            assert_eq!(source.raw_os_error(), Some(plan.errno), "{what}");
            assert_eq!(stores.writes_after(), 0, "{what}: the store was not left alone");
        }
    }
    let suspect = dir.path().join("suspect");
    let is_damage = plan.errno == EIO && life.error.is_some();
    assert_eq!(suspect.exists(), is_damage, "{what}: {:?}", life.error);
    assert_whole(&what, &stores.repaired(), dir.path(), &life);
    stores.failed()
}

#[test]
fn an_error_of_the_store() {
    for call in StoreCall::ALL {
        let mut failed = 0;
        for template in templates() {
            for (errno, done) in [(EIO, false), (ENOSPC, false), (EIO, true)] {
                let mut number = 1;
                while one_store_fault(&template, StorePlan { call, number, errno, done }) {
                    number += 1;
                }
                failed += number - 1;
            }
        }
        eprintln!("{call:?}: {failed} faults");
        assert!(failed > 0, "{call:?} is never called");
    }
}

/// What a fence means to those who had asked, and to those who ask later.
#[tokio::test]
async fn a_failed_sync_fences_everyone() {
    let dir = scratch();
    // The header, the opening, and the first append.
    let disk = FaultyDisk::new(Some(Plan { call: Call::Sync, number: 4, way: Way::Error(EIO) }));
    let journal = open_on(&disk, &Memory::default(), dir.path(), &mut Vec::new()).unwrap();
    let mut fatal = journal.fatal();
    assert!(fatal.borrow().is_none());
    journal.append(append(stream(1), 0, &["a"])).await.unwrap();
    let (first, second) = tokio::join!(
        journal.append(append(stream(1), 1, &["b"])),
        journal.append(append(stream(2), 0, &["c"])),
    );
    assert_eq!((first.unwrap_err(), second.unwrap_err()), (AppendError::Fenced, AppendError::Fenced));
    fatal.changed().await.unwrap();
    let reason = fatal.borrow().clone().unwrap();
    assert!(
        told(&*reason).contains("failed to sync `") && told(&*reason).contains(".seg`"),
        "{}",
        told(&*reason)
    );
    assert_eq!(journal.head().seq, Seq(1), "what was not made durable is not shown");
    assert_eq!(journal.read(Seq(1), 10).unwrap().len(), 1);
    assert_eq!(journal.append(append(stream(3), 0, &["d"])).await.unwrap_err(), AppendError::Fenced);
    assert!(matches!(journal.close().unwrap_err(), JournalError::Failed(_)));
    assert_eq!(disk.changes_after(), []);
}

/// The kernel may say that it can hold no more room; the segment that was there is not touched.
#[test]
fn a_disk_that_fails_at_the_first_start_leaves_a_folder_to_start_in() {
    let dir = scratch();
    for number in 1..4 {
        let bad = FaultyDisk::new(Some(Plan { call: Call::Allocate, number: 1, way: Way::Error(EIO) }));
        let error = open_on(&bad, &Memory::default(), dir.path(), &mut Vec::new()).unwrap_err();
        assert!(told(&error).contains("Input/output error"), "start {number}: {}", told(&error));
    }
    assert_eq!(fs::read_dir(dir.path().join("segments")).unwrap().count(), 1);
    open_on(&FaultyDisk::sound(), &Memory::default(), dir.path(), &mut Vec::new()).unwrap();
}
