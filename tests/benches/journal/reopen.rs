//! Opening the long journal from a snapshot after a kill -9 in the middle of appends, and going on to seal it.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use purser_storage::found::StoreFound;
use purser_tests::bench::{Bound, Times};
use tokio::task::JoinSet;

use crate::child::{self, Report, Task};
use crate::ours::{self, COMMITTERS, Committer};
use crate::place::Place;

const ROUNDS: u32 = 3;
/// In seconds, from opening until it can be appended to.
const TIME_WANTED: Bound = Bound::AtMost(1.0);
/// In MiB, after it.
const RSS_WANTED: Bound = Bound::AtMost(100.0);
/// Records that are acknowledged after an opening before the kill.
const BEFORE_KILL: u64 = 20_000;
/// A child says which record was acknowledged last after so many of them.
const TELL_EVERY: u64 = 256;

pub(crate) fn run(place: &Place) {
    let dir = place.filled();
    let (mut times, mut rss, mut records) = (Times::default(), 0.0_f64, 0);
    for _ in 0..ROUNDS {
        let acknowledged = append_and_kill(dir);
        let report = child::finish(Task::Open, dir, place.events());
        assert!(acknowledged <= report.events, "record {acknowledged} was acknowledged and is not there");
        times.add(report.took());
        rss = rss.max(report.rss_mib());
        records = report.events;
    }
    println!(
        "reopen: {records} events, kill -9 while {COMMITTERS} append, from a snapshot, with checkpoints, \
         {ROUNDS} rounds, a process each"
    );
    let seconds = times.median().as_secs_f64();
    println!("  Journal::open and seal    {}   {}", times.line(), TIME_WANTED.verdict(seconds, " s"));
    println!("  RSS after it, at most     {rss:.0} MiB   {}", RSS_WANTED.verdict(rss, " MiB"));
}

/// Lets a child append for a while and kills it; gives the last record that it was seen to acknowledge.
fn append_and_kill(dir: &Path) -> u64 {
    let (mut child, said) = child::start(Task::AppendUntilKilled, dir, 0);
    let (mut first, mut acknowledged, mut killed) = (None, 0, false);
    // What it said before the kill is read to the end: it may have been ahead. The last line may be cut short.
    for line in said.split(b'\n') {
        let line = line.expect("what the child said can be read");
        let number = str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('.')?.parse().ok());
        acknowledged = number.unwrap_or(acknowledged);
        let first = *first.get_or_insert(acknowledged);
        if !killed && acknowledged >= first + BEFORE_KILL {
            child.kill().expect("it can be killed");
            killed = true;
        }
    }
    assert!(killed, "the child ended by itself");
    let status = child.wait().expect("it can be waited for");
    assert_eq!(status.code(), None, "it was killed");
    acknowledged
}

/// Appends without an end, and tells now and then which record was acknowledged.
pub(crate) fn append_until_killed(dir: &Path) -> ! {
    let journal = ours::open_with_snapshots(dir);
    ours::seal(&journal, dir);
    let runtime = ours::runtime();
    let mut tasks = JoinSet::new();
    for mut committer in Committer::many(&journal, COMMITTERS) {
        let task = async move {
            loop {
                let appended = committer.commit(1).await;
                let seq = appended.records.last().expect("an event was appended").header.seq.0;
                if seq.is_multiple_of(TELL_EVERY) {
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "{seq}.").and_then(|()| out.flush()).expect("the parent reads");
                }
            }
        };
        tasks.spawn_on(task, runtime.handle());
    }
    runtime.block_on(async {
        let ended = tasks.join_next().await;
        panic!("appending ended: {ended:?}")
    })
}

/// Opens the journal, tells of it and ends as after a kill: what closing does is not measured.
#[expect(clippy::disallowed_methods, reason = "what runs at an end in order is not measured")]
pub(crate) fn open(dir: &Path, tell: impl FnOnce(&Report)) -> ! {
    let since = Instant::now();
    let journal = ours::open_with_snapshots(dir);
    ours::seal(&journal, dir);
    let report = Report::now(journal.head().seq.0, since);
    let found = journal.found();
    assert!(found.snapshot.is_some(), "there is a snapshot to begin with: {found:?}");
    if found.store == StoreFound::MadeAgain {
        eprintln!("reopen: the store was made again, which takes its time");
    }
    tell(&report);
    std::process::exit(0)
}
