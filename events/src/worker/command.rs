//! What may be asked of a worker, and why it may refuse.

use serde::{Deserialize, Serialize};

use super::event::Registered;
use crate::pod::event::Exit;

/// A request to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerCommand {
    /// This process runs: watch it.
    Register(Registered),
    /// The process ended.
    ReportExit {
        /// How.
        exit: Exit,
    },
}

/// Why a worker refused a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum WorkerRejection {
    /// It was never registered.
    #[error("worker was never registered")]
    NotRegistered,
    /// It is registered as another process.
    #[error("worker is registered as another process")]
    OtherProcess,
    /// It has ended.
    #[error("worker has ended")]
    Ended,
}
