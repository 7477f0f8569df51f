//! Ports of the host, and subnets: each is one thing, and a lease of it ends with its holder.
//!
//! What was given back is given out again last, so that whoever still speaks to the last holder does not reach the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{Book, Conflict, Health, ManagerState, ResourceManager, Seen, Terms, Usage, conflict, shortage};
use crate::ledger::capacity::{Capacity, PortRange, SubnetRange};
use crate::ledger::claims::{Demand, Port};
use crate::ledger::grant::{Bound, Grant, HolderId, Shortage};
use crate::ledger::kept::Kept;
use crate::ledger::policy::{LedgerPolicy, Limits, LimitsError};
use crate::ledger::resource::ResourceKind;
use crate::pod::spec::Protocol;

/// Leases ports and subnets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkManager {
    /// Numbers of the range that are given out count, chosen or not; others are had by number alone.
    ports: Book,
    subnets: Book,
    range: PortRange,
    subnet_range: SubnetRange,
    leased_ports: RedBlackTreeMapSync<u16, PortLease>,
    leased_subnets: RedBlackTreeMapSync<u32, HolderId>,
    /// Where the search for a free port begins.
    next_port: u16,
    /// Where the search for a free subnet begins.
    next_subnet: u32,
    /// Ports that are leased to nobody and on which somebody listened when it was looked last.
    #[serde(default)]
    foreign: Arc<BTreeSet<Port>>,
    #[serde(flatten)]
    state: ManagerState,
}

/// Who has a number, by transport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortLease {
    tcp: Option<HolderId>,
    udp: Option<HolderId>,
}

impl PortLease {
    fn of(&mut self, protocol: Protocol) -> &mut Option<HolderId> {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }
}

impl NetworkManager {
    /// Who has a port, if anybody has.
    #[must_use]
    pub fn holder_of(&self, port: Port) -> Option<HolderId> {
        let mut lease = *self.leased_ports.get(&port.number)?;
        *lease.of(port.protocol)
    }

    /// Every port that is leased, with its holder.
    pub fn ports(&self) -> impl Iterator<Item = (Port, HolderId)> {
        self.leased_ports.iter().flat_map(|(number, lease)| {
            let of = |protocol, holder: Option<HolderId>| {
                holder.map(|holder| (Port { number: *number, protocol }, holder))
            };
            of(Protocol::Tcp, lease.tcp).into_iter().chain(of(Protocol::Udp, lease.udp))
        })
    }

    /// Every subnet that is leased, by position, with its holder.
    pub fn subnets(&self) -> impl Iterator<Item = (u32, HolderId)> {
        self.leased_subnets.iter().map(|(index, holder)| (*index, *holder))
    }

    /// Ports that are leased to nobody and on which somebody listened when it was looked last: they are given to nobody.
    #[must_use]
    pub fn foreign(&self) -> &BTreeSet<Port> {
        &self.foreign
    }

    /// Takes notice of what was seen now.
    pub(in crate::ledger) fn set_foreign(&mut self, ports: BTreeSet<Port>) {
        self.foreign = Arc::new(ports);
    }

    /// Has these ports be nobody's again.
    pub(in crate::ledger) fn forget_foreign(&mut self, ports: &BTreeSet<Port>) {
        Arc::make_mut(&mut self.foreign).retain(|port| !ports.contains(port));
    }

    /// The subnets as they are called.
    #[must_use]
    pub fn subnet_range(&self) -> SubnetRange {
        self.subnet_range
    }

    fn is_free(&self, number: u16, taken: &BTreeSet<Port>) -> bool {
        let is_taken = |protocol| {
            let port = Port { number, protocol };
            taken.contains(&port) || self.foreign.contains(&port)
        };
        !self.leased_ports.contains_key(&number) && !is_taken(Protocol::Tcp) && !is_taken(Protocol::Udp)
    }

    /// How many numbers of the range a demand takes.
    fn needs(&self, demand: &Demand) -> u64 {
        let fixed: BTreeSet<u16> = demand.fixed_ports.iter().map(|port| port.number).collect();
        let fixed = fixed.into_iter().filter(|number| self.in_range(*number)).count() as u64;
        u64::from(demand.ports) + fixed
    }

