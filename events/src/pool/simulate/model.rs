//! A pool that is decided for anew, in a world that does what is on record.

use std::collections::BTreeMap;

use crate::pool::{
    MemberPhase, Phase, Pool, PoolCommand, PoolEvent, PoolSpec, TaskExit, TaskId, TaskReport, TaskSpec,
    TaskState, Token,
};
use crate::{Context, Decider, PodUid, Policy, Timestamp};
use uuid::Uuid;

use super::demand::{Answer, Demand};
use super::figures::Counting;
use super::{Happened, Instead, SimulateError, WallClock};

/// Time between two looks at what is due, in milliseconds.
const TICK_MS: u64 = 5_000;

/// What is to come.
#[derive(Debug, Clone)]
enum Due {
    Command(Box<PoolCommand>),
    /// A member's pod comes up, and its agent with it.
    Up(u64),
    /// A member's pod is gone.
    Gone(u64),
    /// A phase of a task is over.
    Over {
        member: u64,
        task: TaskId,
        token: Token,
    },
}

/// A pool and what is to come.
pub(super) struct Model<'a> {
    pool: Pool,
    demand: &'a Demand,
    /// What holds in place of what is on record.
    instead: Option<&'a Instead>,
    clock: WallClock<'a>,
    agenda: BTreeMap<(Timestamp, u64), Due>,
    planned: u64,
}

