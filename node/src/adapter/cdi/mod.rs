//! Devices of containers, as files of the Container Device Interface (CDI) describe them.
//!
//! Each file stands for itself: one that cannot be used is named, and hides no other. Of two folders the later one counts.
//! A device that two files of one folder describe is nobody's, and that is said.

mod file;
#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use purser_events::ledger::GpuUuid;

use self::file::File;
pub use self::file::{DeviceNode, Edits, Hook, HookName, Mount};

/// What GPUs are called there. Devices are found by the GPU's own name (its UUID) alone: its number may be another's after a
/// restart.
const GPU_KIND: &str = "nvidia.com/gpu";
/// Most bytes of a file that is read; NVIDIA's have some ten thousand.
const FILE_LEN_MAX: u64 = 1 << 20;
/// Most files of a folder that are read.
const FILES_MAX: usize = 256;
/// Most troubles that one failure names.
const TOLD_MAX: usize = 3;

/// Reads the files of these folders. What has not changed is not read again.
#[derive(Debug)]
pub struct Cdi {
    /// The least first.
    folders: Vec<PathBuf>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    files: BTreeMap<PathBuf, (Stamp, Result<Arc<File>, String>)>,
    /// Troubles that the log has been told of.
    told: BTreeSet<String>,
}

/// Tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    len: u64,
    changed: (i64, i64),
}

/// What all files say together.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// By `vendor/class=name`.
    devices: BTreeMap<String, Found>,
    /// What is wrong with files and folders, each with its path.
    pub troubles: Vec<String>,
}

#[derive(Debug)]
enum Found {
    /// One file has it, at this place.
    In(PathBuf, Arc<File>, usize),
    /// Several files of one folder have it.
    Twice(Vec<PathBuf>),
}

impl Cdi {
    /// Of these folders, the last of which counts most.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>) -> Cdi {
        Cdi { folders, kept: Mutex::default() }
    }

    /// Looks at all files. Blocks on the disk.
    #[must_use]
    pub fn look(&self) -> Catalogue {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut catalogue = Catalogue::default();
        let mut seen = BTreeSet::new();
        for folder in &self.folders {
            let mut of_folder: BTreeMap<String, Found> = BTreeMap::new();
            for path in catalogue.files_of(folder) {
                match kept.read(&path) {
                    Ok(file) => put(&mut of_folder, &path, &file),
                    Err(trouble) => catalogue.troubles.push(format!("{}: {trouble}", path.display())),
                }
                seen.insert(path);
            }
            catalogue.devices.extend(of_folder);
        }
        kept.files.retain(|path, _| seen.contains(path));
        let twice = catalogue.devices.iter().filter_map(|(name, found)| match found {
            Found::Twice(paths) => Some(in_two_files(name, paths)),
            Found::In(..) => None,
        });
        let twice: Vec<String> = twice.collect();
        catalogue.troubles.extend(twice);
        catalogue
    }

    /// Tells the log what is wrong, and was not the last time.
    pub fn tell(&self, catalogue: &Catalogue) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let troubles: BTreeSet<String> = catalogue.troubles.iter().cloned().collect();
        for trouble in troubles.difference(&kept.told) {
            tracing::warn!(trouble, "a device description (CDI) is not used");
        }
        kept.told = troubles;
    }
}

impl Kept {
    fn read(&mut self, path: &Path) -> Result<Arc<File>, String> {
        let stamp = stamp(path).map_err(|error| error.to_string())?;
        if let Some((known, read)) = self.files.get(path)
            && *known == stamp
        {
            return read.clone();
        }
        let read = read(path).map(Arc::new);
        self.files.insert(path.to_owned(), (stamp, read.clone()));
        read
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let data = fs::metadata(path)?;
    Ok(Stamp { place: (data.dev(), data.ino()), len: data.len(), changed: (data.ctime(), data.ctime_nsec()) })
}

fn read(path: &Path) -> Result<File, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let data = fs::metadata(path).map_err(failed)?;
    if !data.is_file() {
        return Err("is no file".to_owned());
    }
    // Its hooks run with the service's rights.
    if data.mode() & 0o002 != 0 {
        return Err("may be written by anybody: take that right away".to_owned());
    }
    let mut bytes = vec![];
    let file = fs::File::open(path).map_err(failed)?;
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if FILE_LEN_MAX < bytes.len() as u64 {
        return Err(format!("has more than {FILE_LEN_MAX} bytes"));
    }
    File::read(&bytes)
}

