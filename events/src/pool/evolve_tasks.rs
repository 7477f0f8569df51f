//! What each event makes of a pool's tasks and of the slots that they have. Each looks whether it can be before it changes
//! anything.

use std::sync::Arc;

use super::event::{
    RequeueReason, TaskApproved, TaskAssigned, TaskCancelRequested, TaskConfirmed, TaskEnded, TaskPlanned,
    TaskRequeued, TaskStarted, TaskSubmitted,
};
use super::evolve::{change_member, illegal};
use super::member::Slot;
use super::names::{SlotKey, TaskId, Token};
use super::slots::Weight;
use super::state::Pool;
use super::task::{Cancel, Loss, Phase, Task, TaskSpec, TaskState};
use crate::decider::IllegalTransition;
use crate::units::Timestamp;

type Outcome = Result<(), IllegalTransition>;

/// Lets everybody whose next try is due stand in line, and says whether there was anybody.
pub(super) fn call_due(pool: &mut Pool, now: Timestamp) -> bool {
    let mut any = false;
    for weight in Weight::ALL {
        while let Some((not_before, rank, id)) = pool.queue.first_due(weight, now) {
            let Some(task) = pool.tasks.get(&id).cloned() else { break };
            pool.queue.call(&task, (weight, not_before, rank), now);
            any = true;
        }
    }
    any
}

pub(super) fn submit(pool: &mut Pool, submitted: &TaskSubmitted) -> Outcome {
    let id = submitted.spec.id;
    if pool.tasks.contains_key(&id) || submitted.order <= pool.submitted || !pool.exists() {
        return Err(illegal(pool, "pool.task-submitted"));
    }
    pool.submitted = submitted.order;
    let task = Task {
        spec: Arc::clone(&submitted.spec),
        order: submitted.order,
        state: TaskState::Pending { not_before: None },
        submitted_at: submitted.at,
        since: submitted.at,
        attempts: 0,
        cancel: None,
        last_loss: None,
        told: None,
    };
    let weight = weight(pool, &task.spec);
    pool.queue.push(&task, Pool::rank(&task), weight, None);
    pool.tasks.insert_mut(id, Arc::new(task));
    Ok(())
}

pub(super) fn assign(pool: &mut Pool, assigned: &TaskAssigned) -> Outcome {
    const EVENT: &str = "pool.task-assigned";
    let task = known(pool, assigned.task, EVENT)?;
    let weight = weight(pool, &task.spec);
    let is_new = next_token(pool, assigned.token, EVENT).is_ok();
    if !is_new || !pool.queue.has(&task, Pool::rank(&task), weight) {
        return Err(illegal(pool, EVENT));
    }
    if task.spec.locks().is_some_and(|workspace| pool.queue.holder(workspace).is_some()) {
        return Err(illegal(pool, "pool.task-assigned of a workspace that another has"));
    }
    let slot = Slot::Running { task: assigned.task, kind: task.spec.kind, token: assigned.token };
    fill(pool, assigned.slot, EVENT, slot, Slot::is_idle)?;
    pool.last_token = assigned.token;
    call_due(pool, assigned.at);
    pool.queue.remove(&task, Pool::rank(&task), weight);
    if let Some(workspace) = task.spec.locks() {
        pool.queue.lock(workspace, assigned.task, weight);
    }
    let state = TaskState::Running {
        phase: assigned.phase,
        slot: assigned.slot,
        token: assigned.token,
        started: false,
        deadline: deadline(pool, &task.spec, assigned.at),
    };
    put(pool, Task { state, since: assigned.at, attempts: assigned.attempt, ..Task::clone(&task) });
    Ok(())
}

/// From when on a phase that begins now has taken too long.
fn deadline(pool: &Pool, task: &TaskSpec, at: Timestamp) -> Timestamp {
    let of_pool = pool.spec.as_ref().map(|spec| spec.tasks.timeout_s);
    at.plus_ms(u64::from(task.timeout_s.or(of_pool).unwrap_or_default()) * 1_000)
}

pub(super) fn start(pool: &mut Pool, event: &TaskStarted) -> Outcome {
    const EVENT: &str = "pool.task-started";
    let task = known(pool, event.task, EVENT)?;
    let TaskState::Running { phase, slot, token, started: false, .. } = task.state else {
        return Err(illegal(pool, EVENT));
    };
    if token != event.token {
        return Err(illegal(pool, EVENT));
    }
    let deadline = deadline(pool, &task.spec, event.at);
    let state = TaskState::Running { phase, slot, token, started: true, deadline };
    put(pool, Task { state, since: event.at, ..Task::clone(&task) });
    Ok(())
}

