//! What the tests share: requests to append, and journals that remember what they replayed.

use std::path::Path;
use std::sync::{Arc, Mutex};

pub(crate) use purser_events::causes::told;
use purser_events::node::NodeEvent;
use purser_events::node::event::Cordoned;
use purser_events::{
    Cause, CommandId, Event, NodeUid, Origin, Principal, Record, StreamId, StreamVersion, Timestamp,
};
use purser_storage::{
    Append, Appended, CommandWrite, Journal, JournalConfig, JournalError, Replayed, StreamWrite,
};
use uuid::Uuid;

pub(crate) use crate::seed::{Random, Seed};
pub(crate) use crate::versions::Versions;

pub(crate) const NOW: Timestamp = Timestamp(1_772_368_245_000_000);

pub(crate) fn stream(number: u128) -> StreamId {
    NodeUid(Uuid::from_u128(number)).stream()
}

pub(crate) fn event(reason: &str) -> Event {
    Event::Node(NodeEvent::Cordoned(Cordoned { reason: reason.to_owned() }))
}

pub(crate) fn origin() -> Origin {
    Origin { cause: Cause::Node, correlation: Uuid::from_u128(1), principal: Principal::new("uid:0") }
}

pub(crate) fn write(stream: StreamId, expected: u64, reasons: &[&str]) -> StreamWrite {
    let events = reasons.iter().map(|reason| event(reason)).collect();
    StreamWrite { stream, expected: StreamVersion(expected), events }
}

pub(crate) fn append(stream: StreamId, expected: u64, reasons: &[&str]) -> Append {
    Append { writes: vec![write(stream, expected, reasons)], origin: origin(), command: None }
}

pub(crate) fn command(id: u128, answer: &[u8]) -> CommandWrite {
    CommandWrite { id: CommandId(Uuid::from_u128(id)), fingerprint: [9; 32], answer: answer.to_vec() }
}

/// What a journal commits, as it commits it.
pub(crate) type Committed = Arc<Mutex<Vec<Record>>>;

/// Opens a journal; also gives what it replayed and collects what it commits.
pub(crate) fn open(dir: &Path) -> Result<(Journal, Vec<Record>, Committed), JournalError> {
    collecting(|replay, commit| Journal::open(JournalConfig::new(dir), || NOW, replay, commit))
}

/// Takes note of commits.
pub(crate) type OnCommit = Box<dyn FnMut(&[Record]) + Send>;

/// Opens a journal in some way; also gives what it replayed and collects what it commits.
pub(crate) fn collecting(
    open: impl FnOnce(&mut dyn FnMut(Replayed), OnCommit) -> Result<Journal, JournalError>,
) -> Result<(Journal, Vec<Record>, Committed), JournalError> {
    let committed = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&committed);
    let mut replayed = Vec::new();
    let mut replay = |found| match found {
        Replayed::Record(record) => replayed.push(record),
        Replayed::Unreadable { seq, reason, .. } => panic!("record {seq}: {reason}"),
    };
    let commit = Box::new(move |records: &[Record]| sink.lock().unwrap().extend_from_slice(records));
    let journal = open(&mut replay, commit)?;
    Ok((journal, replayed, committed))
}

/// Writes `count` records one by one and closes the journal; gives the records.
pub(crate) async fn fill(dir: &Path, count: u64) -> Vec<Record> {
    let (journal, _, _) = open(dir).unwrap();
    let mut records = Vec::new();
    for number in 0..count {
        let Appended { records: written, .. } =
            journal.append(append(stream(1), number, &[&format!("reason {number}")])).await.unwrap();
        records.extend(written);
    }
    journal.close().unwrap();
    records
}
