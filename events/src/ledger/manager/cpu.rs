//! Processors: shared by weight, or had alone.
//!
//! Who has processors alone takes them out of what the others share. The shared part is never made smaller than what was
//! given out of it, and the last processor is always shared: the system needs one.

use std::collections::BTreeMap;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{Book, Conflict, ManagerState, ResourceManager, Terms, Usage, conflict, minus, plus};
use crate::cpu::{Cpu, CpuSet, CpuTopology};
use crate::ledger::capacity::Capacity;
use crate::ledger::claims::Demand;
use crate::ledger::grant::{Grant, HolderId, Shortage};
use crate::ledger::kept::Kept;
use crate::ledger::policy::{CpuPlacement, LedgerPolicy, Limits, LimitsError, scaled};
use crate::ledger::resource::ResourceKind;
use crate::units::MilliCpu;

/// Thousandths of one core.
const CORE: u64 = 1_000;

/// Gives out processors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuManager {
    /// Capacity is all processors; allocated is the shared part and the others.
    book: Book,
    topology: Arc<CpuTopology>,
    alone: RedBlackTreeMapSync<u16, HolderId>,
    /// The processor that was given last to somebody who has it alone.
    last: Option<u16>,
    #[serde(flatten)]
    state: ManagerState,
}

impl CpuManager {
    /// The processors that nobody has alone.
    #[must_use]
    pub fn shared(&self) -> CpuSet {
        self.free_cpus().map(|cpu| cpu.id).collect()
    }

    /// Who has processors alone, by processor.
    pub fn alone(&self) -> impl Iterator<Item = (u16, HolderId)> {
        self.alone.iter().map(|(cpu, holder)| (*cpu, *holder))
    }

    fn free_cpus(&self) -> impl Iterator<Item = Cpu> {
        self.topology.cpus.iter().copied().filter(|cpu| !self.alone.contains_key(&cpu.id))
    }

    /// How many processors that the machine has now are had alone.
    fn alone_here(&self) -> u64 {
        let is_here = |cpu: &&u16| self.topology.cpus.binary_search_by_key(*cpu, |it| it.id).is_ok();
        self.alone.keys().filter(is_here).count() as u64
    }

    /// What is given out of the processors that are shared.
    fn given_shared(&self) -> u64 {
        self.book.allocated.saturating_sub(self.alone.size() as u64 * CORE)
    }

    /// What is used at all of what the machine has.
    fn used_at_all(&self) -> u64 {
        self.book.limits.hard.map_or(self.book.capacity, |hard| hard.min(self.book.capacity))
    }

    /// What may be given out of the shared part while `alone` processors are had alone: what these leave as often as
    /// the policy says, less what is kept for the system; none if they leave too little for that.
    fn most_shared(&self, alone: u64, strict: bool) -> Option<u64> {
        let left = self.used_at_all().checked_sub(alone.saturating_mul(CORE))?;
        let reserve = self.book.limits.reserve(self.book.capacity);
        let percent = if strict { 100 } else { self.book.limits.overcommit_percent };
        (reserve <= left).then(|| scaled(left, percent).saturating_sub(reserve))
    }

    /// What may be given out in all while `alone` processors are had alone.
    fn allocatable(&self, alone: u64, strict: bool) -> u64 {
        let all = || self.used_at_all().saturating_sub(self.book.limits.reserve(self.book.capacity));
        self.most_shared(alone, strict).map_or_else(all, |shared| shared.saturating_add(alone * CORE))
    }

    /// How many processors can be had alone of `spare` of them, while `taken` others are and `shared` is given out of
    /// the shared part.
    fn most_alone(&self, spare: u64, taken: u64, shared: u64, strict: bool) -> u64 {
        let fits = |more: &u64| self.most_shared(taken + more, strict).is_some_and(|most| shared <= most);
        // Each one more makes the shared part smaller, so what fits is all below some number.
        (1..=spare).take_while(fits).last().unwrap_or(0)
    }

