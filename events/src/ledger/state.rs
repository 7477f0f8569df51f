//! What the ledger is at a moment: capacity, policy, who holds what, who waits.

use std::collections::BTreeSet;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::capacity::Capacity;
use super::claims::Demand;
use super::event::{Drift, LedgerEvent};
use super::grant::{Bound, Grant, HolderId, Shortage};
use super::kept::Kept;
use super::manager::{Managers, Terms};
use super::policy::LedgerPolicy;
use super::queue::Asking;
use super::resize::Resizing;
use super::resource::{Amounts, ResourceKind};
use super::tenant::{RequestLimits, Tenant, TenantId};
use super::{LedgerCommand, LedgerRejection, decide, evolve, settle};
use crate::context::Context;
use crate::decider::{Decider, IllegalTransition};
use crate::ids::{PodUid, StreamKind};
use crate::pairs;
use crate::units::Timestamp;

/// The ledger of one node. It is copied at every decision, so what grows with the number of pods is shared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// What the machine has.
    pub capacity: Arc<Capacity>,
    /// The numbers in force.
    pub policy: Arc<LedgerPolicy>,
    /// The numbers that the config had last.
    pub config_policy: Option<Arc<LedgerPolicy>>,
    /// Tenants with bounds of their own.
    #[serde(with = "pairs")]
    pub tenants: RedBlackTreeMapSync<TenantId, Arc<Tenant>>,
    /// What of each resource is given out.
    pub managers: Managers,
    /// Who holds what.
    #[serde(with = "pairs")]
    pub holdings: RedBlackTreeMapSync<HolderId, Arc<Holding>>,
    /// Who waits, the first first.
    #[serde(with = "pairs")]
    pub waiting: RedBlackTreeMapSync<Rank, Arc<Waiting>>,
    /// The place in the queue of each pod that waits.
    #[serde(with = "pairs")]
    pub(super) ranks: RedBlackTreeMapSync<PodUid, Rank>,
    /// How many of them ask for what nearly everybody asks for.
    #[serde(default)]
    pub(super) asking: Asking,
    /// The same by tenant.
    #[serde(with = "pairs", default)]
    pub(super) asking_of: RedBlackTreeMapSync<TenantId, Asking>,
    /// What is kept for somebody.
    #[serde(with = "pairs")]
    pub reservations: RedBlackTreeMapSync<Uuid, Arc<Reservation>>,
    /// The reservations that ended last, by token: who still speaks for one of them is put on record.
    #[serde(with = "pairs", default, skip_serializing_if = "RedBlackTreeMapSync::is_empty")]
    pub ended: RedBlackTreeMapSync<u64, Uuid>,
    /// What each tenant's holders have together, their number among it.
    #[serde(with = "pairs")]
    pub used: RedBlackTreeMapSync<TenantId, Arc<Amounts>>,
    /// Alerts that are raised.
    pub alerts: BTreeSet<(TenantId, ResourceKind)>,
    /// In what the machine differs from the ledger.
    pub drifts: BTreeSet<Drift>,
    /// Pods that ever waited: gives the next its place.
    pub queued: u64,
    /// The token of the newest reservation.
    pub last_token: u64,
}

/// A place in the queue: higher priorities first, among equals who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rank {
    /// The priority, turned round.
    pub behind: i64,
    /// Who came first.
    pub order: u64,
}

/// What one holder has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holding {
    /// On whose account.
    pub tenant: TenantId,
    /// The pod's priority; 0 for a reservation.
    pub priority: i32,
    /// What it has.
    pub grant: Grant,
    /// Since when.
    pub since: Timestamp,
    /// For whom it is to make way, if it is.
    pub leaves_for: Option<PodUid>,
    /// Whether it is not made to leave for another's sake.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
    /// Other amounts that it is getting: it has the greater of the old and the new until that is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resizing: Option<Resizing>,
}

/// A pod that waits for room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Which.
    pub pod: PodUid,
    /// On whose account.
    pub tenant: TenantId,
    /// Its priority.
    pub priority: i32,
    /// What it asks for.
    pub demand: Demand,
    /// Since when.
    pub since: Timestamp,
    /// Pods that make way for it and have not yet.
    pub victims: BTreeSet<PodUid>,
    /// Whether it is not made to leave for another's sake, once it runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
}

/// Something that is kept for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// Who may take it up or give it up.
    pub owner: String,
    /// What was asked for.
    pub demand: Demand,
    /// Shows that one has it.
    pub token: u64,
    /// From when on it is over.
    pub expires_at: Timestamp,
}

/// What holds for a tenant: its own bounds, or the node's default.
#[derive(Debug, Clone, Copy)]
pub struct QuotaView<'a> {
    /// Most that its pods may have together.
    pub quota: &'a Amounts,
    /// Whether that is the node's default.
    pub is_default: bool,
}

