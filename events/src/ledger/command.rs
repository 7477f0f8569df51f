//! What may be asked of the ledger, and why it may refuse.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::capacity::Capacity;
use super::claims::{Demand, Port, ReservationRef, WhenFull};
use super::event::{Drift, DriftFound, ReleaseReason, StaleReason, UseRecorded};
use super::grant::Shortage;
use super::policy::{LedgerPolicy, Limits, LimitsError, Preset};
use super::queue::InFront;
use super::resize::ResizeHolding;
use super::resource::ResourceKind;
use super::tenant::{Tenant, TenantError, TenantId};
use crate::ids::PodUid;

/// A request to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerCommand {
    /// The machine was looked at.
    SetCapacity(Box<Capacity>),
    /// The config says this. What an operator set since the config last changed stays in force.
    Configure(Box<LedgerPolicy>),
    /// Put these numbers in force.
    SetPolicy(Box<LedgerPolicy>),
    /// Put these limits in force.
    SetLimits {
        /// Of what.
        kind: ResourceKind,
        /// The limits.
        limits: Limits,
    },
    /// Put a named set of limits in force for processors, memory and disk. Their hard limits stay.
    SetPreset(Preset),
    /// Say what a tenant may have.
    SetTenant {
        /// Whose.
        id: TenantId,
        /// What it may have.
        tenant: Box<Tenant>,
    },
    /// Forget a tenant's bounds: the node's default holds again.
    RemoveTenant {
        /// Whose.
        id: TenantId,
    },
    /// Give a pod all that it needs, or let it wait.
    Admit(Box<Admit>),
    /// Take back what a pod has, or its place in the queue.
    Release {
        /// Whose.
        pod: PodUid,
        /// Why.
        reason: ReleaseReason,
    },
    /// Give a pod that goes on other amounts, besides what it has until that is settled.
    Resize(Box<ResizeHolding>),
    /// The runtime holds a pod to its new amounts, or to the old ones again.
    SettleResize {
        /// Whose.
        pod: PodUid,
        /// The generation of the pod that the new amounts are for.
        generation: u32,
        /// Whether it has the new ones.
        done: bool,
    },
    /// Keep something for somebody.
    Reserve(Box<Reserve>),
    /// Give up a reservation.
    Cancel {
        /// Which, and what shows that one has it.
        reservation: ReservationRef,
        /// Who asks.
        owner: String,
    },
    /// Give up a reservation in its owner's place: for operators.
    Revoke {
        /// Which.
        reservation: Uuid,
    },
    /// A time that the ledger waits for may have come, or the node takes pods again: look who can have what he waits for.
    CheckTime,
    /// Give out nothing of this from now on.
    StopManager {
        /// A resource of the manager.
        kind: ResourceKind,
        /// Why.
        reason: String,
    },
    /// Give it out again.
    StartManager {
        /// A resource of the manager.
        kind: ResourceKind,
    },
    /// All that differs between machine and ledger.
    ReportDrift(DriftReport),
    /// How much was really used.
    RecordUse(Box<UseRecorded>),
    /// Somebody listens on these ports, as far as it was looked: those that are leased to nobody are given to nobody.
    SeePorts {
        /// Which.
        listened: BTreeSet<Port>,
    },
}

/// What a look at the machine found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriftReport {
    /// All that differs.
    pub found: Vec<DriftFound>,
    /// Words of the kinds of which all could not be seen, see [`Drift::WORDS`]: what was found of them before may still be
    /// so.
    pub unseen: BTreeSet<&'static str>,
}

/// A pod that needs resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admit {
    /// Which.
    pub pod: PodUid,
    /// Its namespace: says on whose account.
    pub namespace: String,
    /// What it asks for.
    pub demand: Demand,
    /// Its priority.
    pub priority: i32,
    /// What happens if there is no room now.
    pub when_full: WhenFull,
    /// The reservation that it takes up, and who asks for that.
    pub reservation: Option<(ReservationRef, String)>,
    /// Whether it runs already: it is given what it asks for even if that is more than there is. About what runs, the
    /// world is right and the ledger is not.
    pub adopt: bool,
    /// Whether it was let into the queue before and only comes back there: a bound of its priority that came since is none
    /// of it.
    pub waited: bool,
    /// Whether it is not made to leave for another's sake: what runs in it must not be cut off.
    pub stays: bool,
}

