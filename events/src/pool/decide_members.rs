//! What a pool answers to what is told of its members and their agents.

use uuid::Uuid;

use super::command::PoolRejection;
use super::draft::{Draft, MESSAGE_LEN_MAX, told};
use super::event::{
    AgentConnected, AgentDisconnected, AgentLeaving, AgentsAway, LossReason, MemberAdmitted, MemberLost,
    MemberNoRoom, MemberRemoved, MemberRequestFailed, RequeueReason, Setback, StaleTokensCounted,
};
use super::loss;
use super::member::{Member, MemberPhase};
use super::names::{TaskId, Token};
use super::state::Pool;
use super::task::{Task, TaskState};
use crate::ids::PodUid;
use crate::units::Timestamp;

/// Most bytes of what an agent says of itself.
const VERSION_LEN_MAX: usize = 64;
/// How often in a row pods may not come up before that waits for an operator.
const FAILURES_MAX: u32 = 5;
/// The first wait after such a failure that is not zero, in milliseconds; it doubles.
const SETBACK_MS: u64 = 60_000;
/// The longest such wait, in milliseconds.
const SETBACK_MS_MAX: u64 = 600_000;
/// The first wait after the node had no room for a pod, in milliseconds; it doubles.
const NO_ROOM_MS: u64 = 5_000;
/// The longest such wait, in milliseconds: by then what came free is seen.
const NO_ROOM_MS_MAX: u64 = 60_000;

type Answer = Result<(), PoolRejection>;

/// An agent that has come.
pub(super) struct Arrival<'a> {
    pub(super) session: Uuid,
    pub(super) version: &'a str,
    pub(super) fresh: bool,
    pub(super) has: &'a [(TaskId, Token)],
}

fn known(pool: &Pool, number: u64) -> Result<&Member, PoolRejection> {
    pool.member(number).ok_or(PoolRejection::NoSuchMember { member: number })
}

fn wrong_phase(member: &Member) -> PoolRejection {
    PoolRejection::WrongPhase { member: member.member, state: member.word().to_owned() }
}

pub(super) fn admitted(draft: &mut Draft, number: u64, pod: PodUid) -> Answer {
    let member = known(&draft.pool, number)?;
    match (&member.phase, member.pod) {
        (MemberPhase::Requested, _) => {
            let at = draft.now;
            draft.push(MemberAdmitted { member: number, pod, at });
            Ok(())
        }
        (_, Some(held)) if held == pod => Ok(()),
        _ => Err(wrong_phase(member)),
    }
}

pub(super) fn request_failed(draft: &mut Draft, number: u64, reason: &str) -> Answer {
    let member = known(&draft.pool, number)?;
    if member.phase != MemberPhase::Requested {
        return Err(wrong_phase(member));
    }
    let (setback, at) = (setback(&draft.pool, member, draft.now), draft.now);
    draft.push(MemberRequestFailed { member: number, reason: told(reason, MESSAGE_LEN_MAX), setback, at });
    Ok(())
}

/// Nothing is wrong with a pod for which there is no room: that never ends the tries. Those that were asked for together
/// are one.
pub(super) fn no_room(draft: &mut Draft, number: u64, reason: &str) -> Answer {
    let member = known(&draft.pool, number)?;
    if member.phase != MemberPhase::Requested {
        return Err(wrong_phase(member));
    }
    let before = draft.pool.scaling.shortage.as_ref();
    let (times, retry_at) = match before {
        Some(before) if member.requested_at < before.at => (before.times, before.retry_at),
        before => {
            let times = before.map_or(0, |before| before.times).saturating_add(1);
            let wait_ms = NO_ROOM_MS.saturating_mul(1 << (times - 1).min(10)).min(NO_ROOM_MS_MAX);
            (times, draft.now.plus_ms(wait_ms))
        }
    };
    let at = draft.now;
    draft.push(MemberNoRoom { member: number, reason: told(reason, MESSAGE_LEN_MAX), times, retry_at, at });
    Ok(())
}

