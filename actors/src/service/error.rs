//! Why a request was not carried out.

use purser_events::gpu::GpuRejection;
use purser_events::ledger::LedgerRejection;
use purser_events::node::NodeRejection;
use purser_events::pod::PodRejection;
use purser_events::pool::PoolRejection;

use super::room;
use crate::port::{FieldError, RuntimeError};

/// Why a request was not carried out. Nothing was changed, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The pod refuses.
    #[error(transparent)]
    Pod(PodRejection),
    /// The node refuses.
    #[error(transparent)]
    Node(NodeRejection),
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(LedgerRejection),
    /// The GPU refuses.
    #[error(transparent)]
    Gpu(GpuRejection),
    /// The pool refuses.
    #[error(transparent)]
    Pool(PoolRejection),
    /// The manifest asks for what this node cannot do.
    #[error("the manifest asks for what this node cannot do")]
    Invalid(Vec<FieldError>),
    /// The idempotency key stands for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Too much is under way.
    #[error("the node is busy; try again in {retry_after_ms} ms")]
    Busy {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The journal's disk is nearly full, and this would need room.
    #[error("{}", room::told(*.used_percent))]
    NoRoom {
        /// How much of the disk was used when it was noticed, in percent, if it was.
        used_percent: Option<u8>,
    },
    /// The node is going down, or its journal has failed.
    #[error("the node is going down")]
    Stopping,
    /// The idempotency key stands for a command that was begun before: it is not run twice, and what it printed is
    /// not kept.
    #[error(
        "the command was begun under this idempotency key before; it is not run again, and its output is not kept"
    )]
    AlreadyRun,
    /// The command could not be run in the container. That it was asked for is on record.
    #[error("failed to run the command: {0}")]
    Exec(RuntimeError),
    /// No runtime of this node has images.
    #[error("this node has no containerd, and the process runtime has no images (`containerd.enabled`)")]
    NoImages,
    /// The runtime did not take an image.
    #[error("{0}")]
    Image(RuntimeError),
    /// The pod's specification is too large to be recorded.
    #[error("the specification needs {len} bytes on record; at most {max} fit")]
    SpecTooLarge {
        /// Bytes needed.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
}
