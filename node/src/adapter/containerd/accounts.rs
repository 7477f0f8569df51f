//! The account files of an image, read from its unpacked layers without mounting them.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use containerd_client::services::v1::snapshots::{RemoveSnapshotRequest, ViewSnapshotRequest};
use containerd_client::types::Mount;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use tonic::Status;

use super::connection::{CALL_LIMIT, Connection, within};
use super::user::{ACCOUNTS_LEN_MAX, AccountFiles};

/// Reads `/etc/passwd` and `/etc/group` of an image whose uppermost snapshot is `top`. `ticket` is a word that
/// no other reader has.
pub(super) async fn read(
    line: &Connection,
    snapshotter: &str,
    top: &str,
    ticket: &str,
) -> Result<AccountFiles, Status> {
    let key = format!("accounts-{ticket}");
    let view = ViewSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        key: key.clone(),
        parent: top.to_owned(),
        labels: Default::default(),
    };
    let viewed = within(CALL_LIMIT, line.snapshots().view(line.request(view))).await?;
    let layers = layers_of(&viewed.mounts);
    let read = tokio::task::spawn_blocking(move || {
        let file = |name| read_topmost(&layers, Path::new(name));
        Ok::<_, std::io::Error>(AccountFiles { passwd: file("etc/passwd")?, group: file("etc/group")? })
    });
    let files = read.await.expect("reading account files does not panic");
    // The layers belong to the image: what is read of them does not need the view to stay.
    let remove = RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key };
    if let Err(status) = within(CALL_LIMIT, line.snapshots().remove(line.request(remove))).await {
        tracing::debug!(code = ?status.code(), "failed to remove a view of an image; it will be collected");
    }
    files
        .map_err(|error| Status::failed_precondition(format!("failed to read the image's accounts: {error}")))
}

/// The folders that, laid over each other, are the root file system; the uppermost first.
fn layers_of(mounts: &[Mount]) -> Vec<PathBuf> {
    let Some(mount) = mounts.first() else { return Vec::new() };
    let lower = mount.options.iter().find_map(|option| option.strip_prefix("lowerdir="));
    match lower {
        Some(folders) => folders.split(':').map(PathBuf::from).collect(),
        None => vec![PathBuf::from(&mount.source)],
    }
}

/// The text of the uppermost file of that name; empty if there is none.
fn read_topmost(layers: &[PathBuf], name: &Path) -> std::io::Result<String> {
    for layer in layers {
        let folder = File::open(layer)?;
        // An image is a stranger's: a link in it must not lead to the host's files.
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let file = match openat2(&folder, name, how) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => continue,
            // Something else has the folder's place, or the file was removed by this layer.
            Err(Errno::ENOTDIR | Errno::ENXIO) => return Ok(String::new()),
            Err(error) => return Err(std::io::Error::from(error)),
        };
        let held = file.metadata()?;
        if held.file_type().is_char_device() {
            return Ok(String::new());
        }
        if !held.is_file() || held.len() > ACCOUNTS_LEN_MAX {
            return Err(std::io::Error::other(format!("/{} is not a file of decent size", name.display())));
        }
        let mut bytes = Vec::new();
        file.take(ACCOUNTS_LEN_MAX).read_to_end(&mut bytes)?;
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_uppermost_layer_that_has_the_file_wins() {
        let root = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> =
            ["top", "middle", "base"].iter().map(|name| root.path().join(name)).collect();
        for layer in &layers {
            std::fs::create_dir_all(layer.join("etc")).unwrap();
        }
        assert_eq!(read_topmost(&layers, Path::new("etc/passwd")).unwrap(), "");
        std::fs::write(layers[2].join("etc/passwd"), "base").unwrap();
        std::fs::write(layers[1].join("etc/passwd"), "middle").unwrap();
        assert_eq!(read_topmost(&layers, Path::new("etc/passwd")).unwrap(), "middle");
    }

    #[test]
    fn links_do_not_lead_to_the_hosts_files() {
        let root = tempfile::tempdir().unwrap();
        let layer = root.path().join("layer");
        std::fs::create_dir_all(layer.join("etc")).unwrap();
        symlink("/etc/passwd", layer.join("etc/passwd")).unwrap();
        assert!(read_topmost(std::slice::from_ref(&layer), Path::new("etc/passwd")).is_err());
        std::fs::remove_dir_all(layer.join("etc")).unwrap();
        symlink("/etc", layer.join("etc")).unwrap();
        assert!(read_topmost(&[layer], Path::new("etc/passwd")).is_err());
    }

    #[test]
    fn overlays_and_single_layers_are_read_alike() {
        let overlay = Mount { options: vec!["lowerdir=/a/2/fs:/a/1/fs".into()], ..Mount::default() };
        assert_eq!(layers_of(&[overlay]), [PathBuf::from("/a/2/fs"), PathBuf::from("/a/1/fs")]);
        let bind = Mount {
            source: "/a/1/fs".into(),
            options: vec!["ro".into(), "rbind".into()],
            ..Mount::default()
        };
        assert_eq!(layers_of(&[bind]), [PathBuf::from("/a/1/fs")]);
    }
}
