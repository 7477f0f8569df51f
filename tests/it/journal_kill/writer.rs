//! The process that is killed: checks what the one before it left, then lets several committers append, and says
//! after each append that it was acknowledged.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use purser_events::node::event::{Cordoned, Started};
use purser_events::pod::event::{Exit, ExitReason};
use purser_events::worker::event::{Exited, Registered};
use purser_events::worker::{ProcessIdentity, Worker, WorkerEvent};
use purser_events::{
    Bytes, Cause, ContainerName, Event, NodeUid, Origin, PodUid, Principal, StreamId, StreamVersion,
    Timestamp, WorkerUid, World,
};
use purser_storage::store::Backend;
use purser_storage::{Append, Journal, StreamWrite};
use purser_tests::random::Random;
use purser_tests::upkeep;
use uuid::Uuid;

use super::ack::{Ack, CommitId};
use super::check::{self, Found, Opened};

/// What is told once what was left is as it must be.
pub(super) const CHECKED: &str = "checked\n";
/// Committers that append at the same time.
const COMMITTERS: u64 = 4;
/// Commits of a process that nobody kills, which only happens if the test itself is gone.
const COMMITS_MAX: usize = 10_000;
/// The node whose stream the first committer writes.
const NODE: NodeUid = NodeUid(Uuid::from_u128(1));
/// When everything happens.
pub(super) const NOON: Timestamp = Timestamp(1_790_000_000_000_000);

/// What a process is to do.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    pub folder: PathBuf,
    pub backend: Backend,
    /// The file with all acknowledgements so far.
    pub acks: PathBuf,
    /// Acknowledgements before this one were checked already.
    pub since: usize,
    pub seed: u64,
    /// Whether to look at everything, not only at what is new.
    pub all: bool,
    /// Whether to end after the check.
    pub last: bool,
}

const FOLDER: &str = "PURSER_KILL_CHILD_FOLDER";
const ACKS: &str = "PURSER_KILL_CHILD_ACKS";
const ORDERS: &str = "PURSER_KILL_CHILD_ORDERS";

impl Orders {
    /// Puts the orders into a child's environment.
    pub(super) fn give(&self, command: &mut Command) {
        let Orders { folder, backend, acks, since, seed, all, last } = self;
        command.env(FOLDER, folder).env(ACKS, acks);
        command.env(ORDERS, format!("{} {since} {seed} {all} {last}", backend.name()));
    }

    /// The orders in this process' environment.
    pub(super) fn taken() -> Option<Orders> {
        let (folder, acks) = (std::env::var_os(FOLDER)?.into(), std::env::var_os(ACKS)?.into());
        let orders = std::env::var(ORDERS).unwrap();
        let words: Vec<&str> = orders.split(' ').collect();
        let [backend, since, seed, all, last] = words[..] else { panic!("{orders}") };
        let backend = [Backend::Sled, Backend::Redb].into_iter().find(|known| known.name() == backend);
        Some(Orders {
            folder,
            backend: backend.unwrap(),
            acks,
            since: since.parse().unwrap(),
            seed: seed.parse().unwrap(),
            all: all.parse().unwrap(),
            last: last.parse().unwrap(),
        })
    }
}

/// Does as told, until it is killed.
pub(super) fn obey(orders: &Orders) {
    let mut told = |line: &str| io::stdout().lock().write_all(line.as_bytes());
    told("\nbegun\n").unwrap();
    let acks = std::fs::read_to_string(&orders.acks).unwrap();
    let acks: Vec<Ack> = acks.split_inclusive('\n').map(|line| Ack::parse(line).unwrap()).collect();
    let opened = check::open(orders).unwrap();
    check::check(&opened, &acks, orders);
    told(CHECKED).unwrap();
    if orders.last {
        return opened.journal.close().unwrap();
    }
    write(&opened, orders, COMMITS_MAX, &mut told);
}

/// Lets the committers make so many commits together, and tells of each one.
pub(super) fn write(
    Opened { journal, records, .. }: &Opened,
    orders: &Orders,
    commits: usize,
    tell: &mut (dyn FnMut(&str) -> io::Result<()> + Send),
) {
    let found = Found::of(records);
    let live = Arc::new(Mutex::new(found.world));
    let left = AtomicUsize::new(commits);
    let tell = Mutex::new(tell);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (writing, written) = tokio::sync::mpsc::channel::<()>(1);
    std::thread::scope(|scope| {
        let handle = runtime.handle().clone();
        scope.spawn(move || compress_what_is_sealed(journal, &handle, written));
        for number in 0..COMMITTERS {
            let committer = Committer::new(number, journal, orders, &live, &found.versions);
            let (left, tell, handle) = (&left, &tell, runtime.handle().clone());
            let writing = writing.clone();
            scope.spawn(move || {
                committer.run(&handle, left, tell);
                drop(writing);
            });
        }
        drop(writing);
    });
}

/// Compresses segments, those of processes that were killed first, until nobody writes any more.
fn compress_what_is_sealed(
    journal: &Journal,
    runtime: &tokio::runtime::Handle,
    mut written: tokio::sync::mpsc::Receiver<()>,
) {
    let mut seals = journal.seals();
    loop {
        upkeep::compress(journal).unwrap();
        let goes_on = runtime.block_on(async {
            tokio::select! {
                sealed = seals.changed() => sealed.is_ok(),
                _ = written.recv() => false,
            }
        });
        if !goes_on {
            break;
        }
    }
}

type Versions = std::collections::BTreeMap<StreamId, StreamVersion>;
type Tell<'a> = &'a mut (dyn FnMut(&str) -> io::Result<()> + Send);

