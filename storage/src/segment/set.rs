//! All segments of a journal, in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use purser_events::{Seq, Timestamp};
use tokio::sync::watch;

use super::entry::{Entry, Opened};
use super::footer::Footer;
use super::listing::{self, Found, drop_unmade, len_on_disk, open};
use super::open_segment::{OpenSegment, Sealed};
use super::reader::{EntryReader, Step};
use super::recover::{Recovered, recover};
use super::{HEADER_LEN, SegmentHeader, is_compressed, name_of, reader};
use crate::disk::{Disk, DiskFile};
use crate::folder::{FolderError, io_error};
use crate::frame::{FrameError, Hash, PREFIX_LEN};
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
}

/// A segment, by its first record, that was opened.
type Picked = (Seq, Known, Box<dyn DiskFile>);

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
}

impl Segments {
    /// Takes stock of a journal's folder. `to_write` recovers the open segment for writing: what was torn by a stop
    /// is cut off; a reader leaves it as it is.
    pub(crate) fn load(disk: Arc<dyn Disk>, dir: &Path, to_write: bool) -> Result<Loaded, SegmentsError> {
        Segments::load_with(disk, dir, &[], to_write)
    }

    /// As [`Segments::load`], with the segments of an archive beside the journal's own.
    pub(crate) fn load_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        archives: &[PathBuf],
        to_write: bool,
    ) -> Result<Loaded, SegmentsError> {
        let mut found = listing::list(&*disk, dir, archives, to_write)?;
        drop_unmade(&*disk, &mut found, to_write)?;
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
            before: Head::GENESIS,
            head: Head::GENESIS,
            epoch: 0,
            opened: None,
            closed: false,
        };
        let count = found.len();
        for (number, segment) in found.into_iter().enumerate() {
            loaded.add(segment, number == 0, number + 1 == count, to_write)?;
        }
        Ok(loaded)
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes notice of a new open segment.
    pub(crate) fn note_open(&self, first: Seq, path: PathBuf) {
        let known = Known { path, sealed: None };
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(first, known);
    }

    /// Takes notice that a segment is sealed.
    pub(crate) fn note_sealed(&self, sealed: &Sealed) {
        let known =
            Known { path: sealed.path.clone(), sealed: Some(SealedInfo::new(&sealed.footer, sealed.bytes)) };
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
        if let Some(Known { path: held, sealed: Some(info) }) = known.get_mut(&first) {
            (*held, info.bytes) = (path, bytes);
        }
    }

    /// Takes notice that the first segment is about to go; what it held is no longer read.
    pub(crate) fn note_gone(&self, first: Seq, last: Head) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(&first);
        *self.before.write().unwrap_or_else(PoisonError::into_inner) = last;
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

    /// Entries in order, from one that stands before record `from` or is it.
    pub(crate) fn walk(self: &Arc<Self>, from: Seq) -> Result<Walk, FolderError> {
        let mut walk = Walk { segments: Arc::clone(self), reader: None, next: from, sealed: false };
        let start = self.find(|known| {
            let found = known.range(..=from).next_back().or_else(|| known.first_key_value());
            found.map(|(first, known)| (*first, known.clone()))
        })?;
        if let Some((first, known, file)) = start {
            let mut at = HEADER_LEN as u64;
            walk.next = first;
            if known.sealed.is_some()
                && let Some((_, footer)) = reader::footer(&known.path, &*file)?
                && let Some(mark) = footer.marks.iter().rev().find(|mark| mark.seq <= from)
            {
                (at, walk.next) = (mark.at, mark.seq);
            }
            walk.sealed = known.sealed.is_some();
            walk.reader = Some(EntryReader::new(&known.path, file, at));
        }
        Ok(walk)
    }

    /// Opens the segment that `wanted` picks. One that meanwhile went on in another file is looked up again.
    fn find(
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

    /// Bytes of all segment files.
    pub(crate) fn bytes_on_disk(&self) -> Result<u64, FolderError> {
        let mut bytes = 0;
        for Known { path, sealed } in self.all().into_values() {
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
                let known = Known { path, sealed: Some(SealedInfo::new(&footer, bytes)) };
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
        let Recovered { contents, end, torn, opened, closed } = recovered;
        (self.head, self.epoch) = (contents.last(), self.epoch.max(contents.epoch()));
        (self.opened, self.closed) = (opened, closed && torn == 0);
        self.segments.note_open(header.first(), path.clone());
        if to_write {
            let failed = |error| io_error("recover", &path, error);
            let file = open(&*disk, &path, true)?;
            if torn > 0 {
                tracing::warn!(segment = %path.display(), bytes = torn, "what a stop tore off is cut away");
                let len = file.len().map_err(failed)?;
                // Cut and lengthened again, it is zeros: nothing of the torn bytes can come back later.
                file.set_len(end).map_err(failed)?;
                file.allocate(len).map_err(failed)?;
                file.sync_data().map_err(failed)?;
            }
            self.open = Some(OpenSegment::resume(path, file, header, contents, end));
        }
        Ok(())
    }
}

/// Entries of all segments in order.
pub(crate) struct Walk {
    segments: Arc<Segments>,
    reader: Option<EntryReader>,
    /// The next record.
    next: Seq,
    /// Whether the segment that is being read is sealed.
    sealed: bool,
}

impl Walk {
    /// The next record's position.
    pub(crate) fn next_seq(&self) -> Seq {
        self.next
    }

    /// The next entry; none at the end.
    pub(crate) fn step(&mut self) -> Result<Option<Entry>, SegmentsError> {
        loop {
            let Some(reader) = &mut self.reader else { return Ok(None) };
            let sound = Seq(self.next.0.saturating_sub(1));
            let step = reader.step()?;
            let path = reader.path();
            let fault = |at, fault| SegmentsError::Fault { sound, source: super::at(path, at, fault) };
            match step {
                Step::Entry { entry: Entry::Footer(_), .. } => self.go_on()?,
                Step::Entry { at, entry } => {
                    if let Entry::Record(record) = &entry {
                        let (expected, found) = (self.next, record.header.seq);
                        if found != expected {
                            return Err(fault(at, Fault::Gap { expected, found }));
                        }
                        self.next = expected.next();
                    }
                    return Ok(Some(entry));
                }
                Step::Bad { at, source } if self.sealed || source.is_unknown() => {
                    return Err(fault(at, Fault::Damaged { seq: self.next, source }));
                }
                Step::End { at } if self.sealed => {
                    let source = FrameError::CutShort { len: 0, announced: PREFIX_LEN };
                    return Err(fault(at, Fault::Damaged { seq: self.next, source }));
                }
                // The open segment's end, or what a stop tore off there: `recover` has looked at it.
                Step::Bad { .. } | Step::End { .. } => return Ok(None),
            }
        }
    }

    fn go_on(&mut self) -> Result<(), SegmentsError> {
        let from = self.next;
        let known = self
            .segments
            .find(|known| known.range(from..).next().map(|(first, known)| (*first, known.clone())))?;
        let sound = Seq(self.next.0.saturating_sub(1));
        self.reader = match known {
            None => None,
            Some((first, _, _)) if first != self.next => {
                let source = Fault::SegmentMissing { expected: self.next, found: first };
                return Err(SegmentsError::Fault { sound, source });
            }
            Some((_, known, file)) => {
                self.sealed = known.sealed.is_some();
                Some(EntryReader::new(&known.path, file, HEADER_LEN as u64))
            }
        };
        Ok(())
    }
}
