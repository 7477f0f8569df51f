//! What the journal needs of a store: an ordered map of bytes that changes atomically and can be made durable.

pub(crate) mod keys;
mod sled_store;

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::JournalError;
use crate::folder::{FolderError, io_error};

pub use sled_store::SledStore;

/// An ordered map of bytes on disk. One thread writes; any may read, and sees writes before they are durable.
pub trait Store: Send + Sync + 'static {
    /// Makes every write of the batch, or none.
    ///
    /// # Errors
    /// The store could not be written; what of the batch is on disk is then unknown.
    fn apply(&self, batch: Batch) -> Result<(), StoreError>;

    /// Returns once all that was applied survives a loss of power. Never called again after an error.
    ///
    /// # Errors
    /// The disk could not be made to hold it.
    fn sync(&self) -> Result<(), StoreError>;

    /// The value of a key.
    ///
    /// # Errors
    /// The store could not be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Shows the pairs whose keys are at least `from` and less than `to`, in order, until told to stop.
    ///
    /// # Errors
    /// The store could not be read.
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError>;

    /// The last key that is at least `from` and less than `to`.
    ///
    /// # Errors
    /// The store could not be read.
    fn last_key(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Bytes that it takes on disk.
    ///
    /// # Errors
    /// The store could not be read.
    fn bytes_on_disk(&self) -> Result<u64, StoreError>;

    /// What it is called, as in `sled`.
    fn name(&self) -> &'static str;
}

/// Where a journal's store comes from.
pub trait Stores {
    /// Opens the store; makes an empty one if there is none.
    ///
    /// # Errors
    /// The system refuses a file, or the store cannot be read and cannot be set aside either.
    fn open(&self) -> Result<Arc<dyn Store>, JournalError>;

    /// Puts a store that cannot be trusted where the next [`Stores::open`] does not find it. It is not open.
    ///
    /// # Errors
    /// The system refuses.
    fn set_aside(&self) -> Result<(), FolderError>;
}

/// The store in a journal's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderStores {
    /// The journal's folder.
    pub dir: PathBuf,
    /// Memory to keep pages in, in bytes.
    pub cache_bytes: u64,
}

impl Stores for FolderStores {
    fn open(&self) -> Result<Arc<dyn Store>, JournalError> {
        let suspect = suspect_path(&self.dir);
        if suspect.exists() {
            tracing::warn!("a read of the store showed damage before: it is made again from the segments");
            self.set_aside()?;
            fs::remove_file(&suspect).map_err(|error| io_error("remove", &suspect, error))?;
        }
        let path = self.dir.join("sled");
        match SledStore::open(&path, self.cache_bytes) {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) if error.is_refusal() => Err(JournalError::Store(error)),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the store cannot be opened and is made again"
                );
                self.set_aside()?;
                Ok(Arc::new(SledStore::open(&path, self.cache_bytes)?))
            }
        }
    }

    fn set_aside(&self) -> Result<(), FolderError> {
        let (path, aside) = (self.dir.join("sled"), self.dir.join("sled.aside"));
        // One is enough to look into; it holds nothing that the segments do not.
        let gone = match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        gone.map_err(|error| io_error("remove", &aside, error))?;
        match fs::rename(&path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.map_err(|error| io_error("set aside", &path, error)),
        }
    }
}

/// The file that says that a read of the store showed damage.
pub(crate) fn suspect_path(dir: &Path) -> PathBuf {
    dir.join("suspect")
}

/// Is shown a key and its value, and says whether to go on.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Writes that happen together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Keys with their new values; a key without a value is removed.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    pub(crate) fn put(&mut self, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.writes.push((key.into(), Some(value)));
    }

    pub(crate) fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.writes.push((key.into(), None));
    }
}

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} the store at `{path}`")]
pub struct StoreError {
    /// What was tried, as in `sync`.
    pub action: &'static str,
    /// Where the store is.
    pub path: PathBuf,
    /// What it said.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// Whether the system refused to make, open or write a file: the store may well be sound.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let source = &self.source;
        let of_sled = source.downcast_ref::<sled::Error>().and_then(|error| match error {
            sled::Error::Io(error) => Some(error),
            _ => None,
        });
        let error = source.downcast_ref::<io::Error>().or(of_sled);
        error.and_then(io::Error::raw_os_error).is_some_and(|errno| errno != nix::libc::EIO)
    }
}
