//! A worker: one process that runs one attempt of one container.

pub mod command;
pub mod event;
pub mod identity;
pub mod state;

pub use command::{WorkerCommand, WorkerRejection};
pub use event::WorkerEvent;
pub use identity::ProcessIdentity;
pub use state::{Worker, WorkerState};
