//! Emptying GPUs of pods: who has something of a GPU that is drained is stopped, until nobody has. What is left to do
//! follows from the journal at every look, so that a start goes on with it.

use std::sync::Arc;

use actix::Addr;
use purser_events::gpu::event::DrainOutcome;
use purser_events::gpu::{Gpu, GpuCommand};
use purser_events::ledger::{GpuUuid, HolderId};
use purser_events::pod::event::StopWhy;
use purser_events::pod::{Phase, Pod, PodCommand, PodState};
use purser_events::{Cause, PodUid, World};

use super::GpuActors;
use crate::directory::{Directory, FindUid};
use crate::entity::{By, Execute};
use crate::pod::report;
use crate::shell::Shell;

/// A GPU that is drained.
struct Drained {
    gpu: GpuUuid,
    grace_s: Option<u32>,
    /// The pods that have something of it, and what is asked of each.
    holders: Vec<(PodUid, Ask)>,
}

/// What is asked of a pod that is to leave a GPU. One that ends already ends sooner if it was given more time than here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Stop,
    /// It is being deleted.
    Delete,
    Nothing,
}

/// Looks once at every GPU that is drained, and stops who has something of it.
pub(super) async fn go_on(shell: &Arc<Shell>, actors: &GpuActors, directory: &Addr<Directory>) {
    for Drained { gpu, grace_s, holders } in shell.live.read(drained) {
        let head = shell.live.head(gpu.stream());
        let cause = head.map_or(Cause::Node, |head| Cause::Record(head.seq));
        let by = || By::node(cause, shell.ids.uuid());
        for (pod, ask) in &holders {
            let command = match ask {
                Ask::Stop => PodCommand::Stop { grace_s, why: StopWhy::Asked },
                Ask::Delete => PodCommand::Delete { grace_s },
                Ask::Nothing => continue,
            };
            // One whose runtime is missing has no actor: the drain waits for it.
            let Ok(Some(actor)) = directory.send(FindUid { uid: *pod }).await else { continue };
            report(&actor, command, by()).await;
        }
        if let (true, Some(actor)) = (holders.is_empty(), actors.find(&gpu)) {
            let command = GpuCommand::EndDrain { outcome: DrainOutcome::Drained };
            // What cannot be recorded now is found again at the next look.
            if let Ok(Err(refusal)) = actor.send(Execute::<Gpu> { command, by: by() }).await {
                tracing::debug!(%gpu, %refusal, "failed to record that a GPU has no pods any more");
            }
        }
    }
}

fn drained(world: &World) -> Vec<Drained> {
    let drains = world.gpus.iter().filter_map(|(gpu, state)| Some((gpu, state.known()?.drain.as_ref()?)));
    let of = |(gpu, drain): (&GpuUuid, &purser_events::gpu::Drain)| Drained {
        gpu: gpu.clone(),
        grace_s: drain.grace_s,
        holders: world.holders_of(gpu).filter_map(|holder| pod(world, holder, drain.grace_s)).collect(),
    };
    drains.map(of).collect()
}

fn pod(world: &World, holder: HolderId, grace_s: Option<u32>) -> Option<(PodUid, Ask)> {
    match holder {
        HolderId::Pod(pod) => {
            let state = world.pod(pod).and_then(Pod::live);
            let ask = |state: &PodState| match state.phase {
                Phase::Stopping { .. } => Ask::Stop,
                // Who deletes it has said how long it has: a drain without a grace of its own has nothing to add.
                Phase::Terminating { cleaning: false, .. } if grace_s.is_some() => Ask::Delete,
                _ if state.is_wanted() => Ask::Stop,
                _ => Ask::Nothing,
            };
            Some((pod, state.map_or(Ask::Nothing, ask)))
        }
        // It is kept for pods that may come, and holds up no work on the GPU.
        HolderId::Reservation(_) => None,
    }
}
