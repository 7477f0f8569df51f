//! Faults of one GPU, as they were told: by the driver's library, and by the kernel's log. Most are told by both.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use purser_actors::port::SeenXid;
use purser_events::Timestamp;

use super::kernel_log::Place;

/// Faults that are kept.
const XIDS_MAX: usize = 64;
/// Kinds of faults that are counted: NVIDIA has fewer.
const XID_KINDS_MAX: usize = 256;
/// Longest time between what the one says of a fault and what the other does, where neither was kept from it.
const SAME_WITHIN: Duration = Duration::from_secs(5);
/// Faults that wait to be told by the other as well.
const ALONE_MAX: usize = 256;
/// Faults of GPUs that are not known, which wait for them.
const UNPLACED_MAX: usize = 256;
/// Longest time that a fault waits for its GPU: another may be put in its place on the bus.
const UNPLACED_FOR: Duration = Duration::from_secs(3_600);

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
    /// Those that one has told of and the other has not.
    alone: VecDeque<Told>,
}

/// What one of the two has told of a fault. Times are those that have passed, and only go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// Who.
    pub(super) by: Teller,
    /// NVIDIA's number for the kind of fault.
    pub(super) xid: u32,
    /// The earliest moment at which it may have happened: until then who tells of it had nothing to tell.
    pub(super) since: Duration,
    /// When it was told.
    pub(super) passed: Duration,
}

impl Told {
    /// Whether the two speak of one fault: each may have been told while the other was, give or take a moment. A driver
    /// whose call hangs tells minutes later of what the kernel's log had at once.
    fn is_same(&self, other: &Told) -> bool {
        let may_be = |one: &Told, other: &Told| one.since <= other.passed.saturating_add(SAME_WITHIN);
        self.by != other.by && self.xid == other.xid && may_be(self, other) && may_be(other, self)
    }
}

impl Faults {
    /// Counts a fault, unless the other has told of it already; says whether it did.
    pub(super) fn add(&mut self, told: Told, at: Timestamp) -> bool {
        if let Some(place) = self.alone.iter().position(|other| other.is_same(&told)) {
            self.alone.remove(place);
            return false;
        }
        if self.alone.len() == ALONE_MAX {
            self.alone.pop_front();
        }
        self.alone.push_back(told);
        let xid = told.xid;
        self.told += 1;
        if self.newest.len() == XIDS_MAX {
            self.forget_one(xid);
        }
        self.newest.push_back(SeenXid { number: self.told, xid, at });
        if self.counts.len() < XID_KINDS_MAX || self.counts.contains_key(&xid) {
            *self.counts.entry(xid).or_default() += 1;
        }
        true
    }
}

impl Faults {
    /// Makes room: the oldest goes of which a newer one of its kind is, or comes, so that a storm of one kind hides no other.
    fn forget_one(&mut self, coming: u32) {
        let comes_again = |place: usize, xid: u32| {
            xid == coming || self.newest.iter().skip(place + 1).any(|newer| newer.xid == xid)
        };
        let old = self.newest.iter().enumerate().position(|(place, fault)| comes_again(place, fault.xid));
        self.newest.remove(old.unwrap_or(0));
    }
}

/// Faults in the kernel's log of places on the bus at which no GPU is known: it was not read yet, or is gone.
#[derive(Debug, Default)]
pub(super) struct Unplaced(VecDeque<(Place, Told, Timestamp)>);

impl Unplaced {
    /// Keeps a fault until its GPU is there; of too many the oldest is given up.
    pub(super) fn keep(&mut self, place: Place, told: Told, at: Timestamp) {
        self.drop_old(told.passed);
        if self.0.len() == UNPLACED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((place, told, at));
    }

    /// Takes out what was told of a place, oldest first.
    pub(super) fn take(&mut self, place: Place, passed: Duration) -> Vec<(Told, Timestamp)> {
        self.drop_old(passed);
        let mut of_it = vec![];
        self.0.retain(|(of, told, at)| {
            let is_it = *of == place;
            if is_it {
                of_it.push((*told, *at));
            }
            !is_it
        });
        of_it
    }

    /// Whether nothing waits: who samples every second asks first.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn drop_old(&mut self, passed: Duration) {
        self.0.retain(|(_, told, _)| passed.saturating_sub(told.passed) <= UNPLACED_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told at this moment, and cannot have happened before it.
    fn told(by: Teller, xid: u32, passed_ms: u64) -> Told {
        let passed = Duration::from_millis(passed_ms);
        Told { by, xid, since: passed, passed }
    }

    fn add(faults: &mut Faults, by: Teller, xid: u32, passed_ms: u64) -> bool {
        faults.add(told(by, xid, passed_ms), Timestamp(1))
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

    #[test]
    fn a_storm_of_one_kind_hides_no_other() {
        let mut faults = Faults::default();
        add(&mut faults, Teller::Library, 79, 0);
        assert!((0..1_000).all(|_| add(&mut faults, Teller::Library, 13, 0)));
        assert_eq!(faults.newest.front().map(|it| (it.number, it.xid)), Some((1, 79)));
        assert_eq!((faults.newest.len(), faults.newest.back().map(|it| it.number)), (XIDS_MAX, Some(1_001)));
    }

    #[test]
    fn a_driver_that_could_not_tell_for_minutes_tells_of_no_other_fault() {
        use Teller::{KernelLog, Library};
        let mut faults = Faults::default();
        assert!(add(&mut faults, KernelLog, 79, 10_000));
        // It had nothing to tell at 8 s, and was not asked again before 300 s.
        let late = Told { since: Duration::from_secs(8), ..told(Library, 79, 300_000) };
        assert!(!faults.add(late, Timestamp(1)));
        assert!(faults.add(Told { since: Duration::from_secs(300), ..late }, Timestamp(1)), "another one");
        assert!(add(&mut faults, KernelLog, 48, 400_000));
        let other = Told { since: Duration::from_millis(405_001), ..told(Library, 48, 500_000) };
        assert!(faults.add(other, Timestamp(1)), "it had nothing to tell after the log had");
        assert_eq!(faults.counts, BTreeMap::from([(48, 2), (79, 2)]));
    }

    #[test]
    fn faults_wait_for_their_gpu_for_an_hour_and_no_more_of_them_than_are_bounded() {
        let (here, there) = ((0, 26, 0), (0, 27, 0));
        let mut unplaced = Unplaced::default();
        unplaced.keep(here, told(Teller::KernelLog, 79, 0), Timestamp(1));
        unplaced.keep(there, told(Teller::KernelLog, 48, 1), Timestamp(2));
        unplaced.keep(here, told(Teller::KernelLog, 31, 2), Timestamp(3));
        let taken = unplaced.take(here, Duration::from_secs(9));
        let taken: Vec<(u32, Timestamp)> = taken.into_iter().map(|(told, at)| (told.xid, at)).collect();
        assert_eq!(taken, [(79, Timestamp(1)), (31, Timestamp(3))]);
        assert_eq!(unplaced.take(there, UNPLACED_FOR + Duration::from_secs(1)), []);
        for xid in 0..1_000 {
            unplaced.keep(here, told(Teller::KernelLog, xid, 0), Timestamp(1));
        }
        assert_eq!(unplaced.take(here, Duration::ZERO).len(), UNPLACED_MAX);
        assert!(unplaced.is_empty());
    }
}
