//! The naive reference: plain lists, and every sum made anew from those who hold something now.

use std::collections::BTreeSet;

use purser_events::ledger::event::{Drift, LedgerEvent as E, PreemptionRequested, Reserved};
use purser_events::ledger::state::Holding;
use purser_events::ledger::{
    Amounts, Capacity, Demand, Grant, HolderId, LedgerPolicy, Limits, Port, Resizing, ResourceKind, Size,
    Tenant, TenantId,
};
use purser_events::{PodUid, Timestamp};
use uuid::Uuid;

/// Who waits.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    pub(crate) pod: PodUid,
    pub(crate) tenant: TenantId,
    pub(crate) priority: i32,
    pub(crate) demand: Demand,
    pub(crate) victims: BTreeSet<PodUid>,
}

/// What is kept for somebody.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    pub(crate) id: Uuid,
    pub(crate) owner: String,
    pub(crate) demand: Demand,
    pub(crate) token: u64,
    pub(crate) expires_at: Timestamp,
}

/// The ledger as one would first write it down.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reference {
    pub(crate) capacity: Capacity,
    pub(crate) policy: LedgerPolicy,
    pub(crate) config: Option<LedgerPolicy>,
    pub(crate) tenants: Vec<(TenantId, Tenant)>,
    pub(crate) held: Vec<(HolderId, Holding)>,
    /// In the order in which they came.
    pub(crate) came: Vec<Waiter>,
    pub(crate) promises: Vec<Promise>,
    /// Those that are no more, each with its token.
    pub(crate) ended: Vec<(Uuid, u64)>,
    /// Resources whose manager is stopped, the manager's first, and why.
    pub(crate) stopped: Vec<(ResourceKind, String)>,
    pub(crate) alerts: BTreeSet<(TenantId, ResourceKind)>,
    pub(crate) drifts: Vec<Drift>,
    /// Ports that are nobody's and on which somebody listens.
    pub(crate) foreign: BTreeSet<Port>,
    pub(crate) last_token: u64,
}

/// The first resource of the manager of a kind, by which managers are told apart.
pub(crate) fn manager_of(kind: &ResourceKind) -> ResourceKind {
    match kind {
        ResourceKind::Gpus | ResourceKind::GpuMemory => ResourceKind::GpuShare,
        ResourceKind::Subnets => ResourceKind::Ports,
        other => other.clone(),
    }
}

impl Reference {
    /// Who waits, the first first.
    pub(crate) fn queue(&self) -> Vec<&Waiter> {
        let mut queue: Vec<&Waiter> = self.came.iter().collect();
        queue.sort_by_key(|it| std::cmp::Reverse(it.priority));
        queue
    }

    pub(crate) fn grants(&self) -> impl Iterator<Item = (HolderId, &Grant)> {
        self.held.iter().map(|(id, holding)| (*id, &holding.grant))
    }

    pub(crate) fn holding(&self, id: HolderId) -> Option<&Holding> {
        self.held.iter().find(|(other, _)| *other == id).map(|(_, holding)| holding)
    }

    pub(crate) fn tenant(&self, id: &TenantId) -> Option<&Tenant> {
        self.tenants.iter().find(|(other, _)| other == id).map(|(_, tenant)| tenant)
    }

    pub(crate) fn limits(&self, kind: &ResourceKind) -> Limits {
        self.policy.limits.get(kind).copied().unwrap_or_default()
    }

    pub(crate) fn quota(&self, id: &TenantId) -> Amounts {
        let own = self.tenant(id).and_then(|tenant| tenant.quota.clone());
        own.unwrap_or_else(|| self.policy.default_quota.clone())
    }

    /// What the holders of a tenant have of a kind together.
    pub(crate) fn used(&self, tenant: &TenantId, kind: &ResourceKind) -> u64 {
        let of = self.held.iter().filter(|(_, holding)| holding.tenant == *tenant);
        of.map(|(_, holding)| amount(&holding.grant, kind)).sum()
    }

    /// On whose account a namespace is.
    pub(crate) fn account(&self, namespace: &str) -> Option<TenantId> {
        let named = self.tenants.iter().find(|(id, tenant)| {
            tenant.namespaces.contains(namespace)
                || (tenant.namespaces.is_empty() && id.as_str() == namespace)
        });
        named.map(|(id, _)| id.clone()).or_else(|| TenantId::new(namespace).ok())
    }

    /// The alerts that should be raised now.
    pub(crate) fn alarming(&self) -> BTreeSet<(TenantId, ResourceKind)> {
        let mut found = BTreeSet::new();
        for (id, tenant) in &self.tenants {
            let Some(percent) = tenant.alert_percent else { continue };
            for (kind, most) in self.quota(id).iter() {
                let used = self.used(id, kind);
                if used > 0 && u128::from(used) * 100 >= u128::from(most) * u128::from(percent) {
                    found.insert((id.clone(), kind.clone()));
                }
            }
        }
        found
    }

