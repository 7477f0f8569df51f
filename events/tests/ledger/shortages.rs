//! What the reference finds that a demand is short of, written as the rules read.

use std::collections::BTreeSet;

use purser_events::CpuSet;
use purser_events::ledger::policy::GpuPlacement;
use purser_events::ledger::{
    Bound, Demand, GpuClaim, GpuDevice, GpuUuid, HolderId, Port, ResourceKind, Shortage, TenantId,
};
use purser_events::pod::spec::Protocol;

use super::reference::{Reference, Waiter, amount, asked, manager_of};

/// Those in front for whom something is kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Front {
    /// For whom room is kept on the node.
    room: Vec<Demand>,
    /// For whom some of a quota is kept.
    quotas: Vec<(TenantId, Demand)>,
    /// What is kept of GPUs: compute, memory, and whether all of it.
    gpus: Vec<(GpuUuid, u64, u64, bool)>,
}

const CORE: i128 = 1_000;

fn shortage(kind: ResourceKind, asked: u64, free: u64, bound: Bound) -> Shortage {
    Shortage { kind, asked, free, bound, holder: None }
}

fn wide(amount: u64) -> i128 {
    i128::from(amount)
}

/// Of an exact figure what a u64 can hold, from 0.
fn narrow(exact: i128) -> u64 {
    u64::try_from(exact.max(0)).unwrap_or(u64::MAX)
}

/// How many processors a demand wants alone.
pub(crate) fn wants_alone(demand: &Demand) -> u64 {
    if demand.exclusive_cpus { demand.cpu.0.div_ceil(1_000) } else { 0 }
}

impl Reference {
    /// What is given out at most of so much.
    pub(crate) fn most(&self, kind: &ResourceKind, there: u64) -> u64 {
        let limits = self.limits(kind);
        let percent = if self.policy.strict { 100 } else { limits.overcommit_percent };
        let usable = limits.hard.unwrap_or(there).min(there);
        let out = (wide(usable) * i128::from(percent) / 100).min(wide(u64::MAX));
        narrow(out - wide(there) * i128::from(limits.reserve_percent) / 100)
    }

    /// What there is of a kind that is only counted.
    pub(crate) fn there(&self, kind: &ResourceKind) -> u64 {
        match kind {
            ResourceKind::Memory => self.capacity.memory.0,
            ResourceKind::Disk => self.capacity.disk.0,
            ResourceKind::Ports => u64::from(self.capacity.ports.last - self.capacity.ports.first) + 1,
            ResourceKind::Subnets => u64::from(self.capacity.subnets.count),
            ResourceKind::Custom(name) => self.capacity.custom.get(name).copied().unwrap_or(0),
            _ => 0,
        }
    }

    /// Every shortage of a demand while something is kept for those in front.
    pub(crate) fn shortages(&self, tenant: &TenantId, demand: &Demand, front: &Front) -> Vec<Shortage> {
        let mut found = self.counted(demand, front);
        found.extend(self.cpu_shortage(demand, front));
        let chosen = match &demand.gpu {
            None => Ok(vec![]),
            Some(claim) => self.choose(claim, front),
        };
        found.extend(self.ports(demand, front));
        found.extend(self.stops(demand));
        let gpu_memory = match chosen {
            Ok(chosen) => Some(chosen.into_iter().map(|(_, memory)| memory).sum()),
            Err(short) => {
                found.extend(short);
                None
            }
        };
        // What a share brings with it is known if all of it can be had.
        let memory = gpu_memory.filter(|_| found.is_empty());
        let mut all = self.tenants_say(tenant, demand, memory, front);
        all.extend(found);
        all
    }

    fn counted(&self, demand: &Demand, front: &Front) -> Vec<Shortage> {
        let custom = demand.custom.keys().map(|name| ResourceKind::Custom(name.clone()));
        let kinds =
            [ResourceKind::Memory, ResourceKind::Disk, ResourceKind::Subnets].into_iter().chain(custom);
        let mut found = vec![];
        for kind in kinds {
            let most = self.most(&kind, self.there(&kind));
            let in_range = |index: u32| kind != ResourceKind::Subnets || index < self.capacity.subnets.count;
            let held = self.grants().filter(|(_, grant)| grant.subnet.is_none_or(in_range));
            let held: i128 = held.map(|(_, grant)| wide(amount(grant, &kind))).sum();
            let kept: i128 = front.room.iter().map(|demand| wide(asked(demand, &kind))).sum();
            let (wanted, free) = (asked(demand, &kind), narrow((wide(most) - held).max(0) - kept));
            if free < wanted {
                let bound = if most < wanted { Bound::Node { allocatable: most } } else { Bound::Free };
                found.push(shortage(kind, wanted, free, bound));
            }
        }
        found
    }

