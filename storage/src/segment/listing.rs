//! Which segments lie in a journal's folder, and in the folders of its archive.

use std::path::{Path, PathBuf};

use purser_events::Seq;

use super::compressed::CompressedFile;
use super::footer::Footer;
use super::recover::is_unmade;
use super::{HeaderError, SegmentHeader, first_of_name, is_compressed, is_unfinished, reader};
use crate::disk::{Disk, DiskFile};
use crate::folder::{FolderError, io_error};

/// A segment that was found.
pub(super) struct Found {
    pub path: PathBuf,
    pub first: Seq,
    pub header: Result<SegmentHeader, HeaderError>,
    /// With the file's length.
    pub footer: Option<(Footer, u64)>,
}

impl Found {
    /// Whether it is whole as far as its beginning and its end can tell.
    fn is_sealed(&self) -> bool {
        self.header.is_ok() && self.footer.is_some()
    }
}

/// What was found in the folders of a journal.
pub(super) struct Listed {
    pub found: Vec<Found>,
    /// What was being written under another name when a stop came.
    pub unfinished: Vec<PathBuf>,
}

/// Every segment in some folders, in order. Of one that is there plain and compressed, or in several folders, the first
/// that is sealed counts: that of an earlier folder before that of a later one, and the plain one before the compressed
/// one. What was being written is looked for in the first folder alone.
pub(super) fn list(disk: &dyn Disk, folders: &[PathBuf]) -> Result<Listed, FolderError> {
    let mut listed = Listed { found: Vec::new(), unfinished: Vec::new() };
    for (number, folder) in folders.iter().enumerate() {
        let Listed { found, unfinished } = list_folder(disk, folder)?;
        listed.found.extend(found);
        if number == 0 {
            listed.unfinished = unfinished;
        }
    }
    let Listed { mut found, unfinished } = listed;
    // Stable: of those with the same first record, the order in which they were found stays.
    found.sort_by_key(|segment| (segment.first, !segment.is_sealed()));
    found.dedup_by_key(|segment| segment.first);
    Ok(Listed { found, unfinished })
}

fn list_folder(disk: &dyn Disk, dir: &Path) -> Result<Listed, FolderError> {
    let mut names = disk.names(dir).map_err(|error| io_error("list", dir, error))?;
    // Plain before compressed.
    names.sort();
    let mut listed = Listed { found: Vec::new(), unfinished: Vec::new() };
    for name in names {
        let path = dir.join(&name);
        match name.to_str().and_then(first_of_name) {
            Some(first) => listed.found.push(look_at(disk, path, first)?),
            None if name.to_str().is_some_and(is_unfinished) => listed.unfinished.push(path),
            None => tracing::warn!(file = %path.display(), "a file that is not ours is left alone"),
        }
    }
    Ok(listed)
}

fn look_at(disk: &dyn Disk, path: PathBuf, first: Seq) -> Result<Found, FolderError> {
    let file = open(disk, &path, false)?;
    let header = reader::header(&path, &*file)?.and_then(|header| match header.first() {
        named if named == first => Ok(header),
        first => Err(HeaderError::Misnamed { first }),
    });
    let footer = match reader::footer(&path, &*file)? {
        Some((_, footer)) => Some((footer, len_on_disk(disk, &path)?)),
        None => None,
    };
    Ok(Found { path, first, header, footer })
}

/// Opens a segment; of a compressed one, the plain bytes.
pub(crate) fn open(disk: &dyn Disk, path: &Path, to_write: bool) -> Result<Box<dyn DiskFile>, FolderError> {
    let failed = |error| io_error("open", path, error);
    let file = disk.open(path, to_write).map_err(failed)?;
    if is_compressed(path) {
        return Ok(Box::new(CompressedFile::new(file).map_err(failed)?));
    }
    Ok(file)
}

/// Bytes that a file takes, compressed as it is.
pub(crate) fn len_on_disk(disk: &dyn Disk, path: &Path) -> Result<u64, FolderError> {
    disk.open(path, false).and_then(|file| file.len()).map_err(|error| io_error("measure", path, error))
}

/// Leaves out a last segment whose making was cut short by a stop: nothing was written to it but a part of its header.
pub(super) fn take_unmade(disk: &dyn Disk, found: &mut Vec<Found>) -> Result<Option<PathBuf>, FolderError> {
    let Some(last) = found.last() else { return Ok(None) };
    let headless = matches!(last.header, Err(HeaderError::Foreign | HeaderError::Damaged));
    let plain = !is_compressed(&last.path);
    if !headless || !plain || !is_unmade(&last.path, &*open(disk, &last.path, false)?)? {
        return Ok(None);
    }
    Ok(found.pop().map(|unmade| unmade.path))
}
