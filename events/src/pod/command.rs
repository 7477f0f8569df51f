//! What may be asked of a pod, and why it may refuse.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::{ExecOutcome, Exit, FailureClass, ResolvedImage, StopWhy};
use super::resize::{ResizeFailed, ResizeWish};
use super::spec::{PodSpec, ProbeKind};
use crate::ids::PodUid;
use crate::ledger::{Admission, LedgerRejection};
use crate::names::{ContainerName, PodId};
use crate::units::{Bytes, Timestamp};
use crate::violation::{ViolationCommand, ViolationRejection};
use crate::worker::ProcessIdentity;

/// A request to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodCommand {
    /// Run this.
    Admit {
        /// The incarnation to be.
        uid: PodUid,
        /// What it is to be.
        spec: Box<PodSpec>,
        /// The incarnation that had the name before.
        supersedes: Option<PodUid>,
        /// What the ledger said to what it asks for.
        admission: Admission,
    },
    /// Images and volumes are there.
    CompleteSetup {
        /// Which run of the pod it was for.
        run: u32,
        /// Which try within that run.
        attempt: u32,
        /// The images that will run.
        images: Vec<ResolvedImage>,
    },
    /// Images or volumes could not be had.
    FailSetup {
        /// Which run of the pod it was for.
        run: u32,
        /// Which try within that run.
        attempt: u32,
        /// What kind of failure it was.
        class: FailureClass,
        /// What the runtime said.
        message: String,
    },
    /// The runtime says that a container runs.
    ReportStarted {
        /// Which container.
        container: ContainerName,
        /// Which try.
        attempt: u32,
        /// Its main process.
        process: ProcessIdentity,
        /// When it started.
        started_at: Timestamp,
    },
    /// The runtime says that a container could not be started.
    ReportCreateFailed {
        /// Which container.
        container: ContainerName,
        /// Which try.
        attempt: u32,
        /// What kind of failure it was.
        class: FailureClass,
        /// What the runtime said.
        message: String,
    },
    /// A container ended.
    ReportExit {
        /// Which container.
        container: ContainerName,
        /// Which try.
        attempt: u32,
        /// How.
        exit: Exit,
    },
    /// What the runtime held of an attempt is gone.
    ReportRemoved {
        /// Which container.
        container: ContainerName,
        /// Which try.
        attempt: u32,
    },
    /// The kernel killed something within a container's memory limit.
    ReportOutOfMemory {
        /// Which container.
        container: ContainerName,
        /// Which try.
        attempt: u32,
    },
    /// A probe's standing changed: it succeeded or failed as often as its threshold says.
    ReportProbe {
        /// Which container.
        container: ContainerName,
        /// Which try.
        attempt: u32,
        /// Which probe.
        probe: ProbeKind,
        /// Whether it succeeds now.
        success: bool,
        /// What it saw last.
        message: String,
    },
    /// A time that the pod waits for may have come.
    CheckTime,
    /// Stop; may be started again.
    Stop {
        /// Seconds until the kill; the pod's own if none.
        grace_s: Option<u32>,
        /// On what account.
        why: StopWhy,
    },
    /// Run again after a stop or a failure.
    Start {
        /// What the ledger said to what it asks for.
        admission: Admission,
    },
    /// The ledger has given it what it waited for.
    GrantResources,
    /// Have other limits and requests.
    Resize(Box<ResizeWish>),
    /// The runtime holds these tries of containers to the new limits.
    CompleteResize {
        /// The generation that they are of.
        generation: u32,
        /// The tries.
        told: BTreeMap<ContainerName, u32>,
    },
    /// The runtime or the kernel refuses; these tries of containers are held to the old limits again.
    FailResize {
        /// What failed.
        failed: ResizeFailed,
        /// The tries.
        told: BTreeMap<ContainerName, u32>,
    },
    /// Something was seen of its use of processor time or memory, or done about it.
    Violation(ViolationCommand),
    /// Go for good.
    Delete {
        /// Seconds until the kill; the pod's own if none.
        grace_s: Option<u32>,
    },
    /// Volumes and logs are gone.
    CompleteCleanup,
    /// Run a command in a container.
    BeginExec {
        /// This run of the command.
        exec: Uuid,
        /// Where; the pod's only container if none.
        container: Option<ContainerName>,
        /// Program and arguments; at least one.
        argv: Vec<String>,
    },
    /// A command in a container ended.
    FinishExec {
        /// Which run.
        exec: Uuid,
        /// How.
        outcome: ExecOutcome,
    },
}

