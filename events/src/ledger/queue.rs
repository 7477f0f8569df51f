//! The queue: who waits, behind how many, and for what; and when there is nothing left for anybody further back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::claims::Demand;
use super::command::LedgerRejection;
use super::grant::{Bound, Grant, Shortage};
use super::kept::Kept;
use super::manager::Terms;
use super::resource::ResourceKind;
use super::state::{Ledger, Rank, Waiting};
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
    /// Of what it is short because something is kept for those in front.
    pub kept: BTreeSet<ResourceKind>,
}

/// Those who wait in front of somebody who is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InFront {
    /// How many wait.
    pub pods: usize,
    /// Of what there would be more without them.
    pub kinds: BTreeSet<ResourceKind>,
}

impl fmt::Display for InFront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<String> = self.kinds.iter().map(ToString::to_string).collect();
        let who = match self.pods {
            1 => "1 pod waits in front, and what is kept for it".to_owned(),
            pods => format!("{pods} pods wait in front, and what is kept for them"),
        };
        write!(f, "{who} is not free: {}", kinds.join(", "))
    }
}

/// The resources that many pods ask for. Once one of them is used up, a queue in which everybody asks for it need not be
/// looked through to its end.
const COMMON: [ResourceKind; 5] = [
    ResourceKind::Cpu,
    ResourceKind::Memory,
    ResourceKind::Disk,
    ResourceKind::GpuShare,
    ResourceKind::Ports,
];

/// How many wait, and how many of them ask for some of each common resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Asking {
    pods: u64,
    cpu: u64,
    memory: u64,
    disk: u64,
    gpu: u64,
    /// Ports that are chosen for them.
    ports: u64,
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
        let [cpu, memory, disk, gpu, ports] = asked(demand).map(|asked| u64::from(asked != 0));
        Asking {
            pods: change(self.pods, 1),
            cpu: change(self.cpu, cpu),
            memory: change(self.memory, memory),
            disk: change(self.disk, disk),
            gpu: change(self.gpu, gpu),
            ports: change(self.ports, ports),
        }
    }

    /// How many wait.
    pub(super) fn pods(self) -> u64 {
        self.pods
    }

    /// The common resources that everybody asks for.
    fn everybody(self) -> impl Iterator<Item = &'static ResourceKind> {
        let numbers = [self.cpu, self.memory, self.disk, self.gpu, self.ports];
        COMMON.iter().zip(numbers).filter(move |(_, asking)| *asking == self.pods).map(|(kind, _)| kind)
    }
}

/// What is asked for of each of [`COMMON`].
fn asked(demand: &Demand) -> [u64; 5] {
    // Who asks for no share in so many words asks for all of it, or for as much as some TFLOPS are.
    let gpus = demand.gpu.as_ref().map_or(0, |claim| u64::from(claim.count.min(claim.share.unwrap_or(1))));
    [demand.cpu.0, demand.memory.0, demand.disk.0, gpus, u64::from(demand.ports)]
}

/// A way through the queue, past those whom nothing but their tenant's quota can hold back: so one tenant that has many in
/// the queue does not slow down what is decided for others.
pub(super) struct Walk {
    /// Tenants whose quota has nothing left of something that each of them who waits needs.
    closed: BTreeSet<TenantId>,
    /// How many of each other tenant were passed.
    passed: BTreeMap<TenantId, u64>,
    /// How many who are not of a closed tenant are still to come.
    left: u64,
}

impl Walk {
    pub(super) fn begin(ledger: &Ledger) -> Walk {
        Walk { closed: BTreeSet::new(), passed: BTreeMap::new(), left: ledger.asking.pods }
    }

    /// Whether only those come now of whom it is known that they get nothing, and that nothing is kept for them but of
    /// their tenant's quota.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Whether one who comes now has to be looked at.
    pub(super) fn looks_at(&mut self, ledger: &Ledger, tenant: &TenantId, kept: &Kept) -> bool {
        if self.closed.contains(tenant) {
            return false;
        }
        let is_first = !self.passed.contains_key(tenant);
        !(is_first && self.closes(ledger, tenant, kept))
    }

    /// Takes notice of one who was looked at and gets nothing, for lack of this.
    pub(super) fn pass(&mut self, ledger: &Ledger, tenant: &TenantId, kept: &Kept, shortages: &[Shortage]) {
        self.left = self.left.saturating_sub(1);
        *self.passed.entry(tenant.clone()).or_default() += 1;
        if shortages.iter().any(|it| matches!(it.bound, Bound::Quota { .. })) {
            self.closes(ledger, tenant, kept);
        }
    }

    /// Takes notice of one who waits no longer, or whose tenant is to be looked at to the last.
    pub(super) fn pass_alone(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Closes a tenant if nobody of it can be served; says whether that is so.
    fn closes(&mut self, ledger: &Ledger, tenant: &TenantId, kept: &Kept) -> bool {
        let is_closed = ledger.is_closed(tenant, kept);
        if is_closed {
            let passed = self.passed.get(tenant).copied().unwrap_or(0);
            self.left = self.left.saturating_sub(ledger.asking_of(tenant).pods.saturating_sub(passed));
            self.closed.insert(tenant.clone());
        }
        is_closed
    }
}

/// Of what there would be enough, or not as little, without those in front.
fn beside(shortages: &[Shortage], anyhow: &[Shortage]) -> BTreeSet<ResourceKind> {
    shortages.iter().filter(|short| !anyhow.contains(short)).map(|short| short.kind.clone()).collect()
}

impl Ledger {
    /// Whether there is nothing for anybody who waits, while `kept` is kept for others.
    pub(super) fn has_nothing_left(&self, kept: &Kept) -> bool {
        self.is_any_exhausted(self.asking.everybody(), kept)
    }