    /// Processors that holders have alone, and whether the machine has them.
    pub(crate) fn alone(&self) -> Vec<(u16, bool)> {
        let of = self.grants().filter_map(|(_, grant)| grant.cpus.as_ref()).flat_map(CpuSet::iter);
        of.map(|cpu| (cpu, self.capacity.cpus.cpus.iter().any(|it| it.id == cpu))).collect()
    }

    /// What may be given out of the shared part while so many are had alone.
    pub(crate) fn most_shared(&self, alone: i128) -> Option<i128> {
        let limits = self.limits(&ResourceKind::Cpu);
        let total = self.capacity.cpus.cpus.len() as i128 * CORE;
        let percent = if self.policy.strict { 100 } else { limits.overcommit_percent };
        let left = total.min(limits.hard.map_or(total, wide)) - alone * CORE;
        let reserve = total * i128::from(limits.reserve_percent) / 100;
        (left >= reserve && left >= 0).then_some(left * i128::from(percent) / 100 - reserve)
    }

    /// What is given out of the processors that are shared.
    pub(crate) fn given_shared(&self) -> i128 {
        self.grants().filter(|(_, grant)| grant.cpus.is_none()).map(|(_, grant)| wide(grant.cpu.0)).sum()
    }

    fn cpu_shortage(&self, demand: &Demand, front: &Front) -> Option<Shortage> {
        let kept_alone: i128 = front.room.iter().map(|demand| wide(wants_alone(demand))).sum();
        let sharing = front.room.iter().filter(|demand| !demand.exclusive_cpus);
        let shared = self.given_shared() + sharing.map(|demand| wide(demand.cpu.0)).sum::<i128>();
        let alone = self.alone().into_iter().filter(|(_, here)| *here).count() as i128 + kept_alone;
        let count = self.capacity.cpus.cpus.len() as i128;
        let of = |asked: u64, free: i128, ever: i128| {
            let (free, ever) = (narrow(free), narrow(ever));
            let bound = if ever < asked { Bound::Node { allocatable: ever } } else { Bound::Free };
            (free < asked).then(|| shortage(ResourceKind::Cpu, asked, free, bound))
        };
        let wanted = wants_alone(demand);
        if wanted == 0 {
            return of(
                demand.cpu.0,
                self.most_shared(alone).unwrap_or(0) - shared,
                self.most_shared(0).unwrap_or(0),
            );
        }
        let fits = |alone: i128, shared: i128| self.most_shared(alone).is_some_and(|most| most >= shared);
        let most = |taken: i128, shared: i128| {
            // One processor stays for the others.
            (1..count - taken).take_while(|more| fits(taken + more, shared)).last().unwrap_or(0)
        };
        of(wanted.saturating_mul(1_000), most(alone, shared) * CORE, most(0, 0) * CORE)
    }

    /// What is given out of a GPU: compute, memory, whether all of it, and to how many.
    pub(crate) fn given_of(&self, uuid: &GpuUuid) -> (u64, u64, bool, usize) {
        let all: Vec<_> =
            self.grants().flat_map(|(_, grant)| &grant.gpus).filter(|gpu| gpu.uuid == *uuid).collect();
        let share = all.iter().map(|gpu| u64::from(gpu.share)).sum();
        let memory = all.iter().map(|gpu| gpu.memory.0).sum();
        (share, memory, all.iter().any(|gpu| gpu.whole), all.len())
    }

    /// What a claim takes of a device's memory.
    fn memory_of(claim: &GpuClaim, device: &GpuDevice) -> u64 {
        match (claim.share, claim.memory) {
            (None, _) => device.memory.0,
            (Some(_), Some(memory)) => memory.0,
            (Some(share), None) => narrow(wide(device.memory.0) * i128::from(share) / 100),
        }
    }

    /// Free compute and memory of a device for shares.
    fn free_of(&self, device: &GpuDevice, held: (u64, u64, bool)) -> (u64, u64) {
        if held.2 {
            return (0, 0);
        }
        let share = self.most(&ResourceKind::GpuShare, 100);
        let memory = self.most(&ResourceKind::GpuMemory, device.memory.0);
        (narrow(wide(share) - wide(held.0)), narrow(wide(memory) - wide(held.1)))
    }

