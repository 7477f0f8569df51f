//! What a pool is at a moment: its specification, members, slots, tasks and who waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use serde::{Deserialize, Serialize};

use super::draft::Draft;
use super::event::{PoolEvent, Scaled};
use super::member::{Member, MemberPhase, Slot};
use super::names::{PoolName, SlotKey, TaskId, Token, Workspace};
use super::queue::{Queue, Rank};
use super::scale::{ScaleRule, Verdict};
use super::slots::{Takers, Weight};
use super::spec::{Digest, PoolSpec};
use super::task::{Phase, Task, TaskSpec, TaskState};
use super::{PoolCommand, PoolRejection, advance, decide, evolve};
use crate::context::Context;
use crate::decider::{Decider, IllegalTransition};
use crate::ids::StreamKind;
use crate::pairs;
use crate::units::Timestamp;

/// Verdicts that are kept.
pub const VERDICTS_KEPT: usize = 10;

/// One pool. It is copied at every decision, so what grows with its pods and tasks is shared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its name, once it was made.
    pub name: Option<PoolName>,
    /// What it is to be; none before it was made and after it is gone.
    pub spec: Option<Arc<PoolSpec>>,
    /// How its pods are to be: greater whenever those of before are not what is asked for.
    pub revision: u64,
    /// The oldest revision whose pods become what is asked for by other sizes alone, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place_from: Option<u64>,
    /// What its references hold, as far as that was looked at.
    pub digests: Arc<BTreeMap<String, Digest>>,
    /// That it goes, if it does.
    pub leaving: Option<Leaving>,
    /// How many pods there are to be, and how that came.
    pub scaling: Arc<Scaling>,
    /// Its pods by their number.
    #[serde(with = "pairs")]
    pub members: RedBlackTreeMapSync<u64, Arc<Member>>,
    /// Its tasks: those that are not over, and the newest of those that are.
    #[serde(with = "pairs")]
    pub tasks: RedBlackTreeMapSync<TaskId, Arc<Task>>,
    /// Tasks that are over and still known, by the order in which they ended.
    #[serde(with = "pairs")]
    pub ended: RedBlackTreeMapSync<u64, TaskId>,
    /// Tasks that are over, ever.
    pub ended_count: u64,
    /// Who waits.
    pub queue: Queue,
    /// Which members take which tasks.
    pub(super) takers: Takers,
    /// Tasks whose plan waits for its confirmation, or for its pod after that.
    pub reserved: RedBlackTreeSetSync<TaskId>,
    /// Those of them that were confirmed and wait for their pod.
    #[serde(default)]
    pub approved: RedBlackTreeSetSync<TaskId>,
    /// Tasks that were ever submitted: gives the next its place.
    pub submitted: u64,
    /// The number of the newest member.
    pub last_member: u64,
    /// The newest token.
    pub last_token: Token,
}

/// That a pool goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Whether tasks that run or wait for their confirmation are ended.
    pub force: bool,
    /// Since when.
    pub at: Timestamp,
}

/// How many pods there are to be, and how making them goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// How many there are to be.
    pub wanted: u32,
    /// The last verdicts, the newest last.
    pub verdicts: Vec<Scaled>,
    /// Until when freeze windows do not count.
    pub unfrozen_until: Option<Timestamp>,
    /// When somebody said so.
    pub unfrozen_at: Option<Timestamp>,
    /// How often in a row pods did not come up.
    pub failures: u32,
    /// When the last one did not.
    pub failed_at: Option<Timestamp>,
    /// Why the last one did not.
    pub last_failure: Option<String>,
    /// Before when no other is tried.
    pub retry_at: Option<Timestamp>,
    /// Whether nothing more is tried until an operator says so.
    pub gave_up: bool,
    /// That the node had no room for the last pod that was asked for, if so.
    #[serde(default)]
    pub shortage: Option<Shortage>,
}

/// That the node has no room for another pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortage {
    /// What there is too little of.
    pub reason: String,
    /// How often in a row a pod was refused for that.
    pub times: u32,
    /// When one was last.
    pub at: Timestamp,
    /// Before when no other is tried.
    pub retry_at: Timestamp,
}

