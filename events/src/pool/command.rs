//! What may be asked of a pool, and why it may refuse.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::StaleReason;
use super::freeze::LocalTime;
use super::names::{PoolName, TaskId, Token};
use super::spec::{Digest, PoolSpec};
use super::spec_error::PoolSpecError;
use super::task::{TaskExit, TaskResult, TaskSpec};
use super::task_error::TaskError;
use crate::ids::PodUid;
use crate::units::Timestamp;

/// A request to a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolCommand {
    /// Be this. A pool that gave up making pods tries again, also if it is to be what it is.
    SetSpec {
        /// The pool's name.
        name: PoolName,
        /// What it is to be.
        spec: Box<PoolSpec>,
    },
    /// Go: no task comes in any more, those that wait are cancelled.
    Delete {
        /// Whether tasks that run or wait for their confirmation are ended as well.
        force: bool,
    },
    /// Let freeze windows not count for a while.
    Unfreeze {
        /// Until when; at most 31 days ahead.
        until: Timestamp,
    },
    /// What the references hold now; those that are not named are as they were.
    ReportReferences {
        /// Their content.
        digests: Vec<Digest>,
    },
    /// A member's pod was admitted.
    ReportAdmitted {
        /// Which.
        member: u64,
        /// Its pod.
        pod: PodUid,
    },
    /// A member's pod could not be admitted.
    ReportRequestFailed {
        /// Which.
        member: u64,
        /// Why.
        reason: String,
    },
    /// A member's pod could not be admitted because the node takes no more now.
    ReportNoRoom {
        /// Which.
        member: u64,
        /// What there is too little of.
        reason: String,
    },
    /// A member's pod has the sizes of the template.
    ReportResized {
        /// Which.
        member: u64,
        /// Of which revision.
        revision: u64,
    },
    /// A member's pod could not have them.
    ReportResizeFailed {
        /// Which.
        member: u64,
        /// Of which revision.
        revision: u64,
        /// Why.
        reason: String,
    },
    /// A member's pod ended, failed or is gone, without having been asked to.
    ReportPodEnded {
        /// Which.
        member: u64,
        /// What became of the pod.
        detail: String,
    },
    /// Nothing is left of the pod of a member that was leaving or lost.
    ReportRemoved {
        /// Which.
        member: u64,
    },
    /// An agent is there. What was begun and is not among what it has is lost; what was not begun is ordered again.
    Connect {
        /// Whose.
        member: u64,
        /// Its session: the same one as long as the agent lives.
        session: Uuid,
        /// What it says of itself.
        version: String,
        /// Whether it has nothing of a life before, plans among it.
        fresh: bool,
        /// The tasks that it has, in slots that run.
        has: Vec<(TaskId, Token)>,
    },
    /// An agent is not there.
    Disconnect {
        /// Whose.
        member: u64,
        /// Its session.
        session: Uuid,
        /// Whether it said that it leaves: what it still had is lost.
        left: bool,
    },
    /// An agent takes nothing more. What it was given and has not taken yet waits again.
    AgentLeaving {
        /// Whose.
        member: u64,
        /// Its session.
        session: Uuid,
        /// The tasks that it has, in slots that run.
        has: Vec<(TaskId, Token)>,
    },
    /// How often an agent was refused a word since that was counted last.
    ReportRefusals {
        /// Whose.
        member: u64,
        /// How often.
        count: u64,
    },
    /// Nothing was heard of a member's agent, since it was connected last or since its pod was admitted.
    ReportSilent {
        /// Whose.
        member: u64,
        /// For how long, in milliseconds, while the service ran.
        silent_ms: u64,
    },
    /// The service starts: no agent is there until it connects.
    AgentsAway,
    /// Do this.
    Submit {
        /// What.
        spec: Box<TaskSpec>,
    },
    /// Apply what was planned.
    Confirm {
        /// Which.
        task: TaskId,
    },
    /// Do not apply what was planned.
    Discard {
        /// Which.
        task: TaskId,
    },
    /// End this.
    Cancel {
        /// Which.
        task: TaskId,
    },
    /// An agent tells how far a task is.
    Report {
        /// Whose agent.
        member: u64,
        /// Which task.
        task: TaskId,
        /// By what it has the slot.
        token: Token,
        /// How far it is.
        report: TaskReport,
    },
    /// Time passes: what is due is done.
    Tick {
        /// What the clock on the wall says in the pool's time zone.
        local: LocalTime,
    },
}

/// How far a task is, as its agent tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskReport {
    /// It begins. An agent starts no process before this was answered.
    Started,
    /// Its plan is there.
    Planned {
        /// Whether there is anything to apply.
        changes: bool,
        /// What it comes to, in the agent's words.
        summary: String,
    },
    /// Its process has ended.
    Finished {
        /// How; none if it could not be started.
        exit: Option<TaskExit>,
        /// Why, in short.
        message: String,
        /// Whether the agent ended it because it took too long.
        timed_out: bool,
        /// Whether the agent ended it because it was to.
        cancelled: bool,
    },
}

