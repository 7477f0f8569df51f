//! From exec to ready with a hundred pods and a hundred thousand events, against reading and decoding the same
//! journal and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use purser_events::pod::PodEvent;
use purser_events::pod::event::ReadinessChanged;
use purser_events::{Cause, Event, Origin, Principal, Record, StreamId, StreamVersion, Timestamp, World};
use purser_storage::{Append, Journal, JournalConfig, Replayed, StoredRecord, StreamWrite};
use purser_tests::bench::{Bound, Times, ratio};
use purser_tests::feed::Feed;
use purser_tests::http;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::{Value, json};
use uuid::Uuid;

const PODS: u32 = 100;
const EVENTS: u64 = 100_000;
const ROUNDS: u32 = 15;
/// Events that are appended at once while the journal is filled.
const BATCH: u64 = 200;
/// Of the time from exec to ready, to that of the reference.
const WANTED: Bound = Bound::AtMost(1.5);

pub(crate) fn run() {
    let mut purserd = Purserd::start(&Setup::default());
    run_pods(&purserd, PODS);
    assert!(purserd.stop().success(), "{}", purserd.log());
    let journal = purserd.data_dir().join("journal");
    fill(&journal);
    let (mut folded, mut restored, mut plain) = (Times::default(), Times::default(), Times::default());
    let mut events = 0;
    for _ in 0..ROUNDS {
        let since = Instant::now();
        events = read_and_decode(&journal);
        plain.add(since.elapsed());
        fs::remove_dir_all(journal.join("snapshots")).expect("the snapshots can be removed");
        let since = Instant::now();
        purserd.restart();
        folded.add(since.elapsed());
        wait_for_a_snapshot(&journal);
        purserd.kill9();
        let since = Instant::now();
        purserd.restart();
        restored.add(since.elapsed());
        purserd.kill9();
    }
    println!(
        "restart: {PODS} pods run as processes, {events} events, {ROUNDS} rounds in turn, kill -9 between"
    );
    println!("  reading and decoding the segments, in the bench itself   {}", plain.line());
    for (what, times) in [("without a snapshot", &folded), ("from its last snapshot", &restored)] {
        let ratio = ratio(times, &plain);
        let (line, verdict) = (times.line(), WANTED.verdict(ratio, ""));
        println!("  exec of purserd to ready, {what:<30} {line}   {ratio:.2} x   {verdict}");
    }
    purserd.restart();
}

/// The service writes one right after a start that had much to fold.
fn wait_for_a_snapshot(journal: &Path) {
    let is_there = || {
        let entries = fs::read_dir(journal.join("snapshots"));
        entries.is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.path().extension().is_some_and(|extension| extension == "snap"))
        })
    };
    while !is_there() {
        std::thread::yield_now();
    }
}

/// Runs so many pods and waits until all do.
pub(crate) fn run_pods(purserd: &Purserd, count: u32) {
    run_pods_with(purserd, count, &json!({}));
}

/// Runs so many pods with these annotations and waits until all do.
pub(crate) fn run_pods_with(purserd: &Purserd, count: u32, annotations: &Value) {
    let mut feed = Feed::live(purserd);
    for number in 0..count {
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"bench-{number}","annotations":{annotations}}},"spec":{{
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

/// Reads every record of every segment and decodes it; checksums are compared, nothing else is checked and nothing
/// kept.
fn read_and_decode(journal: &Path) -> u64 {
    let entries = fs::read_dir(journal.join("segments")).expect("the journal has segments");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    paths.iter().map(|path| decode_segment(&fs::read(path).expect("a segment can be read"))).sum()
}

fn decode_segment(bytes: &[u8]) -> u64 {
    const HEADER_LEN: usize = 72;
    const PREFIX_LEN: usize = 8;
    const RECORD: u8 = 1;
    let (mut rest, mut records) = (&bytes[HEADER_LEN..], 0);
    while let Some((prefix, _)) = rest.split_first_chunk::<4>().filter(|(prefix, _)| **prefix != [0; 4]) {
        let len = PREFIX_LEN + u32::from_le_bytes(*prefix) as usize;
        let Some((entry, after)) = rest.split_at_checked(len) else { break };
        if entry[PREFIX_LEN] == RECORD {
            let record = StoredRecord::parse(entry.to_vec()).expect("a frame");
            std::hint::black_box(record.record().expect("an event"));
            records += 1;
        }
        rest = after;
    }
    records
}
