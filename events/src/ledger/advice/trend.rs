//! A line through use over time, after Theil and Sen: the median of the slopes between every two points, which a few
//! strays do not move. The one place with floating point: every division is by a positive number of microseconds or by a
//! positive slope, so nothing here is ever not a number.

use crate::units::Timestamp;

/// Most points that slopes are taken between: 32,640 pairs.
const POINTS_MAX: usize = 256;

/// Microseconds of an hour.
const HOUR_US: f64 = 3_600_000_000.0;

/// Use at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    /// When.
    pub(super) at: Timestamp,
    /// How much.
    pub(super) amount: u64,
}

/// A line that rises, and how sure that is. Slopes are an amount a microsecond, each more than 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rise {
    origin: Timestamp,
    level: f64,
    low: f64,
    median: f64,
    high: f64,
    /// Slopes that this was made of.
    pub(super) slopes: usize,
}

/// One value for each of the three slopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BySlope<T> {
    /// With the lower quartile.
    pub(super) low: T,
    /// With the median.
    pub(super) median: T,
    /// With the upper quartile.
    pub(super) high: T,
}

impl Rise {
    /// The line through these, in the order of time; none if its slope may as well be zero: then the quartiles of the
    /// slopes do not lie above it, both.
    pub(super) fn of(points: &[Point]) -> Option<Rise> {
        let points = thinned(points);
        let origin = points.last()?.at;
        let places: Vec<(f64, f64)> = points.iter().map(|point| place(*point, origin)).collect();
        let mut slopes = slopes(&places);
        let low = quantile(&mut slopes, 1)?;
        let median = quantile(&mut slopes, 2)?;
        let high = quantile(&mut slopes, 3)?;
        if low <= 0.0 {
            return None;
        }
        let mut levels: Vec<f64> = places.iter().map(|(at, amount)| amount - median * at).collect();
        let level = quantile(&mut levels, 2)?;
        Some(Rise { origin, level, low, median, high, slopes: slopes.len() })
    }

    /// Use at a moment, on the line.
    pub(super) fn level_at(&self, moment: Timestamp) -> u64 {
        whole(self.level + self.median * distance(moment, self.origin))
    }

    /// Slopes an hour.
    pub(super) fn hourly(&self) -> BySlope<u64> {
        self.by_slope(|slope| whole(slope * HOUR_US))
    }

    /// When an amount is reached; the last point's time if it is already.
    pub(super) fn reaches(&self, bound: u64) -> BySlope<Timestamp> {
        let missing = (float(bound) - self.level).max(0.0);
        self.by_slope(|slope| Timestamp(self.origin.0.saturating_add_unsigned(whole(missing / slope))))
    }

    fn by_slope<T>(&self, of: impl Fn(f64) -> T) -> BySlope<T> {
        BySlope { low: of(self.low), median: of(self.median), high: of(self.high) }
    }
}

/// At most [`POINTS_MAX`] of these, evenly spread, the first and the last among them.
fn thinned(points: &[Point]) -> Vec<Point> {
    let taken = points.len().min(POINTS_MAX);
    let place = |index: usize| index * (points.len() - 1) / (taken - 1).max(1);
    (0..taken).filter_map(|index| points.get(place(index)).copied()).collect()
}

/// Slopes between every two of these that are not at one time.
fn slopes(places: &[(f64, f64)]) -> Vec<f64> {
    let mut slopes = Vec::with_capacity(places.len() * places.len() / 2);
    for (index, (at, amount)) in places.iter().enumerate() {
        let earlier = places.iter().take(index).filter(|(before, _)| before < at);
        slopes.extend(earlier.map(|(before, amount_before)| (amount - amount_before) / (at - before)));
    }
    slopes
}

/// The value that so many quarters of these are not above (nearest rank); none of none.
fn quantile(values: &mut [f64], quarters: usize) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let rank = (values.len() * quarters).div_ceil(4).max(1);
    Some(*values.select_nth_unstable_by(rank - 1, f64::total_cmp).1)
}

/// Time and amount as numbers; time counts from `origin`.
fn place(point: Point, origin: Timestamp) -> (f64, f64) {
    (distance(point.at, origin), float(point.amount))
}

/// Microseconds from `origin` to a moment.
fn distance(moment: Timestamp, origin: Timestamp) -> f64 {
    let us = moment.0.saturating_sub(origin.0);
    float(us.unsigned_abs()) * if us < 0 { -1.0 } else { 1.0 }
}

/// The nearest number that there is: exact up to 2^53, and the times of two days are far below.
fn float(amount: u64) -> f64 {
    amount as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast keeps to the range of the type: less than 0 is 0, too much is the most"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(len: i64, amount: impl Fn(i64) -> u64) -> Vec<Point> {
        (0..len).map(|minute| Point { at: Timestamp(minute * 60_000_000), amount: amount(minute) }).collect()
    }

    #[test]
    fn a_line_is_found_again_and_strays_do_not_move_it() {
        let stray = |minute: i64| if minute % 10 == 3 { 0 } else { 1_000 + 7 * minute.unsigned_abs() };
        let rise = Rise::of(&line(100, stray)).expect("it rises");
        assert_eq!(rise.hourly().median, 420);
        assert_eq!(rise.level_at(Timestamp(99 * 60_000_000)), 1_693);
        assert_eq!(rise.reaches(1_700).median, Timestamp(100 * 60_000_000));
        assert_eq!(rise.reaches(1_000).median, Timestamp(99 * 60_000_000));
    }

    #[test]
    fn what_may_be_flat_or_falls_is_no_rise() {
        assert!(Rise::of(&line(100, |_| 5)).is_none());
        assert!(Rise::of(&line(100, |minute| 100 - minute.unsigned_abs())).is_none());
        assert!(Rise::of(&line(100, |minute| u64::from(minute >= 90))).is_none(), "one step");
        assert!(Rise::of(&[]).is_none());
        assert!(Rise::of(&[Point { at: Timestamp(1), amount: 1 }; 20]).is_none(), "one moment");
    }

    #[test]
    fn many_points_are_thinned_evenly() {
        let taken = thinned(&line(1_000, i64::unsigned_abs));
        assert_eq!(taken.len(), POINTS_MAX);
        assert_eq!(taken.first().map(|point| point.amount), Some(0));
        assert_eq!(taken.last().map(|point| point.amount), Some(999));
        let gaps = taken.windows(2).map(|pair| pair[1].amount - pair[0].amount);
        assert!(gaps.into_iter().all(|gap| gap == 3 || gap == 4));
    }
}
