//! Why the service ended, and the exit code that says so.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use metrics_exporter_prometheus::BuildError;
use purser_actors::StartError;
use purser_actors::entity::Refusal;
use purser_actors::port::RuntimeError;
use purser_actors::redaction::OfflineError;
use purser_events::causes;
use purser_events::ledger::LedgerRejection;
use purser_storage::redaction::RedactionError;
use purser_storage::{FolderError, JournalError};

use super::journal::JournalVerbError;
use super::keys::KeysError;
use crate::api::listen::ListenError;
use crate::api::token::TokenError;
use crate::config::ConfigError;

/// Why the service did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("failed to make the folder `{path}`")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("failed to open the journal")]
    Open(#[source] JournalError),
    #[error(
        "the journal cannot be written any more; nothing that was acknowledged is lost. Free disk space or mend the \
         disk below `{path}`, then start purserd again: it replays the journal and takes its pods over"
    )]
    Fatal { path: PathBuf, source: Arc<JournalError> },
    #[error("failed to close the journal")]
    Close(#[source] JournalError),
    #[error("failed to learn about this host: `{path}` cannot be read")]
    Host { path: &'static str, source: std::io::Error },
    #[error("failed to learn what the machine has")]
    Machine(#[source] std::io::Error),
    #[error("failed to set containerd up")]
    Containerd(#[source] RuntimeError),
    #[error(transparent)]
    Offline(OfflineError),
    #[error(transparent)]
    Journal(#[from] JournalVerbError),
    #[error("failed to set up the key that seals the journal")]
    Keys(#[source] KeysError),
    #[error(transparent)]
    Start(StartError),
    #[error("failed to set metrics up")]
    Metrics(#[from] BuildError),
    #[error("failed to start threads or to listen for signals")]
    Runtime(#[source] std::io::Error),
    #[error("failed to find this program's own file")]
    OwnProgram(#[source] std::io::Error),
}

impl From<StartError> for Failure {
    /// Limits that the machine cannot have are the config's, and are named by their key.
    fn from(error: StartError) -> Failure {
        match error {
            StartError::Ledger(Refusal::Rejected(LedgerRejection::Limits { error })) => {
                Failure::Config(ConfigError::of_limits(&error))
            }
            other => Failure::Start(other),
        }
    }
}

impl Failure {
    /// The exit code, as in the manual.
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Config(_) | Failure::Token(_) | Failure::Containerd(_) => 2,
            Failure::Listen(ListenError::NoSuchGroup { .. }) => 2,
            Failure::Listen(_) | Failure::Folder { .. } | Failure::Keys(_) => 73,
            Failure::Open(error) => open_code(error),
            Failure::Offline(error) => offline_code(error),
            Failure::Journal(error) => error.code(),
            Failure::Fatal { .. }
            | Failure::Close(_)
            | Failure::Host { .. }
            | Failure::Machine(_)
            | Failure::Start(_)
            | Failure::Metrics(_)
            | Failure::Runtime(_)
            | Failure::OwnProgram(_) => 70,
        })
    }

    /// The error with its causes, one after the other.
    pub(super) fn sentence(&self) -> String {
        causes::told(self)
    }
}

pub(super) fn offline_code(error: &OfflineError) -> u8 {
    match error {
        OfflineError::Open(error) => open_code(error),
        OfflineError::Keys(error) => folder_code(error),
        OfflineError::Unfinished(RedactionError::Folder(error)) => folder_code(error),
        OfflineError::Unfinished(_) => 74,
        OfflineError::NotStarted | OfflineError::Refused(_) | OfflineError::NotRedactable(_) => 1,
        OfflineError::Append(_) | OfflineError::Close(_) | OfflineError::Runtime(_) => 70,
    }
}

pub(super) fn folder_code(error: &FolderError) -> u8 {
    match error {
        FolderError::Locked { .. } => 75,
        FolderError::Io { .. } => 73,
        FolderError::NewerFormat { .. } | FolderError::OlderFormat { .. } | FolderError::Foreign { .. } => 74,
    }
}

pub(super) fn open_code(error: &JournalError) -> u8 {
    match error {
        JournalError::Folder(error) => folder_code(error),
        JournalError::Store(error) if error.is_refusal() => 73,
        // The next start makes the store again: whoever watches the service is to start it.
        error if error.blames_store() => 70,
        _ => 74,
    }
}