    /// How many of a tenant wait, and for what.
    fn asking_of(&self, tenant: &TenantId) -> Asking {
        self.asking_of.get(tenant).copied().unwrap_or_default()
    }

    /// How many of a tenant wait.
    pub(super) fn waiting_of(&self, tenant: &TenantId) -> usize {
        usize::try_from(self.asking_of(tenant).pods).unwrap_or(usize::MAX)
    }

    /// Whether a tenant's quota has nothing left of something that each of its pods in the queue needs.
    fn is_closed(&self, tenant: &TenantId, kept: &Kept) -> bool {
        let mut needed = std::iter::once(&ResourceKind::Pods).chain(self.asking_of(tenant).everybody());
        needed.any(|kind| self.is_quota_used_up(tenant, kind, kept))
    }

    fn is_quota_used_up(&self, tenant: &TenantId, kind: &ResourceKind, kept: &Kept) -> bool {
        let Some(most) = self.quota(tenant).quota.bound(kind) else { return false };
        let used = self.used.get(tenant).map_or(0, |used| used.get(kind));
        most <= used.saturating_add(kept.of_quota(tenant, kind))
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
        let asked = asked(demand);
        let wanted = || COMMON.iter().zip(asked).filter(|(_, asked)| *asked != 0).map(|(kind, _)| kind);
        let of_quota = || std::iter::once(&ResourceKind::Pods).chain(wanted());
        let (mut kept, mut walk) = (Kept::default(), Walk::begin(self));
        for (_, waiting) in self.waiting.range(..rank) {
            let is_own = waiting.tenant == *tenant;
            // What is kept of the quota counts for those of the same tenant alone.
            let has_no_quota = || is_own && of_quota().any(|kind| self.is_quota_used_up(tenant, kind, &kept));
            if walk.is_over() || has_no_quota() || self.is_any_exhausted(wanted(), &kept) {
                break;
            }
            if is_own {
                self.keep_for(&mut kept, waiting);
                walk.pass_alone();
            } else if walk.looks_at(self, &waiting.tenant, &kept) {
                let shortages = self.keep_for(&mut kept, waiting);
                walk.pass(self, &waiting.tenant, &kept, &shortages);
            }
        }
        self.available(tenant, demand, &kept)
    }

    /// Where a pod stands in the queue, if it waits.
    #[must_use]
    pub fn place(&self, pod: PodUid) -> Option<Place> {
        let (rank, waiting) = self.waits(pod)?;
        let in_front = self.waiting.range(..rank).count();
        let shortages = self.reason(pod).unwrap_or_default();
        Some(self.place_of(waiting, in_front, shortages))
    }

    fn place_of(&self, waiting: &Waiting, in_front: usize, shortages: Vec<Shortage>) -> Place {
        let kept = match in_front {
            0 => BTreeSet::new(),
            _ => self.because_of_others(&waiting.tenant, &waiting.demand, &shortages),
        };
        Place { pod: waiting.pod, since: waiting.since, in_front, shortages, kept }
    }

    /// Of what somebody is short because something is kept for others.
    fn because_of_others(
        &self,
        tenant: &TenantId,
        demand: &Demand,
        shortages: &[Shortage],
    ) -> BTreeSet<ResourceKind> {
        let anyhow = self.available(tenant, demand, &Kept::default()).err().unwrap_or_default();
        beside(shortages, &anyhow)
    }

    /// The refusal of somebody who would stand at this place.
    pub(super) fn refused(
        &self,
        rank: Rank,
        tenant: &TenantId,
        demand: &Demand,
        shortages: Vec<Shortage>,
    ) -> LedgerRejection {
        let anyhow = self.available(tenant, demand, &Kept::default()).err().unwrap_or_default();
        self.refused_beside(rank, &anyhow, shortages)
    }

    /// As [`Ledger::refused`], of somebody who would be as short of `anyhow` if nobody waited.
    pub(super) fn refused_beside(
        &self,
        rank: Rank,
        anyhow: &[Shortage],
        shortages: Vec<Shortage>,
    ) -> LedgerRejection {
        let pods = self.waiting.range(..rank).count();
        let kinds = if pods == 0 { BTreeSet::new() } else { beside(&shortages, anyhow) };
        let in_front = (!kinds.is_empty()).then_some(InFront { pods, kinds });
        LedgerRejection::Insufficient { shortages, in_front }
    }

    /// Everybody's place, the first first.
    #[must_use]
    pub fn queue(&self) -> Vec<Place> {
        let mut kept = Kept::default();
        let places = self.waiting.values().enumerate().map(|(in_front, waiting)| {
            let short = self.available(&waiting.tenant, &waiting.demand, &kept).err();
            let shortages = short.unwrap_or_default();
            self.keep(&mut kept, waiting, &shortages);
            self.place_of(waiting, in_front, shortages)
        });
        places.collect()
    }
}
