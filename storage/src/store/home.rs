//! Where a journal's store is, and what becomes of one that cannot be used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Backend, Store};
use crate::error::JournalError;
use crate::folder::{FolderError, io_error};
use crate::journal::JournalConfig;

/// Where a journal's store comes from.
pub trait Stores {
    /// Opens the store; makes an empty one if there is none, or if the one that is there cannot be read.
    ///
    /// # Errors
    /// The system refuses a file.
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
    /// What keeps it.
    pub backend: Backend,
    /// Memory to keep pages in, in bytes.
    pub cache_bytes: u64,
}

impl FolderStores {
    /// The store that a journal's config asks for.
    pub(crate) fn of(config: &JournalConfig) -> FolderStores {
        let JournalConfig { dir, backend, cache_bytes, .. } = config;
        FolderStores { dir: dir.clone(), backend: *backend, cache_bytes: *cache_bytes }
    }
}

impl Stores for FolderStores {
    fn open(&self) -> Result<Arc<dyn Store>, JournalError> {
        let suspect = suspect_path(&self.dir);
        if suspect.exists() {
            tracing::warn!("a read of the store showed damage before: it is made again from the segments");
            self.set_aside()?;
            fs::remove_file(&suspect).map_err(|error| io_error("remove", &suspect, error))?;
        }
        match self.backend.open(&self.dir, self.cache_bytes) {
            Ok(store) => Ok(store),
            Err(error) if error.is_refusal() => Err(JournalError::Store(error)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the store cannot be opened and is made again from the segments");
                self.set_aside()?;
                Ok(self.backend.open(&self.dir, self.cache_bytes)?)
            }
        }
    }

    fn set_aside(&self) -> Result<(), FolderError> {
        let name = self.backend.name();
        let (path, aside) = (self.dir.join(name), self.dir.join(format!("{name}.aside")));
        // One is enough to look into; it holds nothing that the segments do not.
        unless_absent(remove(&aside)).map_err(|error| io_error("remove", &aside, error))?;
        unless_absent(fs::rename(&path, &aside)).map_err(|error| io_error("set aside", &path, error))
    }
}

/// Removes every store of the journal in `dir`, also those that were set aside: the next opening makes one again.
/// None of them is open.
pub(crate) fn remove_all(dir: &Path) -> Result<(), FolderError> {
    let stores = [Backend::Sled, Backend::Redb].map(Backend::name);
    let names = stores.into_iter().flat_map(|name| [name.to_owned(), format!("{name}.aside")]);
    for path in names.chain(["suspect".to_owned()]).map(|name| dir.join(name)) {
        unless_absent(remove(&path)).map_err(|error| io_error("remove", &path, error))?;
    }
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io_error("sync", dir, error))
}

/// Removes a folder with all that is in it, or a file.
fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn unless_absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The file that says that a read of the store showed damage.
pub(crate) fn suspect_path(dir: &Path) -> PathBuf {
    dir.join("suspect")
}
