//! A store in memory in which the rows of projections can be written so many times and no more, as if the process was
//! killed there: the journal's own part goes on.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use purser_storage::store::{Batch, Stores, Visit};
use purser_storage::{FolderError, JournalError, Store, StoreError};

use crate::memory_store::Memory;

/// What projections have in the store begins so.
const LETTER: u8 = b'p';

/// Clones are the same store.
#[derive(Clone)]
pub(crate) struct RowFaults {
    pub(crate) memory: Memory,
    /// Batches of projections that get through.
    left: Arc<AtomicU64>,
    /// Whether the first that does not is in the store all the same.
    last_is_done: bool,
}

impl RowFaults {
    pub(crate) fn sound(memory: Memory) -> RowFaults {
        RowFaults::after(memory, u64::MAX, false)
    }

    pub(crate) fn after(memory: Memory, batches: u64, last_is_done: bool) -> RowFaults {
        RowFaults { memory, left: Arc::new(AtomicU64::new(batches)), last_is_done }
    }

    /// Whether every batch has got through so far.
    pub(crate) fn is_intact(&self) -> bool {
        self.left.load(Ordering::SeqCst) > 0
    }
}

impl Stores for RowFaults {
    fn open(&self) -> Result<Arc<dyn Store>, JournalError> {
        Ok(Arc::new(self.clone()))
    }

    fn set_aside(&self) -> Result<(), FolderError> {
        self.memory.set_aside()
    }
}

impl Store for RowFaults {
    fn name(&self) -> &'static str {
        self.memory.name()
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.writes.iter().any(|(key, _)| key.first() == Some(&LETTER)) {
            let take = |left: u64| left.checked_sub(1);
            let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).unwrap_or(0);
            if left <= 1 {
                if left == 1 && self.last_is_done {
                    self.memory.apply(batch)?;
                }
                let source = io::Error::from_raw_os_error(nix::libc::EIO).into();
                return Err(StoreError { action: "write to", path: PathBuf::from("memory"), source });
            }
        }
        self.memory.apply(batch)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.memory.sync()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.memory.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        self.memory.scan(from, to, visit)
    }

    fn last_key(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.memory.last_key(from, to)
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        self.memory.bytes_on_disk()
    }
}
