//! What a pod is at a moment. How it changes is in `evolve`, what may be asked in `decide`, what it does by
//! itself in `advance`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::{
    Exit, ExitReason, FailureClass, FailureReason, PodEvent, ResolvedImage, StopCause, StopReason, StopWhy,
};
use super::resize::Resize;
use super::spec::{PodSpec, RestartPolicy, Role};
use super::{PodCommand, PodRejection, advance, decide, evolve};
use crate::context::Context;
use crate::decider::{Decider, IllegalTransition};
use crate::ids::{PodUid, StreamKind, WorkerUid};
use crate::names::{ContainerName, PodId};
use crate::units::Timestamp;
use crate::violation::Violations;
use crate::worker::ProcessIdentity;

/// One incarnation of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "existence")]
pub enum Pod {
    /// It was never admitted.
    #[default]
    Unknown,
    /// It was admitted and is not gone.
    Live(Box<PodState>),
    /// It is gone.
    Terminated {
        /// What it was called.
        id: PodId,
        /// Which incarnation it was.
        uid: PodUid,
        /// Restarts of its containers in all.
        restarts: u32,
        /// When it went.
        at: Timestamp,
    },
}

/// What is known of a pod that is not gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodState {
    /// Which incarnation it is.
    pub uid: PodUid,
    /// What it is to be.
    pub spec: Arc<PodSpec>,
    /// The incarnation that had its name before.
    pub supersedes: Option<PodUid>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Runs so far; `start` after a stop begins another.
    pub run: u32,
    /// Whether images and volumes of this run are there.
    pub setup: Setup,
    /// Its containers in the order of the manifest, init containers first.
    pub containers: Vec<Container>,
    /// Commands that run in it, by their id.
    pub execs: BTreeMap<Uuid, ContainerName>,
    /// When every container of this run had been started.
    pub started_at: Option<Timestamp>,
    /// Whether it waits in the ledger's queue.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_resources: bool,
    /// On what account it was stopped last, in this run of it.
    #[serde(default, skip_serializing_if = "StopWhy::is_asked")]
    pub stop_why: StopWhy,
    /// Its violations: of its own limits, not of its share of a GPU.
    #[serde(default, skip_serializing_if = "Violations::is_empty")]
    pub violations: Violations,
    /// The change of its sizes that it saw last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Admitted, nothing done yet.
    Pending,
    /// Images, volumes, init containers and first starts are under way.
    Provisioning,
    /// Every container has been started.
    Running,
    /// Its containers are asked to end; it stays.
    Stopping {
        /// Seconds until the kill.
        grace_s: u32,
    },
    /// Nothing of it runs; it can be started again.
    Stopped(StopCause),
    /// Its containers are asked to end and it is to go.
    Terminating {
        /// Seconds until the kill.
        grace_s: u32,
        /// Whether its traces are being removed already.
        cleaning: bool,
    },
    /// A container failed for good and nothing of it runs.
    Failed(FailureReason),
}

/// Whether images and volumes are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setup {
    /// Not asked for yet.
    NotBegun,
    /// Asked for: an open intent.
    Requested {
        /// Which try, from 1.
        attempt: u32,
    },
    /// Failed, to be tried again.
    Failed {
        /// Which try failed.
        attempt: u32,
        /// What kind of failure it was.
        class: FailureClass,
        /// What the runtime said.
        message: String,
        /// When it is tried again.
        retry_at: Timestamp,
    },
    /// Done.
    Done,
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its name within the pod.
    pub name: ContainerName,
    /// Whether it prepares the pod or is what the pod is for.
    pub role: Role,
    /// What it does.
    pub state: ContainerState,
    /// Tries to run it so far, over all runs of the pod.
    pub attempts: u32,
    /// Times that it was started again after it had ended.
    pub restarts: u32,
    /// Waits in a row so far.
    pub back_off_step: u32,
    /// Whether it has been started in this run of the pod.
    pub up_in_run: bool,
    /// Times that the kernel killed something in it for want of memory.
    pub oom_kills: u32,
    /// How it ended last.
    pub last_exit: Option<Exit>,
    /// How long its last try ran, in milliseconds.
    pub last_run_ms: u64,
    /// The image that setup found for it.
    pub image: Option<ResolvedImage>,
    /// Tries that ended and of which the runtime may still hold something.
    pub garbage: BTreeSet<u32>,
}

/// One try to run a container, once it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Which try, from 1.
    pub number: u32,
    /// The worker that it is.
    pub worker: WorkerUid,
    /// Its main process.
    pub process: ProcessIdentity,
    /// When it started.
    pub started_at: Timestamp,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Its turn has not come.
    Waiting,
    /// The runtime was asked to start it: an open intent.
    Creating {
        /// Which try, from 1.
        attempt: u32,
        /// The worker that it will be.
        worker: WorkerUid,
    },
    /// The runtime could not start it; a restart is about to be scheduled.
    CreateFailed {
        /// What kind of failure it was.
        class: FailureClass,
        /// What the runtime said.
        message: String,
    },
    /// It runs.
    Running {
        /// What runs.
        attempt: Attempt,
        /// Whether its startup probe has succeeded, or it has none.
        startup_passed: bool,
        /// Whether it can serve.
        ready: bool,
    },
    /// It was asked to end: an open intent.
    Stopping {
        /// What runs.
        attempt: Attempt,
        /// Why.
        reason: StopReason,
        /// When it is killed.
        deadline: Timestamp,
        /// Whether it was.
        killed: bool,
    },
    /// It waits to be started again.
    BackOff {
        /// Until when.
        until: Timestamp,
        /// Why it is not up: an exit, or what the runtime said.
        why: String,
        /// Whether it ran before, so that the next try counts as a restart.
        restart: bool,
    },
    /// It ended.
    Exited {
        /// How.
        exit: Exit,
        /// Whether it was made to end by a probe that failed.
        by_probe: bool,
    },
}