/// What follows from a member that did not come up: each one that was tried since the last failure counts.
fn setback(pool: &Pool, member: &Member, now: Timestamp) -> Setback {
    let scaling = &pool.scaling;
    let is_counted = scaling.failed_at.is_some_and(|failed_at| member.requested_at < failed_at);
    if is_counted && scaling.failures != 0 {
        let retry_at = scaling.retry_at.filter(|_| !scaling.gave_up);
        return Setback { failures: scaling.failures, retry_at };
    }
    let failures = scaling.failures.saturating_add(1);
    let wait_ms = match failures {
        0 | 1 => 0,
        more => SETBACK_MS.saturating_mul(1 << (more - 2).min(10)).min(SETBACK_MS_MAX),
    };
    Setback { failures, retry_at: (failures < FAILURES_MAX).then(|| now.plus_ms(wait_ms)) }
}

pub(super) fn pod_ended(draft: &mut Draft, number: u64, detail: &str) -> Answer {
    let member = known(&draft.pool, number)?;
    match member.phase {
        MemberPhase::Up => {
            lose(draft, number, LossReason::PodEnded { detail: told(detail, MESSAGE_LEN_MAX) });
            Ok(())
        }
        MemberPhase::Removing { .. } | MemberPhase::Lost { .. } => {
            take_back(draft, number);
            Ok(())
        }
        MemberPhase::Requested => Err(wrong_phase(member)),
    }
}

pub(super) fn removed(draft: &mut Draft, number: u64) -> Answer {
    let Some(member) = draft.pool.member(number) else { return Ok(()) };
    match member.phase {
        MemberPhase::Removing { .. } | MemberPhase::Lost { .. } => {
            take_back(draft, number);
            let at = draft.now;
            draft.push(MemberRemoved { member: number, at });
            Ok(())
        }
        MemberPhase::Requested | MemberPhase::Up => Err(wrong_phase(member)),
    }
}

/// Takes from a pod of which nothing runs any more what it had.
fn take_back(draft: &mut Draft, number: u64) {
    let Some(member) = draft.pool.member(number).cloned() else { return };
    for task in tasks_of(draft, &member) {
        let why = match task.state {
            TaskState::ApplyPending { .. } => RequeueReason::PlanLost,
            _ => RequeueReason::MemberLost,
        };
        loss::lose(draft, &task, why);
    }
}

/// Gives a member up. What it has is taken from it once nothing of its pod runs any more, and not before: a pod that says
/// nothing may go on with what it has, and neither that nor another apply of the same workspace may run beside it.
pub(super) fn lose(draft: &mut Draft, number: u64, reason: LossReason) {
    if matches!(reason, LossReason::PodEnded { .. }) {
        take_back(draft, number);
    }
    let Some(member) = draft.pool.member(number).cloned() else { return };
    // One that came and died at once did not come up either.
    let setback = (!member.has_lived(settled_ms(&draft.pool), draft.now))
        .then(|| setback(&draft.pool, &member, draft.now));
    let at = draft.now;
    draft.push(MemberLost { member: number, reason, setback, at });
}

/// How long an agent must have been there for its pod to have come up, in milliseconds: as long as one may be silent.
pub(super) fn settled_ms(pool: &Pool) -> u64 {
    pool.spec.as_ref().map_or(0, |spec| spec.agents.offline_after_ms)
}

fn tasks_of(draft: &Draft, member: &Member) -> Vec<Task> {
    member.tasks().filter_map(|id| draft.pool.task(id).cloned()).collect()
}