/// Why a pod refused a command. A caller can act on every one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum PodRejection {
    /// No pod goes by that name or uid.
    #[error("pod does not exist")]
    NotFound,
    /// A pod of that name runs with another specification.
    #[error("pod `{id}` exists with another specification (`{path}` differs); delete it first")]
    SpecConflict {
        /// The name.
        id: PodId,
        /// The first field that differs.
        path: String,
    },
    /// A pod of that name is on its way out.
    #[error("pod `{id}` is being deleted; wait until it is gone")]
    BeingDeleted {
        /// The name.
        id: PodId,
    },
    /// The incarnation is gone.
    #[error("pod is gone")]
    Terminated,
    /// The node takes no new pods.
    #[error("the node is cordoned: {reason}")]
    Cordoned {
        /// Why.
        reason: String,
    },
    /// What is asked cannot follow the state that the pod is in.
    #[error("pod is {phase}; it cannot {verb} now")]
    WrongPhase {
        /// Its state.
        phase: String,
        /// What was asked.
        verb: String,
    },
    /// The pod has no such container.
    #[error("pod has no container `{container}`; it has {known}")]
    NoSuchContainer {
        /// What was asked for.
        container: String,
        /// What there is.
        known: String,
    },
    /// The pod has several containers and none was named.
    #[error("pod has several containers ({known}); name one")]
    AmbiguousContainer {
        /// What there is.
        known: String,
    },
    /// The container does not run.
    #[error("container `{container}` does not run ({state})")]
    NotRunning {
        /// Which.
        container: ContainerName,
        /// Its state.
        state: String,
    },
    /// A report speaks of a try that is not the present one.
    #[error("attempt {attempt} of container `{container}` is not the one that was asked for")]
    StaleAttempt {
        /// Which container.
        container: ContainerName,
        /// Which try.
        attempt: u32,
    },
    /// A report speaks of a setup that is not the present one.
    #[error("setup {attempt} of run {run} is not the one that was asked for")]
    StaleSetup {
        /// Which run of the pod.
        run: u32,
        /// Which try.
        attempt: u32,
    },
    /// As many commands run in the pod as may.
    #[error("{open} commands already run in this pod; wait for one to end")]
    TooManyExecs {
        /// How many run.
        open: usize,
    },
    /// No command was given.
    #[error("no command was given")]
    EmptyCommand,
    /// The ledger does not give it what it asks for.
    #[error("{error}")]
    Resources {
        /// Why.
        error: LedgerRejection,
    },
    /// A part of a pod that cannot change while it goes on.
    #[error("`{path}` cannot be changed in place: {reason}; delete the pod and apply it again")]
    NotResizable {
        /// Which, as in a manifest.
        path: String,
        /// Why.
        reason: String,
    },
    /// The runtime cannot change what runs.
    #[error(
        "what runs of the pod cannot be resized in place: {reason}; replace it: delete the pod and apply it again"
    )]
    NeedsReplacement {
        /// Why.
        reason: String,
    },
    /// It is being resized already.
    #[error("the pod is being resized (generation {generation}); try again once that is over")]
    ResizeInProgress {
        /// The generation that is to be.
        generation: u32,
    },
    /// A limit of memory that is less than what is used.
    #[error(
        "container `{container}` has {used} of memory in use, which is more than the limit of {limit} asked for"
    )]
    BelowUse {
        /// Which.
        container: ContainerName,
        /// What was asked for.
        limit: Bytes,
        /// What it uses.
        used: Bytes,
    },
    /// Limits and requests that cannot be.
    #[error("`{path}` {message}")]
    BadResize {
        /// Where, as in a manifest.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// What was seen or done about its violations cannot be recorded.
    #[error("{error}")]
    Violation {
        /// Why.
        error: ViolationRejection,
    },
    /// No such run of a command is open.
    #[error("no such command runs in this pod")]
    NoSuchExec,
    /// The pod is on record, and nothing may be done with it now.
    #[error(
        "pod `{id}` is on record, but this node cannot act on it now: its runtime is missing, or its records are in \
         quarantine (see the log of the service)"
    )]
    Unmanaged {
        /// The name.
        id: PodId,
    },
}

impl From<ViolationRejection> for PodRejection {
    fn from(error: ViolationRejection) -> PodRejection {
        PodRejection::Violation { error }
    }
}

impl From<LedgerRejection> for PodRejection {
    fn from(error: LedgerRejection) -> PodRejection {
        PodRejection::Resources { error }
    }
}

impl PodRejection {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            PodRejection::NotFound => "pod-not-found",
            PodRejection::SpecConflict { .. } => "spec-conflict",
            PodRejection::BeingDeleted { .. } => "being-deleted",
            PodRejection::Terminated => "pod-gone",
            PodRejection::Cordoned { .. } => "cordoned",
            PodRejection::WrongPhase { .. } => "wrong-phase",
            PodRejection::NoSuchContainer { .. } => "no-such-container",
            PodRejection::AmbiguousContainer { .. } => "ambiguous-container",
            PodRejection::NotRunning { .. } => "container-not-running",
            PodRejection::StaleAttempt { .. } => "stale-attempt",
            PodRejection::StaleSetup { .. } => "stale-setup",
            PodRejection::TooManyExecs { .. } => "too-many-execs",
            PodRejection::EmptyCommand => "empty-command",
            PodRejection::Resources { error } => error.code(),
            PodRejection::NotResizable { .. } => "not-resizable",
            PodRejection::NeedsReplacement { .. } => "needs-replacement",
            PodRejection::ResizeInProgress { .. } => "resize-in-progress",
            PodRejection::BelowUse { .. } => "below-use",
            PodRejection::BadResize { .. } => "bad-resize",
            PodRejection::Violation { error } => error.code(),
            PodRejection::NoSuchExec => "no-such-exec",
            PodRejection::Unmanaged { .. } => "unmanaged",
        }
    }
}
