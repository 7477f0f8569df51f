//! A member of a pool: one pod, its agent and its slots.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::{LossReason, MemberRemovalReason};
use super::names::{TaskId, Token};
use super::resize::MemberResize;
use super::task::TaskKind;
use crate::ids::PodUid;
use crate::units::Timestamp;

/// One pod of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its number: no two members of a pool have the same, ever.
    pub member: u64,
    /// The pool's revision that it was made for.
    pub revision: u64,
    /// How far it is.
    pub phase: MemberPhase,
    /// Its pod, once it was admitted.
    pub pod: Option<PodUid>,
    /// Its agent, once it came.
    pub agent: Option<Agent>,
    /// Its slots.
    pub slots: Vec<Slot>,
    /// When it was wanted.
    pub requested_at: Timestamp,
    /// Since when it is as far.
    pub since: Timestamp,
    /// Tasks in its slots that are to end: it gets no other until they have.
    pub ending: u8,
    /// When its agent came first.
    #[serde(default)]
    pub came_at: Option<Timestamp>,
    /// Whether its agent has brought a task, or a plan, to its end.
    #[serde(default)]
    pub has_worked: bool,
    /// When its agent last spoke for a slot that it does not have, and that was recorded.
    #[serde(default)]
    pub refused_at: Option<Timestamp>,
    /// That its pod is to have other sizes, or could not have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<MemberResize>,
}

/// How far a member is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MemberPhase {
    /// Its pod is to be admitted: an intent.
    Requested,
    /// Its pod was admitted.
    Up,
    /// It was idle, and its pod is to be removed: an intent. Nothing comes into its slots any more.
    Removing {
        /// Why.
        reason: MemberRemovalReason,
    },
    /// It was lost, and what is left of its pod is to be removed: an intent.
    Lost {
        /// Why.
        reason: LossReason,
    },
}

/// The agent of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its session: another one is another life of the agent.
    pub session: Uuid,
    /// What it says of itself.
    pub version: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Since when it is, or is not.
    pub since: Timestamp,
    /// Whether it has said that it takes nothing more.
    #[serde(default)]
    pub leaving: bool,
}

/// A slot, and who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Slot {
    /// Nobody.
    #[default]
    Idle,
    /// A task that runs.
    Running {
        /// Which.
        task: TaskId,
        /// What kind it is.
        kind: TaskKind,
        /// Shows that one has the slot.
        token: Token,
    },
    /// A task whose plan waits for its confirmation.
    Reserved {
        /// Which.
        task: TaskId,
        /// What kind it is.
        kind: TaskKind,
        /// Shows that one has the slot.
        token: Token,
        /// Until when.
        expires_at: Timestamp,
        /// Whether the plan was confirmed, and waits for the rest of the pod to be idle.
        #[serde(default)]
        confirmed: bool,
    },
}

impl Slot {
    /// Whether nobody has it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self, Slot::Idle)
    }

    /// Who has it.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Slot::Idle => None,
            Slot::Running { task, .. } | Slot::Reserved { task, .. } => Some(*task),
        }
    }

    /// The word for how it is.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Slot::Idle => "idle",
            Slot::Running { .. } => "running",
            Slot::Reserved { .. } => "reserved",
        }
    }
}

impl Member {
    /// Whether it counts: it is there or is coming, and neither leaves nor is lost.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.phase, MemberPhase::Requested | MemberPhase::Up)
    }

    /// Whether its agent is connected, and it is neither leaving nor lost.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.phase == MemberPhase::Up && self.agent.as_ref().is_some_and(|agent| agent.connected)
    }

    /// Whether its agent is there and takes tasks.
    #[must_use]
    pub fn takes_tasks(&self) -> bool {
        self.is_connected() && self.agent.as_ref().is_some_and(|agent| !agent.leaving)
    }

    /// Whether idle slots of it can be given to tasks: its agent takes some, and nothing that it has is to end.
    #[must_use]
    pub fn may_be_given(&self) -> bool {
        self.takes_tasks() && self.ending == 0
    }

    /// Whether it has shown that pods like it come up: it has done something, or its agent was there for so long.
    #[must_use]
    pub fn has_lived(&self, least_ms: u64, now: Timestamp) -> bool {
        let (Some(came_at), Some(agent)) = (self.came_at, &self.agent) else { return false };
        let until = if agent.connected { now } else { agent.since };
        self.has_worked || least_ms <= until.ms_since(came_at)
    }

    /// Whether nobody has any of its slots.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.iter().all(Slot::is_idle)
    }

    /// The tasks that have its slots, in the order of these.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.slots.iter().filter_map(Slot::task)
    }

    /// The word for how far it is.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match (&self.phase, &self.agent) {
            (MemberPhase::Requested, _) => "requested",
            (MemberPhase::Up, None) => "starting",
            (MemberPhase::Up, Some(agent)) if agent.connected => "connected",
            (MemberPhase::Up, Some(_)) => "away",
            (MemberPhase::Removing { .. }, _) => "removing",
            (MemberPhase::Lost { .. }, _) => "lost",
        }
    }
}
