//! The folders behind a pod's volumes: made, checked and given the right owner, for every runtime alike.
//!
//! A `hostPath` comes from a stranger's manifest: it is followed through symbolic links only as far as the
//! folders that the operator allows, and what is missing is made step by step without following any link.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{Error, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};
use purser_actors::paths::PodPaths;
use purser_actors::port::{FieldError, RuntimeError};
use purser_events::pod::event::FailureClass;
use purser_events::pod::spec::{HostPathKind, PodSpec, VolumeSource};
use purser_events::{ContainerName, PodUid};

/// The `hostPath` volumes that are refused whatever there is on the host.
#[must_use]
pub fn refused(spec: &PodSpec, allowed: &[PathBuf]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let VolumeSource::HostPath { path, .. } = &volume.source else { continue };
        let message = match Path::new(path) {
            path if !is_plain(path) => "must be absolute and have no `..` in it".to_owned(),
            _ if allowed.is_empty() => {
                "is refused: the operator of this node allows no hostPath volumes".to_owned()
            }
            // Links are followed when the pod is set up; what is outside by its words alone never gets better.
            path if !allowed.iter().any(|root| path.starts_with(root)) => {
                let roots: Vec<_> = allowed.iter().map(|root| format!("`{}`", root.display())).collect();
                format!("must lie below one of the roots that this node allows: {}", roots.join(", "))
            }
            _ => continue,
        };
        let path = format!("spec.volumes[{index}].hostPath.path");
        errors.push(FieldError { path, message });
    }
    errors
}

/// Whether a path says plainly where it leads, symbolic links aside.
fn is_plain(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
}

/// Makes a pod's folder, closed to other users, and every volume of the pod; says where each volume is.
/// What is there already stays.
///
/// # Errors
/// Names the volume that cannot be had and why; what was made so far stays for the next try.
pub fn prepare(
    paths: &PodPaths,
    pod: PodUid,
    spec: &PodSpec,
    allowed: &[PathBuf],
) -> Result<BTreeMap<ContainerName, PathBuf>, RuntimeError> {
    pod_folder(paths, pod)?;
    let mut sources = BTreeMap::new();
    for volume in &spec.volumes {
        let source = match &volume.source {
            VolumeSource::EmptyDir => empty_dir(&paths.volume(pod, &volume.name), spec.fs_group),
            // No manifest comes so far, see `refused`: it is a pool's pod that gets its agent's folder.
            VolumeSource::HostPath { path, kind } if Path::new(path).starts_with(paths.agents()) => {
                host_path(Path::new(path), *kind, &[paths.agents()])
            }
            VolumeSource::HostPath { path, kind } => host_path(Path::new(path), *kind, allowed),
        };
        let source = source.map_err(|reason| {
            RuntimeError::new(FailureClass::Volume, format!("volume `{}`: {reason}", volume.name))
        })?;
        sources.insert(volume.name.clone(), source);
    }
    Ok(sources)
}

/// Makes the folder that holds all that a pod has on disk: its logs and volumes are nobody else's to read.
///
/// # Errors
/// The folder cannot be made.
pub fn pod_folder(paths: &PodPaths, pod: PodUid) -> Result<PathBuf, RuntimeError> {
    let folder = paths.pod(pod);
    private_folder(&folder).map_err(|error| {
        let message = format!("failed to make the pod's folder `{}`: {error}", folder.display());
        RuntimeError::new(FailureClass::Volume, message)
    })?;
    Ok(folder)
}

/// The pods that have a folder. What has another name than a pod's folder has, or is no folder, is nobody's business.
///
/// # Errors
/// The folder that holds them cannot be read.
pub fn pod_folders(paths: &PodPaths) -> Result<Vec<PodUid>, RuntimeError> {
    let failed = |error: Error| {
        let message = format!("failed to list the pods' folders in `{}`: {error}", paths.root().display());
        RuntimeError::new(FailureClass::Runtime, message)
    };
    let entries = match fs::read_dir(paths.root()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut pods = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Ok(uid) = name.parse().map(PodUid) else { continue };
        // Of the ways to write a uid only one names a folder; a symbolic link is none.
        if uid.to_string() == name && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pods.push(uid);
        }
    }
    Ok(pods)
}

/// Makes a folder and its parents, readable by their owner alone; a folder that is there keeps its mode.
///
/// # Errors
/// The folder cannot be made, or something else has its name.
pub fn private_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Opens what a volume stands for without following any symbolic link, so that nothing that was swapped in
/// after the check is mounted.
///
/// # Errors
/// It is gone, or some part of the path is a symbolic link now.
pub fn open_source(path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(AT_FDCWD, path, how)
}

