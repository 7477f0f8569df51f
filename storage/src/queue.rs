//! What waits for the thread that writes: one bounded queue for each class, the most important served first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::AppendError;
use crate::gathering::{GROUP_LEN_MAX, Gathering};
use crate::request::Request;
use crate::terms::{Class, PerClass};

/// Shortest and longest time after which a refused caller is told to come again, in milliseconds.
const RETRY_AFTER_MS: std::ops::RangeInclusive<u64> = 10..=1_000;

/// Bounded queues between callers and the thread that writes.
pub(crate) struct Queue {
    state: Mutex<State>,
    came: Condvar,
    /// Requests of each class that may wait.
    len_max: usize,
    /// Whether a group takes who comes while it is made.
    gathers: bool,
    /// Requests that wait, for who looks again and again: a look at the state would be in the way of who comes.
    seen: AtomicUsize,
}

struct State {
    waiting: PerClass<VecDeque<Request>>,
    refused: PerClass<u64>,
    standing: Standing,
    gathering: Gathering,
    /// Whether who serves waits for requests: to wake nobody is a call to the kernel too.
    idle: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    /// Nothing more is taken; what waits is served.
    Closed,
    /// Nobody serves any more.
    Abandoned,
}

/// What the thread is to do next.
pub(crate) enum Next {
    /// Write these; at least one.
    Group(Vec<Request>),
    /// The time came that was waited for.
    Due,
    /// Nothing waits and nothing will come.
    Ended,
}

impl Queue {
    /// A queue for so many requests of each class, whose groups are held open for at most so long.
    pub(crate) fn new(len_max: usize, wait_max: Duration) -> Queue {
        let state = State {
            waiting: PerClass::default(),
            refused: PerClass::default(),
            standing: Standing::Open,
            gathering: Gathering::new(wait_max),
            idle: false,
        };
        let (came, seen) = (Condvar::new(), AtomicUsize::new(0));
        let gathers = wait_max > Duration::ZERO;
        Queue { state: Mutex::new(state), came, len_max: len_max.max(1), gathers, seen }
    }

    /// Adds a request behind those of its class.
    pub(crate) fn push(&self, request: Request) -> Result<(), AppendError> {
        let class = request.append.terms.class;
        let mut state = self.lock();
        match state.standing {
            Standing::Open => {}
            Standing::Closed => return Err(AppendError::Closed),
            Standing::Abandoned => return Err(AppendError::Fenced),
        }
        if self.len_max <= state.waiting.of(class).len() {
            *state.refused.of_mut(class) += 1;
            return Err(AppendError::Busy { class, retry_after_ms: state.retry_after_ms(class) });
        }
        state.waiting.of_mut(class).push_back(request);
        self.seen.store(state.len(), Ordering::Relaxed);
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        if idle {
            self.came.notify_one();
        }
        Ok(())
    }

    /// Waits for requests, but no longer than until `due`, and takes as many as are written together.
    pub(crate) fn take(&self, due: Option<Instant>) -> Next {
        let mut state = self.lock();
        loop {
            // First: those who come one after another must not put off what is due.
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Next::Due;
            }
            if state.len() > 0 {
                state.gathering.begin();
                let mut group = Vec::with_capacity(state.len().min(GROUP_LEN_MAX));
                self.gather(&mut state, &mut group);
                return Next::Group(group);
            }
            if state.standing != Standing::Open {
                return Next::Ended;
            }
            state.idle = true;
            state = match left {
                Some(left) => self.came.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.came.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Adds who came meanwhile to an empty part of the group, which was begun at some time, and waits for somebody as
    /// long as the group is held open. The part stays empty once the group is closed.
    pub(crate) fn gather_more(&self, part: &mut Vec<Request>, begun: Instant) {
        if !self.gathers {
            return;
        }
        let mut now = Instant::now();
        let until = {
            let mut state = self.lock();
            self.gather(&mut state, part);
            if part.is_empty() { state.gathering.open_until(begun, now) } else { None }
        };
        let Some(until) = until else { return };
        while self.seen.load(Ordering::Relaxed) == 0 && now < until {
            std::thread::yield_now();
            now = Instant::now();
        }
        let mut state = self.lock();
        self.gather(&mut state, part);
        if part.is_empty() {
            state.gathering.note_vain();
        }
    }

    /// Moves what waits to a group, as much as it takes.
    fn gather(&self, state: &mut State, group: &mut Vec<Request>) {
        for class in Class::ALL {
            while !state.gathering.is_full() {
                let Some(request) = state.waiting.of_mut(class).pop_front() else { break };
                state.gathering.add(&request);
                group.push(request);
            }
        }
        self.seen.store(state.len(), Ordering::Relaxed);
    }

    /// Takes notice of how long a group took that is about to be answered.
    pub(crate) fn note_served(&self, pace: Duration) {
        let mut state = self.lock();
        let waiting = state.len();
        state.gathering.note_served(pace, waiting);
    }

    /// Counts a request that was refused for another reason than the queue's length.
    pub(crate) fn note_refused(&self, class: Class) {
        *self.lock().refused.of_mut(class) += 1;
    }

    /// Takes nothing more; what waits is still served.
    pub(crate) fn close(&self) {
        self.lock().standing = Standing::Closed;
        self.came.notify_all();
    }

    /// Requests that wait.
    pub(crate) fn lens(&self) -> PerClass<usize> {
        self.lock().waiting.each(VecDeque::len)
    }

    /// Requests of each class that may wait.
    pub(crate) fn len_max(&self) -> usize {
        self.len_max
    }

    /// Requests refused so far.
    pub(crate) fn refused(&self) -> PerClass<u64> {
        self.lock().refused
    }

    /// Lets go of what waits: whoever asked is told that the journal is fenced.
    fn abandon(&self) {
        let left = {
            let mut state = self.lock();
            if state.standing == Standing::Open {
                state.standing = Standing::Abandoned;
            }
            std::mem::take(&mut state.waiting)
        };
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn len(&self) -> usize {
        Class::ALL.iter().map(|class| self.waiting.of(*class).len()).sum()
    }

    /// The time in which what is served before a newcomer of this class will be written, as far as it can be told.
    fn retry_after_ms(&self, class: Class) -> u64 {
        let served_before = Class::ALL.iter().filter(|other| **other <= class);
        let ahead: usize = served_before.map(|other| self.waiting.of(*other).len()).sum();
        let groups = ahead.div_ceil(GROUP_LEN_MAX) as u64;
        let pace_ms = u64::try_from(self.gathering.pace().as_millis()).unwrap_or(u64::MAX);
        groups.saturating_mul(pace_ms).clamp(*RETRY_AFTER_MS.start(), *RETRY_AFTER_MS.end())
    }
}

/// Whoever serves a queue holds this; nobody waits for one who is gone.
pub(crate) struct Serving<'a>(pub &'a Queue);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
