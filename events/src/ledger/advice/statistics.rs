//! Whole numbers that stand for many: percentiles that are values of their own data, and parts in percent.

/// The value that `percent` of these are not above (nearest rank); none of none. With 50 the lower median.
pub(super) fn percentile(amounts: &mut [u64], percent: usize) -> Option<u64> {
    let rank = amounts.len().saturating_mul(percent).div_ceil(100).clamp(1, amounts.len().max(1));
    if amounts.is_empty() {
        return None;
    }
    Some(*amounts.select_nth_unstable(rank - 1).1)
}

/// The median of these, and the median of their distances from it; none of none.
pub(super) fn median_and_mad(mut amounts: Vec<u64>) -> Option<(u64, u64)> {
    let median = percentile(&mut amounts, 50)?;
    let mut distances: Vec<u64> = amounts.into_iter().map(|amount| amount.abs_diff(median)).collect();
    let mad = percentile(&mut distances, 50)?;
    Some((median, mad))
}

/// So many percent of an amount, rounded up; as much as can be counted if it is more.
pub(super) fn percent_of(amount: u64, percent: u32) -> u64 {
    let part = (u128::from(amount) * u128::from(percent)).div_ceil(100);
    u64::try_from(part).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let ranks = [(0, 1), (1, 1), (50, 5), (51, 6), (95, 10), (100, 10)];
        for (percent, expected) in ranks {
            let mut amounts = [7, 3, 10, 1, 4, 9, 2, 8, 6, 5];
            assert_eq!(percentile(&mut amounts, percent), Some(expected), "{percent}");
        }
        assert_eq!(percentile(&mut [], 50), None);
    }

    #[test]
    fn one_stray_value_moves_neither_median_nor_mad() {
        assert_eq!(median_and_mad(vec![10, 11, 12, 13, 14]), Some((12, 1)));
        assert_eq!(median_and_mad(vec![10, 11, 12, 13, u64::MAX]), Some((12, 1)));
        assert_eq!(median_and_mad(Vec::new()), None);
    }

    #[test]
    fn parts_round_up_and_do_not_wrap() {
        assert_eq!(percent_of(1, 15), 1);
        assert_eq!(percent_of(200, 115), 230);
        assert_eq!(percent_of(u64::MAX, 115), u64::MAX);
    }
}
