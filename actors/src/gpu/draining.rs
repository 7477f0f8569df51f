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
    /// The pods that have something of it, and whether each can be stopped: one that stops already ends sooner if it was
    /// given more time than it has here.
    holders: Vec<(PodUid, bool)>,
}

/// Looks once at every GPU that is drained, and stops who has something of it.
pub(super) async fn go_on(shell: &Arc<Shell>, actors: &GpuActors, directory: &Addr<Directory>) {
    for Drained { gpu, grace_s, holders } in shell.live.read(drained) {
        let head = shell.live.head(gpu.stream());
        let cause = head.map_or(Cause::Node, |head| Cause::Record(head.seq));
        let by = || By::node(cause, shell.ids.uuid());
        for (pod, _) in holders.iter().filter(|(_, is_to_stop)| *is_to_stop) {
            // One whose runtime is missing has no actor: the drain waits for it.
            let Ok(Some(actor)) = directory.send(FindUid { uid: *pod }).await else { continue };
            report(&actor, PodCommand::Stop { grace_s, why: StopWhy::Asked }, by()).await;
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
        holders: world.holders_of(gpu).filter_map(|holder| pod(world, holder)).collect(),
    };
    drains.map(of).collect()
}

fn pod(world: &World, holder: HolderId) -> Option<(PodUid, bool)> {
    match holder {
        HolderId::Pod(pod) => {
            let state = world.pod(pod).and_then(Pod::live);
            let stops = |state: &PodState| state.is_wanted() || matches!(state.phase, Phase::Stopping { .. });
            Some((pod, state.is_some_and(stops)))
        }
        // It is kept for pods that may come, and holds up no work on the GPU.
        HolderId::Reservation(_) => None,
    }
}
