//! GPUs: whole ones, or shares of their compute and memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::gpu_short::{Lacks, Part};
use super::{
    Conflict, Health, ManagerState, ResourceManager, Seen, Terms, Usage, conflict, percent_of, plus,
};
use crate::ledger::capacity::{Capacity, GpuDevice, GpuUuid};
use crate::ledger::claims::{Demand, GpuClaim};
use crate::ledger::grant::{GpuGrant, Grant, HolderId, Shortage};
use crate::ledger::kept::{Kept, KeptGpu};
use crate::ledger::policy::{GpuPlacement, LedgerPolicy, Limits, LimitsError, scaled};
use crate::ledger::resource::ResourceKind;
use crate::pairs;
use crate::units::Bytes;

/// All of a device's compute, in percent.
const WHOLE: u32 = 100;

/// Gives out GPUs. Limits hold for each device, and bound what is given out of it in shares: who has a device whole has
/// all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuManager {
    share: Limits,
    pub(super) memory: Limits,
    #[serde(with = "by_uuid")]
    pub(super) devices: BTreeMap<GpuUuid, Arc<GpuStanding>>,
    #[serde(flatten)]
    state: ManagerState,
}

/// What of one GPU is given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuStanding {
    /// The device.
    pub device: GpuDevice,
    /// Whether the machine has it now: holders keep what they have of one that is gone.
    pub present: bool,
    /// Who has what of it.
    #[serde(with = "pairs")]
    pub holders: RedBlackTreeMapSync<HolderId, GpuGrant>,
    /// The sum of the holders' shares.
    share: u64,
    /// The sum of the holders' memory.
    memory: u64,
}

impl GpuStanding {
    fn new(device: GpuDevice) -> GpuStanding {
        GpuStanding { device, present: true, holders: RedBlackTreeMapSync::new_sync(), share: 0, memory: 0 }
    }

    /// Percent of its compute that is given out.
    #[must_use]
    pub fn share(&self) -> u64 {
        self.share
    }

    /// Memory of it that is given out, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Whether one holder has all of it: he is the only one then.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.holders.values().next().is_some_and(|grant| grant.whole)
    }

    /// Percent of its compute that may be given out.
    fn most_share(&self, limits: Limits, strict: bool) -> u64 {
        if self.is_whole() { u64::from(WHOLE) } else { limits.allocatable(u64::from(WHOLE), strict) }
    }

    /// Memory of it that may be given out, in bytes.
    fn most_memory(&self, limits: Limits, strict: bool) -> u64 {
        let memory = self.device.memory.0;
        if self.is_whole() { memory } else { limits.allocatable(memory, strict) }
    }
}

impl GpuManager {
    /// Every device, given out or not.
    pub fn devices(&self) -> impl Iterator<Item = &GpuStanding> {
        self.devices.values().map(AsRef::as_ref)
    }

    fn present(&self) -> impl Iterator<Item = &GpuStanding> {
        self.devices().filter(|standing| standing.present)
    }

    /// Memory of the largest device, in bytes.
    fn largest(&self) -> u64 {
        self.present().map(|standing| standing.device.memory.0).max().unwrap_or(0)
    }

    /// What would be given of a device of which `kept` is kept for others, or what it lacks.
    fn offer(
        &self,
        standing: &GpuStanding,
        kept: KeptGpu,
        claim: &GpuClaim,
        strict: bool,
    ) -> Result<GpuGrant, Lacks> {
        let (uuid, memory) = (standing.device.uuid.clone(), standing.device.memory);
        let share = claim.share_of(&standing.device).map_err(|_| Lacks::Whole)?;
        let Some(share) = share else {
            let is_free = standing.holders.is_empty() && kept == KeptGpu::default();
            let is_large_enough = claim.memory.is_none_or(|asked| asked <= memory);
            let whole = GpuGrant { uuid, share: WHOLE, memory, whole: true };
            return if is_free && is_large_enough { Ok(whole) } else { Err(Lacks::Whole) };
        };
        let is_closed = standing.is_whole() || kept.whole;
        let free = |most: u64, held: u64| if is_closed { 0 } else { most.saturating_sub(held) };
        let held = (standing.share.saturating_add(kept.share), standing.memory.saturating_add(kept.memory));
        let free_share = free(standing.most_share(self.share, strict), held.0);
        let free_memory = free(standing.most_memory(self.memory, strict), held.1);
        let asked = claim.memory.unwrap_or(Bytes(scaled(memory.0, share)));
        if is_closed || free_share < u64::from(share) || free_memory < asked.0 {
            return Err(Lacks::Part(Part {
                share: u64::from(share),
                free_share,
                memory: asked.0,
                free_memory,
            }));
        }
        Ok(GpuGrant { uuid, share, memory: asked, whole: false })
    }

