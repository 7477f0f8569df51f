//! A decision in the making: the events so far, and the pool as it would be after them.

use super::event::PoolEvent;
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
    /// Nothing decided yet. Who is due stands in line.
    pub(super) fn new(mut pool: Pool, now: Timestamp) -> Draft {
        // As the first event that gives one of them a slot will have it.
        let is_ahead = evolve_tasks::call_due(&mut pool, now);
        Draft { pool, followed: 0, is_ahead, events: vec![], now }
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
