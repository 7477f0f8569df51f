//! How long something took, since the service started: how often, on average, and at most in so many of a hundred times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets: the first is of what takes less than 1 µs, each has twice the bound of the one before, the last is of all that
/// takes longer.
const BUCKETS: usize = 32;

/// Times that are counted as they come, from any thread.
#[derive(Debug, Default)]
pub struct Durations {
    count: AtomicU64,
    sum_ns: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// What was counted, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Took {
    /// How many times.
    pub count: u64,
    /// The mean, rounded up.
    pub mean_us: u64,
    /// Half of them took at most this: the bound of a bucket, each twice the one before.
    pub median_us: u64,
    /// 99 of a hundred took at most this, as above.
    pub percentile_99_us: u64,
}

impl Durations {
    /// Counts one.
    pub fn add(&self, took: Duration) {
        let bucket = (u128::BITS - took.as_micros().leading_zeros()) as usize;
        if let Some(bucket) = self.buckets.get(bucket.min(BUCKETS - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn took(&self) -> Took {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let count = counts.iter().sum();
        let mean_us = self.sum_ns.load(Ordering::Relaxed).div_ceil(1_000).checked_div(count).unwrap_or(0);
        let bound = |percent: u64| {
            let rank =
                u64::try_from((u128::from(count) * u128::from(percent)).div_ceil(100)).unwrap_or(count);
            let mut seen = 0;
            let bucket = counts.iter().position(|count| {
                seen += count;
                rank <= seen
            });
            bucket.filter(|_| count != 0).map_or(0, |bucket| 1_u64 << bucket)
        };
        Took { count, mean_us, median_us: bound(50), percentile_99_us: bound(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_bounds_of_their_buckets() {
        let durations = Durations::default();
        assert_eq!(durations.took(), Took::default());
        for _ in 0..98 {
            durations.add(Duration::from_micros(3));
        }
        durations.add(Duration::from_nanos(10));
        durations.add(Duration::from_micros(1_000));
        let took = durations.took();
        assert_eq!((took.count, took.mean_us), (100, 12));
        assert_eq!((took.median_us, took.percentile_99_us), (4, 4));
        durations.add(Duration::from_secs(400_000));
        durations.add(Duration::MAX);
        assert_eq!(durations.took().percentile_99_us, 1 << 31);
    }
}
