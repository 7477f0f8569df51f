//! All segments of a journal, in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use purser_events::{Seq, Timestamp};
use tokio::sync::watch;

use super::again::write_again;
use super::entry::Opened;
use super::footer::{Footer, Mark};
use super::listing::{self, Found, Listed, len_on_disk, open, take_unmade};
use super::open_segment::{OpenSegment, Sealed};
use super::recover::{Recovered, newest_evidence, recover};
use super::{SegmentHeader, folder, is_compressed, name_of, reader};
use crate::disk::{Disk, DiskFile};
use crate::evidence::Newest;
use crate::folder::{FolderError, io_error};
use crate::frame::Hash;
use crate::retention::ArchivedList;
use crate::verify::{Fault, Head};

/// Why segments could not be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentsError {
    /// A file could not be read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What is in them is not what was written.
    #[error("segments are damaged after record {sound}")]
    Fault {
        /// The last record before the fault.
        sound: Seq,
        /// What is wrong.
        source: Fault,
    },
}

/// Whether two segments that lie side by side are not of one journal: nobody knows which of them is another's.
fn is_of_two(error: &SegmentsError) -> bool {
    matches!(error, SegmentsError::Fault { source: Fault::BrokenChain { .. }, .. })
}

/// The segments, by their first record. Shared by the thread that writes and all that read.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    known: RwLock<BTreeMap<Seq, Known>>,
    /// The record before the first that is here.
    before: RwLock<Head>,
    /// The last record of the segment that was sealed last.
    seals: watch::Sender<Seq>,
    archived: RwLock<ArchivedList>,
    /// Held by whoever changes what is sealed.
    upkeep: Mutex<()>,
}

/// What is known of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub path: PathBuf,
    /// None while it is open.
    pub sealed: Option<SealedInfo>,
    /// Where to begin to read in it, as far as was known when it was opened; a sealed one has its own.
    pub(super) marks: Arc<[Mark]>,
    /// Where reading ends: what follows was found to be torn off by a stop.
    pub(super) end: u64,
}

impl Known {
    fn sealed(path: PathBuf, info: SealedInfo) -> Known {
        Known { path, sealed: Some(info), marks: [].into(), end: u64::MAX }
    }
}

/// A segment, by its first record, that was opened.
pub(super) type Picked = (Seq, Known, Box<dyn DiskFile>);

/// What is known of a sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedInfo {
    pub last: Head,
    /// Bytes of the file, compressed as it is.
    pub bytes: u64,
    pub content: Hash,
    pub first_time: Timestamp,
    pub last_time: Timestamp,
}

impl SealedInfo {
    pub(crate) fn new(footer: &Footer, bytes: u64) -> SealedInfo {
        let Footer { last, first_time, last_time, content, .. } = *footer;
        SealedInfo { last, bytes, content, first_time, last_time }
    }
}

/// What was found on disk.
pub(crate) struct Loaded {
    pub segments: Segments,
    /// The segment that takes what is written; none if the last one is sealed or there is none.
    pub open: Option<OpenSegment>,
    /// Files that are to make way: segments whose making was cut short.
    pub unmade: Vec<PathBuf>,
    /// The record before the first that is here.
    pub before: Head,
    /// The last record.
    pub head: Head,
    /// The newest epoch.
    pub epoch: u64,
    /// The last opening of the journal, if it can be told.
    pub opened: Option<Opened>,
    /// Whether the journal was closed in order.
    pub closed: bool,
    /// The newest evidence.
    pub newest: Newest,
    /// Why there may be more segments than were taken stock of, if that was to be no reason to stop.
    pub fault: Option<SegmentsError>,
}

impl Segments {
    /// Takes stock of a journal's folder, which stays as it is. `to_write` opens the open segment for writing.
    pub(crate) fn load(disk: Arc<dyn Disk>, dir: &Path, to_write: bool) -> Result<Loaded, SegmentsError> {
        let loaded = Segments::load_from(disk, dir, &[folder(dir)], to_write)?;
        loaded.fault.map_or(Ok(Loaded { fault: None, ..loaded }), Err)
    }