    /// Carries an event out.
    ///
    /// # Panics
    /// It is impossible.
    pub(crate) fn apply(&mut self, event: &E) {
        match event {
            E::CapacitySet(it) => self.capacity = it.capacity.clone(),
            E::PolicySet(it) => {
                self.policy = it.policy.clone();
                if it.from_config {
                    self.config = Some(it.policy.clone());
                }
            }
            E::TenantSet(it) => {
                self.tenants.retain(|(id, _)| *id != it.id);
                self.tenants.push((it.id.clone(), it.tenant.clone()));
                self.tenants.sort_by(|(left, _), (right, _)| left.cmp(right));
            }
            E::TenantRemoved(it) => self.tenants.retain(|(id, _)| *id != it.id),
            E::Allocated(it) => {
                self.came.retain(|waiter| waiter.pod != it.pod);
                let (tenant, priority, grant) = (it.tenant.clone(), it.priority, it.grant.clone());
                let (since, leaves_for, stays, resizing) = (it.at, None, it.stays, None);
                let holding = Holding { tenant, priority, grant, since, leaves_for, stays, resizing };
                self.hold(HolderId::Pod(it.pod), holding);
            }
            E::Queued(it) => {
                let leaving = self.held.iter().filter(|(_, holding)| holding.leaves_for == Some(it.pod));
                let victims = leaving.filter_map(|(id, _)| pod(*id)).collect();
                let (tenant, demand) = (it.tenant.clone(), it.demand.clone());
                self.came.push(Waiter { pod: it.pod, tenant, priority: it.priority, demand, victims });
            }
            E::Withdrawn(it) => self.came.retain(|waiter| waiter.pod != it.pod),
            E::Released(it) => drop(self.drop(HolderId::Pod(it.pod))),
            E::PreemptionRequested(it) => self.ask_to_leave(it),
            E::Reserved(it) => self.promise(it),
            E::ReservationActivated(it) => {
                let held = self.end(it.reservation);
                self.hold(HolderId::Pod(it.pod), Holding { priority: it.priority, since: it.at, ..held });
            }
            E::ReservationExpired(it) => drop(self.end(it.reservation)),
            E::ReservationCancelled(it) => drop(self.end(it.reservation)),
            E::ManagerStopped(it) => {
                let manager = manager_of(&it.kind);
                self.stopped.retain(|(kind, _)| *kind != manager);
                self.stopped.push((manager, it.reason.clone()));
            }
            E::ManagerStarted(it) => self.stopped.retain(|(kind, _)| *kind != manager_of(&it.kind)),
            E::AlertRaised(it) => {
                let most = self.quota(&it.tenant).bound(&it.kind);
                assert_eq!((it.used, Some(it.most)), (self.used(&it.tenant, &it.kind), most), "{it:?}");
                assert!(self.alerts.insert((it.tenant.clone(), it.kind.clone())), "raised twice: {it:?}");
            }
            E::AlertCleared(it) => {
                assert!(self.alerts.remove(&(it.tenant.clone(), it.kind.clone())), "cleared twice: {it:?}");
            }
            E::DriftFound(_) | E::DriftResolved(_) | E::ForeignPortsSeen(_) => self.see(event),
            E::ResizeGranted(it) => {
                let cpu = it.from.cpu.max(it.to.cpu);
                let size = Size { cpu, memory: it.from.memory.max(it.to.memory) };
                let (generation, from, to) = (it.generation, it.from, it.to);
                self.resize(it.pod, size, Some(Resizing { generation, from, to }));
            }
            E::ResizeSettled(it) => self.resize(it.pod, it.size, None),
            E::StaleTokenRefused(_) | E::UseRecorded(_) => {}
        }
        self.forget_custom();
    }

    /// Carries out what was seen on the machine.
    fn see(&mut self, event: &E) {
        match event {
            E::DriftFound(it) => {
                assert!(!self.drifts.contains(&it.drift), "found twice: {it:?}");
                self.drifts.push(it.drift.clone());
            }
            E::DriftResolved(it) => {
                assert!(self.drifts.contains(&it.drift), "resolved and not found: {it:?}");
                self.drifts.retain(|drift| *drift != it.drift);
            }
            E::ForeignPortsSeen(it) => {
                assert_ne!(it.ports, self.foreign, "nothing new was seen");
                assert!(it.ports.iter().all(|port| self.holder_of(*port).is_none()), "{it:?}");
                self.foreign.clone_from(&it.ports);
            }
            _ => unreachable!("nothing of the machine: {event:?}"),
        }
    }

