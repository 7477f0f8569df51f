//! Managers of resources: each knows what there is of its resource, what of it is given out, and to whom what would be
//! given next. All of them answer to one interface.

mod composite;
mod counted;
mod cpu;
mod gpu;
mod gpu_short;
mod network;
mod telemetry;

use serde::{Deserialize, Serialize};

pub use composite::Managers;
pub use counted::CountedManager;
pub use cpu::CpuManager;
pub use gpu::{GpuManager, GpuStanding};
pub use network::NetworkManager;
pub use telemetry::{Figure, ManagerMetrics, ResourceMetrics, Seen};

use super::capacity::Capacity;
use super::claims::Demand;
use super::grant::{Bound, Grant, HolderId, Shortage};
use super::kept::Kept;
use super::policy::{LedgerPolicy, Limits, LimitsError};
use super::resource::ResourceKind;

/// What every manager of a resource can do. Nothing in here does I/O: deciding and doing are one step, so nothing can
/// come between a check and what follows from it.
pub trait ResourceManager {
    /// The resources that it gives out, its own name first.
    fn kinds(&self) -> Vec<ResourceKind>;

    /// Whether a demand could be met now: adds what would be given to `grant`, or every shortage to `short`.
    fn check_availability(
        &self,
        demand: &Demand,
        terms: &Terms<'_>,
        grant: &mut Grant,
        short: &mut Vec<Shortage>,
    );

    /// Adds what a demand that must wait is to find later to what is kept from those behind it.
    fn keep(&self, demand: &Demand, policy: &LedgerPolicy, kept: &mut Kept);

    /// Gives what a grant says.
    ///
    /// # Errors
    /// Something of it is not there, or somebody else has it; nothing was given then.
    fn allocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict>;

    /// Takes back what a grant says.
    ///
    /// # Errors
    /// The holder does not have it; nothing was taken then.
    fn deallocate(&mut self, holder: HolderId, grant: &Grant) -> Result<(), Conflict>;

    /// How much there is, and how much of it is given out, of each of its resources.
    fn usage(&self, strict: bool) -> Vec<(ResourceKind, Usage)>;

    /// Takes notice of what the machine has now. What is given out stays given, even if it is more than that.
    fn set_capacity(&mut self, capacity: &Capacity);

    /// The limits of one of its resources.
    fn limits(&self, kind: &ResourceKind) -> Limits;

    /// Puts limits in force from here on.
    ///
    /// # Errors
    /// They do not fit the machine; the old ones stay.
    fn update_limits(&mut self, kind: &ResourceKind, limits: Limits) -> Result<(), LimitsError>;

