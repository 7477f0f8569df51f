//! A GPU: what it is, how it is, and whether anything of it is given out.

pub mod command;
pub mod event;
pub mod health;
mod leave;
pub mod state;
pub mod watch;
pub mod xid;

pub use command::{GpuCommand, GpuRejection, Lasting, Look, Standing};
pub use event::GpuEvent;
pub use health::{
    Cordon, Degradation, Drain, Evidence, Fault, GpuFacts, GpuHealthPolicy, GpuPolicyError, Health,
};
pub use leave::DRAIN_GRACE_S_MAX;
pub use state::{FaultCount, Gpu, GpuState};
pub use watch::{Seen, SeenFault, Watch};

use crate::ids::{StreamId, StreamKind, derived};
use crate::ledger::GpuUuid;

impl GpuUuid {
    /// The GPU's stream: always the same one for the same name.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        StreamId { kind: StreamKind::Gpu, id: derived(&[self.as_str().as_bytes()]) }
    }
}