pub(super) fn connect(draft: &mut Draft, number: u64, arrival: &Arrival<'_>) -> Answer {
    let member = known(&draft.pool, number)?.clone();
    match member.phase {
        MemberPhase::Up | MemberPhase::Removing { .. } => {}
        MemberPhase::Requested | MemberPhase::Lost { .. } => return Err(wrong_phase(&member)),
    }
    let before = member.agent.as_ref();
    let goes_on = !arrival.fresh && before.is_some_and(|agent| agent.session == arrival.session);
    for task in tasks_of(draft, &member) {
        let has = |token| arrival.has.contains(&(task.spec.id, token));
        let why = match task.state {
            TaskState::ApplyPending { .. } if arrival.fresh => RequeueReason::PlanLost,
            TaskState::Running { .. } if !goes_on => RequeueReason::AgentRestarted,
            TaskState::Running { token, started: true, .. } if !has(token) => RequeueReason::AgentLostIt,
            TaskState::ApplyPending { .. }
            | TaskState::Running { .. }
            | TaskState::Pending { .. }
            | TaskState::Ended { .. } => continue,
        };
        loss::lose(draft, &task, why);
    }
    let version = told(arrival.version, VERSION_LEN_MAX);
    let is_so = before.is_some_and(|agent| agent.connected && agent.version == version);
    if !goes_on || !is_so {
        let (session, fresh, at) = (arrival.session, arrival.fresh, draft.now);
        draft.push(AgentConnected { member: number, session, version, fresh, at });
    }
    Ok(())
}

pub(super) fn disconnect(draft: &mut Draft, number: u64, session: Uuid, left: bool) -> Answer {
    let member = known(&draft.pool, number)?.clone();
    let Some(agent) = member.agent.as_ref().filter(|agent| agent.session == session) else {
        return Err(PoolRejection::SessionOver { member: number });
    };
    if agent.connected {
        let at = draft.now;
        draft.push(AgentDisconnected { member: number, session, left, at });
    }
    if left {
        for task in tasks_of(draft, &member) {
            if matches!(task.state, TaskState::Running { .. }) {
                loss::lose(draft, &task, RequeueReason::AgentLeft);
            }
        }
    }
    Ok(())
}

pub(super) fn leaving(draft: &mut Draft, number: u64, session: Uuid, has: &[(TaskId, Token)]) -> Answer {
    let member = known(&draft.pool, number)?.clone();
    let Some(agent) = member.agent.as_ref().filter(|agent| agent.session == session) else {
        return Err(PoolRejection::SessionOver { member: number });
    };
    if agent.leaving || !agent.connected || member.phase != MemberPhase::Up {
        return Ok(());
    }
    let at = draft.now;
    draft.push(AgentLeaving { member: number, session, at });
    for task in tasks_of(draft, &member) {
        match task.state {
            TaskState::Running { token, started: false, .. } if !has.contains(&(task.spec.id, token)) => {
                loss::lose(draft, &task, RequeueReason::AgentLeft);
            }
            // One that takes nothing more will not apply it.
            TaskState::ApplyPending { .. } => loss::lose(draft, &task, RequeueReason::PlanLost),
            TaskState::Running { .. } | TaskState::Pending { .. } | TaskState::Ended { .. } => {}
        }
    }
    Ok(())
}

pub(super) fn count_refusals(draft: &mut Draft, number: u64, count: u64) -> Answer {
    known(&draft.pool, number)?;
    let at = draft.now;
    draft.push(StaleTokensCounted { member: number, count, at });
    Ok(())
}

pub(super) fn silent(draft: &mut Draft, number: u64, silent_ms: u64) -> Answer {
    let member = known(&draft.pool, number)?;
    if member.phase != MemberPhase::Up {
        return Ok(());
    }
    let Some(policy) = draft.pool.spec.as_ref().map(|spec| spec.agents) else { return Ok(()) };
    let (bound_ms, reason) = match member.agent {
        Some(_) => (policy.offline_after_ms, LossReason::Silent { silent_ms }),
        None => (policy.start_within_ms, LossReason::NeverConnected),
    };
    if silent_ms < bound_ms {
        return Err(PoolRejection::NotSilent { member: number, offline_after_ms: bound_ms });
    }
    lose(draft, number, reason);
    Ok(())
}

pub(super) fn all_away(draft: &mut Draft) {
    let connected =
        |member: &std::sync::Arc<Member>| member.agent.as_ref().is_some_and(|agent| agent.connected);
    if draft.pool.members.values().any(connected) {
        let at = draft.now;
        draft.push(AgentsAway { at });
    }
}
