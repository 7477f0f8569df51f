//! The node's check of itself: do the invariants hold, and is what the actors have what the journal says?

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use purser_events::invariant::{Inconsistency, Invariant};

use crate::directory::{Directory, Everyone};
use crate::pod::{Inspect, Inspected, PodActor};
use crate::shell::Shell;

/// Time between two checks.
const INTERVAL: Duration = Duration::from_secs(60);

/// Begins to check, for as long as the actors' thread lives.
pub(crate) fn begin(shell: &Arc<Shell>, directory: &Addr<Directory>) {
    let (shell, directory) = (shell.clone(), directory.clone());
    actix::spawn(async move {
        loop {
            let pods = directory.send(Everyone).await.unwrap_or_default();
            let differing = differing(&shell, pods).await;
            shell.live.check(differing);
            shell.clock.sleep(INTERVAL).await;
        }
    });
}

/// Pods that their actors have otherwise than the journal, at the same version.
async fn differing(shell: &Shell, pods: Vec<Addr<PodActor>>) -> Vec<Inconsistency> {
    let mut found = vec![];
    for actor in pods {
        // An actor that is gone has nothing to compare.
        let Ok(Inspected { uid, version, pod }) = actor.send(Inspect).await else { continue };
        let recorded = shell.live.read(|world| world.pods.get(&uid).cloned());
        let same_version = shell.live.head(uid.stream()).is_some_and(|head| head.version == version);
        if same_version && recorded.is_some_and(|recorded| recorded != pod) {
            let detail = format!("{uid} at version {version} is not as its actor has it");
            found.push(Inconsistency { invariant: Invariant::ActorsAgree, detail });
        }
    }
    found
}
