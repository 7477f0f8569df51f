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
    Append, Appended, Capture, CommandWrite, Journal, JournalConfig, JournalError, Replayed, SnapshotError,
    Snapshots, StreamWrite, Streams,
};
use uuid::Uuid;

pub(crate) use crate::seed::{Random, Seed};

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
    let committed = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&committed);
    let mut replayed = Vec::new();
    let journal = Journal::open(
        JournalConfig::new(dir),
        || NOW,
        |found| match found {
            Replayed::Record(record) => replayed.push(record),
            Replayed::Unreadable { seq, reason, .. } => panic!("record {seq}: {reason}"),
        },
        move |records| sink.lock().unwrap().extend_from_slice(records),
    )?;
    Ok((journal, replayed, committed))
}

/// The last version of every stream: a projection that can be put away.
#[derive(Clone, Default)]
pub(crate) struct Versions(Arc<Mutex<Streams>>);

/// Bytes of a stream of nodes with its version.
const VERSION_LEN: usize = 24;

impl Versions {
    /// Opens a journal behind this projection.
    pub(crate) fn open(config: JournalConfig) -> Result<Journal, JournalError> {
        let versions = Versions::default();
        let (replayed, committed) = (versions.clone(), versions.clone());
        let replay = move |found: Replayed| {
            let Replayed::Record(record) = found else { panic!("{found:?}") };
            replayed.note(&record);
        };
        let commit = move |records: &[Record]| records.iter().for_each(|record| committed.note(record));
        Journal::open_with_snapshots(config, || NOW, replay, commit, versions)
    }

    fn note(&self, record: &Record) {
        let header = &record.header;
        let before = self.0.lock().unwrap().insert(header.stream, header.version);
        assert_eq!(before.unwrap_or(StreamVersion::NONE).next(), header.version, "{header:?}");
    }
}

impl Snapshots for Versions {
    fn layout(&self) -> u32 {
        1
    }

    fn capture(&self) -> Capture {
        let versions = self.0.lock().unwrap().clone();
        let entry = |(stream, version): (StreamId, StreamVersion)| {
            [stream.id.as_bytes().as_slice(), &version.0.to_le_bytes()].concat()
        };
        Box::new(move || Ok(versions.into_iter().flat_map(entry).collect()))
    }

    fn restore(&mut self, body: &[u8]) -> Result<Streams, SnapshotError> {
        let (entries, []) = body.as_chunks::<VERSION_LEN>() else { return Err("it is cut short".into()) };
        let entry = |entry: &[u8; VERSION_LEN]| {
            let (id, version) = entry.split_at(16);
            let stream = NodeUid(Uuid::from_slice(id)?).stream();
            Ok((stream, StreamVersion(u64::from_le_bytes(version.try_into()?))))
        };
        let versions: Streams = entries.iter().map(entry).collect::<Result<_, SnapshotError>>()?;
        self.0.lock().unwrap().clone_from(&versions);
        Ok(versions)
    }
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
