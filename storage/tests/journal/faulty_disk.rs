//! A disk over a real folder, one call of which fails.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use purser_storage::disk::{Disk, DiskFile, SystemDisk};

/// What is asked of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    CreateDir,
    Names,
    Create,
    Open,
    Rename,
    Remove,
    SyncDir,
    Len,
    Read,
    Write,
    Allocate,
    SetLen,
    Sync,
}

impl Call {
    /// Whether it changes what is on the disk, or makes a change last.
    fn changes(self) -> bool {
        match self {
            Call::CreateDir
            | Call::Create
            | Call::Rename
            | Call::Remove
            | Call::SyncDir
            | Call::Write
            | Call::Allocate
            | Call::SetLen
            | Call::Sync => true,
            Call::Names | Call::Open | Call::Len | Call::Read => false,
        }
    }
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// With this error of the system, and without doing anything.
    Error(i32),
    /// A write takes half of the bytes; the call after it fails with this error.
    Torn(i32),
    /// A write takes no byte.
    NoBytes,
    /// A write or a read does half of what was asked, which is allowed.
    Half,
    /// A signal came in between, and nothing was done, which is allowed.
    Interrupted,
}

impl Way {
    /// Whether whoever called must cope with it.
    pub(crate) fn is_allowed(self) -> bool {
        match self {
            Way::Half | Way::Interrupted => true,
            Way::Error(_) | Way::Torn(_) | Way::NoBytes => false,
        }
    }
}

/// Which call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) call: Call,
    /// Of the calls of this kind, from 1.
    pub(crate) number: u64,
    pub(crate) way: Way,
}

/// What was asked of the disk so far.
#[derive(Debug, Default)]
struct Asked {
    calls: BTreeMap<Call, u64>,
    /// What failed.
    failed: Option<PathBuf>,
    /// Writes that were cut in half and not continued yet.
    torn: bool,
    /// Calls after the failure that change something.
    changes_after: Vec<(Call, PathBuf)>,
}

/// What a loss of power could take.
#[derive(Debug, Default)]
struct Unsynced {
    files: BTreeSet<PathBuf>,
    /// Folders to which a name came. One that went and comes back only has the work done again.
    folders: BTreeSet<PathBuf>,
}

impl Unsynced {
    fn name(&mut self, path: &Path) {
        self.folders.extend(path.parent().map(Path::to_owned));
    }
}

/// Which call fails, and among those of which folder it is counted.
#[derive(Debug, Default)]
struct Armed {
    plan: Option<Plan>,
    within: PathBuf,
}

struct State {
    armed: Mutex<Armed>,
    unsynced: Mutex<Unsynced>,
    asked: Mutex<Asked>,
    /// Whether a sync must wait, and who waits for that to change.
    gate: (Mutex<bool>, Condvar),
}

/// A disk of which one call fails.
#[derive(Clone)]
pub(crate) struct FaultyDisk(Arc<State>);

impl FaultyDisk {
    pub(crate) fn new(plan: Option<Plan>) -> FaultyDisk {
        let disk = FaultyDisk(Arc::new(State {
            armed: Mutex::default(),
            unsynced: Mutex::default(),
            asked: Mutex::default(),
            gate: Default::default(),
        }));
        disk.arm(plan, Path::new("/"));
        disk
    }

    /// Has a call fail, or none; calls are counted anew, and of other folders not at all.
    pub(crate) fn arm(&self, plan: Option<Plan>, within: &Path) {
        *lock(&self.0.armed) = Armed { plan, within: within.to_owned() };
        *lock(&self.0.asked) = Asked::default();
    }

    /// Files and folders below a folder of which something would not survive a loss of power.
    pub(crate) fn unsynced(&self, within: &Path) -> Vec<PathBuf> {
        let unsynced = lock(&self.0.unsynced);
        let both = unsynced.files.iter().chain(&unsynced.folders);
        both.filter(|path| path.starts_with(within)).cloned().collect()
    }

    pub(crate) fn sound() -> FaultyDisk {
        FaultyDisk::new(None)
    }

    /// The file or folder whose call failed, if it came to that.
    pub(crate) fn failed(&self) -> Option<PathBuf> {
        lock(&self.0.asked).failed.clone()
    }

    /// Lets syncs of files wait, or go on.
    pub(crate) fn hold_syncs(&self, held: bool) {
        let (gate, changed) = &self.0.gate;
        *lock(gate) = held;
        changed.notify_all();
    }

