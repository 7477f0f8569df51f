//! Reading a journal without a node: from an export, or from a folder that no process writes.
//!
//! Only the segments are read, and nothing is written: a folder stays as it is.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::Flock;
use purser_events::Seq;

use crate::disk::{Disk, SystemDisk};
use crate::evidence::Evidence;
use crate::export::{self, ExportError};
use crate::folder::{self, FolderError, HeadFile};
use crate::frame::Hash;
use crate::record::StoredRecord;
use crate::scan::Scan;
pub use crate::scan::Scanned;
use crate::segment;
use crate::segment::entry::Entry;
use crate::segment::set::{Known, SealedInfo, Segments, SegmentsError};
use crate::segment::walk::Walk;
use crate::subjects::SubjectKeys;
use crate::verify::{Fault, Head, Position, Verifier};

/// Why a journal could not be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The export cannot be read.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A record is not the one that was written.
    #[error("the journal is damaged after record {last}")]
    Fault {
        /// The last sound record.
        last: Seq,
        /// What is wrong with the one after it.
        source: Fault,
    },
}

/// What a reader can do about a [`SourceError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFailure {
    /// A file, folder or stream could not be read.
    Io,
    /// What is there is not what was written.
    Integrity,
    /// A newer release is needed.
    Unknown,
}

impl SourceError {
    /// What kind of failure it is.
    #[must_use]
    pub fn failure(&self) -> SourceFailure {
        use SourceFailure::{Integrity, Io, Unknown};
        match self {
            SourceError::Fault { source, .. } | SourceError::Export(ExportError::Fault { source, .. }) => {
                if source.is_unknown() {
                    Unknown
                } else {
                    Integrity
                }
            }
            SourceError::Export(ExportError::NewerFormat { .. })
            | SourceError::Folder(FolderError::NewerFormat { .. }) => Unknown,
            SourceError::Export(
                ExportError::DamagedHeader | ExportError::CutShort { .. } | ExportError::WrongEnd { .. },
            ) => Integrity,
            // What was never a journal is not a damaged one.
            SourceError::Export(
                ExportError::NotAnExport | ExportError::Io { .. } | ExportError::Journal(_),
            )
            | SourceError::Folder(
                FolderError::Foreign { .. }
                | FolderError::OlderFormat { .. }
                | FolderError::Io { .. }
                | FolderError::Locked { .. },
            ) => Io,
        }
    }
}

/// A journal's records in order, each checked; ends at the first that is not sound. As an iterator it gives records
/// alone, by [`Source::next_item`] the evidence between them as well.
pub struct Source {
    kind: Kind,
    keys: Option<SubjectKeys>,
}

/// A sealed segment that a journal is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedSegment {
    /// Its first record.
    pub first: Seq,
    /// Its last; the one before its first if it has none.
    pub last: Seq,
    /// SHA-256 of what is in it.
    pub content: Hash,
    /// Whether it lies in the archive and not in the journal's own folder.
    pub is_archive: bool,
}

/// What comes next in a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A record that is sound.
    Record(Box<StoredRecord>),
    /// Something that vouches for records before it; nothing of it is checked yet.
    Evidence(Evidence),
}

/// A place in a journal that was read up to there, to read on from later. What came before it is taken on trust then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The last record before it.
    pub head: Head,
    /// Where an export is to be read on; nothing of a folder, which is found by `head`.
    pub export: Option<export::Offset>,
}

enum Kind {
    Export(export::Reader<Box<dyn Read>>),
    Folder(Box<Folder>),
}

impl Source {
    /// Reads an export.
    ///
    /// # Errors
    /// The stream cannot be read or is not an export that this release knows.
    pub fn from_export(input: impl Read + 'static) -> Result<Source, SourceError> {
        Ok(Source::of(Kind::Export(export::Reader::new(Box::new(input) as Box<dyn Read>)?)))
    }

    /// Reads a journal's folder, which stays as it is.
    ///
    /// # Errors
    /// A process writes the folder, it cannot be read, it is damaged as a whole, or it is not one that this
    /// release knows.
    pub fn from_folder(dir: &Path) -> Result<Source, SourceError> {
        Ok(Source::of(Kind::Folder(Box::new(Folder::open(dir, &[])?))))
    }

