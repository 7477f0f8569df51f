//! What the process runtime keeps in the folder of one attempt. These files outlive the program that wrote
//! them: each has a version, and a later purserd reads what an earlier one left.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use purser_actors::port::{Clock, RuntimeError, StartedContainer};
use purser_events::pod::event::{Exit, FailureClass};
use purser_events::worker::ProcessIdentity;
use purser_events::{CpuSet, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::adapter::clock::SystemClock;

/// Largest file that is read back, in bytes: arguments and environment of a process fit in 2 MiB.
const FILE_LEN_MAX: u64 = 8 << 20;
const VERSION: u32 = 1;

/// What is to run (`plan.json`). Holds environment values: never shown, never logged.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Program and arguments; never empty.
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) working_dir: PathBuf,
    pub(super) log: PathBuf,
    pub(super) mounts: Vec<BindMount>,
    pub(super) user: PlannedUser,
    /// Folders of the control groups that hold the container; none where the node may not make any.
    pub(super) cgroups: Vec<PathBuf>,
    /// The processors that it may run on; none for all that its shim may. Changes while it runs.
    #[serde(default)]
    pub(super) cpus: Option<CpuSet>,
}

/// A volume as the container sees it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct BindMount {
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
    pub(super) read_only: bool,
}

/// Who the container runs as; none means whoever the node runs as.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct PlannedUser {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) groups: Option<Vec<u32>>,
    pub(super) no_new_privileges: bool,
}

/// What came of the plan (`state.json`). Written before the program runs: without it, nothing ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// The process that watches the container.
    pub(super) shim: ProcessIdentity,
    /// The container's main process.
    pub(super) main: ProcessIdentity,
    pub(super) phase: Phase,
    pub(super) started_at: Timestamp,
}

impl State {
    pub(super) fn started(&self) -> StartedContainer {
        StartedContainer { process: self.main, started_at: self.started_at }
    }
}

/// How far a start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// The process is there; the program may run at any moment.
    Starting,
    /// The program runs.
    Running,
}

/// How it ended (`exit.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ending {
    pub(super) exit: Exit,
    /// Processes that the kernel killed for want of memory within the container's limit.
    pub(super) oom_kills: u64,
}

/// What a shim tells whoever started it, and a container's first program its shim.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Report {
    Started(State),
    Failed { class: FailureClass, message: String },
}

/// Why a container could not be started, on its way from one process to the next.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) class: FailureClass,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn invalid(message: impl Into<String>) -> Failure {
        Failure { class: FailureClass::Invalid, message: message.into() }
    }

    pub(super) fn runtime(message: impl Into<String>) -> Failure {
        Failure { class: FailureClass::Runtime, message: message.into() }
    }

    pub(super) fn report(self) -> Report {
        Report::Failed { class: self.class, message: self.message }
    }
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> RuntimeError {
        RuntimeError::new(failure.class, failure.message)
    }
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    content: T,
}

/// Reads a file of an attempt: none if it is not there.
///
/// # Errors
/// It cannot be read, is not whole, or a newer program wrote it. What is in it is not part of the message.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> std::io::Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LEN_MAX).read_to_end(&mut bytes)?;
    let broken = |what: String| Error::new(ErrorKind::InvalidData, format!("`{}` {what}", path.display()));
    let held: Versioned<T> = serde_json::from_slice(&bytes)
        .map_err(|error| broken(format!("is damaged at line {}, column {}", error.line(), error.column())))?;
    match held.version {
        VERSION => Ok(Some(held.content)),
        other => Err(broken(format!("has version {other}; this program knows version {VERSION}"))),
    }
}

/// How much a write must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The end of any process.
    Processes,
    /// The loss of power too.
    Power,
}

/// Writes a file of an attempt: whole or not at all, readable by its owner alone.
///
/// # Errors
/// The folder is gone, the disk is full, or worse.
pub(super) fn write<T: Serialize>(path: &Path, content: &T, keep: Keep) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(&Versioned { version: VERSION, content })?;
    let unfinished = path.with_extension("tmp");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&bytes)?;
    if keep == Keep::Power {
        file.sync_all()?;
    }
    std::fs::rename(&unfinished, path)?;
    match (keep, path.parent()) {
        (Keep::Power, Some(folder)) => File::open(folder)?.sync_all(),
        (Keep::Power, None) | (Keep::Processes, _) => Ok(()),
    }
}

/// The time on the wall, for the start and the end of a process that no actor was there to see.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use purser_events::pod::event::ExitReason;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exit.json");
        assert_eq!(read::<Ending>(&path).unwrap(), None);
        let exit = Exit { code: 3, reason: ExitReason::Error, finished_at: Timestamp(1) };
        let ending = Ending { exit, oom_kills: 2 };
        write(&path, &ending, Keep::Power).unwrap();
        assert_eq!(read::<Ending>(&path).unwrap(), Some(ending));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn damaged_and_newer_files_are_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        for text in
            ["", "{", r#"{"version":1,"content":"hunter2"}"#, r#"{"version":2,"content":{"exit":{}}}"#]
        {
            std::fs::write(&path, text).unwrap();
            let message = read::<Ending>(&path).unwrap_err().to_string();
            assert!(message.contains("plan.json") && !message.contains("hunter2"), "{message}");
        }
    }
}
