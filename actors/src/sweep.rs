//! Looking for what is left on disk of pods that the journal does not know: a setup that was given up may have made a
//! folder after its pod was cleaned up, and a crash may have come between the two.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use purser_events::{PodUid, World};

use crate::port::RuntimeError;
use crate::shell::Shell;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(60);

/// Begins to look, for as long as the actors' thread lives: first at once.
pub(crate) fn begin(shell: &Arc<Shell>) {
    let shell = shell.clone();
    actix::spawn(async move {
        loop {
            // Removing the files of a container that may still run is worse than leaving some behind: a runtime that
            // cannot be asked has told so already, and the next round comes.
            if let Err(error) = sweep(&shell).await {
                tracing::debug!(%error, "folders of unknown pods are looked for later");
            }
            shell.clock.sleep(INTERVAL).await;
        }
    });
}

async fn sweep(shell: &Shell) -> Result<(), RuntimeError> {
    let (mut left, mut in_use) = (BTreeSet::new(), BTreeSet::new());
    for runtime in shell.runtimes.values() {
        left.extend(runtime.pods().await?);
        in_use.extend(runtime.list().await?.into_iter().map(|key| key.pod));
    }
    for uid in left {
        // Asked after the list was made: a pod is on record before its folder is made.
        if in_use.contains(&uid) || shell.live.read(|world| is_known(world, uid)) {
            continue;
        }
        match remove(shell, uid).await {
            Ok(()) => {
                tracing::warn!(pod = %uid, "removed the folder of a pod that the journal does not know");
            }
            Err(error) => tracing::warn!(pod = %uid, %error, "failed to remove the folder of an unknown pod"),
        }
    }
    Ok(())
}

/// Removes what there is of a pod. Which runtime it had is not known: each removes what is its own.
async fn remove(shell: &Shell, uid: PodUid) -> Result<(), RuntimeError> {
    for runtime in shell.runtimes.values() {
        runtime.clean_up(uid).await?;
    }
    Ok(())
}

/// Whether the journal has the pod as one that is not gone. Nothing is certain about a pod whose records cannot be
/// followed, or are withheld: its files are left alone.
pub(crate) fn is_known(world: &World, uid: PodUid) -> bool {
    world.pods.contains_key(&uid)
        || world.quarantined.contains_key(&uid.stream())
        || world.withheld.contains(&uid)
}