    fn check_shared(&self, asked: u64, terms: &Terms<'_>) -> Option<Shortage> {
        let strict = terms.policy.strict;
        let most = self.most_shared(self.alone_here() + terms.kept.alone, strict).unwrap_or(0);
        let held = self.given_shared().saturating_add(terms.kept.amount(&ResourceKind::Cpu));
        // What others have alone may come back; more than the whole machine never will.
        super::shortage(&ResourceKind::Cpu, asked, most.saturating_sub(held), self.allocatable(0, strict))
    }

    fn check_alone(&self, count: u64, terms: &Terms<'_>) -> Option<Shortage> {
        let strict = terms.policy.strict;
        let (free, kept) = (self.free_cpus().count() as u64, terms.kept.alone);
        let shared = self.given_shared().saturating_add(terms.kept.amount(&ResourceKind::Cpu));
        let spare = free.saturating_sub(1).saturating_sub(kept);
        let most = self.most_alone(spare, self.alone_here() + kept, shared, strict);
        if count <= most {
            return None;
        }
        let ever = self.most_alone((self.topology.cpus.len() as u64).saturating_sub(1), 0, 0, strict);
        let (asked, ever) = (count.saturating_mul(CORE), ever * CORE);
        super::shortage(&ResourceKind::Cpu, asked, most * CORE, ever)
    }

    fn choose(&self, count: usize, placement: CpuPlacement) -> CpuSet {
        let free: Vec<Cpu> = self.free_cpus().collect();
        let first = |cpus: &[Cpu]| cpus.iter().take(count).map(|cpu| cpu.id).collect::<CpuSet>();
        match placement {
            CpuPlacement::FirstFit => first(&free),
            CpuPlacement::RoundRobin => {
                let after = |cpu: &Cpu| self.last.is_some_and(|last| cpu.id <= last);
                let mut turned = free;
                turned.sort_by_key(|cpu| (after(cpu), cpu.id));
                first(&turned)
            }
            CpuPlacement::BestFit => first(tightest(&free, count).as_deref().unwrap_or(&free)),
            CpuPlacement::AffinityAware => match tightest(&free, count) {
                Some(node) => first(&whole_cores_first(&node, count)),
                None => {
                    let mut by_node = free;
                    by_node.sort_by_key(|cpu| (cpu.node, cpu.package, cpu.core, cpu.id));
                    first(&by_node)
                }
            },
        }
    }
}

/// The free processors of the NUMA node that has the fewest of them and still enough.
fn tightest(free: &[Cpu], count: usize) -> Option<Vec<Cpu>> {
    let mut nodes: BTreeMap<u32, Vec<Cpu>> = BTreeMap::new();
    for cpu in free {
        nodes.entry(cpu.node).or_default().push(*cpu);
    }
    nodes.into_values().filter(|cpus| count <= cpus.len()).min_by_key(Vec::len)
}

/// Orders processors so that cores of which every thread is free come first, and a core that must be split comes last
/// among them: a neighbour on the same core slows both.
fn whole_cores_first(free: &[Cpu], count: usize) -> Vec<Cpu> {
    let mut cores: BTreeMap<(u32, u32), Vec<Cpu>> = BTreeMap::new();
    for cpu in free {
        cores.entry((cpu.package, cpu.core)).or_default().push(*cpu);
    }
    let threads = cores.values().map(Vec::len).max().unwrap_or(1);
    let (whole, parts): (Vec<_>, Vec<_>) = cores.into_values().partition(|cpus| cpus.len() == threads);
    let (needed, rest) = (count / threads, count % threads);
    let split_at = needed.min(whole.len());
    let (taken, spare) = whole.split_at(split_at);
    // What is left over is best taken from cores that are in pieces already.
    let pieces: Vec<Cpu> = parts.into_iter().flatten().collect();
    let pieces_first = rest <= pieces.len();
    let spare = spare.iter().flatten().copied();
    let mut ordered: Vec<Cpu> = taken.iter().flatten().copied().collect();
    if pieces_first {
        ordered.extend(pieces);
        ordered.extend(spare);
    } else {
        ordered.extend(spare);
        ordered.extend(pieces);
    }
    ordered
}

/// How many processors a demand wants alone, a part of one counting as one; none if it shares.
fn wants_alone(demand: &Demand) -> Option<u64> {
    (demand.exclusive_cpus && demand.cpu.0 != 0).then(|| demand.cpu.0.div_ceil(CORE))
}

