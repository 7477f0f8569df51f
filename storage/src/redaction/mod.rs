//! Taking payloads out of a closed journal: segments are written anew without them, and every copy goes.
//!
//! The chain of hashes covers a payload by its hash alone, so it holds, and so do checkpoints and proofs. Whoever
//! calls has put on record what is to go; a stop at any moment leaves a journal that can be read, and the same call
//! finishes what is left.

mod progress;
mod rewrite;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use purser_events::{Seq, StreamId};
use uuid::Uuid;

use crate::disk::Disk;
use crate::folder::{Folder, FolderError, HeadFile, io_error};
use crate::frame::Hash;
use crate::opening::remove_unmade;
use crate::segment::open_segment::OpenSegment;
use crate::segment::set::{Known, SealedInfo, Segments, SegmentsError};
use crate::segment::{compressed_name, file_name, folder};
use crate::verify::{Fault, Head};
use crate::{snapshot, store};
use progress::Progress;

/// What is to go.
pub struct Subject<'a> {
    /// The streams whose payloads go.
    pub streams: &'a BTreeSet<StreamId>,
    /// What takes the place of a stored answer that tells of them; none if it does not.
    pub answer: &'a dyn Fn(&[u8]) -> Option<Vec<u8>>,
}

/// What a redaction has done, over all the times that it was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// The segments that were written anew, in order.
    pub segments: Vec<Rewritten>,
    /// Those of them of which the archive has the payloads still.
    pub archived: Vec<Seq>,
    /// The streams of which some payload is, or was, sealed with a key.
    pub sealed: BTreeSet<StreamId>,
}

impl Redacted {
    /// Payloads that were taken out.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.records).sum()
    }
}

/// A segment that was written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Its first record.
    pub first: Seq,
    /// Payloads that were taken out of it.
    pub records: u64,
    /// SHA-256 of what was in it.
    pub before: Hash,
    /// SHA-256 of what is in it now.
    pub after: Hash,
}

/// Why payloads could not be taken out. What was done so far stands; the same call goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RedactionError {
    /// A file or folder could not be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A segment is damaged; it was left as it is.
    #[error("failed to read the segments")]
    Damaged(#[source] Fault),
    /// What was written anew is not what it should be; it was not put in place.
    #[error("the new segment `{path}` is not the old one without its payloads")]
    Differs {
        /// The new file.
        path: PathBuf,
    },
    /// A segment was changed since the redaction was begun.
    #[error("the segment with first record {first} is neither what it was nor what it was made")]
    Changed {
        /// Its first record.
        first: Seq,
    },
    /// Without a snapshot, a journal whose first records were given up could not be opened any more.
    #[error("there is no sound snapshot of record {seq}, without which a trimmed journal cannot be opened")]
    NoSnapshot {
        /// The last record.
        seq: Seq,
    },
}

impl From<SegmentsError> for RedactionError {
    fn from(error: SegmentsError) -> RedactionError {
        match error {
            SegmentsError::Folder(error) => RedactionError::Folder(error),
            SegmentsError::Fault { source, .. } => RedactionError::Damaged(source),
        }
    }
}

/// Takes the payloads of a subject out of the closed journal in `dir`: seals the open segment, removes every snapshot
/// but that of the last record, writes each segment that holds such a payload anew, and removes the store. To be
/// called again, with the same `redaction`, until it succeeds.
///
/// # Errors
/// The journal is in use or damaged, or the disk fails.
pub fn redact(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    redaction: Uuid,
    subject: &Subject<'_>,
) -> Result<Redacted, RedactionError> {
    let _held = Folder::hold(dir)?;
    let loaded = Segments::load(Arc::clone(disk), dir, true)?;
    let (segments, head, before) = (loaded.segments, loaded.head, loaded.before);
    check_end(&**disk, dir, head)?;
    remove_unmade(&**disk, &loaded.unmade)?;
    if let Some(open) = loaded.open {
        seal(&**disk, &segments, open)?;
    }
    if !snapshot::keep_only(&**disk, dir, head, before == Head::GENESIS)? {
        return Err(RedactionError::NoSnapshot { seq: head.seq });
    }
    let progress = Progress::read(&**disk, dir, redaction)?;
    let mut work = Work { disk: &**disk, dir, subject, progress, sealed: BTreeSet::new() };
    for (first, known) in segments.all() {
        if let Known { path, sealed: Some(info), .. } = known {
            work.segment(first, &path, &info)?;
        }
    }
    let rewritten: Vec<Rewritten> = work.progress.lines().copied().collect();
    let mut archived = segments.archived();
    archived.rewritten(&**disk, dir, &rewritten)?;
    store::remove_all(dir)?;
    let archived = rewritten.iter().filter(|segment| archived.has(segment.first, &segment.after));
    let archived = archived.map(|segment| segment.first).collect();
    Ok(Redacted { archived, sealed: work.sealed, segments: rewritten })
}