pub(super) fn plan(pool: &mut Pool, planned: &TaskPlanned) -> Outcome {
    const EVENT: &str = "pool.task-planned";
    let task = known(pool, planned.task, EVENT)?;
    let TaskState::Running { phase: Phase::Plan, slot: key, .. } = task.state else {
        return Err(illegal(pool, EVENT));
    };
    let (token, expires_at) = (next_token(pool, planned.token, EVENT)?, planned.expires_at);
    let (kind, confirmed) = (task.spec.kind, false);
    let slot = Slot::Reserved { task: planned.task, kind, token, expires_at, confirmed };
    let was_cancelled = task.cancel.is_some();
    fill(pool, key, EVENT, slot, |before| before.task() == Some(planned.task))?;
    pool.last_token = token;
    change_member(pool, key.member, EVENT, |member| {
        member.ending = member.ending.saturating_sub(u8::from(was_cancelled));
        member.has_worked = true;
        true
    })?;
    let summary = planned.summary.clone();
    let state = TaskState::ApplyPending { slot: key, token, expires_at, summary, confirmed_at: None };
    pool.reserved.insert_mut(planned.task);
    let told = task.slot().map(|(_, token)| token);
    put(pool, Task { state, since: planned.at, cancel: None, told, ..Task::clone(&task) });
    Ok(())
}

pub(super) fn approve(pool: &mut Pool, approved: &TaskApproved) -> Outcome {
    const EVENT: &str = "pool.task-approved";
    let task = known(pool, approved.task, EVENT)?;
    let state = task.state.clone();
    let TaskState::ApplyPending { slot: key, token, expires_at, summary, confirmed_at: None } = state else {
        return Err(illegal(pool, EVENT));
    };
    let slot =
        Slot::Reserved { task: approved.task, kind: task.spec.kind, token, expires_at, confirmed: true };
    fill(pool, key, EVENT, slot, |before| before.task() == Some(approved.task))?;
    let confirmed_at = Some(approved.at);
    let state = TaskState::ApplyPending { slot: key, token, expires_at, summary, confirmed_at };
    pool.approved.insert_mut(approved.task);
    put(pool, Task { state, ..Task::clone(&task) });
    Ok(())
}

pub(super) fn confirm(pool: &mut Pool, confirmed: &TaskConfirmed) -> Outcome {
    const EVENT: &str = "pool.task-confirmed";
    let task = known(pool, confirmed.task, EVENT)?;
    let TaskState::ApplyPending { slot: key, .. } = task.state else {
        return Err(illegal(pool, EVENT));
    };
    let token = next_token(pool, confirmed.token, EVENT)?;
    let slot = Slot::Running { task: confirmed.task, kind: task.spec.kind, token };
    fill(pool, key, EVENT, slot, |before| before.task() == Some(confirmed.task))?;
    pool.last_token = token;
    let deadline = deadline(pool, &task.spec, confirmed.at);
    let state = TaskState::Running { phase: Phase::Apply, slot: key, token, started: false, deadline };
    pool.reserved.remove_mut(&confirmed.task);
    pool.approved.remove_mut(&confirmed.task);
    put(pool, Task { state, since: confirmed.at, ..Task::clone(&task) });
    Ok(())
}

/// A plan of the task waits for its confirmation; what becomes of it is told by the event after this one.
pub(super) fn expect_reserved(pool: &Pool, task: TaskId, event: &str) -> Outcome {
    match pool.task(task).map(|task| &task.state) {
        Some(TaskState::ApplyPending { .. }) => Ok(()),
        _ => Err(illegal(pool, event)),
    }
}

pub(super) fn end(pool: &mut Pool, ended: &TaskEnded) -> Outcome {
    const EVENT: &str = "pool.task-ended";
    let task = known(pool, ended.task, EVENT)?;
    let is_so = task.slot().map(|(_, token)| token) == ended.token && !task.is_over();
    if !is_so {
        return Err(illegal(pool, EVENT));
    }
    let weight = weight(pool, &task.spec);
    leave_slot(pool, &task, weight, ended.reported, EVENT)?;
    pool.queue.remove(&task, Pool::rank(&task), weight);
    let (result, exit, message) = (ended.result, ended.exit, ended.message.clone());
    let state = TaskState::Ended { result, exit, message };
    let told = if ended.reported { ended.token } else { task.told };
    put(pool, Task { state, since: ended.at, told, ..Task::clone(&task) });
    pool.ended_count += 1;
    pool.ended.insert_mut(pool.ended_count, ended.task);
    let kept_max = pool.spec.as_ref().map_or(0, |spec| spec.tasks.kept_max);
    // One ends at a time, so at most two go: one if the bound holds already, one more once it was lowered.
    for _ in 0..2 {
        let is_over = usize::try_from(kept_max).is_ok_and(|most| most < pool.ended.size());
        let Some((&number, &oldest)) = pool.ended.first().filter(|_| is_over) else { break };
        pool.ended.remove_mut(&number);
        pool.tasks.remove_mut(&oldest);
    }
    Ok(())
}