impl Scaling {
    /// The newest verdict.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdicts.last().map(|scaled| &scaled.verdict)
    }
}

/// What an agent is to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Run this; again and again the same until it was told that it has ended.
    Run {
        /// Which task.
        task: TaskId,
        /// In which slot.
        slot: SlotKey,
        /// Shows that one has the slot.
        token: Token,
        /// What of it.
        phase: Phase,
        /// Which try it is, from 1.
        attempt: u32,
        /// What is to be done.
        spec: Arc<TaskSpec>,
        /// How long the phase may take, in seconds.
        timeout_s: u32,
        /// Whether the agent has begun with it.
        started: bool,
    },
    /// End this.
    Cancel {
        /// Which task.
        task: TaskId,
        /// Shows that one has the slot.
        token: Token,
        /// Why.
        reason: super::event::CancelReason,
        /// Seconds until it is killed.
        grace_s: u32,
    },
    /// Take nothing more and end: the pod goes.
    Drain,
}

impl Pool {
    /// Whether a task has its slot from an agent that takes nothing more.
    pub(super) fn is_at_leaving_agent(&self, task: &Task) -> bool {
        let member = task.slot().and_then(|(slot, _)| self.member(slot.member));
        member.and_then(|member| member.agent.as_ref()).is_some_and(|agent| agent.leaving)
    }

    /// Whether it was made and is not gone.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.spec.is_some()
    }

    /// The word for how it stands.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match (&self.spec, self.leaving) {
            (None, _) if self.name.is_none() => "unknown",
            (None, _) => "removed",
            (Some(_), Some(_)) => "leaving",
            (Some(_), None) if self.is_frozen_unless(true) => "frozen",
            (Some(_), None) if self.scaling.gave_up => "gave-up",
            (Some(_), None) => "active",
        }
    }

    /// Whether it stands still at a moment: nothing is begun.
    #[must_use]
    pub fn is_frozen(&self, now: Timestamp) -> bool {
        self.is_frozen_unless(self.scaling.unfrozen_until.is_some_and(|until| now < until))
    }

    /// Whether it was last found in a freeze window, and was not thawed since, if a thaw still counts.
    fn is_frozen_unless(&self, thaw_counts: bool) -> bool {
        let last = self.scaling.verdicts.last();
        last.is_some_and(|scaled| {
            let is_thawed = self.scaling.unfrozen_at.is_some_and(|at| scaled.at <= at);
            scaled.verdict.rule == ScaleRule::Frozen && !(thaw_counts && is_thawed)
        })
    }

    /// A task, if it is known.
    #[must_use]
    pub fn task(&self, task: TaskId) -> Option<&Task> {
        self.tasks.get(&task).map(Arc::as_ref)
    }

    /// A member, if there is one.
    #[must_use]
    pub fn member(&self, member: u64) -> Option<&Member> {
        self.members.get(&member).map(Arc::as_ref)
    }

    /// What is in a slot, if there is such a slot.
    #[must_use]
    pub fn slot(&self, key: SlotKey) -> Option<Slot> {
        self.member(key.member)?.slots.get(usize::from(key.slot)).copied()
    }

    /// Whether an agent has this task by this token.
    #[must_use]
    pub fn holds(&self, member: u64, task: TaskId, token: Token) -> bool {
        let slot = self.task(task).and_then(Task::slot);
        slot.is_some_and(|(slot, current)| slot.member == member && current == token)
    }

    /// Whether a member is still to apply what it planned of a task.
    #[must_use]
    pub fn keeps_plan(&self, member: u64, task: TaskId) -> bool {
        let state = self.task(task).map(|task| &task.state);
        match state {
            Some(
                TaskState::ApplyPending { slot, .. } | TaskState::Running { slot, phase: Phase::Apply, .. },
            ) => slot.member == member,
            Some(TaskState::Running { .. } | TaskState::Pending { .. } | TaskState::Ended { .. }) | None => {
                false
            }
        }
    }

    /// Members whose pods are to be admitted or removed: what a start finishes.
    pub fn intents(&self) -> impl Iterator<Item = &Member> {
        let members = self.members.values().map(Arc::as_ref);
        members.filter(|member| match member.phase {
            MemberPhase::Requested | MemberPhase::Removing { .. } | MemberPhase::Lost { .. } => true,
            MemberPhase::Up => false,
        })
    }

    /// All that a member's agent is to do now.
    #[must_use]
    pub fn orders(&self, member: u64) -> Vec<Order> {
        let (Some(member), Some(spec)) = (self.member(member), &self.spec) else { return vec![] };
        let mut orders = vec![];
        for task in member.tasks().filter_map(|id| self.task(id)) {
            let TaskState::Running { phase, slot, token, started, .. } = task.state else { continue };
            orders.push(Order::Run {
                task: task.spec.id,
                slot,
                token,
                phase,
                attempt: task.attempts,
                spec: task.spec.clone(),
                timeout_s: task.spec.timeout_s.unwrap_or(spec.tasks.timeout_s),
                started,
            });
            if let Some(cancel) = &task.cancel {
                let grace_s = spec.agents.cancel_grace_s;
                orders.push(Order::Cancel { task: task.spec.id, token, reason: cancel.reason, grace_s });
            }
        }
        if matches!(member.phase, MemberPhase::Removing { .. }) {
            orders.push(Order::Drain);
        }
        orders
    }

    fn draft(&self, command: &PoolCommand, context: &Context) -> Result<Draft, PoolRejection> {
        let mut draft = Draft::new(self.clone(), context.now);
        if matches!(command, PoolCommand::Tick { .. }) {
            // How many pods there are to be follows from who waits.
            draft.call_due();
        }
        decide::answer(&mut draft, command)?;
        advance::assign(&mut draft);
        Ok(draft)
    }

    /// The rank of a task in the queue.
    pub(super) fn rank(task: &Task) -> Rank {
        Rank { behind: -i64::from(task.spec.priority), order: task.order }
    }

    /// Who has a workspace for himself now.
    #[must_use]
    pub fn workspace_holder(&self, workspace: &Workspace) -> Option<TaskId> {
        self.queue.holder(workspace)
    }
}

