//! What a pool answers about its tasks.

use std::sync::Arc;

use super::advance::may_apply;
use super::command::{PoolRejection, TaskReport};
use super::draft::{Draft, MESSAGE_LEN_MAX, told};
use super::event::{
    CancelReason, RequeueReason, StaleReason, StaleTokenRefused, TaskApproved, TaskCancelRequested,
    TaskConfirmed, TaskDiscarded, TaskEnded, TaskPlanned, TaskStarted, TaskSubmitted,
};
use super::loss;
use super::names::{TaskId, Token};
use super::spec::OnEnd;
use super::state::Pool;
use super::task::{Phase, Task, TaskExit, TaskKind, TaskResult, TaskSpec, TaskState};

/// Time between two refusals of one member that are recorded one by one, in milliseconds.
const REFUSALS_EVERY_MS: u64 = 60_000;

type Answer = Result<(), PoolRejection>;

fn known(pool: &Pool, task: TaskId) -> Result<&Task, PoolRejection> {
    pool.task(task).ok_or(PoolRejection::NoSuchTask { task })
}

pub(super) fn submit(draft: &mut Draft, spec: &TaskSpec) -> Answer {
    let pool = &draft.pool;
    if let Some(task) = pool.task(spec.id) {
        let is_so = *task.spec == *spec;
        return if is_so { Ok(()) } else { Err(PoolRejection::TaskExists { task: spec.id }) };
    }
    if pool.leaving.is_some() {
        return Err(PoolRejection::Leaving);
    }
    spec.check().map_err(|error| PoolRejection::BadTask { error })?;
    let references = pool.spec.as_ref().map(|spec| spec.references.as_slice()).unwrap_or_default();
    spec.check_secrets(references).map_err(|error| PoolRejection::BadTask { error })?;
    let max = pool.spec.as_ref().map_or(0, |spec| spec.tasks.queue_max);
    if max <= pool.queue.waiting {
        return Err(PoolRejection::QueueFull { max });
    }
    let (order, at) = (pool.submitted + 1, draft.now);
    draft.push(TaskSubmitted { spec: Arc::new(spec.clone()), order, at });
    Ok(())
}

pub(super) fn confirm(draft: &mut Draft, id: TaskId) -> Answer {
    let task = known(&draft.pool, id)?;
    match &task.state {
        TaskState::ApplyPending { confirmed_at: Some(_), .. } => Ok(()),
        TaskState::ApplyPending { expires_at, .. } if *expires_at <= draft.now => {
            Err(PoolRejection::TooLate { task: id, expired_at: *expires_at })
        }
        TaskState::ApplyPending { slot, .. } => {
            let agent = draft.pool.member(slot.member);
            if !agent.is_some_and(super::member::Member::takes_tasks) {
                return Err(PoolRejection::AgentAway { task: id });
            }
            let (token, at) = (draft.pool.last_token.next(), draft.now);
            if may_apply(&draft.pool, id, draft.now) {
                draft.push(TaskConfirmed { task: id, token, at });
            } else {
                draft.push(TaskApproved { task: id, at });
            }
            Ok(())
        }
        TaskState::Running { phase: Phase::Apply, .. } => Ok(()),
        TaskState::Ended { result, .. } => Err(PoolRejection::TaskOver { task: id, result: *result }),
        TaskState::Pending { .. } | TaskState::Running { .. } => {
            Err(PoolRejection::NotApplyPending { task: id, state: task.word().to_owned() })
        }
    }
}

pub(super) fn discard(draft: &mut Draft, id: TaskId) -> Answer {
    let task = known(&draft.pool, id)?;
    match &task.state {
        TaskState::ApplyPending { .. } => {
            give_up(draft, id, "its plan was discarded");
            Ok(())
        }
        TaskState::Ended { result: TaskResult::Cancelled, .. } => Ok(()),
        TaskState::Ended { result, .. } => Err(PoolRejection::TaskOver { task: id, result: *result }),
        TaskState::Pending { .. } | TaskState::Running { .. } => {
            Err(PoolRejection::NotApplyPending { task: id, state: task.word().to_owned() })
        }
    }
}

