//! How many tasks a second one pool gives to slots when 64 hand them in, beside how many groups of 64 the journal makes
//! durable: a pool that decided only when the disk has answered would serve one at a time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use purser_actors::Service;
use purser_actors::paths::PodPaths;
use purser_actors::port::{Ids, MemberId};
use purser_events::ledger::Capacity;
use purser_events::pod::PodEvent;
use purser_events::pod::event::StartRequested;
use purser_events::pool::{PoolName, TaskExit, TaskId, TaskReport, TaskState};
use purser_events::{Cause, Origin, PodUid, Principal, StreamVersion};
use purser_node::adapter::clock::UuidV7;
use purser_storage::{Append, Journal, JournalConfig, StreamWrite};
use purser_tests::bench::{Bound, Rates, number_from};
use purser_tests::pools;
use purser_tests::stepped::{self, START, Stepped};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Who hands tasks in, or appends.
const CALLERS: usize = 64;
/// How long each side runs in one turn, in seconds; `SECONDS` sets another.
const SECONDS: u64 = 3;
/// Turns of each side.
const TURNS: u32 = 3;
/// Pods of the pool.
const MEMBERS: u32 = 86;
/// Slots of each: as many as a pool has if it does not say.
const SLOTS: u8 = 3;
/// Assignments beside appends.
const WANTED: Bound = Bound::AtLeast(0.5);

pub(crate) fn run() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let turn = Duration::from_secs(number_from("SECONDS", SECONDS));
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let threads = threads.expect("threads can be started");
    let (mut assigned, mut appended) = (Rates::default(), Rates::default());
    let journal = journal(&folder.path().join("reference"));
    let paths = PodPaths::new(folder.path().join("node/pods"));
    actix::System::new().block_on(async {
        let clock = Arc::new(Stepped(watch::Sender::new(START)));
        std::fs::create_dir_all(folder.path().join("node")).expect("a folder can be made");
        let service = stepped::node(&folder.path().join("node"), &paths, clock, Capacity::default()).await;
        let name = PoolName::new("bench").expect("a label");
        service
            .apply_pool(&name, pools::spec(MEMBERS, SLOTS), pools::request())
            .await
            .expect("a pool is set");
        for member in 1..=u64::from(MEMBERS) {
            pools::connect(&service, &name, member).await;
        }
        for _ in 0..TURNS {
            let begun = Instant::now();
            let count = turn_of_pool(&threads, &service, &name, begun + turn).await;
            assigned.add(count, begun.elapsed());
            let begun = Instant::now();
            let count = turn_of_journal(&threads, &journal, begun + turn).await;
            appended.add(count, begun.elapsed());
        }
        service.delete_pool(&name, true, pools::request()).await.expect("the pool goes");
    });
    purser_tests::leftovers::end_control_groups(&folder.path().join("node"));
    let ratio = assigned.median() / appended.median();
    println!(
        "pools: {CALLERS} callers hand tasks in to one pool and end them, {} slots",
        u32::from(SLOTS) * MEMBERS
    );
    println!("  tasks assigned and released   {}", assigned.line());
    println!("  appends to a journal alone    {}", appended.line());
    println!(
        "  assignments beside appends    {ratio:5.2}   {}   (each has two appends: with its release {:.2})",
        WANTED.verdict(ratio, ""),
        2.0 * ratio
    );
    threads.shutdown_background();
}

/// How many tasks were given to slots, and ended, until a moment.
async fn turn_of_pool(threads: &Runtime, service: &Service, name: &PoolName, until: Instant) -> u64 {
    let count = Arc::new(AtomicU64::new(0));
    let callers = (0..CALLERS).map(|_| {
        let (service, name, count) = (service.clone(), name.clone(), Arc::clone(&count));
        threads.spawn(async move {
            while Instant::now() < until {
                run_one(&service, &name).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("a caller does not panic");
    }
    count.load(Ordering::Relaxed)
}

async fn run_one(service: &Service, name: &PoolName) {
    let id = TaskId(UuidV7.uuid());
    service.submit_task(name, pools::work(id), pools::request()).await.expect("a task is taken");
    let state = service
        .world(|world| world.pools.get(name).and_then(|pool| pool.task(id)).map(|task| task.state.clone()));
    let Some(TaskState::Running { slot, token, .. }) = state else {
        panic!("there are slots for all: {state:?}")
    };
    let member = MemberId { pool: name.clone(), member: slot.member };
    let ended = TaskReport::Finished {
        exit: Some(TaskExit::Code(0)),
        message: String::new(),
        timed_out: false,
        cancelled: false,
    };
    let told = service
        .agent_report(&member, pools::session(slot.member), (id, token), ended, pools::request())
        .await;
    told.expect("it is its own slot");
}

fn journal(dir: &Path) -> Journal {
    let journal = Journal::open(JournalConfig::new(dir), || START, |_| (), |_| ());
    journal.expect("the journal opens")
}

/// How many appends were made durable until a moment.
async fn turn_of_journal(threads: &Runtime, journal: &Journal, until: Instant) -> u64 {
    let count = Arc::new(AtomicU64::new(0));
    let callers = (0..CALLERS).map(|_| {
        let (journal, count) = (journal.clone(), Arc::clone(&count));
        threads.spawn(async move {
            let stream = PodUid(UuidV7.uuid()).stream();
            let mut expected = StreamVersion::NONE;
            while Instant::now() < until {
                let events = vec![PodEvent::from(StartRequested {}).into()];
                let origin =
                    Origin { cause: Cause::Node, correlation: stream.id, principal: Principal::node() };
                let write = StreamWrite { stream, expected, events };
                let append = Append { writes: vec![write], origin, command: None };
                journal.append(append).await.expect("the journal takes it");
                expected = StreamVersion(expected.0 + 1);
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("a caller does not panic");
    }
    count.load(Ordering::Relaxed)
}
