//! What containerd reports by itself: containers out of memory, and whether it answers at all.

use containerd_client::events::TaskOom;
use containerd_client::services::v1::SubscribeRequest;
use prost::Message;
use prost_types::Any;
use purser_actors::port::Notice;
use tokio::sync::mpsc;
use tonic::Status;

use super::connection::{CALL_LIMIT, within};
use super::lifecycle::BackOff;
use super::{ContainerdRuntime, naming};

/// Notices that may wait to be taken.
pub(super) const NOTICES_LEN_MAX: usize = 256;

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
                if let Some(notice) = envelope.event.as_ref().map(|event| read(runtime, event)) {
                    let Some(notice) = notice.await else { continue };
                    if notices.send(notice).await.is_err() {
                        return Status::cancelled("nobody listens");
                    }
                }
            }
            Ok(None) => return Status::unavailable("the event stream ended"),
            Err(status) => return status,
        }
    }
}

async fn read(runtime: &ContainerdRuntime, event: &Any) -> Option<Notice> {
    let TaskOom { container_id } = TaskOom::decode(event.value.as_slice()).ok()?;
    let record = runtime.record(&container_id).await.ok()??;
    // Other nodes' containers may be in the same namespace.
    let is_ours = record.labels.get(naming::NODE) == Some(&runtime.config.node_label);
    naming::key_of(&record.labels).filter(|_| is_ours).map(Notice::OutOfMemory)
}

impl ContainerdRuntime {
    /// What containerd calls itself.
    pub(super) async fn ask_version(&self) -> Result<String, Status> {
        let reply = within(CALL_LIMIT, self.line.version().version(self.line.request(()))).await?;
        Ok(format!("containerd {}", reply.version))
    }
}