    /// As [`Segments::load`], of the segments in these folders, and as far as they are sound: what comes before the first
    /// that is missing or damaged can be read, unless they are of two journals.
    pub(crate) fn load_from(
        disk: Arc<dyn Disk>,
        dir: &Path,
        folders: &[PathBuf],
        to_write: bool,
    ) -> Result<Loaded, SegmentsError> {
        let Listed { mut found, unfinished } = listing::list(&*disk, folders)?;
        let unmade = take_unmade(&*disk, &mut found)?.into_iter().chain(unfinished).collect();
        let archived = ArchivedList::read(&*disk, dir)?;
        let mut loaded = Loaded {
            segments: Segments {
                disk,
                dir: dir.to_owned(),
                known: RwLock::default(),
                before: RwLock::new(Head::GENESIS),
                seals: watch::Sender::new(Seq::ZERO),
                archived: RwLock::new(archived),
                upkeep: Mutex::new(()),
            },
            open: None,
            unmade,
            before: Head::GENESIS,
            head: Head::GENESIS,
            epoch: 0,
            opened: None,
            closed: false,
            newest: Newest::default(),
            fault: None,
        };
        // A last file whose header makes no sense is named itself, not the segment before it that is still open.
        let count = found.len() - usize::from(found.last().is_some_and(|last| last.header.is_err()));
        for (number, segment) in found.into_iter().enumerate() {
            match loaded.add(segment, number == 0, number + 1 >= count, to_write) {
                Ok(()) => {}
                // Nothing comes before it, or it is not known whether what does is of the same journal.
                Err(error) if number == 0 || is_of_two(&error) => return Err(error),
                Err(error) => {
                    loaded.fault = Some(error);
                    return Ok(loaded);
                }
            }
        }
        loaded.find_newest()?;
        Ok(loaded)
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes notice of an open segment.
    pub(crate) fn note_open(&self, first: Seq, path: PathBuf, marks: &[Mark]) {
        let known = Known { path, sealed: None, marks: marks.into(), end: u64::MAX };
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(first, known);
    }

    /// Takes notice that a segment is sealed.
    pub(crate) fn note_sealed(&self, sealed: &Sealed) {
        let known = Known::sealed(sealed.path.clone(), SealedInfo::new(&sealed.footer, sealed.bytes));
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(sealed.first, known);
        self.seals.send_replace(sealed.footer.last.seq);
    }

    /// Tells of every new seal by the last record in it.
    pub(crate) fn seals(&self) -> watch::Receiver<Seq> {
        self.seals.subscribe()
    }

    /// The record before the first that is here.
    pub(crate) fn before(&self) -> Head {
        *self.before.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them by their first record.
    pub(crate) fn all(&self) -> BTreeMap<Seq, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes notice that a sealed segment lies in another file now.
    pub(crate) fn note_moved(&self, first: Seq, path: PathBuf, bytes: u64) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(Known { path: held, sealed: Some(info), .. }) = known.get_mut(&first) {
            (*held, info.bytes) = (path, bytes);
        }
    }

    /// Takes notice that the first segment is about to go; what it held is no longer read.
    pub(crate) fn note_gone(&self, first: Seq, last: Head) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(&first);
        *self.before.write().unwrap_or_else(PoisonError::into_inner) = last;
    }

    /// Takes notice that the segment that was to go is still there.
    pub(crate) fn note_kept(&self, first: Seq, path: PathBuf, info: SealedInfo, before: Head) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(first, Known::sealed(path, info));
        *self.before.write().unwrap_or_else(PoisonError::into_inner) = before;
    }

    /// Which of them the archive has.
    pub(crate) fn archived(&self) -> ArchivedList {
        self.archived.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_archived(&self, archived: ArchivedList) {
        *self.archived.write().unwrap_or_else(PoisonError::into_inner) = archived;
    }

    /// Held while sealed segments are changed: one change at a time.
    pub(crate) fn upkeep(&self) -> MutexGuard<'_, ()> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the segment that `wanted` picks. One that meanwhile went on in another file is looked up again.
    pub(super) fn find(
        &self,
        wanted: impl Fn(&BTreeMap<Seq, Known>) -> Option<(Seq, Known)>,
    ) -> Result<Option<Picked>, FolderError> {
        let mut tried: Option<(PathBuf, FolderError)> = None;
        loop {
            let found = wanted(&self.known.read().unwrap_or_else(PoisonError::into_inner));
            let Some((first, known)) = found else { return Ok(None) };
            match tried {
                Some((path, error)) if path == known.path => return Err(error),
                Some(_) | None => {}
            }
            match open(&*self.disk, &known.path, false) {
                Ok(file) => return Ok(Some((first, known, file))),
                Err(error) => tried = Some((known.path, error)),
            }
        }
    }

    /// Makes the last segment and the names of all durable: whoever wrote it may have been killed before a sync of
    /// its last group, of its footer, or of its name, or a sync may have failed. Records up to `durable` are.
    pub(crate) fn sync_last(&self, durable: Seq) -> Result<(), FolderError> {
        let Some((_, Known { path, sealed, marks, .. })) = self.all().pop_last() else { return Ok(()) };
        // A compressed one was synced before it got its name.
        if !is_compressed(&path) {
            let footer = match sealed {
                Some(_) => reader::footer(&path, &*open(&*self.disk, &path, false)?)?,
                None => None,
            };
            let marks = footer.map_or(marks, |(_, footer)| footer.marks.into());
            write_again(&*self.disk, &path, &marks, durable)?;
        }
        let dir = folder(&self.dir);
        self.disk.sync_dir(&dir).map_err(|error| io_error("sync", &dir, error))
    }

    /// Bytes of all segment files.
    pub(crate) fn bytes_on_disk(&self) -> Result<u64, FolderError> {
        let mut bytes = 0;
        for Known { path, sealed, .. } in self.all().into_values() {
            bytes += match sealed {
                Some(sealed) => sealed.bytes,
                None => len_on_disk(&*self.disk, &path)?,
            };
        }
        Ok(bytes)
    }
}

