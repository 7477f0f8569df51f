//! What happens to a worker. Payloads are on disk for ever, see [`crate::pod::event`].

use serde::{Deserialize, Serialize};

use crate::ids::PodUid;
use crate::names::ContainerName;
use crate::pod::event::Exit;
use crate::worker::ProcessIdentity;

/// What has happened to one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEvent {
    /// The process was seen and is watched.
    Registered(Registered),
    /// The process ended.
    Exited(Exited),
}

impl From<Registered> for WorkerEvent {
    fn from(payload: Registered) -> WorkerEvent {
        WorkerEvent::Registered(payload)
    }
}

impl From<Exited> for WorkerEvent {
    fn from(payload: Exited) -> WorkerEvent {
        WorkerEvent::Exited(payload)
    }
}

/// `worker.registered` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The pod that it works for.
    pub pod: PodUid,
    /// The container that it is.
    pub container: ContainerName,
    /// Which try of that container.
    pub attempt: u32,
    /// Which process it is.
    pub process: ProcessIdentity,
}

/// `worker.exited` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// How it ended; [`crate::pod::event::ExitReason::Lost`] if nobody saw it.
    pub exit: Exit,
}
