//! What a pod asks for: in its manifest, and summed up for the ledger.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::capacity::GpuUuid;
use super::division::GpuPick;
use super::resource::{Amounts, CustomName, ResourceKind};
use crate::names::ContainerName;
use crate::pod::PodSpec;
use crate::pod::spec::{ContainerSpec, Protocol, Resources};
use crate::units::{Bytes, MilliCpu, MilliTflops};

/// What a pod's manifest asks of the node beside the resources of its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// Who comes first where not all find room: more before less.
    pub priority: i32,
    /// Whether its processors are its own alone.
    pub exclusive_cpus: bool,
    /// Its GPUs.
    pub gpu: Option<GpuClaim>,
    /// Ports that the node chooses for it.
    pub ports: u16,
    /// Whether it leases a subnet.
    pub subnet: bool,
    /// What happens if there is no room for it now.
    pub when_full: WhenFull,
    /// The reservation that it takes up.
    pub reservation: Option<ReservationRef>,
    /// How much it matters beside others on the same GPU.
    #[serde(default)]
    pub qos: Qos,
    /// Which of its GPUs each container gets; one that is not in it gets none. Every container gets all of them if it is
    /// empty.
    #[serde(default)]
    pub container_gpus: BTreeMap<ContainerName, BTreeSet<GpuPick>>,
}

/// GPUs that a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuClaim {
    /// How many, from 1.
    pub count: u32,
    /// Percent of the compute of each, 1 to 100; none for the whole device, which nobody else has then.
    pub share: Option<u32>,
    /// Memory of each; with a share and without this, as much of the memory as of the compute.
    pub memory: Option<Bytes>,
    /// The devices that will do; any if empty.
    pub uuids: BTreeSet<GpuUuid>,
    /// Compute of each, of which the share is worked out for the device that it is placed on; never beside `share`.
    #[serde(default)]
    pub tflops: Option<MilliTflops>,
}

/// How much a pod matters beside others on the same GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Qos {
    /// It gives way first.
    Low,
    /// As most do.
    #[default]
    Medium,
    /// It gives way after most.
    High,
    /// It gives way last.
    Critical,
}

impl Qos {
    /// Each of them, the least first.
    pub const ALL: [Qos; 4] = [Qos::Low, Qos::Medium, Qos::High, Qos::Critical];

    /// The word for it, as in a manifest.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Qos::Low => "low",
            Qos::Medium => "medium",
            Qos::High => "high",
            Qos::Critical => "critical",
        }
    }
}

/// What happens to a pod for which there is no room now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// As the node's policy says.
    #[default]
    AsPolicy,
    /// It waits.
    Wait,
    /// It is refused.
    Refuse,
}

/// Names a reservation, and shows that one still has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationRef {
    /// Which.
    pub id: Uuid,
    /// The fencing token that came with it.
    pub token: u64,
}

/// Everything that one holder needs at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// Processor time; with `exclusive_cpus` whole cores.
    pub cpu: MilliCpu,
    /// Whether its processors are its own alone.
    pub exclusive_cpus: bool,
    /// Memory.
    pub memory: Bytes,
    /// Room on disk.
    pub disk: Bytes,
    /// GPUs.
    pub gpu: Option<GpuClaim>,
    /// Ports of the host by number.
    pub fixed_ports: BTreeSet<Port>,
    /// Ports that the node chooses.
    pub ports: u16,
    /// Whether a subnet is leased.
    pub subnet: bool,
    /// What the operator counts.
    pub custom: BTreeMap<CustomName, u64>,
}

/// A port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Number, 1 to 65535.
    pub number: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// An amount that a pod asks for, added up, is more than can be counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the containers together ask for more {kind} than can be counted")]
pub struct TooMuch {
    /// Of what.
    pub kind: ResourceKind,
}