impl Loaded {
    fn add(
        &mut self,
        found: Found,
        is_first: bool,
        is_last: bool,
        to_write: bool,
    ) -> Result<(), SegmentsError> {
        let Found { path, first, header, footer } = found;
        let sound = self.head.seq;
        let fault = |source| SegmentsError::Fault { sound, source };
        let header = header.map_err(|source| fault(Fault::SegmentHeader { file: name_of(&path), source }))?;
        if is_first {
            (self.before, self.head) = (header.before, header.before);
            *self.segments.before.get_mut().unwrap_or_else(PoisonError::into_inner) = header.before;
        } else if header.before != self.head {
            let expected = self.head.seq.next();
            return Err(fault(if first == expected {
                Fault::BrokenChain { seq: first }
            } else {
                Fault::SegmentMissing { expected, found: first }
            }));
        }
        self.epoch = self.epoch.max(header.epoch);
        match footer {
            Some((footer, bytes)) => {
                (self.head, self.epoch) = (footer.last, self.epoch.max(footer.epoch));
                let known = Known::sealed(path, SealedInfo::new(&footer, bytes));
                self.segments.known.get_mut().unwrap_or_else(PoisonError::into_inner).insert(first, known);
            }
            // What is compressed was sealed.
            None if !is_last || is_compressed(&path) => {
                return Err(fault(Fault::SegmentFooter { file: name_of(&path) }));
            }
            None => self.add_open(path, header, to_write)?,
        }
        Ok(())
    }

    fn add_open(
        &mut self,
        path: PathBuf,
        header: SegmentHeader,
        to_write: bool,
    ) -> Result<(), SegmentsError> {
        let disk = Arc::clone(&self.segments.disk);
        let recovered = recover(&path, &|| open(&*disk, &path, false), &header)?;
        let sound = self.head.seq;
        let recovered = recovered.map_err(|source| SegmentsError::Fault { sound, source })?;
        let Recovered { contents, end, torn, opened, closed, newest } = recovered;
        (self.head, self.epoch) = (contents.last(), self.epoch.max(contents.epoch()));
        (self.opened, self.closed, self.newest) = (opened, closed && torn == 0, newest);
        let known = Known { path: path.clone(), sealed: None, marks: contents.marks().into(), end };
        self.segments.known.get_mut().unwrap_or_else(PoisonError::into_inner).insert(header.first(), known);
        if to_write {
            let file = open(&*disk, &path, true)?;
            self.open = Some(
                OpenSegment::resume(path, file, header, contents, end)?
                    .left_by_stop(torn, self.opened.is_none()),
            );
        }
        Ok(())
    }

    /// A segment that was begun in order begins with the newest evidence, and only then says who opened it. One whose
    /// beginning was cut short, or is missing, leaves it to the segment before.
    fn find_newest(&mut self) -> Result<(), FolderError> {
        if self.opened.is_some() {
            return Ok(());
        }
        let known = self.segments.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        let last_sealed = known.values().rev().find(|known| known.sealed.is_some());
        if let Some(path) = last_sealed.map(|known| known.path.clone()) {
            let before = newest_evidence(&path, open(&*self.segments.disk, &path, false)?)?;
            let begun = std::mem::replace(&mut self.newest, before);
            begun.to_evidence().into_iter().for_each(|evidence| self.newest.note(evidence));
        }
        Ok(())
    }
}
