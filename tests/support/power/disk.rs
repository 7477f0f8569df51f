//! The disk that a traced program writes to: inodes, names, descriptors, and what was synced.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::image::Image;
use super::inode::{FileInode, FolderChange, FolderInode, Inode, InodeId, Moment};
use super::trace::{Call, Step, Trace};

/// The folder that is watched.
pub(crate) const ROOT: InodeId = 0;

/// Why the disk cannot follow a trace: a call that it does not know, or one that was not to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong with it.
    pub why: &'static str,
    /// The call as the trace has it.
    pub call: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.why, self.call)
    }
}

/// What a descriptor stands for.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub inode: InodeId,
    pub cursor: u64,
    pub appends: bool,
}

/// A call on a file that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnderWay {
    pub began: Moment,
    pub inode: InodeId,
    pub description: usize,
}

/// A folder on a disk, and a program that works in it.
#[derive(Debug, Clone)]
pub struct Disk {
    pub(crate) root: PathBuf,
    /// The root as strace writes it.
    root_in_trace: String,
    pub(crate) obeys_file_syncs: bool,
    pub(crate) inodes: Vec<Inode>,
    pub(crate) descriptions: Vec<Description>,
    /// Descriptors of the program that runs, by number.
    pub(crate) descriptors: BTreeMap<i64, usize>,
    /// Calls that have begun and not ended, by their index.
    pub(crate) under_way: BTreeMap<usize, UnderWay>,
    pub(crate) now: Moment,
}

impl Disk {
    /// An empty folder, itself safe on disk; `root` has no links in it.
    #[must_use]
    pub fn new(root: &Path) -> Disk {
        use std::os::unix::ffi::OsStrExt;

        let bytes = root.as_os_str().as_bytes().iter();
        Disk {
            root: root.to_owned(),
            root_in_trace: bytes.map(|byte| format!("\\x{byte:02x}")).collect(),
            obeys_file_syncs: true,
            inodes: vec![Inode::Folder(FolderInode::default())],
            descriptions: Vec::new(),
            descriptors: BTreeMap::new(),
            under_way: BTreeMap::new(),
            now: 0,
        }
    }

    /// From now on no sync of a file has any effect, as if the program did not call it; those of folders have.
    pub fn ignore_file_syncs(&mut self) {
        self.obeys_file_syncs = false;
    }

    /// Whether a file that was synced before has changes since: a loss of power would tear it.
    #[must_use]
    pub fn has_unsynced_changes(&self) -> bool {
        self.inodes.iter().any(|inode| match inode {
            // Those that are never synced always have some.
            Inode::File(file) => file.durable.len() > 0 && !file.pending.is_empty(),
            Inode::Folder(_) => false,
        })
    }

    /// Lives through one step of a trace.
    ///
    /// # Errors
    /// The call could change the folder in a way that the disk does not know.
    pub fn step(&mut self, trace: &Trace, step: Step) -> Result<(), Refusal> {
        self.now += 1;
        match step {
            Step::Begins(index) => self.begins(index, &trace.calls[index]),
            Step::Ends(index) => self.ends(index, &trace.calls[index]),
        }
    }

    /// The program was killed: what it was about to write is on disk as far as the real folder shows it.
    ///
    /// # Errors
    /// The real folder is not what the trace led to.
    pub fn program_ended(&mut self, real: &Image) -> Result<(), String> {
        self.now += 1;
        for (by, UnderWay { inode, .. }) in std::mem::take(&mut self.under_way) {
            let path = self.live_path(inode);
            let content = path.and_then(|path| real.file(&path));
            if let (Inode::File(file), Some(content)) = (&mut self.inodes[inode], content) {
                file.settle(by, content, self.now);
            }
        }
        self.descriptors.clear();
        match Image::live(self).difference(real) {
            None => Ok(()),
            Some(path) => Err(format!("`{}` is not what the trace led to", path.display())),
        }
    }

    /// Whether a call has to do with the folder.
    #[must_use]
    pub fn concerns(&self, call: &Call) -> bool {
        call.arguments.iter().any(|argument| argument.contains(&self.root_in_trace))
    }

    pub(crate) fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id]
    }

    pub(crate) fn file_mut(&mut self, id: InodeId) -> Option<&mut FileInode> {
        match &mut self.inodes[id] {
            Inode::File(file) => Some(file),
            Inode::Folder(_) => None,
        }
    }

    /// Where programs see an inode.
    fn live_path(&self, wanted: InodeId) -> Option<PathBuf> {
        let mut waiting = vec![(ROOT, PathBuf::new())];
        while let Some((id, path)) = waiting.pop() {
            if id == wanted {
                return Some(path);
            }
            if let Inode::Folder(folder) = &self.inodes[id] {
                waiting.extend(folder.live.iter().map(|(name, id)| (*id, path.join(name))));
            }
        }
        None
    }

    /// The folder that a path's last name is in, and that name; none if the path leads out of the watched folder.
    pub(crate) fn place(&self, path: &Path) -> Option<(InodeId, String)> {
        let inside = path.strip_prefix(&self.root).ok()?;
        let (parent, name) = (inside.parent()?, inside.file_name()?);
        Some((self.look_up(parent)?, name.to_str()?.to_owned()))
    }

    /// The inode at a path below the watched folder.
    pub(crate) fn look_up(&self, inside: &Path) -> Option<InodeId> {
        inside.components().try_fold(ROOT, |id, component| match (component, &self.inodes[id]) {
            (Component::Normal(name), Inode::Folder(folder)) => folder.live.get(name.to_str()?).copied(),
            (Component::CurDir, _) => Some(id),
            (Component::Prefix(_) | Component::RootDir | Component::ParentDir | Component::Normal(_), _) => {
                None
            }
        })
    }

    pub(crate) fn change_folder(&mut self, id: InodeId, change: FolderChange) {
        if let Inode::Folder(folder) = &mut self.inodes[id] {
            folder.change(self.now, change);
        }
    }

    pub(crate) fn add(&mut self, inode: Inode) -> InodeId {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }
}
