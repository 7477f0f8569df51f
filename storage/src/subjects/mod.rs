//! Keys of subjects: the payloads of a pod's stream are sealed with a key of its own, so that destroying the key makes
//! every copy of them unreadable, wherever it is.
//!
//! The keys lie in a folder of their own, outside of the journal's: whoever copies or archives the journal does not
//! take them along.

mod key;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use purser_events::{PodUid, StreamId, StreamKind};
use uuid::Uuid;
use zeroize::Zeroizing;

pub use key::SubjectKey;

use crate::erase::erase;
use crate::folder::{FolderError, io_error};
use crate::record::StoredRecord;

/// Fills a buffer with bytes that nobody can guess.
pub type Random = fn(&mut [u8]) -> io::Result<()>;

/// Where the keys of subjects are, and whether there are new ones.
#[derive(Clone)]
pub struct SubjectsConfig {
    /// Their folder; made with the first key.
    pub dir: PathBuf,
    /// Whether pods that come get a key. Pods that have one keep it.
    pub seals: bool,
    /// Where keys and nonces come from.
    pub random: Random,
}

impl fmt::Debug for SubjectsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectsConfig").field("dir", &self.dir).field("seals", &self.seals).finish()
    }
}

/// The same but for where randomness comes from, of which one is as good as another.
impl PartialEq for SubjectsConfig {
    fn eq(&self, other: &SubjectsConfig) -> bool {
        (&self.dir, self.seals) == (&other.dir, other.seals)
    }
}

impl Eq for SubjectsConfig {}

/// Keys that are held in memory at most; the others are read again.
const HELD_MAX: usize = 10_000;

const MAGIC: [u8; 8] = *b"PURSERU\n";
const CHECKSUM_LEN: usize = 4;
const FILE_LEN: usize = MAGIC.len() + SubjectKey::LEN + CHECKSUM_LEN;

/// The end of the name of a key that is still being written.
const NEW: &str = ".new";

/// The keys of subjects in one folder.
#[derive(Debug)]
pub struct SubjectKeys {
    config: SubjectsConfig,
    /// Those that were looked for, with none for those that are not there.
    held: Mutex<BTreeMap<Uuid, Option<Arc<SubjectKey>>>>,
    /// Those whose files were found damaged.
    damaged: Mutex<BTreeSet<Uuid>>,
}

impl SubjectKeys {
    /// The keys in a folder, which need not be there.
    #[must_use]
    pub fn new(config: SubjectsConfig) -> SubjectKeys {
        SubjectKeys { config, held: Mutex::default(), damaged: Mutex::default() }
    }

    /// The keys in a folder, to read with alone.
    #[must_use]
    pub fn to_read(dir: &Path) -> SubjectKeys {
        let random = |_: &mut [u8]| Err(io::ErrorKind::Unsupported.into());
        SubjectKeys::new(SubjectsConfig { dir: dir.to_owned(), seals: false, random })
    }

    /// Opens a record's payload if it is sealed and there is a key for it; a damaged one is as good as none.
    ///
    /// # Errors
    /// The system refuses the key's file.
    pub fn open(&self, record: &mut StoredRecord) -> Result<(), FolderError> {
        if !record.is_sealed() || record.redacted {
            return Ok(());
        }
        let id = record.header.stream.id;
        match self.key(id) {
            Ok(Some(key)) => key.open(record),
            Ok(None) => {}
            // As if it were lost: a start must not fail for one pod.
            Err(FolderError::Io { path, source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
                if self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
                    let path = path.display();
                    tracing::error!(%path, "the key of a pod is damaged: its records cannot be read");
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Seals a payload if its stream has a key, or gets one now because it begins with this payload. The key is durable
    /// then.
    ///
    /// # Errors
    /// The key cannot be read or made, or there is no randomness.
    pub(crate) fn seal(
        &self,
        stream: StreamId,
        begins: bool,
        (layout_number, layout_version): (u16, u16),
        payload: &[u8],
    ) -> Result<Option<Vec<u8>>, FolderError> {
        if stream.kind != StreamKind::Pod {
            return Ok(None);
        }
        let key = match self.key(stream.id)? {
            None if begins && self.config.seals => Some(self.make(stream.id)?),
            key => key,
        };
        let Some(key) = key else { return Ok(None) };
        let mut nonce = [0; SubjectKey::NONCE_LEN];
        (self.config.random)(&mut nonce)
            .map_err(|error| self.failed("draw a nonce for", stream.id, error))?;
        Ok(Some(key.seal(nonce, stream, layout_number, layout_version, payload)))
    }

    /// Whether there is a key for a pod.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn has(&self, pod: PodUid) -> Result<bool, FolderError> {
        let path = self.path(pod.0);
        path.try_exists().map_err(|error| io_error("look at", &path, error))
    }

    /// Destroys the key of a pod: overwritten, synced, removed. Says whether there was one.
    ///
    /// # Errors
    /// The file cannot be written or removed.
    pub fn destroy(&self, pod: PodUid) -> Result<bool, FolderError> {
        self.held().insert(pod.0, None);
        let mut was_there = false;
        for path in [self.path(pod.0), self.new_path(pod.0)] {
            match erase(&path, FILE_LEN) {
                Ok(()) => was_there = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("erase", &path, error)),
            }
        }
        if was_there {
            self.sync_names()?;
        }
        Ok(was_there)
    }

    fn key(&self, id: Uuid) -> Result<Option<Arc<SubjectKey>>, FolderError> {
        if let Some(known) = self.held().get(&id) {
            return Ok(known.clone());
        }
        let key = self.read(id)?.map(Arc::new);
        self.hold(id, key.clone());
        Ok(key)
    }

    fn read(&self, id: Uuid) -> Result<Option<SubjectKey>, FolderError> {
        let path = self.path(id);
        let mut bytes = Zeroizing::new([0; FILE_LEN + 1]);
        let file = match OpenOptions::new().read(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path, error)),
        };
        let mut len = 0;
        let mut file = file.take(FILE_LEN as u64 + 1);
        while let Some(free) = bytes.get_mut(len..).filter(|free| !free.is_empty()) {
            match file.read(free).map_err(|error| io_error("read", &path, error))? {
                0 => break,
                read => len += read,
            }
        }
        let key = bytes.get(..len).and_then(decode);
        key.map(Some).ok_or_else(|| io_error("read", &path, io::ErrorKind::InvalidData.into()))
    }