    /// The devices that would do for a claim if nobody had anything of them.
    pub(super) fn suitable<'a>(
        &'a self,
        claim: &'a GpuClaim,
        strict: bool,
    ) -> impl Iterator<Item = (&'a GpuStanding, GpuGrant)> {
        self.named(claim).filter_map(move |standing| {
            let empty = GpuStanding::new(standing.device.clone());
            let offer = self.offer(&empty, KeptGpu::default(), claim, strict).ok()?;
            Some((standing, offer))
        })
    }

    /// The least memory that a claim brings with it, in bytes: that of the smallest devices that would do.
    pub(in crate::ledger) fn least_memory(&self, claim: &GpuClaim, strict: bool) -> u64 {
        least(claim, self.suitable(claim, strict).map(|(_, offer)| offer.memory.0))
    }

    /// The least compute that TFLOPS bring with them, in percent: that on the devices on which they are the least.
    pub(in crate::ledger) fn least_share(&self, claim: &GpuClaim, strict: bool) -> u64 {
        least(claim, self.suitable(claim, strict).map(|(_, offer)| u64::from(offer.share)))
    }

    /// A device, if the ledger knows it.
    pub(in crate::ledger) fn device(&self, uuid: &GpuUuid) -> Option<&GpuDevice> {
        self.devices.get(uuid).map(|standing| &standing.device)
    }

    /// Whether pods get something of a device now: it is there, and takes pods.
    pub(in crate::ledger) fn is_given_out(&self, uuid: &GpuUuid) -> bool {
        self.devices.get(uuid).is_some_and(|standing| standing.present)
    }

    pub(super) fn named<'a>(&'a self, claim: &'a GpuClaim) -> impl Iterator<Item = &'a GpuStanding> {
        let is_named =
            |standing: &&GpuStanding| claim.uuids.is_empty() || claim.uuids.contains(&standing.device.uuid);
        self.present().filter(is_named)
    }

    fn order(&self, placement: GpuPlacement, standing: &GpuStanding) -> (u64, GpuUuid) {
        let free_memory = standing.device.memory.0.saturating_sub(standing.memory);
        let rank = match placement {
            GpuPlacement::Binpack => u64::MAX - standing.share,
            GpuPlacement::Spread => standing.share,
            GpuPlacement::MostFreeMemory => u64::MAX - free_memory,
            GpuPlacement::FewestNeighbours => standing.holders.size() as u64,
        };
        (rank, standing.device.uuid.clone())
    }

    /// The shortage of memory if more of it would be given out than can be counted.
    fn beyond_counting(&self, gpus: &[GpuGrant]) -> Option<Shortage> {
        let given = self.devices().map(GpuStanding::memory).fold(0, u64::saturating_add);
        let asked: u128 = gpus.iter().map(|gpu| u128::from(gpu.memory.0)).sum();
        let asked = u64::try_from(asked).unwrap_or(u64::MAX);
        super::shortage(&ResourceKind::GpuMemory, asked, u64::MAX - given, u64::MAX)
    }

    /// A device that the machine does not have any more is forgotten once nobody holds anything of it.
    pub(super) fn forget_gone(&mut self) {
        self.devices.retain(|_, standing| standing.present || !standing.holders.is_empty());
    }

    fn find(&mut self, holder: HolderId, grant: &GpuGrant) -> Result<&mut GpuStanding, Conflict> {
        let known = self.devices.get_mut(&grant.uuid).map(Arc::make_mut);
        known.ok_or_else(|| conflict(&ResourceKind::Gpus, holder, format!("there is no GPU {}", grant.uuid)))
    }
}

impl ResourceManager for GpuManager {
    fn kinds(&self) -> Vec<ResourceKind> {
        vec![ResourceKind::GpuShare, ResourceKind::GpuMemory, ResourceKind::Gpus]
    }

    fn check_availability(
        &self,
        demand: &Demand,
        terms: &Terms<'_>,
        grant: &mut Grant,
        short: &mut Vec<Shortage>,
    ) {
        let Some(claim) = &demand.gpu else { return };
        let strict = terms.policy.strict;
        let (mut offers, mut lacks) = (vec![], vec![]);
        for standing in self.named(claim) {
            // What somebody in front waits for is not taken from under his nose.
            let kept = terms.kept.gpus.get(&standing.device.uuid).copied().unwrap_or_default();
            match self.offer(standing, kept, claim, strict) {
                Ok(offer) => offers.push((self.order(terms.policy.gpu_placement, standing), offer)),
                Err(lack) => lacks.push(lack),
            }
        }
        let count = usize::try_from(claim.count).unwrap_or(usize::MAX);
        if offers.len() < count {
            short.extend(self.shortages(claim, offers.len(), &lacks, strict));
            return;
        }
        offers.sort_by(|(left, _), (right, _)| left.cmp(right));
        grant.gpus = offers.into_iter().take(count).map(|(_, offer)| offer).collect();
        short.extend(self.beyond_counting(&grant.gpus));
    }