    fn will_do(&self, claim: &GpuClaim, device: &GpuDevice, held: (u64, u64, bool), holders: usize) -> bool {
        match claim.share {
            None => {
                let empty = holders == 0 && held == (0, 0, false);
                empty && claim.memory.is_none_or(|memory| memory <= device.memory)
            }
            Some(share) => {
                let (free, memory) = self.free_of(device, held);
                !held.2 && u64::from(share) <= free && Self::memory_of(claim, device) <= memory
            }
        }
    }

    fn named<'a>(&'a self, claim: &'a GpuClaim) -> impl Iterator<Item = &'a GpuDevice> {
        self.capacity.gpus.iter().filter(|it| claim.uuids.is_empty() || claim.uuids.contains(&it.uuid))
    }

    /// What is given out of a device and kept of it.
    fn taken_of(&self, device: &GpuDevice, front: &Front) -> ((u64, u64, bool), usize) {
        let (mut share, mut memory, mut whole, mut holders) = self.given_of(&device.uuid);
        for (_, more, more_memory, all) in front.gpus.iter().filter(|(uuid, ..)| *uuid == device.uuid) {
            (share, memory, whole) = (share + more, memory.saturating_add(*more_memory), whole || *all);
            holders += usize::from(*more != 0 || *more_memory != 0 || *all);
        }
        ((share, memory, whole), holders)
    }

    /// The devices for a claim and how much memory of each, or what is short.
    pub(crate) fn choose(
        &self,
        claim: &GpuClaim,
        front: &Front,
    ) -> Result<Vec<(GpuUuid, u64)>, Vec<Shortage>> {
        let mut offers = vec![];
        let mut parts = vec![];
        for device in self.named(claim) {
            let (taken, holders) = self.taken_of(device, front);
            if self.will_do(claim, device, taken, holders) {
                let (share, memory, _, holders) = self.given_of(&device.uuid);
                let free = narrow(wide(device.memory.0) - wide(memory));
                let key = match self.policy.gpu_placement {
                    GpuPlacement::Binpack => -wide(share),
                    GpuPlacement::Spread => wide(share),
                    GpuPlacement::MostFreeMemory => -wide(free),
                    GpuPlacement::FewestNeighbours => holders as i128,
                };
                offers.push((key, device.uuid.clone(), Self::memory_of(claim, device)));
            } else {
                let (share, memory) = self.free_of(device, taken);
                parts.push((share, Self::memory_of(claim, device), memory));
            }
        }
        let count = u64::from(claim.count);
        let had = offers.len() as u64;
        if had >= count {
            offers.sort();
            let first = offers.into_iter().take(usize::try_from(count).expect("a small number"));
            return Ok(first.map(|(_, uuid, memory)| (uuid, memory)).collect());
        }
        let suitable =
            self.named(claim).filter(|device| self.will_do(claim, device, (0, 0, false), 0)).count() as u64;
        if suitable < count {
            let mut short = self.never(claim);
            let too_few = claim.uuids.is_empty() && (self.capacity.gpus.len() as u64) < count;
            if suitable != 0 || too_few || short.is_empty() {
                let bound = Bound::Node { allocatable: suitable };
                short.push(shortage(ResourceKind::Gpus, count, had, bound));
            }
            return Err(short);
        }
        let mut short = vec![];
        if let (Some(share), 0) = (claim.share, had) {
            let most = parts.iter().map(|(free, ..)| *free).max().unwrap_or(0);
            if most < u64::from(share) {
                short.push(shortage(ResourceKind::GpuShare, u64::from(share), most, Bound::Device));
            }
            if parts.iter().all(|(_, asked, free)| free < asked) {
                let most = parts.iter().max_by_key(|(.., free)| *free);
                short.extend(
                    most.map(|(_, asked, free)| {
                        shortage(ResourceKind::GpuMemory, *asked, *free, Bound::Device)
                    }),
                );
            }
        }
        if short.is_empty() {
            short.push(shortage(ResourceKind::Gpus, count, had, Bound::Free));
        }
        Err(short)
    }

