//! What people and programs wanted of a pool, taken from its records.

use std::collections::BTreeMap;

use crate::Timestamp;
use crate::pool::event::CancelReason;
use crate::pool::{Phase, PoolEvent, TaskExit, TaskId, TaskKind, TaskResult, TaskSpec};

use super::Happened;

/// How long a pod takes to come up if none did by the record, in milliseconds.
const START_UP_MS: u64 = 5_000;
/// How long a phase takes of which nothing is on record, in milliseconds.
const TOOK_MS: u64 = 60_000;

/// What was wanted.
#[derive(Debug, Default)]
pub(super) struct Demand {
    pub(super) tasks: BTreeMap<TaskId, Wanted>,
    /// How long pods took to come up: the median.
    pub(super) start_up_ms: u64,
    /// How long a phase took: the median of all.
    took_ms: u64,
}

/// What was wanted of one task.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) spec: Option<TaskSpec>,
    pub(super) submitted_at: Option<Timestamp>,
    /// How its plan, or its only phase, went.
    first: Run,
    /// How its apply went.
    apply: Run,
    /// Whether its plan came to something to apply.
    pub(super) has_changes: bool,
    planned_at: Option<Timestamp>,
    /// What was said to its plan, and how long after it.
    pub(super) answer: Option<(Answer, u64)>,
    /// How long after it was handed in it was to end.
    pub(super) cancelled_after_ms: Option<u64>,
    pub(super) result: Option<TaskResult>,
    pub(super) exit: Option<TaskExit>,
}

/// What was said to a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Confirmed,
    Discarded,
}

/// One phase of a task.
#[derive(Debug, Default, Clone, Copy)]
struct Run {
    begun_at: Option<Timestamp>,
    took_ms: Option<u64>,
}

impl Run {
    fn begin(&mut self, at: Timestamp) {
        *self = Run { begun_at: Some(at), took_ms: None };
    }

    fn end(&mut self, at: Timestamp) {
        if self.took_ms.is_none() {
            self.took_ms = self.begun_at.map(|begun_at| at.ms_since(begun_at));
        }
    }
}

impl Demand {
    /// What was wanted by these records. Of a run that had not ended nothing is known but that it goes on.
    pub(super) fn of(past: &[Happened], since: Timestamp) -> Demand {
        let mut demand = Demand::default();
        let mut requested: BTreeMap<u64, Timestamp> = BTreeMap::new();
        let mut start_ups = vec![];
        for Happened { at, event } in past {
            match event {
                PoolEvent::MemberRequested(event) => {
                    requested.insert(event.member, *at);
                }
                PoolEvent::AgentConnected(event) => {
                    start_ups.extend(requested.remove(&event.member).map(|requested| at.ms_since(requested)));
                }
                other => demand.note(other, *at),
            }
        }
        let runs = demand.tasks.values().flat_map(|wanted| [wanted.first.took_ms, wanted.apply.took_ms]);
        demand.took_ms = median(runs.flatten().collect()).unwrap_or(TOOK_MS);
        demand.start_up_ms = median(start_ups).unwrap_or(START_UP_MS);
        // What was over before is of no more interest.
        demand.tasks.retain(|_, wanted| wanted.ended_at_least(since));
        demand
    }

