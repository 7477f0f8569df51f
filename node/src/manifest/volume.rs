//! Volumes, their mounts, and the paths of both.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as k8s;
use purser_events::ContainerName;
use purser_events::pod::spec::{HostPathKind, Volume, VolumeMount, VolumeSource};

use super::error::FieldErrors;
use super::{VOLUMES_MAX, unique_name};

/// Longest path that Linux takes, in bytes.
const PATH_LEN_MAX: usize = 4_095;

/// The pod's volumes, and the names of all that it declares: also of those with which something is wrong.
pub(super) fn volumes(
    volumes: Vec<k8s::Volume>,
    errors: &mut FieldErrors,
) -> (Vec<Volume>, BTreeSet<String>) {
    if volumes.len() > VOLUMES_MAX {
        errors
            .add("spec.volumes", format!("has {} volumes, at most {VOLUMES_MAX} are allowed", volumes.len()));
    }
    let mut taken = BTreeSet::new();
    let convert = |(index, volume): (usize, k8s::Volume)| {
        let path = format!("spec.volumes[{index}]");
        let name = unique_name(&volume.name, &format!("{path}.name"), &mut taken, errors);
        let source = source(volume, &path, errors);
        Some(Volume { name: name?, source: source? })
    };
    let converted = volumes.into_iter().enumerate().filter_map(convert).collect();
    (converted, taken)
}

fn source(volume: k8s::Volume, path: &str, errors: &mut FieldErrors) -> Option<VolumeSource> {
    match (volume.empty_dir, volume.host_path) {
        (Some(_), None) => Some(VolumeSource::EmptyDir),
        (None, Some(host)) => {
            check_path(&host.path, &format!("{path}.hostPath.path"), errors);
            Some(VolumeSource::HostPath { path: host.path, kind: host_path_kind(host.type_.as_deref()) })
        }
        (None, None) => {
            errors.add(path, "must have emptyDir or hostPath");
            None
        }
        (Some(_), Some(_)) => {
            errors.add(path, "must have either emptyDir or hostPath, not both");
            None
        }
    }
}

fn host_path_kind(word: Option<&str>) -> HostPathKind {
    match word {
        Some("DirectoryOrCreate") => HostPathKind::DirectoryOrCreate,
        Some("Directory") => HostPathKind::Directory,
        Some("FileOrCreate") => HostPathKind::FileOrCreate,
        Some("File") => HostPathKind::File,
        // No check is Kubernetes' default, and the table has no other word.
        Some(_) | None => HostPathKind::Any,
    }
}

/// Mounts of the container at `path`, each of a volume of the pod.
pub(super) fn mounts(
    mounts: Vec<k8s::VolumeMount>,
    declared: &BTreeSet<String>,
    path: &str,
    errors: &mut FieldErrors,
) -> Vec<VolumeMount> {
    let mut taken = BTreeSet::new();
    let convert = |(index, mount): (usize, k8s::VolumeMount)| {
        let path = format!("{path}.volumeMounts[{index}]");
        let at = format!("{path}.mountPath");
        check_path(&mount.mount_path, &at, errors);
        let parts: Vec<String> = parts(&mount.mount_path).map(str::to_owned).collect();
        if parts.is_empty() && mount.mount_path.starts_with('/') {
            errors.add(&at, "must not be the root of the container");
        }
        if mount.mount_path.contains(':') {
            errors.add(&at, "must not contain ':'");
        }
        if !parts.is_empty() && !taken.insert(parts) {
            errors.add(&at, "is given more than once in this container");
        }
        if !declared.contains(&mount.name) {
            let message =
                if mount.name.is_empty() { "is required" } else { "there is no volume of that name" };
            errors.add(&format!("{path}.name"), message);
        }
        let read_only = mount.read_only.unwrap_or(false);
        // What is not a name is no declared one either.
        Some(VolumeMount { volume: ContainerName::new(mount.name).ok()?, path: mount.mount_path, read_only })
    };
    mounts.into_iter().enumerate().filter_map(convert).collect()
}

/// Checks a path that is used as written: absolute, and without steps back up.
pub(super) fn check_path(text: &str, at: &str, errors: &mut FieldErrors) {
    if text.is_empty() {
        errors.add(at, "is required");
    } else if !text.starts_with('/') {
        errors.add(at, "must be an absolute path");
    } else if text.len() > PATH_LEN_MAX {
        errors.add(at, format!("must have at most {PATH_LEN_MAX} bytes"));
    } else if parts(text).any(|part| part == "..") {
        errors.add(at, "must not contain '..'");
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}
