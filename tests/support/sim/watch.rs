//! An onlooker who sees every record, and that nothing happens to pools that must never happen: no pod goes in which
//! something runs or is kept, no slot has two owners, no workspace two applies, no token goes back.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::pod::PodEvent;
use purser_events::pool::{Member, MemberPhase, Pool, PoolEvent, PoolName, SlotKey, Task, TaskId, Token};
use purser_events::{Event, PodUid, Principal, Record, World};

use super::run::Broken;

/// What the onlooker remembers.
#[derive(Debug, Default)]
pub(super) struct Watch {
    tokens: BTreeMap<PoolName, Token>,
    /// What has lost its slot after it may have run, and what was planned: by the tokens that it had then.
    over: BTreeSet<(TaskId, Token)>,
    /// Pods that were refused, by their names.
    pub(super) refused: BTreeSet<String>,
    /// Tasks that were given slots.
    pub(super) assigned: u64,
    /// Tasks that lost theirs.
    pub(super) requeued: u64,
}

impl Watch {
    /// Whether it is on record that what a task began by a token came to no end of the task, or to a plan alone.
    pub(super) fn is_over(&self, task: TaskId, token: Token) -> bool {
        self.over.contains(&(task, token))
    }

    /// Sees that a record says nothing that must not be. `world` is that before it.
    pub(super) fn look(&mut self, world: &World, record: &Record) -> Result<(), Broken> {
        match &record.event {
            Event::Pod(PodEvent::TerminationRequested(_))
                if record.header.origin.principal == Principal::node() =>
            {
                not_busy(world, PodUid(record.header.stream.id))
            }
            Event::Pool(event) => {
                let stream = record.header.stream;
                let Some((name, pool)) = world.pools.iter().find(|(name, _)| name.stream() == stream) else {
                    return Ok(());
                };
                self.see(name, pool, event).map_err(|broken| format!("pool {name}: {broken}"))
            }
            _ => Ok(()),
        }
    }

    fn see(&mut self, name: &PoolName, pool: &Pool, event: &PoolEvent) -> Result<(), Broken> {
        use PoolEvent as E;
        match event {
            E::MemberRemovalRequested(event) => idle(pool, event.member, "is let go"),
            E::MemberRemoved(event) => idle(pool, event.member, "is gone"),
            E::MemberRequestFailed(event) => {
                self.refused.insert(name.pod_name(event.member));
                idle(pool, event.member, "does not come")
            }
            E::MemberNoRoom(event) => {
                self.refused.insert(name.pod_name(event.member));
                idle(pool, event.member, "does not come")
            }
            E::TaskAssigned(event) => {
                self.assigned += 1;
                self.draw(name, event.token)?;
                free(pool, event.task, event.slot)
            }
            E::TaskPlanned(event) => {
                let held = pool.task(event.task).and_then(Task::slot);
                self.over.extend(held.map(|(_, token)| (event.task, token)));
                self.draw(name, event.token)
            }
            E::TaskConfirmed(event) => self.draw(name, event.token),
            E::TaskRequeued(event) => {
                self.requeued += 1;
                if event.may_have_run {
                    self.over.insert((event.task, event.token));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn draw(&mut self, name: &PoolName, token: Token) -> Result<(), Broken> {
        let before = self.tokens.insert(name.clone(), token);
        match before.filter(|before| token <= *before) {
            Some(before) => Err(format!("token {token} follows {before}")),
            None => Ok(()),
        }
    }
}

fn idle(pool: &Pool, number: u64, how: &str) -> Result<(), Broken> {
    match pool.member(number).filter(|member| !member.is_idle()) {
        Some(member) => Err(format!("member {number} {how} with slots in use: {:?}", member.slots)),
        None => Ok(()),
    }
}

/// A pod is removed by the node only once it is given up, or nothing runs or is kept in it.
fn not_busy(world: &World, pod: PodUid) -> Result<(), Broken> {
    let is_its = |member: &&Member| member.pod == Some(pod);
    for (name, pool) in &world.pools {
        let member = pool.members.values().map(AsRef::as_ref).find(is_its);
        let Some(member) = member.filter(|member| !matches!(member.phase, MemberPhase::Lost { .. })) else {
            continue;
        };
        if !member.is_idle() {
            let number = member.member;
            return Err(format!(
                "pod {pod} of {name}/{number} is deleted with slots in use: {:?}",
                member.slots
            ));
        }
    }
    Ok(())
}

/// A slot that is given is nobody's, its agent is there, and no other apply has the task's workspace.
fn free(pool: &Pool, id: TaskId, slot: SlotKey) -> Result<(), Broken> {
    let owner = pool.slot(slot).and_then(|slot| slot.task());
    if let Some(owner) = owner {
        return Err(format!("slot {slot} has two owners: {owner} and {id}"));
    }
    if !pool.member(slot.member).is_some_and(Member::is_connected) {
        return Err(format!("slot {slot} is given, and its agent is not connected"));
    }
    let Some(task) = pool.task(id) else { return Ok(()) };
    if let Some((held, _)) = task.slot() {
        return Err(format!("task {id} has two slots: {held} and {slot}"));
    }
    let applies = |task: &Task| task.spec.kind.applies();
    let Some(workspace) = task.spec.workspace.as_ref().filter(|_| applies(task)) else { return Ok(()) };
    let others = pool.tasks.values().map(AsRef::as_ref).filter(|other: &&Task| other.slot().is_some());
    let mut others =
        others.filter(|other| applies(other) && other.spec.workspace.as_ref() == Some(workspace));
    match others.next() {
        Some(other) => Err(format!("workspace {workspace} has two applies: {} and {id}", other.spec.id)),
        None => Ok(()),
    }
}
