//! A disk in memory that keeps only what was synced when its power is cut.
//!
//! What was written since the last sync is a list of changes. A loss of power applies any of them and not the others:
//! whole, or by sectors. Names survive as far as their folder was synced, and any first part of what came after.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use purser_storage::disk::{Disk, DiskFile};

use crate::random::Random;

/// What a disk writes whole or not at all, in bytes.
const SECTOR_LEN: usize = 512;

/// A change of a file since its last sync.
#[derive(Debug, Clone)]
enum Change {
    Bytes { at: usize, bytes: Vec<u8> },
    Len(usize),
}

impl Change {
    fn make(&self, content: &mut Vec<u8>) {
        match self {
            Change::Bytes { at, bytes } => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
            Change::Len(len) => content.resize(*len, 0),
        }
    }

    /// As much of the change as had reached the disk.
    fn make_torn(&self, content: &mut Vec<u8>, random: &mut Random) {
        match self {
            Change::Len(_) => self.make(content),
            Change::Bytes { at, bytes } => {
                let mut from = 0;
                while from < bytes.len() {
                    let to = ((at + from) / SECTOR_LEN + 1) * SECTOR_LEN - at;
                    let to = to.min(bytes.len());
                    if random.percent(50) {
                        Change::Bytes { at: at + from, bytes: bytes[from..to].to_vec() }.make(content);
                    }
                    from = to;
                }
            }
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Content {
    synced: Vec<u8>,
    /// As programs read it.
    now: Vec<u8>,
    changes: Vec<Change>,
}

impl Content {
    fn change(&mut self, change: Change) {
        change.make(&mut self.now);
        self.changes.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            change.make(&mut self.synced);
        }
    }

    /// A sync that fails: programs still read what was written, but no later sync writes it any more.
    fn fail_sync(&mut self) {
        self.changes.clear();
    }

    fn lose_power(&mut self, random: &mut Random) {
        for change in std::mem::take(&mut self.changes) {
            match random.below(10) {
                0..=3 => {}
                4..=6 => change.make(&mut self.synced),
                _ => change.make_torn(&mut self.synced, random),
            }
        }
        self.now = self.synced.clone();
    }
}

#[derive(Debug, Clone)]
enum Naming {
    Put(PathBuf, u64),
    Remove(PathBuf),
}

fn name(names: &mut BTreeMap<PathBuf, u64>, naming: &Naming) {
    match naming {
        Naming::Put(path, file) => drop(names.insert(path.clone(), *file)),
        Naming::Remove(path) => drop(names.remove(path)),
    }
}

/// When the disk stops, counted in calls that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Calls that are still made.
    pub(super) after: u64,
    /// Whether the next one has its effect, though nobody hears of it.
    pub(super) late: bool,
    /// Whether only that one call fails, as on a bad sector; the disk then goes on.
    pub(super) passing: bool,
}

#[derive(Debug, Default)]
struct State {
    contents: BTreeMap<u64, Content>,
    next_file: u64,
    synced_names: BTreeMap<PathBuf, u64>,
    names: BTreeMap<PathBuf, u64>,
    namings: Vec<Naming>,
    off: bool,
    /// Whether it can be read though it is off: by the simulator, which looks at what was there.
    lit: bool,
    cut: Option<Cut>,
    calls: u64,
    ignores_syncs: bool,
    /// A folder that keeps nothing.
    forgets: Option<PathBuf>,
    faults: u64,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

fn gone() -> io::Error {
    io::Error::other("the disk has no power")
}

fn absent() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on syncs have no effect: a planted defect.
    pub(super) fn ignore_syncs(&self) {
        self.state().ignores_syncs = true;
    }

    /// From now on what is renamed into a folder is not there: a planted defect.
    pub(super) fn forget(&self, folder: &Path) {
        self.state().forgets = Some(folder.to_owned());
    }

    /// Whether every call fails.
    pub(super) fn is_off(&self) -> bool {
        self.state().off
    }

    /// Looks at what is there, though the disk may be off.
    pub(super) fn look<T>(&self, look: impl FnOnce() -> T) -> T {
        self.state().lit = true;
        let seen = look();
        self.state().lit = false;
        seen
    }

    /// Calls that failed on purpose so far.
    pub(super) fn faults(&self) -> u64 {
        self.state().faults
    }

    /// Writes every file of a folder, as programs read it, into a real one.
    pub(super) fn save(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = self.state();
        for (path, file) in &state.names {
            let Ok(inside) = path.strip_prefix(from) else { continue };
            let path = to.join(inside);
            std::fs::create_dir_all(path.parent().unwrap_or(to))?;
            std::fs::write(path, &state.contents.get(file).ok_or_else(absent)?.now)?;
        }
        std::fs::create_dir_all(to)
    }

