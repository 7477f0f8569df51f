//! The file that holds the one secret key there is, and how the next takes its place.
//!
//! Numbers are little-endian.
//!
//! | at | bytes | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `PURSERK` and a newline. |
//! | 8 | 2 | format | 1. |
//! | 10 | 32 | seed | The Ed25519 secret key. |
//! | 42 | 1 | kind | 0: the first key of a journal; 1: a later one. |
//! | 43 | 2 | length | Of the next field. |
//! | 45 | | appointment | Kind 0: when it was made, as a succession's time (8 bytes), then the origin. Kind 1: the succession that appointed it. |
//! | | 4 | checksum | CRC32C of all bytes before. |
//!
//! Beside the file `<name>` may lie `<name>.new`, which is the next key before it took over, and `<name>.old`, which
//! is the last one before it was erased. A crash may leave them: whoever opens the file next erases them first.
//!
//! To erase is to write zeros over the bytes, to sync, and to remove the name. On a disk that writes in place this
//! leaves nothing; a solid-state disk, a file system that copies on write, or a snapshot may keep old blocks for a
//! while.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use purser_events::Timestamp;
use zeroize::Zeroizing;

use super::succession::{self, take};
use super::{Appointment, SealingKey, Succession, SuccessionError};
use crate::checkpoint::{NoteSigner, Seed};

const MAGIC: [u8; 8] = *b"PURSERK\n";
const FORMAT: u16 = 1;
const KIND_ROOT: u8 = 0;
const KIND_SUCCESSION: u8 = 1;
const HEADER_LEN: usize = 45;
const CHECKSUM_LEN: usize = 4;

/// Bytes of the longest key file.
const LEN_MAX: usize = HEADER_LEN + succession::LEN_MAX + CHECKSUM_LEN;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file or its folder could not be read or written.
    #[error("failed to {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is a key already.
    #[error("`{path}` exists: a key is never written over by a first one")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others may have read the key.
    #[error("`{path}` is no file of this user's alone (mode {mode:o}): others may know the key")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A newer release wrote it.
    #[error("`{path}` has format {format}, this release knows {FORMAT}: start a newer release")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u16,
    },
    /// It does not hold what was written.
    #[error("key file `{path}` is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The key that should take over is not appointed by the one in the file.
    #[error("key in `{path}` did not appoint the one that should replace it")]
    NotTheNext {
        /// The file.
        path: PathBuf,
    },
}

