//! Samples by series, as many as a bounded memory holds: the rest is for a later reading of the same journal.

use std::collections::BTreeMap;

/// Samples that are held at once: 16 bytes each, and as much again where a series grows.
const SAMPLES_MAX: usize = 4_000_000;

/// What a series takes beside its samples, in samples: its labels and its place.
const SERIES_COST: usize = 16;

/// A metric's number and the text of its labels; series are written in this order.
pub(crate) type Key = (usize, String);

/// What one reading gathers: the first series, in order, for which there is room.
pub(crate) struct Series {
    /// The last series of the reading before.
    after: Option<Key>,
    /// The first series for which there was no room.
    before: Option<Key>,
    samples: BTreeMap<Key, Vec<(i64, u64)>>,
    held: usize,
    held_max: usize,
}

impl Series {
    /// Gathers from the first series on.
    pub(crate) fn first() -> Series {
        Series::holding(SAMPLES_MAX)
    }

    fn holding(held_max: usize) -> Series {
        Series { after: None, before: None, samples: BTreeMap::new(), held: 0, held_max }
    }

    /// Takes a sample, unless it is of a series that is for another reading.
    pub(crate) fn note(&mut self, key: Key, time_us: i64, value: u64) {
        let is_early = self.after.as_ref().is_some_and(|after| key <= *after);
        let is_late = self.before.as_ref().is_some_and(|before| *before <= key);
        if is_early || is_late {
            return;
        }
        let samples = self.samples.entry(key).or_default();
        self.held += 1 + if samples.is_empty() { SERIES_COST } else { 0 };
        samples.push((time_us, value));
        // One series is always held, so every reading gets on.
        while self.held > self.held_max && self.samples.len() > 1 {
            let Some((key, dropped)) = self.samples.pop_last() else { break };
            self.held -= dropped.len() + SERIES_COST;
            self.before = Some(key);
        }
    }

    /// The series that were gathered, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &[(i64, u64)])> {
        self.samples.iter().map(|(key, samples)| (key, samples.as_slice()))
    }

    /// What the next reading is to gather; none if nothing was left out.
    pub(crate) fn next(self) -> Option<Series> {
        self.before?;
        let after = self.samples.into_keys().next_back();
        Some(Series { after, ..Series::holding(self.held_max) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_gathered_whole_in_some_reading() {
        for held_max in [1, 2, 5, 7, 30, 50, 100, 200] {
            let mut gathered = Vec::new();
            let mut series = Some(Series::holding(held_max));
            while let Some(mut reading) = series {
                for time in 0..6 {
                    for number in 0..5 {
                        reading.note((number % 2, format!("{number}")), time, number as u64);
                    }
                }
                gathered.extend(reading.all().map(|(key, samples)| (key.clone(), samples.len())));
                series = reading.next();
            }
            let wanted = [(0, "0"), (0, "2"), (0, "4"), (1, "1"), (1, "3")];
            assert_eq!(
                gathered,
                wanted.map(|(metric, labels)| ((metric, labels.to_owned()), 6)),
                "{held_max}"
            );
        }
    }
}
