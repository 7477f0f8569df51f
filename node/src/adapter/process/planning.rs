//! From what a pod asks for to what a shim is told.

use std::fs;
use std::path::PathBuf;

use nix::unistd::{Uid, User};
use purser_actors::paths::PodPaths;
use purser_actors::port::{ContainerKey, ContainerPlan, RuntimeError};
use purser_events::pod::event::FailureClass;

use super::cgroup::{self, Cgroups, Limits};
use super::records::{BindMount, Plan, PlannedUser};
use super::settings::{NodeUser, Settings};
use crate::adapter::{affinity, logs, mps, volumes};

/// Makes the volumes, the control groups and the log's folder of a container, and says what its shim is to do.
///
/// # Errors
/// Names what the node may not do or cannot make.
pub(super) fn plan(
    paths: &PodPaths,
    settings: &Settings,
    cgroups: &Cgroups,
    node: NodeUser,
    asked: &ContainerPlan,
) -> Result<Plan, RuntimeError> {
    let invalid = |message: String| RuntimeError::new(FailureClass::Invalid, message);
    let user = user(asked, node).map_err(invalid)?;
    let mounts = mounts(paths, settings, node, asked)?;
    let argv: Vec<String> = asked.command.iter().chain(&asked.args).cloned().collect();
    if argv.is_empty() {
        return Err(invalid("there is no command to run".into()));
    }
    make_log_folder(paths, asked).map_err(|error| {
        RuntimeError::new(FailureClass::Runtime, format!("failed to make the folder for logs: {error}"))
    })?;
    asked.cpus.as_ref().map_or(Ok(()), affinity::refuse_none)?;
    let mut env = asked.env.clone();
    if let (Some(mps), Some(slice)) = (&settings.mps, asked.gpu_slice) {
        mps::set(&mut env, mps.variables(slice)?);
    }
    let groups = make_groups(settings, cgroups, asked).map_err(invalid)?;
    Ok(Plan {
        argv,
        env,
        working_dir: PathBuf::from(asked.spec.working_dir.as_deref().unwrap_or("/")),
        log: paths.log(&asked.key),
        mounts,
        user,
        cgroups: groups,
        cpus: asked.cpus.clone(),
    })
}

fn user(asked: &ContainerPlan, node: NodeUser) -> Result<PlannedUser, String> {
    let wanted = &asked.spec.user;
    if wanted.non_root && wanted.uid.unwrap_or(node.uid) == 0 {
        return Err("runAsNonRoot is set and the container would run as root: set runAsUser".into());
    }
    if !node.is_root() {
        let other =
            wanted.uid.is_some_and(|uid| uid != node.uid) || wanted.gid.is_some_and(|gid| gid != node.gid);
        if other {
            return Err(format!(
                "only root may run processes as somebody else, and purserd runs as {}:{}",
                node.uid, node.gid
            ));
        }
        let no_new_privileges = wanted.no_new_privileges;
        return Ok(PlannedUser { no_new_privileges, ..PlannedUser::default() });
    }
    let group = asked.pod.fs_group;
    // Whoever stops being root must not stay in root's groups.
    let changes = wanted.uid.is_some() || wanted.gid.is_some() || group.is_some();
    Ok(PlannedUser {
        uid: wanted.uid,
        gid: wanted.gid.or(wanted.uid.map(primary_group)),
        groups: changes.then(|| group.into_iter().collect()),
        no_new_privileges: wanted.no_new_privileges,
    })
}

/// The group that the host gives the user; one of the same number where the host does not know the user.
fn primary_group(uid: u32) -> u32 {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or(uid, |user| user.gid.as_raw())
}

fn mounts(
    paths: &PodPaths,
    settings: &Settings,
    node: NodeUser,
    asked: &ContainerPlan,
) -> Result<Vec<BindMount>, RuntimeError> {
    let failed = |message: String| RuntimeError::new(FailureClass::Volume, message);
    let sources = volumes::prepare(paths, asked.key.pod, &asked.pod, &settings.host_path_roots)?;
    if !asked.spec.mounts.is_empty() && !node.is_root() {
        return Err(failed("only root may mount volumes for processes: run purserd as root".into()));
    }
    let mut mounts = Vec::new();
    for mount in &asked.spec.mounts {
        let source = sources.get(&mount.volume);
        let source = source.ok_or_else(|| failed(format!("the pod has no volume `{}`", mount.volume)))?;
        let (source, target) = (source.clone(), PathBuf::from(&mount.path));
        mounts.push(BindMount { source, target, read_only: mount.read_only });
    }
    // One that lies within another comes after it, or it would be hidden.
    mounts.sort_by_key(|mount| mount.target.components().count());
    Ok(mounts)
}

fn make_log_folder(paths: &PodPaths, asked: &ContainerPlan) -> std::io::Result<()> {
    volumes::private_folder(&paths.logs(asked.key.pod, &asked.key.container))?;
    logs::forget_old_attempts(paths, &asked.key)?;
    // A try of the same attempt that failed half-way may have left something.
    match fs::remove_file(paths.log(&asked.key)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn make_groups(
    settings: &Settings,
    cgroups: &Cgroups,
    asked: &ContainerPlan,
) -> Result<Vec<PathBuf>, String> {
    let resources = &asked.spec.resources;
    let limits = Limits {
        cpu: resources.cpu_limit,
        cpu_weight: resources.cpu_request.or(resources.cpu_limit),
        memory: resources.memory_limit,
        pids_max: settings.pids_max,
        cpus: asked.cpus.clone(),
    };
    let (pod, container) = group_names(&asked.key);
    let made = cgroups.make(&pod, &container, &limits).inspect_err(|_| {
        // Some were made before one failed: nobody knows of them yet, and the pod's would not go before them.
        let _ = cgroup::remove(&cgroups.folders(&pod, &container));
    });
    match made {
        // Where limits can be had, a container that does not get its own is not started.
        Err(message) if settings.unlimited_ok && !cgroups.hold_limits() => {
            tracing::warn!(container = %asked.key, message, "the container runs without its limits");
            Ok(Vec::new())
        }
        made => made,
    }
}

/// What the control groups of a pod and of one try of a container are called.
pub(super) fn group_names(key: &ContainerKey) -> (String, String) {
    (key.pod.to_string(), format!("{}-{}", key.container, key.attempt))
}
