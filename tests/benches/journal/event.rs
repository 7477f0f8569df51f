//! The events that are appended: what probes say, with payloads of exactly 200 bytes.

use std::time::Instant;

use purser_events::pod::PodEvent;
use purser_events::pod::event::ReadinessChanged;
use purser_events::{Cause, ContainerName, Event, Origin, Principal, StreamId, StreamKind, Timestamp};
use purser_storage::Codec;
use purser_tests::random::Random;
use uuid::Uuid;

/// Bytes of each payload.
pub(crate) const PAYLOAD_LEN: usize = 200;

/// What all ids and messages are drawn from.
pub(crate) const SEED: u64 = 0x0070_7572_7365_7203;

/// Events that are appended at once while a journal is filled.
pub(crate) const FILL_BATCH: usize = 1_024;

/// Different events; they come round again.
pub(crate) const POOL_LEN: usize = 1_024;

/// When the first record is stamped.
pub(crate) const START_US: i64 = 1_790_000_000_000_000;

/// Bytes of a payload beside its message: the name and its length, the flag, the message's length.
const BESIDE_MESSAGE: usize = 1 + 4 + 1 + 1;

const WORDS: [&str; 24] = [
    "connection",
    "refused",
    "timeout",
    "after",
    "upstream",
    "returned",
    "status",
    "503",
    "while",
    "reading",
    "response",
    "header",
    "from",
    "retry",
    "backend",
    "closed",
    "by",
    "peer",
    "healthy",
    "latency",
    "model",
    "loading",
    "queue",
    "full",
];

/// Numbers of their own for each `part` of a benchmark.
pub(crate) fn numbers(part: u64) -> Random {
    Random(SEED ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93))
}

fn uuid(random: &mut Random) -> Uuid {
    Uuid::from_u64_pair(random.number(), random.number())
}

/// The events, all different.
pub(crate) fn pool() -> Vec<Event> {
    let mut random = numbers(1);
    let container = ContainerName::new("main").expect("it is a container's name");
    let events = (0..POOL_LEN).map(|number| {
        let message = message(&mut random, PAYLOAD_LEN - BESIDE_MESSAGE);
        let changed = ReadinessChanged { container: container.clone(), ready: number % 2 == 0, message };
        Event::from(PodEvent::from(changed))
    });
    let events: Vec<Event> = events.collect();
    for event in &events {
        let payload = event.encode(&Codec::default()).expect("it can be encoded");
        assert_eq!(payload.len(), PAYLOAD_LEN);
    }
    events
}

/// Text as a probe would see it, of so many bytes.
fn message(random: &mut Random, len: usize) -> String {
    let mut message = format!(
        "GET http://10.{}.{}.{}:8080/healthz:",
        random.below(256),
        random.below(256),
        random.below(256)
    );
    while message.len() < len {
        message.push(' ');
        message.push_str(WORDS[random.index(WORDS.len())]);
    }
    message.truncate(len);
    message
}

/// A pod's stream that no other opening of the journal has used.
pub(crate) fn stream(random: &mut Random) -> StreamId {
    StreamId { kind: StreamKind::Pod, id: uuid(random) }
}

/// What leads to a commit: each is a conversation of its own.
pub(crate) fn origin(random: &mut Random) -> Origin {
    Origin { cause: Cause::Node, correlation: uuid(random), principal: Principal::node() }
}

/// A clock that begins at the same time in each run.
pub(crate) fn clock() -> impl Fn() -> Timestamp + Send + 'static {
    let started = Instant::now();
    move || {
        let us = i64::try_from(started.elapsed().as_micros()).expect("a run ends within a lifetime");
        Timestamp(START_US + us)
    }
}
