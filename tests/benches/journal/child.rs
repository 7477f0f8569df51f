//! Work that is done by a process of its own, so that its memory and its end are its alone: this program again, told
//! by the environment what to do.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{disk, ours, reopen, replay};

const TASK: &str = "PURSER_BENCH_CHILD";
const DIR: &str = "PURSER_BENCH_CHILD_DIR";
const EVENTS: &str = "PURSER_BENCH_CHILD_EVENTS";

/// What a child can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Append in batches until the journal holds so many records, then close it.
    Fill,
    /// The same by many at once, one event each.
    FillOneByOne,
    /// Seal the open segment, compress all that are sealed and trim the store.
    KeepHouse,
    /// Write the journal's frames into one file beside it.
    Flatten,
    /// Open the journal without a snapshot: read, check and decode it.
    ReplayOurs,
    /// Read and decode the open journal.
    ReadOurs,
    /// Read and decode that file.
    ReplayPlain,
    /// Append until killed.
    AppendUntilKilled,
    /// Open the journal and end without closing it.
    Open,
}

const TASKS: [(&str, Task); 9] = [
    ("fill", Task::Fill),
    ("fill-one-by-one", Task::FillOneByOne),
    ("keep-house", Task::KeepHouse),
    ("flatten", Task::Flatten),
    ("replay-ours", Task::ReplayOurs),
    ("read-ours", Task::ReadOurs),
    ("replay-plain", Task::ReplayPlain),
    ("append-until-killed", Task::AppendUntilKilled),
    ("open", Task::Open),
];

/// A task with what it is about.
#[derive(Debug)]
pub(crate) struct Asked {
    task: Task,
    dir: PathBuf,
    events: u64,
}

/// What a child says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// Events that it met or wrote.
    pub(crate) events: u64,
    /// How long the work took, without the process's own start.
    took_us: u64,
    rss_kib: u64,
    peak_kib: u64,
}

impl Report {
    /// After work that met so many events and began then.
    pub(crate) fn now(events: u64, since: Instant) -> Report {
        let took_us = u64::try_from(since.elapsed().as_micros()).expect("a run ends within a lifetime");
        let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells of this process");
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
            let kib = line.trim_start_matches(':').split_whitespace().next().and_then(|kib| kib.parse().ok());
            kib.expect("it is a number")
        };
        Report { events, took_us, rss_kib: kib("VmRSS"), peak_kib: kib("VmHWM") }
    }

    pub(crate) fn took(&self) -> Duration {
        Duration::from_micros(self.took_us)
    }

    /// The memory that it held in the end, in MiB.
    #[expect(clippy::cast_precision_loss, reason = "a memory has less than 2^52 KiB")]
    pub(crate) fn rss_mib(&self) -> f64 {
        self.rss_kib as f64 / 1_024.0
    }

    /// The memory that it held in the end and at most, to be read by people.
    pub(crate) fn memory(&self) -> String {
        format!("RSS {:4.0} MiB (peak {})", self.rss_mib(), self.peak_kib.div_ceil(1_024))
    }

    fn line(&self) -> String {
        format!("{} {} {} {}", self.events, self.took_us, self.rss_kib, self.peak_kib)
    }

    fn parse(line: &str) -> Option<Report> {
        let numbers: Option<Vec<u64>> = line.split(' ').map(|word| word.parse().ok()).collect();
        let &[events, took_us, rss_kib, peak_kib] = numbers?.as_slice() else { return None };
        Some(Report { events, took_us, rss_kib, peak_kib })
    }
}

/// What this process was started for, if it is such a child.
pub(crate) fn asked_for() -> Option<Asked> {
    let name = std::env::var(TASK).ok()?;
    let task = TASKS.iter().find(|(known, _)| *known == name).expect("the parent names a task");
    let dir = std::env::var_os(DIR).expect("the parent names a folder").into();
    let events = std::env::var(EVENTS).ok().and_then(|events| events.parse().ok());
    Some(Asked { task: task.1, dir, events: events.expect("the parent names a number") })
}

/// Does it, in the child.
pub(crate) fn run(asked: &Asked) {
    let Asked { task, dir, events } = asked;
    let report = match task {
        Task::Fill => {
            let since = Instant::now();
            let filled = ours::fill_sealed(dir, |journal| ours::fill(journal, *events));
            Report::now(filled, since)
        }
        Task::FillOneByOne => {
            let since = Instant::now();
            let filled = ours::fill_sealed(dir, |journal| ours::fill_one_by_one(journal, *events));
            Report::now(filled, since)
        }
        Task::KeepHouse => disk::keep_house(dir),
        Task::Flatten => replay::flatten(dir),
        Task::ReplayOurs => replay::replay_ours(dir),
        Task::ReadOurs => replay::read_ours(dir),
        Task::ReplayPlain => replay::replay_plain(dir),
        Task::AppendUntilKilled => reopen::append_until_killed(dir),
        Task::Open => reopen::open(dir, print_report),
    };
    print_report(&report);
}

fn print_report(report: &Report) {
    println!("{}", report.line());
}

/// Starts a child.
pub(crate) fn start(task: Task, dir: &Path, events: u64) -> (Child, BufReader<ChildStdout>) {
    let bench = std::env::current_exe().expect("the bench has a path");
    let (name, _) = TASKS.iter().find(|(_, known)| *known == task).expect("every task has a name");
    let mut child = Command::new(bench)
        .env(TASK, name)
        .env(DIR, dir)
        .env(EVENTS, events.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the bench can be run");
    let said = BufReader::new(child.stdout.take().expect("it is piped"));
    (child, said)
}

/// Starts a child and waits for what it says at its end.
pub(crate) fn finish(task: Task, dir: &Path, events: u64) -> Report {
    let (mut child, said) = start(task, dir, events);
    let last = said.lines().map(|line| line.expect("a child prints text")).last();
    assert!(child.wait().expect("it can be waited for").success(), "the child `{task:?}` failed");
    last.and_then(|line| Report::parse(&line)).expect("a child ends with its report")
}
