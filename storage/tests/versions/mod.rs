//! The least that a snapshot must hold for the records before it to go: the last record of every stream.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails by a panic, in its helpers too"
)]
#![allow(unreachable_pub, reason = "test programs and the library of tests include it")]

use std::sync::{Arc, Mutex};

use purser_events::{Record, Seq, StreamId, StreamKind, StreamVersion, Timestamp};
use purser_storage::disk::{Disk, SystemDisk};
use purser_storage::store::{FolderStores, Stores};
use purser_storage::{
    Capture, Journal, JournalConfig, JournalError, Replayed, SnapshotError, Snapshots, StoredSnapshot,
    StreamEnd, Streams,
};
use uuid::Uuid;

/// The last record of every stream: a projection that can be put away.
#[derive(Clone, Default)]
pub struct Versions(Arc<Mutex<Streams>>);

/// Bytes of a stream with its end.
const END_LEN: usize = 33;

impl Versions {
    /// Opens a journal behind this projection; every record is stamped with `now`.
    ///
    /// # Errors
    /// As for [`Journal::open`].
    pub fn open(config: JournalConfig, now: Timestamp) -> Result<Journal, JournalError> {
        let (dir, backend, cache_bytes) = (config.dir.clone(), config.backend, config.cache_bytes);
        Versions::open_on(Arc::new(SystemDisk), &FolderStores { dir, backend, cache_bytes }, config, now)
    }

    /// The same on another disk, with another store behind.
    ///
    /// # Errors
    /// As for [`Journal::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        stores: &dyn Stores,
        config: JournalConfig,
        now: Timestamp,
    ) -> Result<Journal, JournalError> {
        let versions = Versions::default();
        let (replayed, committed) = (versions.clone(), versions.clone());
        let replay = move |found: Replayed| {
            let Replayed::Record(record) = found else { panic!("{found:?}") };
            replayed.note(&record);
        };
        let commit = move |records: &[Record]| records.iter().for_each(|record| committed.note(record));
        Journal::open_on_with_snapshots(disk, stores, config, move || now, replay, commit, versions)
    }

    fn note(&self, record: &Record) {
        let header = &record.header;
        let end = StreamEnd { version: header.version, seq: header.seq };
        let before = self.0.lock().unwrap().insert(header.stream, end);
        let version = before.map_or(StreamVersion::NONE, |before| before.version);
        assert_eq!(version.next(), header.version, "{header:?}");
    }
}

impl Snapshots for Versions {
    fn layout(&self) -> u32 {
        1
    }

    fn capture(&self) -> Capture {
        let versions = self.0.lock().unwrap().clone();
        let entry = |(stream, end): (StreamId, StreamEnd)| {
            let (version, seq) = (end.version.0.to_le_bytes(), end.seq.0.to_le_bytes());
            [&[stream.kind as u8], stream.id.as_bytes().as_slice(), &version, &seq].concat()
        };
        Box::new(move || Ok(versions.into_iter().flat_map(entry).collect()))
    }

    fn restore(&mut self, stored: &StoredSnapshot<'_>) -> Result<Streams, SnapshotError> {
        let (entries, []) = stored.body.as_chunks::<END_LEN>() else {
            return Err("it is cut short".into());
        };
        let entry = |entry: &[u8; END_LEN]| {
            let ([kind, id @ ..], end) = entry.split_at(17) else { return Err("it is cut short".into()) };
            let (version, seq) = end.split_at(8);
            let kind = StreamKind::from_number(*kind).ok_or("it has an unknown kind of stream")?;
            let stream = StreamId { kind, id: Uuid::from_slice(id)? };
            let version = StreamVersion(u64::from_le_bytes(version.try_into()?));
            Ok((stream, StreamEnd { version, seq: Seq(u64::from_le_bytes(seq.try_into()?)) }))
        };
        let versions: Streams = entries.iter().map(entry).collect::<Result<_, SnapshotError>>()?;
        self.0.lock().unwrap().clone_from(&versions);
        Ok(versions)
    }
}
