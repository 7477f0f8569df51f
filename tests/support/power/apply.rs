//! What each system call does to the disk. A call that is not named here and touches the folder is refused.

use std::path::PathBuf;

use super::disk::{Description, Disk, Refusal, UnderWay};
use super::inode::{FileChangeKind, FileInode, FolderChange, FolderInode, Inode, InodeId};
use super::trace::Call;

/// Calls that change neither a file's bytes nor its names nor any descriptor; `sync_file_range` promises nothing.
const HARMLESS: [&str; 27] = [
    "access",
    "chmod",
    "epoll_ctl",
    "execve",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fchmod",
    "fchmodat",
    "fgetxattr",
    "flock",
    "fstat",
    "fstatfs",
    "getdents64",
    "getxattr",
    "lstat",
    "newfstatat",
    "poll",
    "readahead",
    "readlink",
    "readlinkat",
    "stat",
    "statfs",
    "statx",
    "sync_file_range",
    "utimensat",
    "umask",
];

/// Calls that have their effect when they return.
const AT_THE_END: [&str; 16] = [
    "creat",
    "dup",
    "fcntl",
    "link",
    "linkat",
    "lseek",
    "mkdir",
    "mkdirat",
    "open",
    "openat",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "unlink",
    "unlinkat",
];

/// Calls that may touch the folder though they don't name it.
const ALWAYS_SEEN: [&str; 8] =
    ["clone", "clone3", "close_range", "execve", "execveat", "fork", "io_uring_setup", "vfork"];

type Applied = Result<(), Refusal>;

fn refused(why: &'static str, call: &Call) -> Refusal {
    Refusal { why, call: call.shown() }
}

impl Disk {
    pub(crate) fn begins(&mut self, index: usize, call: &Call) -> Applied {
        if !self.concerns(call) && !ALWAYS_SEEN.contains(&call.name.as_str()) {
            return Ok(());
        }
        match call.name.as_str() {
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => self.begin_write(index, call),
            "ftruncate" | "fallocate" => self.begin_resize(index, call),
            "fsync" | "fdatasync" => self.begin_on(index, call).map(drop),
            "close" => {
                // At once: the number may be in use again before the call is seen to return.
                call.number(0).and_then(|number| self.descriptors.remove(&number));
                Ok(())
            }
            "mmap" if call.has_flag(3, "MAP_PRIVATE") => Ok(()),
            "mmap" => Err(refused("a file of the folder is mapped into memory that is shared", call)),
            "clone" | "clone3" if call.arguments.iter().any(|text| text.contains("CLONE_FILES")) => Ok(()),
            "execve" if self.descriptors.is_empty() => Ok(()),
            "execve" => Err(refused("another program gets descriptors of the folder", call)),
            name if HARMLESS.contains(&name) || AT_THE_END.contains(&name) => Ok(()),
            _ => Err(refused("the model does not know this call", call)),
        }
    }

    pub(crate) fn ends(&mut self, index: usize, call: &Call) -> Applied {
        if let Some(under_way) = self.under_way.remove(&index) {
            return self.end_on(index, call, under_way);
        }
        let (Some(Ok(value)), true) = (&call.result, self.concerns(call)) else { return Ok(()) };
        match call.name.as_str() {
            "creat" | "open" | "openat" => self.open(index, call, *value),
            "dup" => self.duplicate(call, *value),
            "fcntl" if call.argument(1).starts_with("F_DUPFD") => self.duplicate(call, *value),
            "lseek" => {
                let description = self.description(call)?;
                self.descriptions[description].cursor = value.cast_unsigned();
                Ok(())
            }
            "mkdir" => self.make_folder(call, path_at(call, None, 0)),
            "mkdirat" => self.make_folder(call, path_at(call, Some(0), 1)),
            "unlink" | "rmdir" => self.unlink(call, path_at(call, None, 0)),
            "unlinkat" => self.unlink(call, path_at(call, Some(0), 1)),
            "rename" => self.rename(call, path_at(call, None, 0), path_at(call, None, 1)),
            "renameat" | "renameat2" => {
                if !["", "0", "RENAME_NOREPLACE"].contains(&call.argument(4)) {
                    return Err(refused("the model does not know this way of renaming", call));
                }
                self.rename(call, path_at(call, Some(0), 1), path_at(call, Some(2), 3))
            }
            "link" => self.link(call, path_at(call, None, 0), path_at(call, None, 1)),
            "linkat" => self.link(call, path_at(call, Some(0), 1), path_at(call, Some(2), 3)),
            _ => Ok(()),
        }
    }

