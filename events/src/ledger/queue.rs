//! The queue as it is shown: who waits, behind how many, and for what.

use super::grant::Shortage;
use super::kept::Kept;
use super::state::Ledger;
use crate::ids::PodUid;
use crate::units::Timestamp;

/// A pod's place in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Who waits.
    pub pod: PodUid,
    /// Since when.
    pub since: Timestamp,
    /// How many wait in front.
    pub in_front: usize,
    /// What it is short of now. None if it is held back by nothing but the decision that will let it in.
    pub shortages: Vec<Shortage>,
}

impl Ledger {
    /// Where a pod stands in the queue, if it waits.
    #[must_use]
    pub fn place(&self, pod: PodUid) -> Option<Place> {
        let (rank, waiting) = self.waits(pod)?;
        Some(Place {
            pod,
            since: waiting.since,
            in_front: self.waiting.range(..rank).count(),
            shortages: self.reason(pod).unwrap_or_default(),
        })
    }

    /// Everybody's place, the first first.
    #[must_use]
    pub fn queue(&self) -> Vec<Place> {
        let mut kept = Kept::default();
        let places = self.waiting.values().enumerate().map(|(in_front, waiting)| {
            let short = self.available(&waiting.tenant, &waiting.demand, &kept).err();
            let shortages = short.unwrap_or_default();
            self.keep(&mut kept, waiting, &shortages);
            Place { pod: waiting.pod, since: waiting.since, in_front, shortages }
        });
        places.collect()
    }
}