fn put(devices: &mut BTreeMap<String, Found>, path: &Path, file: &Arc<File>) {
    for (index, device) in file.devices.iter().enumerate() {
        match devices.entry(format!("{}={}", file.kind, device.name)) {
            Entry::Vacant(place) => drop(place.insert(Found::In(path.to_owned(), Arc::clone(file), index))),
            Entry::Occupied(mut place) => match place.get_mut() {
                Found::Twice(paths) => paths.push(path.to_owned()),
                Found::In(first, ..) => {
                    let paths = vec![std::mem::take(first), path.to_owned()];
                    drop(place.insert(Found::Twice(paths)));
                }
            },
        }
    }
}

fn in_two_files(name: &str, paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    format!(
        "device {name} is described more than once, and given to nobody: take away all but one of {}",
        paths.join(", ")
    )
}

impl Catalogue {
    /// The files of a folder that may hold devices, in the order of their names.
    fn files_of(&mut self, folder: &Path) -> Vec<PathBuf> {
        let listed = fs::read_dir(folder).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<PathBuf>>>()
        });
        let mut paths = match listed {
            Ok(paths) => paths,
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    self.troubles.push(format!("{}: cannot be listed: {error}", folder.display()));
                }
                return vec![];
            }
        };
        paths.sort();
        let is =
            |path: &Path, ends: &[&str]| path.extension().is_some_and(|end| ends.iter().any(|it| end == *it));
        let yaml = paths.iter().filter(|path| is(path, &["yaml", "yml"]));
        let told = |path: &PathBuf| {
            format!("{}: is YAML, and JSON is read: generate it with --format=json", path.display())
        };
        let told: Vec<String> = yaml.take(FILES_MAX).map(told).collect();
        self.troubles.extend(told);
        paths.retain(|path| is(path, &["json"]));
        if FILES_MAX < paths.len() {
            self.troubles.push(format!(
                "{}: has more than {FILES_MAX} files; those behind are not read",
                folder.display()
            ));
            paths.truncate(FILES_MAX);
        }
        paths
    }

    /// Why a container cannot be given a GPU, if it cannot.
    #[must_use]
    pub fn trouble_of(&self, gpu: &GpuUuid) -> Option<String> {
        self.find(gpu).err()
    }

    /// What a container gets with these GPUs: what each file says for all of its devices once, and what it says for each.
    ///
    /// # Errors
    /// A GPU that no file describes, or two do; says which and why that may be.
    pub fn edits(&self, gpus: &[GpuUuid]) -> Result<Edits, String> {
        let mut edits = Edits::default();
        let mut files: Vec<&Arc<File>> = vec![];
        for gpu in gpus {
            let (file, index) = self.find(gpu)?;
            if !files.iter().any(|known| Arc::ptr_eq(known, file)) {
                edits.add(&file.container_edits);
                files.push(file);
            }
            edits.add(&file.devices[index].container_edits);
        }
        Ok(edits)
    }

    fn find(&self, gpu: &GpuUuid) -> Result<(&Arc<File>, usize), String> {
        let name = format!("{GPU_KIND}={gpu}");
        match self.devices.get(&name) {
            Some(Found::In(_, file, index)) => Ok((file, *index)),
            Some(Found::Twice(paths)) => Err(in_two_files(&name, paths)),
            None => Err(self.absent(&name)),
        }
    }

    fn absent(&self, name: &str) -> String {
        let mut of_kind = self.devices.keys().filter_map(|known| known.strip_prefix(&format!("{GPU_KIND}=")));
        let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let remedy = if of_kind.any(is_number) {
            "GPUs are described by numbers, which may be another's after a restart: generate the files with \
             --device-name-strategy=uuid"
        } else {
            "generate a file with `nvidia-ctk cdi generate --format=json --device-name-strategy=uuid`, or set `gpu.cdi` \
             to `off`"
        };
        let troubles: Vec<&str> = self.troubles.iter().take(TOLD_MAX).map(String::as_str).collect();
        let troubles = if troubles.is_empty() {
            String::new()
        } else {
            format!("; not used are {}", troubles.join("; "))
        };
        format!("no device description (CDI) has {name}: {remedy}{troubles}")
    }
}
