//! The store's own calls to the system fail while it is opened, at the n-th call for n = 1, 2, 3 … until nothing
//! fails. What a broken disk says never keeps a journal from starting for good; what the system refuses is told by
//! name, and the store is left as it was.
//!
//! The stores call the system themselves, so strace stands in for it. Each start is a process of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use purser_storage::store::Backend;

use crate::corpus_store::{
    BACKEND, FAILED, FOLDER, GUARDED, Kind, ONLY_OPENS, SNAPSHOTS, made, run_if_asked,
};
use crate::folders::{copy, scratch};

/// What an error of the system means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The disk is broken: the store is made again, at the next start at last.
    Broken,
    /// The system refuses for now: so does the start, and nothing is changed.
    Refused,
}

/// An error by its name, with what is said of it, and the calls that may give it.
struct Fault {
    name: &'static str,
    words: &'static str,
    meaning: Meaning,
    calls: &'static [&'static str],
}

const FAULTS: [Fault; 3] = [
    Fault {
        name: "EIO",
        words: "Input/output error",
        meaning: Meaning::Broken,
        calls: &["mkdir", "openat", "flock", "fsync", "fdatasync", "pread64", "pwrite64", "ftruncate"],
    },
    Fault {
        name: "ENOSPC",
        words: "No space left on device",
        meaning: Meaning::Refused,
        calls: &["mkdir", "openat", "pwrite64", "ftruncate", "fsync"],
    },
    Fault { name: "EMFILE", words: "Too many open files", meaning: Meaning::Refused, calls: &["openat"] },
];
/// Calls of a kind each of which fails; of more, as when a whole file is read, some.
const EACH: u32 = 12;
/// How many of them are passed over.
const STEP: usize = 40;

/// A closed journal, and the test that its processes run.
struct Starts {
    backend: Backend,
    test: &'static str,
    original: tempfile::TempDir,
}

impl Starts {
    fn new(backend: Backend, test: &'static str) -> Starts {
        Starts { backend, test, original: made(Kind { backend, snapshots: false }, true) }
    }

    fn copied(&self) -> tempfile::TempDir {
        let dir = scratch();
        copy(self.original.path(), dir.path());
        dir
    }

    /// Starts, reads everything and goes on; under a program that has something to say about it, only starts.
    fn start(&self, dir: &Path, under: Option<&mut Command>) -> Output {
        let own = std::env::current_exe().unwrap();
        let mut plain = Command::new(&own);
        let command = match under {
            Some(command) => command.arg(&own).env(ONLY_OPENS, "1"),
            None => &mut plain,
        };
        command.args(["--exact", self.test, "--nocapture"]).env(FOLDER, dir);
        command
            .env(BACKEND, self.backend.name())
            .env(SNAPSHOTS, "false")
            .output()
            .expect("strace is installed")
    }

    /// Starts with an error from a call's n-th time on a file of the store; gives whether it came to that.
    fn one(&self, call: &str, number: u32, fault: &Fault) -> bool {
        let Fault { name, words, meaning, .. } = fault;
        let what = format!("{}: {call} {number} fails with {name}", self.backend.name());
        let dir = self.copied();
        let trace = scratch();
        let told = trace.path().join("trace");
        let store = dir.path().join(self.backend.name());
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o"]).arg(&told);
        strace.args([
            "-e",
            &format!("trace={call}"),
            "-e",
            &format!("inject={call}:error={name}:when={number}"),
        ]);
        for path in [store.clone(), store.join("db"), store.join("conf"), store.join("index.redb")] {
            strace.arg("-P").arg(path);
        }
        let ended = self.start(dir.path(), Some(&mut strace));
        let failed = fs::read_to_string(&told).unwrap().contains("(INJECTED)");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let code = ended.status.code();
        let suspect = dir.path().join("suspect").exists();
        let aside = dir.path().join(format!("{}.aside", self.backend.name())).exists();
        match (code, meaning) {
            (Some(0), _) => {}
            (Some(FAILED), Meaning::Refused) => {
                assert!(said.contains(words) && said.contains(self.backend.name()), "{what}: {said}");
                assert!(!suspect && !aside, "{what}: a sound store was given up: {said}");
            }
            (Some(FAILED | GUARDED), _) => assert!(failed && suspect, "{what}: {said}"),
            (code, _) => panic!("{what}: the start ended with {code:?}: {said}"),
        }
        let again = self.start(dir.path(), None);
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        assert_eq!(again.status.code(), Some(0), "{what}: the next start: {said}");
        failed
    }

    fn every(&self) {
        for fault in &FAULTS {
            let mut faults = 0;
            for call in fault.calls {
                let numbers = (1..=EACH).chain((EACH + 1..).step_by(STEP));
                faults += numbers.take_while(|&number| self.one(call, number, fault)).count();
            }
            eprintln!("{}: {faults} faults with {}", self.backend.name(), fault.name);
            assert!(0 < faults, "nothing failed with {}", fault.name);
        }
    }
}

/// Something else stands where the store, or a file of it, should be.
fn in_its_place(backend: Backend, test: &'static str, file: &str) {
    let starts = Starts::new(backend, test);
    let one = |what: &str, code: i32, words: &[&str], replace: &dyn Fn(&Path)| {
        let dir = starts.copied();
        let store = dir.path().join(backend.name());
        replace(&store);
        let ended = starts.start(dir.path(), None);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{what}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{what}: {said}");
        dir
    };
    one("a link to nothing", 0, &[], &|store| {
        fs::remove_dir_all(store).unwrap();
        symlink("nothing", store).unwrap();
    });
    one("a folder instead of its file", 0, &[], &|store| {
        fs::remove_file(store.join(file)).unwrap();
        fs::create_dir(store.join(file)).unwrap();
    });
    // Where a link leads in a circle, the system refuses, and the operator hears of it.
    let dir = one("links in a circle", FAILED, &[backend.name(), "symbolic links"], &|store| {
        fs::remove_file(store.join(file)).unwrap();
        symlink(file, store.join(file)).unwrap();
    });
    fs::remove_file(dir.path().join(backend.name()).join(file)).unwrap();
    assert_eq!(starts.start(dir.path(), None).status.code(), Some(0), "without the circle it starts");
}

#[test]
fn errors_while_sled_is_opened() {
    run_if_asked();
    let starts = Starts::new(Backend::Sled, "store_open_faults::errors_while_sled_is_opened");
    starts.every();
}

#[test]
fn errors_while_redb_is_opened() {
    run_if_asked();
    let starts = Starts::new(Backend::Redb, "store_open_faults::errors_while_redb_is_opened");
    starts.every();
}

#[test]
fn something_else_in_the_place_of_sled() {
    run_if_asked();
    in_its_place(Backend::Sled, "store_open_faults::something_else_in_the_place_of_sled", "db");
}

#[test]
fn something_else_in_the_place_of_redb() {
    run_if_asked();
    in_its_place(Backend::Redb, "store_open_faults::something_else_in_the_place_of_redb", "index.redb");
}