    /// Of the devices that would do, those that are the least given out are kept: there is room on them first, and no
    /// later pod makes others of them.
    fn keep(&self, demand: &Demand, policy: &LedgerPolicy, kept: &mut Kept) {
        let Some(claim) = &demand.gpu else { return };
        let mut devices: Vec<_> = self.suitable(claim, policy.strict).collect();
        devices.sort_by_cached_key(|(standing, _)| {
            let uuid = standing.device.uuid.clone();
            let held = kept.gpus.get(&uuid).copied().unwrap_or_default();
            (held.whole || standing.is_whole(), standing.share.saturating_add(held.share), uuid)
        });
        let count = usize::try_from(claim.count).unwrap_or(usize::MAX);
        for (_, offer) in devices.into_iter().take(count) {
            let held = kept.gpus.entry(offer.uuid).or_default();
            held.share = held.share.saturating_add(u64::from(offer.share));
            held.memory = held.memory.saturating_add(offer.memory.0);
            held.whole |= offer.whole;
        }
    }

    fn allocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict> {
        for gpu in &grant.gpus {
            let standing = self.find(holder, gpu)?;
            let is_held = standing.holders.contains_key(&holder);
            if is_held || standing.is_whole() || (gpu.whole && !standing.holders.is_empty()) {
                let detail = format!("GPU {} is given out twice", gpu.uuid);
                return Err(conflict(&ResourceKind::Gpus, holder, detail));
            }
            plus(&ResourceKind::GpuMemory, holder, standing.memory, gpu.memory.0)?;
        }
        for gpu in &grant.gpus {
            let standing = self.find(holder, gpu)?;
            standing.holders.insert_mut(holder, gpu.clone());
            standing.share += u64::from(gpu.share);
            standing.memory += gpu.memory.0;
        }
        self.state.note_allocation(!grant.gpus.is_empty());
        Ok(())
    }

    fn deallocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict> {
        for gpu in &grant.gpus {
            let standing = self.find(holder, gpu)?;
            if standing.holders.get(&holder) != Some(gpu) {
                let detail = format!("GPU {} is not the holder's", gpu.uuid);
                return Err(conflict(&ResourceKind::Gpus, holder, detail));
            }
        }
        for gpu in &grant.gpus {
            let standing = self.find(holder, gpu)?;
            standing.holders.remove_mut(&holder);
            standing.share -= u64::from(gpu.share);
            standing.memory -= gpu.memory.0;
        }
        self.state.note_release(!grant.gpus.is_empty());
        Ok(())
    }

    fn usage(&self, strict: bool) -> Vec<(ResourceKind, Usage)> {
        let sum = |of: &dyn Fn(&GpuStanding) -> u64| self.present().map(of).fold(0, u64::saturating_add);
        let given = |of: &dyn Fn(&GpuStanding) -> u64| self.devices().map(of).fold(0, u64::saturating_add);
        let count = self.present().count() as u64;
        let memory = |standing: &GpuStanding| standing.device.memory.0;
        let share = Usage {
            capacity: count * u64::from(WHOLE),
            allocatable: sum(&|standing| standing.most_share(self.share, strict)),
            allocated: given(&GpuStanding::share),
        };
        let memory = Usage {
            capacity: sum(&memory),
            allocatable: sum(&|standing| standing.most_memory(self.memory, strict)),
            allocated: given(&GpuStanding::memory),
        };
        let whole = given(&|standing| u64::from(standing.is_whole()));
        let devices = Usage { capacity: count, allocatable: count, allocated: whole };
        vec![
            (ResourceKind::GpuShare, share),
            (ResourceKind::GpuMemory, memory),
            (ResourceKind::Gpus, devices),
        ]
    }

    fn set_capacity(&mut self, capacity: &Capacity) {
        for standing in self.devices.values_mut() {
            Arc::make_mut(standing).present = false;
        }
        for device in &capacity.gpus {
            let standing = self
                .devices
                .entry(device.uuid.clone())
                .or_insert_with(|| Arc::new(GpuStanding::new(device.clone())));
            let standing = Arc::make_mut(standing);
            (standing.device, standing.present) = (device.clone(), true);
        }
        self.forget_gone();
    }