/// Where the key is kept. The lock of the journal keeps a second process away from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// Keeps the first key of a journal in a new file that this user alone can read.
    ///
    /// # Errors
    ///
    /// When there is a key already, or the file cannot be made durable.
    pub fn create(path: &Path, key: &SealingKey) -> Result<KeyFile, KeyFileError> {
        let file = KeyFile { path: path.to_owned() };
        if inode(path)?.is_some() {
            // Nothing beside it is touched either: a node may be replacing it right now.
            return Err(KeyFileError::Exists { path: file.path });
        }
        file.erase_leftovers()?;
        let new = file.beside("new");
        file.write_new(&new, key)?;
        // Unlike a rename, a link never takes the place of what is there.
        match fs::hard_link(&new, path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                erase(&new)?;
                return Err(KeyFileError::Exists { path: file.path });
            }
            Err(error) => return Err(io_error("create", path, error)),
        }
        file.sync_names()?;
        fs::remove_file(&new).map_err(|error| io_error("remove", &new, error))?;
        file.sync_names()?;
        Ok(file)
    }

    /// Reads the key, after whatever a crash left beside it was erased.
    ///
    /// # Errors
    ///
    /// When there is no key, others could read it, or the bytes are not those of one.
    pub fn load(path: &Path) -> Result<(KeyFile, SealingKey), KeyFileError> {
        let file = KeyFile { path: path.to_owned() };
        let key = file.read()?;
        file.erase_leftovers()?;
        Ok((file, key))
    }

    /// Reads the key and touches nothing, for those who do not hold the journal: a node may be replacing the key.
    ///
    /// # Errors
    ///
    /// As for [`KeyFile::load`].
    pub fn peek(path: &Path) -> Result<SealingKey, KeyFileError> {
        KeyFile { path: path.to_owned() }.read()
    }

    /// Puts the next key in the place of the one that appointed it, and erases that one.
    ///
    /// # Errors
    ///
    /// When the next was not appointed by the one in the file; or when something could not be made durable. Then
    /// [`KeyFile::load`] tells which of the two is in place, and erases what is left of the other.
    pub fn replace(&self, next: &SealingKey) -> Result<(), KeyFileError> {
        let present = self.read()?;
        match next.appointment() {
            Appointment::Succession(succession) if succession.is_signed_by(present.verifier()) => {}
            Appointment::Succession(_) | Appointment::Root { .. } => {
                return Err(KeyFileError::NotTheNext { path: self.path.clone() });
            }
        }
        self.erase_leftovers()?;
        let (new, old) = (self.beside("new"), self.beside("old"));
        self.write_new(&new, next)?;
        // The old key keeps a name until it is erased: otherwise a crash would leave its blocks where nobody finds them.
        fs::hard_link(&self.path, &old).map_err(|error| io_error("link", &old, error))?;
        self.sync_names()?;
        fs::rename(&new, &self.path).map_err(|error| io_error("replace", &self.path, error))?;
        self.sync_names()?;
        erase(&old)?;
        self.sync_names()
    }

    fn read(&self) -> Result<SealingKey, KeyFileError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LEN_MAX + 1));
        // Not blocking: whatever else lies there under the name is refused below, a pipe too.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&self.path);
        let file = file.map_err(|error| io_error("open", &self.path, error))?;
        let metadata = file.metadata().map_err(|error| io_error("read", &self.path, error))?;
        let is_private = metadata.mode() & 0o077 == 0 && metadata.uid() == nix::unistd::geteuid().as_raw();
        if !metadata.is_file() || !is_private {
            return Err(KeyFileError::Exposed { path: self.path.clone(), mode: metadata.mode() });
        }
        // One byte more than the longest, so that a longer file is noticed; within the capacity, so that no copy is
        // left behind by growing.
        let read = file.take(LEN_MAX as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| io_error("read", &self.path, error))?;
        decode(&bytes).map_err(|fault| fault.at(&self.path))
    }

    fn write_new(&self, path: &Path, key: &SealingKey) -> Result<(), KeyFileError> {
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(&encode(key))?;
            file.sync_all()
        };
        write().map_err(|error| io_error("write", path, error))
    }

    /// Erases what a crash left beside the key.
    fn erase_leftovers(&self) -> Result<(), KeyFileError> {
        let present = inode(&self.path)?;
        let mut erased = false;
        for path in [self.beside("new"), self.beside("old")] {
            let Some(leftover) = inode(&path)? else { continue };
            if Some(leftover) == present {
                // A second name of the key itself.
                fs::remove_file(&path).map_err(|error| io_error("remove", &path, error))?;
            } else {
                erase(&path)?;
            }
            erased = true;
        }
        if erased { self.sync_names() } else { Ok(()) }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }

    fn sync_names(&self) -> Result<(), KeyFileError> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let synced = File::open(parent).and_then(|folder| folder.sync_all());
        synced.map_err(|error| io_error("sync", parent, error))
    }
}

/// Writes zeros over a file's bytes, and removes its name once they are on disk.
fn erase(path: &Path) -> Result<(), KeyFileError> {
    crate::erase::erase(path, LEN_MAX).map_err(|error| io_error("erase", path, error))
}

/// Which file a name stands for; none if there is no such name.
fn inode(path: &Path) -> Result<Option<(u64, u64)>, KeyFileError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("look at", path, error)),
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io { action, path: path.to_owned(), source }
}

