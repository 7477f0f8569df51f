//! How long things took: count, longest and quantiles, in a memory that does not grow with their number.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Steps within a power of two: a quantile is at most 1/32 more than the span that it stands for.
const STEPS_BITS: u32 = 5;

/// Spans of time, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spans {
    count: u64,
    sum_us: u128,
    max_us: u64,
    /// How many are in each bucket, by the largest span that is in it.
    buckets: BTreeMap<u64, u64>,
}

impl Spans {
    /// Counts one.
    pub(crate) fn note(&mut self, us: u64) {
        self.count += 1;
        self.sum_us += u128::from(us);
        self.max_us = self.max_us.max(us);
        *self.buckets.entry(bucket_end(us)).or_default() += 1;
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The span that so many percent are not longer than, rounded up by at most 1/32.
    pub(crate) fn quantile_us(&self, percent: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100).max(1);
        let mut passed: u128 = 0;
        for (end, count) in &self.buckets {
            passed += u128::from(*count);
            if passed >= rank {
                return (*end).min(self.max_us);
            }
        }
        self.max_us
    }

    /// All together.
    pub(crate) fn sum_us(&self) -> u64 {
        u64::try_from(self.sum_us).unwrap_or(u64::MAX)
    }

    /// The longest.
    pub(crate) fn max_us(&self) -> u64 {
        self.max_us
    }

    /// For people.
    pub(crate) fn words(&self) -> String {
        let of = |percent| seconds(self.quantile_us(percent));
        format!("{} times, p50 {}, p99 {}, longest {}", self.count, of(50), of(99), seconds(self.max_us))
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "count": self.count(), "sumUs": self.sum_us(), "p50Us": self.quantile_us(50),
            "p99Us": self.quantile_us(99), "maxUs": self.max_us(),
        })
    }
}

/// The largest span in the same bucket.
fn bucket_end(us: u64) -> u64 {
    let bits = u64::BITS - us.leading_zeros();
    let shift = bits.saturating_sub(STEPS_BITS + 1);
    us | ((1_u64 << shift) - 1)
}

/// A span as people read it.
pub(crate) fn seconds(us: u64) -> String {
    format!("{}.{:03}s", us / 1_000_000, us / 1_000 % 1_000)
}

/// The way from one moment to another, which may go back.
pub(crate) fn signed_seconds(us: i64) -> String {
    format!("{}{}", if us < 0 { '-' } else { '+' }, seconds(us.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quantiles_are_at_most_a_step_too_long(mut spans in prop::collection::vec(0_u64..10_000_000_000, 1..200)) {
            let mut counted = Spans::default();
            spans.iter().for_each(|span| counted.note(*span));
            spans.sort_unstable();
            for percent in [1, 50, 99, 100] {
                let rank = (spans.len() * usize::try_from(percent).unwrap()).div_ceil(100).max(1);
                let exact = spans[rank - 1];
                let told = counted.quantile_us(percent);
                prop_assert!(exact <= told && told <= exact + exact / 32, "{percent}%: {told} for {exact}");
            }
        }
    }
}