/// Why a pool refused a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum PoolRejection {
    /// It was never made, or is gone.
    #[error("there is no such pool")]
    NoSuchPool,
    /// It goes.
    #[error("the pool is being removed")]
    Leaving,
    /// It cannot be such.
    #[error("{error}")]
    BadSpec {
        /// What is wrong.
        error: PoolSpecError,
    },
    /// The stream is another pool's.
    #[error("this is pool {held}, not {asked}")]
    WrongName {
        /// Its name.
        held: PoolName,
        /// The one that was given.
        asked: PoolName,
    },
    /// A task cannot be such.
    #[error("{error}")]
    BadTask {
        /// What is wrong.
        error: TaskError,
    },
    /// Another task has the id.
    #[error("task {task} exists already and is to do something else: draw another id")]
    TaskExists {
        /// Which.
        task: TaskId,
    },
    /// Another pool has a task of that id.
    #[error("task {task} exists already in pool `{pool}`: draw another id")]
    TaskElsewhere {
        /// Which.
        task: TaskId,
        /// Whose.
        pool: PoolName,
    },
    /// Too many wait.
    #[error("{max} tasks wait already, which is the most: try again later")]
    QueueFull {
        /// The most that may wait.
        max: u32,
    },
    /// No such task, or not any more.
    #[error("there is no task {task} in this pool")]
    NoSuchTask {
        /// Which.
        task: TaskId,
    },
    /// There is no plan to be confirmed or discarded.
    #[error("task {task} is {state}, no plan of it waits for a confirmation")]
    NotApplyPending {
        /// Which.
        task: TaskId,
        /// How far it is.
        state: String,
    },
    /// The agent that has the plan is not there.
    #[error("the agent that has the plan of task {task} is away: try again once it is back")]
    AgentAway {
        /// Which.
        task: TaskId,
    },
    /// It is over already.
    #[error("task {task} has ended already ({})", .result.word())]
    TaskOver {
        /// Which.
        task: TaskId,
        /// How.
        result: TaskResult,
    },
    /// A plan that was confirmed or is past its time.
    #[error("the confirmation of task {task} came too late: its time was over at {expired_at}")]
    TooLate {
        /// Which.
        task: TaskId,
        /// When its time was over.
        expired_at: Timestamp,
    },
    /// Somebody spoke for a slot that he does not have. That he did is on record.
    #[error("token {token} does not stand for task {task} any more")]
    StaleToken {
        /// Which task.
        task: TaskId,
        /// By what.
        token: Token,
        /// Why.
        reason: StaleReason,
    },
    /// The task is in no phase in which that can be.
    #[error("task {task} is in no phase in which it can be {report}")]
    OutOfPhase {
        /// Which.
        task: TaskId,
        /// What was told.
        report: String,
    },
    /// No such member, or not any more.
    #[error("there is no member {member} in this pool")]
    NoSuchMember {
        /// Which.
        member: u64,
    },
    /// A member is as far as that cannot be.
    #[error("member {member} is {state}")]
    WrongPhase {
        /// Which.
        member: u64,
        /// How far it is.
        state: String,
    },
    /// Another session of the same agent is the present one.
    #[error("the session of member {member} is over: another one has begun")]
    SessionOver {
        /// Whose.
        member: u64,
    },
    /// An agent was not silent for long enough.
    #[error("member {member} is lost after {offline_after_ms} ms of silence, not before")]
    NotSilent {
        /// Which.
        member: u64,
        /// The bound.
        offline_after_ms: u64,
    },
    /// A thaw that is over, or too long.
    #[error("a pool may be unfrozen until a moment of the next 31 days")]
    BadUntil,
    /// What was told of a reference cannot be.
    #[error("digests must be of the pool's own references and have at most 128 bytes")]
    BadDigest,
}

impl PoolRejection {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            PoolRejection::NoSuchPool => "no-such-pool",
            PoolRejection::Leaving => "pool-leaving",
            PoolRejection::BadSpec { .. } => "bad-pool",
            PoolRejection::WrongName { .. } => "wrong-pool",
            PoolRejection::BadTask { .. } => "bad-task",
            PoolRejection::TaskExists { .. } | PoolRejection::TaskElsewhere { .. } => "task-exists",
            PoolRejection::QueueFull { .. } => "queue-full",
            PoolRejection::NoSuchTask { .. } => "no-such-task",
            PoolRejection::NotApplyPending { .. } => "not-apply-pending",
            PoolRejection::AgentAway { .. } => "agent-away",
            PoolRejection::TaskOver { .. } => "task-over",
            PoolRejection::TooLate { .. } => "too-late",
            PoolRejection::StaleToken { .. } => "stale-token",
            PoolRejection::OutOfPhase { .. } => "out-of-phase",
            PoolRejection::NoSuchMember { .. } => "no-such-member",
            PoolRejection::WrongPhase { .. } => "wrong-phase",
            PoolRejection::SessionOver { .. } => "session-over",
            PoolRejection::NotSilent { .. } => "not-silent",
            PoolRejection::BadUntil => "bad-until",
            PoolRejection::BadDigest => "bad-digest",
        }
    }
}
