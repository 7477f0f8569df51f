//! The part of the control groups that holds processes to processors.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use purser_events::CpuSet;

use super::cgroup::write;

/// The file that says on which processors the processes of a group may run.
const CPUS: &str = "cpuset.cpus";

/// Gives a group of version 1 what the group above it has, and that one first if it has nothing itself: a new group has
/// nothing, and lets nobody in.
///
/// # Errors
/// The group cannot be read or written.
pub(super) fn inherit(folder: &Path) -> std::io::Result<()> {
    let above = folder.parent().ok_or(ErrorKind::NotFound)?;
    for file in ["cpuset.mems", CPUS] {
        let mut held = fs::read_to_string(above.join(file))?;
        if held.trim_end().is_empty() {
            // Ends at the uppermost group: above it there is no such file.
            inherit(above)?;
            held = fs::read_to_string(above.join(file))?;
        }
        fs::write(folder.join(file), held.trim_end())?;
    }
    Ok(())
}

/// Holds the processes of a group to these processors; a group without the controller stays as it is.
///
/// # Errors
/// The groups above it do not have all of them.
pub(super) fn confine(folder: &Path, cpus: &CpuSet) -> Result<(), String> {
    if !folder.join(CPUS).exists() {
        return Ok(());
    }
    write(folder, CPUS, cpus).map_err(|why| format!("the processors `{cpus}` cannot be had here: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_gets_what_the_nearest_one_above_it_has() {
        let root = tempfile::tempdir().unwrap();
        let group = |path: &str, cpus: &str| {
            let folder = root.path().join(path);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(CPUS), cpus).unwrap();
            fs::write(folder.join("cpuset.mems"), cpus).unwrap();
            folder
        };
        let (_, between, low) = (group("top", "0-3\n"), group("top/new", "\n"), group("top/new/low", "\n"));
        inherit(&low).unwrap();
        for folder in [&between, &low] {
            assert_eq!(fs::read_to_string(folder.join(CPUS)).unwrap(), "0-3");
            assert_eq!(fs::read_to_string(folder.join("cpuset.mems")).unwrap(), "0-3");
        }
        let empty = group("empty", "");
        inherit(&empty).unwrap_err();
        confine(&low, &"1,3".parse().unwrap()).unwrap();
        assert_eq!(fs::read_to_string(low.join(CPUS)).unwrap(), "1,3");
    }
}