    fn resize(&mut self, pod: PodUid, size: Size, resizing: Option<Resizing>) {
        let held = self.held.iter_mut().find(|(id, _)| *id == HolderId::Pod(pod));
        let (_, held) = held.unwrap_or_else(|| panic!("{pod} holds nothing"));
        (held.grant.cpu, held.grant.memory, held.resizing) = (size.cpu, size.memory, resizing);
    }

    fn promise(&mut self, it: &Reserved) {
        assert!(self.last_token < it.token, "token {} is not new", it.token);
        self.last_token = it.token;
        let (tenant, grant) = (it.tenant.clone(), it.grant.clone());
        let (since, leaves_for, stays, resizing) = (it.at, None, false, None);
        let holding = Holding { tenant, priority: 0, grant, since, leaves_for, stays, resizing };
        self.hold(HolderId::Reservation(it.reservation), holding);
        self.promises.push(Promise {
            id: it.reservation,
            owner: it.owner.clone(),
            demand: it.demand.clone(),
            token: it.token,
            expires_at: it.expires_at,
        });
    }

    fn ask_to_leave(&mut self, it: &PreemptionRequested) {
        for (_, holding) in
            self.held.iter_mut().filter(|(id, _)| pod(*id).is_some_and(|pod| it.victims.contains(&pod)))
        {
            holding.leaves_for = Some(it.pod);
        }
        let waiter =
            self.came.iter_mut().find(|waiter| waiter.pod == it.pod).expect("what the test is made of");
        waiter.victims.extend(&it.victims);
    }

    /// A custom resource that is neither there nor held has no manager, and none that is stopped.
    fn forget_custom(&mut self) {
        let kinds: Vec<ResourceKind> = self.stopped.iter().map(|(kind, _)| kind.clone()).collect();
        for kind in kinds {
            if !self.has_manager(&kind) {
                self.stopped.retain(|(other, _)| *other != kind);
            }
        }
    }

    /// Whether these can be limits on this machine.
    pub(crate) fn are_fine(&self, kind: &ResourceKind, limits: Limits) -> bool {
        let there = match kind {
            ResourceKind::Cpu => self.capacity.cpus.cpus.len() as u64 * 1_000,
            ResourceKind::GpuShare => 100,
            ResourceKind::GpuMemory => {
                self.capacity.gpus.iter().map(|device| device.memory.0).max().unwrap_or(0)
            }
            _ => self.there(kind),
        };
        let single = matches!(kind, ResourceKind::Ports | ResourceKind::Subnets);
        self.has_manager(kind)
            && *kind != ResourceKind::Gpus
            && (100..=if single { 100 } else { 1_000 }).contains(&limits.overcommit_percent)
            && limits.reserve_percent <= 90
            && limits.hard.is_none_or(|hard| hard <= there)
            && limits.soft.is_none_or(|soft| soft <= limits.hard.unwrap_or(there))
    }

    /// Whether something can be given out under these limits, or there is nothing on this machine.
    pub(crate) fn gives(&self, kind: &ResourceKind, limits: Limits, strict: bool) -> bool {
        let percent = if strict { 100 } else { u64::from(limits.overcommit_percent) };
        let left = |there: u64| {
            let used = limits.hard.map_or(there, |hard| hard.min(there));
            let kept = there * u64::from(limits.reserve_percent) / 100;
            // Processors that are kept are not given out twice either.
            (*kind != ResourceKind::Cpu || kept <= used) && kept < used * percent / 100
        };
        match kind {
            ResourceKind::GpuShare => self.capacity.gpus.is_empty() || left(100),
            ResourceKind::GpuMemory => {
                let there = |memory: u64| memory != 0;
                let mut memories = self.capacity.gpus.iter().map(|device| device.memory.0);
                !memories.clone().any(there) || memories.any(left)
            }
            ResourceKind::Cpu => {
                let there = self.capacity.cpus.cpus.len() as u64 * 1_000;
                there == 0 || left(there)
            }
            _ => self.there(kind) == 0 || left(self.there(kind)),
        }
    }

    /// Whether something gives out a kind.
    pub(crate) fn has_manager(&self, kind: &ResourceKind) -> bool {
        match kind {
            ResourceKind::Pods => false,
            ResourceKind::Custom(name) => {
                self.capacity.custom.get(name).is_some_and(|amount| *amount != 0)
                    || self.grants().any(|(_, grant)| grant.custom.contains_key(name))
            }
            _ => true,
        }
    }

    fn hold(&mut self, id: HolderId, holding: Holding) {
        assert!(self.holding(id).is_none(), "{id} is given something twice");
        let leased: BTreeSet<Port> = holding.grant.all_ports().collect();
        self.foreign.retain(|port| !leased.contains(port));
        self.held.push((id, holding));
    }