    /// Whether not the least of one of its resources can be had now.
    fn is_exhausted(&self, kind: &ResourceKind, terms: &Terms<'_>) -> bool;

    /// What it has done so far, and whether it was stopped.
    fn state(&self) -> &ManagerState;

    /// The same, to be changed.
    fn state_mut(&mut self) -> &mut ManagerState;

    /// Why it gives out nothing now, if it was stopped.
    fn stopped(&self) -> Option<&str> {
        self.state().stopped.as_deref()
    }

    /// Stops it, or starts it again. What is given out stays given.
    fn set_stopped(&mut self, reason: Option<String>) {
        self.state_mut().stopped = reason;
    }

    /// What it has done so far.
    fn tally(&self) -> Tally {
        self.state().tally
    }

    /// How much of what is free lies in pieces that are smaller than the largest, in percent; none if it does not
    /// matter where in the resource something lies.
    fn fragmentation(&self, _kind: &ResourceKind) -> Option<u32> {
        None
    }

    /// How much of its resource is really used, if that is known and says how it stands.
    fn worn(&self, seen: &Seen) -> Option<u64> {
        self.kinds().first().and_then(|kind| seen.used_by_machine.get(kind).copied())
    }

    /// What is wrong with it besides use and limits, if anything is.
    fn trouble(&self, _seen: &Seen, _strict: bool) -> Option<Health> {
        None
    }

    /// How it stands, given what was seen outside.
    fn health(&self, seen: &Seen, strict: bool) -> Health {
        if let Some(reason) = self.stopped() {
            return Health::Stopped(reason.to_owned());
        }
        let trouble = self.trouble(seen, strict);
        match (trouble, self.health_of_use(self.worn(seen), strict)) {
            (Some(trouble @ Health::Unhealthy(_)), _) => trouble,
            (_, unhealthy @ Health::Unhealthy(_)) => unhealthy,
            (Some(trouble), _) => trouble,
            (None, by_use) => by_use,
        }
    }

    /// How it stands by what is given out, and by how much is really used, if that is known.
    fn health_of_use(&self, used: Option<u64>, strict: bool) -> Health {
        let kinds = self.usage(strict);
        let overdrawn = kinds.iter().find(|(_, usage)| usage.allocatable < usage.allocated);
        let Some((kind, usage)) = kinds.first() else { return Health::Healthy };
        let really = || {
            let percent = used.and_then(|used| percent_of(used, usage.capacity)).unwrap_or(0);
            format!("{percent} % of {kind} is really used")
        };
        let is_beyond = |percent| used.is_some_and(|used| is_beyond(used, percent, usage.capacity));
        match overdrawn {
            _ if is_beyond(UNHEALTHY_PERCENT) => Health::Unhealthy(really()),
            _ if is_beyond(DEGRADED_PERCENT) => Health::Degraded(really()),
            Some((kind, usage)) => {
                let (given, most) = (kind.show(usage.allocated), kind.show(usage.allocatable));
                Health::Degraded(format!("{given} of {kind} is given out, where {most} may be"))
            }
            None => self.beyond_soft(strict).map_or(Health::Healthy, |(kind, given, soft)| {
                let (given, soft) = (kind.show(given), kind.show(soft));
                Health::Degraded(format!("{given} of {kind} is given out, beyond the soft limit of {soft}"))
            }),
        }
    }

    /// What it tells of itself, given what was seen outside: efficiency is of what is really used.
    fn metrics(&self, seen: &Seen, strict: bool) -> ManagerMetrics {
        let of = |(kind, usage): (ResourceKind, Usage)| ResourceMetrics {
            usage,
            limits: self.limits(&kind),
            reserved: seen.reserved.get(&kind),
            used_by_pods: seen.used_by_pods.get(&kind).copied(),
            used_by_machine: seen.used_by_machine.get(&kind).copied(),
            fragmentation_percent: self.fragmentation(&kind),
            kind,
        };
        let resources = self.usage(strict).into_iter().map(of).collect();
        ManagerMetrics { health: self.health(seen, strict), tally: self.tally(), resources }
    }

    /// Exports every figure of it, each with the resource that it is of.
    fn export_telemetry(&self, seen: &Seen, strict: bool, tell: &mut dyn FnMut(&ResourceKind, Figure<'_>)) {
        self.metrics(seen, strict).each(tell);
    }

    /// Of what more is given out than its soft limit: the kind, what is given out, and the limit.
    fn beyond_soft(&self, strict: bool) -> Option<(ResourceKind, u64, u64)> {
        self.usage(strict).into_iter().find_map(|(kind, usage)| {
            let soft = self.limits(&kind).soft_of(usage.capacity).filter(|soft| *soft < usage.allocated)?;
            Some((kind, usage.allocated, soft))
        })
    }
}

/// Real use from which on a resource is degraded, in percent of what is there.
const DEGRADED_PERCENT: u64 = 85;
/// Real use from which on it is unhealthy.
const UNHEALTHY_PERCENT: u64 = 95;

/// `part` in percent of `whole`, rounded down; none of nothing.
#[must_use]
pub fn percent_of(part: u64, whole: u64) -> Option<u64> {
    let exact = (u128::from(part) * 100).checked_div(u128::from(whole))?;
    Some(u64::try_from(exact).unwrap_or(u64::MAX))
}

/// Whether a part is more than so many percent of a whole, to the last unit.
fn is_beyond(part: u64, percent: u64, whole: u64) -> bool {
    whole != 0 && u128::from(whole) * u128::from(percent) < u128::from(part) * 100
}

/// The terms on which a demand is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The policy in force.
    pub policy: &'a LedgerPolicy,
    /// What is kept for those who wait in front.
    pub kept: &'a Kept,
}

/// How much there is of a resource and how much of it is given out, in the resource's unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// What the machine has.
    pub capacity: u64,
    /// What is given out at most.
    pub allocatable: u64,
    /// What is given out.
    pub allocated: u64,
}

