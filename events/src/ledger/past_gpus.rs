//! Payloads from when GPUs could not be asked for by their TFLOPS, and how today's are made of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::capacity::{Capacity, GpuDevice, GpuUuid, PortRange, SubnetRange};
use super::claims::{Claims, Demand, GpuClaim, Port, Qos, ReservationRef, WhenFull};
use super::event::{Allocated, CapacitySet, Queued, Reserved};
use super::grant::{Bound, Grant, HolderId, Shortage};
use super::resource::{CustomName, ResourceKind};
use super::tenant::TenantId;
use crate::cpu::CpuTopology;
use crate::ids::PodUid;
use crate::units::{Bytes, MilliCpu, Timestamp};

/// `ledger.capacity-set` version 1: the compute of a GPU was not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "CapacitySet", rename_all = "camelCase")]
pub struct CapacitySetV1 {
    /// What there was.
    pub capacity: CapacityV1,
}

/// What the node could give out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Capacity", rename_all = "camelCase")]
pub struct CapacityV1 {
    /// See [`Capacity`]; so for all fields here.
    pub cpus: CpuTopology,
    /// Memory.
    pub memory: Bytes,
    /// Disk.
    pub disk: Bytes,
    /// GPUs.
    pub gpus: Vec<GpuDeviceV1>,
    /// Ports.
    pub ports: PortRange,
    /// Subnets.
    pub subnets: SubnetRange,
    /// What the operator counted.
    pub custom: BTreeMap<CustomName, u64>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "GpuDevice", rename_all = "camelCase")]
pub struct GpuDeviceV1 {
    /// Which.
    pub uuid: GpuUuid,
    /// What it was called.
    pub model: String,
    /// Its memory.
    pub memory: Bytes,
}

/// `ledger.allocated` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Allocated", rename_all = "camelCase")]
pub struct AllocatedV1 {
    /// See [`Allocated`]; so for all fields here.
    pub pod: PodUid,
    /// Tenant.
    pub tenant: TenantId,
    /// Priority.
    pub priority: i32,
    /// What it asked for.
    pub demand: DemandV1,
    /// What it was given.
    pub grant: Grant,
    /// When.
    pub at: Timestamp,
}

/// `ledger.queued` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Queued", rename_all = "camelCase")]
pub struct QueuedV1 {
    /// See [`Queued`]; so for all fields here.
    pub pod: PodUid,
    /// Tenant.
    pub tenant: TenantId,
    /// Priority.
    pub priority: i32,
    /// What it asked for.
    pub demand: DemandV1,
    /// What it was short of.
    pub shortages: Vec<ShortageV1>,
    /// Since when.
    pub at: Timestamp,
}

