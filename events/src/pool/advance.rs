//! What follows by itself from a change, in the same decision: who waits gets what came free. To find a slot and to give
//! it away is one decision, so nobody can come between.

use super::draft::Draft;
use super::event::TaskAssigned;
use super::names::{SlotKey, TaskId};
use super::queue::Rank;
use super::slots::Weight;
use super::task::Task;

/// Most tasks that one decision gives a slot; the others get theirs with the next.
const ASSIGNED_MAX: usize = 64;

/// Gives slots to those that wait for one, the first first.
pub(super) fn assign(draft: &mut Draft) {
    if draft.pool.leaving.is_some() || draft.pool.is_frozen(draft.now) {
        return;
    }
    for _ in 0..ASSIGNED_MAX {
        let Some((task, weight)) = next(draft) else { return };
        if !give(draft, task, weight) {
            return;
        }
    }
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
    let due = due(draft);
    let firsts = [light, heavy, due].into_iter().flatten();
    firsts.min_by_key(|(rank, ..)| *rank).map(|(_, task, weight)| (task, weight))
}

/// The first whose next try is due, whom a member takes, and whose workspace is free.
fn due(draft: &Draft) -> Option<(Rank, TaskId, Weight)> {
    let pool = &draft.pool;
    let rule = pool.spec.as_ref()?.slots.rule;
    let due = pool.queue.delayed.iter().take_while(|((not_before, _), _)| *not_before <= draft.now);
    let fits = due.take(ASSIGNED_MAX).filter_map(|((_, rank), id)| {
        let task = pool.task(*id)?;
        let weight = rule.weight(task.spec.kind);
        pool.takers.first(weight)?;
        let is_locked = task.spec.locks().is_some_and(|workspace| pool.queue.holder(workspace).is_some());
        (!is_locked).then_some((*rank, *id, weight))
    });
    fits.min_by_key(|(rank, ..)| *rank)
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
