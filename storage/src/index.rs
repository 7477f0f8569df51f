//! What the store holds of the records: where those of a stream are, and how far it has come. The records themselves
//! are in the segments, once. Everything in the index can be made again from them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use purser_events::{Header, Seq, StreamId, StreamVersion};

use crate::error::JournalError;
use crate::frame::Hash;
use crate::store::{Batch, Store, keys};
use crate::store_thread::StoreGroup;
use crate::varint;
use crate::verify::Head;

/// Where a record is: in the journal, and in its stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub seq: Seq,
    pub stream: StreamId,
    pub version: StreamVersion,
}

impl Place {
    pub(crate) fn of(header: &Header) -> Place {
        let Header { seq, stream, version, .. } = *header;
        Place { seq, stream, version }
    }
}

/// Builds what groups add to the store.
#[derive(Debug, Default)]
pub(crate) struct IndexBatch {
    pub(crate) batch: Batch,
    streams: BTreeMap<StreamId, (StreamVersion, Vec<u8>, Seq)>,
}

impl IndexBatch {
    /// Adds what a group holds; groups come in order.
    pub(crate) fn add_group(&mut self, group: StoreGroup) {
        for place in group.records {
            self.add(place);
        }
        self.batch.writes.extend(group.answers.writes);
    }

    /// Adds a record; they come in order.
    pub(crate) fn add(&mut self, place: Place) {
        let Place { seq, stream, version } = place;
        let (_, deltas, last) =
            self.streams.entry(stream).or_insert_with(|| (version, Vec::new(), Seq::ZERO));
        varint::put(deltas, seq.0 - last.0);
        *last = seq;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batch.writes.is_empty() && self.streams.is_empty()
    }

    /// The batch, with how far the store has come when it holds it.
    pub(crate) fn finish(mut self, head: Head) -> Batch {
        for (stream, (version, deltas, _)) in std::mem::take(&mut self.streams) {
            self.batch.put(keys::stream(stream, version), deltas);
        }
        put_applied(&mut self.batch, head);
        self.batch
    }
}

/// Adds how far the store has come to a batch.
pub(crate) fn put_applied(batch: &mut Batch, head: Head) {
    let mut applied = Vec::with_capacity(8 + size_of::<Hash>());
    applied.extend_from_slice(&head.seq.0.to_be_bytes());
    applied.extend_from_slice(&head.hash);
    batch.put(keys::APPLIED, applied);
}

/// Whether nothing was ever written to the store.
pub(crate) fn is_empty(store: &dyn Store) -> Result<bool, JournalError> {
    Ok(store.last_key(&[], &[0xff])?.is_none())
}

/// How far the store has come; none if it does not say.
pub(crate) fn applied(store: &dyn Store) -> Result<Option<Head>, JournalError> {
    let Some(bytes) = store.get(keys::APPLIED)? else { return Ok(None) };
    let malformed = JournalError::Value { name: "applied" };
    let Some((seq, hash)) = bytes.split_first_chunk() else { return Err(malformed) };
    let hash = hash.try_into().map_err(|_| malformed)?;
    Ok(Some(Head { seq: Seq(u64::from_be_bytes(*seq)), hash }))
}

/// The last record whose place in its stream was given up; 0 if none was.
pub(crate) fn trimmed(store: &dyn Store) -> Result<Seq, JournalError> {
    position(store, keys::TRIMMED, "trimmed")
}

/// The last record of which the store was never told; 0 if there is none.
pub(crate) fn begins(store: &dyn Store) -> Result<Seq, JournalError> {
    position(store, keys::BEGINS, "begins")
}

fn position(store: &dyn Store, key: &[u8], name: &'static str) -> Result<Seq, JournalError> {
    let Some(bytes) = store.get(key)? else { return Ok(Seq::ZERO) };
    let seq = bytes.try_into().map_err(|_| JournalError::Value { name })?;
    Ok(Seq(u64::from_be_bytes(seq)))
}

/// Positions of a stream's records from a version on, in order, at most `limit`; none up to `trimmed`.
pub(crate) fn stream(
    store: &dyn Store,
    stream: StreamId,
    from: StreamVersion,
    trimmed: Seq,
    limit: usize,
) -> Result<Vec<Seq>, JournalError> {
    let (least, end) =
        (keys::stream(stream, StreamVersion(0)), keys::stream(stream, StreamVersion(u64::MAX)));
    let after_from = keys::stream(stream, from.next());
    let first = store.last_key(&least, &after_from)?.unwrap_or_else(|| least.to_vec());
    let (mut seqs, mut malformed, mut expected) = (Vec::new(), false, None);
    store.scan(&first, &end, &mut |key, value| {
        let found = keys::stream_version(key).zip(positions(value));
        let Some((version, positions)) =
            found.filter(|(version, _)| expected.is_none_or(|expected| expected == *version))
        else {
            malformed = true;
            return ControlFlow::Break(());
        };
        expected = Some(StreamVersion(version.0.saturating_add(positions.len() as u64)));
        let skipped = usize::try_from(from.0.saturating_sub(version.0)).unwrap_or(usize::MAX);
        let positions = positions.into_iter().skip(skipped).filter(|seq| *seq > trimmed);
        seqs.extend(positions.take(limit - seqs.len()));
        if seqs.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if malformed { Err(JournalError::Value { name: "stream index" }) } else { Ok(seqs) }
}

/// The version of a stream's last record; none if the store has no record of it.
pub(crate) fn last_version(
    store: &dyn Store,
    stream: StreamId,
) -> Result<Option<StreamVersion>, JournalError> {
    let (least, end) =
        (keys::stream(stream, StreamVersion(0)), keys::stream(stream, StreamVersion(u64::MAX)));
    let Some(key) = store.last_key(&least, &end)? else { return Ok(None) };
    let malformed = JournalError::Value { name: "stream index" };
    let value = store.get(&key)?.unwrap_or_default();
    let Some((version, positions)) = keys::stream_version(&key).zip(positions(&value)) else {
        return Err(malformed);
    };
    Ok(Some(StreamVersion(version.0 + (positions.len() as u64).saturating_sub(1))))
}

/// Whether the store has every one of these streams up to its last version.
pub(crate) fn agrees(store: &dyn Store, streams: &BTreeMap<StreamId, StreamVersion>) -> bool {
    let has = |(stream, version): (&StreamId, &StreamVersion)| {
        last_version(store, *stream).is_ok_and(|last| last == Some(*version))
    };
    streams.iter().all(has)
}

/// Positions from their differences.
fn positions(mut bytes: &[u8]) -> Option<Vec<Seq>> {
    let (mut seqs, mut last) = (Vec::new(), 0_u64);
    while !bytes.is_empty() {
        last = last.checked_add(varint::take(&mut bytes)?)?;
        seqs.push(Seq(last));
    }
    Some(seqs)
}
