//! Millions of events through one journal: do memory, files and open handles stay as they are? `make soak` runs it;
//! `EVENTS` says how many, `BATCH` how many of them are in one commit.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use purser_events::node::event::{Cordoned, Started};
use purser_events::{Bytes, Cause, Event, NodeUid, Origin, Principal, Seq, StreamVersion, Timestamp};
use purser_storage::{Append, Journal, JournalConfig, SEGMENT_BYTES_MIN, StreamWrite};
use purser_tests::bench::number_from;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Committers at the same time, each with a stream of its own.
const COMMITTERS: u64 = 16;
/// Figures are printed so many times.
const LOOKS: u64 = 20;
/// Bytes of what each event says.
const REASON_LEN: usize = 200;
/// Records that are kept, where there is a retention.
const KEPT: u64 = 200_000;
/// The first part of a run, in which caches fill, says nothing about growth.
const WARM_UP_LOOKS: usize = 4;
/// Growth of memory from the end of the warm-up to the end that still counts as flat, in percent.
const GROWTH_PERCENT_MAX: f64 = 15.0;
/// The same in bytes: below this, percentages say nothing.
const GROWTH_BYTES_MIN: f64 = 16.0 * 1_048_576.0;

/// What is looked at every now and then.
#[derive(Debug, Clone, Copy)]
struct Look {
    events: u64,
    memory: f64,
    handles: usize,
    files: usize,
    disk: f64,
}

impl Look {
    fn now(events: u64, journal: &Journal, dir: &Path) -> Look {
        let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells it");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = kib.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        let count = |path: &Path| std::fs::read_dir(path).expect("the folder is there").count();
        let disk = journal.stats().expect("the journal is open").bytes_on_disk;
        Look {
            events,
            memory: kib.expect("the kernel tells it") * 1_024.0,
            handles: count(Path::new("/proc/self/fd")),
            files: count(&dir.join("segments")),
            disk: figure(disk),
        }
    }

    fn print(&self, rate: f64) {
        let mib = |bytes: f64| bytes / 1_048_576.0;
        println!(
            "{:>11} events   RSS {:8.1} MiB   on disk {:9.1} MiB in {:>5} segments   {:>3} handles   {:>9.0} events/s",
            self.events,
            mib(self.memory),
            mib(self.disk),
            self.files,
            self.handles,
            rate
        );
    }
}

fn figure(bytes: u64) -> f64 {
    bytes as f64
}

/// Lets go of what is older than [`KEPT`] records; false while the journal has no retention, so that what it takes on
/// disk must grow. The one place to be changed when it has.
fn retain(_: &Journal, _upto: Seq) -> bool {
    false
}

fn append(stream: NodeUid, expected: StreamVersion, events: Vec<Event>) -> Append {
    let origin = Origin { cause: Cause::Node, correlation: stream.0, principal: Principal::node() };
    Append { writes: vec![StreamWrite { stream: stream.stream(), expected, events }], origin, command: None }
}

/// Appends so many events in batches to a stream that has so many already.
async fn commit(journal: Journal, stream: NodeUid, from: u64, events: u64, batch: u64) {
    let (mut version, end) = (from, from + events);
    while version < end {
        let count = batch.min(end - version);
        let event = |number: u64| {
            let reason = format!("{number:0>REASON_LEN$}");
            if number == 0 { started(stream) } else { Event::Node(Cordoned { reason }.into()) }
        };
        let events = (version..version + count).map(event).collect();
        let appended = journal.append(append(stream, StreamVersion(version), events)).await;
        appended.expect("the journal takes what is appended");
        version += count;
    }
}

fn started(node: NodeUid) -> Event {
    let started = Started {
        node,
        hostname: "soak".to_owned(),
        boot_id: Uuid::nil(),
        version: "0".to_owned(),
        kernel: "0".to_owned(),
        cores: 1,
        memory: Bytes(1 << 30),
        pid: 1,
        recovery: None,
    };
    Event::Node(started.into())
}

fn is_flat(looks: &[f64], slack: f64) -> bool {
    let settled = looks.get(WARM_UP_LOOKS..).unwrap_or_default();
    let (Some(first), Some(last)) = (settled.first(), settled.last()) else { return false };
    last - first <= (first * GROWTH_PERCENT_MAX / 100.0).max(slack)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let (events, batch) = (number_from("EVENTS", 10_000_000), number_from("BATCH", 16).max(1));
    let folder = tempfile::tempdir().expect("a folder can be made");
    let dir = folder.path().join("journal");
    // Many segments, so that what one of them leaves behind adds up.
    let config = JournalConfig { segment_bytes: SEGMENT_BYTES_MIN * 16, ..JournalConfig::new(&dir) };
    let noon = Timestamp(1_790_000_000_000_000);
    let journal = Journal::open(config, move || noon, |_| {}, |_| {}).expect("the journal opens");
    let per_look = (events / LOOKS / COMMITTERS).max(1);
    println!("{events} events of {REASON_LEN} bytes in commits of {batch} by {COMMITTERS} committers");
    let (mut looks, mut is_retained) = (Vec::new(), true);
    for look in 0..LOOKS {
        let began = Instant::now();
        let mut committers = JoinSet::new();
        for number in 0..COMMITTERS {
            let stream = NodeUid(Uuid::from_u128(u128::from(number) + 1));
            committers.spawn(commit(journal.clone(), stream, look * per_look, per_look, batch));
        }
        committers.join_all().await;
        let upto = Seq(journal.head().seq.0.saturating_sub(KEPT));
        is_retained &= retain(&journal, upto);
        let now = Look::now(journal.head().seq.0, &journal, &dir);
        now.print(figure(per_look * COMMITTERS) / began.elapsed().as_secs_f64());
        looks.push(now);
    }
    journal.close().expect("nothing failed");
    verdict(&looks, is_retained)
}

fn verdict(looks: &[Look], is_retained: bool) -> ExitCode {
    let of = |figure: fn(&Look) -> f64| looks.iter().map(figure).collect::<Vec<f64>>();
    let word = |flat: bool| if flat { "flat" } else { "not flat" };
    let memory = is_flat(&of(|look| look.memory), GROWTH_BYTES_MIN);
    let handles = is_flat(&of(|look| look.handles as f64), 4.0);
    let disk = is_flat(&of(|look| look.disk), GROWTH_BYTES_MIN);
    let of_disk = if is_retained { word(disk) } else { "grows with the events, nothing is let go of" };
    println!("verdict: memory {}, handles {}, disk: {of_disk}", word(memory), word(handles));
    let all = memory && handles && (disk || !is_retained);
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
