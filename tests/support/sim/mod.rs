//! A whole node in memory, lived through from one number: real deciders, actors and journal on a disk, a clock, a
//! runtime and callers that the simulator moves, with crashes and losses of power anywhere.
//!
//! After every step the invariants are checked, and the world that the node shows is compared with the fold of the
//! records that are read back. A seed repeats its run: the actors move only when they are polled, the journal's thread
//! only when it is let on. What a seed does not fix: which branch of a `select!` of the actors is tried first when both
//! are ready, how the rows of a projection are divided into batches, and files of the journal that are not written
//! through [`purser_storage::disk::Disk`], which are real.
//! Of a third of the runs the machine has GPUs, which fail and come back; their driver is scripted. Of an eighth it has a
//! pool, with agents that are slow, lie, die and fall silent, and pods that are lost.

mod agents;
mod check;
mod disk;
mod failure;
mod gate;
mod gpus;
mod host;
mod machine;
mod node;
mod panics;
mod pools;
mod requests;
mod run;
mod settle;
mod store;
mod time;
mod turns;
mod upkeep;
mod watch;

pub use failure::Failure;
pub use run::{Defect, Plan, Report, run};
