//! Keeping containers on the processors that the ledger gave them: on their own, or on those that nobody has alone.
//!
//! Who shares is moved whenever somebody gets processors alone or gives them back. It is looked at again from time to
//! time: a container may have been started while that happened, and a runtime may not have answered.

use std::sync::Arc;
use std::time::Duration;

use purser_events::ledger::Ledger;
use purser_events::pod::spec::RuntimeClass;
use purser_events::{CpuSet, PodUid, World};
use tokio::sync::Notify;

use crate::port::ContainerKey;
use crate::shell::Shell;

/// Time between two rounds in which nobody is known to be in the wrong place: never for long at the same moment as a look
/// for drift, which would see only what was just put right.
const INTERVAL: Duration = Duration::from_secs(330);
/// Time until what could not be moved is tried again.
const RETRY: Duration = Duration::from_secs(35);

/// The processors that a pod's containers may run on; none if that is all of them.
pub(crate) fn cpus(ledger: &Ledger, pod: PodUid) -> Option<CpuSet> {
    let own = ledger.grant(pod).and_then(|grant| grant.cpus.clone());
    let nobody_alone = ledger.managers.cpu.alone().next().is_none();
    own.or_else(|| (!nobody_alone).then(|| ledger.managers.cpu.shared()))
}

/// Begins to move containers, for as long as the actors' thread lives: whenever it is told to, and from time to time.
pub(super) fn begin(shell: &Arc<Shell>) -> Arc<Notify> {
    let told = Arc::new(Notify::new());
    let (shell, wait) = (shell.clone(), told.clone());
    actix::spawn(async move {
        // What an earlier process of the node did is not known: at first everything is put where it belongs.
        let mut may_differ = true;
        loop {
            let is_anybody_alone =
                || shell.live.read(|world| world.ledger.managers.cpu.alone().next().is_some());
            if may_differ || is_anybody_alone() {
                may_differ = !move_all(&shell).await;
            }
            tokio::select! {
                () = wait.notified() => may_differ = true,
                () = shell.clock.sleep(if may_differ { RETRY } else { INTERVAL }) => {}
            }
        }
    });
    told
}

/// Puts every container where it belongs; says whether all could be.
async fn move_all(shell: &Shell) -> bool {
    let mut done = true;
    for (class, key, cpus) in shell.live.read(running) {
        let Some(runtime) = shell.runtime(class) else { continue };
        if let Err(error) = runtime.set_cpus(&key, &cpus).await {
            tracing::warn!(container = %key, %cpus, %error, "failed to move a container to its processors");
            done = false;
        }
    }
    done
}

/// As [`running`], if anybody has processors alone: else everybody may run anywhere.
pub(super) fn wanted(world: &World) -> Vec<(RuntimeClass, ContainerKey, CpuSet)> {
    let nobody_alone = world.ledger.managers.cpu.alone().next().is_none();
    if nobody_alone { vec![] } else { running(world) }
}

/// Every container that runs, with the processors that it belongs on.
fn running(world: &World) -> Vec<(RuntimeClass, ContainerKey, CpuSet)> {
    let ledger = &world.ledger;
    let shared = ledger.managers.cpu.shared();
    let pods = world.pods.iter().filter_map(|(uid, pod)| Some((*uid, pod.live()?)));
    let containers = pods.flat_map(|(uid, pod)| {
        let cpus = cpus(ledger, uid).unwrap_or_else(|| shared.clone());
        ContainerKey::running(pod).map(move |key| (pod.spec.runtime, key, cpus.clone()))
    });
    containers.filter(|(_, _, cpus)| !cpus.is_empty()).collect()
}
