//! What happens to a pool. Payloads are on disk for ever, see [`crate::pod::event`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::names::{PoolName, SlotKey, TaskId, Token};
pub use super::reason::{CancelReason, LossReason, MemberRemovalReason, RequeueReason, StaleReason};
pub use super::resize::{MemberResizeFailed, MemberResizeRequested, MemberResized};
use super::scale::Verdict;
pub use super::setback::{MemberNoRoom, MemberRequestFailed, Setback, SetbacksOver};
use super::spec::{Digest, PoolSpec};
use super::task::{Phase, TaskExit, TaskResult, TaskSpec};
use crate::ids::PodUid;
use crate::units::Timestamp;

/// What has happened to one pool.
///
/// On disk for ever: append a variant at the end; never edit, reorder or remove one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolEvent {
    /// It is to be this.
    SpecSet(Box<SpecSet>),
    /// It is to go.
    RemovalRequested(RemovalRequested),
    /// It is gone; its stream goes on if it is made again.
    Removed(Removed),
    /// There is to be one pod more: an intent.
    MemberRequested(MemberRequested),
    /// A member's pod was admitted.
    MemberAdmitted(MemberAdmitted),
    /// A member's pod could not be admitted.
    MemberRequestFailed(MemberRequestFailed),
    /// An idle member is to go: an intent.
    MemberRemovalRequested(MemberRemovalRequested),
    /// A member's pod is gone.
    MemberRemoved(MemberRemoved),
    /// A member is of no use any more; what is left of its pod is to be removed: an intent.
    MemberLost(MemberLost),
    /// A member's agent is there.
    AgentConnected(AgentConnected),
    /// A member's agent is not there.
    AgentDisconnected(AgentDisconnected),
    /// The service starts: no agent is there until it says so.
    AgentsAway(AgentsAway),
    /// What the pods read is another than it was.
    ReferencesChanged(ReferencesChanged),
    /// A task came.
    TaskSubmitted(Box<TaskSubmitted>),
    /// A task has a slot.
    TaskAssigned(TaskAssigned),
    /// An agent begins with a task, or with its second phase.
    TaskStarted(TaskStarted),
    /// A task's plan is there, and the slot is kept for its apply.
    TaskPlanned(TaskPlanned),
    /// A plan is to be applied: the slot runs again.
    TaskConfirmed(TaskConfirmed),
    /// A plan is not to be applied.
    TaskDiscarded(TaskDiscarded),
    /// A task is over.
    TaskEnded(TaskEnded),
    /// A task has lost its slot and waits again.
    TaskRequeued(TaskRequeued),
    /// A task that runs is to end: an intent.
    TaskCancelRequested(TaskCancelRequested),
    /// A plan waited too long.
    ReservationExpired(ReservationExpired),
    /// Somebody spoke for a slot that he does not have.
    StaleTokenRefused(StaleTokenRefused),
    /// There are to be more or fewer pods, or as many for another reason.
    Scaled(Box<Scaled>),
    /// Freeze windows do not count for a while.
    Unfrozen(Unfrozen),
    /// A plan is to be applied as soon as nothing else runs in its pod; nothing new comes into that.
    TaskApproved(TaskApproved),
    /// A member's agent takes nothing more, and goes once what it has is done.
    AgentLeaving(AgentLeaving),
    /// The node had no room for a member's pod: that is no failure, and it is tried again.
    MemberNoRoom(MemberNoRoom),
    /// Pods come up again: those that did not count no more.
    SetbacksOver(SetbacksOver),
    /// How often an agent spoke for slots that it does not have, beside what is on record one by one.
    StaleTokensCounted(StaleTokensCounted),
    /// A member's pod is to have the sizes of the template while it runs: an intent.
    MemberResizeRequested(MemberResizeRequested),
    /// It has them.
    MemberResized(MemberResized),
    /// It could not have them.
    MemberResizeFailed(MemberResizeFailed),
}

macro_rules! from_payload {
    ($($name:ident),* $(,)?) => {
        $(impl From<$name> for PoolEvent {
            fn from(payload: $name) -> PoolEvent {
                PoolEvent::$name(payload)
            }
        })*
    };
}

macro_rules! from_large_payload {
    ($($name:ident),* $(,)?) => {
        $(impl From<$name> for PoolEvent {
            fn from(payload: $name) -> PoolEvent {
                PoolEvent::$name(Box::new(payload))
            }
        })*
    };
}

from_large_payload!(SpecSet, TaskSubmitted, Scaled);
from_payload!(
    RemovalRequested,
    Removed,
    MemberRequested,
    MemberAdmitted,
    MemberRequestFailed,
    MemberRemovalRequested,
    MemberRemoved,
    MemberLost,
    AgentConnected,
    AgentDisconnected,
    AgentsAway,
    ReferencesChanged,
    TaskAssigned,
    TaskStarted,
    TaskPlanned,
    TaskConfirmed,
    TaskDiscarded,
    TaskEnded,
    TaskRequeued,
    TaskCancelRequested,
    ReservationExpired,
    StaleTokenRefused,
    Unfrozen,
    TaskApproved,
    AgentLeaving,
    MemberNoRoom,
    SetbacksOver,
    StaleTokensCounted,
    MemberResizeRequested,
    MemberResized,
    MemberResizeFailed,
);

/// `pool.spec-set` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecSet {
    /// The pool's name: always the same in one stream.
    pub name: PoolName,
    /// What it is to be.
    pub spec: PoolSpec,
    /// The revision of its pods from now on: greater than before if pods of before are not what is asked for.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
}

/// `pool.removal-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalRequested {
    /// Whether tasks that run or wait for their confirmation are ended.
    pub force: bool,
    /// When.
    pub at: Timestamp,
}