    fn check_ports(&self, demand: &Demand, terms: &Terms<'_>, grant: &mut Grant, short: &mut Vec<Shortage>) {
        let (kind, kept) = (ResourceKind::Ports, &terms.kept.fixed_ports);
        for port in &demand.fixed_ports {
            let holder = self.holder_of(*port);
            if holder.is_some() || kept.contains(port) || self.foreign.contains(port) {
                let (kind, bound) = (kind.clone(), Bound::Port(*port));
                short.push(Shortage { kind, asked: 1, free: 0, bound, holder });
            }
        }
        grant.fixed_ports.clone_from(&demand.fixed_ports);
        let asked = self.needs(demand);
        if asked != 0 {
            let usage = self.ports.usage(terms.policy.strict);
            let left = usage.free().saturating_sub(terms.kept.amount(&kind));
            // Who cannot have all of them is not looked for longer than it takes to say how many there are.
            let count = u64::from(demand.ports).min(left);
            let chosen = if count == 0 {
                BTreeSet::new()
            } else {
                self.choose_ports(count, &demand.fixed_ports.union(kept).copied().collect())
            };
            let found = asked - u64::from(demand.ports) + chosen.len() as u64;
            short.extend(shortage(&kind, asked, found.min(left), usage.allocatable));
            grant.ports = chosen;
        }
    }

    /// The next free ports, as many as are asked for or as there are.
    fn choose_ports(&self, count: u64, taken: &BTreeSet<Port>) -> BTreeSet<u16> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let PortRange { first, last } = self.range;
        let begin = if (first..=last).contains(&self.next_port) { self.next_port } else { first };
        (begin..=last).chain(first..begin).filter(|number| self.is_free(*number, taken)).take(count).collect()
    }

    fn choose_subnet(&self) -> Option<u32> {
        let count = self.subnet_range.count;
        let begin = if self.next_subnet < count { self.next_subnet } else { 0 };
        (begin..count).chain(0..begin).find(|index| !self.leased_subnets.contains_key(index))
    }

    fn in_range(&self, number: u16) -> bool {
        (self.range.first..=self.range.last).contains(&number)
    }

    fn lease(&mut self, port: Port, holder: HolderId) {
        let is_new = !self.leased_ports.contains_key(&port.number);
        let mut lease = self.leased_ports.get(&port.number).copied().unwrap_or_default();
        *lease.of(port.protocol) = Some(holder);
        if self.foreign.contains(&port) {
            Arc::make_mut(&mut self.foreign).remove(&port);
        }
        self.leased_ports.insert_mut(port.number, lease);
        self.ports.allocated += u64::from(is_new && self.in_range(port.number));
    }

    fn give_back(&mut self, port: Port) {
        let Some(mut lease) = self.leased_ports.get(&port.number).copied() else { return };
        *lease.of(port.protocol) = None;
        if lease == PortLease::default() {
            self.leased_ports.remove_mut(&port.number);
            self.ports.allocated -= u64::from(self.in_range(port.number));
        } else {
            self.leased_ports.insert_mut(port.number, lease);
        }
    }
}

impl ResourceManager for NetworkManager {
    fn kinds(&self) -> Vec<ResourceKind> {
        vec![ResourceKind::Ports, ResourceKind::Subnets]
    }

    fn check_availability(
        &self,
        demand: &Demand,
        terms: &Terms<'_>,
        grant: &mut Grant,
        short: &mut Vec<Shortage>,
    ) {
        self.check_ports(demand, terms, grant, short);
        if demand.subnet {
            let usage = self.subnets.usage(terms.policy.strict);
            let free = usage.free().saturating_sub(terms.kept.amount(&ResourceKind::Subnets));
            grant.subnet = self.choose_subnet();
            let found = if grant.subnet.is_some() { free } else { 0 };
            short.extend(shortage(&ResourceKind::Subnets, 1, found, usage.allocatable));
        }
    }

    fn keep(&self, demand: &Demand, _: &LedgerPolicy, kept: &mut Kept) {
        kept.more(&ResourceKind::Ports, self.needs(demand));
        kept.more(&ResourceKind::Subnets, u64::from(demand.subnet));
        kept.fixed_ports.extend(&demand.fixed_ports);
    }

