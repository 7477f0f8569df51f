//! What becomes of a task that is not brought to its end where it runs.

use super::draft::Draft;
use super::event::{CancelReason, RequeueReason, TaskEnded, TaskRequeued};
use super::spec::OnEnd;
use super::task::{Task, TaskExit, TaskResult, TaskState};

/// Takes a task's slot from it: it waits again, or is over, as the pool says.
pub(super) fn lose(draft: &mut Draft, task: &Task, reason: RequeueReason) {
    let Some((_, token)) = task.slot() else { return };
    let (id, at) = (task.spec.id, draft.now);
    let may_have_run = match (&task.state, &reason) {
        (_, RequeueReason::Failed { .. }) => true,
        (TaskState::Running { started, .. }, _) => *started,
        _ => false,
    };
    let (exit, reported) = match reason {
        RequeueReason::Failed { exit } => (exit, true),
        _ => (None, false),
    };
    let end = |result, message: String| TaskEnded {
        task: id,
        token: Some(token),
        reported,
        result,
        exit,
        message,
        at,
    };
    let ran = if may_have_run { "it may have run" } else { "it had not begun" };
    if let Some(cancel) = &task.cancel {
        let (result, why) = ended_by(cancel.reason);
        draft.push(end(result, format!("{why}; {}, {ran}", words(&reason))));
        return;
    }
    if draft.pool.leaving.is_some() {
        let message = format!("the pool is being removed; {}, {ran}", words(&reason));
        draft.push(end(TaskResult::Cancelled, message));
        return;
    }
    let Some(policy) = draft.pool.spec.as_ref().map(|spec| spec.tasks.clone()) else { return };
    if reason == RequeueReason::AgentLeft && !may_have_run {
        // It was given to one that takes nothing more: that was no try.
        draft.push(TaskRequeued { task: id, token, reason, may_have_run, not_before: None, at });
        return;
    }
    let on_end = match reason {
        RequeueReason::Failed { .. } => policy.on_failed,
        _ => policy.on_lost,
    };
    if on_end == OnEnd::Fail || policy.attempts_max <= task.attempts {
        let message = format!("{} at try {}, {ran}", words(&reason), task.attempts);
        draft.push(end(TaskResult::Failed, message));
        return;
    }
    let wait_ms = policy.back_off.restart_wait_ms(task.attempts.saturating_sub(1));
    let not_before = (wait_ms != 0).then(|| at.plus_ms(wait_ms));
    draft.push(TaskRequeued { task: id, token, reason, may_have_run, not_before, at });
}

/// How a task ends that was to end, and why in words.
pub(super) fn ended_by(reason: CancelReason) -> (TaskResult, &'static str) {
    match reason {
        CancelReason::Requested => (TaskResult::Cancelled, "it was cancelled"),
        CancelReason::TimedOut => (TaskResult::Failed, "it took too long"),
        CancelReason::PoolRemoved => (TaskResult::Cancelled, "the pool is being removed"),
    }
}

/// A loss in words.
fn words(reason: &RequeueReason) -> String {
    match reason {
        RequeueReason::MemberLost => "its pod was lost".to_owned(),
        RequeueReason::AgentRestarted => "its agent died".to_owned(),
        RequeueReason::AgentLostIt => "its agent does not have it any more".to_owned(),
        RequeueReason::AgentLeft => "its agent left".to_owned(),
        RequeueReason::PlanLost => "its plan was lost with its pod".to_owned(),
        RequeueReason::Failed { exit: None } => "it could not be started".to_owned(),
        RequeueReason::Failed { exit: Some(TaskExit::Code(code)) } => format!("exit code {code}"),
        RequeueReason::Failed { exit: Some(TaskExit::Signal(signal)) } => format!("signal {signal}"),
    }
}