/// A wish to have something kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// Its name to be.
    pub reservation: Uuid,
    /// Who may take it up or give it up.
    pub owner: String,
    /// The namespace of the pod to be: says on whose account.
    pub namespace: String,
    /// What is to be kept.
    pub demand: Demand,
    /// For how long, in milliseconds.
    pub ttl_ms: u64,
}

/// Why the ledger refused a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum LedgerRejection {
    /// There is too little of something.
    #[error("{}", told(shortages, in_front.as_ref()))]
    Insufficient {
        /// Everything that there is too little of.
        shortages: Vec<Shortage>,
        /// Who waits in front, if something of it is kept for them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_front: Option<InFront>,
    },
    /// A pod's priority is more than its tenant's pods may have.
    #[error("priority {priority} is more than pods of tenant {tenant} may have ({most})")]
    PriorityTooHigh {
        /// Whose pod it is.
        tenant: TenantId,
        /// What was asked for.
        priority: i32,
        /// The bound.
        most: i32,
    },
    /// As many pods wait as may, in all or of this tenant.
    #[error("{waiting} pods wait for room already; no more are taken")]
    QueueFull {
        /// How many wait.
        waiting: usize,
    },
    /// Whoever speaks for a reservation does not have it.
    #[error("reservation {reservation} with token {token}: {reason}")]
    StaleToken {
        /// Which.
        reservation: Uuid,
        /// The token that was shown.
        token: u64,
        /// What is wrong with it.
        reason: StaleReason,
    },
    /// A reservation is there already, and it is another.
    #[error("reservation {reservation} exists and is another")]
    ReservationExists {
        /// Which.
        reservation: Uuid,
    },
    /// A time that is too short or too long.
    #[error("a reservation must last from 1 ms to 30 days, not {ttl_ms} ms")]
    BadTtl {
        /// What was asked for.
        ttl_ms: u64,
    },
    /// As many reservations are there as may be.
    #[error("there are {there} reservations already; no more are taken")]
    TooManyReservations {
        /// How many there are.
        there: usize,
    },
    /// The node takes nothing new.
    #[error("the node is cordoned: {reason}")]
    Cordoned {
        /// Why.
        reason: String,
    },
    /// A pod is getting other amounts already.
    #[error("the pod is being resized (generation {generation}); try again once that is over")]
    ResizeOpen {
        /// The generation of the pod that they are for.
        generation: u32,
    },
    /// Limits that cannot be.
    #[error(transparent)]
    Limits {
        /// What is wrong.
        #[from]
        error: LimitsError,
    },
    /// A tenant that cannot be.
    #[error(transparent)]
    Tenant {
        /// What is wrong.
        #[from]
        error: TenantError,
    },
    /// A namespace is another tenant's.
    #[error("namespace `{namespace}` is tenant {owner}'s already")]
    NamespaceTaken {
        /// Which.
        namespace: String,
        /// Whose.
        owner: TenantId,
    },
    /// No such tenant was set.
    #[error("tenant {id} has no bounds of its own")]
    NoSuchTenant {
        /// Who.
        id: TenantId,
    },
    /// A grace that is too long.
    #[error("the grace of preemption must be at most 3600 s, is {grace_s} s")]
    BadGrace {
        /// What was asked for.
        grace_s: u32,
    },
    /// A bound of priorities that is none.
    #[error("the bound of pods' priorities must be from 0 to {}, is {most}", super::policy::PRIORITY_MAX)]
    BadPriority {
        /// What was asked for.
        most: i32,
    },
    /// Nothing gives out such a resource.
    #[error("this node has no {kind}")]
    NoSuchResource {
        /// What was named.
        kind: ResourceKind,
    },
    /// A reason is too long, or in words that a terminal would obey.
    #[error("reason must be one line of at most 256 bytes without control characters")]
    BadReason,
    /// A sum that cannot be counted.
    #[error("the containers together ask for more {kind} than can be counted")]
    Uncountable {
        /// Of what.
        kind: ResourceKind,
    },
    /// A pod's name for its tenant is none.
    #[error("namespace `{namespace}` is no tenant's name")]
    BadNamespace {
        /// What was given.
        namespace: String,
    },
}

