//! A journal as long as one likes, of which all that happens is that pods' readiness changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use purser_events::pod::PodEvent;
use purser_events::pod::event::ReadinessChanged;
use purser_events::{
    Cause, ContainerName, Event, NodeUid, Origin, PodUid, Principal, StreamId, StreamVersion, Timestamp,
    WorkerUid,
};
use purser_storage::{Append, Journal, JournalConfig, StreamWrite};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{BOOT, NODE, START, event, spec, started};

/// Pods that are there all the time.
pub(crate) const PODS: u64 = 200;

/// Records of each pod in one commit: an even number, so that it ends as it began.
const IN_ROW: u64 = 20;

/// Time between two commits.
const STEP_US: i64 = 10_000_000;

/// Writes a journal of so many records: pods that run and whose readiness changes, with texts that differ by the seed.
pub(crate) fn write(config: JournalConfig, events: u64, seed: u64) {
    let clock = Arc::new(AtomicI64::new(START));
    let told = Arc::clone(&clock);
    let now = move || Timestamp(told.load(Ordering::SeqCst));
    let journal = Journal::open(config, now, |_| {}, |_| {}).expect("it can be made");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    let append = |writes: Vec<StreamWrite>| {
        clock.fetch_add(STEP_US, Ordering::SeqCst);
        let origin = Origin { cause: Cause::Node, correlation: NODE, principal: Principal::node() };
        runtime
            .block_on(journal.append(Append { writes, origin, command: None }))
            .expect("it can be written");
    };
    let mut versions = vec![0; usize::try_from(PODS).expect("it is small")];
    let first = StreamWrite {
        stream: NodeUid(NODE).stream(),
        expected: StreamVersion(0),
        events: vec![event("node.started", &started())],
    };
    append(vec![first]);
    let mut left = events - 1;
    for (pod, version) in (0..PODS).zip(&mut versions) {
        append(vec![take(stream(pod), version, births(pod), &mut left)]);
    }
    let mut turn = 0;
    while left > 0 {
        turn += 1;
        let writes = (0..PODS).zip(&mut versions).map(|(pod, version)| {
            let changes = (0..IN_ROW).map(|row| changed(seed + turn, pod, row)).collect();
            take(stream(pod), version, changes, &mut left)
        });
        append(writes.filter(|write| !write.events.is_empty()).collect());
    }
    journal.close().expect("it can be closed");
}

/// Appends one more event of the node, of which so many are there, to a journal that was written so.
pub(crate) fn append_to_node(config: JournalConfig, records: u64, event: Event) {
    let now = || Timestamp(START + 365 * 24 * 3_600 * 1_000_000);
    let journal = Journal::open(config, now, |_| {}, |_| {}).expect("it can be opened");
    let stream = NodeUid(NODE).stream();
    let expected = StreamVersion(records);
    let origin = Origin { cause: Cause::Node, correlation: NODE, principal: Principal::node() };
    let writes = vec![StreamWrite { stream, expected, events: vec![event] }];
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    runtime.block_on(journal.append(Append { writes, origin, command: None })).expect("it can be written");
    journal.close().expect("it can be closed");
}

/// As many of the events as are left to write.
fn take(stream: StreamId, version: &mut u64, mut events: Vec<Event>, left: &mut u64) -> StreamWrite {
    events.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
    let len = events.len() as u64;
    let expected = StreamVersion(*version);
    *left -= len;
    *version += len;
    StreamWrite { stream, expected, events }
}

pub(crate) fn uid(pod: u64) -> PodUid {
    PodUid(Uuid::from_u64_pair(0x019a_0000_0000_7000, 0x8000_0000_0001_0000 + pod))
}

pub(crate) fn stream(pod: u64) -> StreamId {
    uid(pod).stream()
}

/// A pod that comes up.
fn births(pod: u64) -> Vec<Event> {
    let at = "2026-03-01T12:00:05.500000Z";
    let (uid, container) = (uid(pod), ContainerName::new("main").expect("it is a name"));
    let worker = WorkerUid::of(uid, &container, 1);
    let process = json!({ "hostPid": 4_242 + pod, "startTimeTicks": 777, "bootId": BOOT, "containerPid": 1 });
    let up = json!({ "container": "main", "attempt": 1, "process": process, "startedAt": at });
    let of: [(&str, Value); 7] = [
        (
            "pod.admitted",
            json!({ "uid": uid, "spec": spec("default", &format!("web-{pod}")), "supersedes": null }),
        ),
        ("pod.provisioning-started", json!({ "run": 1 })),
        ("pod.setup-requested", json!({ "attempt": 1 })),
        ("pod.setup-completed", json!({ "images": [] })),
        ("pod.container-create-requested", json!({ "container": "main", "attempt": 1, "worker": worker })),
        ("pod.container-started", up),
        ("pod.started", json!({ "at": at })),
    ];
    of.iter().map(|(name, payload)| event(name, payload)).collect()
}

/// What a probe saw; different each time.
fn changed(turn: u64, pod: u64, row: u64) -> Event {
    let mixed = (turn * 31 + pod * 17 + row).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let message = format!(
        "GET http://10.88.{}.{}:8080/healthz: status {} after {} ms: upstream closed the connection while the header of \
         the response was read from the backend, attempt {turn}",
        pod / 256,
        pod % 256,
        500 + mixed % 100,
        mixed >> 50,
    );
    let container = ContainerName::new("main").expect("it is a name");
    Event::from(PodEvent::from(ReadinessChanged { container, ready: row % 2 == 1, message }))
}
