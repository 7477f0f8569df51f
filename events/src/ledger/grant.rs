//! What a holder was given, and why another was not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::capacity::{GpuDevice, GpuUuid};
use super::claims::{Demand, GpuClaim, Port};
use super::resource::{Amounts, CustomName, ResourceKind};
use super::tenant::TenantId;
use crate::cpu::CpuSet;
use crate::ids::PodUid;
use crate::pod::spec::Protocol;
use crate::units::{Bytes, MilliCpu, MilliTflops};

/// Who holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HolderId {
    /// An incarnation of a pod.
    Pod(PodUid),
    /// A reservation: nobody uses it yet.
    Reservation(Uuid),
}

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HolderId::Pod(uid) => write!(f, "pod/{uid}"),
            HolderId::Reservation(id) => write!(f, "reservation/{id}"),
        }
    }
}

/// Everything that one holder was given, in one decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Processor time.
    pub cpu: MilliCpu,
    /// Processors that it has alone; none if it shares.
    pub cpus: Option<CpuSet>,
    /// Memory.
    pub memory: Bytes,
    /// Room on disk.
    pub disk: Bytes,
    /// GPUs.
    pub gpus: Vec<GpuGrant>,
    /// Ports that it named.
    pub fixed_ports: BTreeSet<Port>,
    /// Ports that were chosen for it, for every transport.
    pub ports: BTreeSet<u16>,
    /// Its subnet, by position in the node's range.
    pub subnet: Option<u32>,
    /// What the operator counts.
    pub custom: BTreeMap<CustomName, u64>,
}

/// What a holder was given of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuGrant {
    /// Which.
    pub uuid: GpuUuid,
    /// Percent of its compute.
    pub share: u32,
    /// Of its memory.
    pub memory: Bytes,
    /// Whether nobody else has it.
    pub whole: bool,
}

impl Grant {
    /// What was given by kind, which also counts against quotas; the pod itself is not in it.
    #[must_use]
    pub fn amounts(&self) -> Amounts {
        let sum = |of: fn(&GpuGrant) -> u64| self.gpus.iter().map(of).fold(0, u64::saturating_add);
        let known = [
            (ResourceKind::Cpu, self.cpu.0),
            (ResourceKind::Memory, self.memory.0),
            (ResourceKind::Disk, self.disk.0),
            (ResourceKind::Gpus, sum(|gpu| u64::from(gpu.whole))),
            (ResourceKind::GpuShare, sum(|gpu| u64::from(gpu.share))),
            (ResourceKind::GpuMemory, sum(|gpu| gpu.memory.0)),
            (ResourceKind::Ports, (self.fixed_ports.len() + self.ports.len()) as u64),
            (ResourceKind::Subnets, u64::from(self.subnet.is_some())),
        ];
        let custom = self.custom.iter().map(|(name, amount)| (ResourceKind::Custom(name.clone()), *amount));
        known.into_iter().chain(custom).collect()
    }

    /// What a demand asks for that this grant of a reservation has not. `device` knows the GPUs.
    #[must_use]
    pub fn lacks<'a>(
        &self,
        demand: &Demand,
        device: impl Fn(&GpuUuid) -> Option<&'a GpuDevice>,
    ) -> Vec<Shortage> {
        let (had, asked) = (self.amounts(), demand.amounts());
        let mut found = vec![];
        let mut check = |kind: &ResourceKind, asked: u64, free: u64| {
            if free < asked {
                let (kind, bound) = (kind.clone(), Bound::Reservation);
                found.push(Shortage { kind, asked, free, bound, holder: None });
            }
        };
        let by_itself =
            [ResourceKind::Gpus, ResourceKind::GpuShare, ResourceKind::GpuMemory, ResourceKind::Ports];
        for (kind, amount) in asked.iter().filter(|(kind, _)| !by_itself.contains(kind)) {
            let shares = *kind == ResourceKind::Cpu && demand.exclusive_cpus && self.cpus.is_none();
            check(kind, amount, if shares { 0 } else { had.get(kind) });
        }
        demand.fixed_ports.difference(&self.fixed_ports).for_each(|_| check(&ResourceKind::Ports, 1, 0));
        check(&ResourceKind::Ports, u64::from(demand.ports), self.ports.len() as u64);
        if let Some(claim) = &demand.gpu {
            let will_do = self.gpus.iter().filter(|gpu| gpu.meets(claim, device(&gpu.uuid))).count() as u64;
            check(&ResourceKind::Gpus, u64::from(claim.count), will_do);
        }
        found
    }

    /// Every port of it, by transport.
    pub fn all_ports(&self) -> impl Iterator<Item = Port> {
        let chosen = self.ports.iter().flat_map(|number| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| Port { number: *number, protocol })
        });
        self.fixed_ports.iter().copied().chain(chosen)
    }
}

