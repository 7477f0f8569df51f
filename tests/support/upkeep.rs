//! House-keeping as a node does it: sealed segments are compressed and archived, and go once nothing needs them.

use std::path::Path;

use purser_events::Timestamp;
use purser_events::causes::told;
use purser_storage::Journal;
use purser_storage::disk::Disk;
use purser_storage::retention::{Retention, copy_to_folder, plan};

/// Keeps one sealed segment and whatever is not in the archive.
const RETENTION: Retention = Retention { age_ms: 0, bytes: 0, segments_min: 1, archive: true };

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Segments that were compressed.
    pub compressed: u64,
    /// Segments that were archived.
    pub archived: u64,
    /// Segments that went.
    pub trimmed: u64,
}

/// Compresses every sealed segment that is not yet; gives how many. Blocks on the disk.
///
/// # Errors
/// One of them is damaged, or the disk fails; those before it are done.
pub fn compress(journal: &Journal) -> Result<u64, String> {
    let mut compressed = 0;
    for segment in journal.segments().iter().filter(|segment| !segment.compressed) {
        compressed += u64::from(journal.compress(segment.first).map_err(|error| told(&error))?.is_some());
    }
    Ok(compressed)
}

/// Compresses and archives every sealed segment that is not yet, then trims what is due. Blocks on the disk.
///
/// # Errors
/// One of the steps failed; those before it are done.
pub fn round(journal: &Journal, disk: &dyn Disk, archive: &Path) -> Result<Done, String> {
    let mut done = Done { compressed: compress(journal)?, ..Done::default() };
    for segment in journal.segments().iter().filter(|segment| !segment.archived) {
        copy_to_folder(disk, &segment.path, archive).map_err(|error| told(&error))?;
        journal.note_archived(segment).map_err(|error| told(&error))?;
        done.archived += 1;
    }
    let due = plan(&journal.segments(), Timestamp(i64::MAX), &RETENTION, journal.protected_from());
    if let Some(upto) = due {
        done.trimmed = journal.trim(upto, |_| true).map_err(|error| told(&error))?.segments;
    }
    Ok(done)
}