impl Usage {
    /// What may still be given out.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.allocatable.saturating_sub(self.allocated)
    }
}

/// What a manager has done since the journal's beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Times that it gave something.
    pub allocations: u64,
    /// Times that it took something back.
    pub releases: u64,
}

/// What every manager keeps of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagerState {
    tally: Tally,
    stopped: Option<String>,
}

impl ManagerState {
    /// Counts that something was given, if it was anything.
    fn note_allocation(&mut self, is_any: bool) {
        self.tally.allocations += u64::from(is_any);
    }

    /// Counts that something was taken back, if it was anything.
    fn note_release(&mut self, is_any: bool) {
        self.tally.releases += u64::from(is_any);
    }
}

/// How a manager stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "reason")]
pub enum Health {
    /// As it should.
    Healthy,
    /// Somebody should look at it.
    Degraded(String),
    /// Pods are about to suffer.
    Unhealthy(String),
    /// It gives out nothing: an operator wants it so.
    Stopped(String),
}

impl Health {
    /// Its word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Health::Healthy => "Healthy",
            Health::Degraded(_) => "Degraded",
            Health::Unhealthy(_) => "Unhealthy",
            Health::Stopped(_) => "Stopped",
        }
    }

    /// Why, if it is not healthy.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Health::Healthy => None,
            Health::Degraded(reason) | Health::Unhealthy(reason) | Health::Stopped(reason) => Some(reason),
        }
    }
}

/// A grant that cannot be carried out: our own defect, or a damaged journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} of {holder}: {detail}")]
pub struct Conflict {
    /// Of what.
    pub kind: ResourceKind,
    /// Whose.
    pub holder: HolderId,
    /// What is wrong.
    pub detail: String,
}

/// Capacity, limits and sum of one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Book {
    capacity: u64,
    limits: Limits,
    allocated: u64,
}

impl Book {
    fn usage(&self, strict: bool) -> Usage {
        let allocatable = self.limits.allocatable(self.capacity, strict);
        Usage { capacity: self.capacity, allocatable, allocated: self.allocated }
    }

    fn update_limits(&mut self, kind: &ResourceKind, limits: Limits) -> Result<(), LimitsError> {
        limits.check_on(kind, self.capacity)?;
        self.limits = limits;
        Ok(())
    }

    /// What of an amount that is asked for cannot be had now.
    fn shortage(&self, kind: &ResourceKind, asked: u64, terms: &Terms<'_>) -> Option<Shortage> {
        let usage = self.usage(terms.policy.strict);
        let free = usage.free().saturating_sub(terms.kept.amount(kind));
        shortage(kind, asked, free, usage.allocatable)
    }
}

/// The shortage if more is asked for than is free.
fn shortage(kind: &ResourceKind, asked: u64, free: u64, allocatable: u64) -> Option<Shortage> {
    let bound = if allocatable < asked { Bound::Node { allocatable } } else { Bound::Free };
    (free < asked).then(|| Shortage { kind: kind.clone(), asked, free, bound, holder: None })
}

/// The sum after something is given, or the conflict that it cannot be counted.
fn plus(kind: &ResourceKind, holder: HolderId, sum: u64, amount: u64) -> Result<u64, Conflict> {
    sum.checked_add(amount).ok_or_else(|| conflict(kind, holder, "more than can be counted"))
}

/// The sum after something is taken back, or the conflict that there is not so much.
fn minus(kind: &ResourceKind, holder: HolderId, sum: u64, amount: u64) -> Result<u64, Conflict> {
    sum.checked_sub(amount).ok_or_else(|| conflict(kind, holder, "less is given out than is given back"))
}

fn conflict(kind: &ResourceKind, holder: HolderId, detail: impl Into<String>) -> Conflict {
    Conflict { kind: kind.clone(), holder, detail: detail.into() }
}