impl<'a> Model<'a> {
    pub(super) fn new(
        pool: Pool,
        demand: &'a Demand,
        instead: Option<&'a Instead>,
        clock: WallClock<'a>,
    ) -> Model<'a> {
        Model { pool, demand, instead, clock, agenda: BTreeMap::new(), planned: 0 }
    }

    /// Lives through a time in which this was wanted.
    pub(super) fn run(
        mut self,
        after: &[Happened],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Counting, SimulateError> {
        let mut counting = Counting::new(&self.pool, since);
        self.take_over(since);
        if let (Some(_), Some(name), Some(spec)) = (self.instead, &self.pool.name, &self.pool.spec) {
            let command = PoolCommand::SetSpec { name: name.clone(), spec: Box::new(self.overlaid(spec)) };
            self.plan(since, Due::Command(Box::new(command)));
        }
        self.plan_wishes(after);
        let mut tick = since;
        while tick <= until {
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= tick) {
                let ((at, _), due) = entry.remove_entry();
                self.meet(due, at, &mut counting)?;
            }
            let zone = self.pool.spec.as_ref().map_or("UTC", |spec| &spec.scaling.time_zone);
            let local =
                (self.clock)(zone, tick).ok_or_else(|| SimulateError::Zone { zone: zone.to_owned() })?;
            self.ask(&PoolCommand::Tick { local }, tick, &mut counting)?;
            tick = tick.plus_ms(TICK_MS);
        }
        Ok(counting)
    }

    fn plan(&mut self, at: Timestamp, due: Due) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), due);
    }

    /// What is under way at the beginning goes on.
    fn take_over(&mut self, since: Timestamp) {
        let start_up_ms = self.demand.start_up_ms;
        let members: Vec<_> = self.pool.members.values().cloned().collect();
        for member in members {
            match member.phase {
                MemberPhase::Requested => self.plan(since.plus_ms(start_up_ms), Due::Up(member.member)),
                MemberPhase::Up if !member.is_connected() => {
                    self.plan(since.plus_ms(start_up_ms), Due::Up(member.member));
                }
                MemberPhase::Up => {}
                MemberPhase::Removing { .. } | MemberPhase::Lost { .. } => {
                    self.plan(since, Due::Gone(member.member));
                }
            }
        }
        let tasks: Vec<_> = self.pool.tasks.values().cloned().collect();
        for task in tasks {
            match task.state {
                TaskState::Running { phase, slot, token, .. } => {
                    let begun_at = self.demand.begun_at(task.spec.id, phase).unwrap_or(since);
                    if let Some(took_ms) = self.demand.took_ms(task.spec.id, phase) {
                        let due = Due::Over { member: slot.member, task: task.spec.id, token };
                        self.plan(begun_at.plus_ms(took_ms).max(since), due);
                    }
                }
                TaskState::ApplyPending { .. } => self.plan_answer(task.spec.id, task.since, since),
                TaskState::Pending { .. } => {
                    if let Some(ms) =
                        self.demand.tasks.get(&task.spec.id).and_then(|it| it.cancelled_after_ms)
                    {
                        let command = PoolCommand::Cancel { task: task.spec.id };
                        self.plan(task.submitted_at.plus_ms(ms).max(since), Due::Command(Box::new(command)));
                    }
                }
                TaskState::Ended { .. } => {}
            }
        }
    }

    /// What was asked of the pool is asked again.
    fn plan_wishes(&mut self, after: &[Happened]) {
        for Happened { at, event } in after {
            let command = match event {
                PoolEvent::SpecSet(set) => {
                    let spec = Box::new(self.overlaid(&set.spec));
                    PoolCommand::SetSpec { name: set.name.clone(), spec }
                }
                PoolEvent::RemovalRequested(asked) => PoolCommand::Delete { force: asked.force },
                PoolEvent::Unfrozen(asked) => PoolCommand::Unfreeze { until: asked.until },
                PoolEvent::TaskSubmitted(asked) => {
                    PoolCommand::Submit { spec: Box::new(TaskSpec::clone(&asked.spec)) }
                }
                _ => continue,
            };
            self.plan(*at, Due::Command(Box::new(command)));
        }
    }

    fn overlaid(&self, spec: &PoolSpec) -> PoolSpec {
        self.instead.map_or_else(|| spec.clone(), |instead| instead.overlaid(spec))
    }

    /// What is said to a plan, if anything was by the record.
    fn plan_answer(&mut self, task: TaskId, planned_at: Timestamp, not_before: Timestamp) {
        let Some((answer, after_ms)) = self.demand.tasks.get(&task).and_then(|wanted| wanted.answer) else {
            return;
        };
        let command = match answer {
            Answer::Confirmed => PoolCommand::Confirm { task },
            Answer::Discarded => PoolCommand::Discard { task },
        };
        self.plan(planned_at.plus_ms(after_ms).max(not_before), Due::Command(Box::new(command)));
    }

    fn meet(&mut self, due: Due, at: Timestamp, counting: &mut Counting) -> Result<(), SimulateError> {
        match due {
            Due::Command(command) => self.ask(&command, at, counting),
            Due::Gone(member) => self.ask(&PoolCommand::ReportRemoved { member }, at, counting),
            Due::Up(member) => {
                let uid = Uuid::from_u128(u128::from(member));
                self.ask(&PoolCommand::ReportAdmitted { member, pod: PodUid(uid) }, at, counting)?;
                let version = "simulated".to_owned();
                let connect =
                    PoolCommand::Connect { member, session: uid, version, fresh: false, has: vec![] };
                self.ask(&connect, at, counting)
            }
            Due::Over { member, task, token } => {
                let Some(report) = self.report(task, token) else { return Ok(()) };
                self.ask(&PoolCommand::Report { member, task, token, report }, at, counting)
            }
        }
    }

    /// What an agent says at the end of a phase; none if the task has lost its slot meanwhile.
    fn report(&self, id: TaskId, token: Token) -> Option<TaskReport> {
        let task = self.pool.task(id)?;
        let TaskState::Running { phase, token: current, .. } = task.state else { return None };
        let wanted = self.demand.tasks.get(&id);
        if current != token {
            return None;
        }
        if let Some(wanted) = wanted.filter(|wanted| wanted.is_planned(phase, task.spec.kind)) {
            return Some(TaskReport::Planned { changes: wanted.has_changes, summary: String::new() });
        }
        let exit = wanted.and_then(|wanted| wanted.exit).or(Some(TaskExit::Code(0)));
        let cancelled = task.cancel.is_some();
        Some(TaskReport::Finished { exit, message: String::new(), timed_out: false, cancelled })
    }

    /// Has the pool decide, and plans what follows. What it refuses was refused by the state that it is in.
    fn ask(
        &mut self,
        command: &PoolCommand,
        at: Timestamp,
        counting: &mut Counting,
    ) -> Result<(), SimulateError> {
        let context = Context { now: at, policy: Policy::default(), cordoned: None };
        let Ok(events) = self.pool.decide(command, &context) else { return Ok(()) };
        for event in &events {
            self.pool.follow(event)?;
            counting.note(event, &self.pool, at);
            self.follow(event, at);
        }
        Ok(())
    }

    fn follow(&mut self, event: &PoolEvent, at: Timestamp) {
        use PoolEvent as E;
        match event {
            E::MemberRequested(event) => {
                self.plan(at.plus_ms(self.demand.start_up_ms), Due::Up(event.member));
            }
            E::MemberRemovalRequested(event) => self.plan(at, Due::Gone(event.member)),
            E::MemberLost(event) => self.plan(at, Due::Gone(event.member)),
            E::TaskSubmitted(event) => {
                let wanted = self.demand.tasks.get(&event.spec.id);
                if let Some(ms) = wanted.and_then(|wanted| wanted.cancelled_after_ms) {
                    let command = PoolCommand::Cancel { task: event.spec.id };
                    self.plan(at.plus_ms(ms), Due::Command(Box::new(command)));
                }
            }
            E::TaskAssigned(event) => {
                self.plan_end(event.task, event.phase, event.slot.member, event.token, at);
            }
            E::TaskPlanned(event) => self.plan_answer(event.task, at, at),
            E::TaskConfirmed(event) => {
                let slot = self.pool.task(event.task).and_then(crate::pool::Task::slot);
                if let Some((slot, token)) = slot {
                    self.plan_end(event.task, Phase::Apply, slot.member, token, at);
                }
            }
            // An agent ends a task as soon as it is told to.
            E::TaskCancelRequested(event) => {
                let slot = self.pool.task(event.task).and_then(crate::pool::Task::slot);
                if let Some((slot, token)) = slot {
                    self.plan(at, Due::Over { member: slot.member, task: event.task, token });
                }
            }
            _ => {}
        }
    }

    fn plan_end(&mut self, task: TaskId, phase: Phase, member: u64, token: Token, at: Timestamp) {
        if let Some(took_ms) = self.demand.took_ms(task, phase) {
            self.plan(at.plus_ms(took_ms), Due::Over { member, task, token });
        }
    }
}
