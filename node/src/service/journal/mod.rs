//! `purserd journal`: work on the journal while no service runs.

mod migrate;
mod redact;
mod status;

use std::path::{Path, PathBuf};

use purser_storage::offline::{Source, SourceError, SourceFailure};
use purser_storage::redaction::RedactionError;
use purser_storage::subjects::SubjectKeys;
use purser_storage::{FolderError, JournalError};

use super::arguments::JournalVerb;
use super::exit::{Failure, folder_code, open_code};
use crate::config::{self, Config, Surroundings};

/// Why a verb did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalVerbError {
    #[error("there is no journal at `{dir}` (`data-dir`)")]
    NoJournal { dir: PathBuf },
    #[error("purserd runs on this journal: stop it first; its pods go on")]
    InUse(#[source] FolderError),
    #[error("failed to read the journal")]
    Read(#[source] SourceError),
    #[error("failed to look through the segments")]
    Count(#[source] RedactionError),
    #[error("failed to make the store; the one that was there is in use as before")]
    Migrate(#[source] JournalError),
    #[error("failed to look at the journal's files")]
    Files(#[source] JournalError),
    #[error("`{pod}` is no pod's name")]
    Name { pod: String, source: purser_events::NameError },
    #[error(
        "the journal knows no pod {pod} among the records that it still has; `--uid` names an incarnation"
    )]
    NoSuchPod { pod: String },
    #[error("pod {pod} is not gone: delete it first; only a pod that is gone can be redacted")]
    NotGone { pod: String },
    #[error("failed to write the output")]
    Output(#[source] std::io::Error),
}

impl JournalVerbError {
    /// The exit code, as in the manual.
    pub(super) fn code(&self) -> u8 {
        match self {
            JournalVerbError::NoSuchPod { .. } | JournalVerbError::NotGone { .. } => 1,
            JournalVerbError::NoJournal { .. } | JournalVerbError::Name { .. } => 2,
            JournalVerbError::InUse(_) => 75,
            JournalVerbError::Count(RedactionError::Folder(error)) => folder_code(error),
            JournalVerbError::Count(_) => 74,
            JournalVerbError::Read(error) => match error.failure() {
                SourceFailure::Io => 73,
                SourceFailure::Integrity | SourceFailure::Unknown => 74,
            },
            JournalVerbError::Migrate(error) | JournalVerbError::Files(error) => open_code(error),
            JournalVerbError::Output(_) => 70,
        }
    }
}

/// Does what was asked about the journal.
pub(super) fn run(file: Option<&Path>, verb: &JournalVerb) -> Result<(), Failure> {
    let config = config::load(file, &Surroundings::of_process())?;
    match verb {
        JournalVerb::Redact(args) => redact::run(&config, args),
        JournalVerb::Migrate(args) => migrate::run(&config, *args),
        JournalVerb::Status(args) => status::run(&config, *args),
    }
}

/// Where the journal is.
fn dir(config: &Config) -> Result<PathBuf, JournalVerbError> {
    let dir = config.data_dir.join("journal");
    // Nothing is made for whoever only mistook the folder.
    if dir.join("format").exists() { Ok(dir) } else { Err(JournalVerbError::NoJournal { dir }) }
}

/// The journal's records in order. Nobody can write it meanwhile.
fn source(config: &Config, dir: &Path) -> Result<Source, JournalVerbError> {
    let keys = SubjectKeys::to_read(&config.subject_keys_dir());
    Source::from_folder(dir).map(|source| source.with_keys(keys)).map_err(|error| match error {
        SourceError::Folder(error @ FolderError::Locked { .. }) => JournalVerbError::InUse(error),
        error => JournalVerbError::Read(error),
    })
}

/// Prints a value as JSON.
fn print_json(value: &serde_json::Value) -> Result<(), JournalVerbError> {
    print(&format!("{value:#}\n"))
}

fn print(text: &str) -> Result<(), JournalVerbError> {
    use std::io::Write;

    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(JournalVerbError::Output)
}
