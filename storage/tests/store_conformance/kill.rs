//! A process that writes is killed, again and again: what it had synced is there, and batches are whole.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use purser_storage::Store;
use purser_storage::store::{Backend, Batch};

use crate::support::*;

/// In the environment of the process that writes: the folder of its store.
const FOLDER: &str = "PURSER_TEST_STORE_DIR";
const ROUNDS: u64 = 12;
/// Batches between two syncs.
const SYNC_EVERY: u64 = 5;
/// Keys that a batch puts.
const KEYS_LEN: u64 = 8;
/// Batches whose keys are kept: each new one removes those of an old one.
const KEPT: u64 = 40;
const LAST: &[u8] = b"last";

fn keys_of(number: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..KEYS_LEN).map(move |of| [number.to_be_bytes(), of.to_be_bytes()].concat())
}

/// Puts its own keys, removes those of an old batch, and says which number is the last.
fn numbered(number: u64) -> Batch {
    let mut writes: Vec<_> = keys_of(number).map(|key| (key, Some(value(number)))).collect();
    if let Some(old) = number.checked_sub(KEPT) {
        writes.extend(keys_of(old).map(|key| (key, None)));
    }
    writes.push((LAST.to_vec(), Some(number.to_be_bytes().to_vec())));
    Batch { writes }
}

fn value(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(25)
}

/// The last batch in the store, after a look at whether it holds that one and all before it, and nothing else.
pub(crate) fn last_of_whole_batches(store: &dyn Store) -> u64 {
    let mut found = everything(store);
    let last = found.remove(LAST).map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()));
    let kept = (last.saturating_sub(KEPT) + 1)..=last;
    let expected = kept.flat_map(|number| keys_of(number).map(move |key| (key, value(number))));
    assert!(found.into_iter().eq(expected), "batches up to {last} are not whole");
    last
}

/// Fills a store with batches up to `last`.
pub(crate) fn fill(store: &dyn Store, last: u64) {
    for number in 1..=last {
        store.apply(numbered(number)).unwrap();
        if number.is_multiple_of(SYNC_EVERY) {
            store.sync().unwrap();
        }
    }
}

/// What the process that is killed does: writes, syncs and tells, until it is killed or nobody listens.
fn write_for_ever(backend: Backend, dir: &Path) {
    let store = open(backend, dir);
    let mut number = last_of_whole_batches(&*store);
    let mut told = Ok(());
    while told.is_ok() {
        number += 1;
        store.apply(numbered(number)).unwrap();
        if number.is_multiple_of(SYNC_EVERY) {
            store.sync().unwrap();
            told = writeln!(std::io::stdout(), "\nsynced {number}");
        }
    }
}

/// A process that writes; it never outlives the test.
struct Writer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    fn start(backend: Backend, dir: &Path) -> Writer {
        let name = format!("{}::what_was_synced_survives_a_kill", backend.name());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture"])
            .env(FOLDER, dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Writer { child, lines }
    }

    /// The next number that is known to be synced; none once the process is gone.
    fn next_synced(&mut self) -> Option<u64> {
        self.lines.find_map(|line| line.unwrap().strip_prefix("synced ")?.parse().ok())
    }

    /// Kills it, and says the last number that it told as synced.
    fn kill(mut self) -> Option<u64> {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), None, "it ended before it was killed");
        std::iter::from_fn(|| self.next_synced()).last()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It is gone already, unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn what_was_synced_survives_a_kill(backend: Backend) {
    if let Some(dir) = std::env::var_os(FOLDER) {
        return write_for_ever(backend, Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::chosen("PURSER_STORE_SEED");
    let mut random = seed.random();
    let mut last = 0;
    for round in 1..=ROUNDS {
        let mut writer = Writer::start(backend, dir.path());
        let mut synced = 0;
        for _ in 0..=random.below(12) {
            synced = writer.next_synced().expect("it writes until it is killed");
        }
        // Some way into the next batches.
        for _ in 0..random.below(1_000_000) {
            std::hint::spin_loop();
        }
        synced = writer.kill().unwrap_or(synced);
        assert!(synced > last, "round {round}: nothing was written");
        last = last_of_whole_batches(&*open(backend, dir.path()));
        assert!(last >= synced, "round {round}: {last} is left of {synced}");
    }
}
