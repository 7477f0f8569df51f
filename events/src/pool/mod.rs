//! A pool: pods with slots, the tasks that run in them, and how many pods there are to be.
//!
//! Everything that a slot may be given to is decided here, by one entity: to find a slot and to give it away is one
//! decision, and only it says that a slot is idle.

mod advance;
mod check;
pub mod command;
mod decide;
mod decide_members;
mod decide_tasks;
mod draft;
pub mod event;
mod evolve;
mod evolve_tasks;
pub mod freeze;
mod loss;
pub mod member;
pub mod names;
pub mod past;
pub mod queue;
pub mod reason;
pub mod resize;
pub mod scale;
mod setback;
pub mod simulate;
pub mod slots;
pub mod spec;
pub mod spec_error;
pub mod state;
pub mod task;
pub mod task_error;
mod tick;
pub mod wait;

pub use check::check;
pub use command::{PoolCommand, PoolRejection, TaskReport};
pub use event::PoolEvent;
pub use freeze::{FreezeWindow, LocalTime, Weekday};
pub use member::{Agent, Member, MemberPhase, Slot};
pub use names::{PoolName, SlotKey, TaskId, Token, Workspace};
pub use scale::{Load, ScaleInputs, ScaleRule, Verdict, verdict};
pub use slots::Weight;
pub use spec::{
    AgentPolicy, Digest, OnEnd, PoolSpec, Reference, ReferenceKind, ScalingPolicy, SlotPolicy, SlotRule,
    TaskPolicy,
};
pub use spec_error::PoolSpecError;
pub use state::{Leaving, Order, Pool, Scaling, Shortage};
pub use task::{Phase, SecretVar, Task, TaskExit, TaskKind, TaskResult, TaskSpec, TaskState};
pub use task_error::TaskError;
pub use wait::Wait;
