//! All segments of a journal, in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use purser_events::{Seq, Timestamp};
use tokio::sync::watch;

use super::again::write_again;
use super::entry::{Entry, Opened};
use super::footer::{Footer, Mark};
use super::listing::{self, Found, Listed, len_on_disk, open, take_unmade};
use super::open_segment::{OpenSegment, Sealed, content_hash};
use super::reader::{EntryReader, Reached};
use super::recover::{Recovered, newest_evidence, recover};
use super::{HEADER_LEN, SegmentHeader, folder, is_compressed, name_of, reader};
use crate::disk::{Disk, DiskFile};
use crate::evidence::Newest;
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
    /// Where to begin to read in it, as far as was known when it was opened; a sealed one has its own.
    marks: Arc<[Mark]>,
    /// Where reading ends: what follows was found to be torn off by a stop.
    end: u64,
}

impl Known {
    fn sealed(path: PathBuf, info: SealedInfo) -> Known {
        Known { path, sealed: Some(info), marks: [].into(), end: u64::MAX }
    }
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
}

impl Segments {
    /// Takes stock of a journal's folder, which stays as it is. `to_write` opens the open segment for writing.
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
        let Listed { mut found, unfinished } = listing::list(&*disk, dir, archives)?;
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
        };
        // A last file whose header makes no sense is named itself, not the segment before it that is still open.
        let count = found.len() - usize::from(found.last().is_some_and(|last| last.header.is_err()));
        for (number, segment) in found.into_iter().enumerate() {
            loaded.add(segment, number == 0, number + 1 >= count, to_write)?;
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

    /// Entries in order, from one that stands before record `from` or is it.
    pub(crate) fn walk(self: &Arc<Self>, from: Seq) -> Result<Walk, FolderError> {
        let mut walk = Walk::new(Arc::clone(self), from);
        let start = self.find(|known| {
            let found = known.range(..=from).next_back().or_else(|| known.first_key_value());
            found.map(|(first, known)| (*first, known.clone()))
        })?;
        if let Some((first, known, file)) = start {
            let mut at = HEADER_LEN as u64;
            walk.next = first;
            let footer = known.sealed.map(|_| reader::footer(&known.path, &*file)).transpose()?.flatten();
            let marks = footer.as_ref().map_or(&*known.marks, |(_, footer)| &footer.marks);
            // Before it: answers without records may stand between the record before `from` and a later mark for it.
            if let Some(mark) = marks.iter().rev().find(|mark| mark.seq < from) {
                (at, walk.next) = (mark.at, mark.seq);
            }
            (walk.sealed, walk.end) = (known.sealed.is_some(), known.end);
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
            self.open = Some(OpenSegment::resume(path, file, header, contents, end)?.with_torn(torn));
        }
        Ok(())
    }

    /// A segment that was begun in order begins with the newest evidence, and only then says who opened it. One whose
    /// beginning was cut short, or is missing, leaves it to the segment before.
    fn find_newest(&mut self) -> Result<(), FolderError> {
        if self.opened.is_some() || !self.newest.is_empty() {
            return Ok(());
        }
        let known = self.segments.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        let last_sealed = known.values().rev().find(|known| known.sealed.is_some());
        if let Some(path) = last_sealed.map(|known| known.path.clone()) {
            self.newest = newest_evidence(&path, open(&*self.segments.disk, &path, false)?)?;
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
    /// The place in order of the last answer.
    answered: Option<u64>,
    /// Whether the segment that is being read is sealed.
    sealed: bool,
    /// Where reading ends in it.
    end: u64,
    /// Whether each sealed segment's bytes are compared with the hash in its footer.
    checks_content: bool,
}

impl Walk {
    fn new(segments: Arc<Segments>, next: Seq) -> Walk {
        Walk {
            segments,
            reader: None,
            next,
            answered: None,
            sealed: false,
            end: u64::MAX,
            checks_content: false,
        }
    }

    /// Has each sealed segment compared as a whole with the hash in its footer, which is to read it twice.
    pub(crate) fn checking_content(mut self) -> Walk {
        self.checks_content = true;
        self
    }

    /// The next record's position.
    pub(crate) fn next_seq(&self) -> Seq {
        self.next
    }

    /// The next entry; none at the end.
    pub(crate) fn step(&mut self) -> Result<Option<Entry>, SegmentsError> {
        loop {
            let Some(reader) = &mut self.reader else { return Ok(None) };
            if reader.position() >= self.end {
                return Ok(None);
            }
            let sound = Seq(self.next.0.saturating_sub(1));
            let step = reader.step()?;
            let path = reader.path();
            let fault = |at, fault| SegmentsError::Fault { sound, source: super::at(path, at, fault) };
            match step {
                Reached::Entry { at, entry: Entry::Footer(footer) } => {
                    if self.sealed && (footer.last.seq != sound || !self.content_fits(at, &footer)?) {
                        let source = Fault::SegmentContent { file: name_of(self.path()) };
                        return Err(SegmentsError::Fault { sound, source });
                    }
                    self.go_on()?;
                }
                Reached::Entry { at, entry } => {
                    if let Entry::Record(record) = &entry {
                        let (expected, found) = (self.next, record.header.seq);
                        if found != expected {
                            return Err(fault(at, Fault::Gap { expected, found }));
                        }
                        self.next = expected.next();
                    }
                    if let Entry::Answer(answer) = &entry
                        && self.answered.replace(answer.order).is_some_and(|last| last >= answer.order)
                    {
                        let source = FrameError::Malformed { field: "answer order" };
                        return Err(fault(at, Fault::Damaged { seq: self.next, source }));
                    }
                    return Ok(Some(entry));
                }
                Reached::Bad { at, source } if self.sealed || source.is_unknown() => {
                    return Err(fault(at, Fault::Damaged { seq: self.next, source }));
                }
                Reached::End { at } if self.sealed => {
                    let source = FrameError::CutShort { len: 0, announced: PREFIX_LEN };
                    return Err(fault(at, Fault::Damaged { seq: self.next, source }));
                }
                // The open segment's end, or what a stop tore off there: `recover` has looked at it.
                Reached::Bad { .. } | Reached::End { .. } => return Ok(None),
            }
        }
    }

    fn path(&self) -> &Path {
        self.reader.as_ref().map_or(Path::new(""), EntryReader::path)
    }

    fn content_fits(&self, end: u64, footer: &Footer) -> Result<bool, FolderError> {
        let path = self.path();
        Ok(!self.checks_content || {
            let file = open(&*self.segments.disk, path, false)?;
            content_hash(path, &*file, end)? == footer.content
        })
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
                (self.sealed, self.end) = (known.sealed.is_some(), known.end);
                Some(EntryReader::new(&known.path, file, HEADER_LEN as u64))
            }
        };
        Ok(())
    }
}
