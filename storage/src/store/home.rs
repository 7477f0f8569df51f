//! Where a journal's store is, and what becomes of one that cannot be used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::renewal::{Limits, renewed};
use super::{Backend, Store};
use crate::error::JournalError;
use crate::folder::{FolderError, io_error};
use crate::journal::JournalConfig;

/// Where a journal's store comes from.
pub trait Stores {
    /// Opens the store; makes an empty one if there is none, or if the one that is there cannot be read. One whose file
    /// is much longer than what is in it may be put into a shorter file.
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
        // What a stop left of making one.
        remove_if_there(&made_folder(&self.dir))?;
        match self.backend.open(&self.dir, self.cache_bytes) {
            Ok(store) => renewed(&self.dir, self.backend, self.cache_bytes, store, Limits::DEFAULT),
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
        remove_if_there(&aside)?;
        unless_absent(fs::rename(&path, &aside)).map_err(|error| io_error("set aside", &path, error))
    }
}

/// Removes every store of the journal in `dir`, also those that were set aside: the next opening makes one again.
/// None of them is open.
pub(crate) fn remove_all(dir: &Path) -> Result<(), FolderError> {
    let names = Backend::ALL
        .map(Backend::name)
        .into_iter()
        .flat_map(|name| [name.to_owned(), format!("{name}.aside")]);
    for path in names.chain(["suspect".to_owned(), MADE.to_owned()]).map(|name| dir.join(name)) {
        remove_if_there(&path)?;
    }
    sync(dir)
}

/// Puts the store `name` that lies in the folder `made` in the place of the one in `dir`, and removes every other.
pub(crate) fn put_in_place(dir: &Path, made: &Path, name: &str) -> Result<(), FolderError> {
    let (new, path) = (made.join(name), dir.join(name));
    // Each is moved away whole before it is removed: after a stop half a store must not be found in its place.
    move_away(&path, &made.join(OLD))?;
    fs::rename(&new, &path).map_err(|error| io_error("rename", &new, error))?;
    sync(dir)?;
    for other in Backend::ALL.map(Backend::name).into_iter().filter(|other| *other != name) {
        move_away(&dir.join(other), &made.join(other))?;
    }
    remove_if_there(made)?;
    sync(dir)
}

fn move_away(path: &Path, to: &Path) -> Result<(), FolderError> {
    unless_absent(fs::rename(path, to)).map_err(|error| io_error("move away", path, error))
}

/// What the store that is replaced is called until it is removed.
const OLD: &str = "old";

/// Name of the folder in which a store is made beside the one in use.
const MADE: &str = "migrating";

/// Where a store of the journal in `dir` is made beside the one in use.
pub(crate) fn made_folder(dir: &Path) -> PathBuf {
    dir.join(MADE)
}

/// An empty folder in which a store can be made; what a stop left there is removed.
pub(crate) fn make_folder(made: &Path) -> Result<(), FolderError> {
    use std::os::unix::fs::DirBuilderExt;

    remove_if_there(made)?;
    fs::DirBuilder::new().mode(0o700).create(made).map_err(|error| io_error("create", made, error))
}

/// Bytes of a folder with all that is in it, or of a file; none if it is absent.
pub(crate) fn bytes_of(path: &Path) -> io::Result<Option<u64>> {
    let about = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        about => about?,
    };
    if !about.is_dir() {
        return Ok(Some(about.len()));
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        bytes += bytes_of(&entry?.path())?.unwrap_or_default();
    }
    Ok(Some(bytes))
}

fn sync(dir: &Path) -> Result<(), FolderError> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io_error("sync", dir, error))
}

/// Removes a folder with all that is in it, or a file, unless it is absent.
pub(super) fn remove_if_there(path: &Path) -> Result<(), FolderError> {
    unless_absent(remove(path)).map_err(|error| io_error("remove", path, error))
}

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