    /// Reads a journal's folder and, for what was trimmed from it, a folder with segments of its archive.
    ///
    /// # Errors
    /// As for [`Source::from_folder`].
    pub fn from_folder_and_archive(dir: &Path, archive: &Path) -> Result<Source, SourceError> {
        Ok(Source::of(Kind::Folder(Box::new(Folder::open(dir, &[archive.to_owned()])?))))
    }

    /// Reads sealed segments that lie in a folder by themselves, such as an archive. Nothing says where the journal ends that
    /// they are of, and their first may not be its first.
    ///
    /// # Errors
    /// As for [`Source::from_folder`]; there is no segment in the folder; it is the folder of a journal that a process writes.
    pub fn from_segments(segments: &Path) -> Result<Source, SourceError> {
        Ok(Source::of(Kind::Folder(Box::new(Folder::of_segments(segments, None)?))))
    }

    /// Reads sealed segments as [`Source::from_segments`] does, from the record after `head` on.
    ///
    /// # Errors
    /// As for [`Source::from_segments`].
    pub fn from_segments_after(segments: &Path, head: Head) -> Result<Source, SourceError> {
        Ok(Source::of(Kind::Folder(Box::new(Folder::of_segments(segments, Some(head))?))))
    }

    /// Reads an export on from a mark of it: `input` must begin at the byte that the mark names.
    #[must_use]
    pub fn of_export_after(input: impl Read + 'static, head: Head, offset: export::Offset) -> Source {
        let input = Box::new(input) as Box<dyn Read>;
        Source::of(Kind::Export(export::Reader::resume(input, head, offset)))
    }

    /// Reads a journal's folder, with its archive if one is given, from the record after `head` on. That record must
    /// follow `head` in the chain of hashes; what came before is not read.
    ///
    /// # Errors
    /// As for [`Source::from_folder`].
    pub fn from_folder_after(dir: &Path, archive: Option<&Path>, head: Head) -> Result<Source, SourceError> {
        let archives: Vec<PathBuf> = archive.map(Path::to_owned).into_iter().collect();
        Ok(Source::of(Kind::Folder(Box::new(Folder::open_after(dir, &archives, head)?))))
    }

    /// The place that has been read up to.
    #[must_use]
    pub fn mark(&self) -> Mark {
        match &self.kind {
            Kind::Export(reader) => Mark { head: reader.head(), export: Some(reader.offset()) },
            Kind::Folder(folder) => Mark { head: folder.verifier.head(), export: None },
        }
    }

    /// Reads sealed payloads with these keys from here on.
    #[must_use]
    pub fn with_keys(self, keys: SubjectKeys) -> Source {
        Source { keys: Some(keys), ..self }
    }

    /// The record before the first; [`Head::GENESIS`] unless the source is a part of a journal.
    #[must_use]
    pub fn before(&self) -> Head {
        match &self.kind {
            Kind::Export(reader) => reader.before(),
            Kind::Folder(folder) => folder.before,
        }
    }

    /// Whether it is an export from which payloads were left out when it was made.
    #[must_use]
    pub fn is_excerpt(&self) -> bool {
        match &self.kind {
            Kind::Export(reader) => reader.is_excerpt(),
            Kind::Folder(_) => false,
        }
    }

    /// The last record that was found sound so far.
    #[must_use]
    pub fn head(&self) -> Head {
        match &self.kind {
            Kind::Export(reader) => reader.head(),
            Kind::Folder(folder) => folder.verifier.head(),
        }
    }

    /// The last record as far as that is known before it is read: a folder has it on file, an export does not.
    #[must_use]
    pub fn known_last(&self) -> Option<Seq> {
        match &self.kind {
            Kind::Export(_) => None,
            Kind::Folder(folder) => folder.known.map(|known| known.seq),
        }
    }

    /// The sealed segments that are read, in order; none of an export.
    #[must_use]
    pub fn segments(&self) -> Vec<SealedSegment> {
        match &self.kind {
            Kind::Export(_) => Vec::new(),
            Kind::Folder(folder) => folder.segments.clone(),
        }
    }

