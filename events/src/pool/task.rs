//! A task: what is to be done in a slot, and how far it is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{CancelReason, RequeueReason};
use super::names::{SlotKey, TaskId, Token, Workspace};
use crate::pod::spec::EnvVar;
use crate::units::Timestamp;

/// What is to be done. On disk for ever inside `pool.task-submitted` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskSpec {
    /// Its id, drawn by whoever submits it.
    pub id: TaskId,
    /// What kind of work it is.
    pub kind: TaskKind,
    /// What it is about, if anything. Applies of one workspace come one after the other.
    pub workspace: Option<Workspace>,
    /// Who comes first where not all find a slot: more before less.
    pub priority: i32,
    /// Program and arguments; of a plan with an apply, those of the plan.
    pub argv: Vec<String>,
    /// Program and arguments of the apply that follows a plan; empty for every other kind.
    pub apply_argv: Vec<String>,
    /// Environment beside the agent's own. It is on record as it is written here.
    pub env: Vec<EnvVar>,
    /// Variables whose values are read where the node runs, and are on no record.
    #[serde(default)]
    pub secrets: Vec<SecretVar>,
    /// Working folder, absolute or below the task's own, which it is if none.
    pub working_dir: Option<String>,
    /// How long each phase may take, in seconds; as the pool says if none.
    pub timeout_s: Option<u32>,
    /// For people and filters.
    pub labels: BTreeMap<String, String>,
}

impl TaskSpec {
    /// Program and arguments of a phase.
    #[must_use]
    pub fn argv_of(&self, phase: Phase) -> &[String] {
        match phase {
            Phase::Apply => &self.apply_argv,
            Phase::Plan | Phase::Only => &self.argv,
        }
    }

    /// The phase in which it begins.
    #[must_use]
    pub fn first_phase(&self) -> Phase {
        match self.kind {
            TaskKind::PlanAndApply => Phase::Plan,
            TaskKind::Plan | TaskKind::Apply | TaskKind::DriftCheck | TaskKind::Work => Phase::Only,
        }
    }

    /// The workspace that it has for itself as long as it runs or waits for its confirmation, if any.
    #[must_use]
    pub fn locks(&self) -> Option<&Workspace> {
        self.workspace.as_ref().filter(|_| self.kind.applies())
    }
}

/// A variable of a task whose value is a secret that its pool names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretVar {
    /// The variable.
    pub name: String,
    /// The secret: one of the pool's references.
    pub secret: String,
    /// Which file of it, if it is a folder.
    pub key: Option<String>,
}

/// What kind of work a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Looks what would change.
    Plan,
    /// Changes something.
    Apply,
    /// Looks what would change, waits for somebody's word, and changes it.
    PlanAndApply,
    /// Looks whether something has changed by itself.
    DriftCheck,
    /// Anything else.
    Work,
}

impl TaskKind {
    /// Every kind.
    pub const ALL: [TaskKind; 5] =
        [TaskKind::Plan, TaskKind::Apply, TaskKind::PlanAndApply, TaskKind::DriftCheck, TaskKind::Work];

    /// Whether it changes something, now or later.
    #[must_use]
    pub fn applies(self) -> bool {
        matches!(self, TaskKind::Apply | TaskKind::PlanAndApply)
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            TaskKind::Plan => "plan",
            TaskKind::Apply => "apply",
            TaskKind::PlanAndApply => "plan_and_apply",
            TaskKind::DriftCheck => "drift_check",
            TaskKind::Work => "work",
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What of a task runs in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// The plan before an apply.
    Plan,
    /// The apply after its confirmation.
    Apply,
    /// All of it.
    Only,
}

/// A task that was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// What is to be done.
    pub spec: Arc<TaskSpec>,
    /// Its number among the tasks of the pool, from 1: who came first.
    pub order: u64,
    /// How far it is.
    pub state: TaskState,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Since when it is as far.
    pub since: Timestamp,
    /// How often it was given a slot from its beginning.
    pub attempts: u32,
    /// That it is to end, if somebody wants that.
    pub cancel: Option<Cancel>,
    /// How its last try was lost, if one was.
    pub last_loss: Option<Loss>,
    /// The token of the last report that brought it on: told again, it is so already.
    pub told: Option<Token>,
}

/// That a task is to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Why.
    pub reason: CancelReason,
    /// Since when.
    pub at: Timestamp,
}

/// How a try of a task was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// Why.
    pub reason: RequeueReason,
    /// Whether it may have done a part of its work, or all of it.
    pub may_have_run: bool,
    /// When.
    pub at: Timestamp,
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state", rename_all_fields = "camelCase")]
pub enum TaskState {
    /// It has no slot.
    Pending {
        /// Before when it is not tried again, if it was tried.
        not_before: Option<Timestamp>,
    },
    /// It has a slot.
    Running {
        /// What of it runs.
        phase: Phase,
        /// Where.
        slot: SlotKey,
        /// Shows that one has the slot.
        token: Token,
        /// Whether the agent has begun with it.
        started: bool,
        /// From when on it has taken too long.
        deadline: Timestamp,
    },
    /// Its plan waits for somebody's word; the slot is kept for it.
    ApplyPending {
        /// Where the plan is.
        slot: SlotKey,
        /// Shows that one has the slot.
        token: Token,
        /// From when on it is too late.
        expires_at: Timestamp,
        /// What the plan comes to, in the agent's words.
        summary: String,
        /// When it was confirmed, if it was and waits for the rest of its pod to be idle.
        #[serde(default)]
        confirmed_at: Option<Timestamp>,
    },
    /// It is over.
    Ended {
        /// How.
        result: TaskResult,
        /// How its last process ended, if it came to that.
        exit: Option<TaskExit>,
        /// Why, in short.
        message: String,
    },
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskResult {
    /// A plan with nothing to apply.
    PlannedAndFinished,
    /// Done.
    Success,
    /// Applied.
    Applied,
    /// It failed.
    Failed,
    /// Somebody wanted it to end.
    Cancelled,
}

impl TaskResult {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            TaskResult::PlannedAndFinished => "planned_and_finished",
            TaskResult::Success => "success",
            TaskResult::Applied => "applied",
            TaskResult::Failed => "failed",
            TaskResult::Cancelled => "cancelled",
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskExit {
    /// By itself, with a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl fmt::Display for TaskExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskExit::Code(code) => write!(f, "exit code {code}"),
            TaskExit::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl Task {
    /// The word for how far it is. A task that waits for a workspace is `pending` here: see [`super::Pool::why_waits`].
    #[must_use]
    pub fn word(&self) -> &'static str {
        match &self.state {
            TaskState::Pending { .. } => "pending",
            TaskState::Running { .. } => "running",
            TaskState::ApplyPending { .. } => "apply_pending",
            TaskState::Ended { result, .. } => result.word(),
        }
    }

    /// The slot that it has, running or reserved, and what shows that.
    #[must_use]
    pub fn slot(&self) -> Option<(SlotKey, Token)> {
        match &self.state {
            TaskState::Running { slot, token, .. } | TaskState::ApplyPending { slot, token, .. } => {
                Some((*slot, *token))
            }
            TaskState::Pending { .. } | TaskState::Ended { .. } => None,
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, TaskState::Ended { .. })
    }
}
