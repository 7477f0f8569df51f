//! A folder that a crash of containerd left between its disk and its database.
//!
//! The overlay snapshotter numbers its folders from its database. When it is killed after it made a folder and
//! before it wrote that down, it counts to the same number again and stumbles over the folder, at every snapshot
//! from then on, until something else makes it tidy up. Containerd 1.6 offers no call for that.

use std::path::{Path, PathBuf};

use tonic::Status;

/// The folder that is in the way of a new snapshot, if that is what the failure says.
pub(super) fn folder_in_the_way(status: &Status, snapshotter: &str) -> Option<PathBuf> {
    let text = status.message();
    let (_, rest) = text.split_once("failed to rename: rename ")?;
    let (renamed, _) = rest.split_once(": file exists")?;
    let (_, target) = renamed.rsplit_once(' ')?;
    let path = Path::new(target);
    let is_number = path.file_name()?.to_str()?.bytes().all(|byte| byte.is_ascii_digit());
    let parent = path.parent()?;
    let is_snapshots = parent.ends_with(format!("io.containerd.snapshotter.v1.{snapshotter}/snapshots"));
    (path.is_absolute() && is_number && is_snapshots).then(|| path.to_owned())
}

/// Removes such a folder if nothing was ever written to it. Only empty folders are removed, so that no data can
/// be lost even if containerd has made it a snapshot meanwhile.
pub(super) fn clear(folder: &Path) -> std::io::Result<()> {
    for inner in ["work/work", "work", "fs"] {
        match std::fs::remove_dir(folder.join(inner)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    std::fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_numbered_folder_of_the_snapshotter_is_meant() {
        let root = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
        let text = |to: &str| format!("failed to rename: rename {root}/new-372 {to}: file exists: unknown");
        let found = |to: &str| folder_in_the_way(&Status::unknown(text(to)), "overlayfs");
        assert_eq!(found(&format!("{root}/5")), Some(PathBuf::from(root).join("5")));
        for other in [format!("{root}/5a"), format!("{root}/.."), "/etc/5".into(), "5".into(), root.into()] {
            assert_eq!(found(&other), None, "{other}");
        }
        assert_eq!(folder_in_the_way(&Status::unknown("something else"), "overlayfs"), None);
    }

    #[test]
    fn a_folder_with_something_in_it_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("5");
        std::fs::create_dir_all(folder.join("fs")).unwrap();
        std::fs::create_dir_all(folder.join("work")).unwrap();
        std::fs::write(folder.join("fs/file"), "x").unwrap();
        assert!(clear(&folder).is_err());
        assert!(folder.join("fs/file").exists());
        std::fs::remove_file(folder.join("fs/file")).unwrap();
        std::fs::create_dir_all(folder.join("work")).unwrap();
        clear(&folder).unwrap();
        assert!(!folder.exists());
    }
}
