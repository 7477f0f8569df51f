//! Who has which slot of which pool, learnt from records as they pass; in memory is what is not over.

use std::collections::BTreeMap;

use purser_events::pool::{Phase, PoolEvent, SlotKey, TaskId, TaskKind, TaskResult};
use purser_events::{Event, Header, Seq, StreamId, Timestamp};

/// What one record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There are more slots, or fewer.
    Room,
    /// A task has a slot.
    Taken {
        /// Who has which, and what is done in it.
        had: Had,
        /// The record since which it waited.
        since: Seq,
        /// For how long, in microseconds.
        waited_us: u64,
    },
    /// Something else is done in the slot.
    Goes(Had),
    /// A task has its slot no more, and waits again.
    Lost {
        /// Who had which.
        had: Had,
        /// For how long, in microseconds.
        had_us: u64,
    },
    /// A task is over.
    Over {
        /// Who had which, if it had one.
        had: Option<Had>,
        /// For how long, in microseconds.
        had_us: u64,
        /// How long it took from its first day, in microseconds.
        whole_us: u64,
        /// How it ended.
        result: TaskResult,
    },
}

/// That a task has a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Had {
    pub(crate) task: TaskId,
    pub(crate) kind: TaskKind,
    pub(crate) slot: SlotKey,
    pub(crate) doing: Doing,
}

/// What is done in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Something runs.
    Runs(Phase),
    /// It is kept for a plan.
    Kept,
}

impl Doing {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Doing::Runs(Phase::Plan) => "plans",
            Doing::Runs(Phase::Apply) => "applies",
            Doing::Runs(Phase::Only) => "runs",
            Doing::Kept => "kept",
        }
    }
}

/// A task that is not over.
struct Task {
    kind: TaskKind,
    submitted: Timestamp,
    /// The record since which it waits, and its time.
    waits: (Seq, Timestamp),
    has: Option<(Had, Timestamp)>,
}

/// A pool, as far as its slots go.
#[derive(Default)]
pub(crate) struct PoolSlots {
    pub(crate) name: String,
    /// Slots of each member, and whether its pod was admitted.
    members: BTreeMap<u64, (u8, bool)>,
    tasks: BTreeMap<TaskId, Task>,
    /// Slots of pods that are there.
    pub(crate) slots: u64,
    /// Those of them that somebody has.
    pub(crate) taken: u64,
    /// Those of these that are kept for plans.
    pub(crate) kept: u64,
}

/// The slots of every pool.
#[derive(Default)]
pub(crate) struct Slots(BTreeMap<StreamId, PoolSlots>);

impl Slots {
    /// Takes notice of an event, and says what it changed.
    pub(crate) fn note(&mut self, header: &Header, event: &Event) -> Option<Turn> {
        let Event::Pool(event) = event else { return None };
        self.0.entry(header.stream).or_default().note(header, event)
    }

    /// A pool by its stream.
    pub(crate) fn pool(&self, stream: StreamId) -> Option<&PoolSlots> {
        self.0.get(&stream)
    }
}

impl PoolSlots {
    fn note(&mut self, header: &Header, event: &PoolEvent) -> Option<Turn> {
        use PoolEvent as E;
        match event {
            E::SpecSet(it) => {
                self.name = it.name.to_string();
                None
            }
            E::Removed(_) => {
                // What it had is over, and one that is made again begins anew.
                let had_room = self.slots > 0;
                *self = PoolSlots { name: std::mem::take(&mut self.name), ..PoolSlots::default() };
                had_room.then_some(Turn::Room)
            }
            E::MemberRequested(it) => {
                self.members.insert(it.member, (it.slots, false));
                None
            }
            E::MemberAdmitted(it) => {
                let (slots, is_there) = self.members.get_mut(&it.member)?;
                self.slots += if *is_there { 0 } else { u64::from(*slots) };
                *is_there = true;
                Some(Turn::Room)
            }
            E::MemberRequestFailed(it) => self.forget(it.member),
            E::MemberNoRoom(it) => self.forget(it.member),
            E::MemberRemoved(it) => self.forget(it.member),
            E::TaskSubmitted(it) => {
                let waits = (header.seq, header.time);
                let task = Task { kind: it.spec.kind, submitted: header.time, waits, has: None };
                self.tasks.insert(it.spec.id, task);
                None
            }
            E::TaskAssigned(it) => {
                let task = self.tasks.get_mut(&it.task)?;
                let doing = Doing::Runs(it.phase);
                let had = Had { task: it.task, kind: task.kind, slot: it.slot, doing };
                let (since, at) = task.waits;
                task.has = Some((had, header.time));
                self.taken += 1;
                Some(Turn::Taken { had, since, waited_us: us(at, header.time) })
            }
            E::TaskPlanned(it) => self.goes(it.task, Doing::Kept),
            E::TaskConfirmed(it) => self.goes(it.task, Doing::Runs(Phase::Apply)),
            E::TaskRequeued(it) => {
                let (had, had_us) = self.free(it.task, header)?;
                self.tasks.get_mut(&it.task)?.waits = (header.seq, header.time);
                Some(Turn::Lost { had, had_us })
            }
            E::TaskEnded(it) => {
                let (had, had_us) = self.free(it.task, header).unzip();
                let task = self.tasks.remove(&it.task)?;
                let whole_us = us(task.submitted, header.time);
                Some(Turn::Over { had, had_us: had_us.unwrap_or_default(), whole_us, result: it.result })
            }
            _ => None,
        }
    }

    fn goes(&mut self, task: TaskId, doing: Doing) -> Option<Turn> {
        let (had, _) = self.tasks.get_mut(&task)?.has.as_mut()?;
        self.kept = match (had.doing, doing) {
            (Doing::Runs(_), Doing::Kept) => self.kept + 1,
            (Doing::Kept, Doing::Runs(_)) => self.kept.saturating_sub(1),
            (Doing::Runs(_), Doing::Runs(_)) | (Doing::Kept, Doing::Kept) => self.kept,
        };
        had.doing = doing;
        Some(Turn::Goes(*had))
    }

    /// Takes its slot from a task, if it has one.
    fn free(&mut self, task: TaskId, header: &Header) -> Option<(Had, u64)> {
        let (had, since) = self.tasks.get_mut(&task)?.has.take()?;
        self.taken = self.taken.saturating_sub(1);
        self.kept = self.kept.saturating_sub(u64::from(had.doing == Doing::Kept));
        Some((had, us(since, header.time)))
    }

    fn forget(&mut self, member: u64) -> Option<Turn> {
        let (slots, is_there) = self.members.remove(&member)?;
        self.slots = self.slots.saturating_sub(if is_there { u64::from(slots) } else { 0 });
        is_there.then_some(Turn::Room)
    }
}

/// Microseconds from one moment to another; 0 if the clock went back.
fn us(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0)).unwrap_or_default()
}