/// Kubernetes gives an `emptyDir` mode 0777, so that containers of different users can share it; with a group
/// it is the group's, and what is made in it stays the group's.
fn empty_dir(folder: &Path, group: Option<u32>) -> Result<PathBuf, String> {
    let failed = |what: &str, error: Error| format!("failed to {what} `{}`: {error}", folder.display());
    private_folder(folder).map_err(|error| failed("make", error))?;
    if let Some(group) = group {
        chown(folder, None, Some(group)).map_err(|error| failed("give the pod's fsGroup", error))?;
    }
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(|error| failed("open", error))?;
    Ok(folder.to_path_buf())
}

fn host_path(path: &Path, kind: HostPathKind, allowed: &[PathBuf]) -> Result<PathBuf, String> {
    let shown = path.display();
    if !is_plain(path) {
        return Err(format!("hostPath `{shown}` must be absolute and have no `..` in it"));
    }
    let (found, missing) = resolve(path)?;
    let roots = allowed.iter().filter_map(|root| fs::canonicalize(root).ok());
    if !roots.into_iter().any(|root| found.starts_with(root)) {
        return Err(format!(
            "hostPath `{shown}` is not below a folder that the operator of this node allows"
        ));
    }
    if missing.is_empty() {
        check_kind(&found, kind)?;
        return Ok(found);
    }
    match kind {
        // An absent folder of the kind "any" is made, as the Kubernetes runtimes do before they mount it.
        HostPathKind::Any | HostPathKind::DirectoryOrCreate => make_folders(&found, &missing),
        HostPathKind::FileOrCreate => make_file(&found, &missing),
        HostPathKind::Directory => Err(format!("hostPath `{shown}` is not there and must be a folder")),
        HostPathKind::File => Err(format!("hostPath `{shown}` is not there and must be a file")),
    }
}

/// The part of a path that exists, without symbolic links, and the names below it that don't, topmost first.
fn resolve(path: &Path) -> Result<(PathBuf, Vec<OsString>), String> {
    let mut missing = Vec::new();
    let mut rest = path;
    loop {
        match fs::canonicalize(rest) {
            Ok(found) => {
                missing.reverse();
                return Ok((found, missing));
            }
            Err(error) if error.kind() == ErrorKind::NotFound && rest.symlink_metadata().is_err() => {
                let (Some(parent), Some(name)) = (rest.parent(), rest.file_name()) else {
                    return Err(format!("hostPath `{}`: {error}", path.display()));
                };
                missing.push(name.to_os_string());
                rest = parent;
            }
            Err(error) => {
                return Err(format!("hostPath `{}` stops at `{}`: {error}", path.display(), rest.display()));
            }
        }
    }
}

fn check_kind(found: &Path, kind: HostPathKind) -> Result<(), String> {
    let held = fs::metadata(found).map_err(|error| format!("`{}`: {error}", found.display()))?;
    let wanted = match kind {
        HostPathKind::Any => return Ok(()),
        HostPathKind::DirectoryOrCreate | HostPathKind::Directory if held.is_dir() => return Ok(()),
        HostPathKind::FileOrCreate | HostPathKind::File if held.is_file() => return Ok(()),
        HostPathKind::DirectoryOrCreate | HostPathKind::Directory => "folder",
        HostPathKind::FileOrCreate | HostPathKind::File => "file",
    };
    Err(format!("hostPath `{}` is there and is not a {wanted}", found.display()))
}

