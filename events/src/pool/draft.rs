//! A decision in the making: the events so far, and the pool as it would be after them.

use super::event::PoolEvent;
use super::slots::Weight;
use super::state::Pool;
use super::{evolve, evolve_tasks};
use crate::units::Timestamp;

/// A decision in the making.
pub(super) struct Draft {
    /// The pool after all events so far, but for the last if nothing looks at the pool after it.
    pub(super) pool: Pool,
    /// How many of the events the pool has followed.
    followed: usize,
    /// Whether somebody stands in line who will only by an event that gives out a slot.
    is_ahead: bool,
    /// What has been decided.
    pub(super) events: Vec<PoolEvent>,
    /// The moment.
    pub(super) now: Timestamp,
}

impl Draft {
    /// Nothing decided yet.
    pub(super) fn new(pool: Pool, now: Timestamp) -> Draft {
        Draft { pool, followed: 0, is_ahead: false, events: vec![], now }
    }

    /// Lets everybody who is due stand in line, as the first event that gives one of them a slot will have it.
    pub(super) fn call_due(&mut self) {
        self.is_ahead |= evolve_tasks::call_due(&mut self.pool, self.now);
    }

    /// Gives slots by `give`, and before that lets everybody who is due stand in line if there is a slot for any of them: as
    /// long as there is none, they cost nothing.
    pub(super) fn serve_due(&mut self, give: impl FnOnce(&mut Draft)) {
        let (queue, takers, now) = (&self.pool.queue, &self.pool.takers, self.now);
        let is_served = |weight| queue.first_due(weight, now).is_some() && takers.first(weight).is_some();
        let (was_ahead, decided) = (self.is_ahead, self.events.len());
        if Weight::ALL.into_iter().any(is_served) {
            self.call_due();
        }
        give(self);
        if decided < self.events.len() {
            // What gave out the first slot has called them as well.
            self.is_ahead = was_ahead;
        }
    }

    /// Decides one thing more.
    pub(super) fn push(&mut self, event: impl Into<PoolEvent>) {
        self.events.push(event.into());
        self.follow();
    }

    fn follow(&mut self) {
        for event in self.events.iter().skip(self.followed) {
            evolve::apply(&mut self.pool, event)
                .expect("a decider only emits events that its state can follow");
        }
        self.followed = self.events.len();
    }

    /// What was decided, and the pool after all of it: `before` is the one that it was decided on.
    pub(super) fn followed(mut self, before: &Pool) -> (Vec<PoolEvent>, Pool) {
        if self.is_ahead {
            // Not all that the draft knows is in the events.
            (self.pool, self.followed) = (before.clone(), 0);
        }
        self.end()
    }

    /// What was decided, and the pool after all of it, of a draft that knows nothing else.
    pub(super) fn end(mut self) -> (Vec<PoolEvent>, Pool) {
        self.follow();
        (self.events, self.pool)
    }

    /// Decides the last thing: nothing that is decided after it looks at the pool. That saves half of the work of the
    /// decisions that come most often.
    pub(super) fn push_last(&mut self, event: impl Into<PoolEvent>) {
        self.events.push(event.into());
    }

    /// Decides one thing more, after which somebody who waits may get what came free; it is the last if nobody does.
    pub(super) fn push_freeing(&mut self, event: impl Into<PoolEvent>) {
        let is_last = self.pool.queue.waiting == 0 && self.pool.approved.is_empty();
        if is_last { self.push_last(event) } else { self.push(event) }
    }
}

/// The beginning of a text that came from outside, without what a terminal would obey.
pub(super) fn told(text: &str, len_max: usize) -> String {
    let is_odd = |char: char| char.is_control() && char != '\n' && char != '\t';
    let clean: String = text.chars().map(|char| if is_odd(char) { '?' } else { char }).collect();
    let end = (0..=len_max.min(clean.len())).rev().find(|end| clean.is_char_boundary(*end));
    clean.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// Most bytes of what is told of a task, a plan or a pod.
pub(super) const MESSAGE_LEN_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::pool::advance;
    use crate::pool::names::TaskId;
    use crate::pool::slots::Taker;
    use crate::pool::task::{Task, TaskKind, TaskSpec, TaskState};

    const DUE: u64 = 70;

    /// A pool with so many tasks that need little room and whose next try is due.
    fn pool(now: Timestamp) -> Pool {
        let mut pool = Pool::default();
        for order in 1..=DUE {
            let spec = TaskSpec {
                id: TaskId(Uuid::from_u128(u128::from(order))),
                kind: TaskKind::Plan,
                workspace: None,
                priority: 0,
                argv: vec![],
                apply_argv: vec![],
                env: vec![],
                secrets: vec![],
                working_dir: None,
                timeout_s: None,
                labels: BTreeMap::new(),
            };
            let not_before = Some(now.minus_ms(order));
            let task = Task {
                spec: Arc::new(spec),
                order,
                state: TaskState::Pending { not_before },
                submitted_at: now,
                since: now,
                attempts: 1,
                cancel: None,
                last_loss: None,
                told: None,
            };
            pool.queue.push(&task, Pool::rank(&task), Weight::Light, not_before);
            pool.tasks.insert_mut(task.spec.id, Arc::new(task));
        }
        pool
    }

    /// How many of them a decision touches, and whether it has to follow its events anew.
    fn touched(mut pool: Pool, takers: &[Weight]) -> (u64, bool) {
        let taker = Taker { is_old: false, idle: 1, member: 1 };
        for weight in takers {
            match weight {
                Weight::Light => pool.takers.light.insert_mut(taker),
                Weight::Heavy => pool.takers.heavy.insert_mut(taker),
            }
        }
        let mut draft = Draft::new(pool.clone(), Timestamp(1_000_000_000));
        advance::assign(&mut draft);
        let left = draft.pool.queue.delayed.size() as u64;
        let is_ahead = draft.is_ahead;
        // The member is none: nobody gets a slot, and nothing of the pool is another.
        assert_eq!(draft.followed(&pool), (vec![], pool));
        (DUE - left, is_ahead)
    }

    #[test]
    fn tasks_that_are_due_cost_a_decision_nothing_while_nobody_can_serve_them() {
        let now = Timestamp(1_000_000_000);
        assert_eq!(touched(pool(now), &[]), (0, false));
        assert_eq!(touched(pool(now), &[Weight::Heavy]), (0, false), "nobody has room for what needs little");
        assert_eq!(touched(pool(now), &[Weight::Light]), (DUE, true));
        let mut leaving = pool(now);
        leaving.leaving = Some(crate::pool::state::Leaving { force: false, at: now });
        assert_eq!(touched(leaving, &[Weight::Light]), (0, false));
        let early = pool(Timestamp(9_000_000_000));
        assert_eq!(touched(early, &[Weight::Light]), (0, false), "none is due");
    }
}
