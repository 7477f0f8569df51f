//! What a pool has to say to the agent of one of its members, as it is on record.

use std::collections::BTreeSet;

use purser_events::pool::state::Order;
use purser_events::pool::{Member, Phase, Pool, Slot, TaskId, TaskState, Token};
use uuid::Uuid;

/// What an agent says of itself when it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// Its session: the same one as long as its files are there.
    pub session: Uuid,
    /// Its release.
    pub version: String,
    /// Whether it found nothing of a life before.
    pub fresh: bool,
    /// What it has.
    pub has: Vec<(TaskId, Token)>,
    /// Tasks whose plans it keeps.
    pub keeps: Vec<TaskId>,
}

/// How what an agent has stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentStanding {
    /// Its slots.
    pub slots: u8,
    /// What it has and should not.
    pub drop: Vec<(TaskId, Token)>,
    /// Plans that it keeps and that will not be applied by it.
    pub forget: Vec<TaskId>,
}

/// Whether a session is the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionState {
    /// It is.
    Present,
    /// It is not connected: it may connect again.
    Unknown,
    /// Another one is.
    Replaced,
    /// There is no such member, or it is lost.
    NoMember,
}

/// All that an agent is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentOrders {
    /// Every order in force.
    pub orders: Vec<Order>,
    /// Counts their changes.
    pub seen: u64,
}

/// How a session of a member stands.
pub(crate) fn session_state(pool: &Pool, member: u64, session: Uuid) -> SessionState {
    use purser_events::pool::MemberPhase as P;
    let Some(member) = pool.member(member) else { return SessionState::NoMember };
    match (&member.phase, &member.agent) {
        (P::Lost { .. }, _) => SessionState::NoMember,
        (P::Requested | P::Up | P::Removing { .. }, Some(agent)) if agent.session != session => {
            SessionState::Replaced
        }
        (P::Up, Some(agent)) if agent.connected => SessionState::Present,
        // What goes has nothing left to lose: its agent is heard to its end.
        (P::Removing { .. }, Some(_)) => SessionState::Present,
        (P::Requested | P::Up | P::Removing { .. }, _) => SessionState::Unknown,
    }
}

/// How what an agent has stands.
pub(crate) fn standing(pool: &Pool, member: u64, has: &[(TaskId, Token)], keeps: &[TaskId]) -> AgentStanding {
    let slots = pool.member(member).map_or(0, |member| member.slots.len());
    let holds = |grip: &(TaskId, Token)| pool.holds(member, grip.0, grip.1);
    AgentStanding {
        slots: u8::try_from(slots).unwrap_or(u8::MAX),
        drop: has.iter().filter(|grip| !holds(grip)).copied().collect(),
        forget: keeps.iter().filter(|task| !is_kept(pool, member, **task)).copied().collect(),
    }
}

/// Whether the plan of a task may yet be applied by this member.
fn is_kept(pool: &Pool, member: u64, task: TaskId) -> bool {
    let Some(task) = pool.task(task) else { return false };
    match &task.state {
        // A plan whose end is on its way is kept as well: it may be what the agent keeps already.
        TaskState::Running { slot, phase: Phase::Apply | Phase::Plan, .. }
        | TaskState::ApplyPending { slot, .. } => slot.member == member,
        TaskState::Running { phase: Phase::Only, .. }
        | TaskState::Pending { .. }
        | TaskState::Ended { .. } => false,
    }
}

/// What runs in a member.
pub(crate) fn running(pool: &Pool, member: u64) -> impl Iterator<Item = (TaskId, Token)> {
    let slots = pool.member(member).map(|member: &Member| member.slots.as_slice()).unwrap_or_default();
    slots.iter().filter_map(|slot| match slot {
        Slot::Running { task, token, .. } => Some((*task, *token)),
        Slot::Idle | Slot::Reserved { .. } => None,
    })
}

/// What runs in a member by its agent's own word, and that the agent does not name.
pub(crate) fn missing(pool: &Pool, member: u64, has: &[(TaskId, Token)]) -> BTreeSet<(TaskId, Token)> {
    let started = |grip: &(TaskId, Token)| {
        pool.task(grip.0).is_some_and(|task| matches!(task.state, TaskState::Running { started: true, .. }))
    };
    running(pool, member).filter(|grip| started(grip) && !has.contains(grip)).collect()
}
