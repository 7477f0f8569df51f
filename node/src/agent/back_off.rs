//! Waits between tries: they double up to a bound, each shortened by chance, so that many agents do not come at once.

use std::time::Duration;

/// The first wait, at most.
const FIRST_MS: u64 = 100;

/// The longest wait.
const LONGEST_MS: u64 = 5_000;

/// How often something has failed in a row.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failures: u32,
}

impl BackOff {
    /// The wait after one more failure, between half of what it may be and all of it, by a random number.
    pub(super) fn next(&mut self, random: u64) -> Duration {
        let whole = FIRST_MS.saturating_mul(1 << self.failures.min(16)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        let half = whole / 2;
        Duration::from_millis(half + random % (whole - half + 1))
    }

    /// Whether nothing has failed since something worked.
    pub(super) fn is_fresh(&self) -> bool {
        self.failures == 0
    }

    /// Something has worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew() {
        let mut back_off = BackOff::default();
        let shortest: Vec<u128> = (0..8).map(|_| back_off.next(0).as_millis()).collect();
        assert_eq!(shortest, [50, 100, 200, 400, 800, 1_600, 2_500, 2_500]);
        for random in [0, 1, 2_499, 2_500, 2_501, u64::MAX] {
            assert!((2_500..=5_000).contains(&back_off.next(random).as_millis()));
        }
        back_off.reset();
        assert!(back_off.next(0) < Duration::from_millis(101));
    }
}
