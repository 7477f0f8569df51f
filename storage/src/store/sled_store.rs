//! The store on sled 0.34.7, used within what is known to be safe.
//!
//! One tree, `apply_batch` and the blocking `flush` only. `flush` asks the kernel to begin writing but not to
//! make it durable, so a descriptor of our own on the same file is synced after it. Values stay below a
//! quarter of sled's segment, beyond which sled keeps them in files that it never syncs. A damaged file makes
//! sled panic: every call that reads runs under [`crate::panic_guard`].

use std::fs::{File, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::{Backend, Batch, Store, StoreError, Visit};
use crate::panic_guard;

/// A store in a folder of its own.
#[derive(Debug)]
pub struct SledStore {
    path: PathBuf,
    db: sled::Db,
    /// Below `db`, so that it is dropped after it.
    file: DataFile,
}

/// sled's file on a descriptor of our own, open from the start, so that an error of the kernel's own write-back is
/// reported here too.
#[derive(Debug)]
struct DataFile(File);

impl Drop for DataFile {
    fn drop(&mut self) {
        // A thread of sled's pool may hold the file, and the lock on it, a moment longer than the store itself:
        // whoever opens the store next must not find it in use. An error leaves them to find out.
        let _ = self.0.lock();
    }
}

impl SledStore {
    /// Opens the store in `path`, which is made if it is absent, with `cache_bytes` of memory to keep pages in.
    ///
    /// # Errors
    /// The folder cannot be made, read or locked. Damage makes sled panic instead.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<SledStore, StoreError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError {
            action: "open",
            path: path.to_owned(),
            source,
        };
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            // sled's flusher also collects its garbage, so it stays on; durability does not rest on it.
            .flush_every_ms(Some(500));
        let db = panic_guard::reading(path, || config.open()).map_err(|error| match error {
            // sled tells of its lock in words alone.
            sled::Error::Io(told) if told.raw_os_error().is_none() && held(path) => {
                failed(io::Error::from_raw_os_error(nix::libc::EWOULDBLOCK).into())
            }
            error => failed(error.into()),
        })?;
        let file = DataFile(File::open(path.join("db")).map_err(|error| failed(error.into()))?);
        let store = SledStore { path: path.to_owned(), db, file };
        store.sync_names().map_err(|error| failed(error.into()))?;
        Ok(store)
    }

    /// Makes the files' existence durable: sled creates them but syncs neither them nor their folder.
    fn sync_names(&self) -> io::Result<()> {
        self.file.0.sync_all()?;
        File::open(self.path.join("conf"))?.sync_all()?;
        File::open(&self.path)?.sync_all()
    }

    fn failed(
        &self,
        action: &'static str,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError { action, path: self.path.clone(), source: error.into() }
    }
}

/// Whether another handle, of this process or another, holds the store's lock.
fn held(path: &Path) -> bool {
    let file = File::open(path.join("db"));
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

impl Store for SledStore {
    fn name(&self) -> &'static str {
        Backend::Sled.name()
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch.writes {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        // To write is to read the pages that change.
        panic_guard::reading(&self.path, || self.db.apply_batch(writes))
            .map_err(|error| self.failed("write to", error))
    }

    fn sync(&self) -> Result<(), StoreError> {
        panic_guard::reading(&self.path, || self.db.flush()).map_err(|error| self.failed("flush", error))?;
        self.file.0.sync_data().map_err(|error| self.failed("sync", error))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = panic_guard::reading(&self.path, || self.db.get(key));
        value.map(|value| value.map(|bytes| bytes.to_vec())).map_err(|error| self.failed("read", error))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let mut pairs = self.db.range(from..to);
        while let Some(pair) = panic_guard::reading(&self.path, || pairs.next()) {
            let (key, value) = pair.map_err(|error| self.failed("read", error))?;
            if let ControlFlow::Break(()) = visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if from >= to {
            return Ok(None);
        }
        let pair = panic_guard::reading(&self.path, || self.db.range(from..to).next_back());
        let key = pair.transpose().map_err(|error| self.failed("read", error))?;
        Ok(key.map(|(key, _)| key.to_vec()))
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        self.db.size_on_disk().map_err(|error| self.failed("measure", error))
    }
}
