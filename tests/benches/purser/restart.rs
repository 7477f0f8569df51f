//! From exec to ready with a hundred pods and a hundred thousand events, against reading and decoding the same
//! journal and nothing else.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use purser_events::pod::PodEvent;
use purser_events::pod::event::ReadinessChanged;
use purser_events::{Cause, Event, Origin, Principal, Record, StreamId, StreamVersion, Timestamp, World};
use purser_storage::store::{SledStore, Store};
use purser_storage::{Append, Journal, JournalConfig, Replayed, StoredRecord, StreamWrite};
use purser_tests::bench::{Times, ratio};
use purser_tests::feed::Feed;
use purser_tests::http;
use purser_tests::purserd::{Purserd, Setup};
use uuid::Uuid;

/// Names the journal that this program is to read and nothing else.
pub(crate) const READ_ALONE: &str = "PURSER_BENCH_READ_ALONE";

const PODS: u32 = 100;
const EVENTS: u64 = 100_000;
const ROUNDS: u32 = 15;
/// Events that are appended at once while the journal is filled.
const BATCH: u64 = 200;

pub(crate) fn run() {
    let mut purserd = Purserd::start(&Setup::default());
    run_pods(&purserd, PODS);
    assert!(purserd.stop().success(), "{}", purserd.log());
    let journal = purserd.data_dir().join("journal");
    fill(&journal);
    let (mut ready, mut plain) = (Times::default(), Times::default());
    let mut events = 0;
    for _ in 0..ROUNDS {
        let since = Instant::now();
        events = read_as_a_program(&journal);
        plain.add(since.elapsed());
        let since = Instant::now();
        purserd.restart();
        ready.add(since.elapsed());
        purserd.kill9();
    }
    println!(
        "restart: {PODS} pods run as processes, {events} events, {ROUNDS} rounds in turn, kill -9 between"
    );
    println!("  exec of a program that reads the journal, to its end   {}", plain.line());
    println!(
        "  exec of purserd to ready                               {}   {:.2} x",
        ready.line(),
        ratio(&ready, &plain)
    );
    purserd.restart();
}

/// Runs so many pods and waits until all do.
pub(crate) fn run_pods(purserd: &Purserd, count: u32) {
    let mut feed = Feed::live(purserd);
    for number in 0..count {
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"bench-{number}"}},"spec":{{
            "runtimeClassName":"process","terminationGracePeriodSeconds":1,
            "containers":[{{"name":"main","command":["sleep","100000"]}}]}}}}"#
        );
        let answer = http::request(&purserd.socket(), "POST", "/v1/pods", None, &body);
        assert_eq!(answer.expect("purserd answers").status, 201);
    }
    for _ in 0..count {
        feed.until(|event| event.kind == "pod.started");
    }
}

/// Appends what readiness probes of these pods could have led to until the journal is as long as wanted.
fn fill(dir: &Path) {
    let (mut world, mut heads) = (World::default(), BTreeMap::new());
    let replay = |replayed: Replayed| {
        let Replayed::Record(record) = replayed else { panic!("the journal is sound") };
        fold(&mut world, &mut heads, &record);
    };
    let now = || Timestamp(1_790_000_000_000_000);
    let journal = Journal::open(JournalConfig::new(dir), now, replay, |_| {}).expect("the journal opens");
    let pods: Vec<_> = world.pods.iter().filter_map(|(uid, pod)| pod.live().map(|pod| (*uid, pod))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    let mut ready = true;
    'filled: loop {
        for (uid, pod) in &pods {
            let stream = uid.stream();
            let events = (0..BATCH).map(|_| {
                ready = !ready;
                let container = pod.containers[0].name.clone();
                let changed = ReadinessChanged { container, ready, message: "command succeeded".to_owned() };
                Event::from(PodEvent::from(changed))
            });
            let events: Vec<Event> = events.collect();
            let expected = heads[&stream];
            heads.insert(stream, StreamVersion(expected.0 + BATCH));
            let origin =
                Origin { cause: Cause::Node, correlation: Uuid::nil(), principal: Principal::node() };
            let writes = vec![StreamWrite { stream, expected, events }];
            runtime
                .block_on(journal.append(Append { writes, origin, command: None }))
                .expect("it is written");
            if EVENTS <= journal.head().seq.0 {
                break 'filled;
            }
        }
    }
    journal.close().expect("the journal can be closed");
}

fn fold(world: &mut World, heads: &mut BTreeMap<StreamId, StreamVersion>, record: &Record) {
    world.apply(record).expect("the journal can be folded");
    heads.insert(record.header.stream, record.header.version);
}

/// Reads the journal as a program of its own, from its exec to its end: purserd is one too.
fn read_as_a_program(journal: &Path) -> u64 {
    let bench = std::env::current_exe().expect("the bench has a path");
    let output = Command::new(bench).env(READ_ALONE, journal).output().expect("the bench can be run");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("it prints the number of events")
}

/// Opens the store, reads every record and decodes it; nothing is checked beyond that and nothing kept.
#[expect(clippy::disallowed_methods, reason = "what runs at an end in order is not measured")]
pub(crate) fn read_alone(journal: &Path) -> ! {
    const CACHE_BYTES: u64 = 16 << 20;
    let store = SledStore::open(&journal.join("sled"), CACHE_BYTES).expect("the store opens");
    let mut events = 0;
    let scanned = store.scan(b"e", b"f", &mut |_, value| {
        let record = StoredRecord::parse(value.to_vec()).expect("a frame");
        std::hint::black_box(record.record().expect("an event"));
        events += 1;
        ControlFlow::Continue(())
    });
    scanned.expect("the store can be read");
    println!("{events}");
    // The program ends with its answer, as purserd says that it is ready: closing the store is no part of reading.
    std::process::exit(0)
}