    /// No device has the least share, or the least memory, of its compute and memory left.
    fn is_exhausted(&self, kind: &ResourceKind, terms: &Terms<'_>) -> bool {
        let share = if *kind == ResourceKind::GpuMemory { 0 } else { 1 };
        let claim = GpuClaim {
            count: 1,
            share: Some(share),
            memory: Some(Bytes(1 - u64::from(share))),
            uuids: [].into(),
            tflops: None,
        };
        let kept =
            |standing: &GpuStanding| terms.kept.gpus.get(&standing.device.uuid).copied().unwrap_or_default();
        !self.present().any(|it| self.offer(it, kept(it), &claim, terms.policy.strict).is_ok())
    }

    fn limits(&self, kind: &ResourceKind) -> Limits {
        if *kind == ResourceKind::GpuMemory { self.memory } else { self.share }
    }

    fn update_limits(&mut self, kind: &ResourceKind, limits: Limits) -> Result<(), LimitsError> {
        let is_memory = *kind == ResourceKind::GpuMemory;
        // Limits of GPUs hold for each device.
        limits.check_on(kind, if is_memory { self.largest() } else { u64::from(WHOLE) })?;
        *(if is_memory { &mut self.memory } else { &mut self.share }) = limits;
        Ok(())
    }

    fn state(&self) -> &ManagerState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut ManagerState {
        &mut self.state
    }

    /// A GPU that is busy all the time does what it is there for.
    fn worn(&self, _: &Seen) -> Option<u64> {
        None
    }

    /// GPUs that are of no use. It is worse if pods have something of one, or if none is left.
    fn trouble(&self, seen: &Seen, _: bool) -> Option<Health> {
        let broken = &seen.broken_gpus;
        let (first, how) = broken.first_key_value()?;
        let (count, verb) = (broken.len(), if broken.len() == 1 { "is" } else { "are" });
        let reason = format!("{count} of {} GPUs {verb} of no use: {first} {how}", seen.gpus);
        let is_held = |uuid: &GpuUuid| self.devices.get(uuid).is_some_and(|it| !it.holders.is_empty());
        let is_grave = seen.gpus <= broken.len() || broken.keys().any(is_held);
        Some(if is_grave { Health::Unhealthy(reason) } else { Health::Degraded(reason) })
    }

    /// Of the device of which most is given out.
    fn beyond_soft(&self, _: bool) -> Option<(ResourceKind, u64, u64)> {
        let most = |of: fn(&GpuStanding) -> u64| self.present().map(of).max().unwrap_or(0);
        let soft = self.share.soft_of(u64::from(WHOLE));
        let share = (ResourceKind::GpuShare, most(GpuStanding::share), soft);
        let soft = self.memory.soft_of(self.largest());
        let memory = (ResourceKind::GpuMemory, most(GpuStanding::memory), soft);
        [share, memory]
            .into_iter()
            .find_map(|(kind, most, soft)| soft.filter(|soft| *soft < most).map(|soft| (kind, most, soft)))
    }

    /// Free compute outside of the device that has most of it.
    fn fragmentation(&self, _: &ResourceKind) -> Option<u32> {
        let free = |standing: &GpuStanding| {
            if standing.is_whole() { 0 } else { u64::from(WHOLE).saturating_sub(standing.share) }
        };
        in_pieces(self.present().map(free))
    }
}

/// The least sum of as many amounts as a claim asks for devices.
fn least(claim: &GpuClaim, amounts: impl Iterator<Item = u64>) -> u64 {
    let mut amounts: Vec<u64> = amounts.collect();
    amounts.sort_unstable();
    let count = usize::try_from(claim.count).unwrap_or(usize::MAX);
    amounts.into_iter().take(count).fold(0, u64::saturating_add)
}

/// How much of a sum is outside of its largest part, in percent; none of nothing.
pub(super) fn in_pieces(parts: impl Iterator<Item = u64>) -> Option<u32> {
    let (sum, largest) = parts.fold((0_u64, 0), |(sum, largest), part| (sum + part, part.max(largest)));
    percent_of(sum - largest, sum).and_then(|percent| u32::try_from(percent).ok())
}

/// Devices as a list in snapshots: each says its name itself.
mod by_uuid {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{GpuStanding, GpuUuid};

    type Devices = BTreeMap<GpuUuid, Arc<GpuStanding>>;

    pub(super) fn serialize<S: Serializer>(devices: &Devices, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(devices.values().map(AsRef::as_ref))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Devices, D::Error> {
        let list = Vec::<GpuStanding>::deserialize(deserializer)?;
        Ok(list.into_iter().map(|standing| (standing.device.uuid.clone(), Arc::new(standing))).collect())
    }
}