    fn description(&self, call: &Call) -> Result<usize, Refusal> {
        let known = call.number(0).and_then(|number| self.descriptors.get(&number));
        known.copied().ok_or_else(|| refused("the descriptor is not known", call))
    }

    /// Notes that a call on a descriptor has begun.
    fn begin_on(&mut self, index: usize, call: &Call) -> Result<UnderWay, Refusal> {
        let description = self.description(call)?;
        let inode = self.descriptions[description].inode;
        let under_way = UnderWay { began: self.now, inode, description };
        self.under_way.insert(index, under_way);
        Ok(under_way)
    }

    fn begin_change(&mut self, index: usize, call: &Call, id: InodeId, change: FileChangeKind) -> Applied {
        let file = self.file_mut(id).ok_or_else(|| refused("it is a folder", call))?;
        if file.begin(index, change) {
            Ok(())
        } else {
            Err(refused("nobody can tell whether it came before another call at the same place", call))
        }
    }

    fn begin_write(&mut self, index: usize, call: &Call) -> Applied {
        if call.name == "pwritev2" && call.argument(4) != "0" {
            return Err(refused("the model does not know these flags", call));
        }
        let UnderWay { inode, description, .. } = self.begin_on(index, call)?;
        let bytes = call.bytes(1).ok_or_else(|| refused("the trace does not have all bytes", call))?;
        let end = self.file_mut(inode).map_or(0, |file| file.live.len());
        let Description { appends, cursor, .. } = self.descriptions[description];
        let offset = match call.name.as_str() {
            _ if appends => Some(end),
            "write" | "writev" => Some(cursor),
            _ => call.number(3).and_then(|offset| u64::try_from(offset).ok()),
        };
        let offset = offset.ok_or_else(|| refused("the offset is no number", call))?;
        let change = FileChangeKind::Bytes { offset, bytes: bytes.into(), grows: true };
        self.begin_change(index, call, inode, change)
    }

    fn begin_resize(&mut self, index: usize, call: &Call) -> Applied {
        let UnderWay { inode, .. } = self.begin_on(index, call)?;
        let no_number = || refused("an argument is no number", call);
        let argument =
            |at| call.number(at).and_then(|number| u64::try_from(number).ok()).ok_or_else(no_number);
        let file = self.file_mut(inode).ok_or_else(|| refused("it is a folder", call))?;
        let len = file.live.len();
        let mut changes = Vec::new();
        if call.name == "ftruncate" {
            let wanted = argument(1)?;
            changes.extend(file.zeros(wanted, len.max(wanted)));
            changes.push(FileChangeKind::Resize { len: wanted });
        } else {
            let known = ["0", "FALLOC_FL_KEEP_SIZE", "FALLOC_FL_PUNCH_HOLE", "FALLOC_FL_ZERO_RANGE"];
            if !call.argument(1).split('|').all(|flag| known.contains(&flag)) {
                return Err(refused("the model does not know this way of allocating", call));
            }
            let (from, to) = (argument(2)?, argument(2)? + argument(3)?);
            if call.has_flag(1, "FALLOC_FL_PUNCH_HOLE") || call.has_flag(1, "FALLOC_FL_ZERO_RANGE") {
                changes.extend(file.zeros(from, to.min(len).max(from)));
            }
            if !call.has_flag(1, "FALLOC_FL_KEEP_SIZE") && len < to {
                changes.push(FileChangeKind::Resize { len: to });
            }
        }
        changes.into_iter().try_for_each(|change| self.begin_change(index, call, inode, change))
    }