impl Ledger {
    /// On whose account the pods of a namespace go.
    #[must_use]
    pub fn tenant_of(&self, namespace: &str) -> Option<TenantId> {
        let named = self.tenants.iter().find(|(id, tenant)| tenant.has(id, namespace));
        named.map(|(id, _)| id.clone()).or_else(|| TenantId::new(namespace).ok())
    }

    /// What holds for a tenant.
    #[must_use]
    pub fn quota(&self, id: &TenantId) -> QuotaView<'_> {
        match self.tenants.get(id).and_then(|tenant| tenant.quota.as_ref()) {
            Some(quota) => QuotaView { quota, is_default: false },
            None => QuotaView { quota: &self.policy.default_quota, is_default: true },
        }
    }

    /// The highest priority that pods of a tenant may have, if there is such a bound, and whether that is the node's
    /// default.
    #[must_use]
    pub fn priority_max(&self, id: &TenantId) -> (Option<i32>, bool) {
        match self.tenants.get(id).and_then(|tenant| tenant.priority_max) {
            Some(own) => (Some(own), false),
            None => (self.policy.default_priority_max, true),
        }
    }

    /// How often a tenant may ask, and whether that is the node's default.
    #[must_use]
    pub fn requests(&self, id: &TenantId) -> (&RequestLimits, bool) {
        match self.tenants.get(id) {
            Some(tenant) => (&tenant.requests, false),
            None => (&self.policy.default_requests, true),
        }
    }

    /// What a pod holds, if it does.
    #[must_use]
    pub fn grant(&self, pod: PodUid) -> Option<&Grant> {
        self.holdings.get(&HolderId::Pod(pod)).map(|holding| &holding.grant)
    }

    /// A pod's place in the queue, if it waits.
    #[must_use]
    pub fn waits(&self, pod: PodUid) -> Option<(Rank, &Waiting)> {
        let rank = *self.ranks.get(&pod)?;
        self.waiting.get(&rank).map(|waiting| (rank, waiting.as_ref()))
    }

    /// Why a pod waits: all that it is short of now.
    #[must_use]
    pub fn reason(&self, pod: PodUid) -> Option<Vec<Shortage>> {
        let (rank, waiting) = self.waits(pod)?;
        let kept = self.kept_before(rank);
        self.available(&waiting.tenant, &waiting.demand, &kept).err()
    }

    /// What a holder of this tenant would be given now, while `kept` is kept for others.
    ///
    /// # Errors
    /// Everything that stands against it: what one pod of the tenant may not have, or, on a strict node, does not say;
    /// what there is too little of on the node; what is beyond the tenant's quota.
    pub fn available(&self, tenant: &TenantId, demand: &Demand, kept: &Kept) -> Result<Grant, Vec<Shortage>> {
        let terms = Terms { policy: &self.policy, kept };
        let found = self.managers.check_availability(demand, &terms);
        let asked = found.as_ref().map_or_else(|_| self.asked(demand), Grant::amounts);
        let mut short = self.unallowed(tenant, &asked);
        let quota = self.beyond_quota(tenant, &asked, kept);
        match found {
            Ok(grant) if short.is_empty() && quota.is_empty() => return Ok(grant),
            Ok(_) => {}
            Err(more) => short.extend(more),
        }
        short.extend(quota);
        Err(short)
    }

    /// What is asked for at least. How much memory comes with a GPU, and how much of its compute TFLOPS are, is known once
    /// it is known which: the least counts until then.
    fn asked(&self, demand: &Demand) -> Amounts {
        let mut asked = demand.amounts();
        if let Some(claim) = &demand.gpu {
            let memory = self.managers.gpu.least_memory(claim, self.policy.strict);
            asked.set(ResourceKind::GpuMemory, memory);
            if claim.tflops.is_some() {
                asked.set(ResourceKind::GpuShare, self.managers.gpu.least_share(claim, self.policy.strict));
            }
        }
        asked
    }

    /// What no waiting helps against: more than one pod may have, or, on a strict node, no word of what it needs.
    pub(super) fn unallowed(&self, tenant: &TenantId, asked: &Amounts) -> Vec<Shortage> {
        let mut found = vec![];
        let of = |kind: &ResourceKind, asked, free, bound| {
            let kind = kind.clone();
            Shortage { kind, asked, free, bound, holder: None }
        };
        if let Some(bounds) = self.tenants.get(tenant) {
            let beyond = bounds.pod_max.iter().filter(|(kind, most)| *most < asked.get(kind));
            found.extend(beyond.map(|(kind, most)| {
                of(kind, asked.get(kind), most, Bound::PodMax { tenant: tenant.clone(), most })
            }));
        }
        if self.policy.strict {
            let needed = [ResourceKind::Cpu, ResourceKind::Memory];
            let unstated = needed.iter().filter(|kind| asked.get(kind) == 0);
            found.extend(unstated.map(|kind| of(kind, 0, 0, Bound::Unstated)));
        }
        found
    }

    /// What of these amounts, and of one pod more, is beyond a tenant's quota.
    pub(super) fn beyond_quota(&self, tenant: &TenantId, asked: &Amounts, kept: &Kept) -> Vec<Shortage> {
        let QuotaView { quota, .. } = self.quota(tenant);
        let used = self.used.get(tenant);
        let beyond = quota.iter().filter_map(|(kind, most)| {
            let asked = if *kind == ResourceKind::Pods { 1 } else { asked.get(kind) };
            let held = used.map_or(0, |used| used.get(kind)).saturating_add(kept.of_quota(tenant, kind));
            let free = most.saturating_sub(held);
            let bound = Bound::Quota { tenant: tenant.clone(), most };
            (free < asked).then(|| Shortage { kind: kind.clone(), asked, free, bound, holder: None })
        });
        beyond.collect()
    }

    /// What is kept for those who wait in front of a place.
    #[must_use]
    pub fn kept_before(&self, rank: Rank) -> Kept {
        let mut kept = Kept::default();
        for (_, waiting) in self.waiting.range(..rank) {
            self.keep_for(&mut kept, waiting);
        }
        kept
    }

    /// Adds what one who waits is to find later to what is kept for those in front of him; says what he is short of.
    pub(super) fn keep_for(&self, kept: &mut Kept, waiting: &Waiting) -> Vec<Shortage> {
        let found = self.available(&waiting.tenant, &waiting.demand, kept);
        let shortages = found.err().unwrap_or_default();
        self.keep(kept, waiting, &shortages);
        shortages
    }

    /// Adds what a pod waits for to what is kept, if it is such room that holds it back. Who can never have what it asks
    /// for, or not before an operator starts a manager again, holds nobody up. Whom its tenant's quota holds back goes
    /// first within the quota alone.
    pub(super) fn keep(&self, kept: &mut Kept, waiting: &Waiting, shortages: &[Shortage]) {
        let is_hopeless = |it: &Shortage| !it.may_pass() || matches!(it.bound, Bound::Stopped { .. });
        if shortages.iter().any(is_hopeless) {
            return;
        }
        kept.more_of_quota(&waiting.tenant, &self.asked(&waiting.demand));
        if !shortages.iter().any(|it| matches!(it.bound, Bound::Quota { .. })) {
            self.managers.keep(&waiting.demand, &self.policy, kept);
        }
    }

    /// The ledger as it would be after a command. Nothing is recorded by it: for those who want to know beforehand.
    ///
    /// # Errors
    /// It would be refused.
    ///
    /// # Panics
    /// The ledger cannot follow what it decides.
    pub fn prospect(&self, command: &LedgerCommand, context: &Context) -> Result<Ledger, LedgerRejection> {
        let events = self.decide(command, context)?;
        match Ledger::refusal(&events) {
            Some(rejection) => Err(rejection),
            None => {
                let follow = |ledger: Ledger, event| ledger.evolve(event);
                let after = events.iter().try_fold(self.clone(), follow);
                Ok(after.expect("the ledger can follow what it decides"))
            }
        }
    }

    /// The next moment at which something happens by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.reservations.values().map(|reservation| reservation.expires_at).min()
    }
}

impl Decider for Ledger {
    type Command = LedgerCommand;
    type Event = LedgerEvent;
    type Rejection = LedgerRejection;

    const KIND: StreamKind = StreamKind::Ledger;

    fn decide(
        &self,
        command: &LedgerCommand,
        context: &Context,
    ) -> Result<Vec<LedgerEvent>, LedgerRejection> {
        let events = decide::answer(self, command, context)?;
        let looks_again = matches!(command, LedgerCommand::CheckTime);
        Ok(settle::complete(self, events, context, looks_again))
    }

    fn refusal(events: &[LedgerEvent]) -> Option<LedgerRejection> {
        events.iter().find_map(|event| match event {
            LedgerEvent::StaleTokenRefused(refused) => Some(LedgerRejection::StaleToken {
                reservation: refused.reservation,
                token: refused.token,
                reason: refused.reason,
            }),
            _ => None,
        })
    }

    fn evolve(&self, event: &LedgerEvent) -> Result<Ledger, IllegalTransition> {
        let mut next = self.clone();
        evolve::apply(&mut next, event)?;
        Ok(next)
    }

    fn is_terminal(&self) -> bool {
        false
    }
}
