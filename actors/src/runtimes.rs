//! Watching the runtimes: whether they answer, what they notice, and whether they hold anything that no pod knows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::Addr;
use purser_events::node::event::{OrphanRemoved, RuntimeFound, RuntimeLost};
use purser_events::node::{Node, NodeCommand};
use purser_events::pod::spec::RuntimeClass;
use purser_events::pod::{ContainerState, PodCommand};
use purser_events::{Cause, World};

use crate::directory::{Directory, FindUid};
use crate::entity::{By, Execute, Refusal};
use crate::node::NodeActor;
use crate::pod::report;
use crate::port::{ContainerKey, Containers, Notice};
use crate::shell::Shell;

/// Time between two looks for orphans.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Begins to watch every runtime, for as long as the actors' thread lives.
pub(crate) fn watch(shell: &Arc<Shell>, directory: &Addr<Directory>, node: &Addr<NodeActor>, by: By) {
    for (class, runtime) in &shell.runtimes {
        let watcher = Watcher {
            class: *class,
            runtime: runtime.clone(),
            shell: shell.clone(),
            directory: directory.clone(),
            node: node.clone(),
            by: by.clone(),
            untold: Mutex::new(None),
        };
        let watcher = Arc::new(watcher);
        actix::spawn(watcher.clone().greet_and_listen());
        actix::spawn(watcher.sweep_for_ever());
    }
}

struct Watcher {
    class: RuntimeClass,
    runtime: Arc<dyn Containers>,
    shell: Arc<Shell>,
    directory: Addr<Directory>,
    node: Addr<NodeActor>,
    by: By,
    /// What was seen last of the runtime, if the journal had no room for it.
    untold: Mutex<Option<NodeCommand>>,
}

impl Watcher {
    async fn greet_and_listen(self: Arc<Watcher>) {
        let notices = self.runtime.notices();
        match self.runtime.version().await {
            Ok(version) => self.found(version).await,
            Err(error) => self.lost(error.message).await,
        }
        let Some(mut notices) = notices else { return };
        while let Some(notice) = notices.recv().await {
            match notice {
                Notice::OutOfMemory(key) => self.out_of_memory(key).await,
                Notice::Lost { message } => self.lost(message).await,
                Notice::Found { version } => {
                    self.found(version).await;
                    self.sweep().await;
                }
            }
        }
    }

    async fn out_of_memory(&self, key: ContainerKey) {
        let Ok(Some(pod)) = self.directory.send(FindUid { uid: key.pod }).await else { return };
        let correlation = self.shell.live.head(key.pod.stream());
        let Some(head) = correlation else { return };
        let by = By::node(Cause::Observation(head.seq), head.correlation);
        let ContainerKey { container, attempt, .. } = key;
        report(&pod, PodCommand::ReportOutOfMemory { container, attempt }, by).await;
    }

    async fn found(&self, version: String) {
        tracing::info!(runtime = self.class.word(), %version, "runtime answers");
        self.tell_last(NodeCommand::ReportRuntimeFound(RuntimeFound { runtime: self.class, version })).await;
    }

    async fn lost(&self, message: String) {
        tracing::warn!(runtime = self.class.word(), %message, "runtime does not answer");
        self.tell_last(NodeCommand::ReportRuntimeLost(RuntimeLost { runtime: self.class, message })).await;
    }

    /// Tells how the runtime stands; if there is no room for it now, it is told again unless something newer is.
    async fn tell_last(&self, command: NodeCommand) {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).take();
        if self.tell(command.clone()).await {
            self.untold.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(command);
        }
    }

    /// Tells the node; says whether to tell it again later.
    async fn tell(&self, command: NodeCommand) -> bool {
        let by = self.by.clone();
        match self.node.send(Execute::<Node> { command, by }).await {
            Ok(Ok(_)) => false,
            Ok(Err(refusal @ (Refusal::Busy { .. } | Refusal::NoRoom))) => {
                tracing::warn!(runtime = self.class.word(), %refusal, "what a runtime did is not recorded");
                true
            }
            Ok(Err(_)) | Err(_) => {
                tracing::error!(runtime = self.class.word(), "failed to record what a runtime did");
                false
            }
        }
    }

    async fn sweep_for_ever(self: Arc<Watcher>) {
        loop {
            self.sweep().await;
            let untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(command) = untold {
                self.tell_last(command).await;
            }
            let clock = &self.shell.clock;
            clock.sleep(SWEEP_INTERVAL).await;
        }
    }

    /// Removes what the runtime holds for this node and no pod knows: left by a crash between an effect and its
    /// record, or brought back with an older data folder.
    async fn sweep(&self) {
        // A runtime that does not answer has told so already, and the next round comes.
        let Ok(keys) = self.runtime.list().await else { return };
        for key in keys {
            // Asked after the list was made: an intent is on record before its container is created.
            if self.shell.live.read(|world| is_known(world, &key)) {
                continue;
            }
            match self.runtime.remove(&key).await {
                Ok(()) => {
                    tracing::warn!(runtime = self.class.word(), %key, "removed an orphan");
                    let orphan = OrphanRemoved { runtime: self.class, id: key.to_string() };
                    self.tell(NodeCommand::ReportOrphan(orphan)).await;
                }
                Err(error) => tracing::warn!(%key, %error, "failed to remove an orphan"),
            }
        }
    }
}

/// Whether the journal has this try of a container as something that exists or is about to be removed.
fn is_known(world: &World, key: &ContainerKey) -> bool {
    // Nothing is certain about a pod whose records cannot be followed, or are withheld: its containers are left alone.
    if world.quarantined.contains_key(&key.pod.stream()) || world.withheld.contains(&key.pod) {
        return true;
    }
    let pod = world.pods.get(&key.pod).and_then(|pod| pod.live());
    let Some(container) = pod.and_then(|pod| pod.container(&key.container)) else { return false };
    let present = match &container.state {
        ContainerState::Creating { attempt, .. } => Some(*attempt),
        ContainerState::Running { attempt, .. } | ContainerState::Stopping { attempt, .. } => {
            Some(attempt.number)
        }
        ContainerState::Waiting
        | ContainerState::CreateFailed { .. }
        | ContainerState::BackOff { .. }
        | ContainerState::Exited { .. } => None,
    };
    present == Some(key.attempt) || container.garbage.contains(&key.attempt)
}
