//! What happens to the ledger. Payloads are on disk for ever, see [`crate::pod::event`]. None of them names a pod but by
//! its uid: names are the pod's, and go with it when it is redacted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::capacity::Capacity;
use super::claims::{Demand, Port};
use super::grant::{Grant, Shortage};
use super::policy::LedgerPolicy;
pub use super::resize::{ResizeGranted, ResizeSettled};
use super::resource::ResourceKind;
use super::tenant::{Tenant, TenantId};
use crate::ids::PodUid;
use crate::units::{Bytes, MilliCpu, Timestamp};

/// What has happened to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerEvent {
    /// The machine has this.
    CapacitySet(Box<CapacitySet>),
    /// These numbers are in force from now on.
    PolicySet(Box<PolicySet>),
    /// A tenant may have this.
    TenantSet(Box<TenantSet>),
    /// A tenant has no bounds of its own any more.
    TenantRemoved(TenantRemoved),
    /// A pod was given all that it needs.
    Allocated(Box<Allocated>),
    /// A pod waits for room.
    Queued(Box<Queued>),
    /// A pod waits no longer: it is not to run any more.
    Withdrawn(Withdrawn),
    /// A pod gave back all that it had.
    Released(Released),
    /// Pods are to make way for another.
    PreemptionRequested(PreemptionRequested),
    /// Something is kept for somebody.
    Reserved(Box<Reserved>),
    /// A pod took up what was kept for it.
    ReservationActivated(ReservationActivated),
    /// Nobody took it up in time.
    ReservationExpired(ReservationExpired),
    /// Its owner gave it up.
    ReservationCancelled(ReservationCancelled),
    /// Somebody spoke for a reservation that is not his any more, and was refused.
    StaleTokenRefused(StaleTokenRefused),
    /// A manager gives out nothing from now on.
    ManagerStopped(ManagerStopped),
    /// It does again.
    ManagerStarted(ManagerStarted),
    /// A tenant uses more of a bound than its alert says.
    AlertRaised(AlertRaised),
    /// It does not any more.
    AlertCleared(AlertCleared),
    /// The machine has something that the ledger does not know, or lacks something that it does.
    DriftFound(DriftFound),
    /// That is over.
    DriftResolved(DriftResolved),
    /// How much pods really used for a while.
    UseRecorded(Box<UseRecorded>),
    /// Somebody who was not given them listens on these ports.
    ForeignPortsSeen(Box<ForeignPortsSeen>),
    /// A pod that goes on gets other amounts.
    ResizeGranted(ResizeGranted),
    /// A pod has them, or what it had before.
    ResizeSettled(ResizeSettled),
}

macro_rules! from_payload {
    ($($name:ident),* $(,)?) => {
        $(impl From<$name> for LedgerEvent {
            fn from(payload: $name) -> LedgerEvent {
                LedgerEvent::$name(payload)
            }
        })*
    };
}

macro_rules! from_large_payload {
    ($($name:ident),* $(,)?) => {
        $(impl From<$name> for LedgerEvent {
            fn from(payload: $name) -> LedgerEvent {
                LedgerEvent::$name(Box::new(payload))
            }
        })*
    };
}

from_payload!(
    TenantRemoved,
    Withdrawn,
    Released,
    PreemptionRequested,
    ReservationActivated,
    ReservationExpired,
    ReservationCancelled,
    StaleTokenRefused,
    ManagerStopped,
    ManagerStarted,
    AlertRaised,
    AlertCleared,
    DriftFound,
    DriftResolved,
    ResizeGranted,
    ResizeSettled,
);

from_large_payload!(
    CapacitySet,
    PolicySet,
    TenantSet,
    Allocated,
    Queued,
    Reserved,
    UseRecorded,
    ForeignPortsSeen,
);

/// `ledger.capacity-set` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacitySet {
    /// What there is.
    pub capacity: Capacity,
}

/// `ledger.policy-set` version 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicySet {
    /// The numbers.
    pub policy: LedgerPolicy,
    /// Whether they are the config's: what an operator sets while the service runs holds until the config changes.
    pub from_config: bool,
}

/// `ledger.tenant-set` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantSet {
    /// Whose.
    pub id: TenantId,
    /// What it may have.
    pub tenant: Tenant,
}

/// `ledger.tenant-removed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantRemoved {
    /// Whose.
    pub id: TenantId,
}

/// `ledger.allocated` version 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocated {
    /// To whom.
    pub pod: PodUid,
    /// On whose account.
    pub tenant: TenantId,
    /// Its priority.
    pub priority: i32,
    /// What it asked for, with what the tenant's defaults added.
    pub demand: Demand,
    /// What it was given.
    pub grant: Grant,
    /// When.
    pub at: Timestamp,
    /// Whether it is not made to leave for another's sake.
    pub stays: bool,
}

/// `ledger.queued` version 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queued {
    /// Who waits.
    pub pod: PodUid,
    /// On whose account.
    pub tenant: TenantId,
    /// Its priority.
    pub priority: i32,
    /// What it asks for, with what the tenant's defaults added.
    pub demand: Demand,
    /// What it was short of.
    pub shortages: Vec<Shortage>,
    /// Since when.
    pub at: Timestamp,
    /// Whether it is not made to leave for another's sake, once it runs.
    pub stays: bool,
}

/// `ledger.withdrawn` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawn {
    /// Who waited.
    pub pod: PodUid,
}

/// `ledger.released` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// Who had it.
    pub pod: PodUid,
    /// Why it has it no longer.
    pub reason: ReleaseReason,
}