/// `ledger.reserved` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Reserved", rename_all = "camelCase")]
pub struct ReservedV1 {
    /// See [`Reserved`]; so for all fields here.
    pub reservation: Uuid,
    /// Owner.
    pub owner: String,
    /// Tenant.
    pub tenant: TenantId,
    /// What was asked for.
    pub demand: DemandV1,
    /// What was kept.
    pub grant: Grant,
    /// Token.
    pub token: u64,
    /// From when on it was over.
    pub expires_at: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// Everything that one holder needed at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Demand", rename_all = "camelCase")]
pub struct DemandV1 {
    /// See [`Demand`]; so for all fields here.
    pub cpu: MilliCpu,
    /// Processors of its own.
    pub exclusive_cpus: bool,
    /// Memory.
    pub memory: Bytes,
    /// Disk.
    pub disk: Bytes,
    /// GPUs.
    pub gpu: Option<GpuClaimV1>,
    /// Ports by number.
    pub fixed_ports: BTreeSet<Port>,
    /// Ports that the node chose.
    pub ports: u16,
    /// A subnet.
    pub subnet: bool,
    /// What the operator counted.
    pub custom: BTreeMap<CustomName, u64>,
}

/// GPUs that a pod asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "GpuClaim", rename_all = "camelCase")]
pub struct GpuClaimV1 {
    /// How many.
    pub count: u32,
    /// Percent of the compute of each.
    pub share: Option<u32>,
    /// Memory of each.
    pub memory: Option<Bytes>,
    /// The devices that would do.
    pub uuids: BTreeSet<GpuUuid>,
}

/// What a pod's manifest asked of the node beside its containers, as `pod.admitted` version 2 had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Claims", rename_all = "camelCase")]
pub struct ClaimsV1 {
    /// See [`Claims`]; so for all fields here.
    pub priority: i32,
    /// Processors of its own.
    pub exclusive_cpus: bool,
    /// GPUs.
    pub gpu: Option<GpuClaimV1>,
    /// Ports that the node chose.
    pub ports: u16,
    /// A subnet.
    pub subnet: bool,
    /// What happened if there was no room.
    pub when_full: WhenFull,
    /// The reservation that it took up.
    pub reservation: Option<ReservationRef>,
}

/// One thing that a demand was short of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Shortage", rename_all = "camelCase")]
pub struct ShortageV1 {
    /// See [`Shortage`]; so for all fields here.
    pub kind: ResourceKind,
    /// Asked.
    pub asked: u64,
    /// Free.
    pub free: u64,
    /// Bound.
    pub bound: BoundV1,
    /// Holder.
    pub holder: Option<HolderId>,
}

/// What set a bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Bound", rename_all = "camelCase")]
pub enum BoundV1 {
    /// See [`Bound`]; so for all variants here.
    Free,
    /// The node.
    Node {
        /// In all.
        allocatable: u64,
    },
    /// A quota.
    Quota {
        /// Whose.
        tenant: TenantId,
        /// The bound.
        most: u64,
    },
    /// What one pod might ask for.
    PodMax {
        /// Whose.
        tenant: TenantId,
        /// The bound.
        most: u64,
    },
    /// A port.
    Port(Port),
    /// A device.
    Device,
    /// A manager was stopped.
    Stopped {
        /// Why.
        reason: String,
    },
    /// It was not said.
    Unstated,
    /// A reservation.
    Reservation,
}

impl From<CapacitySetV1> for CapacitySet {
    fn from(past: CapacitySetV1) -> CapacitySet {
        let CapacityV1 { cpus, memory, disk, gpus, ports, subnets, custom } = past.capacity;
        let gpus = gpus.into_iter().map(GpuDevice::from).collect();
        CapacitySet { capacity: Capacity { cpus, memory, disk, gpus, ports, subnets, custom } }
    }
}

impl From<GpuDeviceV1> for GpuDevice {
    fn from(past: GpuDeviceV1) -> GpuDevice {
        let GpuDeviceV1 { uuid, model, memory } = past;
        GpuDevice { uuid, model, memory, tflops: None }
    }
}

impl From<AllocatedV1> for Allocated {
    fn from(past: AllocatedV1) -> Allocated {
        let AllocatedV1 { pod, tenant, priority, demand, grant, at } = past;
        Allocated { pod, tenant, priority, demand: demand.into(), grant, at, stays: false }
    }
}

impl From<QueuedV1> for Queued {
    fn from(past: QueuedV1) -> Queued {
        let QueuedV1 { pod, tenant, priority, demand, shortages, at } = past;
        let shortages = shortages.into_iter().map(Shortage::from).collect();
        Queued { pod, tenant, priority, demand: demand.into(), shortages, at, stays: false }
    }
}

impl From<ReservedV1> for Reserved {
    fn from(past: ReservedV1) -> Reserved {
        let ReservedV1 { reservation, owner, tenant, demand, grant, token, expires_at, at } = past;
        Reserved { reservation, owner, tenant, demand: demand.into(), grant, token, expires_at, at }
    }
}

impl From<DemandV1> for Demand {
    fn from(past: DemandV1) -> Demand {
        let DemandV1 { cpu, exclusive_cpus, memory, disk, gpu, fixed_ports, ports, subnet, custom } = past;
        let gpu = gpu.map(GpuClaim::from);
        Demand { cpu, exclusive_cpus, memory, disk, gpu, fixed_ports, ports, subnet, custom }
    }
}

impl From<GpuClaimV1> for GpuClaim {
    fn from(past: GpuClaimV1) -> GpuClaim {
        let GpuClaimV1 { count, share, memory, uuids } = past;
        GpuClaim { count, share, memory, uuids, tflops: None }
    }
}

impl From<ClaimsV1> for Claims {
    fn from(past: ClaimsV1) -> Claims {
        let ClaimsV1 { priority, exclusive_cpus, gpu, ports, subnet, when_full, reservation } = past;
        let (gpu, qos) = (gpu.map(GpuClaim::from), Qos::default());
        let container_gpus = BTreeMap::new();
        Claims { priority, exclusive_cpus, gpu, ports, subnet, when_full, reservation, qos, container_gpus }
    }
}

impl From<ShortageV1> for Shortage {
    fn from(past: ShortageV1) -> Shortage {
        let ShortageV1 { kind, asked, free, bound, holder } = past;
        Shortage { kind, asked, free, bound: bound.into(), holder }
    }
}

impl From<BoundV1> for Bound {
    fn from(past: BoundV1) -> Bound {
        match past {
            BoundV1::Free => Bound::Free,
            BoundV1::Node { allocatable } => Bound::Node { allocatable },
            BoundV1::Quota { tenant, most } => Bound::Quota { tenant, most },
            BoundV1::PodMax { tenant, most } => Bound::PodMax { tenant, most },
            BoundV1::Port(port) => Bound::Port(port),
            BoundV1::Device => Bound::Device,
            BoundV1::Stopped { reason } => Bound::Stopped { reason },
            BoundV1::Unstated => Bound::Unstated,
            BoundV1::Reservation => Bound::Reservation,
        }
    }
}
