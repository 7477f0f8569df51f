//! What waits for the thread that writes: one bounded queue for each class, the most important served first.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::AppendError;
use crate::request::Request;
use crate::terms::{Class, PerClass};

/// Most requests that are made durable together.
pub(crate) const GROUP_LEN_MAX: usize = 256;

/// Looks without a newcomer after which a group is closed, if the one before was of several requests.
const LOOKS: usize = 16;

/// Time after which a group is closed though requests keep coming: a look may take long where there is much to do.
const LOOKING_MAX: Duration = Duration::from_micros(500);

/// Payload bytes beyond which a group takes no further request.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Shortest and longest time after which a refused caller is told to come again, in milliseconds.
const RETRY_AFTER_MS: std::ops::RangeInclusive<u64> = 10..=1_000;

/// Bounded queues between callers and the thread that writes.
pub(crate) struct Queue {
    state: Mutex<State>,
    came: Condvar,
    /// Requests of each class that may wait.
    len_max: usize,
}

struct State {
    waiting: PerClass<VecDeque<Request>>,
    refused: PerClass<u64>,
    standing: Standing,
    /// How long the last group took.
    pace: Duration,
    /// Whether who serves waits for requests: to wake nobody is a call to the kernel too.
    idle: bool,
    /// Requests in the last group.
    last_len: usize,
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
    pub(crate) fn new(len_max: usize) -> Queue {
        let state = State {
            waiting: PerClass::default(),
            refused: PerClass::default(),
            standing: Standing::Open,
            pace: Duration::ZERO,
            idle: false,
            last_len: 0,
        };
        Queue { state: Mutex::new(state), came: Condvar::new(), len_max: len_max.max(1) }
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
                let mut state = self.while_they_come(state);
                return Next::Group(state.take_group());
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

    /// Waits as long as requests come one right after the other. Who was answered together comes again together: a
    /// group that is closed at the first of them leaves the others to a sync of their own. Who comes alone does not
    /// wait.
    fn while_they_come<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let (mut len, mut looks, since) = (state.len(), 0, Instant::now());
        let waits = |state: &State| state.waiting.safety.is_empty() && state.last_len > 1;
        while looks < LOOKS && waits(&state) && len < GROUP_LEN_MAX && since.elapsed() < LOOKING_MAX {
            drop(state);
            std::thread::yield_now();
            state = self.lock();
            looks = if state.len() > len { 0 } else { looks + 1 };
            len = state.len();
        }
        state
    }

    /// Takes notice of how long a group took.
    pub(crate) fn note_pace(&self, pace: Duration) {
        self.lock().pace = pace;
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
    fn take_group(&mut self) -> Vec<Request> {
        let (mut group, mut bytes) = (Vec::with_capacity(self.len().min(GROUP_LEN_MAX)), 0);
        for class in Class::ALL {
            let waiting = self.waiting.of_mut(class);
            while group.len() < GROUP_LEN_MAX && bytes < GROUP_BYTES_MAX {
                let Some(request) = waiting.pop_front() else { break };
                bytes += request.append.bytes;
                group.push(request);
            }
        }
        // Who has evidence written asks for nothing else, and does not come again for an answer.
        self.last_len = group.iter().filter(|request| !request.append.is_empty()).count();
        group
    }

    fn len(&self) -> usize {
        Class::ALL.iter().map(|class| self.waiting.of(*class).len()).sum()
    }

    /// The time in which what is served before a newcomer of this class will be written, as far as it can be told.
    fn retry_after_ms(&self, class: Class) -> u64 {
        let served_before = Class::ALL.iter().filter(|other| **other <= class);
        let ahead: usize = served_before.map(|other| self.waiting.of(*other).len()).sum();
        let groups = ahead.div_ceil(GROUP_LEN_MAX) as u64;
        let pace_ms = u64::try_from(self.pace.as_millis()).unwrap_or(u64::MAX);
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