/// Why a pod has its resources no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseReason {
    /// Nothing of it runs any more.
    Ended,
    /// It was refused after it had been given something.
    NotAdmitted,
    /// A start found it on the ledger, and it does not run.
    FoundAtStart,
    /// A look at all pods found it on the ledger, and it does not run.
    FoundLater,
}

/// `ledger.preemption-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreemptionRequested {
    /// For whom.
    pub pod: PodUid,
    /// Who makes way.
    pub victims: Vec<PodUid>,
    /// Seconds that they have to end.
    pub grace_s: u32,
}

/// `ledger.reserved` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reserved {
    /// Which reservation.
    pub reservation: Uuid,
    /// Who may take it up or give it up.
    pub owner: String,
    /// On whose account.
    pub tenant: TenantId,
    /// What was asked for.
    pub demand: Demand,
    /// What is kept.
    pub grant: Grant,
    /// Shows that one has it: larger than that of every earlier reservation.
    pub token: u64,
    /// From when on it is over.
    pub expires_at: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// `ledger.reservation-activated` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationActivated {
    /// Which.
    pub reservation: Uuid,
    /// Who has now what was kept.
    pub pod: PodUid,
    /// The pod's priority.
    pub priority: i32,
    /// When.
    pub at: Timestamp,
}

/// `ledger.reservation-expired` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationExpired {
    /// Which.
    pub reservation: Uuid,
}

/// `ledger.reservation-cancelled` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationCancelled {
    /// Which.
    pub reservation: Uuid,
}

/// `ledger.stale-token-refused` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StaleTokenRefused {
    /// Which reservation was spoken for.
    pub reservation: Uuid,
    /// The token that was shown.
    pub token: u64,
    /// What was to be done.
    pub verb: ReservationVerb,
    /// What is wrong with it.
    pub reason: StaleReason,
}

/// What can be done with a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReservationVerb {
    /// Take it up.
    Activate,
    /// Give it up.
    Cancel,
}

/// Why whoever speaks for a reservation does not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum StaleReason {
    /// There is none of that name, or not any more.
    #[error("there is no such reservation any more")]
    Gone,
    /// The token is another's.
    #[error("the token is not the reservation's")]
    Token,
    /// It is over.
    #[error("the reservation has expired")]
    Expired,
    /// It is somebody else's.
    #[error("the reservation is somebody else's")]
    Owner,
}

/// `ledger.manager-stopped` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagerStopped {
    /// A resource of the manager.
    pub kind: ResourceKind,
    /// Why.
    pub reason: String,
}

/// `ledger.manager-started` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagerStarted {
    /// A resource of the manager.
    pub kind: ResourceKind,
}

/// `ledger.alert-raised` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRaised {
    /// Who uses so much.
    pub tenant: TenantId,
    /// Of what.
    pub kind: ResourceKind,
    /// What it has.
    pub used: u64,
    /// What it may have.
    pub most: u64,
}

/// `ledger.alert-cleared` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertCleared {
    /// Who uses less.
    pub tenant: TenantId,
    /// Of what.
    pub kind: ResourceKind,
}

/// `ledger.drift-found` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftFound {
    /// What differs.
    pub drift: Drift,
    /// What was seen, and what to do about it.
    pub detail: String,
}

/// `ledger.drift-resolved` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftResolved {
    /// What does not differ any more.
    pub drift: Drift,
}

/// One way in which the machine is not as the ledger says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Drift {
    /// A control group of ours that belongs to no pod of the ledger.
    StrayCgroup(String),
    /// Containers of a pod run that holds nothing.
    RunsWithoutGrant(PodUid),
    /// A port that a pod leases is listened on by a process that is none of the pod's.
    ForeignListener(Port),
    /// A network interface of ours that belongs to no pod of the ledger.
    StrayInterface(String),
    /// A container runs on other processors than it was given.
    WrongCpus(PodUid),
}

/// `ledger.foreign-ports-seen` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignPortsSeen {
    /// All of them, in place of those that were seen before. They are given to nobody while this holds.
    pub ports: BTreeSet<Port>,
}

/// `ledger.use-recorded` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UseRecorded {
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// Each pod that ran.
    pub pods: Vec<PodUse>,
    /// The whole machine.
    pub node: NodeUse,
    /// All GPUs, by whomever they were used.
    pub gpus: GpuUsed,
}

/// How much a pod really used for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodUse {
    /// Which.
    pub pod: PodUid,
    /// Samples that this is made of.
    pub samples: u32,
    /// Mean processor time.
    pub cpu_mean: MilliCpu,
    /// Most processor time between two samples.
    pub cpu_max: MilliCpu,
    /// Mean memory.
    pub memory_mean: Bytes,
    /// Most memory.
    pub memory_max: Bytes,
    /// Disk, at the end.
    pub disk: Bytes,
    /// GPUs.
    pub gpus: GpuUsed,
}

/// How much of GPUs was really used for a while, over all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuUsed {
    /// Time that they were busy, in percent of one; none if it was never told, and of a pod that had nothing of any.
    pub share: Option<Measured>,
    /// Their memory, in bytes; none likewise.
    pub memory: Option<Measured>,
}

/// A figure that was measured some times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// How often.
    pub samples: u32,
    /// Its mean.
    pub mean: u64,
    /// The most that it was.
    pub max: u64,
}

/// How much of the machine was really used for a while.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeUse {
    /// Mean processor time of everything.
    pub cpu_mean: MilliCpu,
    /// Mean memory of everything.
    pub memory_mean: Bytes,
    /// Disk of the pods' folders, at the end.
    pub disk: Bytes,
}
