//! The pure core of Purser: what can happen, what may be asked, and what follows.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time and ids come in as arguments, so the
//! node, the auditor's tool and the tests run the very same logic. Each entity is a [`Decider`]; everything
//! that a journal says, folded together, is a [`World`].

pub mod causes;
pub mod context;
pub mod cpu;
pub mod decider;
pub mod event;
pub mod gpu;
pub mod ids;
pub mod invariant;
pub mod layout;
pub mod ledger;
pub mod names;
pub mod node;
mod pairs;
pub mod pod;
pub mod pool;
pub mod record;
pub mod units;
pub mod view;
pub mod violation;
pub mod worker;

pub use context::{BackOffPolicy, Context, Policy};
pub use cpu::{Cpu, CpuSet, CpuTopology};
pub use decider::{Decider, IllegalTransition};
pub use event::Event;
pub use ids::{CommandId, NodeUid, PodUid, Seq, StreamId, StreamKind, StreamVersion, WorkerUid};
pub use layout::{Decode, Encode, Layout};
pub use names::{ContainerName, NameError, PodId};
pub use record::{Cause, Header, Origin, Principal, Record};
pub use units::{Bytes, MilliCpu, MilliTflops, Timestamp};
pub use view::world::World;
