//! The journal's folder: who holds it, which format it has, and what it is known to contain.
//!
//! ```text
//! <dir>/format     the format's number
//! <dir>/lock       held by the process that writes; its pid
//! <dir>/head       the last acknowledged record, apart from the segments
//! <dir>/segments/  the records
//! <dir>/archived   which segments the archive has
//! <dir>/sled/      the store: what makes them accessible; it can be made again
//! <dir>/ballast   room that is held for stops and deletes on a full disk; zeros
//! <dir>/suspect    there if a read of the store showed damage: the next start makes it again
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use purser_events::Seq;
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, DiskFile};
use crate::verify::Head;

/// Number of the folder's format that this release writes.
pub const FORMAT: u32 = 2;

/// Longest file beside the store that is read, in bytes.
const SMALL_FILE_LEN_MAX: u64 = 4_096;

/// Why a journal's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file or folder could not be read or written.
    #[error("failed to {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds it.
    #[error("journal at `{dir}` is in use{}", holder(*.pid))]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The process that holds it, if it said so.
        pid: Option<u32>,
    },
    /// A newer release wrote it.
    #[error(
        "journal at `{dir}` needs format {needed}, this release knows up to {}: start a newer release; nothing was \
         changed",
        FORMAT
    )]
    NewerFormat {
        /// The folder.
        dir: PathBuf,
        /// The least format that a reader must know.
        needed: u32,
    },
    /// An older release wrote it, before there were segments.
    #[error(
        "journal at `{dir}` has format {found}, from before the first release: export it with the build that wrote \
         it; nothing was changed"
    )]
    OlderFormat {
        /// The folder.
        dir: PathBuf,
        /// The format found.
        found: u32,
    },
    /// What is in it is no journal of ours.
    #[error("`{dir}` is not a journal's folder: {reason}")]
    Foreign {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FormatFile {
    format: u32,
    /// The least format that a program must know to open the folder.
    min_reader: u32,
}

/// A journal's folder, held by this process until it is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Takes hold of a folder that this release can write, and makes one if there is none.
    pub(crate) fn hold(dir: &Path) -> Result<Folder, FolderError> {
        // Before anything is touched: a folder of a newer release must stay as it is.
        let is_new = !check_format(dir)?;
        if is_new {
            refuse_foreign(dir)?;
            create_dir(dir)?;
        }
        let lock = hold_lock(dir)?;
        if !check_format(dir)? {
            write_format(dir)?;
        }
        Ok(Folder { dir: dir.to_owned(), _lock: lock })
    }

    /// Makes the names in this folder, and its own, durable.
    pub(crate) fn sync_names(&self, disk: &dyn Disk) -> Result<(), FolderError> {
        let parent =
            self.dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for path in [&self.dir, parent] {
            disk.sync_dir(path).map_err(|error| io_error("sync", path, error))?;
        }
        Ok(())
    }
}

/// Whether the folder has a format, which this release then knows.
pub(crate) fn check_format(dir: &Path) -> Result<bool, FolderError> {
    let path = dir.join("format");
    let Some(text) = read_small(&path)? else { return Ok(false) };
    let foreign = |reason| FolderError::Foreign { dir: dir.to_owned(), reason };
    let file: FormatFile =
        serde_json::from_slice(&text).map_err(|_| foreign("its file `format` is malformed"))?;
    if file.min_reader > FORMAT {
        return Err(FolderError::NewerFormat { dir: dir.to_owned(), needed: file.min_reader });
    }
    if file.format < FORMAT {
        return Err(FolderError::OlderFormat { dir: dir.to_owned(), found: file.format });
    }
    Ok(true)
}

/// A folder without a format may hold nothing that a journal would be mixed with.
fn refuse_foreign(dir: &Path) -> Result<(), FolderError> {
    let reason = "it has files but no file `format`";
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("list", dir, error)),
    };
    for entry in entries {
        let name = entry.map_err(|error| io_error("list", dir, error))?.file_name();
        // Left by a start that was cut short before the format was written.
        if name != "lock" && name != "format.new" && name != "lost+found" {
            return Err(FolderError::Foreign { dir: dir.to_owned(), reason });
        }
    }
    Ok(())
}

