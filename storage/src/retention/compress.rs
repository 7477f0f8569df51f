//! From a plain sealed segment to a compressed one.

use std::io::ErrorKind;
use std::path::Path;

use purser_events::Seq;

use super::proof;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::folder::{FolderError, io_error};
use crate::journal::Journal;
use crate::segment::compressed::{self, damage_of};
use crate::segment::listing::{len_on_disk, open};
use crate::segment::set::{Known, SealedInfo};
use crate::segment::{compressed_name, folder, is_compressed, unfinished};

impl Journal {
    /// Compresses a sealed segment: writes it under another name, syncs it, reads it again, compares it with the
    /// original, gives it its name and only then removes the original. Gives the bytes that it takes now; none if
    /// there is no sealed segment of this name that is not compressed.
    ///
    /// # Errors
    /// The segment is damaged, in which case nothing was changed, or the disk fails.
    pub fn compress(&self, first: Seq) -> Result<Option<u64>, JournalError> {
        let segments = self.segment_set();
        let _one_at_a_time = segments.upkeep();
        let Some(Known { path, sealed: Some(info), .. }) = segments.all().remove(&first) else {
            return Ok(None);
        };
        if is_compressed(&path) {
            return Ok(None);
        }
        let disk = &**segments.disk();
        let folder = folder(segments.dir());
        let target = folder.join(compressed_name(first));
        if !is_done(disk, &path, &target)? {
            make(disk, &path, &target, first, &info)?;
        }
        disk.sync_dir(&folder).map_err(|error| io_error("sync", &folder, error))?;
        let bytes = len_on_disk(disk, &target)?;
        // From here on readers begin with the compressed one; whoever has the plain one open keeps it.
        segments.note_moved(first, target, bytes);
        if let Err(error) = disk.remove(&path) {
            // So that it is tried again.
            if !disk.is_absent(&path) {
                segments.note_moved(first, path.clone(), info.bytes);
            }
            return Err(io_error("remove", &path, error).into());
        }
        disk.sync_dir(&folder).map_err(|error| io_error("sync", &folder, error))?;
        Ok(Some(bytes))
    }
}

/// Whether a stop came after the compressed one had its name: then it is the same, or is removed to be made again.
fn is_done(disk: &dyn Disk, plain: &Path, target: &Path) -> Result<bool, FolderError> {
    let there = match open(disk, target, false) {
        Ok(there) => there,
        Err(error) if is_absence(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    match proof::are_same(plain, &*open(disk, plain, false)?, target, &*there) {
        Ok(true) => {
            // It has its name once more: the sync of the folder may have failed, and the same sync again would say nothing.
            let (unnamed, failed) = (unfinished(target), |error| io_error("rename", target, error));
            disk.rename(target, &unnamed).map_err(failed)?;
            disk.rename(&unnamed, target).map_err(failed)?;
            return Ok(true);
        }
        Ok(false) => {}
        Err(error) if is_damage(&error) => {}
        Err(error) => return Err(error),
    }
    tracing::warn!(segment = %target.display(), "a compressed segment is not what it was made from: it is made again");
    disk.remove(target).map_err(|error| io_error("remove", target, error))?;
    Ok(false)
}

fn make(
    disk: &dyn Disk,
    plain: &Path,
    target: &Path,
    first: Seq,
    info: &SealedInfo,
) -> Result<(), JournalError> {
    let new = unfinished(target);
    let failed = |error| io_error("compress into", &new, error);
    write_compressed(disk, plain, &new)?;
    // The original as well: what was damaged before must not get a new and sound look.
    proof::prove(disk, plain, first, info)?.map_err(|source| JournalError::Segment { source })?;
    check_compressed(disk, plain, &new)?;
    disk.rename(&new, target).map_err(failed)?;
    Ok(())
}

/// Compresses a plain segment into a new file, durable.
pub(crate) fn write_compressed(disk: &dyn Disk, plain: &Path, new: &Path) -> Result<(), FolderError> {
    let failed = |error| io_error("compress into", new, error);
    disk.remove_if_there(new).map_err(failed)?;
    let made = disk.create(new).map_err(failed)?;
    compressed::compress(&*open(disk, plain, false)?, &*made).map_err(failed)?;
    made.sync_data().map_err(failed)
}

/// Reads a compressed segment again and compares it with the plain one.
pub(crate) fn check_compressed(disk: &dyn Disk, plain: &Path, new: &Path) -> Result<(), FolderError> {
    let failed = |error| io_error("compress into", new, error);
    let read_again =
        compressed::CompressedFile::new(disk.open(new, false).map_err(failed)?).map_err(failed)?;
    let same = proof::are_same(plain, &*open(disk, plain, false)?, new, &read_again)?;
    if same { Ok(()) } else { Err(failed(ErrorKind::InvalidData.into())) }
}

fn is_absence(error: &FolderError) -> bool {
    matches!(error, FolderError::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

fn is_damage(error: &FolderError) -> bool {
    matches!(error, FolderError::Io { source, .. } if damage_of(source).is_some())
}
