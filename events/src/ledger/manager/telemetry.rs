//! What is told of managers: how much is given out, how much of that is really used, and how they stand.

use std::collections::BTreeMap;

use super::{Health, Tally, Usage, percent_of};
use crate::ledger::capacity::GpuUuid;
use crate::ledger::policy::Limits;
use crate::ledger::resource::{Amounts, ResourceKind};

/// What was seen outside of the managers, as far as it was looked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What pods really use together, where that is measured.
    pub used_by_pods: BTreeMap<ResourceKind, u64>,
    /// What everything on the machine uses, where that is measured.
    pub used_by_machine: BTreeMap<ResourceKind, u64>,
    /// What of that which is given out is kept by reservations.
    pub reserved: Amounts,
    /// How many GPUs are on record.
    pub gpus: usize,
    /// Those of them that are of no use: which, and in what way.
    pub broken_gpus: BTreeMap<GpuUuid, String>,
}

/// What a manager tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerMetrics {
    /// How it stands.
    pub health: Health,
    /// What it has done since the journal's beginning.
    pub tally: Tally,
    /// Each of its resources.
    pub resources: Vec<ResourceMetrics>,
}

/// What a manager tells of one of its resources, in the resource's unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceMetrics {
    /// Which.
    pub kind: ResourceKind,
    /// How much there is and how much of it is given out, to pods and for reservations.
    pub usage: Usage,
    /// Its limits.
    pub limits: Limits,
    /// What reservations keep.
    pub reserved: u64,
    /// What pods really use, if that is known.
    pub used_by_pods: Option<u64>,
    /// What everything on the machine uses, if that is known.
    pub used_by_machine: Option<u64>,
    /// How much of what is free lies in pieces smaller than the largest, in percent, where that matters.
    pub fragmentation_percent: Option<u32>,
}

impl ResourceMetrics {
    /// What pods have.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.usage.allocated.saturating_sub(self.reserved)
    }

    /// What pods have, in percent of what the machine has; none of nothing.
    #[must_use]
    pub fn allocated_percent(&self) -> Option<u64> {
        percent_of(self.allocated(), self.usage.capacity)
    }

    /// What pods really use, in percent of what they have; none of nothing, or where it is not known.
    #[must_use]
    pub fn used_percent(&self) -> Option<u64> {
        percent_of(self.used_by_pods?, self.allocated())
    }
}

/// One figure of a manager, as it is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure<'a> {
    /// How the manager stands; told under the first of its resources.
    Health(&'a Health),
    /// What the machine has.
    Capacity(u64),
    /// What is given out at most.
    Allocatable(u64),
    /// What pods have.
    Allocated(u64),
    /// What reservations keep.
    Reserved(u64),
    /// What pods really use.
    Used(u64),
    /// What everything on the machine uses.
    UsedByMachine(u64),
    /// What pods have of what the machine has.
    AllocatedOfCapacity {
        /// What they have.
        part: u64,
        /// What there is; not 0.
        whole: u64,
    },
    /// What pods use of what they have.
    UsedOfAllocated {
        /// What they use.
        part: u64,
        /// What they have; not 0.
        whole: u64,
    },
    /// How much of what is free lies in pieces smaller than the largest, in percent.
    Fragmentation(u32),
}

impl ManagerMetrics {
    /// Every figure with the resource that it is of. What is not known is not told, and nor are parts of nothing.
    pub fn each<'a>(&'a self, mut tell: impl FnMut(&'a ResourceKind, Figure<'a>)) {
        if let Some(first) = self.resources.first() {
            tell(&first.kind, Figure::Health(&self.health));
        }
        for resource in &self.resources {
            let (kind, Usage { capacity, allocatable, .. }) = (&resource.kind, resource.usage);
            let allocated = resource.allocated();
            tell(kind, Figure::Capacity(capacity));
            tell(kind, Figure::Allocatable(allocatable));
            tell(kind, Figure::Allocated(allocated));
            tell(kind, Figure::Reserved(resource.reserved));
            if capacity != 0 {
                tell(kind, Figure::AllocatedOfCapacity { part: allocated, whole: capacity });
            }
            if let Some(used) = resource.used_by_pods {
                tell(kind, Figure::Used(used));
                if allocated != 0 {
                    tell(kind, Figure::UsedOfAllocated { part: used, whole: allocated });
                }
            }
            if let Some(used) = resource.used_by_machine {
                tell(kind, Figure::UsedByMachine(used));
            }
            if let Some(percent) = resource.fragmentation_percent {
                tell(kind, Figure::Fragmentation(percent));
            }
        }
    }
}