/// Removes what the redaction had noted about itself; its end is on record.
///
/// # Errors
/// The disk fails.
pub fn forget_progress(disk: &dyn Disk, dir: &Path) -> Result<(), FolderError> {
    let path = progress::path(dir);
    disk.remove_if_there(&path).map_err(|error| io_error("remove", &path, error))
}

/// What a segment holds of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Its first record.
    pub first: Seq,
    /// Payloads in it.
    pub payloads: u64,
    /// Whether the archive has it too.
    pub archived: bool,
}

/// The segments of the closed journal in `dir` that hold something of a subject. Nothing is changed.
///
/// # Errors
/// The journal is damaged or cannot be read.
pub fn holding(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    subject: &Subject<'_>,
) -> Result<Vec<Holding>, RedactionError> {
    let segments = Segments::load(Arc::clone(disk), dir, false)?.segments;
    let archived = segments.archived();
    let mut found = Vec::new();
    for (first, Known { path, sealed, .. }) in segments.all() {
        let census = rewrite::census(&**disk, &path, subject)?;
        if census.is_touched() {
            let archived = sealed.is_some_and(|info| archived.has(first, &info.content));
            found.push(Holding { first, payloads: census.payloads, archived });
        }
    }
    Ok(found)
}

/// Whether the segments end where they are known to end.
fn check_end(disk: &dyn Disk, dir: &Path, head: Head) -> Result<(), RedactionError> {
    match HeadFile::read(disk, dir)? {
        Some(known) if known.seq > head.seq => {
            let source = Fault::Shortened { found: head.seq, expected: known.seq };
            Err(RedactionError::Damaged(source))
        }
        Some(_) | None => Ok(()),
    }
}

/// Seals the open segment, unless it holds no record: then it holds nothing of a subject.
fn seal(disk: &dyn Disk, segments: &Segments, mut open: OpenSegment) -> Result<(), FolderError> {
    if open.contents().last().seq < open.header.first() {
        return Ok(());
    }
    open.cut_torn()?;
    segments.note_sealed(&open.seal()?);
    let folder = folder(segments.dir());
    disk.sync_dir(&folder).map_err(|error| io_error("sync", &folder, error))
}

/// A redaction under way.
struct Work<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    subject: &'a Subject<'a>,
    progress: Progress,
    sealed: BTreeSet<StreamId>,
}

impl Work<'_> {
    /// Writes a segment anew if it holds a payload of the subject, and removes every other file with its records.
    fn segment(&mut self, first: Seq, path: &Path, info: &SealedInfo) -> Result<(), RedactionError> {
        let known = self.progress.of(first).copied();
        if known.is_some_and(|known| known.before != info.content && known.after != info.content) {
            return Err(RedactionError::Changed { first });
        }
        let census = rewrite::census(self.disk, path, self.subject)?;
        self.sealed.extend(&census.sealed);
        if census.is_touched() {
            let made = rewrite::rewrite(self.disk, path, first, info, self.subject)?;
            let before = known.map_or(info.content, |known| known.before);
            let line = Rewritten { first, records: census.payloads, before, after: made.content };
            self.progress.note(self.disk, line)?;
            made.put_in_place(self.disk, path)?;
        }
        if census.is_touched() || known.is_some() {
            self.remove_others(first, path)?;
        }
        Ok(())
    }

    /// Removes the same segment under another name: left by a stop while it was compressed or written anew.
    fn remove_others(&self, first: Seq, path: &Path) -> Result<(), FolderError> {
        let folder = folder(self.dir);
        for other in [file_name(first), compressed_name(first)].map(|name| folder.join(name)) {
            if other != path {
                self.disk.remove_if_there(&other).map_err(|error| io_error("remove", &other, error))?;
            }
        }
        self.disk.sync_dir(&folder).map_err(|error| io_error("sync", &folder, error))
    }
}