    /// Names that are no GPU's, and memory that no GPU has.
    fn never(&self, claim: &GpuClaim) -> Vec<Shortage> {
        let is_there = |uuid: &GpuUuid| self.capacity.gpus.iter().any(|device| device.uuid == *uuid);
        let absent = claim.uuids.iter().filter(|uuid| !is_there(uuid));
        let unknown = absent.map(|uuid| Bound::UnknownGpu { uuid: uuid.clone() });
        let mut short: Vec<_> = unknown.map(|bound| shortage(ResourceKind::Gpus, 1, 0, bound)).collect();
        let gives = |device: &GpuDevice| match claim.share {
            None => device.memory.0,
            Some(_) => self.most(&ResourceKind::GpuMemory, device.memory.0),
        };
        let largest = self.named(claim).map(gives).max();
        let beyond = claim.memory.zip(largest).filter(|(asked, most)| *most < asked.0);
        short.extend(beyond.map(|(asked, most)| {
            shortage(ResourceKind::GpuMemory, asked.0, most, Bound::LargestGpu { most })
        }));
        short
    }

    /// Who has a port.
    pub(crate) fn holder_of(&self, port: Port) -> Option<HolderId> {
        let has = |id: &(HolderId, &purser_events::ledger::Grant)| {
            id.1.fixed_ports.contains(&port) || id.1.ports.contains(&port.number)
        };
        self.grants().find(has).map(|(id, _)| id)
    }

    pub(crate) fn in_range(&self, number: u16) -> bool {
        self.capacity.ports.first <= number && number <= self.capacity.ports.last
    }

    /// How many numbers of the range a demand takes.
    fn numbers(&self, demand: &Demand) -> u64 {
        let fixed: BTreeSet<u16> = demand.fixed_ports.iter().map(|port| port.number).collect();
        fixed.into_iter().filter(|number| self.in_range(*number)).count() as u64 + u64::from(demand.ports)
    }

    /// Numbers of the range that are given out.
    pub(crate) fn numbers_held(&self) -> BTreeSet<u16> {
        let of = self.grants().flat_map(|(_, grant)| {
            grant.fixed_ports.iter().map(|port| port.number).chain(grant.ports.iter().copied())
        });
        of.filter(|number| self.in_range(*number)).collect()
    }

    fn ports(&self, demand: &Demand, front: &Front) -> Vec<Shortage> {
        let mut found = vec![];
        let kept: BTreeSet<Port> = front.room.iter().flat_map(|demand| demand.fixed_ports.clone()).collect();
        for port in &demand.fixed_ports {
            let holder = self.holder_of(*port);
            if holder.is_some() || kept.contains(port) || self.foreign.contains(port) {
                let (kind, bound) = (ResourceKind::Ports, Bound::Port(*port));
                found.push(Shortage { kind, asked: 1, free: 0, bound, holder });
            }
        }
        let wanted = self.numbers(demand);
        let most = self.most(&ResourceKind::Ports, self.there(&ResourceKind::Ports));
        let promised: u64 = front.room.iter().map(|demand| self.numbers(demand)).sum();
        let left = narrow((wide(most) - self.numbers_held().len() as i128).max(0) - wide(promised));
        let is_free = |number: &u16| {
            [Protocol::Tcp, Protocol::Udp].iter().all(|protocol| {
                let port = Port { number: *number, protocol: *protocol };
                let is_named = kept.contains(&port) || demand.fixed_ports.contains(&port);
                self.holder_of(port).is_none() && !self.foreign.contains(&port) && !is_named
            })
        };
        let numbers = self.capacity.ports.first..=self.capacity.ports.last;
        let free = numbers.filter(is_free).count().min(usize::from(demand.ports)) as u64;
        let free = left.min(wanted - u64::from(demand.ports) + free);
        if free < wanted {
            let bound = if most < wanted { Bound::Node { allocatable: most } } else { Bound::Free };
            found.push(shortage(ResourceKind::Ports, wanted, free, bound));
        }
        found
    }

    fn stops(&self, demand: &Demand) -> Vec<Shortage> {
        let mut found = vec![];
        let order =
            [ResourceKind::GpuShare, ResourceKind::GpuMemory, ResourceKind::Gpus, ResourceKind::Ports];
        let others = [ResourceKind::Subnets, ResourceKind::Cpu, ResourceKind::Memory, ResourceKind::Disk];
        let custom = demand.custom.keys().map(|name| ResourceKind::Custom(name.clone()));
        let kinds: Vec<_> = order.into_iter().chain(others).chain(custom).collect();
        for (manager, reason) in &self.stopped {
            let first = kinds.iter().find(|kind| manager_of(kind) == *manager && asked(demand, kind) != 0);
            found.extend(first.map(|kind| {
                shortage(kind.clone(), asked(demand, kind), 0, Bound::Stopped { reason: reason.clone() })
            }));
        }
        found
    }

