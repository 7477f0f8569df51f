//! What must never happen to a pool, told from its events alone, without a look at its state.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::pool::{PoolCommand, PoolEvent, SlotKey, SlotRule, TaskId, TaskKind, Token, Workspace};

/// Who has a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    task: TaskId,
    kind: TaskKind,
    is_reserved: bool,
}

/// The pool as an onlooker knows it.
#[derive(Debug, Default)]
pub(crate) struct Model {
    rule: Option<SlotRule>,
    owners: BTreeMap<SlotKey, Owner>,
    connected: BTreeSet<u64>,
    /// Members that may have tasks, with the number of their slots.
    members: BTreeMap<u64, u8>,
    ever: BTreeSet<u64>,
    kinds: BTreeMap<TaskId, (TaskKind, Option<Workspace>)>,
    pub(crate) ended: BTreeSet<TaskId>,
    token: Token,
    /// Phases that have begun, and of which nobody knows that they may have run.
    begun: BTreeSet<(TaskId, bool)>,
    pub(crate) assigned: u64,
    pub(crate) lost: u64,
    /// Plans that were confirmed and wait for their pod.
    approved: BTreeSet<TaskId>,
    /// Members whose agent takes nothing more.
    leaving: BTreeSet<u64>,
}

macro_rules! must {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

impl Model {
    /// Takes notice of an event that a command led to.
    pub(crate) fn note(&mut self, event: &PoolEvent, command: &PoolCommand) -> Result<(), String> {
        use PoolEvent as E;
        match event {
            E::SpecSet(set) => self.rule = Some(set.spec.slots.rule),
            E::MemberRequested(it) => {
                must!(self.ever.insert(it.member), "member {} twice", it.member);
                self.members.insert(it.member, it.slots);
            }
            E::MemberRemovalRequested(it) => self.goes(it.member, "is removed")?,
            E::MemberRemoved(it) => self.goes(it.member, "is gone")?,
            // What it has it keeps until it is gone.
            E::MemberLost(it) => {
                self.connected.remove(&it.member);
            }
            E::MemberRequestFailed(it) => self.goes(it.member, "failed")?,
            E::MemberNoRoom(it) => self.goes(it.member, "had no room")?,
            E::AgentLeaving(it) => {
                self.leaving.insert(it.member);
            }
            E::AgentConnected(it) => {
                self.connected.insert(it.member);
                self.leaving.remove(&it.member);
            }
            E::AgentDisconnected(it) => {
                self.connected.remove(&it.member);
            }
            E::AgentsAway(_) => self.connected.clear(),
            E::TaskSubmitted(it) => {
                let known = (it.spec.kind, it.spec.workspace.clone());
                must!(self.kinds.insert(it.spec.id, known).is_none(), "task {} twice", it.spec.id);
            }
            E::TaskAssigned(it) => self.assign(it.task, it.slot, it.token)?,
            E::TaskPlanned(it) => {
                self.draw(it.token)?;
                self.turn(it.task, false, true)?;
            }
            E::TaskConfirmed(it) => self.confirm(it.task, it.token, command)?,
            E::TaskApproved(it) => {
                must!(confirms(command, it.task), "task {} was approved by itself", it.task);
                self.approved.insert(it.task);
            }
            E::TaskEnded(it) => {
                must!(self.kinds.contains_key(&it.task), "task {} ended unknown", it.task);
                must!(self.ended.insert(it.task), "task {} ended twice", it.task);
                self.leave(it.task);
            }
            E::TaskRequeued(it) => self.requeue(it.task, it.may_have_run)?,
            E::RemovalRequested(_)
            | E::Removed(_)
            | E::MemberAdmitted(_)
            | E::ReferencesChanged(_)
            | E::TaskStarted(_)
            | E::TaskDiscarded(_)
            | E::TaskCancelRequested(_)
            | E::ReservationExpired(_)
            | E::StaleTokenRefused(_)
            | E::StaleTokensCounted(_)
            | E::SetbacksOver(_)
            | E::Scaled(_)
            | E::MemberResizeRequested(_)
            | E::MemberResized(_)
            | E::MemberResizeFailed(_)
            | E::Unfrozen(_) => {}
        }
        Ok(())
    }

    fn confirm(&mut self, task: TaskId, token: Token, command: &PoolCommand) -> Result<(), String> {
        let was_wanted = self.approved.remove(&task);
        let is_wanted = confirms(command, task) || was_wanted;
        must!(is_wanted, "task {task} was confirmed by itself");
        self.draw(token)?;
        self.turn(task, true, false)?;
        self.alone(task)
    }

    fn requeue(&mut self, task: TaskId, may_have_run: bool) -> Result<(), String> {
        let owner = self.owners.values().find(|owner| owner.task == task);
        must!(owner.is_some(), "task {task} lost no slot");
        self.lost += 1;
        if may_have_run {
            self.begun.retain(|(begun, _)| *begun != task);
        }
        // Whoever plans again does so because the plan is lost.
        self.begun.remove(&(task, false));
        self.leave(task);
        Ok(())
    }

    /// An agent begins with a phase in earnest: never twice unless the record says that it may have run.
    pub(crate) fn begin(&mut self, task: TaskId, is_apply: bool) -> Result<(), String> {
        let is_new = self.begun.insert((task, is_apply));
        must!(is_new, "task {task} runs twice, which is not on record");
        Ok(())
    }

    fn goes(&mut self, member: u64, how: &str) -> Result<(), String> {
        let busy = self.owners.iter().find(|(key, _)| key.member == member);
        must!(busy.is_none(), "member {member} {how} with a slot in use: {busy:?}");
        self.members.remove(&member);
        self.connected.remove(&member);
        Ok(())
    }

    fn draw(&mut self, token: Token) -> Result<(), String> {
        must!(self.token < token, "token {token} after {}", self.token);
        self.token = token;
        Ok(())
    }

    fn assign(&mut self, task: TaskId, slot: SlotKey, token: Token) -> Result<(), String> {
        self.draw(token)?;
        self.assigned += 1;
        let Some((kind, workspace)) = self.kinds.get(&task).cloned() else {
            return Err(format!("task {task} was never submitted"));
        };
        must!(!self.ended.contains(&task), "task {task} runs after its end");
        must!(self.owners.values().all(|owner| owner.task != task), "task {task} has two slots");
        must!(!self.owners.contains_key(&slot), "slot {slot} has two owners");
        must!(self.connected.contains(&slot.member), "the agent of slot {slot} is not connected");
        must!(!self.leaving.contains(&slot.member), "the agent of slot {slot} takes nothing more");
        let slots = self.members.get(&slot.member).copied();
        must!(slots.is_some_and(|slots| slot.slot < slots), "there is no slot {slot}");
        if kind.applies()
            && let Some(workspace) = &workspace
        {
            let other = self.owners.values().find(|owner| {
                let (kind, of) = &self.kinds[&owner.task];
                kind.applies() && of.as_ref() == Some(workspace)
            });
            must!(other.is_none(), "workspace {workspace} has two applies: {task} and {other:?}");
        }
        self.fits(kind, slot)?;
        self.owners.insert(slot, Owner { task, kind, is_reserved: false });
        Ok(())
    }

    /// The table of the slot rules, spelt out.
    fn fits(&self, kind: TaskKind, slot: SlotKey) -> Result<(), String> {
        let beside: Vec<&Owner> =
            self.owners.iter().filter(|(key, _)| key.member == slot.member).map(|(_, owner)| owner).collect();
        let is_plan = matches!(kind, TaskKind::Plan | TaskKind::DriftCheck);
        match self.rule {
            Some(SlotRule::Seed) => must!(is_plan || slot.slot == 0, "{kind:?} in slot {slot}"),
            Some(SlotRule::Exclusive) => {
                let runs = |owner: &&&Owner| {
                    owner.kind.applies() && (!owner.is_reserved || self.approved.contains(&owner.task))
                };
                must!(beside.iter().find(runs).is_none(), "{kind:?} beside an apply in {slot}");
                if kind.applies() {
                    must!(slot.slot == 0, "an apply in slot {slot}");
                    must!(beside.iter().all(|owner| owner.is_reserved), "an apply beside others in {slot}");
                }
            }
            Some(SlotRule::Flexible) => {
                let is_second = kind.applies() && beside.iter().any(|owner| owner.kind.applies());
                must!(!is_second, "two applies in the pod of slot {slot}");
            }
            None => must!(false, "a task without a pool"),
        }
        Ok(())
    }

    /// By the one rule an apply that begins has its pod for itself.
    fn alone(&self, task: TaskId) -> Result<(), String> {
        let at = self.owners.iter().find(|(_, owner)| owner.task == task).map(|(key, _)| key.member);
        let beside = self
            .owners
            .iter()
            .find(|(key, owner)| Some(key.member) == at && owner.task != task && !owner.is_reserved);
        must!(
            self.rule != Some(SlotRule::Exclusive) || beside.is_none(),
            "the apply of task {task} begins beside {beside:?}"
        );
        Ok(())
    }

    fn turn(&mut self, task: TaskId, was_reserved: bool, is_reserved: bool) -> Result<(), String> {
        let owner = self.owners.values_mut().find(|owner| owner.task == task);
        match owner {
            Some(owner) if owner.is_reserved == was_reserved => {
                owner.is_reserved = is_reserved;
                Ok(())
            }
            other => Err(format!("task {task} turned in a slot of {other:?}")),
        }
    }

    fn leave(&mut self, task: TaskId) {
        self.approved.remove(&task);
        self.owners.retain(|_, owner| owner.task != task);
    }
}

fn confirms(command: &PoolCommand, task: TaskId) -> bool {
    matches!(command, PoolCommand::Confirm { task: asked } if *asked == task)
}