/// The bytes of a key's file; wiped when dropped.
pub(super) fn encode(key: &SealingKey) -> Zeroizing<Vec<u8>> {
    let (kind, appointment) = match key.appointment() {
        Appointment::Root { created_at } => {
            (KIND_ROOT, [&created_at.0.to_le_bytes()[..], key.origin().as_bytes()].concat())
        }
        Appointment::Succession(succession) => (KIND_SUCCESSION, succession.encode()),
    };
    let len = u16::try_from(appointment.len()).expect("an appointment is as long as a succession at most");
    let mut bytes = Zeroizing::new(Vec::with_capacity(LEN_MAX));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(key.signer.secret());
    bytes.push(kind);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&appointment);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// What is wrong with bytes that should be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Newer(u16),
    Damaged(&'static str),
}

impl Fault {
    fn at(self, path: &Path) -> KeyFileError {
        let path = path.to_owned();
        match self {
            Fault::Newer(format) => KeyFileError::Newer { path, format },
            Fault::Damaged(reason) => KeyFileError::Damaged { path, reason },
        }
    }
}

/// The key in the bytes of its file.
pub(super) fn decode(bytes: &[u8]) -> Result<SealingKey, Fault> {
    let cut_short = Fault::Damaged("it is cut short");
    let (mut rest, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(cut_short)?;
    let sum = crc32c::crc32c(rest);
    if take::<8>(&mut rest) != Some(MAGIC) {
        return Err(Fault::Damaged("it does not begin as a key file does"));
    }
    let format = u16::from_le_bytes(take(&mut rest).ok_or(cut_short)?);
    if format != FORMAT {
        return Err(Fault::Newer(format));
    }
    if sum.to_le_bytes() != *checksum {
        return Err(Fault::Damaged("its checksum differs"));
    }
    let (mut seed, after) = rest.split_at_checked(Seed::LEN).ok_or(cut_short)?;
    let seed = Seed::read_from(&mut seed).map_err(|_| cut_short)?;
    rest = after;
    let [kind] = take(&mut rest).ok_or(cut_short)?;
    let len = u16::from_le_bytes(take(&mut rest).ok_or(cut_short)?);
    if rest.len() != usize::from(len) {
        return Err(Fault::Damaged("its length differs from the one it tells"));
    }
    match kind {
        KIND_ROOT => decode_root(rest, &seed),
        KIND_SUCCESSION => decode_successor(rest, &seed),
        _ => Err(Fault::Damaged("its kind of key is unknown")),
    }
}

fn decode_root(mut appointment: &[u8], seed: &Seed) -> Result<SealingKey, Fault> {
    let created_at = take(&mut appointment).ok_or(Fault::Damaged("it has no time"))?;
    let origin = std::str::from_utf8(appointment).map_err(|_| Fault::Damaged("its origin is not UTF-8"))?;
    let created_at = Timestamp(i64::from_le_bytes(created_at));
    SealingKey::first(origin, seed, created_at).map_err(|_| Fault::Damaged("its origin cannot be one"))
}

fn decode_successor(appointment: &[u8], seed: &Seed) -> Result<SealingKey, Fault> {
    let succession = match Succession::decode(appointment) {
        Ok(succession) => succession,
        Err(SuccessionError::Newer { version }) => return Err(Fault::Newer(version)),
        Err(SuccessionError::Length { .. } | SuccessionError::Foreign | SuccessionError::Field { .. }) => {
            return Err(Fault::Damaged("its succession is none"));
        }
    };
    let signer = NoteSigner::new(succession.key().name(), seed);
    let signer = signer.map_err(|_| Fault::Damaged("its origin cannot be one"))?;
    if signer.verifier() != succession.key() {
        return Err(Fault::Damaged("its succession appoints another key"));
    }
    Ok(SealingKey { signer, appointment: Appointment::Succession(Box::new(succession)) })
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
