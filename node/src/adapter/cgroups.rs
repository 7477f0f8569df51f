//! Looking into the kernel's control groups: which pods have one, and which processes are in one. Both versions of the
//! kernel's interface show them alike, as folders with a file `cgroup.procs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};

use purser_events::PodUid;
use uuid::Uuid;

/// Most groups below one that are looked into.
const GROUPS_MAX: usize = 10_000;

/// The pods that have a group right below one of these folders, and one group of each. A folder that is not there has
/// none; what has no pod's name is somebody else's.
///
/// # Errors
/// A folder cannot be listed.
pub(super) fn pods_below(bases: impl IntoIterator<Item = PathBuf>) -> Result<BTreeMap<PodUid, PathBuf>> {
    let mut found = BTreeMap::new();
    for base in bases {
        for folder in folders_in(&base)? {
            let uid = folder.file_name().and_then(|name| Uuid::parse_str(name.to_str()?).ok());
            found.extend(uid.map(|uid| (PodUid(uid), folder)));
        }
    }
    Ok(found)
}

/// Removes this group, in whatever hierarchy it is, where nothing runs in it and no other group is in it. What is in use
/// stays.
pub(crate) fn remove_unused(mount: &Path, prefix: &str) {
    let below = fs::read_dir(mount).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in below.chain([mount.to_path_buf()]) {
        // The kernel refuses what is in use, and what is not there is as it should be.
        let _ = fs::remove_dir(hierarchy.join(prefix));
    }
}

/// The processes in a group and in all below it; none if it is gone.
///
/// # Errors
/// A group cannot be read, or has more groups below it than are looked into.
pub(super) fn processes(group: &Path) -> Result<BTreeSet<u32>> {
    let (mut found, mut open, mut seen) = (BTreeSet::new(), vec![group.to_path_buf()], 0);
    while let Some(folder) = open.pop() {
        seen += 1;
        if GROUPS_MAX < seen {
            let message = format!("{} has more than {GROUPS_MAX} groups below it", group.display());
            return Err(std::io::Error::other(message));
        }
        let text = match fs::read_to_string(folder.join("cgroup.procs")) {
            Err(error) if is_gone(&error) => continue,
            text => text?,
        };
        // The kernel writes 0 for a process that this one cannot see.
        found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
        open.extend(folders_in(&folder)?);
    }
    Ok(found)
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if is_gone(&error) => return Ok(vec![]),
        entries => entries?,
    };
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    Ok(entries.flatten().filter(is_folder).map(|entry| entry.path()).collect())
}

/// Whether a group ended while it was looked at.
pub(super) fn is_gone(error: &std::io::Error) -> bool {
    // The kernel says "no such device" of a file that was open when its group was removed.
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_told_from_whatever_else_is_there() {
        let root = tempfile::tempdir().unwrap();
        let uid = PodUid(Uuid::from_u128(7));
        let group = root.path().join("cpu/purser").join(uid.to_string());
        fs::create_dir_all(&group).unwrap();
        fs::create_dir_all(root.path().join("cpu/purser/other")).unwrap();
        fs::write(root.path().join("cpu/purser/cgroup.procs"), "").unwrap();
        let bases = ["cpu/purser", "memory/purser"].map(|base| root.path().join(base));
        assert_eq!(pods_below(bases).unwrap(), BTreeMap::from([(uid, group)]));
    }

    #[test]
    fn processes_are_found_in_every_group_below() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        for (group, text) in [("", "1\n2\n"), ("a", "0\n"), ("a/b", "3\nodd\n")] {
            fs::write(root.path().join(group).join("cgroup.procs"), text).unwrap();
        }
        assert_eq!(processes(root.path()).unwrap(), BTreeSet::from([1, 2, 3]));
        assert_eq!(processes(&root.path().join("gone")).unwrap(), BTreeSet::new());
    }
}
