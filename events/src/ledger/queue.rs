//! The queue: who waits, behind how many, and for what; and when there is nothing left for anybody further back.

use serde::{Deserialize, Serialize};

use super::claims::Demand;
use super::grant::{Grant, Shortage};
use super::kept::Kept;
use super::manager::Terms;
use super::resource::ResourceKind;
use super::state::{Ledger, Rank};
use super::tenant::TenantId;
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

/// The resources that nearly every pod asks for. Once one of them is used up, a queue in which everybody asks for it need
/// not be looked through to its end.
const COMMON: [ResourceKind; 4] =
    [ResourceKind::Cpu, ResourceKind::Memory, ResourceKind::Disk, ResourceKind::GpuShare];

/// How many of those who wait ask for some of each common resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asking {
    cpu: u64,
    memory: u64,
    disk: u64,
    gpu: u64,
}

impl Asking {
    /// The numbers with one who waits more.
    pub(super) fn with(self, demand: &Demand) -> Asking {
        self.changed(demand, u64::saturating_add)
    }

    /// The numbers with one who waits less.
    pub(super) fn without(self, demand: &Demand) -> Asking {
        self.changed(demand, u64::saturating_sub)
    }

    fn changed(self, demand: &Demand, change: fn(u64, u64) -> u64) -> Asking {
        let Asking { cpu, memory, disk, gpu } = self;
        Asking {
            cpu: change(cpu, u64::from(demand.cpu.0 != 0)),
            memory: change(memory, u64::from(demand.memory.0 != 0)),
            disk: change(disk, u64::from(demand.disk.0 != 0)),
            gpu: change(gpu, gpus(demand)),
        }
    }

    /// In the order of [`COMMON`].
    fn numbers(self) -> [u64; 4] {
        [self.cpu, self.memory, self.disk, self.gpu]
    }
}

/// 1 if a demand is about GPUs, whole ones or parts, else 0.
fn gpus(demand: &Demand) -> u64 {
    demand.gpu.as_ref().map_or(0, |claim| u64::from(claim.count != 0))
}

impl Ledger {
    /// Whether there is nothing for anybody who waits, while `kept` is kept for others.
    pub(super) fn has_nothing_left(&self, kept: &Kept) -> bool {
        let all = self.waiting.size() as u64;
        let everybody_asks = COMMON.iter().zip(self.asking.numbers()).filter(|(_, asking)| *asking == all);
        self.is_any_exhausted(everybody_asks.map(|(kind, _)| kind), kept)
    }

    fn is_any_exhausted<'a>(&self, mut kinds: impl Iterator<Item = &'a ResourceKind>, kept: &Kept) -> bool {
        let terms = Terms { policy: &self.policy, kept };
        kinds.any(|kind| self.managers.of(kind).is_some_and(|manager| manager.is_exhausted(kind, &terms)))
    }

    /// What a pod would be given at a place in the queue.
    ///
    /// # Errors
    /// What it is short of. If the queue in front leaves nothing of what it needs, that is told without going on: what it is
    /// short of besides, because of others in front, is not all in it then.
    pub(super) fn available_at(
        &self,
        rank: Rank,
        tenant: &TenantId,
        demand: &Demand,
    ) -> Result<Grant, Vec<Shortage>> {
        let asked = [demand.cpu.0, demand.memory.0, demand.disk.0, gpus(demand)];
        let wanted = || COMMON.iter().zip(asked).filter(|(_, asked)| *asked != 0).map(|(kind, _)| kind);
        let mut kept = Kept::default();
        for (_, waiting) in self.waiting.range(..rank) {
            if self.is_any_exhausted(wanted(), &kept) {
                break;
            }
            self.keep_for(&mut kept, waiting);
        }
        self.available(tenant, demand, &kept)
    }

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
