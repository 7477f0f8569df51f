//! Why a task waits, and what a verdict about the number of pods is made from.

use serde::{Deserialize, Serialize};

use super::freeze::LocalTime;
use super::member::{Member, Slot};
use super::names::{TaskId, Workspace};
use super::queue::Rank;
use super::scale::{Load, ScaleInputs};
use super::slots::Weight;
use super::state::Pool;
use super::task::TaskState;
use crate::units::Timestamp;

/// Why a task has no slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason", rename_all_fields = "camelCase")]
pub enum Wait {
    /// The pool goes.
    #[error("the pool is being removed")]
    Leaving,
    /// The pool stands still.
    #[error("the pool is in a freeze window")]
    Frozen,
    /// Its last try was lost, and the next is not due yet.
    #[error("it is tried again at {until}")]
    BackOff {
        /// When it is.
        until: Timestamp,
    },
    /// Another task has its workspace.
    #[error("task {holder} has workspace `{workspace}`")]
    Workspace {
        /// Which workspace.
        workspace: Workspace,
        /// Who has it.
        holder: TaskId,
    },
    /// Another task of its workspace comes first.
    #[error("task {first} of workspace `{workspace}` comes first")]
    BehindInWorkspace {
        /// Which workspace.
        workspace: Workspace,
        /// Who comes first.
        first: TaskId,
    },
    /// Pods did not come up, and no more are tried.
    #[error("{failures} pods in a row did not come up: {}; apply the pool again once that is mended", .last.as_deref().unwrap_or("no reason given"))]
    GaveUp {
        /// How often.
        failures: u32,
        /// Why the last one did not.
        last: Option<String>,
    },
    /// There is no pod, because the node has no room for one.
    #[error("the node has no room for a pod, which is tried again at {retry_at}: {lacks}")]
    NoRoom {
        /// What there is too little of.
        lacks: String,
        /// When the next is tried.
        retry_at: Timestamp,
    },
    /// It was confirmed, and other tasks of its pod are to end first.
    #[error("it is confirmed and begins once {running} other tasks of its pod have ended")]
    PodBusy {
        /// How many run.
        running: u32,
    },
    /// There is no pod.
    #[error("there is no pod yet")]
    NoPod,
    /// There are pods, but no agent is connected.
    #[error("no agent of {pods} pods is connected")]
    NoAgent {
        /// How many pods there are.
        pods: u32,
    },
    /// No slot is free that takes it.
    #[error("no slot is free that takes it, {in_front} tasks are in front of it")]
    NoSlot {
        /// How many stand in front of it.
        in_front: u32,
    },
}

impl Pool {
    /// Why a task has no slot; none if it is not known, has one, or is over.
    #[must_use]
    pub fn why_waits(&self, task: TaskId, now: Timestamp) -> Option<Wait> {
        let task = self.task(task)?;
        if let TaskState::ApplyPending { slot, confirmed_at: Some(_), .. } = task.state {
            let slots = self.member(slot.member).map(|member| member.slots.as_slice()).unwrap_or_default();
            let running = slots.iter().filter(|slot| matches!(slot, Slot::Running { .. })).count();
            return Some(Wait::PodBusy { running: number(running) });
        }
        let TaskState::Pending { not_before } = task.state else { return None };
        let rank = Pool::rank(task);
        if self.leaving.is_some() {
            return Some(Wait::Leaving);
        }
        if self.is_frozen(now) {
            return Some(Wait::Frozen);
        }
        if let Some(until) = not_before.filter(|until| now < *until) {
            return Some(Wait::BackOff { until });
        }
        if let Some(workspace) = task.spec.locks() {
            let of = || workspace.clone();
            if let Some(holder) = self.queue.holder(workspace) {
                return Some(Wait::Workspace { workspace: of(), holder });
            }
            if let Some(first) = self.queue.ahead_in(workspace, rank) {
                return Some(Wait::BehindInWorkspace { workspace: of(), first });
            }
        }
        let pods = self.live_members().count();
        let connected = self.live_members().any(Member::is_connected);
        if pods == 0 && self.scaling.gave_up {
            let (failures, last) = (self.scaling.failures, self.scaling.last_failure.clone());
            return Some(Wait::GaveUp { failures, last });
        }
        match (pods, connected) {
            (0, _) => Some(self.scaling.shortage.as_ref().map_or(Wait::NoPod, |shortage| {
                let (lacks, retry_at) = (shortage.reason.clone(), shortage.retry_at);
                Wait::NoRoom { lacks, retry_at }
            })),
            (pods, false) => Some(Wait::NoAgent { pods: number(pods) }),
            (_, true) => Some(Wait::NoSlot { in_front: number(self.in_front(rank)) }),
        }
    }

    fn in_front(&self, rank: Rank) -> usize {
        self.queue.light.range(..rank).count() + self.queue.heavy.range(..rank).count()
    }

    /// Members that are there or are coming, and neither leave nor are lost.
    pub fn live_members(&self) -> impl Iterator<Item = &Member> {
        self.members.values().map(AsRef::as_ref).filter(|member: &&Member| member.is_live())
    }

    /// Pods, slots and tasks, counted.
    #[must_use]
    pub fn load(&self) -> Load {
        let (light, heavy) = self.queue.ready();
        let (ready, ready_heavy) = (number(light + heavy), number(heavy));
        let mut load =
            Load { ready, ready_heavy, held: self.queue.waiting.saturating_sub(ready), ..Load::default() };
        let Some(rule) = self.spec.as_ref().map(|spec| spec.slots.rule) else { return load };
        for member in self.live_members() {
            load.members += 1;
            load.away += u32::from(!member.is_connected());
            load.idle_members += u32::from(member.is_idle());
            load.slots += number(member.slots.len());
            // One that is coming has room: else its own start would bring another pod beside it. How long that may take
            // is the policy's word, and there is no wait in which an agent could come otherwise.
            let is_closed = member.agent.is_some() && !member.may_be_given();
            // What nobody can be given is as good as used, while somebody waits for it.
            let is_of_no_use = light != 0 && is_closed;
            load.used += number(if is_of_no_use { member.slots.len() } else { rule.used(&member.slots) });
            let count =
                |fits: fn(&Slot) -> bool| number(member.slots.iter().filter(|slot| fits(slot)).count());
            load.running += count(|slot| matches!(slot, Slot::Running { .. }));
            load.reserved += count(|slot| matches!(slot, Slot::Reserved { .. }));
            let takes_heavy = rule.pick(&member.slots, Weight::Heavy).is_some() && !is_closed;
            load.heavy += u32::from(!takes_heavy);
        }
        load
    }

    /// What a verdict about the number of pods is made from now.
    #[must_use]
    pub fn scale_inputs(&self, local: LocalTime, now: Timestamp) -> ScaleInputs {
        let before = self.scaling.verdict();
        ScaleInputs {
            load: self.load(),
            wanted: self.scaling.wanted,
            rule: before.map(|verdict| verdict.rule),
            settling_since: before.and_then(|verdict| verdict.settling_since),
            leaving: self.leaving.is_some(),
            local,
            unfrozen_until: self.scaling.unfrozen_until,
            now,
        }
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
