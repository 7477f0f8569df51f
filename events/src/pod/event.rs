//! What happens to a pod. Payloads are on disk for ever: never edit, reorder or remove a field; a change is a
//! new version with an upcast from the old one.

mod container;

use serde::{Deserialize, Serialize};

pub use container::*;

pub use super::resize::{ResizeFailed, ResizeRequested, Resized};
use super::spec::PodSpec;
use crate::ids::PodUid;
use crate::ledger::GpuUuid;
use crate::names::ContainerName;
use crate::units::Timestamp;
use crate::violation::{ViolationEvent, ViolationKind};

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
    /// The node has no room for it now: it waits in the ledger's queue.
    ResourcesAwaited(ResourcesAwaited),
    /// It has what it waited for.
    ResourcesGranted(ResourcesGranted),
    /// Something happened to its violations.
    Violation(ViolationEvent),
    /// Intent: its containers are to have other limits and requests, while they run.
    ResizeRequested(Box<ResizeRequested>),
    /// They have.
    Resized(Resized),
    /// They could not; all is as before.
    ResizeFailed(ResizeFailed),
}

impl From<ViolationEvent> for PodEvent {
    fn from(event: ViolationEvent) -> PodEvent {
        PodEvent::Violation(event)
    }
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
    ResourcesAwaited,
    ResourcesGranted,
    Resized,
    ResizeFailed,
);

impl From<ResizeRequested> for PodEvent {
    fn from(payload: ResizeRequested) -> PodEvent {
        PodEvent::ResizeRequested(Box::new(payload))
    }
}

impl From<Admitted> for PodEvent {
    fn from(payload: Admitted) -> PodEvent {
        PodEvent::Admitted(Box::new(payload))
    }
}

/// `pod.admitted` version 3.
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

/// `pod.started` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// When the last container had come up.
    pub at: Timestamp,
}

/// `pod.stop-requested` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopRequested {
    /// Seconds until the kill.
    pub grace_s: u32,
    /// On what account.
    pub why: StopWhy,
}

/// On what account a pod is stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopWhy {
    /// Someone asked for it.
    #[default]
    Asked,
    /// It makes way for a pod that matters more.
    Preempted {
        /// For which.
        by: PodUid,
    },
    /// It went on taking what is not its own.
    Evicted {
        /// What it did.
        kind: ViolationKind,
        /// Of which GPU.
        gpu: GpuUuid,
    },
}

impl StopWhy {
    /// Whether someone asked for it.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self == StopWhy::Asked
    }
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

/// `pod.resources-awaited` version 1. What it is short of is the ledger's to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcesAwaited {}

/// `pod.resources-granted` version 1. What it was given is in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcesGranted {}
