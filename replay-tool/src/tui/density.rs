//! How many records there were when: a histogram over a time that is not known before, in constant memory.

use purser_events::Timestamp;

use crate::notable::Notable;

/// Slices that time is cut into; an even number.
const SLICES: usize = 2_048;

/// What there was in a slice of time, or in a column of the time line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slice {
    /// Records.
    pub(super) records: u64,
    /// Records that tell of a failure.
    pub(super) failures: u64,
    /// Records that tell of a violation.
    pub(super) violations: u64,
}

impl Slice {
    fn add(&mut self, other: Slice) {
        self.records += other.records;
        self.failures += other.failures;
        self.violations += other.violations;
    }
}

/// Records over time. A clock that went back is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Density {
    first: i64,
    last: i64,
    /// Microseconds of a slice.
    width: i64,
    slices: Vec<Slice>,
}

impl Density {
    /// None yet.
    pub(super) fn new() -> Density {
        Density { first: 0, last: 0, width: 1, slices: Vec::new() }
    }

    /// Counts a record; times do not go back.
    pub(super) fn note(&mut self, time: Timestamp, notable: Option<Notable>) {
        if self.slices.is_empty() {
            self.first = time.0;
        }
        self.last = time.0;
        let mut at = self.slice_of(time.0);
        while at >= SLICES {
            // Slices become twice as long: each is two of before.
            let pairs = self.slices.chunks(2);
            self.slices = pairs
                .map(|pair| {
                    let mut both = Slice::default();
                    pair.iter().for_each(|slice| both.add(*slice));
                    both
                })
                .collect();
            self.width = self.width.saturating_mul(2);
            at = self.slice_of(time.0);
        }
        if self.slices.len() <= at {
            self.slices.resize(at + 1, Slice::default());
        }
        if let Some(slice) = self.slices.get_mut(at) {
            slice.add(Slice {
                records: 1,
                failures: u64::from(notable == Some(Notable::Failure)),
                violations: u64::from(notable == Some(Notable::Violation)),
            });
        }
    }

    fn slice_of(&self, time: i64) -> usize {
        let at = time.saturating_sub(self.first).max(0) / self.width;
        usize::try_from(at).unwrap_or(usize::MAX)
    }

    /// The first and the last time.
    pub(super) fn span(&self) -> (Timestamp, Timestamp) {
        (Timestamp(self.first), Timestamp(self.last))
    }

    /// The column of a time line of so many that a time belongs to.
    pub(super) fn column(&self, time: Timestamp, columns: usize) -> usize {
        let len = (i128::from(self.last) - i128::from(self.first) + 1).max(1);
        let at = (i128::from(time.0) - i128::from(self.first)).max(0);
        let column = at * columns as i128 / len;
        usize::try_from(column).unwrap_or(usize::MAX).min(columns.saturating_sub(1))
    }

    /// The time at which a column of so many begins.
    pub(super) fn begin(&self, column: usize, columns: usize) -> Timestamp {
        let len = i128::from(self.last) - i128::from(self.first) + 1;
        let columns = (columns as i128).max(1);
        // Rounded up: the moment before it is of the column before.
        let at = (column as i128 * len + columns - 1) / columns;
        Timestamp(i64::try_from(i128::from(self.first) + at).unwrap_or(i64::MAX))
    }

    /// The time line with so many columns.
    pub(super) fn columns(&self, columns: usize) -> Vec<Slice> {
        let mut line = vec![Slice::default(); columns];
        for (number, slice) in (0_i64..).zip(&self.slices) {
            let begin = self.first.saturating_add(number.saturating_mul(self.width));
            if let Some(column) = line.get_mut(self.column(Timestamp(begin), columns)) {
                column.add(*slice);
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_in_a_column_however_long_it_takes() {
        let mut density = Density::new();
        let mut time = 1_772_366_400_000_000_i64;
        let mut noted = 0;
        for number in 0..20_000_i64 {
            time += number % 7 * number;
            density.note(Timestamp(time), (number % 100 == 0).then_some(Notable::Failure));
            noted += 1;
        }
        assert!(density.slices.len() <= SLICES, "{}", density.slices.len());
        for columns in [1, 7, 80, 400] {
            let line = density.columns(columns);
            assert_eq!(line.len(), columns);
            assert_eq!(line.iter().map(|slice| slice.records).sum::<u64>(), noted);
            assert_eq!(line.iter().map(|slice| slice.failures).sum::<u64>(), 200);
            for column in 0..columns {
                let begin = density.begin(column, columns);
                assert_eq!(density.column(begin, columns), column);
                let before = Timestamp(begin.0 - 1);
                assert_eq!(density.column(before, columns), column.saturating_sub(1));
            }
        }
    }

    #[test]
    fn a_journal_of_one_moment_has_a_time_line() {
        let mut density = Density::new();
        density.note(Timestamp(7), None);
        density.note(Timestamp(7), Some(Notable::Violation));
        let first = Slice { records: 2, failures: 0, violations: 1 };
        assert_eq!(density.columns(3), [first, Slice::default(), Slice::default()]);
        assert!(Density::new().columns(0).is_empty());
    }
}