impl Demand {
    /// What a pod needs: of each resource the sum over its containers, or the most that one of its init containers asks
    /// for if that is more, as in Kubernetes.
    ///
    /// # Errors
    /// A sum that cannot be counted.
    pub fn of(spec: &PodSpec) -> Result<Demand, TooMuch> {
        let Claims { exclusive_cpus, ref gpu, ports, subnet, .. } = spec.claims;
        let of = |kind, amount: fn(&Resources) -> u64| effective(spec, &amount).ok_or(TooMuch { kind });
        let cpu = of(ResourceKind::Cpu, |it| it.cpu_request.or(it.cpu_limit).map_or(0, |it| it.0))?;
        let memory =
            of(ResourceKind::Memory, |it| it.memory_request.or(it.memory_limit).map_or(0, |it| it.0))?;
        let disk = of(ResourceKind::Disk, |it| it.disk_request.or(it.disk_limit).map_or(0, |it| it.0))?;
        let names = spec.all_containers().flat_map(|(_, container)| container.resources.custom.keys());
        let custom = names.collect::<BTreeSet<_>>().into_iter().map(|name| {
            let amount = |it: &Resources| it.custom.get(name).copied().unwrap_or(0);
            let kind = || ResourceKind::Custom(name.clone());
            effective(spec, &amount).map(|sum| (name.clone(), sum)).ok_or_else(|| TooMuch { kind: kind() })
        });
        let declared = spec.containers.iter().flat_map(|container| &container.ports);
        Ok(Demand {
            cpu: MilliCpu(if exclusive_cpus { cpu.div_ceil(1_000).saturating_mul(1_000) } else { cpu }),
            exclusive_cpus: exclusive_cpus && cpu != 0,
            memory: Bytes(memory),
            disk: Bytes(disk),
            gpu: gpu.clone(),
            fixed_ports: declared.map(|port| Port { number: port.port, protocol: port.protocol }).collect(),
            ports,
            subnet,
            custom: custom.collect::<Result<_, _>>()?,
        })
    }

    /// What is asked for by kind, apart from which devices and ports. The memory of GPUs is what is asked for in so
    /// many words: what a share brings with it depends on the device, and so does the share that TFLOPS are.
    #[must_use]
    pub fn amounts(&self) -> Amounts {
        let gpu = self.gpu.as_ref();
        let count = gpu.map_or(0, |gpu| u64::from(gpu.count));
        let whole = gpu.is_some_and(GpuClaim::is_whole);
        // What TFLOPS are depends on the device, and is 1 percent at least.
        let least = if whole { 100 } else { 1 };
        let share = gpu.and_then(|gpu| gpu.share).map_or(least, u64::from);
        let gpu_memory = gpu.and_then(|gpu| gpu.memory).map_or(0, |memory| memory.0);
        let ports = self.fixed_ports.len() as u64 + u64::from(self.ports);
        let known = [
            (ResourceKind::Cpu, self.cpu.0),
            (ResourceKind::Memory, self.memory.0),
            (ResourceKind::Disk, self.disk.0),
            (ResourceKind::Gpus, if whole { count } else { 0 }),
            (ResourceKind::GpuShare, share.saturating_mul(count)),
            (ResourceKind::GpuMemory, gpu_memory.saturating_mul(count)),
            (ResourceKind::Ports, ports),
            (ResourceKind::Subnets, u64::from(self.subnet)),
        ];
        let custom = self.custom.iter().map(|(name, amount)| (ResourceKind::Custom(name.clone()), *amount));
        known.into_iter().chain(custom).collect()
    }
}

/// The sum over the containers, or the most of an init container; none if it cannot be counted.
fn effective(spec: &PodSpec, amount: &dyn Fn(&Resources) -> u64) -> Option<u64> {
    let of = |container: &ContainerSpec| amount(&container.resources);
    let sum = spec.containers.iter().map(of).try_fold(0_u64, u64::checked_add)?;
    Some(spec.init_containers.iter().map(of).fold(sum, u64::max))
}