impl ResourceManager for CpuManager {
    fn kinds(&self) -> Vec<ResourceKind> {
        vec![ResourceKind::Cpu]
    }

    fn check_availability(
        &self,
        demand: &Demand,
        terms: &Terms<'_>,
        grant: &mut Grant,
        short: &mut Vec<Shortage>,
    ) {
        grant.cpu = demand.cpu;
        let Some(count) = wants_alone(demand) else {
            short.extend(self.check_shared(demand.cpu.0, terms));
            return;
        };
        let too_few = self.check_alone(count, terms);
        if too_few.is_none() {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let cpus = self.choose(count, terms.policy.cpu_placement);
            grant.cpu = MilliCpu(cpus.len() as u64 * CORE);
            grant.cpus = Some(cpus);
        }
        short.extend(too_few);
    }

    fn keep(&self, demand: &Demand, _: &LedgerPolicy, kept: &mut Kept) {
        match wants_alone(demand) {
            Some(count) => kept.alone = kept.alone.saturating_add(count),
            None => kept.more(&ResourceKind::Cpu, demand.cpu.0),
        }
    }

    fn allocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict> {
        let kind = ResourceKind::Cpu;
        let cpus = grant.cpus.as_ref();
        let taken = cpus.and_then(|cpus| cpus.iter().find(|cpu| self.alone.contains_key(cpu)));
        if let Some(cpu) = taken {
            return Err(conflict(&kind, holder, format!("processor {cpu} is given out twice")));
        }
        self.book.allocated = plus(&kind, holder, self.book.allocated, grant.cpu.0)?;
        if let Some(cpus) = cpus {
            for cpu in cpus.iter() {
                self.alone.insert_mut(cpu, holder);
            }
            self.last = cpus.iter().last().or(self.last);
        }
        self.state.note_allocation(grant.cpu != MilliCpu(0));
        Ok(())
    }

    fn deallocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict> {
        let kind = ResourceKind::Cpu;
        let cpus = grant.cpus.as_ref();
        let foreign = cpus.and_then(|cpus| cpus.iter().find(|cpu| self.alone.get(cpu) != Some(&holder)));
        if let Some(cpu) = foreign {
            return Err(conflict(&kind, holder, format!("processor {cpu} is not the holder's")));
        }
        self.book.allocated = minus(&kind, holder, self.book.allocated, grant.cpu.0)?;
        for cpu in cpus.into_iter().flat_map(CpuSet::iter) {
            self.alone.remove_mut(&cpu);
        }
        self.state.note_release(grant.cpu != MilliCpu(0));
        Ok(())
    }

    fn usage(&self, strict: bool) -> Vec<(ResourceKind, Usage)> {
        let allocatable = self.allocatable(self.alone_here(), strict);
        let (capacity, allocated) = (self.book.capacity, self.book.allocated);
        vec![(ResourceKind::Cpu, Usage { capacity, allocatable, allocated })]
    }

    fn set_capacity(&mut self, capacity: &Capacity) {
        self.topology = Arc::new(capacity.cpus.clone());
        self.book.capacity = self.topology.cpus.len() as u64 * CORE;
    }

    fn is_exhausted(&self, _: &ResourceKind, terms: &Terms<'_>) -> bool {
        self.check_shared(1, terms).is_some() && self.check_alone(1, terms).is_some()
    }

    fn limits(&self, _: &ResourceKind) -> Limits {
        self.book.limits
    }

    fn update_limits(&mut self, kind: &ResourceKind, limits: Limits) -> Result<(), LimitsError> {
        self.book.update_limits(kind, limits)
    }

    fn state(&self) -> &ManagerState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut ManagerState {
        &mut self.state
    }

    /// Free processors outside of the NUMA node that has most of them.
    fn fragmentation(&self, _: &ResourceKind) -> Option<u32> {
        let mut nodes: BTreeMap<u32, u64> = BTreeMap::new();
        for cpu in self.free_cpus() {
            *nodes.entry(cpu.node).or_default() += 1;
        }
        super::gpu::in_pieces(nodes.into_values())
    }
}
