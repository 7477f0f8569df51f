//! Which segments the archive has, and a folder as an archive.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use purser_events::Seq;

use super::SegmentInfo;
use super::proof;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::folder::{FolderError, io_error};
use crate::frame::Hash;
use crate::journal::Journal;
use crate::redaction::Rewritten;
use crate::segment::unfinished;

/// Bytes that are copied at a time.
const COPY_LEN: usize = 256 << 10;

/// Longest list that is read, in bytes.
const LIST_LEN_MAX: usize = 64 << 20;

/// Why a segment could not be copied into an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file could not be read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What was read back is not what was written.
    #[error("the copy `{path}` is not what was written to it")]
    Differs {
        /// The copy.
        path: PathBuf,
    },
    /// The archive has another file under the segment's name.
    #[error("the archive has another file at `{path}`: it is left alone")]
    Occupied {
        /// That file.
        path: PathBuf,
    },
}

/// Copies a segment into a folder: under another name, synced, read back, compared, then named. One that is there
/// already and is the same gives way to the copy: its sync may have failed, or never come. Blocks on the disk.
///
/// # Errors
/// The copy cannot be made, or is not what was written.
pub fn copy_to_folder(disk: &dyn Disk, segment: &Path, folder: &Path) -> Result<PathBuf, ArchiveError> {
    let name = segment.file_name().unwrap_or_default();
    let target = folder.join(name);
    disk.create_dir(folder).map_err(|error| io_error("create", folder, error))?;
    // What lies in a folder lasts no longer than the folder's own name.
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk.sync_dir(parent).map_err(|error| io_error("sync", parent, error))?;
    match disk.open(&target, false) {
        Ok(there) => {
            let from = disk.open(segment, false).map_err(|error| io_error("open", segment, error))?;
            if !proof::are_same(segment, &*from, &target, &*there)? {
                return Err(ArchiveError::Occupied { path: target });
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("open", &target, error).into()),
    }
    let new = unfinished(&target);
    let failed = |error| io_error("copy into", &new, error);
    disk.remove_if_there(&new).map_err(failed)?;
    copy(disk, segment, &new).map_err(failed)?;
    let from = disk.open(segment, false).map_err(|error| io_error("open", segment, error))?;
    let copied = disk.open(&new, false).map_err(failed)?;
    if !proof::are_same(segment, &*from, &new, &*copied)? {
        return Err(ArchiveError::Differs { path: new });
    }
    disk.rename(&new, &target).map_err(failed)?;
    disk.sync_dir(folder).map_err(|error| io_error("sync", folder, error))?;
    Ok(target)
}

fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (disk.open(from, false)?, disk.create(to)?);
    let mut buffer = vec![0; COPY_LEN];
    let mut at = 0;
    loop {
        let read = from.read_up_to(&mut buffer, at)?;
        to.write_all_at(buffer.get(..read).unwrap_or_default(), at)?;
        at += read as u64;
        if read < COPY_LEN {
            return to.sync_data();
        }
    }
}

impl Journal {
    /// Remembers that the archive has a segment.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn note_archived(&self, segment: &SegmentInfo) -> Result<(), JournalError> {
        let segments = self.segment_set();
        let _one_at_a_time = segments.upkeep();
        let first_kept = segments.before().seq;
        let mut list = segments.archived();
        // Of what is gone, nobody asks any more.
        list.0.retain(|first, _| *first > first_kept);
        list.0.insert(segment.first, segment.content);
        list.write(&**segments.disk(), segments.dir())?;
        segments.set_archived(list);
        Ok(())
    }
}

/// The segments that the archive has: their first records, and the hashes of what is in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ArchivedList(BTreeMap<Seq, Hash>);

impl ArchivedList {
    pub(crate) fn has(&self, first: Seq, content: &Hash) -> bool {
        self.0.get(&first) == Some(content)
    }

    /// The list in a journal's folder. One that cannot be understood says nothing: what is archived again does no
    /// harm.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<ArchivedList, FolderError> {
        let path = path(dir);
        let failed = |error| io_error("read", &path, error);
        let Some(bytes) = disk.read_small(&path, LIST_LEN_MAX).map_err(failed)? else {
            return Ok(ArchivedList::default());
        };
        let list = std::str::from_utf8(&bytes).ok().and_then(|text| text.lines().map(parse_line).collect());
        if list.is_none() {
            tracing::warn!(file = %path.display(), "the list of archived segments is damaged: they are archived again");
        }
        Ok(list.map(ArchivedList).unwrap_or_default())
    }

    fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), FolderError> {
        let path = path(dir);
        let line = |(first, content): (&Seq, &Hash)| format!("{first} {}\n", to_hex(content));
        let text: String = self.0.iter().map(line).collect();
        let written = disk.replace(&path, &unfinished(&path), text.as_bytes());
        written.map_err(|error| io_error("write", &path, error))
    }

    /// Takes notice that segments were written anew: the archive has them as they were.
    pub(crate) fn rewritten(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        segments: &[Rewritten],
    ) -> Result<(), FolderError> {
        let before = self.clone();
        for Rewritten { first, before, after, .. } in segments {
            if self.has(*first, before) {
                self.0.insert(*first, *after);
            }
        }
        if *self == before { Ok(()) } else { self.write(disk, dir) }
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("archived")
}

fn parse_line(line: &str) -> Option<(Seq, Hash)> {
    let (first, content) = line.split_once(' ')?;
    Some((Seq(first.parse().ok()?), from_hex(content)?))
}

/// A hash as lower-case digits.
pub(crate) fn to_hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The way back from [`to_hex`].
pub(crate) fn from_hex(text: &str) -> Option<Hash> {
    let (digits, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let byte = |digits: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let bytes: Vec<u8> = digits.iter().map(byte).collect::<Option<_>>()?;
    bytes.try_into().ok()
}
