//! What happens to a pod. Payloads are on disk for ever: never edit, reorder or remove a field; a change is a
//! new version with an upcast from the old one.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::spec::{PodSpec, ProbeKind};
use crate::ids::{PodUid, WorkerUid};
use crate::names::ContainerName;
use crate::units::Timestamp;
use crate::worker::ProcessIdentity;

/// What has happened to one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodEvent {
    /// The node agreed to run it.
    Admitted(Box<Admitted>),
    /// The node began to make it ready to run.
    ProvisioningStarted(ProvisioningStarted),
    /// Intent: images are to be fetched and volumes made.
    SetupRequested(SetupRequested),
    /// Images and volumes are there.
    SetupCompleted(SetupCompleted),
    /// Images or volumes could not be had; tried again at a set time.
    SetupFailed(SetupFailed),
    /// Intent: a container is to be created and started.
    ContainerCreateRequested(ContainerCreateRequested),
    /// A container came up.
    ContainerStarted(ContainerStarted),
    /// A container could not be created or started.
    ContainerCreateFailed(ContainerCreateFailed),
    /// Every container of the pod has been started.
    Started(Started),
    /// A container's readiness changed.
    ReadinessChanged(ReadinessChanged),
    /// A container's startup probe succeeded.
    StartupPassed(StartupPassed),
    /// A liveness or startup probe failed as often as its threshold says.
    ProbeFailed(ProbeFailed),
    /// Intent: a container is asked to end.
    ContainerStopRequested(ContainerStopRequested),
    /// Intent: a container that did not end in time is killed.
    ContainerKillRequested(ContainerKillRequested),
    /// A container ended. Intent: what the runtime holds of it is to be removed.
    ContainerExited(ContainerExited),
    /// What the runtime held of an attempt is gone.
    ContainerRemoved(ContainerRemoved),
    /// A container is to be started again at a set time.
    RestartScheduled(RestartScheduled),
    /// Something in the pod's memory limit was killed for want of memory.
    OutOfMemory(OutOfMemory),
    /// The pod is asked to stop; it can be started again.
    StopRequested(StopRequested),
    /// Nothing of the pod runs any more.
    Stopped(Stopped),
    /// The pod ended in failure.
    Failed(Failed),
    /// A pod that had stopped or failed is asked to run again.
    StartRequested(StartRequested),
    /// The pod is asked to go for good.
    TerminationRequested(TerminationRequested),
    /// Intent: the pod's volumes and logs are to be removed.
    CleanupRequested(CleanupRequested),
    /// It is gone and will not come back under this uid.
    Terminated(Terminated),
    /// Intent: a command is to be run in a container.
    ExecRequested(ExecRequested),
    /// A command in a container ended.
    ExecFinished(ExecFinished),
}

macro_rules! from_payload {
    ($($name:ident),* $(,)?) => {
        $(impl From<$name> for PodEvent {
            fn from(payload: $name) -> PodEvent {
                PodEvent::$name(payload)
            }
        })*
    };
}

from_payload!(
    ProvisioningStarted,
    SetupRequested,
    SetupCompleted,
    SetupFailed,
    ContainerCreateRequested,
    ContainerStarted,
    ContainerCreateFailed,
    Started,
    ReadinessChanged,
    StartupPassed,
    ProbeFailed,
    ContainerStopRequested,
    ContainerKillRequested,
    ContainerExited,
    ContainerRemoved,
    RestartScheduled,
    OutOfMemory,
    StopRequested,
    Stopped,
    Failed,
    StartRequested,
    TerminationRequested,
    CleanupRequested,
    Terminated,
    ExecRequested,
    ExecFinished,
);

impl From<Admitted> for PodEvent {
    fn from(payload: Admitted) -> PodEvent {
        PodEvent::Admitted(Box::new(payload))
    }
}

/// `pod.admitted` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// This incarnation.
    pub uid: PodUid,
    /// What it is to be.
    pub spec: PodSpec,
    /// The incarnation that had the name before it, if any is remembered.
    pub supersedes: Option<PodUid>,
}

/// `pod.provisioning-started` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisioningStarted {
    /// Which run of the pod this is, from 1; `start` after a stop begins the next.
    pub run: u32,
}

/// `pod.setup-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupRequested {
    /// Which try, from 1 within a run.
    pub attempt: u32,
}

/// `pod.setup-completed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupCompleted {
    /// The images that will run, in the order of the containers that have one.
    pub images: Vec<ResolvedImage>,
}

/// An image reference and what it stands for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedImage {
    /// The container that it is for.
    pub container: ContainerName,
    /// The name under which the runtime holds it.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: String,
}

/// `pod.setup-failed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetupFailed {
    /// Which try failed.
    pub attempt: u32,
    /// What kind of failure it was.
    pub class: FailureClass,
    /// What the runtime said, shortened.
    pub message: String,
    /// When it is tried again.
    pub retry_at: Timestamp,
}

/// What kind of failure an effect met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureClass {
    /// The image is not there, or not for this machine.
    ImageNotFound,
    /// The image could not be fetched or unpacked.
    ImagePull,
    /// A volume could not be made or found.
    Volume,
    /// What is asked cannot be run: no such program, no such user, no such folder.
    Invalid,
    /// The runtime did not answer; it may later.
    Unavailable,
    /// The runtime or the host failed for another reason.
    Runtime,
}

impl FailureClass {
    /// The word shown to people, in Kubernetes' manner.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            FailureClass::ImageNotFound => "ErrImageNotFound",
            FailureClass::ImagePull => "ErrImagePull",
            FailureClass::Volume => "ErrVolume",
            FailureClass::Invalid => "StartError",
            FailureClass::Unavailable => "RuntimeUnavailable",
            FailureClass::Runtime => "RuntimeError",
        }
    }
}

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

/// `pod.started` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// When the last container had come up.
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

impl ExitReason {
    /// The word shown to people, in Kubernetes' manner.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ExitReason::Completed => "Completed",
            ExitReason::Error => "Error",
            ExitReason::OomKilled => "OOMKilled",
            ExitReason::StartError => "StartError",
            ExitReason::Lost => "Lost",
        }
    }
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

/// `pod.stop-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopRequested {
    /// Seconds until the kill.
    pub grace_s: u32,
}

/// `pod.stopped` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Why nothing runs.
    pub cause: StopCause,
    /// When the last container had ended.
    pub at: Timestamp,
}

/// Why nothing of a pod runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StopCause {
    /// Someone asked for it.
    Requested,
    /// Every container ended with success and none is to be started again.
    Completed,
}

/// `pod.failed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Why.
    pub reason: FailureReason,
    /// When the last container had ended.
    pub at: Timestamp,
}

/// Why a pod failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureReason {
    /// An init container ended without success and is not to be started again.
    InitContainer {
        /// Which.
        container: ContainerName,
        /// Its exit code.
        code: u8,
    },
    /// A container ended without success and is not to be started again.
    Container {
        /// Which.
        container: ContainerName,
        /// Its exit code.
        code: u8,
        /// What the exit means.
        exit: ExitReason,
    },
}

/// `pod.start-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRequested {}

/// `pod.termination-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TerminationRequested {
    /// Seconds until the kill.
    pub grace_s: u32,
}

/// `pod.cleanup-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupRequested {}

/// `pod.terminated` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminated {
    /// When its last trace had been removed.
    pub at: Timestamp,
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
