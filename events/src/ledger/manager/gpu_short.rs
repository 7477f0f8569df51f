//! Why a claim of GPUs cannot be met: now, or ever.

use std::collections::BTreeMap;

use super::gpu::{GpuManager, GpuStanding};
use crate::ledger::capacity::GpuUuid;
use crate::ledger::claims::GpuClaim;
use crate::ledger::grant::{Bound, Shortage};
use crate::ledger::resource::ResourceKind;

/// Most GPUs, and most models of them, that one refusal names.
const NAMED_MAX: usize = 8;

/// Why a device will not do.
pub(super) enum Lacks {
    /// It is not free, or too small, or no share of it can be made of what is asked for.
    Whole,
    /// Of which it has too little, or enough and of the other too little.
    Part(Part),
}

/// What is asked for of a device, and what is free of it.
pub(super) struct Part {
    /// Compute that is asked for, in percent.
    pub(super) share: u64,
    /// Free compute, in percent.
    pub(super) free_share: u64,
    /// Memory that is asked for, in bytes.
    pub(super) memory: u64,
    /// Free memory, in bytes.
    pub(super) free_memory: u64,
}

impl GpuManager {
    /// The shortages of a claim that too few devices can meet: compute and memory if no device at all has enough of
    /// them, else devices.
    pub(super) fn shortages(
        &self,
        claim: &GpuClaim,
        offers: usize,
        lacks: &[Lacks],
        strict: bool,
    ) -> Vec<Shortage> {
        let suitable = self.suitable(claim, strict).count() as u64;
        let count = u64::from(claim.count);
        let of = |kind, asked, free, bound| Shortage { kind, asked, free, bound, holder: None };
        let devices = |bound| vec![of(ResourceKind::Gpus, count, offers as u64, bound)];
        if suitable < count {
            let mut found = self.never(claim, strict);
            // A name that is no GPU's says it all; so does a figure that none has, unless there are too few of any.
            let too_few = claim.uuids.is_empty() && (self.named(claim).count() as u64) < count;
            if suitable != 0 || too_few || found.is_empty() {
                found.extend(devices(Bound::Node { allocatable: suitable }));
            }
            return found;
        }
        let parts = || {
            lacks.iter().filter_map(|lack| match lack {
                Lacks::Part(part) => Some(part),
                Lacks::Whole => None,
            })
        };
        if claim.is_whole() || offers != 0 {
            return devices(Bound::Free);
        }
        let mut found = vec![];
        // Of TFLOPS each device is asked for another share: the one that is nearest to having its own is told of.
        let fullest = parts().max_by_key(|part| (part.share <= part.free_share, part.free_share));
        if let Some(part) = fullest.filter(|part| part.free_share < part.share) {
            found.push(of(ResourceKind::GpuShare, part.share, part.free_share, Bound::Device));
        }
        let fullest = parts().max_by_key(|part| (part.memory <= part.free_memory, part.free_memory));
        if let Some(part) = fullest.filter(|part| part.free_memory < part.memory) {
            found.push(of(ResourceKind::GpuMemory, part.memory, part.free_memory, Bound::Device));
        }
        // Each is there on some device, and both on none.
        if found.is_empty() { devices(Bound::Free) } else { found }
    }

    /// Why devices will not do though nobody had anything of them, as far as it can be said of what.
    fn never(&self, claim: &GpuClaim, strict: bool) -> Vec<Shortage> {
        let of = |kind, asked, free, bound| Shortage { kind, asked, free, bound, holder: None };
        let is_there = |uuid: &GpuUuid| self.devices.get(uuid).is_some_and(|standing| standing.present);
        let absent = claim.uuids.iter().filter(|uuid| !is_there(uuid)).take(NAMED_MAX);
        let unknown = absent.map(|uuid| Bound::UnknownGpu { uuid: uuid.clone() });
        let mut found: Vec<Shortage> = unknown.map(|bound| of(ResourceKind::Gpus, 1, 0, bound)).collect();
        let by_model = self.named(claim).filter_map(|standing| {
            let bound = claim.share_of(&standing.device).err()?;
            Some((standing.device.model.as_str(), bound))
        });
        let by_model: BTreeMap<&str, Bound> = by_model.collect();
        found.extend(
            by_model.into_values().take(NAMED_MAX).map(|bound| of(ResourceKind::GpuShare, 0, 0, bound)),
        );
        let given = |standing: &GpuStanding| {
            let memory = standing.device.memory.0;
            if claim.is_whole() { memory } else { self.memory.allocatable(memory, strict) }
        };
        let most = self.named(claim).map(given).max();
        if let (Some(asked), Some(most)) = (claim.memory, most)
            && most < asked.0
        {
            found.push(of(ResourceKind::GpuMemory, asked.0, most, Bound::LargestGpu { most }));
        }
        found
    }
}
