//! What happens to one container of a pod: payloads, with the same rule as those of the pod.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::FailureClass;
use crate::ids::WorkerUid;
use crate::names::ContainerName;
use crate::pod::spec::ProbeKind;
use crate::units::Timestamp;
use crate::worker::ProcessIdentity;

/// `pod.container-create-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerCreateRequested {
    /// Which container.
    pub container: ContainerName,
    /// Which try to run it, from 1 over the pod's life.
    pub attempt: u32,
    /// The worker that it will be.
    pub worker: WorkerUid,
}

/// `pod.container-started` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStarted {
    /// Which container.
    pub container: ContainerName,
    /// Which try.
    pub attempt: u32,
    /// Its main process.
    pub process: ProcessIdentity,
    /// When it started.
    pub started_at: Timestamp,
}

/// `pod.container-create-failed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerCreateFailed {
    /// Which container.
    pub container: ContainerName,
    /// Which try.
    pub attempt: u32,
    /// What kind of failure it was.
    pub class: FailureClass,
    /// What the runtime said, shortened.
    pub message: String,
    /// When it failed.
    pub at: Timestamp,
}

/// `pod.readiness-changed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessChanged {
    /// Which container.
    pub container: ContainerName,
    /// Whether it can serve now.
    pub ready: bool,
    /// What the probe saw last.
    pub message: String,
}

/// `pod.startup-passed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartupPassed {
    /// Which container.
    pub container: ContainerName,
}

/// `pod.probe-failed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeFailed {
    /// Which container.
    pub container: ContainerName,
    /// Which probe.
    pub probe: ProbeKind,
    /// Failures in a row that were seen.
    pub failures: u32,
    /// What the probe saw last.
    pub message: String,
}

/// `pod.container-stop-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStopRequested {
    /// Which container.
    pub container: ContainerName,
    /// Why.
    pub reason: StopReason,
    /// When it is killed if it still runs.
    pub deadline: Timestamp,
}

/// Why a container is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StopReason {
    /// The pod is to stop.
    PodStop,
    /// The pod is to go.
    PodDelete,
    /// Its liveness probe failed.
    LivenessFailed,
    /// Its startup probe failed.
    StartupFailed,
}

/// `pod.container-kill-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerKillRequested {
    /// Which container.
    pub container: ContainerName,
}

/// `pod.container-exited` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExited {
    /// Which container.
    pub container: ContainerName,
    /// Which try.
    pub attempt: u32,
    /// How it ended.
    pub exit: Exit,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Exit code, 0 to 255; 128 + signal for a process that a signal ended.
    pub code: u8,
    /// What it means.
    pub reason: ExitReason,
    /// When it ended, as far as it is known.
    pub finished_at: Timestamp,
}

/// What an exit means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ExitReason {
    /// It ended with code 0.
    Completed,
    /// It ended with another code, or by a signal.
    Error,
    /// It was killed for want of memory.
    OomKilled,
    /// It never ran.
    StartError,
    /// It is gone and nobody saw how: the host was restarted, or what watched it was killed.
    Lost,
}

/// `pod.container-removed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRemoved {
    /// Which container.
    pub container: ContainerName,
    /// Which try.
    pub attempt: u32,
}

/// `pod.restart-scheduled` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartScheduled {
    /// Which container.
    pub container: ContainerName,
    /// When.
    pub until: Timestamp,
    /// Waits in a row so far: the next is longer.
    pub step: u32,
}

/// `pod.out-of-memory` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfMemory {
    /// Which container.
    pub container: ContainerName,
    /// Which try.
    pub attempt: u32,
}

/// `pod.exec-requested` version 1. Arguments may hold secrets: only their number and digest are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecRequested {
    /// This run of the command.
    pub exec: Uuid,
    /// Where.
    pub container: ContainerName,
    /// The program, at most 256 bytes of it.
    pub program: String,
    /// How many arguments follow it.
    pub args_count: u32,
    /// SHA-256 over program and arguments, each followed by a zero byte, in hex.
    pub argv_sha256: String,
}

/// `pod.exec-finished` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecFinished {
    /// Which run.
    pub exec: Uuid,
    /// How it ended.
    pub outcome: ExecOutcome,
}

/// How a command in a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecOutcome {
    /// It ran and ended.
    Exited {
        /// Exit code, 128 + signal if a signal ended it.
        code: u8,
    },
    /// It could not be run.
    NotRun {
        /// What kind of failure it was.
        class: FailureClass,
    },
    /// The node was restarted meanwhile: nobody saw how it ended.
    Unknown,
}
