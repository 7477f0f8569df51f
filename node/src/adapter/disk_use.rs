//! What a pod has on disk, counted file by file.
//!
//! What is below a pod's folder is the pod's to change while it is walked: folders are opened one below the other
//! without following a link, so that nobody can lead the walk elsewhere.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{Error, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use purser_actors::port::RuntimeError;
use purser_events::Bytes;
use purser_events::pod::event::FailureClass;

/// Unit of [`MetadataExt::blocks`], in bytes, whatever the file system's own block is.
const BLOCK_LEN: u64 = 512;
/// Flags that open a folder to look at it, and fail on anything else.
const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// How far a walk goes before it is given up.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Files and folders.
    entries_max: u64,
    /// Folders in folders: as many file descriptors are open at the same time.
    depth_max: usize,
}

const BOUNDS: Bounds = Bounds { entries_max: 4_000_000, depth_max: 128 };

/// Counts what is allocated below `folder`; nothing if it is not there.
///
/// # Errors
/// It cannot be read, or holds more than can be walked.
pub(super) fn below(folder: &Path) -> Result<Bytes, RuntimeError> {
    allocated(folder, BOUNDS).map_err(|error| {
        let message = format!("failed to count what is on disk in `{}`: {error}", folder.display());
        RuntimeError::new(FailureClass::Runtime, message)
    })
}

/// A folder that is open, and the folders in it that are still to be walked.
struct Level {
    folder: OwnedFd,
    left: Vec<OsString>,
}

fn allocated(folder: &Path, bounds: Bounds) -> std::io::Result<Bytes> {
    let top = match open(folder, LOOK, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(Bytes(0)),
        top => top?,
    };
    let mut walk = Walk::new(&fs::symlink_metadata(at(&top, OsStr::new(".")))?, bounds);
    let mut levels = vec![walk.enter(top)?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.left.pop() else {
            levels.pop();
            continue;
        };
        let below = match openat(&level.folder, name.as_os_str(), LOOK, Mode::empty()) {
            // It was removed, or is no folder any more.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
            below => below?,
        };
        if levels.len() == bounds.depth_max {
            let message = format!("folders lie more than {} deep in each other", bounds.depth_max);
            return Err(Error::new(ErrorKind::QuotaExceeded, message));
        }
        levels.push(walk.enter(below)?);
    }
    Ok(Bytes(walk.bytes))
}

/// The path of a file in an open folder: only its last part is looked up.
fn at(folder: &OwnedFd, name: &OsStr) -> std::path::PathBuf {
    Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name)
}

struct Walk {
    device: u64,
    bytes: u64,
    entries: u64,
    /// Files with several names, which are counted once.
    linked: BTreeSet<u64>,
    bounds: Bounds,
}

impl Walk {
    fn new(top: &Metadata, bounds: Bounds) -> Walk {
        let bytes = top.blocks() * BLOCK_LEN;
        Walk { device: top.dev(), bytes, entries: 0, linked: BTreeSet::new(), bounds }
    }

    /// Counts what is in a folder; the folders in it are left to be entered.
    fn enter(&mut self, folder: OwnedFd) -> std::io::Result<Level> {
        let mut left = Vec::new();
        for entry in fs::read_dir(at(&folder, OsStr::new(".")))? {
            let entry = entry?;
            let held = match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                held => held?,
            };
            self.entries += 1;
            if self.entries > self.bounds.entries_max {
                let message = format!("there are more than {} files", self.bounds.entries_max);
                return Err(Error::new(ErrorKind::QuotaExceeded, message));
            }
            // What is mounted there takes its room elsewhere.
            if held.dev() != self.device {
                continue;
            }
            if held.is_dir() {
                left.push(entry.file_name());
            } else if held.nlink() > 1 && !self.linked.insert(held.ino()) {
                continue;
            }
            self.bytes = self.bytes.saturating_add(held.blocks().saturating_mul(BLOCK_LEN));
        }
        Ok(Level { folder, left })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const LEN: usize = 1 << 20;

    fn write(path: &Path) {
        fs::write(path, vec![7; LEN]).unwrap();
        fs::File::open(path).unwrap().sync_all().unwrap();
    }

    #[test]
    fn files_are_counted_once_and_links_are_not_followed() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let pod = root.path().join("pod");
        assert_eq!(below(&pod).unwrap(), Bytes(0));
        fs::create_dir_all(pod.join("volumes/data")).unwrap();
        let empty = below(&pod).unwrap();
        write(&pod.join("volumes/data/a"));
        let one = below(&pod).unwrap();
        assert!(one.0 - empty.0 >= LEN as u64 && one.0 - empty.0 < 2 * LEN as u64, "{empty:?} {one:?}");
        write(&outside.path().join("big"));
        symlink(outside.path(), pod.join("volumes/out")).unwrap();
        symlink(outside.path().join("big"), pod.join("volumes/data/big")).unwrap();
        fs::hard_link(pod.join("volumes/data/a"), pod.join("volumes/b")).unwrap();
        let linked = below(&pod).unwrap();
        assert!(linked.0 - one.0 < LEN as u64, "{one:?} {linked:?}");
        // Room that is not taken does not count.
        fs::File::create(pod.join("sparse")).unwrap().set_len(1 << 40).unwrap();
        assert!(below(&pod).unwrap().0 - linked.0 < LEN as u64);
        assert!(below(&pod.join("volumes/out")).is_err(), "the pod's folder itself is no link");
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("1/2/3")).unwrap();
        let walk = |entries_max, depth_max| allocated(root.path(), Bounds { entries_max, depth_max });
        walk(3, 4).unwrap();
        assert!(walk(2, 4).unwrap_err().to_string().contains("more than 2 files"));
        assert!(walk(3, 3).unwrap_err().to_string().contains("more than 3 deep"));
    }
}
