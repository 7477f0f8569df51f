//! A member's pod: how it is made of the pool's template, how it comes to be, and how it goes.

use std::sync::Arc;

use actix::Addr;
use purser_events::ledger::{Bound, LedgerRejection, Shortage};
use purser_events::pod::spec::{EnvVar, HostPathKind, RuntimeClass, Volume, VolumeMount, VolumeSource};
use purser_events::pod::{Pod, PodCommand, PodRejection, PodSpec};
use purser_events::pool::{PoolCommand, PoolName};
use purser_events::{ContainerName, PodId, PodUid, World};

use crate::directory::{Apply, Directory, FindUid};
use crate::entity::{By, Refusal};
use crate::pod::report;
use crate::port::MemberId;
use crate::reserve;
use crate::shell::Shell;

/// Says whose a pod is.
pub(crate) const POOL_LABEL: &str = "purser.dev/pool";
/// Says which member of its pool a pod is.
pub(crate) const MEMBER_LABEL: &str = "purser.dev/pool-member";
/// Tells an agent where its folder is.
const FOLDER_VARIABLE: &str = "PURSER_AGENT_DIR";
/// Where an agent's folder is within a container.
const FOLDER_IN_POD: &str = "/run/purser-agent";
/// The volume behind it.
const VOLUME: &str = "purser-agent";
/// Longest reason that is recorded, in bytes.
const REASON_LEN_MAX: usize = 1_024;

/// The user that an agent runs as, if the template says so.
fn user(template: &PodSpec) -> Option<u32> {
    template.containers.iter().find_map(|container| container.user.uid)
}

/// The pod of a member whose agent finds its folder at `folder` on the host.
fn spec_of(template: &PodSpec, id: PodId, member: &MemberId, folder: &str) -> PodSpec {
    let mut spec = template.clone();
    spec.id = id;
    spec.labels.insert(POOL_LABEL.to_owned(), member.pool.to_string());
    spec.labels.insert(MEMBER_LABEL.to_owned(), member.member.to_string());
    // A process of the service's own user sees the host's files; everybody else gets the folder, and nothing around it.
    let is_mounted = spec.runtime != RuntimeClass::Process || user(template).is_some();
    let place = if is_mounted { FOLDER_IN_POD } else { folder };
    let volume = ContainerName::new(VOLUME).expect("a label");
    if is_mounted {
        let source = VolumeSource::HostPath { path: folder.to_owned(), kind: HostPathKind::Directory };
        spec.volumes.push(Volume { name: volume.clone(), source });
    }
    for container in &mut spec.containers {
        container.env.retain(|var| var.name != FOLDER_VARIABLE);
        container.env.push(EnvVar { name: FOLDER_VARIABLE.to_owned(), value: place.to_owned() });
        if is_mounted {
            container.mounts.push(VolumeMount {
                volume: volume.clone(),
                path: FOLDER_IN_POD.to_owned(),
                read_only: false,
            });
        }
    }
    spec
}

/// The pod of a member, if there is one: by what is on its labels, since its name may be anybody's. It is looked for in
/// every namespace: the pool may have been given another since the pod was asked for.
pub(super) fn pod_of(world: &World, member: &MemberId) -> Option<PodUid> {
    let (name, number) = (member.pod_name(), member.member.to_string());
    let named = world.registry.entries.iter().filter(|(id, _)| id.name() == name);
    named.map(|(_, entry)| entry.uid).find(|uid| {
        world.pod(*uid).and_then(Pod::live).is_some_and(|pod| {
            let is = |label: &str, value: &str| pod.spec.labels.get(label).is_some_and(|is| is == value);
            is(POOL_LABEL, member.pool.as_str()) && is(MEMBER_LABEL, &number)
        })
    })
}

/// Whether a pod is that of a member, as its pool has that on record: what it says of itself could be anybody's word.
pub(crate) fn is_of_pool(world: &World, uid: PodUid, spec: &PodSpec) -> bool {
    let known = || {
        let pool = PoolName::new(spec.labels.get(POOL_LABEL)?).ok()?;
        let number = spec.labels.get(MEMBER_LABEL)?.parse().ok()?;
        let member = world.pools.get(&pool)?.members.get(&number)?;
        let name = MemberId { pool, member: number }.pod_name();
        // A member knows its pod only after that was admitted.
        Some(member.pod.map_or(spec.id.name() == name, |pod| pod == uid))
    };
    known().unwrap_or(false)
}

