//! Moments as people write them. "Now" is an argument; days begin at midnight UTC, as in what the tool prints.

use std::str::FromStr;

use purser_events::Timestamp;

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// Longest text that is looked at, in bytes.
const TEXT_LEN_MAX: usize = 64;

/// A moment, fixed or as seen from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// This one.
    At(Timestamp),
    /// So many microseconds before now.
    Ago(i64),
    /// Midnight UTC at the beginning of the day that is so many days before today.
    DaysBack(i64),
}

/// A span of time, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub u64);

/// Text that is no span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a span of time as in 90s, 5m, '1h 30m' or 2d")]
pub struct NotASpan;

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Span, NotASpan> {
        let us = (text.len() <= TEXT_LEN_MAX).then(|| span_us(text)).flatten();
        us.and_then(|us| u64::try_from(us).ok()).map(Span).ok_or(NotASpan)
    }
}

/// Text that is no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a time as in 2026-03-01T12:30:00Z, 2026-03-01, '2026-03-01 12:30', now, today, yesterday, -2h or '2h ago'"
)]
pub struct NotAMoment;

impl When {
    /// The moment, as seen from `now`.
    #[must_use]
    pub fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            When::At(moment) => moment,
            When::Ago(us) => Timestamp(now.0.saturating_sub(us)),
            When::DaysBack(days) => {
                let day = now.0.div_euclid(DAY_US).saturating_sub(days);
                Timestamp(day.saturating_mul(DAY_US))
            }
        }
    }
}

impl FromStr for When {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<When, NotAMoment> {
        let text = text.trim();
        if text.len() > TEXT_LEN_MAX {
            return Err(NotAMoment);
        }
        match text {
            "now" => return Ok(When::Ago(0)),
            "today" => return Ok(When::DaysBack(0)),
            "yesterday" => return Ok(When::DaysBack(1)),
            _ => {}
        }
        let ago = text.strip_prefix('-').or_else(|| text.strip_suffix("ago"));
        if let Some(span) = ago {
            return span_us(span.trim()).map(When::Ago).ok_or(NotAMoment);
        }
        date(text).or_else(|| text.parse().ok()).map(When::At).ok_or(NotAMoment)
    }
}

/// A date, or a date and a time of day, in UTC.
fn date(text: &str) -> Option<Timestamp> {
    if text.ends_with(['Z', 'z']) || text.contains('+') {
        return None;
    }
    let (day, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let seconds = if time.split(':').count() == 2 { ":00" } else { "" };
    format!("{day}T{time}{seconds}Z").parse().ok()
}

/// A span such as `2h` or `1d 30m`, in microseconds.
fn span_us(text: &str) -> Option<i64> {
    let mut rest = text.trim_start();
    let mut sum: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(digits)?;
        let after = after.trim_start();
        let letters = after.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let unit_us = match unit {
            "ms" => 1_000,
            "s" | "sec" | "second" | "seconds" => SECOND_US,
            "m" | "min" | "minute" | "minutes" => 60 * SECOND_US,
            "h" | "hour" | "hours" => 3_600 * SECOND_US,
            "d" | "day" | "days" => DAY_US,
            "w" | "week" | "weeks" => 7 * DAY_US,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<i64>().ok()?.checked_mul(unit_us)?)?;
        rest = after.trim_start();
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> String {
        // A Sunday, past noon.
        let now: Timestamp = "2026-03-01T12:30:00Z".parse().unwrap();
        When::from_str(text).unwrap_or_else(|_| panic!("{text}")).seen_from(now).to_string()
    }

    #[test]
    fn words_are_seen_from_now() {
        assert_eq!(seen("now"), "2026-03-01T12:30:00.000000Z");
        assert_eq!(seen("today"), "2026-03-01T00:00:00.000000Z");
        assert_eq!(seen("yesterday"), "2026-02-28T00:00:00.000000Z");
        assert_eq!(seen("-2h"), "2026-03-01T10:30:00.000000Z");
        assert_eq!(seen("2 hours ago"), "2026-03-01T10:30:00.000000Z");
        assert_eq!(seen("1d 30m ago"), "2026-02-28T12:00:00.000000Z");
        assert_eq!(seen("-1w"), "2026-02-22T12:30:00.000000Z");
    }

    #[test]
    fn dates_are_in_utc() {
        assert_eq!(seen("2026-02-27"), "2026-02-27T00:00:00.000000Z");
        assert_eq!(seen("2026-02-27 06:05"), "2026-02-27T06:05:00.000000Z");
        assert_eq!(seen("2026-02-27T06:05:04"), "2026-02-27T06:05:04.000000Z");
        assert_eq!(seen("2026-02-27T06:05:04.5Z"), "2026-02-27T06:05:04.500000Z");
        assert_eq!(seen("2026-02-27T06:05:04+02:00"), "2026-02-27T04:05:04.000000Z");
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "-",
            "ago",
            "2",
            "-2",
            "2h",
            "-2y",
            "noon",
            "2026-13-01",
            "2026-02-27 25:00",
            "-99999999999w",
        ] {
            assert_eq!(When::from_str(text), Err(NotAMoment), "{text:?}");
        }
    }
}
