//! Damaged stores: none keeps a journal from starting. A damaged store is made again at once, or the process ends with
//! a note, or says an error, and the next start makes it again; then everything is there, and never is less shown.
//!
//! The store may panic over damage, and programs abort on a panic: so every start is a process of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use purser_events::{CommandId, Seq, StreamVersion};
use purser_storage::store::Backend;
use purser_storage::{Journal, JournalConfig, JournalError, Replayed, SEGMENT_BYTES_MIN, install_open_guard};
use uuid::Uuid;

use crate::corpus::{COMMITS, commit};
use crate::folders::{contents, copy};
use crate::support::*;

/// In the environment of a start: the journal's folder, the name of its backend, and `true` if it has snapshots.
pub(crate) const FOLDER: &str = "PURSER_TEST_STORE_CORPUS_DIR";
pub(crate) const BACKEND: &str = "PURSER_TEST_STORE_CORPUS_BACKEND";
pub(crate) const SNAPSHOTS: &str = "PURSER_TEST_STORE_CORPUS_SNAPSHOTS";

/// In the environment of a start that ends as soon as its journal is open.
pub(crate) const ONLY_OPENS: &str = "PURSER_TEST_STORE_CORPUS_ONLY_OPENS";

/// How a start ends that found an error, and one that the guard ended.
pub(crate) const FAILED: i32 = 3;
pub(crate) const GUARDED: i32 = 74;

/// Records before the large commits: enough for the store to have several pages.
const SMALL: u64 = 2_000;

const BOOT: Uuid = Uuid::from_u128(7);

/// How a journal is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) backend: Backend,
    /// Whether a start needs only what came after a snapshot, and the store must have all before it.
    pub(crate) snapshots: bool,
}

/// Opens a journal; also gives how many records it has.
fn open(dir: &Path, kind: Kind) -> Result<(Journal, u64), JournalError> {
    let Kind { backend, snapshots } = kind;
    let boot_id = Some(BOOT);
    let (segment_bytes, snapshot_every) = (SEGMENT_BYTES_MIN, SMALL / 4);
    let config = JournalConfig { backend, boot_id, segment_bytes, snapshot_every, ..JournalConfig::new(dir) };
    if snapshots {
        let journal = Versions::open(config, NOW)?;
        let records = journal.head().seq.0;
        return Ok((journal, records));
    }
    let mut replayed = 0;
    let replay = |found| match found {
        Replayed::Record(_) => replayed += 1,
        Replayed::Unreadable { seq, reason, .. } => panic!("record {seq}: {reason}"),
    };
    let journal = Journal::open(config, || NOW, replay, |_| {})?;
    Ok((journal, replayed))
}