/// One that appends; the first to the node's stream, the others to those of workers of their own.
struct Committer {
    number: u64,
    journal: Journal,
    random: Random,
    /// What the committers together have folded of what was acknowledged to them.
    live: Arc<Mutex<World>>,
    node: StreamVersion,
    /// Workers that run.
    workers: Vec<WorkerUid>,
}

impl Committer {
    fn new(
        number: u64,
        journal: &Journal,
        orders: &Orders,
        live: &Arc<Mutex<World>>,
        versions: &Versions,
    ) -> Committer {
        let running = |(uid, worker): (&WorkerUid, &Worker)| match worker {
            Worker::Running(state) => (state.attempt == u32::try_from(number).unwrap()).then_some(*uid),
            Worker::Unknown | Worker::Exited { .. } => None,
        };
        // Those of processes that were killed: their streams go on.
        let workers = live.lock().unwrap().workers.iter().filter_map(running).collect();
        Committer {
            number,
            journal: journal.clone(),
            random: Random(orders.seed ^ number << 8),
            live: Arc::clone(live),
            node: versions.get(&NODE.stream()).copied().unwrap_or(StreamVersion::NONE),
            workers,
        }
    }

    fn run(mut self, runtime: &tokio::runtime::Handle, left: &AtomicUsize, tell: &Mutex<Tell<'_>>) {
        let is_left =
            || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        for number in 0.. {
            if !is_left() {
                break;
            }
            let commit = CommitId { epoch: self.journal.epoch(), committer: self.number, number };
            let ack = self.commit(commit, runtime);
            if (tell.lock().unwrap())(&ack.line()).is_err() {
                // Nobody listens any more.
                break;
            }
        }
    }

    fn commit(&mut self, commit: CommitId, runtime: &tokio::runtime::Handle) -> Ack {
        let writes = if self.number == 0 { self.of_the_node(commit) } else { self.of_workers(commit) };
        let principal = Principal::new("committer");
        let origin = Origin { cause: Cause::Node, correlation: commit.uuid(), principal };
        let append = Append { writes, origin, command: commit.command() };
        let appended = runtime.block_on(self.journal.append(append)).unwrap();
        assert_eq!((appended.records.len(), appended.duplicate), (commit.len(), None));
        let first = appended.records.first().unwrap().header.seq;
        let last = appended.records.last().unwrap().header.seq;
        let stored = self.journal.read(last, 1).unwrap();
        let mut live = self.live.lock().unwrap();
        // What others appended comes from the journal, at the latest now.
        while live.head < last {
            for stored in self.journal.read(live.head.next(), 64).unwrap() {
                live.apply(&stored.record().unwrap()).unwrap();
            }
        }
        let (world_head, world_digest) = (live.head, live.digest());
        Ack { commit, first, last, hash: stored[0].hash, world_head, world_digest }
    }

    fn of_the_node(&mut self, commit: CommitId) -> Vec<StreamWrite> {
        let expected = self.node;
        let mut events: Vec<Event> = Vec::new();
        for _ in 0..commit.len() {
            let mut cordoned = || Cordoned { reason: padding(&mut self.random) };
            let event = if self.node == StreamVersion::NONE { started() } else { cordoned().into() };
            events.push(event.into());
            self.node = self.node.next();
        }
        vec![StreamWrite { stream: NODE.stream(), expected, events }]
    }

    /// Each event is a write of its own: of workers that begin, and of those that end.
    fn of_workers(&mut self, commit: CommitId) -> Vec<StreamWrite> {
        let writes = (0..commit.len()).map(|index| {
            let ends = !self.workers.is_empty() && self.random.percent(60);
            if ends {
                let uid = self.workers.swap_remove(self.random.index(self.workers.len()));
                let exit = Exit { code: 1, reason: ExitReason::Error, finished_at: NOON };
                let events = vec![WorkerEvent::from(Exited { exit }).into()];
                StreamWrite { stream: uid.stream(), expected: StreamVersion(1), events }
            } else {
                let registered = registered(commit, index);
                let uid = WorkerUid::of(registered.pod, &registered.container, registered.attempt);
                self.workers.push(uid);
                let events = vec![WorkerEvent::from(registered).into()];
                StreamWrite { stream: uid.stream(), expected: StreamVersion::NONE, events }
            }
        });
        writes.collect()
    }
}

fn registered(commit: CommitId, index: usize) -> Registered {
    let host_pid = u32::try_from(commit.number * 100 + index as u64).unwrap();
    Registered {
        pod: PodUid(commit.uuid()),
        container: ContainerName::new(format!("worker-{index}")).unwrap(),
        attempt: u32::try_from(commit.committer).unwrap(),
        process: ProcessIdentity {
            host_pid,
            start_time_ticks: commit.epoch << 8 | commit.committer,
            boot_id: Uuid::from_u128(7),
            container_pid: 1,
        },
    }
}

/// Mostly short; now and then as long as it takes to fill segments.
fn padding(random: &mut Random) -> String {
    let len = match random.below(100) {
        0..=79 => random.below(300),
        80..=96 => 300 + random.below(3_000),
        _ => 4_000 + random.below(50_000),
    };
    let letters = b"abcdefghijklmnopqrstuvwxyz";
    (0..len).map(|_| char::from(letters[random.index(letters.len())])).collect()
}

fn started() -> purser_events::node::NodeEvent {
    Started {
        node: NODE,
        hostname: "host".to_owned(),
        boot_id: Uuid::from_u128(7),
        version: "0".to_owned(),
        kernel: "0".to_owned(),
        cores: 1,
        memory: Bytes(1 << 30),
        pid: 1,
        recovery: None,
    }
    .into()
}