    /// What a demand takes of a kind at least: the memory of the smallest GPUs that will do.
    fn least(&self, demand: &Demand, kind: &ResourceKind) -> u64 {
        let (Some(claim), ResourceKind::GpuMemory) = (&demand.gpu, kind) else { return asked(demand, kind) };
        let suits = |device: &&GpuDevice| self.will_do(claim, device, (0, 0, false), 0);
        let mut sizes: Vec<u64> =
            self.named(claim).filter(suits).map(|it| Self::memory_of(claim, it)).collect();
        sizes.sort_unstable();
        sizes.iter().take(usize::try_from(claim.count).expect("a small number")).sum()
    }

    /// What the tenant's bounds, and the node's strictness, say.
    fn tenants_say(
        &self,
        tenant: &TenantId,
        demand: &Demand,
        gpu_memory: Option<u64>,
        front: &Front,
    ) -> Vec<Shortage> {
        let wanted = |kind: &ResourceKind| match (kind, gpu_memory) {
            (ResourceKind::GpuMemory, Some(memory)) => memory,
            // Of processors that are had alone a part of one is one.
            (ResourceKind::Cpu, Some(_)) if demand.exclusive_cpus => wants_alone(demand) * 1_000,
            (kind, _) => self.least(demand, kind),
        };
        let mut found = vec![];
        for (kind, most) in self.tenant(tenant).into_iter().flat_map(|bounds| bounds.pod_max.iter()) {
            if *kind != ResourceKind::Pods && most < wanted(kind) {
                let bound = Bound::PodMax { tenant: tenant.clone(), most };
                found.push(shortage(kind.clone(), wanted(kind), most, bound));
            }
        }
        for kind in [ResourceKind::Cpu, ResourceKind::Memory] {
            if self.policy.strict && asked(demand, &kind) == 0 {
                found.push(shortage(kind, 0, 0, Bound::Unstated));
            }
        }
        for (kind, most) in self.quota(tenant).iter() {
            let of = front.quotas.iter().filter(|(other, _)| other == tenant);
            let kept: i128 = of.map(|(_, demand)| wide(self.least(demand, kind))).sum();
            let free = narrow((wide(most) - wide(self.used(tenant, kind))).max(0) - kept);
            if free < wanted(kind) {
                let bound = Bound::Quota { tenant: tenant.clone(), most };
                found.push(shortage(kind.clone(), wanted(kind), free, bound));
            }
        }
        found
    }

    /// Adds one who waits, short of these, to those for whom something is kept.
    pub(crate) fn keep(&self, front: &mut Front, waiter: &Waiter, short: &[Shortage]) {
        let passes = |it: &Shortage| match &it.bound {
            Bound::Free | Bound::Port(_) | Bound::Device => true,
            Bound::Quota { most, .. } => it.asked <= *most,
            Bound::Node { .. }
            | Bound::PodMax { .. }
            | Bound::Stopped { .. }
            | Bound::Unstated
            | Bound::Reservation
            | Bound::UnknownGpu { .. }
            | Bound::LargestGpu { .. }
            | Bound::UnknownModel { .. }
            | Bound::BeyondModel { .. }
            | Bound::BelowOnePercent { .. } => false,
        };
        if !short.iter().all(passes) {
            return;
        }
        front.quotas.push((waiter.tenant.clone(), waiter.demand.clone()));
        if short.iter().any(|it| matches!(it.bound, Bound::Quota { .. })) {
            return;
        }
        front.room.push(waiter.demand.clone());
        let Some(claim) = &waiter.demand.gpu else { return };
        let suits = |device: &&GpuDevice| self.will_do(claim, device, (0, 0, false), 0);
        let mut devices: Vec<_> = self.named(claim).filter(suits).collect();
        devices.sort_by_key(|device| {
            let ((share, _, whole), _) = self.taken_of(device, front);
            (whole, share, device.uuid.clone())
        });
        for device in devices.into_iter().take(usize::try_from(claim.count).expect("a small number")) {
            let share = claim.share.map_or(100, u64::from);
            let memory = Self::memory_of(claim, device);
            front.gpus.push((device.uuid.clone(), share, memory, claim.share.is_none()));
        }
    }

    /// What is kept for all who are in front of a pod with this priority, or of one that waits.
    pub(crate) fn front_of(&self, is_behind: impl Fn(&Waiter) -> bool) -> Front {
        let mut front = Front::default();
        for waiter in self.queue() {
            if is_behind(waiter) {
                break;
            }
            let short = self.shortages(&waiter.tenant, &waiter.demand, &front);
            self.keep(&mut front, waiter, &short);
        }
        front
    }
}