impl Pod {
    /// The word for its state, as in the manual.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Pod::Unknown => "Unknown",
            Pod::Live(pod) => pod.phase.word(),
            Pod::Terminated { .. } => "Terminated",
        }
    }

    /// What is known of it, if it is there.
    #[must_use]
    pub fn live(&self) -> Option<&PodState> {
        match self {
            Pod::Live(pod) => Some(pod),
            Pod::Unknown | Pod::Terminated { .. } => None,
        }
    }
}

impl Phase {
    /// Every word for a phase.
    pub const WORDS: [&'static str; 7] =
        ["Pending", "Provisioning", "Running", "Stopping", "Stopped", "Terminating", "Failed"];

    /// The word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Provisioning => "Provisioning",
            Phase::Running => "Running",
            Phase::Stopping { .. } => "Stopping",
            Phase::Stopped(_) => "Stopped",
            Phase::Terminating { .. } => "Terminating",
            Phase::Failed(_) => "Failed",
        }
    }
}

impl PodState {
    /// The container of that name, if there is one.
    #[must_use]
    pub fn container(&self, name: &ContainerName) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == *name)
    }

    /// The containers that the pod is for.
    pub fn apps(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.role == Role::App)
    }

    /// The containers that prepare the pod.
    pub fn inits(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.role == Role::Init)
    }

    /// Whether the pod runs and every container can serve.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running && self.apps().all(Container::is_ready)
    }

    /// Restarts of its containers in all.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.containers.iter().map(|container| container.restarts).sum()
    }

    /// The next moment at which the pod does something by itself, if it waits for one.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        // While it waits for resources, what stands there is of the run before.
        let goes_on = self.is_wanted() && !self.awaits_resources;
        let setup = match self.setup {
            Setup::Failed { retry_at, .. } if goes_on => Some(retry_at),
            Setup::Failed { .. } | Setup::NotBegun | Setup::Requested { .. } | Setup::Done => None,
        };
        let containers = self.containers.iter().filter_map(|container| match &container.state {
            ContainerState::BackOff { until, .. } if goes_on => Some(*until),
            ContainerState::Stopping { deadline, killed: false, .. } => Some(*deadline),
            _ => None,
        });
        setup.into_iter().chain(containers).min()
    }

    /// Whether the ledger must have something for it: it runs, or is about to.
    #[must_use]
    pub fn holds_resources(&self) -> bool {
        let begins = self.is_wanted() && !self.awaits_resources;
        begins || self.containers.iter().any(|container| !container.is_down())
    }

    /// Whether the ledger may have something for it: not once nothing of it runs, and nothing is to.
    #[must_use]
    pub fn may_hold_resources(&self) -> bool {
        !matches!(self.phase, Phase::Stopped(_) | Phase::Failed(_))
    }

    /// Whether the pod is meant to run.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        matches!(self.phase, Phase::Pending | Phase::Provisioning | Phase::Running)
    }

    /// Whether a container that ended is to be started again.
    #[must_use]
    pub fn restarts_after(&self, exit: &Exit, by_probe: bool) -> bool {
        match self.spec.restart_policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => by_probe || exit.reason != ExitReason::Completed,
            RestartPolicy::Never => false,
        }
    }
}

impl Container {
    /// The try that runs, if one does.
    #[must_use]
    pub fn attempt(&self) -> Option<&Attempt> {
        match &self.state {
            ContainerState::Running { attempt, .. } | ContainerState::Stopping { attempt, .. } => {
                Some(attempt)
            }
            ContainerState::Waiting
            | ContainerState::Creating { .. }
            | ContainerState::CreateFailed { .. }
            | ContainerState::BackOff { .. }
            | ContainerState::Exited { .. } => None,
        }
    }

    /// Whether nothing of it runs or is about to.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.attempt().is_none() && !matches!(self.state, ContainerState::Creating { .. })
    }

    /// Whether it runs and can serve.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.state, ContainerState::Running { ready: true, .. })
    }

    /// The word for its state, in Kubernetes' manner where there is one.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match &self.state {
            ContainerState::Waiting => "Waiting",
            ContainerState::Creating { .. } => "ContainerCreating",
            ContainerState::CreateFailed { class, .. } => class.word(),
            ContainerState::Running { .. } => "Running",
            ContainerState::Stopping { .. } => "Stopping",
            ContainerState::BackOff { .. } if self.last_exit.is_some() => "CrashLoopBackOff",
            ContainerState::BackOff { .. } => "CreateBackOff",
            ContainerState::Exited { exit, .. } => exit.reason.word(),
        }
    }
}

impl Decider for Pod {
    type Command = PodCommand;
    type Event = PodEvent;
    type Rejection = PodRejection;

    const KIND: StreamKind = StreamKind::Pod;

    fn decide(&self, command: &PodCommand, context: &Context) -> Result<Vec<PodEvent>, PodRejection> {
        let events = decide::answer(self, command, context)?;
        Ok(advance::complete(self, events, context))
    }

    fn evolve(&self, event: &PodEvent) -> Result<Pod, IllegalTransition> {
        let mut next = self.clone();
        next.follow(event)?;
        Ok(next)
    }

    fn follow(&mut self, event: &PodEvent) -> Result<(), IllegalTransition> {
        evolve::follow(self, event)
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Pod::Terminated { .. })
    }
}
