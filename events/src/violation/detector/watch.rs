//! One condition, watched over time: how long it has held, and how long it has not.

use super::super::kind::Level;

/// What one look at a condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// It holds.
    Over,
    /// It does not hold, and has not ended either.
    Between,
    /// It has ended.
    Under,
}

/// How long something must last to count: both must be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    /// Milliseconds between the first look and the last.
    pub(super) ms: u64,
    /// Looks in a row.
    pub(super) looks: u32,
}

impl Hold {
    /// So many milliseconds.
    pub(super) const fn ms(ms: u64) -> Hold {
        Hold { ms, looks: 1 }
    }

    /// So many looks in a row.
    pub(super) const fn looks(looks: u32) -> Hold {
        Hold { ms: 0, looks }
    }
}

/// A condition over time. Times are of a clock that only goes forward.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    side: Option<Side>,
    /// When the last look was; none if nothing could be seen since.
    at_ms: Option<u64>,
    lasted_ms: u64,
    looks: u32,
    limit: u64,
    /// Evaluations in a row that found it over, on the rung on which it is.
    strikes: u32,
    level: Option<Level>,
    peak: u64,
    /// In the unit of the kind times milliseconds.
    area: u128,
    /// Whether it is watched since before the episode began.
    is_whole: bool,
}

impl Watch {
    /// Takes a look into account. Another limit than before starts everything anew.
    pub(super) fn look(&mut self, side: Side, value: u64, limit: u64, now_ms: u64) {
        if self.limit != limit {
            self.leave();
            self.limit = limit;
        }
        let since_last = self.at_ms.map_or(0, |at| now_ms.saturating_sub(at));
        if self.side == Some(side) {
            self.lasted_ms = self.lasted_ms.saturating_add(since_last);
            self.looks = self.looks.saturating_add(1);
        } else {
            (self.lasted_ms, self.looks) = (0, 1);
        }
        if side != Side::Over {
            self.strikes = 0;
        }
        self.area += u128::from(value.saturating_sub(limit)) * u128::from(since_last);
        self.peak = self.peak.max(value);
        (self.side, self.at_ms) = (Some(side), Some(now_ms));
    }

    /// Nothing could be seen: what has lasted stays as it was, and this time does not count.
    pub(super) fn miss(&mut self) {
        self.at_ms = None;
    }

    /// What is watched is not there: should it come again, it begins anew. The figures are those of an episode until its
    /// end is on record.
    pub(super) fn leave(&mut self) {
        let Watch { limit, level, peak, area, is_whole, .. } = *self;
        *self = Watch { limit, level, peak, area, is_whole, ..Watch::default() };
    }

    /// Counts an evaluation.
    pub(super) fn evaluate(&mut self) {
        if self.is_seen_over() {
            self.strikes = self.strikes.saturating_add(1);
        }
    }

    /// Says on which rung it is, if an episode is open. On another than before, evaluations count anew.
    pub(super) fn on_rung(&mut self, level: Option<Level>) {
        if self.level != level {
            (self.level, self.strikes) = (level, 0);
        }
    }

    /// No episode is open: what is seen from here on is all of the next one.
    pub(super) fn stand_by(&mut self) {
        self.is_whole = true;
        if !self.is_seen_over() {
            (self.peak, self.area) = (0, 0);
        }
    }

    /// Whether the last look found it over, and nothing was missing since.
    pub(super) fn is_seen_over(&self) -> bool {
        self.side == Some(Side::Over) && self.at_ms.is_some()
    }

    /// Whether it has been over for that long.
    pub(super) fn has_held(&self, hold: Hold) -> bool {
        self.is_seen_over() && hold.ms <= self.lasted_ms && hold.looks <= self.looks
    }

    /// Whether it has been under for that long.
    pub(super) fn has_cleared(&self, hold: Hold) -> bool {
        let is_under = self.side == Some(Side::Under) && self.at_ms.is_some();
        is_under && hold.ms <= self.lasted_ms && hold.looks <= self.looks
    }

    /// Evaluations in a row that found it over.
    pub(super) fn strikes(&self) -> u32 {
        self.strikes
    }

    /// The most that was seen, and what was over the limit, summed over seconds: none if only a part of it was seen.
    pub(super) fn figures(&self) -> (u64, Option<u64>) {
        let area = u64::try_from(self.area / 1_000).unwrap_or(u64::MAX);
        (self.peak, self.is_whole.then_some(area))
    }
}

/// A figure smoothed over time, in thousandths of its unit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Smoothed {
    milli: u64,
    at_ms: Option<u64>,
}

/// How long a figure needs to be forgotten for the most part.
const SMOOTHING_MS: u64 = 5_000;

impl Smoothed {
    /// Takes a figure into account, and says what it comes to.
    pub(super) fn add(&mut self, figure: u64, now_ms: u64) -> u64 {
        let (old, new) = (u128::from(self.milli), u128::from(figure) * 1_000);
        let milli = match self.at_ms {
            None => new,
            Some(at) => {
                let since = u128::from(now_ms.saturating_sub(at));
                let keeps = u128::from(SMOOTHING_MS);
                (old * keeps + new * since) / (keeps + since)
            }
        };
        self.milli = u64::try_from(milli).unwrap_or(u64::MAX);
        self.at_ms = Some(now_ms);
        self.milli / 1_000
    }
}