    /// The next record or piece of evidence; none at the end, and after an error.
    pub fn next_item(&mut self) -> Option<Result<Item, SourceError>> {
        let next = match &mut self.kind {
            Kind::Export(reader) => reader.next_item().map(|next| next.map_err(SourceError::Export)),
            Kind::Folder(folder) => folder.next(),
        };
        match (next, &self.keys) {
            (Some(Ok(Item::Record(mut record))), Some(keys)) => {
                Some(keys.open(&mut record).map(|()| Item::Record(record)).map_err(SourceError::Folder))
            }
            (next, _) => next,
        }
    }

    /// Reads all that is left, in the same order and with the same checks as [`Source::next_item`] does: of a folder on
    /// several threads. `look` makes something of each record, on any of them and also of records that then turn out
    /// not to be sound; `each` has it in order, for those that are.
    ///
    /// # Errors
    /// What comes behind the last that `each` was given cannot be read, or is not sound.
    pub fn read_through<T: Send>(
        &mut self,
        look: &(impl Fn(&StoredRecord) -> T + Sync),
        mut each: impl FnMut(Scanned<T>),
    ) -> Result<(), SourceError> {
        if let Kind::Folder(folder) = &mut self.kind {
            return folder.scan(self.keys.as_ref(), look, each);
        }
        while let Some(item) = self.next_item() {
            each(match item? {
                Item::Record(record) => Scanned::Record(Position::of(&record), look(&record)),
                Item::Evidence(evidence) => Scanned::Evidence(evidence),
            });
        }
        Ok(())
    }

    /// Whether evidence is to be expected among what is read: a folder has the newest at its end as well, of an export
    /// nobody knows.
    #[must_use]
    pub fn may_have_evidence(&self) -> bool {
        match &self.kind {
            Kind::Export(_) => true,
            Kind::Folder(folder) => folder.has_evidence,
        }
    }

    fn of(kind: Kind) -> Source {
        Source { kind, keys: None }
    }
}

