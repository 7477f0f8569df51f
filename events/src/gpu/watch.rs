//! Looks at one GPU made into what they say together: for how long it has stood as it stands.
//!
//! It lives in memory alone. After a restart all times begin anew: nobody has watched meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::command::{Lasting, Look, Standing};
use super::health::{Degradation, Evidence, GpuFacts, Health};
use super::state::Gpu;
use crate::units::Timestamp;

/// Most time that counts between two looks: nobody knows what was in between.
const GAP_MAX: Duration = Duration::from_secs(10);
/// Most kinds of faults that wait to be noted.
const FAULT_KINDS_MAX: usize = 256;

/// What one look saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What the GPU is, as far as that can be read.
    pub facts: GpuFacts,
    /// Whether it answers; none if nothing is known of that yet.
    pub standing: Option<Standing>,
    /// What slows it down; none if that cannot be read.
    pub slowed: Option<BTreeSet<Degradation>>,
    /// Faults that were told since the service started, as far as they are kept; in the order of their numbers.
    pub faults: Vec<SeenFault>,
    /// What was read of it; its `for_ms` does not count.
    pub evidence: Evidence,
}

/// A fault that the driver told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenFault {
    /// Counts the faults of the GPU since the service started, from 1 on.
    pub number: u64,
    /// NVIDIA's number for the kind of fault.
    pub xid: u32,
    /// When it was told.
    pub at: Timestamp,
}

/// Which of the standings: what of a GPU must stay as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Answers,
    Unresponsive,
    Lost,
}

/// Watches one GPU.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    looked: Option<Duration>,
    standing: Option<Kind>,
    steady: Duration,
    slowed: BTreeMap<Degradation, (bool, Duration)>,
    /// Faults that are not noted yet: how many of each kind, and when last.
    faults: BTreeMap<u32, (u64, Timestamp)>,
    /// The number of the last fault that was counted.
    counted: u64,
    /// When the present probation began.
    probation: Option<Timestamp>,
}

impl Watch {
    /// Takes notice of a look at `gpu`, made when `passed` had passed since some moment that stays the same.
    pub fn look(&mut self, gpu: &Gpu, seen: Seen, passed: Duration) -> Look {
        let gap = self.looked.map_or(Duration::ZERO, |looked| passed.saturating_sub(looked)).min(GAP_MAX);
        self.looked = Some(passed);
        let is_news = self.count(&seen.faults) | self.is_new_probation(gpu);
        let kind = seen.standing.as_ref().map(kind);
        if kind.is_none() || kind != self.standing || is_news {
            self.steady = Duration::ZERO;
        } else {
            self.steady += gap;
        }
        self.standing = kind;
        if let Some(slowed) = &seen.slowed {
            for reason in Degradation::ALL {
                let is_on = slowed.contains(&reason);
                let (was_on, lasted) = self.slowed.entry(reason).or_insert((is_on, Duration::ZERO));
                *lasted = if *was_on == is_on { *lasted + gap } else { Duration::ZERO };
                *was_on = is_on;
            }
        }
        let lasting = |(reason, (is_on, lasted)): (&Degradation, &(bool, Duration))| {
            (*reason, Lasting { is_on: *is_on, for_ms: in_ms(*lasted) })
        };
        Look {
            facts: seen.facts,
            standing: seen.standing,
            steady_ms: in_ms(self.steady),
            slowed: self.slowed.iter().map(lasting).collect(),
            faults: self.faults.clone(),
            evidence: seen.evidence,
        }
    }

    /// Faults of this kind were noted, so many of them.
    pub fn noted(&mut self, xid: u32, count: u64) {
        if let Some((pending, _)) = self.faults.get_mut(&xid) {
            *pending = pending.saturating_sub(count);
            if *pending == 0 {
                self.faults.remove(&xid);
            }
        }
    }

    /// What was told of faults until now does not matter any more.
    pub fn forgive(&mut self) {
        self.faults.clear();
    }

    /// Counts faults that are new, and says whether there are any.
    fn count(&mut self, faults: &[SeenFault]) -> bool {
        let before = self.counted;
        for fault in faults.iter().filter(|fault| before < fault.number) {
            self.counted = self.counted.max(fault.number);
            if FAULT_KINDS_MAX <= self.faults.len() && !self.faults.contains_key(&fault.xid) {
                continue;
            }
            let (count, last_at) = self.faults.entry(fault.xid).or_insert((0, fault.at));
            (*count, *last_at) = (count.saturating_add(1), fault.at);
        }
        before < self.counted
    }

    /// Whether a probation has begun since the last look: nothing from before counts in it.
    fn is_new_probation(&mut self, gpu: &Gpu) -> bool {
        let in_probation = gpu.known().filter(|gpu| gpu.health == Health::Probation);
        let began = in_probation.map(|gpu| gpu.since);
        let is_new = began.is_some() && began != self.probation;
        self.probation = began;
        is_new
    }
}

fn kind(standing: &Standing) -> Kind {
    match standing {
        Standing::Answers => Kind::Answers,
        Standing::Unresponsive { .. } => Kind::Unresponsive,
        Standing::Lost { .. } => Kind::Lost,
    }
}

fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
