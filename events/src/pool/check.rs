//! What must hold of a pool after every event: everything that is in it twice agrees.

use std::collections::{BTreeMap, BTreeSet};

use super::member::{Member, MemberPhase, Slot};
use super::names::{SlotKey, TaskId, Token, Workspace};
use super::queue::{Queue, Rank};
use super::slots::{Takers, Weight};
use super::spec::SlotRule;
use super::state::Pool;
use super::task::{Task, TaskState};

/// Everything about a pool that must not be.
#[must_use]
pub fn check(pool: &Pool) -> Vec<String> {
    let mut found = slots(pool);
    found.extend(owners(pool));
    found.extend(workspaces(pool));
    found.extend(members(pool));
    if let Some(rule) = pool.spec.as_ref().map(|spec| spec.slots.rule) {
        found.extend(queue(pool, rule));
        found.extend(takers(pool, rule));
    }
    found.extend(ended(pool));
    found
}

fn live(pool: &Pool) -> impl Iterator<Item = &Task> {
    pool.tasks.values().map(AsRef::as_ref).filter(|task: &&Task| !task.is_over())
}

/// Each slot is had by a task that says so, by a token of its own.
fn slots(pool: &Pool) -> Vec<String> {
    let mut found = vec![];
    let mut tokens: BTreeMap<Token, SlotKey> = BTreeMap::new();
    for (number, member) in &pool.members {
        for (at, slot) in member.slots.iter().enumerate() {
            let key = SlotKey { member: *number, slot: u8::try_from(at).unwrap_or(u8::MAX) };
            let (id, token, is_reserved) = match slot {
                Slot::Idle => continue,
                Slot::Running { task, token, .. } => (*task, *token, false),
                Slot::Reserved { task, token, confirmed, .. } => {
                    if *confirmed != pool.approved.contains(task) {
                        found.push(format!("slot {key} says otherwise whether task {task} was confirmed"));
                    }
                    (*task, *token, true)
                }
            };
            let task = pool.task(id);
            let waits = task.is_some_and(|task| matches!(task.state, TaskState::ApplyPending { .. }));
            if task.and_then(Task::slot) != Some((key, token)) || waits != is_reserved {
                found.push(format!("slot {key} is {} for task {id}, which does not say so", slot.word()));
            }
            if pool.last_token < token {
                found.push(format!("slot {key} has token {token}, which was never given"));
            }
            if let Some(other) = tokens.insert(token, key) {
                found.push(format!("slots {other} and {key} have the same token"));
            }
        }
    }
    found
}

/// Each task that has a slot is in it, and each that has a plan is among those that wait for a confirmation.
fn owners(pool: &Pool) -> Vec<String> {
    let mut found = vec![];
    for task in live(pool) {
        let id = task.spec.id;
        if let Some((key, _)) = task.slot()
            && pool.slot(key).and_then(|slot| slot.task()) != Some(id)
        {
            found.push(format!("task {id} says that it has slot {key}, which it has not"));
        }
        let waits = matches!(task.state, TaskState::ApplyPending { .. });
        if waits != pool.reserved.contains(&id) {
            found.push(format!("task {id} is {}, and is not listed as that", task.word()));
        }
    }
    let confirmed = |id: &TaskId| {
        let state = pool.task(*id).map(|task| &task.state);
        matches!(state, Some(TaskState::ApplyPending { confirmed_at: Some(_), .. }))
    };
    let idle = pool.approved.iter().filter(|id| !confirmed(id));
    found.extend(idle.map(|id| format!("task {id} is listed as confirmed, and is not")));
    let stray = pool.reserved.iter().filter(|id| pool.task(**id).is_none_or(Task::is_over));
    found.extend(stray.map(|id| format!("a plan of task {id} is listed, which is over")));
    found
}

/// A workspace is had by the one task that applies, or is to, and by nobody else.
fn workspaces(pool: &Pool) -> Vec<String> {
    let mut found = vec![];
    let mut holders: BTreeMap<&Workspace, TaskId> = BTreeMap::new();
    for task in live(pool).filter(|task| task.slot().is_some()) {
        let Some(workspace) = task.spec.locks() else { continue };
        if let Some(other) = holders.insert(workspace, task.spec.id) {
            found.push(format!("workspace `{workspace}` has two applies: {other} and {}", task.spec.id));
        }
    }
    let listed = pool.queue.holders.iter().map(|(workspace, task)| (workspace, *task));
    if !holders.into_iter().eq(listed) {
        found.push("the workspaces that are had are not those of the applies".to_owned());
    }
    found
}

/// Who was let go has nothing, and who has something to end is known to. Who is lost has what he had until he is gone.
fn members(pool: &Pool) -> Vec<String> {
    let mut found = vec![];
    for (number, member) in &pool.members {
        let goes = matches!(member.phase, MemberPhase::Removing { .. });
        if goes && !member.is_idle() {
            found.push(format!("member {number} is {} and has a slot in use", member.word()));
        }
        let ending = member.tasks().filter_map(|id| pool.task(id)).filter(|task| task.cancel.is_some());
        if ending.count() != usize::from(member.ending) {
            found.push(format!("member {number} does not know what it is to end"));
        }
        if pool.last_member < *number || member.member != *number {
            found.push(format!("member {number} was never wanted"));
        }
    }
    found
}

/// Who waits is in the one place in which he is found.
fn queue(pool: &Pool, rule: SlotRule) -> Vec<String> {
    let (holders, due_until) = (pool.queue.holders.clone(), pool.queue.due_until);
    let mut expected = Queue { holders, due_until, ..Queue::default() };
    let mut pending: Vec<(Rank, &Task)> =
        live(pool).filter(|task| task.slot().is_none()).map(|task| (Pool::rank(task), task)).collect();
    pending.sort_by_key(|(rank, _)| *rank);
    for (rank, task) in pending {
        if let TaskState::Pending { not_before } = task.state {
            expected.push(task, rank, rule.weight(task.spec.kind), not_before);
        }
    }
    if expected == pool.queue {
        vec![]
    } else {
        vec!["the queue is not that of the tasks that wait".to_owned()]
    }
}

/// Who takes tasks is who has a slot for them.
fn takers(pool: &Pool, rule: SlotRule) -> Vec<String> {
    let mut expected = Takers::default();
    for member in pool.members.values() {
        expected.changed(rule, pool.revision, None, Some(member));
    }
    let mut found = vec![];
    if expected != pool.takers {
        found.push("the members that take tasks are not those with a slot for them".to_owned());
    }
    for weight in [Weight::Light, Weight::Heavy] {
        let first = pool.takers.first(weight).and_then(|number| pool.member(number));
        if first.is_some_and(|member| !Member::is_connected(member)) {
            found.push("a member whose agent is not connected takes tasks".to_owned());
        }
    }
    found
}

/// Tasks that are over and kept are those that are listed.
fn ended(pool: &Pool) -> Vec<String> {
    let listed: BTreeSet<TaskId> = pool.ended.values().copied().collect();
    let kept: BTreeSet<TaskId> =
        pool.tasks.values().filter(|task| task.is_over()).map(|task| task.spec.id).collect();
    if listed == kept {
        vec![]
    } else {
        vec!["the tasks that are over are not those that are listed".to_owned()]
    }
}
