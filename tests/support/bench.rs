//! What the benchmarks share: which of them is asked for, figures of one kind, and ratios between them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Bytes in a block as `stat` counts them.
pub const BLOCK_LEN: u64 = 512;

/// Whether a benchmark is to run: `ONLY` names one, nothing or an empty `ONLY` means all.
#[must_use]
pub fn wanted(name: &str) -> bool {
    let only = std::env::var("ONLY").ok().filter(|only| !only.is_empty());
    only.is_none_or(|only| only == name)
}

/// A number that the environment sets in place of `default`.
///
/// # Panics
/// What is set is not a number.
#[must_use]
pub fn number_from(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok().filter(|text| !text.is_empty());
    set.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}"))
    })
}

/// Bytes of the blocks that a folder's files take, or a file, as `du` counts; none if it is absent.
#[must_use]
pub fn bytes_on_disk(path: &Path) -> u64 {
    let Ok(about) = fs::symlink_metadata(path) else { return 0 };
    if !about.is_dir() {
        return about.blocks() * BLOCK_LEN;
    }
    // What goes away meanwhile takes nothing.
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| bytes_on_disk(&entry.path())).sum()
}

/// What a figure is wanted to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// More than this.
    Above(f64),
}

impl Bound {
    /// The bound in its `unit`, and whether a figure meets it, to be read by people beside the figure.
    #[must_use]
    pub fn verdict(self, figure: f64, unit: &str) -> String {
        let (words, bound, met) = match self {
            Bound::AtLeast(bound) => ("at least", bound, bound <= figure),
            Bound::AtMost(bound) => ("at most", bound, figure <= bound),
            Bound::Above(bound) => ("above", bound, bound < figure),
        };
        format!("wanted {words} {bound}{unit}: {}", if met { "met" } else { "missed" })
    }
}

/// Times of one kind.
#[derive(Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Takes in one more.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time that as many were below as above.
    #[must_use]
    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    }

    /// Median, least and most, to be read by people.
    #[must_use]
    pub fn line(&self) -> String {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
        format!(
            "median {:8.2} ms   least {:8.2}   most {:8.2}   of {}",
            ms(self.median()),
            ms(least),
            ms(most),
            sorted.len()
        )
    }
}

impl Extend<Duration> for Times {
    fn extend<T: IntoIterator<Item = Duration>>(&mut self, times: T) {
        self.0.extend(times);
    }
}

/// How much longer ours takes than its reference.
#[must_use]
pub fn ratio(ours: &Times, reference: &Times) -> f64 {
    ours.median().as_secs_f64() / reference.median().as_secs_f64()
}

/// Events in a second, of one kind.
#[derive(Debug, Default)]
pub struct Rates(Vec<f64>);

impl Rates {
    /// Takes in one more.
    #[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
    pub fn add(&mut self, events: u64, took: Duration) {
        self.0.push(events as f64 / took.as_secs_f64());
    }

    /// The rate that as many were below as above.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.sorted()[self.0.len() / 2]
    }

    /// Median, least and most, to be read by people.
    #[must_use]
    pub fn line(&self) -> String {
        let sorted = self.sorted();
        let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
        format!("median {:9.0} events/s   least {least:9.0}   most {most:9.0}", self.median())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted
    }
}