pub(super) fn requeue(pool: &mut Pool, requeued: &TaskRequeued) -> Outcome {
    const EVENT: &str = "pool.task-requeued";
    let task = known(pool, requeued.task, EVENT)?;
    if task.slot().map(|(_, token)| token) != Some(requeued.token) {
        return Err(illegal(pool, EVENT));
    }
    let weight = weight(pool, &task.spec);
    let was_done = matches!(requeued.reason, RequeueReason::Failed { .. });
    leave_slot(pool, &task, weight, was_done, EVENT)?;
    let not_before = requeued.not_before;
    // What an agent that leaves has not begun was no try.
    let was_no_try = requeued.reason == RequeueReason::AgentLeft && !requeued.may_have_run;
    let (reason, may_have_run, at) = (requeued.reason.clone(), requeued.may_have_run, requeued.at);
    let task = Task {
        state: TaskState::Pending { not_before },
        since: at,
        attempts: task.attempts.saturating_sub(u32::from(was_no_try)),
        cancel: None,
        told: if was_done { Some(requeued.token) } else { task.told },
        last_loss: Some(Loss { reason, may_have_run, at }),
        ..Task::clone(&task)
    };
    pool.queue.push(&task, Pool::rank(&task), weight, not_before);
    put(pool, task);
    Ok(())
}

pub(super) fn cancel(pool: &mut Pool, requested: &TaskCancelRequested) -> Outcome {
    const EVENT: &str = "pool.task-cancel-requested";
    let task = known(pool, requested.task, EVENT)?;
    let TaskState::Running { slot, .. } = task.state else { return Err(illegal(pool, EVENT)) };
    if task.cancel.is_some() {
        return Err(illegal(pool, EVENT));
    }
    change_member(pool, slot.member, EVENT, |member| {
        member.ending = member.ending.saturating_add(1);
        true
    })?;
    let cancel = Some(Cancel { reason: requested.reason, at: requested.at });
    put(pool, Task { cancel, ..Task::clone(&task) });
    Ok(())
}

/// Takes back what a task has: its slot and its workspace. `was_done` says that its agent brought it to an end.
fn leave_slot(pool: &mut Pool, task: &Task, weight: Weight, was_done: bool, event: &str) -> Outcome {
    let Some((key, _)) = task.slot() else { return Ok(()) };
    let id = task.spec.id;
    let was_cancelled = task.cancel.is_some();
    change_member(pool, key.member, event, |member| {
        member.ending = member.ending.saturating_sub(u8::from(was_cancelled));
        member.has_worked |= was_done;
        match member.slots.get_mut(usize::from(key.slot)) {
            Some(slot) if slot.task() == Some(id) => *slot = Slot::Idle,
            Some(_) | None => return false,
        }
        true
    })?;
    if matches!(task.state, TaskState::ApplyPending { .. }) {
        pool.reserved.remove_mut(&id);
        pool.approved.remove_mut(&id);
    }
    if let Some(workspace) = task.spec.locks() {
        pool.queue.unlock(workspace, weight);
    }
    Ok(())
}

fn fill(pool: &mut Pool, key: SlotKey, event: &str, slot: Slot, fits: impl Fn(&Slot) -> bool) -> Outcome {
    change_member(pool, key.member, event, |member| {
        let is_there = member.is_live();
        match member.slots.get_mut(usize::from(key.slot)) {
            Some(place) if fits(place) && is_there => *place = slot,
            Some(_) | None => return false,
        }
        true
    })
}

/// A token, if it is newer than all before, and another can follow.
fn next_token(pool: &Pool, token: Token, event: &str) -> Result<Token, IllegalTransition> {
    if token <= pool.last_token || token == token.next() { Err(illegal(pool, event)) } else { Ok(token) }
}

fn known(pool: &Pool, task: TaskId, event: &str) -> Result<Arc<Task>, IllegalTransition> {
    pool.tasks.get(&task).cloned().ok_or_else(|| illegal(pool, event))
}

fn put(pool: &mut Pool, task: Task) {
    pool.tasks.insert_mut(task.spec.id, Arc::new(task));
}

/// How much room a task needs; a pool without a specification has none that wait.
fn weight(pool: &Pool, task: &TaskSpec) -> Weight {
    pool.spec.as_ref().map_or(Weight::Light, |spec| spec.slots.rule.weight(task.kind))
}