/// Gives up a plan that waits for its confirmation.
pub(super) fn give_up(draft: &mut Draft, id: TaskId, why: &str) {
    let at = draft.now;
    draft.push(TaskDiscarded { task: id, at });
    end_unreported(draft, id, TaskResult::Cancelled, why);
}

/// Ends a task of which its agent has said nothing.
pub(super) fn end_unreported(draft: &mut Draft, id: TaskId, result: TaskResult, why: &str) {
    let token = draft.pool.task(id).and_then(Task::slot).map(|(_, token)| token);
    let (message, at) = (why.to_owned(), draft.now);
    draft.push(TaskEnded { task: id, token, reported: false, result, exit: None, message, at });
}

pub(super) fn cancel(draft: &mut Draft, id: TaskId) -> Answer {
    let task = known(&draft.pool, id)?;
    match &task.state {
        TaskState::Pending { .. } => end_unreported(draft, id, TaskResult::Cancelled, "it was cancelled"),
        TaskState::ApplyPending { .. } => give_up(draft, id, "it was cancelled"),
        TaskState::Running { .. } => request_end(draft, id, CancelReason::Requested),
        TaskState::Ended { result: TaskResult::Cancelled, .. } => {}
        TaskState::Ended { result, .. } => {
            return Err(PoolRejection::TaskOver { task: id, result: *result });
        }
    }
    Ok(())
}

/// Wants a task that has a slot to end, if nobody has yet. One that its agent has not begun is over at once: whoever asks to
/// begin it is refused.
pub(super) fn request_end(draft: &mut Draft, task: TaskId, reason: CancelReason) {
    let state = draft.pool.task(task).map(|task| task.state.clone());
    if matches!(state, Some(TaskState::Running { started: false, .. })) {
        let (result, why) = loss::ended_by(reason);
        end_unreported(draft, task, result, &format!("{why}, and had not begun"));
        return;
    }
    if draft.pool.task(task).is_some_and(|task| task.cancel.is_none()) {
        let at = draft.now;
        draft.push(TaskCancelRequested { task, reason, at });
    }
}

pub(super) fn report(
    draft: &mut Draft,
    member: u64,
    id: TaskId,
    token: Token,
    report: &TaskReport,
) -> Answer {
    let at = draft.now;
    let task = draft.pool.task(id).cloned();
    let stale = match &task {
        None => Some(StaleReason::NoSuchTask),
        // What was told already is told again by who has not heard the answer.
        Some(task) if task.told == Some(token) => return Ok(()),
        Some(task) => match task.slot() {
            None => Some(StaleReason::NotRunning),
            Some((_, current)) if current != token => Some(StaleReason::Replaced),
            Some((slot, _)) if slot.member != member => Some(StaleReason::NotTheOwner),
            Some(_) => None,
        },
    };
    let (None, Some(task)) = (stale, &task) else {
        let reason = stale.unwrap_or(StaleReason::NoSuchTask);
        let refused = StaleTokenRefused { member, task: id, token, reason, at };
        return refuse(draft, refused);
    };
    let TaskState::Running { phase, started, .. } = task.state else {
        return Err(PoolRejection::OutOfPhase { task: id, report: word(report).to_owned() });
    };
    match report {
        TaskReport::Started if started => {}
        TaskReport::Started => draft.push_freeing(TaskStarted { task: id, token, at }),
        TaskReport::Planned { changes, summary } => {
            let kind = task.spec.kind;
            let is_planning = phase == Phase::Plan || matches!(kind, TaskKind::Plan | TaskKind::DriftCheck);
            if !is_planning {
                return Err(PoolRejection::OutOfPhase { task: id, report: word(report).to_owned() });
            }
            // Nothing is kept at a pod that is given up: what it has is taken from it once it is gone.
            let keeps = *changes && kind == TaskKind::PlanAndApply && task.cancel.is_none();
            if let Some(member) = draft.pool.member(member).filter(|member| keeps && !member.is_live()) {
                let state = member.word().to_owned();
                return Err(PoolRejection::WrongPhase { member: member.member, state });
            }
            planned(draft, task, token, *changes, &told(summary, MESSAGE_LEN_MAX));
        }
        TaskReport::Finished { .. } => finished(draft, task, token, report),
    }
    Ok(())
}

