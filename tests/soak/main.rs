//! Millions of events through one sealed journal: do memory, files and open handles stay as they are? `make soak` runs
//! it; `EVENTS` says how many, `BATCH` how many of them are in one commit, `BACKEND` what keeps the store: `sled` or
//! `redb`.

#[path = "../../storage/tests/versions/mod.rs"]
mod versions;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use purser_events::node::event::{Cordoned, Started};
use purser_events::{Bytes, Cause, Event, NodeUid, Origin, Principal, StreamVersion, Timestamp};
use purser_storage::retention::{Retention, plan};
use purser_storage::store::Backend;
use purser_storage::{Append, Journal, JournalConfig, JournalError, SEGMENT_BYTES_MIN, StreamWrite};
use purser_tests::bench::{bytes_on_disk, number_from};
use purser_tests::random::Random;
use purser_tests::sealed;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::versions::Versions;

/// Committers at the same time, each with a stream of its own.
const COMMITTERS: u64 = 16;
/// What the sealing keys are made of.
const SEED: u64 = 0x0070_7572_7365_7204;
/// Figures are printed so many times.
const LOOKS: u64 = 20;
/// Bytes of what each event says.
const REASON_LEN: usize = 200;
/// What every record is stamped with.
const NOON: Timestamp = Timestamp(1_790_000_000_000_000);
/// How much of the past is kept, by what it takes once it is compressed.
const RETENTION: Retention = Retention { age_ms: u64::MAX, bytes: 8 << 20, segments_min: 4, archive: false };
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
    /// What of it is the store.
    store: f64,
    /// Records under the last checkpoint.
    sealed: u64,
}

impl Look {
    fn now(journal: &Journal, dir: &Path, backend: Backend) -> Look {
        let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells it");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = kib.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        let count = |path: &Path| std::fs::read_dir(path).expect("the folder is there").count();
        Look {
            events: journal.head().seq.0,
            memory: kib.expect("the kernel tells it") * 1_024.0,
            handles: count(Path::new("/proc/self/fd")),
            files: count(&dir.join("segments")),
            disk: figure(bytes_on_disk(dir)),
            store: figure(bytes_on_disk(&dir.join(backend.name()))),
            sealed: journal.sealing().borrow().sealed,
        }
    }

    fn print(&self, rate: f64) {
        let mib = |bytes: f64| bytes / 1_048_576.0;
        println!(
            "{:>11} events   {:>11} sealed   RSS {:6.1} MiB   on disk {:7.1} MiB, {:7.1} of them {} segments, \
             {:7.1} the store   {:>3} handles   {:>8.0} events/s",
            self.events,
            self.sealed,
            mib(self.memory),
            mib(self.disk),
            mib(self.disk - self.store),
            self.files,
            mib(self.store),
            self.handles,
            rate
        );
    }
}

fn figure(bytes: u64) -> f64 {
    bytes as f64
}

/// Keeps the journal's house as the service does: compresses what is sealed and lets go of what is over [`RETENTION`].
fn keep_house(journal: &Journal) -> Result<(), JournalError> {
    for segment in journal.segments().into_iter().filter(|segment| !segment.compressed) {
        journal.compress(segment.first)?;
    }
    let later = NOON.plus_ms(1_000);
    let due = plan(&journal.segments(), later, &RETENTION, journal.protected_from());
    due.map_or(Ok(()), |upto| journal.trim(upto, |_| true).map(|_| ()))
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

/// What keeps the store.
fn backend() -> Backend {
    match std::env::var("BACKEND").unwrap_or_default().as_str() {
        "" | "sled" => Backend::Sled,
        "redb" => Backend::Redb,
        other => panic!("BACKEND is `sled` or `redb`, not `{other}`"),
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let (events, batch) = (number_from("EVENTS", 10_000_000), number_from("BATCH", 16).max(1));
    let folder = tempfile::tempdir().expect("a folder can be made");
    let dir = folder.path().join("journal");
    // Many segments, so that what one of them leaves behind adds up.
    let backend = backend();
    let config = JournalConfig { segment_bytes: SEGMENT_BYTES_MIN * 16, backend, ..JournalConfig::new(&dir) };
    let journal = Versions::open(config, NOON).expect("the journal opens");
    sealed::seal(&journal, &folder.path().join("key"), Random(SEED), || NOON);
    let per_look = (events / LOOKS / COMMITTERS).max(1);
    println!(
        "{events} events of {REASON_LEN} bytes in commits of {batch} by {COMMITTERS} committers, a checkpoint every {} \
         events, store on {}",
        sealed::checkpoint_events(),
        backend.name()
    );
    let mut looks = Vec::new();
    for look in 0..LOOKS {
        let began = Instant::now();
        let mut committers = JoinSet::new();
        for number in 0..COMMITTERS {
            let stream = NodeUid(Uuid::from_u128(u128::from(number) + 1));
            committers.spawn(commit(journal.clone(), stream, look * per_look, per_look, batch));
        }
        committers.join_all().await;
        sealed::settled(&journal).await;
        keep_house(&journal).expect("nothing fails");
        let now = Look::now(&journal, &dir, backend);
        now.print(figure(per_look * COMMITTERS) / began.elapsed().as_secs_f64());
        looks.push(now);
    }
    journal.close().expect("nothing failed");
    verdict(&looks)
}

fn verdict(looks: &[Look]) -> ExitCode {
    let of = |figure: fn(&Look) -> f64| looks.iter().map(figure).collect::<Vec<f64>>();
    let word = |flat: bool| if flat { "flat" } else { "not flat" };
    let memory = is_flat(&of(|look| look.memory), GROWTH_BYTES_MIN);
    let handles = is_flat(&of(|look| look.handles as f64), 4.0);
    let disk = is_flat(&of(|look| look.disk), GROWTH_BYTES_MIN);
    let files = is_flat(&of(|look| look.files as f64), 4.0);
    let (memory_word, handles_word) = (word(memory), word(handles));
    println!(
        "verdict: memory {memory_word}, handles {handles_word}, files {}, disk {}",
        word(files),
        word(disk)
    );
    if memory && handles && files && disk { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