/// All shortages in one sentence, and why there may be less than is given out to nobody.
fn told(shortages: &[Shortage], in_front: Option<&InFront>) -> String {
    let each: Vec<String> = shortages.iter().map(ToString::to_string).collect();
    let front = in_front.map_or_else(String::new, |front| format!("; {front}"));
    format!("insufficient resources: {}{front}", each.join("; "))
}

impl LedgerRejection {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            LedgerRejection::Insufficient { .. } => "insufficient-resources",
            LedgerRejection::PriorityTooHigh { .. } => "priority-too-high",
            LedgerRejection::QueueFull { .. } => "queue-full",
            LedgerRejection::StaleToken { .. } => "stale-token",
            LedgerRejection::ReservationExists { .. } => "reservation-exists",
            LedgerRejection::BadTtl { .. } => "bad-ttl",
            LedgerRejection::TooManyReservations { .. } => "too-many-reservations",
            LedgerRejection::Cordoned { .. } => "cordoned",
            LedgerRejection::ResizeOpen { .. } => "resize-in-progress",
            LedgerRejection::Limits { .. } => "bad-limits",
            LedgerRejection::Tenant { .. } => "bad-tenant",
            LedgerRejection::NamespaceTaken { .. } => "namespace-taken",
            LedgerRejection::NoSuchTenant { .. } => "no-such-tenant",
            LedgerRejection::BadGrace { .. } => "bad-grace",
            LedgerRejection::BadPriority { .. } => "bad-priority",
            LedgerRejection::NoSuchResource { .. } => "no-such-resource",
            LedgerRejection::BadReason => "bad-reason",
            LedgerRejection::Uncountable { .. } => "uncountable",
            LedgerRejection::BadNamespace { .. } => "bad-namespace",
        }
    }
}

/// What became of a pod's wish for resources: told to the pod by the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It has them.
    Granted,
    /// It waits for them.
    Waiting,
    /// It does not get them.
    Refused(Box<LedgerRejection>),
}

impl StaleReason {
    /// Its word, for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            StaleReason::Gone => "gone",
            StaleReason::Token => "token",
            StaleReason::Expired => "expired",
            StaleReason::Owner => "owner",
        }
    }
}

impl Drift {
    /// The word of [`Drift::StrayCgroup`].
    pub const STRAY_CGROUP: &str = "stray-cgroup";
    /// The word of [`Drift::RunsWithoutGrant`].
    pub const RUNS_WITHOUT_GRANT: &str = "runs-without-grant";
    /// The word of [`Drift::ForeignListener`].
    pub const FOREIGN_LISTENER: &str = "foreign-listener";
    /// The word of [`Drift::StrayInterface`].
    pub const STRAY_INTERFACE: &str = "stray-interface";
    /// The word of [`Drift::WrongCpus`].
    pub const WRONG_CPUS: &str = "wrong-cpus";
    /// The word of every kind.
    pub const WORDS: [&str; 5] = [
        Drift::STRAY_CGROUP,
        Drift::RUNS_WITHOUT_GRANT,
        Drift::FOREIGN_LISTENER,
        Drift::STRAY_INTERFACE,
        Drift::WRONG_CPUS,
    ];

    /// A word for its kind, for metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Drift::StrayCgroup(_) => Drift::STRAY_CGROUP,
            Drift::RunsWithoutGrant(_) => Drift::RUNS_WITHOUT_GRANT,
            Drift::ForeignListener(_) => Drift::FOREIGN_LISTENER,
            Drift::StrayInterface(_) => Drift::STRAY_INTERFACE,
            Drift::WrongCpus(_) => Drift::WRONG_CPUS,
        }
    }
}