/// `pool.removed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// When.
    pub at: Timestamp,
}

/// `pool.member-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRequested {
    /// Its number.
    pub member: u64,
    /// The revision that it is made for.
    pub revision: u64,
    /// How many slots it has.
    pub slots: u8,
    /// When.
    pub at: Timestamp,
}

/// `pool.member-admitted` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberAdmitted {
    /// Which.
    pub member: u64,
    /// Its pod.
    pub pod: PodUid,
    /// When.
    pub at: Timestamp,
}

/// `pool.member-removal-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRemovalRequested {
    /// Which.
    pub member: u64,
    /// Why.
    pub reason: MemberRemovalReason,
    /// When.
    pub at: Timestamp,
}

/// `pool.member-removed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRemoved {
    /// Which.
    pub member: u64,
    /// When.
    pub at: Timestamp,
}

/// `pool.member-lost` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberLost {
    /// Which.
    pub member: u64,
    /// Why.
    pub reason: LossReason,
    /// What follows, if it had never come up.
    pub setback: Option<Setback>,
    /// When.
    pub at: Timestamp,
}

/// `pool.agent-connected` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentConnected {
    /// Whose.
    pub member: u64,
    /// Its session.
    pub session: Uuid,
    /// What it says of itself, at most 64 bytes.
    pub version: String,
    /// Whether it has nothing of a life before, plans among it.
    pub fresh: bool,
    /// When.
    pub at: Timestamp,
}

/// `pool.agent-disconnected` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentDisconnected {
    /// Whose.
    pub member: u64,
    /// Its session.
    pub session: Uuid,
    /// Whether it said that it leaves.
    pub left: bool,
    /// When.
    pub at: Timestamp,
}

/// `pool.agents-away` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentsAway {
    /// When.
    pub at: Timestamp,
}

/// `pool.references-changed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferencesChanged {
    /// The content of all of them, in their order.
    pub digests: Vec<Digest>,
    /// The revision of its pods from now on.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
}

/// `pool.task-submitted` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSubmitted {
    /// What is to be done.
    pub spec: Arc<TaskSpec>,
    /// Its number among the tasks of the pool.
    pub order: u64,
    /// When.
    pub at: Timestamp,
}

/// `pool.task-assigned` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAssigned {
    /// Which.
    pub task: TaskId,
    /// Where.
    pub slot: SlotKey,
    /// Shows that one has the slot.
    pub token: Token,
    /// What of it runs.
    pub phase: Phase,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
}

/// `pool.task-started` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStarted {
    /// Which.
    pub task: TaskId,
    /// Shows that one has the slot.
    pub token: Token,
    /// When.
    pub at: Timestamp,
}

/// `pool.task-planned` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskPlanned {
    /// Which.
    pub task: TaskId,
    /// What the plan comes to, in the agent's words; at most 1,024 bytes.
    pub summary: String,
    /// Shows from now on that one has the slot.
    pub token: Token,
    /// From when on it is too late for a confirmation.
    pub expires_at: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// `pool.task-confirmed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskConfirmed {
    /// Which.
    pub task: TaskId,
    /// Shows from now on that one has the slot.
    pub token: Token,
    /// When.
    pub at: Timestamp,
}

/// `pool.task-discarded` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDiscarded {
    /// Which.
    pub task: TaskId,
    /// When.
    pub at: Timestamp,
}

/// `pool.task-ended` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEnded {
    /// Which.
    pub task: TaskId,
    /// What it had its slot by; none if it had none.
    pub token: Option<Token>,
    /// Whether its agent told so.
    pub reported: bool,
    /// How.
    pub result: TaskResult,
    /// How its process ended, if it came to that.
    pub exit: Option<TaskExit>,
    /// Why, in short; at most 1,024 bytes.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// `pool.task-requeued` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRequeued {
    /// Which.
    pub task: TaskId,
    /// What it had its slot by.
    pub token: Token,
    /// Why.
    pub reason: RequeueReason,
    /// Whether it may have done a part of its work, or all of it.
    pub may_have_run: bool,
    /// Before when it is not tried again.
    pub not_before: Option<Timestamp>,
    /// When.
    pub at: Timestamp,
}

/// `pool.task-cancel-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCancelRequested {
    /// Which.
    pub task: TaskId,
    /// Why.
    pub reason: CancelReason,
    /// When.
    pub at: Timestamp,
}

/// `pool.reservation-expired` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationExpired {
    /// Whose plan it was.
    pub task: TaskId,
    /// What it had its slot by.
    pub token: Token,
    /// When.
    pub at: Timestamp,
}

/// `pool.stale-token-refused` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleTokenRefused {
    /// Who spoke.
    pub member: u64,
    /// For which task.
    pub task: TaskId,
    /// By what.
    pub token: Token,
    /// Why that is not so.
    pub reason: StaleReason,
    /// When.
    pub at: Timestamp,
}

/// `pool.scaled` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// How many there are to be, by which rule, from what.
    pub verdict: Verdict,
    /// When.
    pub at: Timestamp,
}

/// `pool.unfrozen` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfrozen {
    /// Until when.
    pub until: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// `pool.task-approved` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskApproved {
    /// Which.
    pub task: TaskId,
    /// When.
    pub at: Timestamp,
}

/// `pool.agent-leaving` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentLeaving {
    /// Whose.
    pub member: u64,
    /// Its session.
    pub session: Uuid,
    /// When.
    pub at: Timestamp,
}

/// `pool.stale-tokens-counted` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleTokensCounted {
    /// Who spoke.
    pub member: u64,
    /// How often since that was counted last, with those that are on record one by one.
    pub count: u64,
    /// When.
    pub at: Timestamp,
}