    /// Says when the disk is to stop.
    pub(super) fn cut(&self, cut: Option<Cut>) {
        self.state().cut = cut;
    }

    /// Calls that changed something so far.
    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Stops at once: every call fails from now on.
    pub(super) fn stop(&self) {
        self.state().off = true;
    }

    /// Works again. With a loss of power in between, what was not synced may be gone.
    pub(super) fn start(&self, lost_power: Option<&mut Random>) {
        let mut state = self.state();
        (state.off, state.cut) = (false, None);
        let Some(random) = lost_power else { return };
        let namings = std::mem::take(&mut state.namings);
        let kept = random.index(namings.len() + 1);
        for naming in &namings[..kept] {
            name(&mut state.synced_names, naming);
        }
        state.names = state.synced_names.clone();
        let State { contents, names, .. } = &mut *state;
        contents.retain(|file, _| names.values().any(|named| named == file));
        contents.values_mut().for_each(|content| content.lose_power(random));
    }

    /// Makes a change, unless the disk stops before.
    fn change<T>(&self, make: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.change_or(make, |_| ())
    }

    /// The same with what a failure leaves behind on a disk that goes on.
    fn change_or<T>(
        &self,
        make: impl FnOnce(&mut State) -> io::Result<T>,
        fail: impl FnOnce(&mut State),
    ) -> io::Result<T> {
        let mut state = self.state();
        if state.off {
            return Err(gone());
        }
        state.calls += 1;
        match state.cut {
            None => make(&mut state),
            Some(Cut { after: 0, late, passing }) => {
                state.cut = None;
                state.off = !passing;
                state.faults += 1;
                match (late, passing) {
                    (true, _) => drop(make(&mut state)?),
                    (false, true) => fail(&mut state),
                    (false, false) => {}
                }
                Err(gone())
            }
            Some(cut) => {
                state.cut = Some(Cut { after: cut.after - 1, ..cut });
                make(&mut state)
            }
        }
    }
}

impl State {
    fn is_dark(&self) -> bool {
        self.off && !self.lit
    }

    fn name(&mut self, naming: Naming) {
        name(&mut self.names, &naming);
        self.namings.push(naming);
    }

    fn content(&mut self, file: u64) -> io::Result<&mut Content> {
        self.contents.get_mut(&file).ok_or_else(absent)
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.change(|state| {
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = state.next_file;
            state.next_file += 1;
            state.contents.insert(file, Content::default());
            state.name(Naming::Put(path.to_owned(), file));
            Ok(file)
        })?;
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn open(&self, path: &Path, _: bool) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        if state.is_dark() {
            return Err(gone());
        }
        let file = *state.names.get(path).ok_or_else(absent)?;
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.change(|_| Ok(()))
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let state = self.state();
        if state.is_dark() {
            return Err(gone());
        }
        let within = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(within.filter_map(|path| path.file_name()).map(OsString::from).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            let file = *state.names.get(from).ok_or_else(absent)?;
            state.name(Naming::Remove(from.to_owned()));
            if state.forgets.is_some() && to.parent() == state.forgets.as_deref() {
                return Ok(());
            }
            state.name(Naming::Put(to.to_owned(), file));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.names.get(path).ok_or_else(absent)?;
            state.name(Naming::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|state| {
            if state.ignores_syncs {
                return Ok(());
            }
            let is_within = |naming: &Naming| match naming {
                Naming::Put(path, _) | Naming::Remove(path) => path.parent() == Some(dir),
            };
            let (synced, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.namings).into_iter().partition(is_within);
            synced.iter().for_each(|naming| name(&mut state.synced_names, naming));
            state.namings = rest;
            Ok(())
        })
    }
}

/// An open file.
struct SimFile {
    disk: SimDisk,
    file: u64,
}

fn place(at: u64) -> usize {
    usize::try_from(at).expect("files are small here")
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        if state.is_dark() {
            return Err(gone());
        }
        let now = &state.content(self.file)?.now;
        let rest = now.get(place(at)..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.disk.change(|state| {
            state.content(self.file)?.change(Change::Bytes { at: place(at), bytes: bytes.to_vec() });
            Ok(bytes.len())
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().content(self.file)?.now.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.change(|state| {
            state.content(self.file)?.change(Change::Len(place(len)));
            Ok(())
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.change(|state| {
            let content = state.content(self.file)?;
            if content.now.len() < place(len) {
                content.change(Change::Len(place(len)));
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let sync = |state: &mut State| {
            if !state.ignores_syncs {
                state.content(self.file)?.sync();
            }
            Ok(())
        };
        let fail = |state: &mut State| {
            if let Some(content) = state.contents.get_mut(&self.file) {
                content.fail_sync();
            }
        };
        self.disk.change_or(sync, fail)
    }
}
