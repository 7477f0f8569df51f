//! What is counted and no more: memory, disk, and what the operator counts.

use serde::{Deserialize, Serialize};

use super::{Book, Conflict, ManagerState, ResourceManager, Terms, Usage, minus, plus};
use crate::ledger::capacity::Capacity;
use crate::ledger::claims::Demand;
use crate::ledger::grant::{Grant, HolderId, Shortage};
use crate::ledger::kept::Kept;
use crate::ledger::policy::{LedgerPolicy, Limits, LimitsError};
use crate::ledger::resource::ResourceKind;
use crate::units::Bytes;

/// Gives out a sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountedManager {
    kind: ResourceKind,
    book: Book,
    #[serde(flatten)]
    state: ManagerState,
}

impl CountedManager {
    /// A manager of a resource of which nothing is there yet.
    #[must_use]
    pub fn new(kind: ResourceKind) -> CountedManager {
        CountedManager { kind, book: Book::default(), state: ManagerState::default() }
    }

    fn asked(&self, demand: &Demand) -> u64 {
        match &self.kind {
            ResourceKind::Memory => demand.memory.0,
            ResourceKind::Disk => demand.disk.0,
            ResourceKind::Custom(name) => demand.custom.get(name).copied().unwrap_or(0),
            _ => 0,
        }
    }

    fn held(&self, grant: &Grant) -> u64 {
        match &self.kind {
            ResourceKind::Memory => grant.memory.0,
            ResourceKind::Disk => grant.disk.0,
            ResourceKind::Custom(name) => grant.custom.get(name).copied().unwrap_or(0),
            _ => 0,
        }
    }
}

impl ResourceManager for CountedManager {
    fn kinds(&self) -> Vec<ResourceKind> {
        vec![self.kind.clone()]
    }

    fn check_availability(
        &self,
        demand: &Demand,
        terms: &Terms<'_>,
        grant: &mut Grant,
        short: &mut Vec<Shortage>,
    ) {
        let asked = self.asked(demand);
        short.extend(self.book.shortage(&self.kind, asked, terms));
        match &self.kind {
            ResourceKind::Memory => grant.memory = Bytes(asked),
            ResourceKind::Disk => grant.disk = Bytes(asked),
            ResourceKind::Custom(name) if asked != 0 => {
                grant.custom.insert(name.clone(), asked);
            }
            _ => {}
        }
    }

    fn keep(&self, demand: &Demand, _: &LedgerPolicy, kept: &mut Kept) {
        kept.more(&self.kind, self.asked(demand));
    }

    fn allocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict> {
        let amount = self.held(grant);
        self.book.allocated = plus(&self.kind, holder, self.book.allocated, amount)?;
        self.state.note_allocation(amount != 0);
        Ok(())
    }

    fn deallocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict> {
        let amount = self.held(grant);
        self.book.allocated = minus(&self.kind, holder, self.book.allocated, amount)?;
        self.state.note_release(amount != 0);
        Ok(())
    }

    fn usage(&self, strict: bool) -> Vec<(ResourceKind, Usage)> {
        vec![(self.kind.clone(), self.book.usage(strict))]
    }

    fn set_capacity(&mut self, capacity: &Capacity) {
        self.book.capacity = match &self.kind {
            ResourceKind::Memory => capacity.memory.0,
            ResourceKind::Disk => capacity.disk.0,
            ResourceKind::Custom(name) => capacity.custom.get(name).copied().unwrap_or(0),
            _ => 0,
        };
    }

    fn is_exhausted(&self, kind: &ResourceKind, terms: &Terms<'_>) -> bool {
        self.book.shortage(kind, 1, terms).is_some()
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
}
