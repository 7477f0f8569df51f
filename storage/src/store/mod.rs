//! What the journal needs of a store: an ordered map of bytes that changes atomically and can be made durable.

pub(crate) mod keys;
mod sled_store;

use std::ops::ControlFlow;
use std::path::PathBuf;

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
        let error = source.downcast_ref::<std::io::Error>().or(of_sled);
        error.and_then(std::io::Error::raw_os_error).is_some_and(|errno| errno != nix::libc::EIO)
    }
}