    fn note(&mut self, event: &PoolEvent, at: Timestamp) {
        use PoolEvent as E;
        match event {
            E::TaskSubmitted(event) => {
                let wanted = self.task(event.spec.id);
                (wanted.spec, wanted.submitted_at) = (Some(TaskSpec::clone(&event.spec)), Some(at));
            }
            E::TaskAssigned(event) => self.task(event.task).first.begin(at),
            E::TaskStarted(event) => {
                let wanted = self.task(event.task);
                let run = if wanted.answer.is_some() { &mut wanted.apply } else { &mut wanted.first };
                run.begin(at);
            }
            E::TaskPlanned(event) => {
                let wanted = self.task(event.task);
                wanted.first.end(at);
                (wanted.has_changes, wanted.planned_at) = (true, Some(at));
            }
            E::TaskApproved(event) => self.task(event.task).answered(Answer::Confirmed, at),
            E::TaskConfirmed(event) => {
                let wanted = self.task(event.task);
                // One that had to wait for its pod was answered before.
                if wanted.answer.is_none() {
                    wanted.answered(Answer::Confirmed, at);
                }
                wanted.apply.begin(at);
            }
            E::TaskDiscarded(event) => self.task(event.task).answered(Answer::Discarded, at),
            E::TaskRequeued(event) => {
                // It plans anew.
                let wanted = self.task(event.task);
                (wanted.answer, wanted.planned_at) = (None, None);
                (wanted.first, wanted.apply) = (Run::default(), Run::default());
            }
            E::TaskCancelRequested(event) if event.reason == CancelReason::Requested => {
                self.task(event.task).cancelled(at);
            }
            E::TaskEnded(event) => {
                let wanted = self.task(event.task);
                if event.result == TaskResult::Cancelled && event.token.is_none() {
                    wanted.cancelled(at);
                }
                let run = if wanted.apply.begun_at.is_some() { &mut wanted.apply } else { &mut wanted.first };
                run.end(at);
                (wanted.result, wanted.exit) = (Some(event.result), event.exit);
            }
            _ => {}
        }
    }

    fn task(&mut self, task: TaskId) -> &mut Wanted {
        self.tasks.entry(task).or_default()
    }

    /// How many tasks were handed in after a moment.
    pub(super) fn submitted_since(&self, since: Timestamp) -> usize {
        self.tasks.values().filter(|wanted| wanted.submitted_at.is_some_and(|at| since < at)).count()
    }

    /// How long a phase of a task takes; none if it goes on beyond the record.
    pub(super) fn took_ms(&self, task: TaskId, phase: Phase) -> Option<u64> {
        let Some(wanted) = self.tasks.get(&task) else { return Some(self.took_ms) };
        let run = match phase {
            Phase::Apply => wanted.apply,
            Phase::Plan | Phase::Only => wanted.first,
        };
        match (run.took_ms, run.begun_at) {
            (Some(took_ms), _) => Some(took_ms),
            (None, Some(_)) => None,
            // By the record it never came to that.
            (None, None) => Some(self.took_ms),
        }
    }

    /// When a phase that runs began by the record.
    pub(super) fn begun_at(&self, task: TaskId, phase: Phase) -> Option<Timestamp> {
        let wanted = self.tasks.get(&task)?;
        match phase {
            Phase::Apply => wanted.apply.begun_at,
            Phase::Plan | Phase::Only => wanted.first.begun_at,
        }
    }
}

impl Wanted {
    fn answered(&mut self, answer: Answer, at: Timestamp) {
        self.answer = self.planned_at.map(|planned_at| (answer, at.ms_since(planned_at)));
    }

    fn cancelled(&mut self, at: Timestamp) {
        self.cancelled_after_ms = self.submitted_at.map(|submitted_at| at.ms_since(submitted_at));
    }

    fn ended_at_least(&self, since: Timestamp) -> bool {
        let is_new = self.submitted_at.is_some_and(|at| since < at);
        let ends_of =
            |run: Run| run.begun_at.zip(run.took_ms).map(|(begun_at, took_ms)| begun_at.plus_ms(took_ms));
        let last = ends_of(self.first).max(ends_of(self.apply));
        is_new || self.result.is_none() || last.is_none_or(|last| since <= last)
    }

    /// Whether what is planned for it is told apart from how it ended.
    pub(super) fn is_planned(&self, phase: Phase, kind: TaskKind) -> bool {
        let plans = phase == Phase::Plan || matches!(kind, TaskKind::Plan | TaskKind::DriftCheck);
        plans && (self.has_changes || self.result == Some(TaskResult::PlannedAndFinished))
    }
}

fn median(mut all: Vec<u64>) -> Option<u64> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}
