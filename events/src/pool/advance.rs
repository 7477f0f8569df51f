//! What follows by itself from a change, in the same decision: who waits gets what came free. To find a slot and to give
//! it away is one decision, so nobody can come between.

use super::draft::Draft;
use super::event::{TaskAssigned, TaskConfirmed};
use super::names::{SlotKey, TaskId};
use super::queue::Rank;
use super::slots::Weight;
use super::state::Pool;
use super::task::{Task, TaskState};
use crate::units::Timestamp;

/// Most tasks that one decision gives a slot; the others get theirs with the next.
const ASSIGNED_MAX: usize = 64;

/// Begins what was confirmed and can be applied by now, and gives slots to those that wait for one, the first first.
pub(super) fn assign(draft: &mut Draft) {
    apply_approved(draft);
    if draft.pool.leaving.is_some() || draft.pool.is_frozen(draft.now) {
        return;
    }
    draft.serve_due(|draft| {
        for _ in 0..ASSIGNED_MAX {
            let Some((task, weight)) = next(draft) else { return };
            if !give(draft, task, weight) {
                return;
            }
        }
    });
}

/// The first of those that a member takes, and how much room it needs.
fn next(draft: &Draft) -> Option<(TaskId, Weight)> {
    let (queue, takers) = (&draft.pool.queue, &draft.pool.takers);
    let first = |line: &rpds::RedBlackTreeMapSync<Rank, TaskId>, weight| {
        takers.first(weight)?;
        line.first().map(|(rank, task)| (*rank, *task, weight))
    };
    let light = first(&queue.light, Weight::Light);
    let heavy = first(&queue.heavy, Weight::Heavy);
    let firsts = [light, heavy].into_iter().flatten();
    firsts.min_by_key(|(rank, ..)| *rank).map(|(_, task, weight)| (task, weight))
}

/// Begins with the plans that were confirmed and whose pods are theirs by now.
fn apply_approved(draft: &mut Draft) {
    if draft.pool.approved.is_empty() {
        return;
    }
    let approved: Vec<TaskId> = draft.pool.approved.iter().copied().collect();
    for task in approved {
        if may_apply(&draft.pool, task, draft.now) {
            let (token, at) = (draft.pool.last_token.next(), draft.now);
            draft.push(TaskConfirmed { task, token, at });
        }
    }
}

/// Whether a plan may be applied now: the pool is in no freeze window, the agent is there, and nothing runs beside it that
/// may not.
pub(super) fn may_apply(pool: &Pool, task: TaskId, now: Timestamp) -> bool {
    if pool.is_frozen(now) {
        return false;
    }
    let Some(TaskState::ApplyPending { slot, .. }) = pool.task(task).map(|task| &task.state) else {
        return false;
    };
    let (Some(member), Some(spec)) = (pool.member(slot.member), &pool.spec) else { return false };
    member.takes_tasks() && spec.slots.rule.may_apply(&member.slots)
}

/// Gives a task the best slot; says whether somebody else may get one too.
fn give(draft: &mut Draft, id: TaskId, weight: Weight) -> bool {
    let pool = &draft.pool;
    // Nobody comes into line because another gets a slot.
    let is_last = pool.queue.waiting == 1;
    let Some(rule) = pool.spec.as_ref().map(|spec| spec.slots.rule) else { return false };
    let member = pool.takers.first(weight).and_then(|number| pool.member(number));
    let picked = member.and_then(|member| Some((member.member, rule.pick(&member.slots, weight)?)));
    let (Some((member, slot)), Some(task)) = (picked, pool.task(id)) else { return false };
    let Task { spec, attempts, .. } = task;
    let (phase, attempt) = (spec.first_phase(), attempts.saturating_add(1));
    let (token, at) = (pool.last_token.next(), draft.now);
    let assigned = TaskAssigned { task: id, slot: SlotKey { member, slot }, token, phase, attempt, at };
    if is_last {
        draft.push_last(assigned);
    } else {
        draft.push(assigned);
    }
    !is_last
}
