//! Faults of one GPU, as they were told: by the driver's library, and by the kernel's log. Most are told by both.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use purser_actors::port::SeenXid;
use purser_events::Timestamp;

/// Faults that are kept.
const XIDS_MAX: usize = 64;
/// Kinds of faults that are counted: NVIDIA has fewer.
const XID_KINDS_MAX: usize = 256;
/// Longest time between what the one says of a fault and what the other does.
const SAME_WITHIN: Duration = Duration::from_secs(5);
/// Faults that wait to be told by the other as well.
const ALONE_MAX: usize = 256;

/// Who tells of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Teller {
    /// The driver's library.
    Library,
    /// The kernel's log.
    KernelLog,
}

/// Faults that were told of one GPU.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) newest: VecDeque<SeenXid>,
    pub(super) counts: BTreeMap<u32, u64>,
    told: u64,
    /// Those that one has told of and the other has not, with the time that had passed.
    alone: VecDeque<(Teller, u32, Duration)>,
}

impl Faults {
    /// Counts a fault, unless the other has told of it a moment ago; says whether it did. `passed` only goes forward.
    pub(super) fn add(&mut self, by: Teller, xid: u32, at: Timestamp, passed: Duration) -> bool {
        self.alone.retain(|(_, _, told)| passed.saturating_sub(*told) <= SAME_WITHIN);
        let is_same = |(teller, number, _): &(Teller, u32, Duration)| *teller != by && *number == xid;
        if let Some(place) = self.alone.iter().position(is_same) {
            self.alone.remove(place);
            return false;
        }
        if self.alone.len() == ALONE_MAX {
            self.alone.pop_front();
        }
        self.alone.push_back((by, xid, passed));
        self.told += 1;
        if self.newest.len() == XIDS_MAX {
            self.newest.pop_front();
        }
        self.newest.push_back(SeenXid { number: self.told, xid, at });
        if self.counts.len() < XID_KINDS_MAX || self.counts.contains_key(&xid) {
            *self.counts.entry(xid).or_default() += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(faults: &mut Faults, by: Teller, xid: u32, passed_ms: u64) -> bool {
        faults.add(by, xid, Timestamp(1), Duration::from_millis(passed_ms))
    }

    #[test]
    fn what_both_tell_within_five_seconds_is_one_fault() {
        use Teller::{KernelLog, Library};
        let mut faults = Faults::default();
        assert!(add(&mut faults, KernelLog, 79, 0));
        assert!(!add(&mut faults, Library, 79, 5_000));
        assert!(add(&mut faults, Library, 48, 5_000));
        assert!(add(&mut faults, KernelLog, 48, 10_001), "too late to be the same");
        assert_eq!(faults.counts, BTreeMap::from([(48, 2), (79, 1)]));
    }

    #[test]
    fn what_one_tells_twice_are_two_faults_whoever_is_first() {
        use Teller::{KernelLog, Library};
        let mut faults = Faults::default();
        let told = [Library, Library, KernelLog, KernelLog, KernelLog, Library];
        let counted: Vec<bool> = told.map(|by| add(&mut faults, by, 13, 0)).to_vec();
        assert_eq!(counted, [true, true, false, false, true, false]);
        assert_eq!(faults.newest.iter().map(|it| it.number).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