/// Whether a refusal says that the node takes no more now, and nothing about the pod itself.
fn is_shortage(rejection: &PodRejection) -> bool {
    match rejection {
        PodRejection::Cordoned { .. }
        | PodRejection::Resources {
            error: LedgerRejection::QueueFull { .. } | LedgerRejection::Cordoned { .. },
        } => true,
        // What can never be had is as wrong as an image that there is not.
        PodRejection::Resources { error: LedgerRejection::Insufficient { shortages, .. } } => {
            let may_come =
                |shortage: &Shortage| !matches!(shortage.bound, Bound::Node { .. } | Bound::PodMax { .. });
            shortages.iter().all(may_come)
        }
        _ => false,
    }
}

/// Has a member's pod admitted, unless it is already, and says what came of it; none if it is to be tried again.
pub(super) async fn admit(
    shell: &Arc<Shell>,
    directory: &Addr<Directory>,
    pool: &PoolName,
    member: u64,
    by: By,
) -> Option<PoolCommand> {
    let id = MemberId { pool: pool.clone(), member };
    let found = shell.live.read(|world| {
        let spec = world.pools.get(pool)?.spec.clone()?;
        Some((pod_of(world, &id), spec, world.node_uid?))
    });
    let (pod, spec, node) = found?;
    if let Some(pod) = pod {
        return Some(PoolCommand::ReportAdmitted { member, pod });
    }
    let failed =
        |reason: String| Some(PoolCommand::ReportRequestFailed { member, reason: shortened(reason) });
    if let Some(used) = shell.live.read(reserve::full) {
        let reason = format!("the disk of the node's journal is nearly full ({used} % are used)");
        return Some(PoolCommand::ReportNoRoom { member, reason });
    }
    let name = match PodId::new(spec.namespace.as_str(), id.pod_name()) {
        Ok(name) => name,
        Err(error) => return failed(format!("the pod cannot have its name: {error}")),
    };
    let folder = match shell.pools.prepare(node, &id, user(&spec.template)).await {
        Ok(folder) => folder,
        Err(error) => return failed(format!("failed to make the agent's folder: {error}")),
    };
    let Some(folder) = folder.to_str() else {
        return failed("the path of the agent's folder is not UTF-8: choose another `data-dir`".to_owned());
    };
    let spec = spec_of(&spec.template, name.clone(), &id, folder);
    match directory.send(Apply { spec, by }).await {
        Ok(Ok(done)) => {
            let is_ours = shell.live.read(|world| pod_of(world, &id)).is_some();
            // Where a pod of that very name and form was there before, it is another's.
            if done.changed || is_ours {
                return Some(PoolCommand::ReportAdmitted { member, pod: PodUid(done.stream.id) });
            }
            failed(format!("there is another pod {name}"))
        }
        Ok(Err(Refusal::Rejected(rejection))) if is_shortage(&rejection) => {
            Some(PoolCommand::ReportNoRoom { member, reason: shortened(rejection.to_string()) })
        }
        Ok(Err(Refusal::Rejected(rejection))) => failed(rejection.to_string()),
        Ok(Err(refusal @ Refusal::NoRoom)) => {
            Some(PoolCommand::ReportNoRoom { member, reason: shortened(refusal.to_string()) })
        }
        Ok(Err(Refusal::TooLarge { len, max })) => {
            failed(format!("the pod has {len} bytes on record; at most {max} fit"))
        }
        Ok(Err(refusal)) => {
            tracing::debug!(pod = %name, %refusal, "a pool's pod is asked for again");
            None
        }
        Err(_) => None,
    }
}

fn shortened(mut reason: String) -> String {
    let end = (0..=REASON_LEN_MAX).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    reason.truncate(end);
    reason
}

/// Has a pod removed. Asked again it does nothing more.
pub(super) async fn remove(directory: &Addr<Directory>, pod: PodUid, by: By) {
    if let Ok(Some(actor)) = directory.send(FindUid { uid: pod }).await {
        // Whether it goes is seen in the world.
        report(&actor, PodCommand::Delete { grace_s: None }, by).await;
    }
}
