//! When a group is closed. Who was answered together comes again together: a group that is closed at the first of them
//! leaves the others to a sync of their own. So it is held open until as many have come as may come soon, or nobody has
//! for a moment that is short beside what a group takes. Who comes alone does not wait.

use std::time::{Duration, Instant};

use crate::request::Request;
use crate::terms::Class;

/// Most requests that are made durable together.
pub(crate) const GROUP_LEN_MAX: usize = 256;

/// Payload bytes beyond which a group takes no further request.
pub(crate) const GROUP_BYTES_MAX: usize = 1 << 20;

/// Longest time that a group is held open for the next newcomer.
const PATIENCE_MAX: Duration = Duration::from_micros(100);

/// The part of what the last group took for which one is held open.
const PATIENCE_PART: u32 = 4;

/// Groups that were held open in vain, or not at all after that, until it is tried again in earnest.
const VAIN_MAX: u32 = 32;

/// The group that is being gathered, and what is known of who comes.
#[derive(Debug)]
pub(crate) struct Gathering {
    /// Longest time that a group is held open in all: newcomers may be slow, one after the other. With none, it is what
    /// waited when it was begun.
    wait_max: Duration,
    len: usize,
    bytes: usize,
    /// Requests in it that somebody waits for.
    asking: usize,
    urgent: bool,
    /// As many may come: those who were answered last, and those who waited then.
    expected: usize,
    /// How long the last group took.
    pace: Duration,
    /// Groups in a row that were held open for somebody who did not come.
    vain: u32,
}

impl Gathering {
    /// Nobody has come yet.
    pub(crate) fn new(wait_max: Duration) -> Gathering {
        let (len, bytes, asking, urgent, expected, vain) = (0, 0, 0, false, 0, 0);
        Gathering { wait_max, len, bytes, asking, urgent, expected, pace: Duration::ZERO, vain }
    }

    /// Begins the next group.
    pub(crate) fn begin(&mut self) {
        (self.len, self.bytes, self.asking, self.urgent) = (0, 0, 0, false);
    }

    /// Takes notice of a request in the group.
    pub(crate) fn add(&mut self, request: &Request) {
        self.len += 1;
        self.bytes += request.append.payloads.len();
        self.urgent |= request.append.terms.class == Class::Safety;
        // Who has evidence written asks for nothing else, and does not come again for an answer.
        self.asking += usize::from(!request.append.is_empty());
    }

    /// Whether it takes no further request.
    pub(crate) fn is_full(&self) -> bool {
        self.len >= GROUP_LEN_MAX || self.bytes >= GROUP_BYTES_MAX
    }

    /// Until when it is held open for the next newcomer; none if it is closed at once.
    pub(crate) fn open_until(&mut self, since: Instant, now: Instant) -> Option<Instant> {
        if self.asking >= self.expected {
            self.vain = 0;
            return None;
        }
        let held = if self.urgent || self.is_full() { Duration::ZERO } else { self.patience() };
        let until = (now + held).min(since + self.wait_max);
        (until > now).then_some(until)
    }

    /// Takes notice that nobody came for whom it was held open.
    pub(crate) fn note_vain(&mut self) {
        self.vain = (self.vain + 1) % VAIN_MAX;
    }

    /// Takes notice of how long the group took that is answered now, and of how many requests wait meanwhile.
    pub(crate) fn note_served(&mut self, pace: Duration, waiting: usize) {
        self.pace = pace;
        if self.asking > 0 {
            self.expected = (self.asking + waiting).min(GROUP_LEN_MAX);
        }
    }

    /// How long the last group took.
    pub(crate) fn pace(&self) -> Duration {
        self.pace
    }

    /// Half as long each time that it was in vain.
    fn patience(&self) -> Duration {
        (self.pace / PATIENCE_PART).min(PATIENCE_MAX) / 2_u32.saturating_pow(self.vain)
    }
}

#[cfg(test)]
#[path = "gathering_tests.rs"]
mod tests;
