//! When a pool stands still: windows of civil time.
//!
//! A window means what the clock on the wall says. A local time that is skipped when clocks go forward never comes, one
//! that comes twice is in the window twice.

use serde::{Deserialize, Serialize};

/// Minutes of a day.
pub const DAY_MINUTES: u16 = 1_440;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Weekday {
    /// All of them, Monday first.
    pub const ALL: [Weekday; 7] =
        [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

    /// The day before.
    #[must_use]
    pub fn yesterday(self) -> Weekday {
        match self {
            Weekday::Mon => Weekday::Sun,
            Weekday::Tue => Weekday::Mon,
            Weekday::Wed => Weekday::Tue,
            Weekday::Thu => Weekday::Wed,
            Weekday::Fri => Weekday::Thu,
            Weekday::Sat => Weekday::Fri,
            Weekday::Sun => Weekday::Sat,
        }
    }
}

/// What the clock on the wall says in a pool's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalTime {
    /// The day.
    pub weekday: Weekday,
    /// Minutes since midnight by that clock, 0 to 1439.
    pub minute: u16,
    /// How far the zone is ahead of UTC, in seconds.
    pub offset_s: i32,
}

/// A part of the week in which nothing is begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FreezeWindow {
    /// The days on which it begins; at least one.
    pub days: Vec<Weekday>,
    /// Minute of the day at which it begins, 0 to 1439.
    pub from_minute: u16,
    /// Minute of the day before which it ends, 1 to 1440; one before the beginning is of the next day.
    pub to_minute: u16,
}

impl FreezeWindow {
    /// Whether a time of the wall's clock is in it.
    #[must_use]
    pub fn has(&self, local: LocalTime) -> bool {
        let begins = |day| self.days.contains(&day);
        let minute = local.minute;
        if self.from_minute < self.to_minute {
            return begins(local.weekday) && (self.from_minute..self.to_minute).contains(&minute);
        }
        let since_today = begins(local.weekday) && self.from_minute <= minute;
        let since_yesterday = begins(local.weekday.yesterday()) && minute < self.to_minute;
        since_today || since_yesterday
    }
}