    fn drop(&mut self, id: HolderId) -> Holding {
        let index = self.held.iter().position(|(other, _)| *other == id);
        let (_, holding) = self.held.remove(index.unwrap_or_else(|| panic!("{id} holds nothing")));
        if let (Some(victim), Some(preemptor)) = (pod(id), holding.leaves_for) {
            for waiter in self.came.iter_mut().filter(|waiter| waiter.pod == preemptor) {
                waiter.victims.remove(&victim);
            }
        }
        holding
    }

    fn end(&mut self, id: Uuid) -> Holding {
        let before = self.promises.len();
        self.ended.extend(self.promises.iter().filter(|it| it.id == id).map(|it| (it.id, it.token)));
        self.promises.retain(|promise| promise.id != id);
        assert_eq!(self.promises.len() + 1, before, "there is no reservation {id}");
        self.drop(HolderId::Reservation(id))
    }
}

/// The pod that a holder is.
pub(crate) fn pod(id: HolderId) -> Option<PodUid> {
    match id {
        HolderId::Pod(pod) => Some(pod),
        HolderId::Reservation(_) => None,
    }
}

/// What a grant has of a kind; a holder counts as one pod.
pub(crate) fn amount(grant: &Grant, kind: &ResourceKind) -> u64 {
    match kind {
        ResourceKind::Pods => 1,
        ResourceKind::Cpu => grant.cpu.0,
        ResourceKind::Memory => grant.memory.0,
        ResourceKind::Disk => grant.disk.0,
        ResourceKind::Gpus => grant.gpus.iter().filter(|gpu| gpu.whole).count() as u64,
        ResourceKind::GpuShare => grant.gpus.iter().map(|gpu| u64::from(gpu.share)).sum(),
        ResourceKind::GpuMemory => grant.gpus.iter().map(|gpu| gpu.memory.0).sum(),
        ResourceKind::Ports => (grant.fixed_ports.len() + grant.ports.len()) as u64,
        ResourceKind::Subnets => u64::from(grant.subnet.is_some()),
        ResourceKind::Custom(name) => grant.custom.get(name).copied().unwrap_or(0),
    }
}

/// What a demand asks of a kind by itself.
pub(crate) fn asked(demand: &Demand, kind: &ResourceKind) -> u64 {
    let claim = demand.gpu.as_ref();
    let each = |of: u64| claim.map_or(0, |claim| u64::from(claim.count).saturating_mul(of));
    match kind {
        ResourceKind::Pods => 1,
        ResourceKind::Cpu => demand.cpu.0,
        ResourceKind::Memory => demand.memory.0,
        ResourceKind::Disk => demand.disk.0,
        ResourceKind::Gpus => each(u64::from(claim.is_some_and(|claim| claim.share.is_none()))),
        ResourceKind::GpuShare => each(claim.and_then(|claim| claim.share).map_or(100, u64::from)),
        ResourceKind::GpuMemory => each(claim.and_then(|claim| claim.memory).map_or(0, |memory| memory.0)),
        ResourceKind::Ports => demand.fixed_ports.len() as u64 + u64::from(demand.ports),
        ResourceKind::Subnets => u64::from(demand.subnet),
        ResourceKind::Custom(name) => demand.custom.get(name).copied().unwrap_or(0),
    }
}

/// An event's name.
pub(crate) fn word(event: &E) -> &'static str {
    match event {
        E::CapacitySet(_) => "capacity-set",
        E::PolicySet(_) => "policy-set",
        E::TenantSet(_) => "tenant-set",
        E::TenantRemoved(_) => "tenant-removed",
        E::Allocated(_) => "allocated",
        E::Queued(_) => "queued",
        E::Withdrawn(_) => "withdrawn",
        E::Released(_) => "released",
        E::PreemptionRequested(_) => "preemption-requested",
        E::Reserved(_) => "reserved",
        E::ReservationActivated(_) => "reservation-activated",
        E::ReservationExpired(_) => "reservation-expired",
        E::ReservationCancelled(_) => "reservation-cancelled",
        E::StaleTokenRefused(_) => "stale-token-refused",
        E::ManagerStopped(_) => "manager-stopped",
        E::ManagerStarted(_) => "manager-started",
        E::AlertRaised(_) => "alert-raised",
        E::AlertCleared(_) => "alert-cleared",
        E::DriftFound(_) => "drift-found",
        E::DriftResolved(_) => "drift-resolved",
        E::UseRecorded(_) => "use-recorded",
        E::ForeignPortsSeen(_) => "foreign-ports-seen",
        E::ResizeGranted(_) => "resize-granted",
        E::ResizeSettled(_) => "resize-settled",
    }
}
