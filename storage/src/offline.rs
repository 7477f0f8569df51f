//! Reading a journal without a node: from an export, or from a folder that no process holds.
//!
//! Opening a store changes its files, so a folder is copied to a temporary place first and stays as it is.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use purser_events::Seq;
use tempfile::TempDir;

use crate::export::{self, ExportError};
use crate::folder::{self, FolderError, HeadFile};
use crate::open;
use crate::panic_guard;
use crate::record::StoredRecord;
use crate::store::{SledStore, Store, StoreError, keys};
use crate::verify::{Fault, Head, Verifier};

/// Memory for the store's pages while a folder is read, in bytes.
const CACHE_BYTES: u64 = 16 << 20;

/// Frame bytes that are read from a folder at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Why a journal could not be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The export cannot be read.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The store in the folder cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
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
                FolderError::Foreign { .. } | FolderError::Io { .. } | FolderError::Locked { .. },
            )
            | SourceError::Store(_) => Io,
        }
    }
}

/// A journal's records in order, each checked; ends at the first that is not sound.
pub struct Source(Kind);

enum Kind {
    Export(export::Reader<Box<dyn Read>>),
    Folder(Box<FolderCopy>),
}

impl Source {
    /// Reads an export.
    ///
    /// # Errors
    /// The stream cannot be read or is not an export that this release knows.
    pub fn from_export(input: impl Read + 'static) -> Result<Source, SourceError> {
        Ok(Source(Kind::Export(export::Reader::new(Box::new(input) as Box<dyn Read>)?)))
    }

    /// Reads a copy of a journal's folder, which is itself copied to the system's temporary folder first.
    ///
    /// # Errors
    /// A process holds the folder, it cannot be read or copied, or it is not one that this release knows.
    pub fn from_folder_copy(dir: &Path) -> Result<Source, SourceError> {
        Ok(Source(Kind::Folder(Box::new(FolderCopy::open(dir)?))))
    }

    /// The record before the first; [`Head::GENESIS`] unless the source is a part of a journal.
    #[must_use]
    pub fn before(&self) -> Head {
        match &self.0 {
            Kind::Export(reader) => reader.before(),
            Kind::Folder(_) => Head::GENESIS,
        }
    }

    /// The last record that was found sound so far.
    #[must_use]
    pub fn head(&self) -> Head {
        match &self.0 {
            Kind::Export(reader) => reader.head(),
            Kind::Folder(folder) => folder.verifier.head(),
        }
    }
}

impl Iterator for Source {
    type Item = Result<StoredRecord, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Kind::Export(reader) => reader.next().map(|next| next.map_err(SourceError::Export)),
            Kind::Folder(folder) => folder.next(),
        }
    }
}

struct FolderCopy {
    store: SledStore,
    /// The last acknowledged record as the file beside the store has it.
    known: Option<Head>,
    verifier: Verifier,
    chunk: VecDeque<StoredRecord>,
    /// What ends the records, once it was met.
    end: Option<Result<(), Fault>>,
    ended: bool,
    /// Dropped last: the store's files are in it.
    _copy: TempDir,
}

impl FolderCopy {
    fn open(dir: &Path) -> Result<FolderCopy, SourceError> {
        if !folder::check_format(dir)? {
            let reason = "it has no file `format`";
            return Err(FolderError::Foreign { dir: dir.to_owned(), reason }.into());
        }
        let (copy, known) = {
            let _held = folder::hold_for_reading(dir)?;
            let copy = TempDir::with_prefix("purser-journal-");
            let copy = copy.map_err(|error| folder::io_error("create a temporary folder for", dir, error))?;
            copy_folder(&folder::store_path(dir), &folder::store_path(copy.path()))?;
            (copy, HeadFile::read(dir)?)
        };
        panic_guard::discard_with_process(copy.path());
        let store = SledStore::open(&folder::store_path(copy.path()), CACHE_BYTES)?;
        let (verifier, chunk) = (Verifier::default(), VecDeque::new());
        Ok(FolderCopy { store, known, verifier, chunk, end: None, ended: false, _copy: copy })
    }

    fn next(&mut self) -> Option<Result<StoredRecord, SourceError>> {
        if self.ended {
            return None;
        }
        let next = self.next_record().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }

    fn next_record(&mut self) -> Result<Option<StoredRecord>, SourceError> {
        if self.chunk.is_empty() && self.end.is_none() {
            self.read_chunk()?;
        }
        let last = self.verifier.head().seq;
        let fault = |source| SourceError::Fault { last, source };
        let Some(record) = self.chunk.pop_front() else {
            match self.end.take() {
                Some(Err(source)) => return Err(fault(source)),
                Some(Ok(())) | None => return self.check_end().map(|()| None),
            }
        };
        self.verifier.check(&record).map_err(fault)?;
        let head = self.verifier.head();
        if self.known.is_some_and(|known| known.seq == head.seq && known.hash != head.hash) {
            return Err(fault(Fault::Replaced { seq: head.seq }));
        }
        let (seq, stream) = (head.seq, record.header.stream);
        let indexed = self.store.get(&keys::stream(stream, record.header.version))?;
        if indexed.as_deref() != Some(&seq.0.to_be_bytes()[..]) {
            return Err(fault(Fault::OutOfIndex { seq, stream }));
        }
        Ok(Some(record))
    }

    fn read_chunk(&mut self) -> Result<(), StoreError> {
        let mut expected = Seq(self.verifier.head().seq.0.saturating_add(1));
        let (mut bytes, mut end) = (0, Some(Ok(())));
        self.store.scan(&keys::record(expected), b"f", &mut |key, value| {
            match open::read_one(expected, key, value) {
                Ok(record) => self.chunk.push_back(record),
                Err(fault) => {
                    end = Some(Err(fault));
                    return ControlFlow::Break(());
                }
            }
            expected = Seq(expected.0.saturating_add(1));
            bytes += value.len();
            if bytes < CHUNK_BYTES {
                return ControlFlow::Continue(());
            }
            end = None;
            ControlFlow::Break(())
        })?;
        self.end = end;
        Ok(())
    }

    /// Whether the journal ends where it is known to end.
    fn check_end(&self) -> Result<(), SourceError> {
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

/// Copies plain files and folders; anything else has no place in a store.
fn copy_folder(from: &Path, to: &Path) -> Result<(), FolderError> {
    let failed = |action, error: io::Error| folder::io_error(action, from, error);
    fs::create_dir(to).map_err(|error| failed("copy", error))?;
    for entry in fs::read_dir(from).map_err(|error| failed("list", error))? {
        let entry = entry.map_err(|error| failed("list", error))?;
        let kind = entry.file_type().map_err(|error| failed("list", error))?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&path, &copy)?;
        } else if kind.is_file() {
            fs::copy(&path, &copy).map_err(|error| folder::io_error("copy", &path, error))?;
        } else {
            let reason = "its store has entries that are neither files nor folders";
            return Err(FolderError::Foreign { dir: from.to_owned(), reason });
        }
    }
    Ok(())
}