fn create_dir(dir: &Path) -> Result<(), FolderError> {
    use std::os::unix::fs::DirBuilderExt;

    // Pods' environments are in it.
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| io_error("create", dir, error))
}

fn hold_lock(dir: &Path) -> Result<Flock<File>, FolderError> {
    let path = dir.join("lock");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|error| io_error("open", &path, error))?;
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Err(locked(dir)),
        Err((_, errno)) => return Err(io_error("lock", &path, errno.into())),
    };
    let pid = format!("{}\n", std::process::id());
    let written = lock.set_len(0).and_then(|()| lock.write_all_at(pid.as_bytes(), 0));
    written.map_err(|error| io_error("write", &path, error))?;
    Ok(lock)
}

/// Holds off writers of a folder that is only read; none if there is no lock file, as in some copies.
pub(crate) fn hold_for_reading(dir: &Path) -> Result<Option<Flock<File>>, FolderError> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", &path, error)),
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Err(locked(dir)),
        Err((_, errno)) => Err(io_error("lock", &path, errno.into())),
    }
}

fn locked(dir: &Path) -> FolderError {
    let text = read_small(&dir.join("lock")).ok().flatten();
    let pid = text.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok());
    FolderError::Locked { dir: dir.to_owned(), pid }
}

fn write_format(dir: &Path) -> Result<(), FolderError> {
    let (path, new) = (dir.join("format"), dir.join("format.new"));
    let text = serde_json::to_string(&FormatFile { format: FORMAT, min_reader: FORMAT });
    let text = text.expect("two numbers can be written as JSON");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    write().map_err(|error| io_error("write", &path, error))
}

/// The whole of a small file; none if it is absent.
fn read_small(path: &Path) -> Result<Option<Vec<u8>>, FolderError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(SMALL_FILE_LEN_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error_is_absence(&error) => Ok(None),
        Err(error) => Err(io_error("read", path, error)),
    }
}

fn error_is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> FolderError {
    FolderError::Io { action, path: path.to_owned(), source }
}

/// Remembers the last acknowledged record outside the segments: damage to the very last of them looks like a write
/// that a stop tore off, which is no damage. Written after each sync and not synced: it never claims too much.
pub(crate) struct HeadFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

const HEAD_FILE_LEN: usize = 44;

impl HeadFile {
    pub(crate) fn open(disk: &dyn Disk, dir: &Path) -> Result<HeadFile, FolderError> {
        let path = dir.join("head");
        let file = match disk.open(&path, true) {
            Err(error) if error_is_absence(&error) => disk.create(&path),
            opened => opened,
        };
        Ok(HeadFile { file: file.map_err(|error| io_error("open", &path, error))?, path })
    }

    /// What the file says; none if it is absent, or was cut short with the power.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Head>, FolderError> {
        let path = dir.join("head");
        // One byte more than it has: a longer file is none of ours.
        let bytes =
            disk.read_small(&path, HEAD_FILE_LEN + 1).map_err(|error| io_error("read", &path, error))?;
        let Some(bytes) = bytes.and_then(|bytes| <[u8; HEAD_FILE_LEN]>::try_from(bytes).ok()) else {
            return Ok(None);
        };
        let (head, checksum) = bytes.split_at(HEAD_FILE_LEN - 4);
        if crc32c::crc32c(head).to_le_bytes() != checksum {
            return Ok(None);
        }
        let (seq, hash) = head.split_first_chunk::<8>().expect("the file is 44 bytes long");
        let hash = hash.try_into().expect("8 and 4 of 44 bytes leave 32");
        Ok(Some(Head { seq: Seq(u64::from_le_bytes(*seq)), hash }))
    }

    pub(crate) fn write(&self, head: Head) -> Result<(), FolderError> {
        let mut bytes = [0; HEAD_FILE_LEN];
        bytes[..8].copy_from_slice(&head.seq.0.to_le_bytes());
        bytes[8..40].copy_from_slice(&head.hash);
        let checksum = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&bytes, 0).map_err(|error| io_error("write", &self.path, error))
    }
}
