//! The journal whose house is kept while the power is cut: small segments that are sealed, compressed, archived and
//! trimmed, snapshots every few records, and checkpoints.

use std::path::{Path, PathBuf};

use purser_events::causes::told;
use purser_events::{Record, Seq};
use purser_storage::disk::SystemDisk;
use purser_storage::store::Backend;
use purser_storage::{Journal, JournalConfig, JournalError, SEGMENT_BYTES_MIN};
use purser_tests::versions::Versions;
use purser_tests::{evidence, upkeep};

use super::workload::{JOURNAL, NOON};

/// Records between two snapshots.
const SNAPSHOT_EVERY: u64 = 100;

/// What is done with a journal beside writing to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Plain,
    /// Its house is kept, with this store behind it.
    Kept(Backend),
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Plain, Kind::Kept(Backend::Sled), Kind::Kept(Backend::Redb)];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Plain => "plain",
            Kind::Kept(backend) => backend.name(),
        }
    }

    pub(super) fn named(name: &str) -> Kind {
        Kind::ALL.into_iter().find(|kind| kind.name() == name).expect("a kind of journal")
    }
}

/// Where segments are archived.
pub(super) fn archive(folder: &Path) -> PathBuf {
    folder.join("archive")
}

/// Opens it; also gives the records that were not trimmed.
pub(super) fn open(dir: &Path, backend: Backend) -> Result<(Journal, Vec<Record>), JournalError> {
    let config = JournalConfig {
        backend,
        cache_bytes: 1 << 20,
        segment_bytes: SEGMENT_BYTES_MIN,
        snapshot_every: SNAPSHOT_EVERY,
        ..JournalConfig::new(dir)
    };
    let journal = Versions::open(config, NOON)?;
    let (mut records, head) = (Vec::new(), journal.head().seq);
    let mut next = journal.before().seq.next();
    while next <= head {
        let read = journal.read(next, 256)?;
        next = read.last().map_or(next, |last| last.header.seq.next());
        records.extend(read.iter().map(|stored| stored.record().expect("this release wrote it")));
    }
    Ok((journal, records))
}

/// Begins to seal it with the key beside it, which is made if there is none.
pub(super) fn seal(journal: &Journal, folder: &Path) -> Result<(), String> {
    evidence::seal(journal, &folder.join("seal.key"))
}

/// Keeps house whenever a segment was sealed, until it is aborted.
pub(super) async fn keep_house(journal: Journal, folder: PathBuf) {
    let mut seals = journal.seals();
    while seals.changed().await.is_ok() {
        tokio::task::block_in_place(|| keep_house_once(&journal, &folder)).unwrap();
    }
}

/// One round.
pub(super) fn keep_house_once(journal: &Journal, folder: &Path) -> Result<(), String> {
    upkeep::round(journal, &SystemDisk, &archive(folder)).map(drop)
}

/// Every record that there ever was: what the archive has, and what follows in the journal. Checkpoints fit them,
/// and there are some if it is sealed.
pub(super) fn chain(folder: &Path, is_sealed: bool) -> Result<Vec<Record>, String> {
    let records = evidence::audited(&folder.join(JOURNAL), &archive(folder), is_sealed)?;
    Ok(records.iter().map(|stored| stored.record().expect("this release wrote it")).collect())
}

/// Sees that nothing half-done is left among the segments.
pub(super) fn nothing_unfinished(folder: &Path) -> Result<(), String> {
    let names = std::fs::read_dir(folder.join(JOURNAL).join("segments")).map_err(|error| told(&error))?;
    let names = names.map(|entry| entry.map(|entry| entry.file_name()));
    let names: Vec<_> = names.collect::<Result<_, _>>().map_err(|error| told(&error))?;
    let is_done = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        name.ends_with(".seg") || name.ends_with(".zst")
    };
    if names.iter().all(is_done) { Ok(()) } else { Err(format!("left among the segments: {names:?}")) }
}

/// Whether a record was given up.
pub(super) fn is_trimmed(journal: &Journal, seq: Seq) -> bool {
    seq <= journal.before().seq
}
