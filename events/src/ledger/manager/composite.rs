//! All managers together: a demand is met by all of them or by none, and nothing is ever summed over kinds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Conflict, CountedManager, CpuManager, GpuManager, NetworkManager, ResourceManager, Terms, Usage,
};
use crate::ledger::capacity::Capacity;
use crate::ledger::claims::Demand;
use crate::ledger::grant::{Bound, Grant, HolderId, Shortage};
use crate::ledger::kept::Kept;
use crate::ledger::policy::{LedgerPolicy, Limits, LimitsError};
use crate::ledger::resource::{CustomName, ResourceKind};

/// Every manager of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Managers {
    /// Processors.
    pub cpu: CpuManager,
    /// Memory.
    pub memory: CountedManager,
    /// Disk.
    pub disk: CountedManager,
    /// GPUs.
    pub gpu: GpuManager,
    /// Ports and subnets.
    pub network: NetworkManager,
    /// What the operator counts.
    pub custom: BTreeMap<CustomName, CountedManager>,
}

impl Default for Managers {
    fn default() -> Managers {
        Managers {
            cpu: CpuManager::default(),
            memory: CountedManager::new(ResourceKind::Memory),
            disk: CountedManager::new(ResourceKind::Disk),
            gpu: GpuManager::default(),
            network: NetworkManager::default(),
            custom: BTreeMap::new(),
        }
    }
}

impl Managers {
    /// Every manager, in the order in which they are shown.
    pub fn all(&self) -> impl Iterator<Item = &dyn ResourceManager> {
        let known: [&dyn ResourceManager; 5] =
            [&self.cpu, &self.memory, &self.disk, &self.gpu, &self.network];
        known.into_iter().chain(self.custom.values().map(|manager| manager as &dyn ResourceManager))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut dyn ResourceManager> {
        let known: [&mut dyn ResourceManager; 5] =
            [&mut self.cpu, &mut self.memory, &mut self.disk, &mut self.gpu, &mut self.network];
        known.into_iter().chain(self.custom.values_mut().map(|manager| manager as &mut dyn ResourceManager))
    }

    /// The manager of a kind, if there is one.
    #[must_use]
    pub fn of(&self, kind: &ResourceKind) -> Option<&dyn ResourceManager> {
        self.all().find(|manager| manager.kinds().contains(kind))
    }

    fn of_mut(&mut self, kind: &ResourceKind) -> Option<&mut dyn ResourceManager> {
        self.all_mut().find(|manager| manager.kinds().contains(kind))
    }

    /// What a demand would be given now.
    ///
    /// # Errors
    /// Every shortage.
    pub fn check_availability(&self, demand: &Demand, terms: &Terms<'_>) -> Result<Grant, Vec<Shortage>> {
        let (mut grant, mut short) = (Grant::default(), vec![]);
        for manager in self.all() {
            manager.check_availability(demand, terms, &mut grant, &mut short);
            let Some(reason) = manager.stopped() else { continue };
            let kinds = manager.kinds();
            let asked = demand.amounts();
            let wanted = kinds.iter().find(|kind| asked.get(kind) != 0);
            short.extend(wanted.map(|kind| Shortage {
                kind: kind.clone(),
                asked: asked.get(kind),
                free: 0,
                bound: Bound::Stopped { reason: reason.to_owned() },
                holder: None,
            }));
        }
        let unknown = demand.custom.keys().filter(|name| !self.custom.contains_key(*name));
        short.extend(unknown.map(|name| {
            let kind = ResourceKind::Custom(name.clone());
            let asked = demand.custom.get(name).copied().unwrap_or(0);
            Shortage { kind, asked, free: 0, bound: Bound::Node { allocatable: 0 }, holder: None }
        }));
        if short.is_empty() { Ok(grant) } else { Err(short) }
    }

    /// What of a demand can be had now, each manager for itself: what one of them is short of is left out.
    #[must_use]
    pub(in crate::ledger) fn as_far_as_there_is(&self, demand: &Demand, terms: &Terms<'_>) -> Grant {
        self.all().fold(Grant::default(), |had, manager| {
            let (mut with, mut short) = (had.clone(), vec![]);
            manager.check_availability(demand, terms, &mut with, &mut short);
            if short.is_empty() { with } else { had }
        })
    }

    /// Adds what a demand that must wait is to find later to what is kept from those behind it.
    pub(in crate::ledger) fn keep(&self, demand: &Demand, policy: &LedgerPolicy, kept: &mut Kept) {
        for manager in self.all() {
            manager.keep(demand, policy, kept);
        }
    }

    /// Gives what a grant says, by every manager or by none.
    ///
    /// # Errors
    /// One of them cannot; `self` may be changed then and is of no use any more.
    pub fn allocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict> {
        self.all_mut().try_for_each(|manager| manager.allocate(holder, grant))
    }

    /// Takes back what a grant says.
    ///
    /// # Errors
    /// As for [`Managers::allocate`].
    pub fn deallocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict> {
        self.all_mut().try_for_each(|manager| manager.deallocate(holder, grant))
    }

    /// How much there is of each kind and how much of it is given out.
    #[must_use]
    pub fn usage(&self, strict: bool) -> BTreeMap<ResourceKind, Usage> {
        self.all().flat_map(|manager| manager.usage(strict)).collect()
    }

    /// Takes notice of what the machine has now.
    pub fn set_capacity(&mut self, capacity: &Capacity, policy: &LedgerPolicy) {
        for name in capacity.custom.keys() {
            let kind = ResourceKind::Custom(name.clone());
            self.custom.entry(name.clone()).or_insert_with(|| CountedManager::new(kind));
        }
        for manager in self.all_mut() {
            manager.set_capacity(capacity);
        }
        self.forget_gone();
        self.set_limits(policy);
    }

    /// Puts the policy's limits in force, as far as the machine has what they speak of: a hard limit beyond it holds
    /// nothing back.
    pub fn set_limits(&mut self, policy: &LedgerPolicy) {
        for manager in self.all_mut() {
            for kind in manager.kinds() {
                let limits = policy.limits.get(&kind).copied().unwrap_or_default();
                if manager.update_limits(&kind, limits).is_err() {
                    let without_hard = Limits { hard: None, ..limits };
                    let anyhow = Limits { soft: None, ..without_hard };
                    // Pods and whole GPUs have none; everything else takes what was checked when it was set.
                    let _ = manager
                        .update_limits(&kind, without_hard)
                        .or_else(|_| manager.update_limits(&kind, anyhow));
                }
            }
        }
    }

    /// Whether limits could be put in force on this machine.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_limits(&self, kind: &ResourceKind, limits: Limits) -> Result<(), LimitsError> {
        limits.check(kind)?;
        let mut tried = self.clone();
        match tried.of_mut(kind) {
            Some(manager) => manager.update_limits(kind, limits),
            None => Ok(()),
        }
    }

    /// Stops a manager, or starts it again.
    pub fn set_stopped(&mut self, kind: &ResourceKind, reason: Option<String>) {
        if let Some(manager) = self.of_mut(kind) {
            manager.set_stopped(reason);
        }
    }

    /// What the node does not have any more is forgotten once nobody holds it. Not while something goes from one holder to
    /// another, which is taken back first and then given.
    pub(in crate::ledger) fn forget_gone(&mut self) {
        self.gpu.forget_gone();
        let is_used = |manager: &CountedManager| {
            manager.usage(false).iter().any(|(_, usage)| usage.capacity != 0 || usage.allocated != 0)
        };
        self.custom.retain(|_, manager| is_used(manager));
    }
}
