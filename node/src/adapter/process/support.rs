//! What of a manifest plain processes cannot do.

use purser_actors::port::FieldError;
use purser_events::pod::spec::{ContainerSpec, PodSpec, User};

use super::settings::{NodeUser, Settings};
use crate::adapter::volumes;

/// Every field that this runtime refuses, with what would be right.
pub(super) fn unsupported(spec: &PodSpec, node: NodeUser, settings: &Settings) -> Vec<FieldError> {
    let mut errors = volumes::refused(spec, &settings.host_path_roots);
    let mut refuse = |path: String, message: String| errors.push(FieldError { path, message });
    if spec.fs_group.is_some_and(|group| !node.is_root() && group != node.gid) {
        let message =
            format!("only root may give volumes to another group; purserd runs as group {}", node.gid);
        refuse("spec.securityContext.fsGroup".into(), message);
    }
    let groups = [("initContainers", &spec.init_containers), ("containers", &spec.containers)];
    for (list, containers) in groups {
        for (index, container) in containers.iter().enumerate() {
            let path = format!("spec.{list}[{index}]");
            check_container(&path, container, node, &mut refuse);
        }
    }
    errors
}

fn check_container(
    path: &str,
    spec: &ContainerSpec,
    node: NodeUser,
    refuse: &mut impl FnMut(String, String),
) {
    if spec.image.is_some() {
        let message =
            "the process runtime has no images; leave `image` out, or use runtimeClassName: containerd";
        refuse(format!("{path}.image"), message.into());
    }
    if spec.command.is_empty() {
        let message = "is required by the process runtime: there is no image whose entrypoint could be run";
        refuse(format!("{path}.command"), message.into());
    } else if spec.command[0].is_empty() {
        refuse(format!("{path}.command[0]"), "must name a program".into());
    }
    let texts =
        spec.command.iter().map(|text| ("command", text)).chain(spec.args.iter().map(|text| ("args", text)));
    for (field, _) in texts.filter(|(_, text)| text.contains('\0')) {
        refuse(format!("{path}.{field}"), "must not contain a zero byte".into());
    }
    for (index, variable) in spec.env.iter().enumerate() {
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) || variable.value.contains('\0') {
            let message = "must have a name without `=`, and no zero byte";
            refuse(format!("{path}.env[{index}]"), message.into());
        }
    }
    if !spec.mounts.is_empty() && !node.is_root() {
        let message =
            "only root may mount volumes for processes; run purserd as root, or use the path itself";
        refuse(format!("{path}.volumeMounts"), message.into());
    }
    check_user(path, &spec.user, node, refuse);
}

fn check_user(path: &str, user: &User, node: NodeUser, refuse: &mut impl FnMut(String, String)) {
    if user.non_root && user.uid.unwrap_or(node.uid) == 0 {
        let message = "runAsNonRoot needs a runAsUser other than 0: processes run as root, as purserd does";
        refuse(format!("{path}.securityContext.runAsNonRoot"), message.into());
    }
    if node.is_root() {
        return;
    }
    for (field, asked, held) in [("runAsUser", user.uid, node.uid), ("runAsGroup", user.gid, node.gid)] {
        if asked.is_some_and(|asked| asked != held) {
            let message = format!("only root may run processes as somebody else; purserd runs as {held}");
            refuse(format!("{path}.securityContext.{field}"), message);
        }
    }
}
