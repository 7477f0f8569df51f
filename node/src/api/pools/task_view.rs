//! What callers see of a task.

use std::collections::BTreeMap;

use purser_events::pool::event::{CancelReason, RequeueReason};
use purser_events::pool::wait::Wait;
use purser_events::pool::{Phase, Pool, PoolName, SecretVar, Task, TaskExit, TaskId, TaskState};
use purser_events::{Timestamp, World};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskView {
    /// Its id.
    pub id: String,
    /// The pool that it is in.
    pub pool: String,
    /// `plan`, `apply`, `plan_and_apply`, `drift_check` or `work`.
    pub kind: String,
    /// `pending`, `waiting` behind its workspace, `running`, `apply_pending`, `planned_and_finished`, `success`, `applied`,
    /// `failed` or `cancelled`.
    pub state: String,
    /// Why it does not run, in a sentence; absent if it runs or has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_because: Option<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Who comes first: more before less.
    pub priority: i32,
    /// Program and arguments; of a plan with an apply, those of the plan.
    pub argv: Vec<String>,
    /// Program and arguments of the apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apply_argv: Vec<String>,
    /// The names of its variables; values may be secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_names: Vec<String>,
    /// The variables whose values are secrets, with where those are: as in `cloud/token`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_env: BTreeMap<String, String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was submitted.
    #[schema(value_type = String, format = DateTime)]
    pub submitted_at: Timestamp,
    /// Since when it is in its state.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// How often it was given a slot from its beginning.
    pub attempts: u32,
    /// The slot that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<TaskSlotView>,
    /// Before when it is not tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// Whether its plan was confirmed and waits for the rest of its pod to be idle.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confirmed: bool,
    /// What its plan comes to, while that waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// That it is to end, if somebody wants that: `requested`, `timed-out` or `pool-removed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
    /// How its last try was lost, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_loss: Option<String>,
    /// The exit code of its last process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended its last process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it ended as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What is on record of it, the oldest first, as the feed has it; absent in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub history: Vec<Value>,
}

/// The slot that a task has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskSlotView {
    /// The name of the pod.
    pub pod: String,
    /// The pod's number in the pool.
    pub member: u64,
    /// Which slot of it, from 0.
    pub slot: u8,
    /// Shows that the task has the slot.
    pub token: u64,
    /// What of it runs there: `plan`, `apply` or `only`; absent while its plan waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Whether its agent has begun with it.
    pub started: bool,
    /// From when on it has taken too long, or its plan is dropped.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

/// Tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskList {
    /// The record up to which this speaks.
    pub seq: u64,
    /// How many there are, of which only the newest are listed.
    pub total: u64,
    /// The tasks, the newest first.
    pub items: Vec<TaskView>,
}

/// A task of some pool, with the pool.
#[must_use]
pub fn find(world: &World, id: TaskId) -> Option<(PoolName, Pool)> {
    let found = world.pools.iter().find(|(_, pool)| pool.task(id).is_some());
    found.map(|(name, pool)| (name.clone(), pool.clone()))
}

