//! All segments of a journal, in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use purser_events::Seq;

use super::entry::{Entry, Opened};
use super::footer::Footer;
use super::open_segment::{OpenSegment, Sealed};
use super::reader::{EntryReader, Step};
use super::recover::{Recovered, recover};
use super::{HEADER_LEN, HeaderError, SegmentHeader, first_of_name, folder, name_of, reader};
use crate::disk::{Disk, DiskFile};
use crate::folder::{FolderError, io_error};
use crate::frame::{FrameError, PREFIX_LEN};
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
}

#[derive(Debug, Clone)]
struct Known {
    path: PathBuf,
    /// None while it is open.
    sealed: Option<SealedInfo>,
}

/// What is known of a sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedInfo {
    pub last: Head,
    pub bytes: u64,
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

struct Found {
    path: PathBuf,
    first: Seq,
    header: Result<SegmentHeader, HeaderError>,
    footer: Option<(Footer, u64)>,
}

impl Segments {
    /// Takes stock of a journal's folder. `to_write` recovers the open segment for writing: what was torn by a stop
    /// is cut off; a reader leaves it as it is.
    pub(crate) fn load(disk: Arc<dyn Disk>, dir: &Path, to_write: bool) -> Result<Loaded, SegmentsError> {
        let mut found = list(&*disk, dir)?;
        drop_unmade(&*disk, &mut found, to_write)?;
        let mut loaded = Loaded {
            segments: Segments { disk, dir: dir.to_owned(), known: RwLock::default() },
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
        let info = SealedInfo { last: sealed.footer.last, bytes: sealed.bytes };
        let known = Known { path: sealed.path.clone(), sealed: Some(info) };
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(sealed.first, known);
    }

    /// Entries in order, from one that stands before record `from` or is it.
    pub(crate) fn walk(self: &Arc<Self>, from: Seq) -> Result<Walk, FolderError> {
        let mut walk = Walk { segments: Arc::clone(self), reader: None, next: from, sealed: false };
        let start = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known
                .range(..=from)
                .next_back()
                .or_else(|| known.first_key_value())
                .map(|(first, it)| (*first, it.clone()))
        };
        if let Some((first, known)) = start {
            let file = self.open(&known.path)?;
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

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, FolderError> {
        open(&*self.disk, path, false)
    }

    /// Makes the last segment and the names of all durable: whoever wrote it may have been killed before a sync of
    /// its last group, of its footer, or of its name.
    pub(crate) fn sync_last(&self) -> Result<(), FolderError> {
        let last = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.values().next_back().map(|known| known.path.clone())
        };
        let Some(path) = last else { return Ok(()) };
        let synced = open(&*self.disk, &path, true)?.sync_data();
        synced.map_err(|error| io_error("sync", &path, error))?;
        let dir = folder(&self.dir);
        self.disk.sync_dir(&dir).map_err(|error| io_error("sync", &dir, error))
    }

    /// Bytes of all segment files.
    pub(crate) fn bytes_on_disk(&self) -> Result<u64, FolderError> {
        let paths: Vec<PathBuf> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.values().map(|known| known.path.clone()).collect()
        };
        let mut bytes = 0;
        for path in paths {
            bytes += self.open(&path)?.len().map_err(|error| io_error("measure", &path, error))?;
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
                let info = SealedInfo { last: footer.last, bytes };
                let known = Known { path, sealed: Some(info) };
                self.segments.known.get_mut().unwrap_or_else(PoisonError::into_inner).insert(first, known);
            }
            None if !is_last => return Err(fault(Fault::SegmentFooter { file: name_of(&path) })),
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

fn open(disk: &dyn Disk, path: &Path, to_write: bool) -> Result<Box<dyn DiskFile>, FolderError> {
    disk.open(path, to_write).map_err(|error| io_error("open", path, error))
}

/// Every file with a segment's name, in order.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Found>, FolderError> {
    let dir = folder(dir);
    let names = disk.names(&dir).map_err(|error| io_error("list", &dir, error))?;
    let mut found = Vec::new();
    for name in names {
        let Some(first) = name.to_str().and_then(first_of_name) else {
            tracing::warn!(file = %dir.join(&name).display(), "a file that is not ours is left alone");
            continue;
        };
        let path = dir.join(&name);
        let file = open(disk, &path, false)?;
        let header = reader::header(&path, &*file)?.and_then(|header| match header.first() {
            named if named == first => Ok(header),
            first => Err(HeaderError::Misnamed { first }),
        });
        let len = file.len().map_err(|error| io_error("measure", &path, error))?;
        let footer = reader::footer(&path, &*file)?.map(|(_, footer)| (footer, len));
        found.push(Found { path, first, header, footer });
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

/// Leaves out a last segment whose making was cut short by a stop: it has no header and holds nothing.
fn drop_unmade(disk: &dyn Disk, found: &mut Vec<Found>, to_write: bool) -> Result<(), FolderError> {
    let Some(last) = found.last() else { return Ok(()) };
    let headless = matches!(last.header, Err(HeaderError::Foreign | HeaderError::Damaged));
    if !headless || super::recover::holds_anything(&last.path, &*open(disk, &last.path, false)?)? {
        return Ok(());
    }
    if to_write {
        tracing::warn!(segment = %last.path.display(), "a segment whose making was cut short is made again");
        disk.remove(&last.path).map_err(|error| io_error("remove", &last.path, error))?;
    }
    found.pop();
    Ok(())
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
        let known = {
            let known = self.segments.known.read().unwrap_or_else(PoisonError::into_inner);
            known.range(self.next..).next().map(|(first, known)| (*first, known.clone()))
        };
        let sound = Seq(self.next.0.saturating_sub(1));
        self.reader = match known {
            None => None,
            Some((first, _)) if first != self.next => {
                let source = Fault::SegmentMissing { expected: self.next, found: first };
                return Err(SegmentsError::Fault { sound, source });
            }
            Some((_, known)) => {
                self.sealed = known.sealed.is_some();
                let file = self.segments.open(&known.path)?;
                Some(EntryReader::new(&known.path, file, HEADER_LEN as u64))
            }
        };
        Ok(())
    }
}
