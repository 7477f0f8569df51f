//! The process that writes a journal is killed again and again, in one folder that lives on: whatever it said was
//! acknowledged is there afterwards, commits are whole or absent, and store and segments are in step.
//!
//! The process is this very program, see [`the_process_that_is_killed`]; each one first checks what the one before
//! it left. A failing run prints its seed: `PURSER_KILL_SEED` repeats it as far as the moments go at which it kills.
//! `PURSER_KILL_ROUNDS` sets how often, over both stores together.

mod ack;
mod check;
mod writer;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use purser_storage::store::Backend;
use purser_tests::evidence;
use purser_tests::random::{Random, Seed, number_from};
use tempfile::TempDir;

use self::ack::Ack;
use self::writer::Orders;

/// Kills over both stores together, unless the environment says otherwise.
const ROUNDS: u32 = 1_000;
/// Every so many rounds everything is looked at, not only what is new.
const LOOK_AT_ALL_EVERY: u32 = 100;
/// Most acknowledgements after which a process is killed.
const ACKS_MAX: u64 = 3;
/// Most bytes of what it tells after which a process is killed.
const BYTES_MAX: u64 = 800;

/// When a process is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// As soon as it has told so many bytes.
    Bytes(usize),
    /// As soon as it has checked what was left, and told of so many acknowledgements.
    Acks(usize),
}

impl Moment {
    fn chosen(random: &mut Random) -> Moment {
        let up_to = |random: &mut Random, max| usize::try_from(random.below(max)).unwrap();
        match random.below(10) {
            // Just begun: it opens the journal.
            0 => Moment::Bytes(1),
            1..=3 => Moment::Bytes(up_to(random, BYTES_MAX)),
            _ => Moment::Acks(up_to(random, ACKS_MAX + 1)),
        }
    }

    fn has_come(self, told: &[u8]) -> bool {
        match self {
            Moment::Bytes(bytes) => bytes <= told.len(),
            Moment::Acks(acks) => {
                let Told { checked, acks: so_far } = Told::of(told);
                checked && acks <= so_far.len()
            }
        }
    }
}

/// What a process told before it was gone.
struct Told {
    /// That all was as it had to be.
    checked: bool,
    acks: Vec<Ack>,
}

impl Told {
    /// Reads whole lines; the last may be torn.
    fn of(bytes: &[u8]) -> Told {
        let text = String::from_utf8_lossy(bytes);
        let lines = || text.split_inclusive('\n');
        Told {
            checked: lines().any(|line| line == writer::CHECKED),
            acks: lines().filter_map(Ack::parse).collect(),
        }
    }
}

/// A folder and all that was acknowledged in it.
struct Folder {
    dir: TempDir,
    backend: Backend,
    acks: Vec<Ack>,
    /// Acknowledgements up to here were checked by a later process.
    checked: usize,
    /// Rounds in which a process was killed before it had checked what was left.
    killed_in_opening: u32,
}