fn make_folders(found: &Path, missing: &[OsString]) -> Result<PathBuf, String> {
    let mut made = found.to_path_buf();
    let failed = |at: &Path, error: Errno| format!("failed to make the folder `{}`: {error}", at.display());
    let mut folder = open_source(found).map_err(|error| failed(found, error))?;
    for name in missing {
        made.push(name);
        match mkdirat(&folder, name.as_os_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(failed(&made, error)),
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        folder = openat(folder.as_fd(), name.as_os_str(), flags, Mode::empty())
            .map_err(|error| failed(&made, error))?;
    }
    Ok(made)
}

fn make_file(found: &Path, missing: &[OsString]) -> Result<PathBuf, String> {
    // As in Kubernetes, the file is made and its folder is not.
    let [name] = missing else {
        return Err(format!("the folder of the file is not there: only `{}` is", found.display()));
    };
    let made = found.join(name);
    let failed = |error: Errno| format!("failed to make the file `{}`: {error}", made.display());
    let folder = open_source(found).map_err(failed)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(folder.as_fd(), name.as_os_str(), flags, Mode::from_bits_truncate(0o644)).map_err(failed)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::manifest;

    fn refused(path: &Path, kind: HostPathKind, allowed: &[PathBuf]) -> String {
        host_path(path, kind, allowed).expect_err("it was accepted")
    }

    #[test]
    fn only_what_is_named_as_a_pods_folder_is_one() {
        let root = tempfile::tempdir().unwrap();
        let paths = PodPaths::new(root.path().join("pods"));
        assert_eq!(pod_folders(&paths).unwrap(), []);
        let uid = PodUid(uuid::Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_00ab));
        pod_folder(&paths, uid).unwrap();
        let other = uid.to_string().replace("ab", "ac");
        let names = [uid.to_string().to_uppercase(), uid.0.simple().to_string(), "notes".to_owned()];
        for name in names {
            fs::create_dir(paths.root().join(name)).unwrap();
        }
        symlink(root.path(), paths.root().join(&other)).unwrap();
        fs::write(paths.root().join(other.replace("ac", "ad")), "a file").unwrap();
        assert_eq!(pod_folders(&paths).unwrap(), [uid]);
    }

    #[test]
    fn a_host_path_outside_of_the_roots_is_refused_by_its_field() {
        let spec = |path: &str| {
            let manifest = format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{containers: [{{name: m, command: [x]}}], \
                 volumes: [{{name: v, hostPath: {{path: {path}}}}}]}}}}"
            );
            let mut documents =
                manifest::documents(manifest.as_bytes(), &manifest::Limits::default()).unwrap();
            manifest::pod_spec(documents.remove(0), &manifest::Defaults::default()).unwrap()
        };
        let allowed = [PathBuf::from("/srv/data")];
        for path in ["/srv", "/srv/database", "/etc"] {
            let errors = super::refused(&spec(path), &allowed);
            assert_eq!(errors[0].path, "spec.volumes[0].hostPath.path", "{path}");
            assert!(errors[0].message.contains("`/srv/data`"), "{path}: {}", errors[0].message);
        }
        for path in ["/srv/data", "/srv/data/x"] {
            assert_eq!(super::refused(&spec(path), &allowed), vec![], "{path}");
        }
        assert_eq!(super::refused(&spec("/srv/data"), &[]).len(), 1);
    }

    #[test]
    fn host_paths_stay_below_the_allowed_roots() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let allowed = [root.path().to_path_buf()];
        symlink(outside.path(), root.path().join("out")).unwrap();
        symlink("/no/such/place", root.path().join("dangling")).unwrap();
        for path in [outside.path().to_path_buf(), root.path().join("out"), root.path().join("out/new")] {
            let message = refused(&path, HostPathKind::DirectoryOrCreate, &allowed);
            assert!(message.contains("not below a folder"), "{message}");
        }
        refused(&root.path().join("../x"), HostPathKind::Any, &allowed);
        refused(&root.path().join("dangling"), HostPathKind::DirectoryOrCreate, &allowed);
        refused(&root.path().join("dangling/x"), HostPathKind::DirectoryOrCreate, &allowed);
        refused(Path::new("relative"), HostPathKind::Any, &allowed);
        refused(root.path(), HostPathKind::Directory, &[]);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "something was made outside");
    }

    #[test]
    fn host_paths_are_checked_and_made_by_kind() {
        let root = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(root.path()).unwrap();
        let allowed = [base.clone()];
        let make = |name: &str, kind| host_path(&base.join(name), kind, &allowed);
        assert_eq!(make("a/b", HostPathKind::DirectoryOrCreate).unwrap(), base.join("a/b"));
        assert!(base.join("a/b").is_dir());
        assert_eq!(make("a/b", HostPathKind::Directory).unwrap(), base.join("a/b"));
        assert_eq!(make("f", HostPathKind::FileOrCreate).unwrap(), base.join("f"));
        assert_eq!(make("f", HostPathKind::File).unwrap(), base.join("f"));
        assert!(make("f", HostPathKind::Directory).unwrap_err().contains("is not a folder"));
        assert!(make("a", HostPathKind::File).unwrap_err().contains("is not a file"));
        assert!(make("no", HostPathKind::Directory).unwrap_err().contains("must be a folder"));
        assert!(make("no", HostPathKind::File).unwrap_err().contains("must be a file"));
        assert!(make("no/f", HostPathKind::FileOrCreate).unwrap_err().contains("folder of the file"));
        assert!(make("f/below", HostPathKind::DirectoryOrCreate).is_err());
    }

    #[test]
    fn a_source_that_became_a_link_is_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(root.path()).unwrap();
        fs::create_dir(base.join("real")).unwrap();
        symlink(base.join("real"), base.join("link")).unwrap();
        open_source(&base.join("real")).unwrap();
        assert_eq!(open_source(&base.join("link")).unwrap_err(), Errno::ELOOP);
    }
}