    /// What was changed after the failure.
    pub(crate) fn changes_after(&self) -> Vec<(Call, PathBuf)> {
        lock(&self.0.asked).changes_after.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Counts a call; gives how it is to fail.
    fn ask(&self, call: Call, path: &Path) -> Option<Way> {
        let Armed { plan: planned, within } = &*lock(&self.armed);
        if !path.starts_with(within) {
            return None;
        }
        let mut asked = lock(&self.asked);
        let number = asked.calls.entry(call).or_default();
        *number += 1;
        let number = *number;
        if asked.torn {
            asked.torn = false;
            let Some(Plan { way: Way::Torn(errno), .. }) = planned else { return None };
            asked.failed = Some(path.to_owned());
            return Some(Way::Error(*errno));
        }
        if let Some(plan) = planned
            && (plan.call, plan.number) == (call, number)
        {
            match plan.way {
                Way::Torn(_) => asked.torn = true,
                Way::Error(_) | Way::NoBytes | Way::Half | Way::Interrupted => {
                    asked.failed = Some(path.to_owned());
                }
            }
            return Some(plan.way);
        }
        if asked.failed.is_some() && call.changes() {
            asked.changes_after.push((call, path.to_owned()));
        }
        None
    }

    /// Counts a call that can only fail with an error.
    fn ask_whole(&self, call: Call, path: &Path) -> io::Result<()> {
        match self.ask(call, path) {
            Some(Way::Error(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Way::Interrupted) => Err(io::ErrorKind::Interrupted.into()),
            Some(Way::Torn(_) | Way::NoBytes | Way::Half) | None => Ok(()),
        }
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.ask_whole(Call::Create, path)?;
        let file = SystemDisk.create(path)?;
        lock(&self.0.unsynced).name(path);
        Ok(Box::new(FaultyFile { path: path.to_owned(), file, state: Arc::clone(&self.0) }))
    }

    fn open(&self, path: &Path, to_write: bool) -> io::Result<Box<dyn DiskFile>> {
        self.0.ask_whole(Call::Open, path)?;
        let file = SystemDisk.open(path, to_write)?;
        Ok(Box::new(FaultyFile { path: path.to_owned(), file, state: Arc::clone(&self.0) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.ask_whole(Call::CreateDir, path)?;
        SystemDisk.create_dir(path)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.0.ask_whole(Call::Names, dir)?;
        SystemDisk.names(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.ask_whole(Call::Rename, from)?;
        SystemDisk.rename(from, to)?;
        let mut unsynced = lock(&self.0.unsynced);
        if unsynced.files.remove(from) {
            unsynced.files.insert(to.to_owned());
        }
        unsynced.name(to);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.ask_whole(Call::Remove, path)?;
        SystemDisk.remove(path)?;
        lock(&self.0.unsynced).files.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.ask_whole(Call::SyncDir, dir)?;
        SystemDisk.sync_dir(dir)?;
        lock(&self.0.unsynced).folders.remove(dir);
        Ok(())
    }
}

struct FaultyFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    state: Arc<State>,
}

impl FaultyFile {
    fn note_change(&self) {
        lock(&self.state.unsynced).files.insert(self.path.clone());
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self.state.ask(Call::Read, &self.path) {
            Some(Way::Error(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Way::Interrupted) => Err(io::ErrorKind::Interrupted.into()),
            Some(Way::Half) => {
                let half = buffer.len().div_ceil(2);
                self.file.read_at(&mut buffer[..half], at)
            }
            Some(Way::Torn(_) | Way::NoBytes) | None => self.file.read_at(buffer, at),
        }
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.note_change();
        match self.state.ask(Call::Write, &self.path) {
            Some(Way::Error(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Way::Interrupted) => Err(io::ErrorKind::Interrupted.into()),
            Some(Way::NoBytes) => Ok(0),
            Some(Way::Half | Way::Torn(_)) => self.file.write_at(&bytes[..bytes.len().div_ceil(2)], at),
            None => self.file.write_at(bytes, at),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.state.ask_whole(Call::Len, &self.path)?;
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state.ask_whole(Call::SetLen, &self.path)?;
        self.note_change();
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.state.ask_whole(Call::Allocate, &self.path)?;
        self.file.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (gate, changed) = &self.state.gate;
        let held = lock(gate);
        drop(changed.wait_while(held, |held| *held).unwrap_or_else(PoisonError::into_inner));
        self.state.ask_whole(Call::Sync, &self.path)?;
        self.file.sync_data()?;
        lock(&self.state.unsynced).files.remove(&self.path);
        Ok(())
    }
}
