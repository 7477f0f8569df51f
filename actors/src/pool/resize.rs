//! Pods of members that get the sizes of their pool's template while they run.

use std::sync::Arc;

use actix::Addr;
use purser_events::pod::resize::Progress;
use purser_events::pod::{ContainerSize, Pod, PodRejection, PodSpec, PodState, SizeChange};
use purser_events::pool::{PoolCommand, PoolName};
use purser_events::{PodUid, World};

use crate::directory::{Directory, FindUid};
use crate::entity::{By, Refusal};
use crate::pod::ResizePod;
use crate::shell::Shell;

/// A member whose pod is to have other sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) member: u64,
    pub(super) revision: u64,
    pub(super) pod: PodUid,
}

/// How a pod stands to a template.
enum Standing {
    /// It has the sizes of the template.
    Same,
    /// It is being resized, or gone: another round will tell.
    UnderWay,
    /// It was tried with these, and was refused.
    Failed(String),
    /// It is to have these.
    Differs(Vec<ContainerSize>),
}

impl Standing {
    fn of(pod: &PodState, template: &PodSpec) -> Standing {
        let has = |size: &ContainerSize| pod.spec.container(&size.container).map(ContainerSize::of);
        let wanted = template.all_containers().map(|(_, container)| ContainerSize::of(container));
        let differs: Vec<ContainerSize> = wanted.filter(|size| has(size).as_ref() != Some(size)).collect();
        match &pod.resize {
            _ if pod.open_resize().is_some() => Standing::UnderWay,
            _ if differs.is_empty() => Standing::Same,
            Some(last) if differs.iter().all(|size| last.to.contains(size)) => match &last.progress {
                Progress::Failed { container, message } => {
                    Standing::Failed(format!("container `{container}`: {message}"))
                }
                Progress::Requested | Progress::Done => Standing::Differs(differs),
            },
            Some(_) | None => Standing::Differs(differs),
        }
    }
}

/// Has a member's pod resized, and says what came of it; none if another round will tell.
pub(super) async fn resize(
    shell: &Arc<Shell>,
    directory: &Addr<Directory>,
    pool: &PoolName,
    wanted: Wanted,
    by: By,
) -> Option<PoolCommand> {
    let Wanted { member, revision, pod } = wanted;
    let failed = |reason: String| Some(PoolCommand::ReportResizeFailed { member, revision, reason });
    let sizes = match shell.live.read(|world| standing(world, pool, pod))? {
        Standing::Same => return Some(PoolCommand::ReportResized { member, revision }),
        Standing::UnderWay => return None,
        Standing::Failed(reason) => return failed(reason),
        Standing::Differs(sizes) => sizes,
    };
    let changes = sizes.into_iter().map(SizeChange::from).collect();
    let actor = directory.send(FindUid { uid: pod }).await.ok()??;
    match actor.send(ResizePod { changes, tier: None, by }).await.ok()? {
        // Another resize of it goes on.
        Err(Refusal::Rejected(PodRejection::ResizeInProgress { .. })) => None,
        Err(Refusal::Rejected(rejection)) => failed(rejection.to_string()),
        Ok(_) | Err(_) => None,
    }
}

fn standing(world: &World, pool: &PoolName, pod: PodUid) -> Option<Standing> {
    let spec = world.pools.get(pool)?.spec.clone()?;
    Some(Standing::of(world.pod(pod).and_then(Pod::live)?, &spec.template))
}