impl TaskView {
    /// A task as lists have it.
    #[must_use]
    pub fn of(name: &PoolName, pool: &Pool, task: &Task, now: Timestamp) -> TaskView {
        let spec = &*task.spec;
        let mut view = TaskView {
            id: spec.id.to_string(),
            pool: name.to_string(),
            kind: spec.kind.to_string(),
            state: task.word().to_owned(),
            waits_because: None,
            workspace: spec.workspace.as_ref().map(ToString::to_string),
            priority: spec.priority,
            argv: spec.argv.clone(),
            apply_argv: spec.apply_argv.clone(),
            env_names: spec.env.iter().map(|variable| variable.name.clone()).collect(),
            secret_env: spec.secrets.iter().map(secret_shown).collect(),
            labels: spec.labels.clone(),
            submitted_at: task.submitted_at,
            since: task.since,
            attempts: task.attempts,
            slot: TaskSlotView::of(name, task),
            not_before: None,
            confirmed: matches!(task.state, TaskState::ApplyPending { confirmed_at: Some(_), .. }),
            summary: None,
            cancel: task.cancel.as_ref().map(|cancel| cancel_word(cancel.reason).to_owned()),
            last_loss: task.last_loss.as_ref().map(|loss| {
                let may = if loss.may_have_run { "; it may have done a part of its work" } else { "" };
                format!("at {}: {}{may}", loss.at, requeue_sentence(&loss.reason))
            }),
            exit_code: None,
            signal: None,
            message: None,
            history: vec![],
        };
        match &task.state {
            TaskState::Pending { not_before } => {
                view.not_before = *not_before;
                view.tell_why_it_waits(pool, task, now);
            }
            TaskState::Running { .. } => {}
            TaskState::ApplyPending { summary, .. } => {
                view.summary = Some(summary.clone());
                view.waits_because = Some("its plan waits for somebody to confirm or discard it".to_owned());
                view.tell_why_it_waits(pool, task, now);
            }
            TaskState::Ended { exit, message, .. } => {
                view.message = Some(message.clone()).filter(|message| !message.is_empty());
                match exit {
                    Some(TaskExit::Code(code)) => view.exit_code = Some(*code),
                    Some(TaskExit::Signal(signal)) => view.signal = Some(*signal),
                    None => {}
                }
            }
        }
        view
    }

    fn tell_why_it_waits(&mut self, pool: &Pool, task: &Task, now: Timestamp) {
        let Some(why) = pool.why_waits(task.spec.id, now) else { return };
        if matches!(why, Wait::Workspace { .. } | Wait::BehindInWorkspace { .. }) {
            "waiting".clone_into(&mut self.state);
        }
        self.waits_because = Some(why.to_string());
    }
}

/// A variable, and where its secret is.
fn secret_shown(variable: &SecretVar) -> (String, String) {
    let SecretVar { name, secret, key } = variable;
    (name.clone(), key.as_ref().map_or_else(|| secret.clone(), |key| format!("{secret}/{key}")))
}

impl TaskSlotView {
    fn of(pool: &PoolName, task: &Task) -> Option<TaskSlotView> {
        let (key, token) = task.slot()?;
        let (phase, started, until) = match &task.state {
            TaskState::Running { phase, started, deadline, .. } => {
                (Some(phase_word(*phase)), *started, *deadline)
            }
            TaskState::ApplyPending { expires_at, .. } => (None, false, *expires_at),
            TaskState::Pending { .. } | TaskState::Ended { .. } => return None,
        };
        Some(TaskSlotView {
            pod: pool.pod_name(key.member),
            member: key.member,
            slot: key.slot,
            token: token.0,
            phase: phase.map(str::to_owned),
            started,
            until,
        })
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Plan => "plan",
        Phase::Apply => "apply",
        Phase::Only => "only",
    }
}

/// The word for why a task is to end.
#[must_use]
pub fn cancel_word(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::Requested => "requested",
        CancelReason::TimedOut => "timed-out",
        CancelReason::PoolRemoved => "pool-removed",
    }
}

/// Why a task had to be put back into the queue.
#[must_use]
pub fn requeue_sentence(reason: &RequeueReason) -> String {
    match reason {
        RequeueReason::MemberLost => "its pod was lost".to_owned(),
        RequeueReason::AgentRestarted => "its agent has begun anew".to_owned(),
        RequeueReason::AgentLostIt => "its agent did not have it any more".to_owned(),
        RequeueReason::AgentLeft => "its agent has left".to_owned(),
        RequeueReason::PlanLost => "its plan was lost with its pod: it must plan again".to_owned(),
        RequeueReason::Failed { exit: Some(exit) } => format!("it failed: {exit}"),
        RequeueReason::Failed { exit: None } => "it failed".to_owned(),
    }
}
