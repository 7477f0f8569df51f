//! What the store holds of the records: the records themselves in blocks, where those of a stream are, and how far
//! it has come. Everything in it can be made again from the segments.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use purser_events::{Header, Seq, StreamId, StreamVersion};

use crate::error::JournalError;
use crate::frame::{self, Hash};
use crate::record::StoredRecord;
use crate::store::{Batch, Store, keys};
use crate::varint;
use crate::verify::Head;

/// Frame bytes beyond which a block takes no further frame. A frame by itself may be longer.
const BLOCK_LEN: usize = 32 << 10;

/// Builds what a group adds to the store.
#[derive(Debug, Default)]
pub(crate) struct IndexBatch {
    pub(crate) batch: Batch,
    block: Vec<u8>,
    block_first: Seq,
    streams: BTreeMap<StreamId, (StreamVersion, Vec<u8>, Seq)>,
}

impl IndexBatch {
    /// Adds a record with its frame; records come in order.
    pub(crate) fn add(&mut self, header: &Header, frame: &[u8]) {
        self.add_frame(header, frame);
        self.add_place(header);
    }

    fn add_frame(&mut self, header: &Header, frame: &[u8]) {
        if !self.block.is_empty() && self.block.len() + frame.len() > BLOCK_LEN {
            self.end_block();
        }
        if self.block.is_empty() {
            self.block_first = header.seq;
        }
        self.block.extend_from_slice(frame);
    }

    /// Adds where a record stands in its stream, without its frame.
    pub(crate) fn add_place(&mut self, header: &Header) {
        let seq = header.seq;
        let (_, deltas, last) =
            self.streams.entry(header.stream).or_insert_with(|| (header.version, Vec::new(), Seq::ZERO));
        varint::put(deltas, seq.0 - last.0);
        *last = seq;
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.writes.is_empty() && self.block.is_empty() && self.streams.is_empty()
    }

    fn end_block(&mut self) {
        if !self.block.is_empty() {
            self.batch.put(keys::block(self.block_first), std::mem::take(&mut self.block));
        }
    }

    /// The batch, with how far the store has come when it holds it.
    pub(crate) fn finish(mut self, head: Head) -> Batch {
        self.end_block();
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

/// Shows the frames from `from` on until told to stop; nothing if the store begins after it.
pub(crate) fn scan(
    store: &dyn Store,
    from: Seq,
    visit: &mut dyn FnMut(Result<StoredRecord, JournalError>) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let end = keys::block(Seq(u64::MAX));
    let Some(first) = store.last_key(&keys::block(Seq::ZERO), &keys::block(from.next()))? else {
        return Ok(());
    };
    let mut expected = keys::block_first(&first).unwrap_or(from);
    store.scan(&first, &end, &mut |key, value| {
        if keys::block_first(key) != Some(expected) {
            return visit(Err(JournalError::Missing { seq: expected }));
        }
        let mut rest = value;
        while !rest.is_empty() {
            let record = take_frame(&mut rest, expected);
            let seq = expected;
            expected = expected.next();
            let failed = record.is_err();
            let told = if seq < from && !failed { ControlFlow::Continue(()) } else { visit(record) };
            if failed || told.is_break() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

fn take_frame(rest: &mut &[u8], seq: Seq) -> Result<StoredRecord, JournalError> {
    let damaged = |source| JournalError::Record { seq, source };
    let cut = || frame::FrameError::CutShort { len: rest.len(), announced: frame::PREFIX_LEN };
    let prefix = rest.first_chunk().ok_or_else(|| damaged(cut()))?;
    let len = frame::announced_len(*prefix).map_err(damaged)?;
    let (bytes, after) = rest.split_at_checked(len).ok_or_else(|| damaged(cut()))?;
    let record = StoredRecord::parse(bytes.to_vec()).map_err(damaged)?;
    *rest = after;
    if record.header.seq == seq { Ok(record) } else { Err(JournalError::Missing { seq }) }
}

/// One record; none if the store does not have it.
pub(crate) fn record(store: &dyn Store, seq: Seq) -> Result<Option<StoredRecord>, JournalError> {
    let mut found = None;
    scan(store, seq, &mut |record| {
        found = Some(record);
        ControlFlow::Break(())
    })?;
    found.transpose()
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