    fn allocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict> {
        if let Some(port) = grant.all_ports().find(|port| self.holder_of(*port).is_some()) {
            let detail = format!("port {}/{} is given out twice", port.number, port.protocol);
            return Err(conflict(&ResourceKind::Ports, holder, detail));
        }
        if grant.subnet.is_some_and(|index| self.leased_subnets.contains_key(&index)) {
            return Err(conflict(&ResourceKind::Subnets, holder, "a subnet is given out twice"));
        }
        for port in grant.all_ports() {
            self.lease(port, holder);
        }
        if let Some(last) = grant.ports.iter().next_back() {
            self.next_port = last.saturating_add(1);
        }
        if let Some(index) = grant.subnet {
            self.leased_subnets.insert_mut(index, holder);
            self.next_subnet = index.saturating_add(1);
            self.subnets.allocated += u64::from(index < self.subnet_range.count);
        }
        self.state.note_allocation(has_some(grant));
        Ok(())
    }

    fn deallocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict> {
        if let Some(port) = grant.all_ports().find(|port| self.holder_of(*port) != Some(holder)) {
            let detail = format!("port {}/{} is not the holder's", port.number, port.protocol);
            return Err(conflict(&ResourceKind::Ports, holder, detail));
        }
        if grant.subnet.is_some_and(|index| self.leased_subnets.get(&index) != Some(&holder)) {
            return Err(conflict(&ResourceKind::Subnets, holder, "a subnet is not the holder's"));
        }
        for port in grant.all_ports() {
            self.give_back(port);
        }
        if let Some(index) = grant.subnet {
            self.leased_subnets.remove_mut(&index);
            self.subnets.allocated -= u64::from(index < self.subnet_range.count);
        }
        self.state.note_release(has_some(grant));
        Ok(())
    }

    fn usage(&self, strict: bool) -> Vec<(ResourceKind, Usage)> {
        vec![
            (ResourceKind::Ports, self.ports.usage(strict)),
            (ResourceKind::Subnets, self.subnets.usage(strict)),
        ]
    }

    fn set_capacity(&mut self, capacity: &Capacity) {
        (self.range, self.subnet_range) = (capacity.ports, capacity.subnets);
        self.ports.capacity = if self.range.is_empty() { 0 } else { self.range.len() };
        self.subnets.capacity = u64::from(self.subnet_range.count);
        let in_range = |number: &&u16| self.in_range(**number);
        self.ports.allocated = self.leased_ports.keys().filter(in_range).count() as u64;
        let in_range = |index: &&u32| **index < self.subnet_range.count;
        self.subnets.allocated = self.leased_subnets.keys().filter(in_range).count() as u64;
    }

    fn is_exhausted(&self, kind: &ResourceKind, terms: &Terms<'_>) -> bool {
        let book = if *kind == ResourceKind::Subnets { &self.subnets } else { &self.ports };
        book.shortage(kind, 1, terms).is_some()
    }

    fn limits(&self, kind: &ResourceKind) -> Limits {
        if *kind == ResourceKind::Subnets { self.subnets.limits } else { self.ports.limits }
    }

    fn update_limits(&mut self, kind: &ResourceKind, limits: Limits) -> Result<(), LimitsError> {
        let book = if *kind == ResourceKind::Subnets { &mut self.subnets } else { &mut self.ports };
        book.update_limits(kind, limits)
    }

    /// What has a soft limit is watched: once all of it is leased, the next pod that needs one has none.
    fn trouble(&self, _: &Seen, strict: bool) -> Option<Health> {
        let kinds = self.usage(strict).into_iter();
        let mut spent = kinds.filter(|(kind, usage)| {
            let is_watched = self.limits(kind).soft_of(usage.capacity).is_some();
            is_watched && usage.allocated != 0 && usage.free() == 0
        });
        let (kind, usage) = spent.next()?;
        Some(Health::Unhealthy(format!("all {} {kind} that may be leased are", usage.allocatable)))
    }

    fn state(&self) -> &ManagerState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut ManagerState {
        &mut self.state
    }
}

fn has_some(grant: &Grant) -> bool {
    grant.subnet.is_some() || grant.all_ports().next().is_some()
}
