//! Which segments are due to go: a function of what is known of them, and of nothing else.

use purser_events::{Seq, Timestamp};

use super::SegmentInfo;

/// How much of its past a journal keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Age of its last record at which a segment may go, in milliseconds.
    pub age_ms: u64,
    /// Bytes of sealed segments beyond which the oldest may go, however young.
    pub bytes: u64,
    /// Sealed segments that stay in any case.
    pub segments_min: usize,
    /// Whether only what the archive has may go.
    pub archive: bool,
}

/// The last record that may go at a moment, if any may. `segments` are in order; of what is `protected`, that record
/// and all after it, nothing goes.
#[must_use]
pub fn plan(segments: &[SegmentInfo], now: Timestamp, retention: &Retention, protected: Seq) -> Option<Seq> {
    let spare = segments.len().saturating_sub(retention.segments_min);
    let mut bytes: u64 = segments.iter().fold(0, |bytes, segment| bytes.saturating_add(segment.bytes));
    let mut history = None;
    // From the oldest on: a gap is never made.
    for segment in segments.iter().take(spare) {
        let old = now.ms_since(segment.last_time) > retention.age_ms;
        let over = bytes > retention.bytes;
        let kept = retention.archive && !segment.archived;
        if !(old || over) || kept || !segment.compressed || segment.last.seq >= protected {
            break;
        }
        history = Some(segment.last.seq);
        bytes -= segment.bytes;
    }
    history
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::verify::Head;

    const DAY_MS: u64 = 86_400_000;

    /// Segments of ten records and 100 bytes each, the last of each as many days old as given, compressed and archived.
    fn segments(days: &[u64]) -> Vec<SegmentInfo> {
        let segment = |(number, days): (usize, &u64)| {
            let time = now().plus_ms(0).0 - i64::try_from(days * DAY_MS * 1_000).unwrap();
            let first = Seq(number as u64 * 10 + 1);
            SegmentInfo {
                first,
                last: Head { seq: Seq(first.0 + 9), hash: [1; 32] },
                content: [2; 32],
                bytes: 100,
                first_time: Timestamp(time),
                last_time: Timestamp(time),
                compressed: true,
                archived: true,
                path: PathBuf::from("x"),
            }
        };
        days.iter().enumerate().map(segment).collect()
    }

    fn now() -> Timestamp {
        Timestamp(1_772_368_245_000_000)
    }

    fn retention() -> Retention {
        Retention { age_ms: 14 * DAY_MS, bytes: 1_000, segments_min: 2, archive: true }
    }

    const ALL: Seq = Seq(u64::MAX);

    #[track_caller]
    fn check(segments: &[SegmentInfo], retention: Retention, protected: Seq, expected: Option<u64>) {
        assert_eq!(plan(segments, now(), &retention, protected), expected.map(Seq));
    }

    #[test]
    fn what_is_old_goes_and_what_is_young_stays() {
        check(&segments(&[30, 20, 15, 13, 1]), retention(), ALL, Some(30));
        check(&segments(&[14, 13, 12]), retention(), ALL, None);
        check(&[], retention(), ALL, None);
    }

    #[test]
    fn what_is_over_the_bytes_goes_however_young() {
        let retention = Retention { bytes: 250, ..retention() };
        check(&segments(&[0, 0, 0, 0, 0]), retention, ALL, Some(30));
        check(&segments(&[0, 0]), retention, ALL, None);
    }

    #[test]
    fn some_segments_stay_however_old() {
        check(&segments(&[30, 30, 30]), retention(), ALL, Some(10));
        check(&segments(&[30, 30]), retention(), ALL, None);
        check(&segments(&[30]), Retention { segments_min: 0, ..retention() }, ALL, Some(10));
    }

    #[test]
    fn what_a_snapshot_or_reader_needs_stays() {
        let old = segments(&[30, 30, 30, 30, 30]);
        for (protected, expected) in [(1, None), (10, None), (11, Some(10)), (20, Some(10)), (21, Some(20))] {
            check(&old, retention(), Seq(protected), expected);
        }
    }

    #[test]
    fn what_is_not_archived_or_not_compressed_stays_with_all_after_it() {
        let mut some = segments(&[30, 30, 30, 30, 30]);
        some[1].archived = false;
        check(&some, retention(), ALL, Some(10));
        check(&some, Retention { archive: false, ..retention() }, ALL, Some(30));
        some[0].compressed = false;
        check(&some, Retention { archive: false, ..retention() }, ALL, None);
    }

    proptest! {
        #[test]
        fn nothing_goes_that_must_stay(
            given in prop::collection::vec((0..40_u64, 0..400_u64, any::<bool>(), any::<bool>()), 0..12),
            (age_days, bytes, segments_min, archive) in (0..30_u64, 0..2_000_u64, 0..4_usize, any::<bool>()),
            protected in 0..150_u64,
        ) {
            let days: Vec<u64> = given.iter().map(|given| given.0).collect();
            let mut some = segments(&days);
            for (segment, (_, bytes, compressed, archived)) in some.iter_mut().zip(&given) {
                (segment.bytes, segment.compressed, segment.archived) = (*bytes, *compressed, *archived);
            }
            let retention = Retention { age_ms: age_days * DAY_MS, bytes, segments_min, archive };
            let gone_upto = plan(&some, now(), &retention, Seq(protected)).unwrap_or(Seq::ZERO);
            let (gone, kept): (Vec<_>, Vec<_>) = some.iter().partition(|segment| segment.last.seq <= gone_upto);
            prop_assert!(gone.is_empty() || kept.len() >= segments_min);
            let mut left: u64 = some.iter().map(|segment| segment.bytes).sum();
            for segment in gone {
                let old = now().ms_since(segment.last_time) > retention.age_ms;
                prop_assert!(old || left > bytes);
                prop_assert!(segment.compressed && (segment.archived || !archive));
                prop_assert!(segment.last.seq < Seq(protected));
                left -= segment.bytes;
            }
            // The first that stays has a reason to.
            if let Some(first) = kept.first() {
                let old = now().ms_since(first.last_time) > retention.age_ms;
                let due = (old || left > bytes) && first.compressed && (first.archived || !archive);
                prop_assert!(!due || first.last.seq >= Seq(protected) || kept.len() <= segments_min);
            }
        }
    }
}