/// A journal's folder to be copied and damaged: closed in order, or left by a kill in this boot.
pub(crate) fn made(kind: Kind, closed: bool) -> tempfile::TempDir {
    let (life, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (journal, _) = open(life.path(), kind).unwrap();
    for number in 0..COMMITS {
        runtime.block_on(journal.append(commit(number, "ours"))).unwrap();
    }
    for number in 0..SMALL {
        runtime.block_on(journal.append(append(stream(3), number, &[&format!("{number}")]))).unwrap();
    }
    assert!(!kind.snapshots || !journal.snapshots().is_empty());
    copy(life.path(), killed.path());
    journal.close().unwrap();
    if closed { life } else { killed }
}

/// Opens a journal and reads all of it, by position, by stream and by command, then writes one more record.
fn read_everything(dir: &Path, kind: Kind) -> Result<(), JournalError> {
    let (journal, records) = open(dir, kind)?;
    let expected = 2 * COMMITS + SMALL;
    let more = records.checked_sub(expected).expect("a shorter history passed for the whole");
    if std::env::var_os(ONLY_OPENS).is_some() {
        end(0);
    }
    let mut seq = 0;
    while seq < records {
        for stored in journal.read(Seq(seq + 1), 1_000)? {
            seq += 1;
            assert_eq!(stored.header.seq.0, seq, "a gap passed for the whole");
        }
    }
    for (number, len) in [(1, COMMITS), (2, COMMITS), (3, SMALL), (4, more)] {
        for version in [1, len.saturating_sub(30)] {
            let found = journal.read_stream(stream(number), StreamVersion(version), 31)?;
            let expected = len.min(31).min((len + 1).saturating_sub(version.max(1)));
            assert_eq!(found.len() as u64, expected, "stream {number} from {version} of {len}");
        }
    }
    for number in 0..COMMITS {
        let id = CommandId(Uuid::from_u128(u128::from(number) + 1));
        assert!(journal.answer(id)?.is_some(), "answer {number} is lost");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(journal.append(append(stream(4), more, &["more"]))) {
        Ok(_) => journal.close(),
        Err(_) => Err(journal.close().unwrap_err()),
    }
}

/// What the processes that start do; returns in none of them.
pub(crate) fn run_if_asked() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let backend = if std::env::var(BACKEND).unwrap() == "redb" { Backend::Redb } else { Backend::Sled };
    let snapshots = std::env::var(SNAPSHOTS).unwrap() == "true";
    install_open_guard(|| end(GUARDED));
    match read_everything(Path::new(&dir), Kind { backend, snapshots }) {
        Ok(()) => end(0),
        Err(error) => {
            eprintln!("{}", told(&error));
            end(FAILED);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a process of a test ends as a program would")]
fn end(code: i32) -> ! {
    std::process::exit(code);
}

/// How the first start after a damage ended.
#[derive(Debug, Default)]
struct Ends {
    /// With everything there, made again or not.
    whole: u32,
    /// Of them, those where the store was made again.
    made_again: u32,
    /// Of them, those where a part was read from the segments.
    read_around: u32,
    failed: u32,
    guarded: u32,
}

/// A place to try damages in.
struct Corpus {
    kind: Kind,
    /// The test that a process is to run to come to `run_if_asked`.
    test: &'static str,
    original: tempfile::TempDir,
    ends: Ends,
}

impl Corpus {
    fn new(kind: Kind, closed: bool, test: &'static str) -> Corpus {
        Corpus { kind, test, original: made(kind, closed), ends: Ends::default() }
    }

    /// Journals that were closed in order or not, with snapshots and without.
    fn all(backend: Backend, test: &'static str) -> impl Iterator<Item = Corpus> {
        let each = [(true, false), (false, false), (true, true), (false, true)].into_iter();
        each.map(move |(closed, snapshots)| Corpus::new(Kind { backend, snapshots }, closed, test))
    }

    /// The files of the store, by their names in its folder.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let store = self.original.path().join(self.kind.backend.name());
        let files = contents(&store).into_iter();
        files.map(|(path, bytes)| (path.strip_prefix(&store).unwrap().to_owned(), bytes)).collect()
    }

    /// The file that holds nearly everything.
    fn largest(&self) -> (PathBuf, Vec<u8>) {
        self.files().into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap()
    }

    /// Damages the store in a copy, and starts until everything is there, which is at the second start at last.
    #[track_caller]
    fn try_damage(&mut self, what: &str, damage: impl FnOnce(&Path)) {
        let dir = tempfile::tempdir().unwrap();
        copy(self.original.path(), dir.path());
        damage(&dir.path().join(self.kind.backend.name()));
        let (first, said) = self.start(dir.path());
        let noted = dir.path().join("suspect").exists();
        match first {
            Some(0) => {
                let aside = dir.path().join(format!("{}.aside", self.kind.backend.name()));
                self.ends.made_again += u32::from(aside.exists());
                self.ends.whole += 1;
            }
            Some(FAILED) => self.ends.failed += 1,
            Some(GUARDED) => {
                assert!(said.contains("the next start makes it again from the segments"), "{what}: {said}");
                assert!(!said.contains("panicked"), "{what}: {said}");
                self.ends.guarded += 1;
            }
            code => panic!("{what}: the start ended with {code:?}: {said}"),
        }
        // What the store could not show was read from the segments, then: that is noted as well.
        self.ends.read_around += u32::from(first == Some(0) && noted);
        assert!(noted || first == Some(0), "{what}: {said}");
        // Sometimes when all is well, too: what was made again must be sound.
        if noted || self.ends.whole.is_multiple_of(4) {
            let (second, said) = self.start(dir.path());
            assert_eq!(second, Some(0), "{what}: the second start: {said}");
            assert!(!dir.path().join("suspect").exists(), "{what}: what was made again is damaged: {said}");
        }
    }

    fn start(&self, dir: &Path) -> (Option<i32>, String) {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", self.test, "--nocapture"])
            .env(FOLDER, dir)
            .env(BACKEND, self.kind.backend.name())
            .env(SNAPSHOTS, self.kind.snapshots.to_string())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn with_bytes(&mut self, what: &str, name: &Path, bytes: &[u8]) {
        self.try_damage(what, |store| fs::write(store.join(name), bytes).unwrap());
    }
}

fn flips_and_pages(backend: Backend, test: &'static str) {
    run_if_asked();
    let seed = Seed::chosen("PURSER_JOURNAL_SEED");
    let mut random = seed.random();
    for mut corpus in Corpus::all(backend, test) {
        let (name, whole) = corpus.largest();
        let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
        for number in 0..16 {
            let at = used[(used.len() - 1) * number / 15];
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << random.index(8);
            corpus.with_bytes(&format!("bit at {at}"), &name, &bytes);
        }
        for page in [512, 4_096] {
            for _ in 0..6 {
                let start = used[random.index(used.len())] / page * page;
                let stop = whole.len().min(start + page);
                let mut bytes = whole.clone();
                bytes[start..stop].fill(0);
                corpus.with_bytes(&format!("{page} zeros at {start}"), &name, &bytes);
            }
        }
        for _ in 0..6 {
            let [one, other] = [0; 2].map(|_| used[random.index(used.len())] / 4_096 * 4_096);
            let mut bytes = whole.clone();
            let len = 4_096.min(whole.len() - one.max(other));
            bytes.copy_within(one..one + len, other);
            corpus.with_bytes(&format!("page {one} at {other}"), &name, &bytes);
        }
        for number in 0..8 {
            let at = used[(used.len() - 1) * number / 7] / 4_096 * 4_096 + 1_000;
            let mut bytes = whole.clone();
            let end = bytes.len();
            bytes[at.min(end)..(at + 64).min(end)].fill(0xa5);
            corpus.with_bytes(&format!("64 other bytes at {at}"), &name, &bytes);
        }
        // All over it at once: no start can go on with that.
        let mut bytes = whole.clone();
        for block in bytes.chunks_mut(4_096).filter(|block| block.iter().any(|byte| *byte != 0)) {
            let len = block.len().min(1_064);
            block[len.min(1_000)..len].fill(0xa5);
        }
        corpus.with_bytes("every block", &name, &bytes);
        eprintln!("{:?}: {:?}", corpus.kind, corpus.ends);
    }
}

fn cuts_and_foreign_files(backend: Backend, test: &'static str) {
    run_if_asked();
    for mut corpus in Corpus::all(backend, test) {
        let (name, whole) = corpus.largest();
        let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let powers = (0..usize::BITS).map(|power| 1_usize << power).take_while(|len| *len < used);
        let eighths = (1..8).map(|part| used * part / 8);
        for len in powers.step_by(3).chain(eighths).chain([0, used - 3]) {
            corpus.with_bytes(&format!("cut to {len} of {used}"), &name, &whole[..len]);
        }
        for name in corpus.files().into_keys() {
            let what = name.display();
            corpus
                .try_damage(&format!("{what} missing"), |store| fs::remove_file(store.join(&name)).unwrap());
            corpus.with_bytes(&format!("{what} empty"), &name, b"");
            corpus.with_bytes(&format!("{what} foreign"), &name, &b"this is no such file\n".repeat(100));
            corpus.try_damage(&format!("{what} a folder"), |store| {
                fs::remove_file(store.join(&name)).unwrap();
                fs::create_dir(store.join(&name)).unwrap();
            });
        }
        corpus.try_damage("no store", |store| fs::remove_dir_all(store).unwrap());
        corpus.try_damage("a file in its place", |store| {
            fs::remove_dir_all(store).unwrap();
            fs::write(store, "theirs").unwrap();
        });
        corpus
            .try_damage("a foreign file beside", |store| fs::write(store.join("theirs"), "theirs").unwrap());
        let other = made(corpus.kind, true);
        let theirs = other.path().join(backend.name());
        corpus.try_damage("the store of another journal", |store| {
            fs::remove_dir_all(store).unwrap();
            copy(&theirs, store);
        });
        eprintln!("{:?}: {:?}", corpus.kind, corpus.ends);
    }
}

#[test]
fn flips_and_pages_of_sled() {
    flips_and_pages(Backend::Sled, "corpus_store::flips_and_pages_of_sled");
}

#[test]
fn flips_and_pages_of_redb() {
    flips_and_pages(Backend::Redb, "corpus_store::flips_and_pages_of_redb");
}

#[test]
fn cuts_and_foreign_files_of_sled() {
    cuts_and_foreign_files(Backend::Sled, "corpus_store::cuts_and_foreign_files_of_sled");
}

#[test]
fn cuts_and_foreign_files_of_redb() {
    cuts_and_foreign_files(Backend::Redb, "corpus_store::cuts_and_foreign_files_of_redb");
}

/// Sled writes a snapshot under this name before it renames it, and takes it for its newest.
#[test]
fn a_snapshot_that_sled_had_only_begun_is_no_obstacle() {
    run_if_asked();
    let test = "corpus_store::a_snapshot_that_sled_had_only_begun_is_no_obstacle";
    let mut corpus = Corpus::new(Kind { backend: Backend::Sled, snapshots: false }, true, test);
    for begun in [&b""[..], b"torn: neither its length nor its checksum is right"] {
        corpus.with_bytes("a snapshot", Path::new("snap.FFFFFFFFFFFFFFFF.generating"), begun);
    }
}