impl GpuGrant {
    /// Whether this is as much of a device that will do as a claim asks for.
    fn meets(&self, claim: &GpuClaim, device: Option<&GpuDevice>) -> bool {
        let is_named = claim.uuids.is_empty() || claim.uuids.contains(&self.uuid);
        let is_enough = match device.map_or(Ok(claim.share), |device| claim.share_of(device)) {
            Ok(Some(share)) => share <= self.share,
            Ok(None) => self.whole,
            Err(_) => false,
        };
        is_named && is_enough && claim.memory.is_none_or(|memory| memory <= self.memory)
    }
}

/// One thing that a demand is short of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortage {
    /// Of what.
    pub kind: ResourceKind,
    /// How much was asked for.
    pub asked: u64,
    /// How much there is for it now.
    pub free: u64,
    /// What sets the bound.
    pub bound: Bound,
    /// Who holds it, if it is one thing.
    pub holder: Option<HolderId>,
}

/// What sets a bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Bound {
    /// What the node has left: more comes free when somebody leaves.
    Free,
    /// What the node has at all: it can never be had.
    Node {
        /// What it gives out in all.
        allocatable: u64,
    },
    /// A tenant's quota: more comes free when one of its pods leaves.
    Quota {
        /// Whose.
        tenant: TenantId,
        /// The bound.
        most: u64,
    },
    /// What one pod of the tenant may ask for.
    PodMax {
        /// Whose.
        tenant: TenantId,
        /// The bound.
        most: u64,
    },
    /// A port that somebody has.
    Port(Port),
    /// What one device has left; none has enough.
    Device,
    /// The manager of the resource was stopped by an operator.
    Stopped {
        /// Why.
        reason: String,
    },
    /// The node is strict and the pod does not say how much it needs.
    Unstated,
    /// What the reservation has.
    Reservation,
    /// There is no GPU of that name.
    UnknownGpu {
        /// Which.
        uuid: GpuUuid,
    },
    /// What the largest GPU that will do gives out.
    LargestGpu {
        /// The bound.
        most: u64,
    },
    /// The compute of a model of GPU is not known.
    UnknownModel {
        /// Which.
        model: String,
    },
    /// A model of GPU has less compute.
    BeyondModel {
        /// How much was asked for.
        asked: MilliTflops,
        /// Which.
        model: String,
        /// What it has.
        most: MilliTflops,
    },
    /// It is less than half a percent of a model of GPU.
    BelowOnePercent {
        /// How much was asked for.
        asked: MilliTflops,
        /// Which.
        model: String,
        /// The least that can be given.
        least: MilliTflops,
    },
}

impl Shortage {
    /// Whether waiting may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self.bound {
            Bound::Free | Bound::Port(_) | Bound::Device | Bound::Stopped { .. } => true,
            Bound::Quota { most, .. } => self.asked <= most,
            Bound::Node { .. } | Bound::PodMax { .. } | Bound::Unstated | Bound::Reservation => false,
            Bound::UnknownGpu { .. } | Bound::LargestGpu { .. } | Bound::UnknownModel { .. } => false,
            Bound::BeyondModel { .. } | Bound::BelowOnePercent { .. } => false,
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage { kind, asked, free, bound, holder: _ } = self;
        let (wanted, left) = (kind.show(*asked), kind.show(*free));
        match bound {
            Bound::Free => write!(f, "{kind}: {wanted} asked, {left} free"),
            Bound::Node { allocatable } => {
                write!(f, "{kind}: {wanted} asked, the node gives out {} in all", kind.show(*allocatable))
            }
            Bound::Quota { tenant, most } => {
                let most = kind.show(*most);
                write!(f, "{kind}: {wanted} asked, {left} left of the quota of tenant {tenant} ({most})")
            }
            Bound::PodMax { tenant, most } => {
                let most = kind.show(*most);
                write!(f, "{kind}: {wanted} asked, a pod of tenant {tenant} may have {most}")
            }
            Bound::Port(Port { number, protocol }) => write!(f, "port {number}/{protocol} is taken"),
            Bound::Device => {
                write!(f, "{kind}: {wanted} asked, no GPU that will do has more than {left} free")
            }
            Bound::Stopped { reason } => write!(f, "{kind}: not given out now ({reason})"),
            Bound::Unstated => {
                write!(f, "{kind}: the node is strict, and the pod does not say how much it needs")
            }
            Bound::Reservation => write!(f, "{kind}: {wanted} asked, the reservation has {left}"),
            Bound::UnknownGpu { uuid } => {
                write!(f, "gpu-uuids: there is no GPU {uuid} on this node that can be given out")
            }
            Bound::LargestGpu { most } => {
                let most = kind.show(*most);
                write!(f, "{kind}: {wanted} asked of one GPU, no GPU that will do gives out more than {most}")
            }
            Bound::UnknownModel { model } => write!(
                f,
                "gpu-tflops: the TFLOPS of the GPU model `{model}` are not known; name them in the config under \
                 `gpu.models`, or ask for a gpu-share"
            ),
            Bound::BeyondModel { asked, model, most } => {
                write!(f, "gpu-tflops: {asked} asked, the GPU model `{model}` has {most}")
            }
            Bound::BelowOnePercent { asked, model, least } => write!(
                f,
                "gpu-tflops: {asked} is less than half a percent of the GPU model `{model}`; ask for at least {least}"
            ),
        }
    }
}
