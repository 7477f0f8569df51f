//! The store on sled 0.34.7, used within what is known to be safe.
//!
//! One tree, `apply_batch` and the blocking `flush` only. `flush` asks the kernel to begin writing but not to
//! make it durable, so a descriptor of our own on the same file is synced after it. Values stay below a
//! quarter of sled's segment, beyond which sled keeps them in files that it never syncs. A damaged file makes
//! sled panic: every reading call runs under [`crate::panic_guard`].

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::{Batch, Store, StoreError, Visit};
use crate::panic_guard;

type OpenError = Box<dyn std::error::Error + Send + Sync>;

/// A store in a folder of its own.
#[derive(Debug)]
pub struct SledStore {
    path: PathBuf,
    db: sled::Db,
    /// Open from the start, so that an error of the kernel's own write-back is reported here too.
    file: File,
}

impl SledStore {
    /// Opens the store in `path`, which is made if it is absent, with `cache_bytes` of memory to keep pages in.
    ///
    /// # Errors
    /// The folder cannot be made, read or locked. Damage makes sled panic instead.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<SledStore, StoreError> {
        let failed = |source: OpenError| StoreError { action: "open", path: path.to_owned(), source };
        let config = |path: &Path| {
            let config = sled::Config::new().path(path).cache_capacity(cache_bytes);
            // sled's flusher also collects its garbage, so it stays on; durability does not rest on it.
            config.flush_every_ms(Some(500))
        };
        if !path.try_exists().map_err(|error| failed(error.into()))? {
            create(path, |path| config(path).open()).map_err(failed)?;
        }
        remove_begun_snapshots(path).map_err(|error| failed(error.into()))?;
        let db = panic_guard::reading(path, || config(path).open()).map_err(|error| failed(error.into()))?;
        let file = File::open(path.join("db")).map_err(|error| failed(error.into()))?;
        sync_names(path).map_err(|error| failed(error.into()))?;
        Ok(SledStore { path: path.to_owned(), db, file })
    }

    fn failed(
        &self,
        action: &'static str,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError { action, path: self.path.clone(), source: error.into() }
    }
}

/// Makes an empty store beside its place and moves it there once it is whole and durable: sled refuses one whose
/// making was cut short.
fn create(path: &Path, open: impl FnOnce(&Path) -> sled::Result<sled::Db>) -> Result<(), OpenError> {
    let new = path.with_extension("new");
    match fs::remove_dir_all(&new) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    drop(open(&new)?);
    // Threads of sled hold the file, and with it the lock, for a moment longer.
    let file = File::open(new.join("db"))?;
    drop(Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?);
    sync_names(&new)?;
    Ok(fs::rename(&new, path)?)
}

/// Makes the files' existence durable: sled creates them but syncs neither them nor their folder.
fn sync_names(path: &Path) -> io::Result<()> {
    File::open(path.join("db"))?.sync_all()?;
    File::open(path.join("conf"))?.sync_all()?;
    File::open(path)?.sync_all()
}

/// Removes what sled had begun to write as a snapshot of its pages when it was killed: it would take it for the
/// newest and, if it is not whole, refuse to open. The snapshot is only a short cut, all is in the log.
fn remove_begun_snapshots(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Store for SledStore {
    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch.writes {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        self.db.apply_batch(writes).map_err(|error| self.failed("write to", error))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| self.failed("flush", error))?;
        self.file.sync_data().map_err(|error| self.failed("sync", error))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = panic_guard::reading(&self.path, || self.db.get(key));
        value.map(|value| value.map(|bytes| bytes.to_vec())).map_err(|error| self.failed("read", error))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
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
        let pair = panic_guard::reading(&self.path, || self.db.range(from..to).next_back());
        let key = pair.transpose().map_err(|error| self.failed("read", error))?;
        Ok(key.map(|(key, _)| key.to_vec()))
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        self.db.size_on_disk().map_err(|error| self.failed("measure", error))
    }
}
