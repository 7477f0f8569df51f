//! What files there are of a journal that nobody writes.

use std::path::Path;
use std::sync::Arc;

use purser_events::Seq;

use crate::disk::SystemDisk;
use crate::error::JournalError;
use crate::folder::{self, io_error};
use crate::open::damaged;
use crate::segment::is_compressed;
use crate::segment::listing::len_on_disk;
use crate::segment::set::{Known, Segments};
use crate::snapshot;
use crate::store::{Backend, bytes_of};

/// The files of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Number of the folder's format.
    pub format: u32,
    /// The segments in order.
    pub segments: Vec<SegmentFile>,
    /// The stores; more than one only after a change of the backend.
    pub stores: Vec<StoreFiles>,
    /// The records that there are snapshots of, oldest first.
    pub snapshots: Vec<Seq>,
}

/// One segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its first record.
    pub first: Seq,
    /// Bytes that it takes on disk.
    pub bytes: u64,
    /// Whether nothing is added to it any more.
    pub sealed: bool,
    /// Whether it is compressed.
    pub compressed: bool,
    /// Whether the archive has it.
    pub archived: bool,
}

/// One store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreFiles {
    /// What keeps it, as in `sled`.
    pub name: &'static str,
    /// Bytes that it takes on disk.
    pub bytes: u64,
}

/// Takes stock of the closed journal in `dir`, which stays as it is.
///
/// # Errors
/// The folder is not a journal's, its segments are damaged, or it cannot be read.
pub fn take(dir: &Path) -> Result<Inventory, JournalError> {
    folder::check_format(dir)?;
    let disk = Arc::new(SystemDisk);
    let loaded = Segments::load(disk.clone(), dir, false).map_err(|error| damaged(dir, error))?;
    let archived = loaded.segments.archived();
    let mut segments = Vec::new();
    for (first, Known { path, sealed, .. }) in loaded.segments.all() {
        segments.push(SegmentFile {
            first,
            bytes: len_on_disk(&*disk, &path)?,
            sealed: sealed.is_some(),
            compressed: is_compressed(&path),
            archived: sealed.is_some_and(|info| archived.has(first, &info.content)),
        });
    }
    let mut stores = Vec::new();
    for name in Backend::ALL.map(Backend::name) {
        let path = dir.join(name);
        let bytes = bytes_of(&path).map_err(|error| io_error("measure", &path, error))?;
        stores.extend(bytes.map(|bytes| StoreFiles { name, bytes }));
    }
    Ok(Inventory {
        format: folder::FORMAT,
        segments,
        stores,
        snapshots: snapshot::positions(&SystemDisk, dir)?,
    })
}