impl Decider for Pool {
    type Command = PoolCommand;
    type Event = PoolEvent;
    type Rejection = PoolRejection;

    const KIND: StreamKind = StreamKind::Pool;

    fn decide(&self, command: &PoolCommand, context: &Context) -> Result<Vec<PoolEvent>, PoolRejection> {
        Ok(self.draft(command, context)?.events)
    }

    fn decide_next(
        &self,
        command: &PoolCommand,
        context: &Context,
    ) -> Result<(Vec<PoolEvent>, Pool), PoolRejection> {
        // Most of it was followed already, to decide the rest.
        Ok(self.draft(command, context)?.followed(self))
    }

    /// What grows with pods and tasks is changed where it is: nobody else has it.
    fn decide_ahead(
        &mut self,
        command: &PoolCommand,
        context: &Context,
    ) -> Result<Vec<PoolEvent>, PoolRejection> {
        if Weight::ALL.into_iter().any(|weight| self.queue.first_due(weight, context.now).is_some()) {
            // The draft may know of them before any event does.
            let (events, next) = self.decide_next(command, context)?;
            *self = next;
            return Ok(events);
        }
        let mut draft = Draft::new(std::mem::take(self), context.now);
        let answered = decide::answer(&mut draft, command);
        match answered {
            Ok(()) => advance::assign(&mut draft),
            Err(_) => assert!(draft.events.is_empty(), "a pool refuses before it decides anything"),
        }
        let (events, next) = draft.end();
        *self = next;
        answered.map(|()| events)
    }

    fn refusal(events: &[PoolEvent]) -> Option<PoolRejection> {
        events.iter().find_map(|event| match event {
            PoolEvent::StaleTokenRefused(refused) => Some(PoolRejection::StaleToken {
                task: refused.task,
                token: refused.token,
                reason: refused.reason,
            }),
            _ => None,
        })
    }

    fn evolve(&self, event: &PoolEvent) -> Result<Pool, IllegalTransition> {
        let mut next = self.clone();
        evolve::apply(&mut next, event)?;
        Ok(next)
    }

    fn follow(&mut self, event: &PoolEvent) -> Result<(), IllegalTransition> {
        evolve::apply(self, event)
    }

    fn is_terminal(&self) -> bool {
        false
    }
}
