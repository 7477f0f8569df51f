//! Giving up the oldest records: whole segments, and what the store holds of them.

use std::collections::BTreeMap;

use purser_events::{Seq, StreamId, StreamVersion};

use super::proof::{self, Proof};
use crate::error::JournalError;
use crate::folder::io_error;
use crate::journal::Journal;
use crate::segment::set::{Known, SealedInfo};
use crate::segment::{compressed_name, file_name, folder};
use crate::snapshot;
use crate::store::{Batch, Store, keys};
use crate::verify::Head;

/// Keys that are removed from the store at once.
const KEYS_MAX: usize = 1_024;

/// What a trim gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trimmed {
    /// The record before the first that is left.
    pub before: Head,
    /// Segments that went.
    pub segments: u64,
    /// Bytes that they took.
    pub bytes: u64,
}

impl Journal {
    /// Removes sealed segments that end with record `upto` or before it, oldest first, and what the store holds of
    /// them. Each is read again before; it goes only if it is sound, and if no snapshot and no reader needs it.
    /// `is_live` says of a stream whether it may ever be written again: its last version is then kept.
    ///
    /// # Errors
    /// A segment is damaged, or disk or store fail; those before it are gone.
    pub fn trim(&self, upto: Seq, is_live: impl Fn(StreamId) -> bool) -> Result<Trimmed, JournalError> {
        let segments = self.segment_set();
        let _one_at_a_time = segments.upkeep();
        // In this order: the store has all that is in the segments that are looked at.
        let (all, store) = (segments.all(), self.store()?);
        let disk = &**segments.disk();
        let folder = folder(segments.dir());
        let mut trimmed = Trimmed { before: segments.before(), segments: 0, bytes: 0 };
        for (first, known) in all {
            let Known { path, sealed: Some(info), .. } = known else { break };
            let SealedInfo { last, bytes, .. } = info;
            if last.seq > upto || last.seq >= self.protected_from() {
                break;
            }
            let proof = proof::prove(disk, &path, first, &info)?;
            snapshot::make_durable(disk, segments.dir(), self.known_snapshots())?;
            let Proof { streams, .. } = proof.map_err(|source| JournalError::Segment { source })?;
            for other in [file_name(first), compressed_name(first)].map(|name| folder.join(name)) {
                if other != path {
                    // There only if a stop or a failure came between compressing it and removing it.
                    disk.remove_if_there(&other).map_err(|error| io_error("remove", &other, error))?;
                }
            }
            segments.note_gone(first, last);
            if let Err(error) = disk.remove(&path) {
                // Or the next trim would leave it where it is, and a gap behind it.
                if !disk.is_absent(&path) {
                    segments.note_kept(first, path.clone(), info, trimmed.before);
                }
                return Err(io_error("remove", &path, error).into());
            }
            // One after the other: after a loss of power no gap may be left.
            disk.sync_dir(&folder).map_err(|error| io_error("sync", &folder, error))?;
            note_trimmed(&*store, last.seq)?;
            forget_streams(&*store, &streams, &is_live)?;
            trimmed = Trimmed {
                before: last,
                segments: trimmed.segments + 1,
                bytes: trimmed.bytes.saturating_add(bytes),
            };
        }
        Ok(trimmed)
    }
}

/// Says in the store how much of its index is about to go.
fn note_trimmed(store: &dyn Store, upto: Seq) -> Result<(), JournalError> {
    let mut batch = Batch::default();
    batch.put(keys::TRIMMED, upto.0.to_be_bytes().to_vec());
    Ok(store.apply(batch)?)
}

/// Removes what says where the streams' records were, up to these versions. Of a stream that goes on, the last entry
/// stays: it says which version comes next.
fn forget_streams(
    store: &dyn Store,
    streams: &BTreeMap<StreamId, StreamVersion>,
    is_live: &dyn Fn(StreamId) -> bool,
) -> Result<(), JournalError> {
    for (&stream, &version) in streams {
        let least = keys::stream(stream, StreamVersion::NONE);
        let end = keys::stream(stream, StreamVersion(u64::MAX));
        let last = crate::index::last_version(store, stream)?;
        if last == Some(version) && !is_live(stream) {
            remove_all(store, &least, &end)?;
        } else if let Some(kept) = store.last_key(&least, &keys::stream(stream, version.next().next()))? {
            remove_all(store, &least, &kept)?;
        }
    }
    Ok(())
}

fn remove_all(store: &dyn Store, from: &[u8], to: &[u8]) -> Result<(), JournalError> {
    while store.remove_range(from, to, KEYS_MAX)? == KEYS_MAX {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use purser_events::NodeUid;
    use uuid::Uuid;

    use super::*;
    use crate::index::{self, IndexBatch, Place};
    use crate::store::Backend;

    fn stream(number: u128) -> StreamId {
        NodeUid(Uuid::from_u128(number)).stream()
    }

    /// Adds groups of records; each record is told by its stream, and versions count up.
    fn fill(store: &dyn Store, groups: &[&[u128]]) {
        let mut versions = BTreeMap::new();
        let mut seq = Seq::ZERO;
        for group in groups {
            let mut batch = IndexBatch::default();
            for &number in *group {
                seq = seq.next();
                let version: &mut StreamVersion = versions.entry(number).or_default();
                *version = version.next();
                batch.add(Place { seq, stream: stream(number), version: *version });
            }
            store.apply(batch.finish(Head { seq, hash: [0; 32] })).unwrap();
        }
    }

    fn positions(store: &dyn Store, number: u128) -> Vec<u64> {
        let found = index::stream(store, stream(number), StreamVersion(1), Seq::ZERO, 100).unwrap();
        found.into_iter().map(|seq| seq.0).collect()
    }

    #[test]
    fn the_last_versions_of_streams_that_go_on_stay() {
        for backend in [Backend::Sled, Backend::Redb] {
            let dir = tempfile::tempdir().unwrap();
            let store = backend.open(dir.path(), 1 << 20).unwrap();
            // Records 1 to 9; a segment ends with record 6.
            fill(&*store, &[&[1, 1, 2], &[1, 3], &[4], &[1], &[4, 1]]);
            let trimmed = [(1, 3), (2, 1), (3, 1), (4, 1)];
            let streams = trimmed.map(|(number, version)| (stream(number), StreamVersion(version))).into();
            forget_streams(&*store, &streams, &|asked| asked != stream(3)).unwrap();
            assert_eq!(positions(&*store, 1), [7, 9]);
            assert_eq!(positions(&*store, 4), [8]);
            // Its only record is gone, its version is not.
            assert_eq!(positions(&*store, 2), [3]);
            for (number, version) in [(1, Some(5)), (2, Some(1)), (3, None), (4, Some(2))] {
                let found = index::last_version(&*store, stream(number)).unwrap();
                assert_eq!(found, version.map(StreamVersion), "stream {number} in {backend:?}");
            }
        }
    }
}