/// Refuses a word for a slot that is another's. Of those of one member one is recorded in a while, so that an agent cannot
/// fill the journal; the others are counted by whoever hears them.
fn refuse(draft: &mut Draft, refused: StaleTokenRefused) -> Answer {
    let StaleTokenRefused { member, task, token, reason, at } = refused;
    let is_due = draft
        .pool
        .member(member)
        .is_some_and(|member| member.refused_at.is_none_or(|last| last.plus_ms(REFUSALS_EVERY_MS) <= at));
    if !is_due {
        return Err(PoolRejection::StaleToken { task, token, reason });
    }
    draft.push(refused);
    Ok(())
}

fn word(report: &TaskReport) -> &'static str {
    match report {
        TaskReport::Started => "started",
        TaskReport::Planned { .. } => "planned",
        TaskReport::Finished { .. } => "finished",
    }
}

fn planned(draft: &mut Draft, task: &Task, token: Token, changes: bool, summary: &str) {
    let at = draft.now;
    let id = task.spec.id;
    let result = match (changes, task.spec.kind, &task.cancel) {
        (true, TaskKind::PlanAndApply, Some(cancel)) => loss::ended_by(cancel.reason).0,
        (true, TaskKind::PlanAndApply, None) => {
            let ttl_s = draft.pool.spec.as_ref().map_or(0, |spec| spec.tasks.reservation_ttl_s);
            let expires_at = at.plus_ms(u64::from(ttl_s) * 1_000);
            let token = draft.pool.last_token.next();
            draft.push(TaskPlanned { task: id, summary: summary.to_owned(), token, expires_at, at });
            let planned = draft.pool.task(id).cloned();
            // An agent that takes nothing more will not apply it.
            if let Some(planned) = planned.filter(|planned| draft.pool.is_at_leaving_agent(planned)) {
                loss::lose(draft, &planned, RequeueReason::PlanLost);
            }
            return;
        }
        (true, _, _) => TaskResult::Success,
        (false, _, _) => TaskResult::PlannedAndFinished,
    };
    let (token, exit) = (Some(token), Some(TaskExit::Code(0)));
    draft.push_freeing(TaskEnded {
        task: id,
        token,
        reported: true,
        result,
        exit,
        message: summary.to_owned(),
        at,
    });
}

fn finished(draft: &mut Draft, task: &Task, token: Token, report: &TaskReport) {
    let TaskReport::Finished { exit, message, timed_out, cancelled } = report else { return };
    let TaskState::Running { phase, .. } = task.state else { return };
    let policy = draft.pool.spec.as_ref().map(|spec| spec.tasks.on_failed);
    let is_success = *exit == Some(TaskExit::Code(0)) && !timed_out && !cancelled;
    let message = told(message, MESSAGE_LEN_MAX);
    let or = |message: String, other: &str| if message.is_empty() { other.to_owned() } else { message };
    let applies = phase == Phase::Apply || task.spec.kind == TaskKind::Apply;
    let (result, message) = match (is_success, &task.cancel) {
        (true, _) if phase == Phase::Plan => {
            (TaskResult::Failed, "its agent did not say what the plan comes to".to_owned())
        }
        (true, _) if applies => (TaskResult::Applied, message),
        (true, _) => (TaskResult::Success, message),
        (false, _) if *timed_out => (TaskResult::Failed, or(message, "it took too long")),
        (false, Some(cancel)) => {
            let (result, why) = loss::ended_by(cancel.reason);
            (result, or(message, why))
        }
        // Nobody wanted it to end but the agent itself.
        (false, None) if *cancelled => return loss::lose(draft, task, RequeueReason::AgentLeft),
        (false, None) if policy == Some(OnEnd::Retry) && !applies => {
            return loss::lose(draft, task, RequeueReason::Failed { exit: *exit });
        }
        (false, None) => (TaskResult::Failed, message),
    };
    let (id, at, exit) = (task.spec.id, draft.now, *exit);
    draft.push_freeing(TaskEnded { task: id, token: Some(token), reported: true, result, exit, message, at });
}
