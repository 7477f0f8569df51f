//! What the journal needs of a store: an ordered map of bytes that changes atomically and can be made durable.

mod home;
pub(crate) mod keys;
mod redb_store;
mod renewal;
mod sled_store;

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use home::{FolderStores, Stores};
pub(crate) use home::{bytes_of, made_folder, make_folder, put_in_place, remove_all, suspect_path};
pub use redb_store::RedbStore;
pub use sled_store::SledStore;

/// What keeps a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// sled, in the folder `sled`.
    #[default]
    Sled,
    /// redb, in the file `redb/index.redb`.
    Redb,
}

impl Backend {
    /// Its name, which is that of its folder inside a journal's as well.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Backend::Sled => "sled",
            Backend::Redb => "redb",
        }
    }

    /// Every backend.
    pub(crate) const ALL: [Backend; 2] = [Backend::Sled, Backend::Redb];

    /// Opens the store of the journal in `dir`, made if it is absent, with `cache_bytes` of memory to keep pages in.
    ///
    /// # Errors
    /// It cannot be made, read or locked, or is damaged. Damage makes sled panic instead.
    pub fn open(self, dir: &Path, cache_bytes: u64) -> Result<Arc<dyn Store>, StoreError> {
        let path = dir.join(self.name());
        let store: Arc<dyn Store> = match self {
            Backend::Sled => Arc::new(SledStore::open(&path, cache_bytes)?),
            Backend::Redb => Arc::new(RedbStore::open(&path, cache_bytes)?),
        };
        // The store syncs what is in its folder; that the folder exists must last as well.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| StoreError {
            action: "open",
            path,
            source: error.into(),
        })?;
        Ok(store)
    }
}

/// An ordered map of bytes on disk. One thread writes the journal's keys, and one each projection's; any may read, and
/// sees writes before they are durable.
///
/// After a loss of power it holds whole batches, from the first to one that is no older than the last sync. Every
/// backend is held to this trait by the same tests.
pub trait Store: Send + Sync + 'static {
    /// What keeps it, as in `sled`.
    fn name(&self) -> &'static str;

    /// Makes every write of the batch, or none; of two writes of one key, the later one counts.
    ///
    /// A reader that has seen one write of a batch sees all of them from then on. A scan may show batches that
    /// arrive while it is under way; each of its pairs is at least as new as those before.
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

    /// Shows the pairs whose keys are at least `from` and less than `to`, in order, until told to stop. If `to` is
    /// not more than `from`, there are none.
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

    /// Removes the first pairs, `keys_max` at most, whose keys are at least `from` and less than `to`, in one batch,
    /// and says how many. May be called beside the thread that writes, for keys that it does not write.
    ///
    /// # Errors
    /// The store could not be read or written; what of the batch is on disk is then unknown.
    fn remove_range(&self, from: &[u8], to: &[u8], keys_max: usize) -> Result<usize, StoreError> {
        if keys_max == 0 {
            return Ok(0);
        }
        let mut batch = Batch::default();
        self.scan(from, to, &mut |key, _| {
            batch.remove(key);
            if batch.writes.len() < keys_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let keys_len = batch.writes.len();
        if keys_len > 0 {
            self.apply(batch)?;
        }
        Ok(keys_len)
    }
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

/// What the system says of a broken disk, and of something else that stands where the store should be.
const NO_REFUSAL: [i32; 4] = [nix::libc::EIO, nix::libc::ENOTDIR, nix::libc::EISDIR, nix::libc::EEXIST];

impl StoreError {
    /// Whether the system refused to make, open or write a file, or another process holds it: the store may well
    /// be sound. Something else in its place, as a file instead of a folder, is no refusal.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let source = &self.source;
        let of_sled = source.downcast_ref::<sled::Error>().and_then(|error| match error {
            sled::Error::Io(error) => Some(error),
            _ => None,
        });
        let of_redb = match source.downcast_ref::<redb::Error>() {
            Some(redb::Error::DatabaseAlreadyOpen) => return true,
            Some(redb::Error::Io(error)) => Some(error),
            _ => None,
        };
        let error = source.downcast_ref::<io::Error>().or(of_sled).or(of_redb);
        error.and_then(io::Error::raw_os_error).is_some_and(|errno| !NO_REFUSAL.contains(&errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refusal(source: impl std::error::Error + Send + Sync + 'static) -> bool {
        StoreError { action: "open", path: PathBuf::from("store"), source: source.into() }.is_refusal()
    }

    #[test]
    fn what_the_system_refuses_is_told_from_damage() {
        let full = || io::Error::from_raw_os_error(nix::libc::ENOSPC);
        assert!(is_refusal(full()));
        assert!(is_refusal(sled::Error::Io(full())));
        assert!(is_refusal(redb::Error::Io(full())));
        assert!(is_refusal(redb::Error::from(redb::StorageError::Io(full()))));
        assert!(is_refusal(redb::Error::DatabaseAlreadyOpen));
        let broken = || io::Error::from_raw_os_error(nix::libc::EIO);
        assert!(!is_refusal(broken()));
        assert!(!is_refusal(sled::Error::Io(broken())));
        assert!(!is_refusal(redb::Error::Io(broken())));
        let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(!is_refusal(short()));
        assert!(!is_refusal(redb::Error::Io(short())));
        assert!(!is_refusal(redb::Error::Corrupted("a page".to_owned())));
        assert!(!is_refusal(sled::Error::Corruption { at: None, bt: () }));
    }

    #[test]
    fn backends_are_named_as_in_the_config() {
        for backend in [Backend::Sled, Backend::Redb] {
            let text = serde_json::to_string(&backend).unwrap();
            assert_eq!(text, format!("\"{}\"", backend.name()));
            assert_eq!(serde_json::from_str::<Backend>(&text).unwrap(), backend);
        }
        assert_eq!(Backend::default(), Backend::Sled);
        assert!(serde_json::from_str::<Backend>("\"sqlite\"").is_err());
    }
}
