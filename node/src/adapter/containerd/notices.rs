//! What containerd reports by itself: containers out of memory, and whether it answers at all.

use std::time::Duration;

use containerd_client::events::TaskOom;
use containerd_client::services::v1::SubscribeRequest;
use prost::Message;
use prost_types::Any;
use purser_actors::port::{ContainerKey, Notice};
use tokio::sync::mpsc;
use tonic::Status;

use super::connection::{CALL_LIMIT, within};
use super::exec::end_left;
use super::lifecycle::BackOff;
use super::{ContainerdRuntime, naming};

/// Notices that may wait to be taken.
pub(super) const NOTICES_LEN_MAX: usize = 256;
/// Looks at the kernel's count after containerd spoke of a container, and the time between two of them: it tells of
/// the want of memory, and the kill for it comes a moment later, or not at all.
const KILL_LOOKS: u32 = 200;
const KILL_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Reports until nobody listens any more.
pub(super) async fn report(runtime: ContainerdRuntime, notices: mpsc::Sender<Notice>) {
    let mut back_off = BackOff::new();
    let mut answers = None;
    while !notices.is_closed() {
        let status = match runtime.ask_version().await {
            Ok(version) => {
                back_off = BackOff::new();
                if answers != Some(true) && notices.send(Notice::Found { version }).await.is_err() {
                    return;
                }
                answers = Some(true);
                end_left(&runtime).await;
                catch_up(&runtime, &notices).await;
                tokio::select! {
                    status = listen(&runtime, &notices) => status,
                    () = notices.closed() => return,
                }
            }
            Err(status) => status,
        };
        if answers != Some(false) {
            let message = format!("containerd does not answer: {}", status.message());
            if notices.send(Notice::Lost { message }).await.is_err() {
                return;
            }
            answers = Some(false);
        }
        back_off.pause().await;
    }
}

/// Passes events on until the stream breaks.
async fn listen(runtime: &ContainerdRuntime, notices: &mpsc::Sender<Notice>) -> Status {
    let filter = format!("namespace=={},topic==\"/tasks/oom\"", runtime.config.namespace);
    let request = runtime.line.request(SubscribeRequest { filters: vec![filter] });
    // No limit: containerd answers a subscription with its first event.
    let mut stream = match runtime.line.events().subscribe(request).await {
        Ok(reply) => reply.into_inner(),
        Err(status) => return status,
    };
    loop {
        match stream.message().await {
            Ok(Some(envelope)) => {
                let Some(event) = envelope.event else { continue };
                if let Some(key) = read(runtime, &event).await {
                    tokio::spawn(look_for_kill(runtime.clone(), key, notices.clone()));
                }
            }
            Ok(None) => return Status::unavailable("the event stream ended"),
            Err(status) => return status,
        }
    }
}

/// Tells of what the kernel has killed while nobody listened.
async fn catch_up(runtime: &ContainerdRuntime, notices: &mpsc::Sender<Notice>) {
    // A containerd that has gone away again is asked again when it is back.
    for key in runtime.listed().await.unwrap_or_default() {
        tell_rise(runtime, &key, notices).await;
    }
}

/// Looks for the kill that containerd has spoken of: it speaks several times of one.
async fn look_for_kill(runtime: ContainerdRuntime, key: ContainerKey, notices: mpsc::Sender<Notice>) {
    for _ in 0..KILL_LOOKS {
        if tell_rise(&runtime, &key, &notices).await {
            return;
        }
        tokio::time::sleep(KILL_LOOK_INTERVAL).await;
    }
}

/// Whether the kernel has killed more in a container than was told; if so, that has been told now.
async fn tell_rise(runtime: &ContainerdRuntime, key: &ContainerKey, notices: &mpsc::Sender<Notice>) -> bool {
    let rises = has_risen(runtime, key).await;
    if rises {
        // Whoever does not listen any more has no use for it.
        let _ = notices.send(Notice::OutOfMemory(key.clone())).await;
    }
    rises
}

/// Whether the kernel has killed more in a container than was told; from now on that counts as told.
async fn has_risen(runtime: &ContainerdRuntime, key: &ContainerKey) -> bool {
    let (told, cgroups, at) = (runtime.told.clone(), runtime.cgroups.clone(), key.clone());
    let rises = tokio::task::spawn_blocking(move || {
        cgroups.out_of_memory_kills(&at).is_some_and(|kills| told.rises_to(&at, kills))
    });
    rises.await.expect("reading a count does not panic")
}

/// Whose want of memory an event is about; none if it is not this node's.
async fn read(runtime: &ContainerdRuntime, event: &Any) -> Option<ContainerKey> {
    let TaskOom { container_id } = TaskOom::decode(event.value.as_slice()).ok()?;
    let record = runtime.record(&container_id).await.ok()??;
    // Other nodes' containers may be in the same namespace.
    let is_ours = record.labels.get(naming::NODE) == Some(&runtime.config.node_label);
    naming::key_of(&record.labels).filter(|_| is_ours)
}

impl ContainerdRuntime {
    /// Tells of the kill that ended a container before its end is told: once the container is removed, the kernel's
    /// count is gone, and containerd's own word may come after that.
    pub(super) async fn tell_last_kill(&self, key: &ContainerKey) {
        if has_risen(self, key).await {
            // The exit says so too: a notice that finds no room is no loss.
            let _ = self.noticed.try_send(Notice::OutOfMemory(key.clone()));
        }
    }

    /// What containerd calls itself.
    pub(super) async fn ask_version(&self) -> Result<String, Status> {
        let reply = within(CALL_LIMIT, self.line.version().version(self.line.request(()))).await?;
        Ok(format!("containerd {}", reply.version))
    }
}