    fn end_on(&mut self, index: usize, call: &Call, under_way: UnderWay) -> Applied {
        let UnderWay { began, inode, description } = under_way;
        let done = match &call.result {
            Some(Ok(done)) => Some(usize::try_from(*done).map_err(|_| refused("the result is odd", call))?),
            Some(Err(_)) | None => None,
        };
        let (now, obeys) = (self.now, self.obeys_file_syncs);
        let is_sync = matches!(call.name.as_str(), "fsync" | "fdatasync");
        match &mut self.inodes[inode] {
            _ if is_sync && done.is_none() => return Err(refused("a sync failed", call)),
            Inode::File(_) if is_sync && !obeys => {}
            Inode::File(file) if is_sync => file.synced(began),
            Inode::Folder(folder) => folder.synced(began),
            Inode::File(file) => {
                file.end(index, done, now);
                let description = &mut self.descriptions[description];
                if let ("write" | "writev", Some(done)) = (call.name.as_str(), done) {
                    description.cursor += done as u64;
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, index: usize, call: &Call, descriptor: i64) -> Applied {
        let (path, flags) = match call.name.as_str() {
            "openat" => (path_at(call, Some(0), 1), 2),
            _ => (path_at(call, None, 0), 1),
        };
        let has = |flag: &str| call.has_flag(flags, flag);
        if has("O_SYNC") || has("O_DSYNC") || has("O_TMPFILE") {
            return Err(refused("the model does not know these flags", call));
        }
        let creates = has("O_CREAT") || call.name == "creat";
        let known = path.as_ref().and_then(|path| path.strip_prefix(&self.root).ok());
        let inode = match known.and_then(|inside| self.look_up(inside)) {
            Some(inode) => inode,
            None if creates => {
                let inode = Inode::File(FileInode::default());
                self.create(call, path, inode)?
            }
            None => return Err(refused("the file is not known", call)),
        };
        if has("O_TRUNC") || call.name == "creat" {
            let now = self.now;
            if let Some(file) = self.file_mut(inode).filter(|file| file.live.len() > 0) {
                let mut changes = file.zeros(0, file.live.len());
                changes.push(FileChangeKind::Resize { len: 0 });
                for change in changes {
                    file.begin(index, change);
                }
                file.end(index, Some(0), now);
            }
        }
        self.descriptions.push(Description { inode, cursor: 0, appends: has("O_APPEND") });
        self.descriptors.insert(descriptor, self.descriptions.len() - 1);
        Ok(())
    }

    fn duplicate(&mut self, call: &Call, descriptor: i64) -> Applied {
        let description = self.description(call)?;
        self.descriptors.insert(descriptor, description);
        Ok(())
    }

    fn create(&mut self, call: &Call, path: Option<PathBuf>, inode: Inode) -> Result<InodeId, Refusal> {
        let place = path.and_then(|path| self.place(&path));
        let (folder, name) = place.ok_or_else(|| refused("its folder is not known", call))?;
        let inode = self.add(inode);
        self.change_folder(folder, FolderChange::Link { name, inode });
        Ok(inode)
    }

    fn make_folder(&mut self, call: &Call, path: Option<PathBuf>) -> Applied {
        self.create(call, path, Inode::Folder(FolderInode::default())).map(drop)
    }

    fn unlink(&mut self, call: &Call, path: Option<PathBuf>) -> Applied {
        let place = path.and_then(|path| self.place(&path));
        let (folder, name) = place.ok_or_else(|| refused("the file is not known", call))?;
        self.change_folder(folder, FolderChange::Unlink { name });
        Ok(())
    }

    fn rename(&mut self, call: &Call, from: Option<PathBuf>, to: Option<PathBuf>) -> Applied {
        let places = (from.and_then(|path| self.place(&path)), to.and_then(|path| self.place(&path)));
        match places {
            (Some((folder, from)), Some((target, to))) if folder == target => {
                self.change_folder(folder, FolderChange::Rename { from, to });
                Ok(())
            }
            _ => Err(refused("the model knows renames within one folder only", call)),
        }
    }

    fn link(&mut self, call: &Call, from: Option<PathBuf>, to: Option<PathBuf>) -> Applied {
        let inside = from.as_ref().and_then(|path| path.strip_prefix(&self.root).ok());
        let inode = inside.and_then(|inside| self.look_up(inside));
        let place = to.and_then(|path| self.place(&path));
        let (Some(inode), Some((folder, name))) = (inode, place) else {
            return Err(refused("the model knows links within the folder only", call));
        };
        self.change_folder(folder, FolderChange::Link { name, inode });
        Ok(())
    }
}

/// The path in an argument, which may begin at the folder of a descriptor.
fn path_at(call: &Call, folder: Option<usize>, argument: usize) -> Option<PathBuf> {
    let path = call.path(argument)?;
    match folder.and_then(|folder| call.descriptor_path(folder)) {
        Some(folder) => Some(folder.join(path)),
        None => Some(path),
    }
}
