//! A disk in memory for segments: it can be full, its syncs can be held back or fail, and its power can go.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use purser_storage::Space;
use purser_storage::disk::{Disk, DiskFile};

/// What a loss of power keeps whole or loses whole.
const SECTOR_LEN: usize = 512;

/// One disk; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    let_go: Condvar,
}

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Content>,
    /// Bytes that fit; 0 for any number.
    capacity: u64,
    /// Bytes that others use.
    taken: u64,
    syncs_held: bool,
    syncs_waiting: u64,
    syncs_fail: bool,
    syncs: u64,
}

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

impl State {
    fn used(&self) -> u64 {
        self.taken + self.files.values().map(|content| content.now.len() as u64).sum::<u64>()
    }

    fn resize(&mut self, path: &Path, len: usize) -> io::Result<()> {
        let more = len.saturating_sub(self.content(path)?.now.len());
        if self.capacity > 0 && self.used() + more as u64 > self.capacity {
            return Err(io::Error::from_raw_os_error(nix::libc::ENOSPC));
        }
        self.content(path)?.now.resize(len, 0);
        Ok(())
    }

    fn content(&mut self, path: &Path) -> io::Result<&mut Content> {
        self.files.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl MemoryDisk {
    /// A disk on which so many bytes fit.
    pub(crate) fn of(capacity: u64) -> MemoryDisk {
        let disk = MemoryDisk::default();
        disk.0.state.lock().unwrap().capacity = capacity;
        disk
    }

    /// Others use so many bytes from now on.
    pub(crate) fn take(&self, bytes: u64) {
        self.0.state.lock().unwrap().taken = bytes;
    }

    /// Others use all but so many bytes from now on.
    pub(crate) fn leave(&self, bytes: u64) {
        let mut state = self.0.state.lock().unwrap();
        let free = state.capacity - state.used();
        state.taken = state.taken + free - bytes;
    }

    /// Syncs wait from now on, or no longer.
    pub(crate) fn hold_syncs(&self, hold: bool) {
        self.0.state.lock().unwrap().syncs_held = hold;
        self.0.let_go.notify_all();
    }

    /// Whether a sync is held back.
    pub(crate) fn holds_a_sync(&self) -> bool {
        self.0.state.lock().unwrap().syncs_waiting > 0
    }

    /// Syncs fail from now on.
    pub(crate) fn fail_syncs(&self) {
        self.0.state.lock().unwrap().syncs_fail = true;
    }

    /// Syncs so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.0.state.lock().unwrap().syncs
    }

    /// Lengths of the files whose names end like that.
    pub(crate) fn lens(&self, end: &str) -> Vec<usize> {
        let state = self.0.state.lock().unwrap();
        let named = state.files.iter().filter(|(path, _)| path.to_string_lossy().ends_with(end));
        named.map(|(_, content)| content.now.len()).collect()
    }

    /// The disk as a process that was killed leaves it, with the files of folder `from` in `to`.
    pub(crate) fn after_kill(&self, from: &Path, to: &Path) -> MemoryDisk {
        self.after_power_cut(from, to, || true)
    }

    /// The disk as a loss of power leaves it now: of each sector that is not synced, `survives` says whether it is
    /// as it was written or as it was at the last sync.
    pub(crate) fn after_power_cut(
        &self,
        from: &Path,
        to: &Path,
        mut survives: impl FnMut() -> bool,
    ) -> MemoryDisk {
        let state = self.0.state.lock().unwrap();
        let copy = MemoryDisk::of(state.capacity);
        for (path, content) in &state.files {
            let mut bytes = content.now.clone();
            for (number, sector) in bytes.chunks_mut(SECTOR_LEN).enumerate() {
                let mut durable = vec![0; sector.len()];
                let before = content.durable.get(number * SECTOR_LEN..).unwrap_or_default();
                let len = before.len().min(sector.len());
                durable[..len].copy_from_slice(&before[..len]);
                if *sector != *durable && !survives() {
                    sector.copy_from_slice(&durable);
                }
            }
            let path = to.join(path.strip_prefix(from).unwrap());
            copy.0.state.lock().unwrap().files.insert(path, Content { now: bytes.clone(), durable: bytes });
        }
        copy
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.state.lock().unwrap();
        if state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(path.to_owned(), Content::default());
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_owned() }))
    }

    fn open(&self, path: &Path, _: bool) -> io::Result<Box<dyn DiskFile>> {
        self.0.state.lock().unwrap().content(path)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_owned() }))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let state = self.0.state.lock().unwrap();
        let inside = state.files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()).map(OsString::from).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock().unwrap();
        let content = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.0.state.lock().unwrap().files.remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = self.0.state.lock().unwrap();
        let capacity = if state.capacity == 0 { u64::MAX } else { state.capacity };
        Ok(Space { used: state.used(), available: capacity - state.used() })
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.0.state.lock().unwrap();
        let bytes = &state.content(&self.path)?.now;
        let rest = bytes.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.0.state.lock().unwrap();
        let at = usize::try_from(at).unwrap();
        let end = at + bytes.len();
        if state.content(&self.path)?.now.len() < end {
            state.resize(&self.path, end)?;
        }
        state.content(&self.path)?.now[at..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.state.lock().unwrap().content(&self.path)?.now.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.0.state.lock().unwrap().resize(&self.path, usize::try_from(len).unwrap())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.state.lock().unwrap();
        let len = usize::try_from(len).unwrap().max(state.content(&self.path)?.now.len());
        state.resize(&self.path, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.state.lock().unwrap();
        state.syncs_waiting += 1;
        let mut state = self.disk.0.let_go.wait_while(state, |state| state.syncs_held).unwrap();
        state.syncs_waiting -= 1;
        if state.syncs_fail {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        state.syncs += 1;
        let content = state.content(&self.path)?;
        content.durable = content.now.clone();
        Ok(())
    }
}
