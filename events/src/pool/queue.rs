//! Who waits: for a slot, for a workspace, or for the next try.
//!
//! Of the applies of one workspace at most the first stands in line for a slot, and none while another has the workspace.
//! So a decision never goes past those that cannot be served.

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::names::{TaskId, Workspace};
use super::slots::Weight;
use super::task::{Task, TaskState};
use crate::pairs;
use crate::units::Timestamp;

/// A place in the queue: higher priorities first, among equals who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rank {
    /// The priority, turned round.
    pub behind: i64,
    /// Who came first.
    pub order: u64,
}

/// Everybody who waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Tasks that any slot takes and that wait for one, the first first.
    #[serde(with = "pairs")]
    pub(super) light: RedBlackTreeMapSync<Rank, TaskId>,
    /// Tasks that need a pod, or its first slot, for themselves and wait for one, the first first.
    #[serde(with = "pairs")]
    pub(super) heavy: RedBlackTreeMapSync<Rank, TaskId>,
    /// Tasks whose next try is not due yet, or that nobody could serve since: by how much room they need.
    #[serde(with = "pairs")]
    pub(super) delayed: RedBlackTreeMapSync<(Weight, Timestamp, Rank), TaskId>,
    /// Applies of each workspace that wait, the first first; the first of a workspace that is free stands in line too.
    #[serde(with = "pairs")]
    pub(super) applies: RedBlackTreeMapSync<(Workspace, Rank), TaskId>,
    /// Who has a workspace for himself.
    #[serde(with = "pairs")]
    pub(super) holders: RedBlackTreeMapSync<Workspace, TaskId>,
    /// How many wait.
    pub waiting: u32,
    /// Up to when those whose next try was due have come into line.
    #[serde(default)]
    pub(super) due_until: Option<Timestamp>,
}

impl Queue {
    /// Who has a workspace for himself now.
    #[must_use]
    pub(super) fn holder(&self, workspace: &Workspace) -> Option<TaskId> {
        self.holders.get(workspace).copied()
    }

    /// How many stand in line for a slot: of those that any takes, and of the others.
    #[must_use]
    pub fn ready(&self) -> (usize, usize) {
        (self.light.size(), self.heavy.size())
    }

    /// Who of a workspace that nobody has comes before a place, if anybody does.
    #[must_use]
    pub(super) fn ahead_in(&self, workspace: &Workspace, rank: Rank) -> Option<TaskId> {
        self.first_apply(workspace).filter(|(first, _)| *first < rank).map(|(_, task)| task)
    }

    fn line(&mut self, weight: Weight) -> &mut RedBlackTreeMapSync<Rank, TaskId> {
        match weight {
            Weight::Light => &mut self.light,
            Weight::Heavy => &mut self.heavy,
        }
    }

    /// The first of a workspace's applies that wait.
    fn first_apply(&self, workspace: &Workspace) -> Option<(Rank, TaskId)> {
        let from = (workspace.clone(), Rank { behind: i64::MIN, order: 0 });
        let ((of, rank), task) = self.applies.range(from..).next()?;
        (of == workspace).then_some((*rank, *task))
    }

    /// Lets a task wait.
    pub(super) fn push(&mut self, task: &Task, rank: Rank, weight: Weight, not_before: Option<Timestamp>) {
        self.waiting = self.waiting.saturating_add(1);
        match not_before.filter(|not_before| self.due_until < Some(*not_before)) {
            Some(not_before) => self.delayed.insert_mut((weight, not_before, rank), task.spec.id),
            None => self.stand(task, rank, weight),
        }
    }

    /// The first that needs so much room and whose next try is due.
    pub(super) fn first_due(&self, weight: Weight, now: Timestamp) -> Option<(Timestamp, Rank, TaskId)> {
        let from = (weight, Timestamp(i64::MIN), Rank { behind: i64::MIN, order: 0 });
        let ((of, not_before, rank), task) = self.delayed.range(from..).next()?;
        (*of == weight && *not_before <= now).then_some((*not_before, *rank, *task))
    }

    /// Lets one whose next try is due stand in line from now on. Everybody who is due by then must be called with it.
    pub(super) fn call(&mut self, task: &Task, due: (Weight, Timestamp, Rank), now: Timestamp) {
        self.delayed.remove_mut(&due);
        self.due_until = self.due_until.max(Some(now));
        self.stand(task, due.2, due.0);
    }

    /// Puts a task that waits into its line, unless another of its workspace comes first.
    fn stand(&mut self, task: &Task, rank: Rank, weight: Weight) {
        let id = task.spec.id;
        let Some(workspace) = task.spec.locks() else {
            self.line(weight).insert_mut(rank, id);
            return;
        };
        let first = self.first_apply(workspace);
        self.applies.insert_mut((workspace.clone(), rank), id);
        if self.holders.contains_key(workspace) || first.is_some_and(|(first, _)| first < rank) {
            return;
        }
        if let Some((first, _)) = first {
            self.line(weight).remove_mut(&first);
        }
        self.line(weight).insert_mut(rank, id);
    }

    /// When the next try of a task that waits is due, if it is not in line yet.
    fn not_yet(&self, task: &Task) -> Option<Timestamp> {
        let TaskState::Pending { not_before } = task.state else { return None };
        not_before.filter(|not_before| self.due_until < Some(*not_before))
    }

    /// Whether a task waits.
    pub(super) fn has(&self, task: &Task, rank: Rank, weight: Weight) -> bool {
        if !matches!(task.state, TaskState::Pending { .. }) {
            return false;
        }
        let line = match weight {
            Weight::Light => &self.light,
            Weight::Heavy => &self.heavy,
        };
        match (self.not_yet(task), task.spec.locks()) {
            (Some(not_before), _) => self.delayed.contains_key(&(weight, not_before, rank)),
            (None, None) => line.contains_key(&rank),
            (None, Some(workspace)) => self.applies.contains_key(&(workspace.clone(), rank)),
        }
    }

    /// Takes a task out, if it waits.
    pub(super) fn remove(&mut self, task: &Task, rank: Rank, weight: Weight) {
        if !matches!(task.state, TaskState::Pending { .. }) {
            return;
        }
        let was_in = match (self.not_yet(task), task.spec.locks()) {
            (Some(not_before), _) => self.delayed.remove_mut(&(weight, not_before, rank)),
            (None, None) => self.line(weight).remove_mut(&rank),
            (None, Some(workspace)) => {
                let was_in = self.applies.remove_mut(&(workspace.clone(), rank));
                if self.line(weight).remove_mut(&rank) {
                    self.call_next(workspace, weight);
                }
                was_in
            }
        };
        self.waiting = self.waiting.saturating_sub(u32::from(was_in));
    }

    /// Gives a workspace to a task that waits no more.
    pub(super) fn lock(&mut self, workspace: &Workspace, task: TaskId, weight: Weight) {
        self.holders.insert_mut(workspace.clone(), task);
        if let Some((first, _)) = self.first_apply(workspace) {
            self.line(weight).remove_mut(&first);
        }
    }

    /// Takes a workspace back.
    pub(super) fn unlock(&mut self, workspace: &Workspace, weight: Weight) {
        self.holders.remove_mut(workspace);
        self.call_next(workspace, weight);
    }

    /// Lets the first of a workspace that nobody has stand in line.
    fn call_next(&mut self, workspace: &Workspace, weight: Weight) {
        if self.holders.contains_key(workspace) {
            return;
        }
        if let Some((rank, task)) = self.first_apply(workspace) {
            self.line(weight).insert_mut(rank, task);
        }
    }
}
