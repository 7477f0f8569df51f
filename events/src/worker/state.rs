//! What a worker is, and the rules by which it changes.

use serde::{Deserialize, Serialize};

use super::event::{Exited, Registered, WorkerEvent};
use super::{WorkerCommand, WorkerRejection};
use crate::context::Context;
use crate::decider::{Decider, IllegalTransition};
use crate::ids::StreamKind;
use crate::pod::event::Exit;

/// One worker process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Worker {
    /// Nothing is known of it.
    #[default]
    Unknown,
    /// It runs.
    Running(WorkerState),
    /// It ended.
    Exited {
        /// What it was.
        worker: WorkerState,
        /// How it ended.
        exit: Exit,
    },
}

/// What a worker is for and which process it is.
pub type WorkerState = Registered;

impl Worker {
    /// The word for its state.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Worker::Unknown => "Unknown",
            Worker::Running(_) => "Running",
            Worker::Exited { .. } => "Exited",
        }
    }
}

impl Decider for Worker {
    type Command = WorkerCommand;
    type Event = WorkerEvent;
    type Rejection = WorkerRejection;

    const KIND: StreamKind = StreamKind::Worker;

    fn decide(&self, command: &WorkerCommand, _: &Context) -> Result<Vec<WorkerEvent>, WorkerRejection> {
        use WorkerCommand as C;
        match (command, self) {
            (C::Register(process), Worker::Unknown) => Ok(vec![process.clone().into()]),
            (C::Register(process), Worker::Running(worker)) if process == worker => Ok(vec![]),
            (C::Register(_), Worker::Running(_)) => Err(WorkerRejection::OtherProcess),
            (C::Register(_), Worker::Exited { .. }) => Err(WorkerRejection::Ended),
            (C::ReportExit { exit }, Worker::Running(_)) => Ok(vec![Exited { exit: exit.clone() }.into()]),
            (C::ReportExit { .. }, Worker::Exited { .. }) => Ok(vec![]),
            (C::ReportExit { .. }, Worker::Unknown) => Err(WorkerRejection::NotRegistered),
        }
    }

    fn evolve(&self, event: &WorkerEvent) -> Result<Worker, IllegalTransition> {
        use WorkerEvent as E;
        match (event, self) {
            (E::Registered(worker), Worker::Unknown) => Ok(Worker::Running(worker.clone())),
            (E::Exited(exited), Worker::Running(worker)) => {
                Ok(Worker::Exited { worker: worker.clone(), exit: exited.exit.clone() })
            }
            (E::Registered(_), Worker::Running(_) | Worker::Exited { .. }) => {
                Err(IllegalTransition::new(self.word(), "worker.registered"))
            }
            (E::Exited(_), Worker::Unknown | Worker::Exited { .. }) => {
                Err(IllegalTransition::new(self.word(), "worker.exited"))
            }
        }
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Worker::Exited { .. })
    }
}