impl Folder {
    fn new(backend: Backend) -> Folder {
        let dir = tempfile::tempdir().unwrap();
        Folder { dir, backend, acks: Vec::new(), checked: 0, killed_in_opening: 0 }
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn begin(&self, orders: &Orders) -> Process {
        let acks: String = self.acks.iter().map(Ack::line).collect();
        std::fs::write(&orders.acks, acks).unwrap();
        Process::start(orders)
    }

    fn orders(&self, seed: u64, all: bool, last: bool) -> Orders {
        let (folder, acks) = (self.journal(), self.dir.path().join("acks"));
        Orders { folder, backend: self.backend, acks, since: self.checked, seed, all, last }
    }

    fn note(&mut self, round: u32, told: Told) {
        if told.checked {
            self.checked = self.acks.len();
        } else {
            self.killed_in_opening += 1;
            assert!(told.acks.is_empty(), "round {round}: it wrote before it had checked what was left");
        }
        self.acks.extend(told.acks);
    }

    fn survive(&mut self, rounds: u32, random: &mut Random) {
        for round in 1..=rounds {
            let moment = Moment::chosen(random);
            let all = round % LOOK_AT_ALL_EVERY == 0;
            let process = self.begin(&self.orders(random.number(), all, false));
            let told = process.kill_at(moment, round);
            self.note(round, told);
        }
        let process = self.begin(&self.orders(random.number(), true, true));
        assert!(process.ended().checked, "after the last round");
    }
}

/// A process that writes; it never outlives the test.
struct Process {
    child: Child,
    stdout: ChildStdout,
}

impl Process {
    fn start(orders: &Orders) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "journal_kill::the_process_that_is_killed", "--nocapture"]);
        orders.give(&mut command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        Process { child, stdout }
    }

    fn kill_at(mut self, moment: Moment, round: u32) -> Told {
        let (mut told, mut byte) = (Vec::new(), [0]);
        while !moment.has_come(&told) {
            let len = self.stdout.read(&mut byte).unwrap();
            assert_eq!(len, 1, "round {round}: it ended by itself:\n{}", String::from_utf8_lossy(&told));
            told.extend(byte);
        }
        self.child.kill().unwrap();
        self.stdout.read_to_end(&mut told).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), None, "round {round}: it ended before it was killed");
        Told::of(&told)
    }

    /// Lets it end by itself.
    fn ended(mut self) -> Told {
        let mut told = Vec::new();
        self.stdout.read_to_end(&mut told).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", String::from_utf8_lossy(&told));
        Told::of(&told)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is gone already, unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nothing_acknowledged_is_lost(backend: Backend) {
    let seed = Seed::chosen("PURSER_KILL_SEED");
    let rounds = number_from("PURSER_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.try_into().unwrap()) / 2;
    let mut random = Random(seed.number ^ backend.name().len() as u64);
    let mut folder = Folder::new(backend);
    folder.survive(rounds, &mut random);
    // As an auditor sees it.
    let records =
        evidence::audited(&folder.journal(), &folder.dir.path().join("archive"), true).unwrap().len();
    let names = std::fs::read_dir(folder.journal().join("segments")).unwrap();
    let names: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
    let compressed = names.iter().filter(|path| path.extension().is_some_and(|it| it == "zst")).count();
    let segments = names.len();
    let (acks, in_opening) = (folder.acks.len(), folder.killed_in_opening);
    println!(
        "{}: {rounds} kills, {in_opening} of them during an opening; {acks} commits acknowledged, 0 lost; \
         {records} records in {segments} segments, {compressed} of them compressed (seed {})",
        backend.name(),
        seed.number
    );
    assert!(usize::try_from(rounds).unwrap() <= acks, "too little was acknowledged to show anything");
    assert!(rounds < 200 || 0 < compressed, "no segment was sealed and compressed");
}

#[test]
fn nothing_acknowledged_is_lost_with_sled_behind() {
    nothing_acknowledged_is_lost(Backend::Sled);
}

#[test]
fn nothing_acknowledged_is_lost_with_redb_behind() {
    nothing_acknowledged_is_lost(Backend::Redb);
}

/// Both a test by itself and, with orders in its environment, the process that is killed.
#[test]
fn the_process_that_is_killed() {
    if let Some(orders) = Orders::taken() {
        return writer::obey(&orders);
    }
    let mut folder = Folder::new(Backend::Sled);
    let orders = folder.orders(1, true, false);
    let opened = check::open(&orders).unwrap();
    let mut lines = Vec::new();
    writer::write(&opened, &orders, 40, &mut |line: &str| lines.write_all(line.as_bytes()));
    opened.journal.close().unwrap();
    folder.acks = Told::of(&lines).acks;
    assert_eq!(folder.acks.len(), 40);
    check::check(&check::open(&orders).unwrap(), &folder.acks, &orders);
    // One that was never written is missed.
    let ghost = Ack { last: purser_events::Seq(9_999), ..folder.acks[0].clone() };
    let missed = std::panic::catch_unwind(|| {
        check::check(&check::open(&orders).unwrap(), &[ghost], &orders);
    });
    assert!(missed.is_err(), "a lost commit would not be noticed");
}