    /// Makes a key, durable before anything is sealed with it.
    fn make(&self, id: Uuid) -> Result<Arc<SubjectKey>, FolderError> {
        let mut bytes = Zeroizing::new([0; SubjectKey::LEN]);
        (self.config.random)(&mut *bytes).map_err(|error| self.failed("draw a key for", id, error))?;
        let dir = &self.config.dir;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| io_error("create", dir, error))?;
        let (path, new) = (self.path(id), self.new_path(id));
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&encode(&bytes))?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|error| io_error("write", &path, error))?;
        self.sync_names()?;
        let key = Arc::new(SubjectKey::from_bytes(*bytes));
        self.hold(id, Some(Arc::clone(&key)));
        Ok(key)
    }

    /// Makes the names in the folder, and its own, durable.
    fn sync_names(&self) -> Result<(), FolderError> {
        let dir = self.config.dir.as_path();
        for path in [Some(dir), dir.parent()].into_iter().flatten() {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            File::open(path)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| io_error("sync", path, error))?;
        }
        Ok(())
    }

    fn hold(&self, id: Uuid, key: Option<Arc<SubjectKey>>) {
        let mut held = self.held();
        if held.len() >= HELD_MAX {
            held.clear();
        }
        held.insert(id, key);
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Uuid, Option<Arc<SubjectKey>>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.config.dir.join(id.to_string())
    }

    fn new_path(&self, id: Uuid) -> PathBuf {
        self.config.dir.join(format!("{id}{NEW}"))
    }

    fn failed(&self, action: &'static str, id: Uuid, error: io::Error) -> FolderError {
        io_error(action, &self.path(id), error)
    }
}

fn encode(key: &[u8; SubjectKey::LEN]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LEN));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(key);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<SubjectKey> {
    let (checked, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>()?;
    let key = Zeroizing::new(<[u8; SubjectKey::LEN]>::try_from(checked.strip_prefix(&MAGIC)?).ok()?);
    (crc32c::crc32c(checked).to_le_bytes() == *checksum).then(|| SubjectKey::from_bytes(*key))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn counting(buffer: &mut [u8]) -> io::Result<()> {
        buffer.iter_mut().zip(1..).for_each(|(byte, number)| *byte = number);
        Ok(())
    }

    fn keys(dir: &Path, seals: bool) -> SubjectKeys {
        SubjectKeys::new(SubjectsConfig { dir: dir.join("keys/subjects"), seals, random: counting })
    }

    fn stream(number: u128) -> StreamId {
        PodUid(Uuid::from_u128(number)).stream()
    }

    #[test]
    fn a_pod_that_begins_gets_a_key_and_keeps_it_until_it_is_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let seal = |keys: &SubjectKeys, number, begins| {
            keys.seal(stream(number), begins, (0x0201, 1), b"what it says").unwrap()
        };
        let off = keys(dir.path(), false);
        assert_eq!(seal(&off, 1, true), None);
        assert!(!dir.path().join("keys").exists());
        let on = keys(dir.path(), true);
        assert_eq!(seal(&on, 2, false), None, "it began without a key");
        let sealed = seal(&on, 1, true).unwrap();
        assert_eq!(sealed.len(), b"what it says".len() + SubjectKey::OVERHEAD);
        let path = dir.path().join("keys/subjects").join(Uuid::from_u128(1).to_string());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // Also once sealing is off, and read from the file.
        assert_eq!(seal(&keys(dir.path(), false), 1, false), Some(sealed));
        let worker = StreamId { kind: StreamKind::Worker, id: Uuid::from_u128(1) };
        assert_eq!(on.seal(worker, true, (0x0301, 1), b"a worker's").unwrap(), None);
        let pod = PodUid(Uuid::from_u128(1));
        assert!(on.has(pod).unwrap());
        assert!(on.destroy(pod).unwrap() && !path.exists() && !on.has(pod).unwrap());
        assert!(!on.destroy(pod).unwrap());
        assert_eq!(seal(&on, 1, false), None);
    }

    #[test]
    fn a_key_file_that_was_damaged_is_named() {
        let dir = tempfile::tempdir().unwrap();
        keys(dir.path(), true).seal(stream(1), true, (0x0201, 1), b"x").unwrap();
        let path = dir.path().join("keys/subjects").join(Uuid::from_u128(1).to_string());
        let sound = fs::read(&path).unwrap();
        for damaged in [&sound[..20], &[], &[&sound[..], b"x"].concat(), b"PURSERU\n"] {
            fs::write(&path, damaged).unwrap();
            let error = keys(dir.path(), true).seal(stream(1), false, (0x0202, 1), b"x").unwrap_err();
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }
}