impl Iterator for Source {
    type Item = Result<StoredRecord, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_item()? {
                Ok(Item::Record(record)) => return Some(Ok(*record)),
                Ok(Item::Evidence(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

struct Folder {
    walk: Walk,
    /// The last acknowledged record as the file beside the segments has it.
    known: Option<Head>,
    before: Head,
    segments: Vec<SealedSegment>,
    /// Whether there is evidence at its end.
    has_evidence: bool,
    verifier: Verifier,
    ended: bool,
    /// Why there is nothing behind the last segment that is read, if there may be more.
    fault: Option<SegmentsError>,
    /// Held so that no writer begins meanwhile.
    _held: Option<Flock<File>>,
}

/// Whether a folder is none of a journal but has segments in it, as an archive has.
///
/// # Errors
/// The folder cannot be read.
pub fn is_of_segments(dir: &Path) -> Result<bool, FolderError> {
    if dir.join("format").exists() {
        return Ok(false);
    }
    let names = SystemDisk.names(dir).map_err(|error| folder::io_error("list", dir, error))?;
    Ok(names.iter().any(|name| name.to_str().and_then(segment::first_of_name).is_some()))
}

/// Where segments are.
struct At<'a> {
    /// The folder that is told of.
    dir: &'a Path,
    /// The folders that they lie in.
    folders: Vec<PathBuf>,
    /// The one of these that is no archive.
    own: Option<PathBuf>,
    known: Option<Head>,
    held: Option<Flock<File>>,
}

impl Folder {
    fn open(dir: &Path, archives: &[PathBuf]) -> Result<Folder, SourceError> {
        Folder::begin(dir, archives, None)
    }

    fn open_after(dir: &Path, archives: &[PathBuf], head: Head) -> Result<Folder, SourceError> {
        Folder::begin(dir, archives, Some(head))
    }

    fn begin(dir: &Path, archives: &[PathBuf], after: Option<Head>) -> Result<Folder, SourceError> {
        if !folder::check_format(dir)? {
            let reason = "it has no file `format`";
            return Err(FolderError::Foreign { dir: dir.to_owned(), reason }.into());
        }
        let held = folder::hold_for_reading(dir)?;
        let known = HeadFile::read(&SystemDisk, dir)?;
        let own = segment::folder(dir);
        let folders = std::iter::once(own.clone()).chain(archives.iter().cloned()).collect();
        Folder::read(At { dir, folders, own: Some(own), known, held }, after)
    }

    fn of_segments(dir: &Path, after: Option<Head>) -> Result<Folder, SourceError> {
        if !is_of_segments(dir)? {
            let reason = "no segment is in it";
            return Err(FolderError::Foreign { dir: dir.to_owned(), reason }.into());
        }
        // They may be those of a node that runs.
        let held = match dir.canonicalize().ok().and_then(|dir| dir.parent().map(Path::to_owned)) {
            Some(journal) if journal.join("format").exists() => folder::hold_for_reading(&journal)?,
            Some(_) | None => None,
        };
        Folder::read(At { dir, folders: vec![dir.to_owned()], own: None, known: None, held }, after)
    }

    /// Begins at the first record, or after one that was read before.
    fn read(at: At<'_>, after: Option<Head>) -> Result<Folder, SourceError> {
        let At { dir, folders, own, known, held } = at;
        let loaded = Segments::load_from(Arc::new(SystemDisk), dir, &folders, false)?;
        let (before, fault) = (loaded.before, loaded.fault);
        // The newest is at the end, which may not have been found.
        let has_evidence = fault.is_some() || !loaded.newest.to_evidence().is_empty();
        let sealed = |(first, known): (Seq, Known)| {
            let is_archive = known.path.parent() != own.as_deref();
            let of = |info: SealedInfo| (info.last.seq, info.content);
            known.sealed.map(of).map(|(last, content)| SealedSegment { first, last, content, is_archive })
        };
        let segments = loaded.segments.all().into_iter().filter_map(sealed).collect();
        let after = after.filter(|after| before.seq < after.seq);
        let from = after.unwrap_or(before);
        let walk = Arc::new(loaded.segments).walk(from.seq.next())?;
        // Whoever reads a part has read the whole before, with the content of its segments.
        let walk = if after.is_some() { walk } else { walk.checking_content() };
        let verifier = Verifier::after(from);
        Ok(Folder { walk, known, before, segments, has_evidence, verifier, ended: false, fault, _held: held })
    }

    fn next(&mut self) -> Option<Result<Item, SourceError>> {
        if self.ended {
            return None;
        }
        let next = self.read_item().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }

    fn read_item(&mut self) -> Result<Option<Item>, SourceError> {
        let last = self.verifier.head().seq;
        let fault = |source| SourceError::Fault { last, source };
        let record = loop {
            match self.walk.step()? {
                // Before a part there are records from the last place that can be found.
                Some(Entry::Record(record)) if record.header.seq <= last => {}
                Some(Entry::Record(record)) => break record,
                Some(Entry::Evidence(_)) if self.walk.next_seq() <= last => {}
                Some(Entry::Evidence(evidence)) => return Ok(Some(Item::Evidence(evidence))),
                Some(Entry::Answer(_) | Entry::Opened(_) | Entry::Closed | Entry::Footer(_)) => {}
                None => return self.check_end().map(|()| None),
            }
        };
        self.verifier.check(&record).map_err(fault)?;
        let head = self.verifier.head();
        if self.known.is_some_and(|known| known.seq == head.seq && known.hash != head.hash) {
            return Err(fault(Fault::Replaced { seq: head.seq }));
        }
        Ok(Some(Item::Record(Box::new(record))))
    }

    fn scan<T: Send>(
        &mut self,
        keys: Option<&SubjectKeys>,
        look: &(impl Fn(&StoredRecord) -> T + Sync),
        each: impl FnMut(Scanned<T>),
    ) -> Result<(), SourceError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let Folder { walk, verifier, known, .. } = self;
        Scan { walk, verifier, known: *known, keys, look, each }.run()?;
        self.check_end()
    }

    /// Whether the journal ends where it is known to end.
    fn check_end(&mut self) -> Result<(), SourceError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault.into());
        }
        let last = self.verifier.head().seq;
        match self.known {
            Some(known) if known.seq > last => {
                let source = Fault::Shortened { found: last, expected: known.seq };
                Err(SourceError::Fault { last, source })
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl From<SegmentsError> for SourceError {
    fn from(error: SegmentsError) -> SourceError {
        match error {
            SegmentsError::Folder(error) => SourceError::Folder(error),
            SegmentsError::Fault { sound: last, source } => SourceError::Fault { last, source },
        }
    }
}
