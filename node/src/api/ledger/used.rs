//! What is seen of resources beside what is given out: what pods themselves and everything on the machine really use, and
//! which GPUs are of no use.

use std::collections::BTreeMap;

use purser_actors::metering::{Latest, PodSample};
use purser_events::gpu::{Gpu, Health};
use purser_events::ledger::{ResourceKind, Seen};
use purser_events::{Timestamp, World};

use super::resources::reserved;

/// All that is seen from outside the managers.
pub(crate) fn seen(world: &World, measured: &Latest) -> Seen {
    let broken = world.gpus.iter().filter_map(|(uuid, gpu)| Some((uuid.clone(), broken(gpu)?)));
    Seen {
        used_by_pods: measured_of(|kind| used_by_pods(measured, kind).amount),
        used_by_machine: measured_of(|kind| used_by_machine(measured, kind)),
        reserved: reserved(world),
        gpus: world.gpus.len(),
        broken_gpus: broken.collect(),
    }
}

fn measured_of(of: impl Fn(&ResourceKind) -> Option<u64>) -> BTreeMap<ResourceKind, u64> {
    ResourceKind::KNOWN.into_iter().filter_map(|kind| of(&kind).map(|amount| (kind, amount))).collect()
}

/// In what way a GPU is of no use, if it is.
fn broken(gpu: &Gpu) -> Option<String> {
    let health = &gpu.known()?.health;
    match health {
        Health::Healthy | Health::Degraded { .. } | Health::Probation => None,
        Health::Unresponsive { .. } | Health::Lost { .. } | Health::Faulty { .. } => {
            let detail = health.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            Some(format!("is {}{detail}", health.word()))
        }
    }
}

/// What pods use of a resource together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// How much; none if it is not measured, or no pod that runs was yet.
    pub(super) amount: Option<u64>,
    /// When the oldest figure in it was measured; none if no pod runs.
    pub(super) as_of: Option<Timestamp>,
}

/// What pods use of a resource, each as it was measured last.
pub(super) fn used_by_pods(measured: &Latest, kind: &ResourceKind) -> Used {
    let sum = |of: fn(&PodSample) -> Option<(u64, Timestamp)>| sum(measured, of);
    match kind {
        ResourceKind::Cpu => sum(|sample| Some((sample.cpu?.0, sample.at))),
        ResourceKind::Memory => sum(|sample| Some((sample.memory.0, sample.at))),
        ResourceKind::Disk => sum(|sample| sample.disk.map(|(bytes, at)| (bytes.0, at))),
        ResourceKind::Ports => Used { amount: measured.ports, as_of: None },
        ResourceKind::GpuShare => Used { amount: measured.pod_gpus.share_percent, as_of: None },
        ResourceKind::GpuMemory => Used { amount: measured.pod_gpus.memory.map(|used| used.0), as_of: None },
        // Subnets have no network yet, and nothing counts what operators do.
        ResourceKind::Pods | ResourceKind::Gpus | ResourceKind::Subnets | ResourceKind::Custom(_) => {
            Used::default()
        }
    }
}

fn sum(measured: &Latest, of: fn(&PodSample) -> Option<(u64, Timestamp)>) -> Used {
    let figures: Vec<(u64, Timestamp)> = measured.pods.values().filter_map(of).collect();
    // Where nothing runs, nothing is used; where nothing was measured, that is not known.
    let is_known = !figures.is_empty() || measured.running == 0;
    let total = figures.iter().fold(0_u64, |sum, (amount, _)| sum.saturating_add(*amount));
    Used { amount: is_known.then_some(total), as_of: figures.iter().map(|(_, at)| *at).min() }
}

/// What everything on the machine uses of a resource.
pub(super) fn used_by_machine(measured: &Latest, kind: &ResourceKind) -> Option<u64> {
    let (node, gpus) = (measured.node, measured.gpus);
    match kind {
        ResourceKind::Cpu => node.map(|used| used.cpu_mean.0),
        ResourceKind::Memory => node.map(|used| used.memory_mean.0),
        ResourceKind::Disk => node.map(|used| used.disk.0),
        ResourceKind::GpuShare => gpus.share_percent,
        ResourceKind::GpuMemory => gpus.memory.map(|used| used.0),
        ResourceKind::Pods
        | ResourceKind::Gpus
        | ResourceKind::Ports
        | ResourceKind::Subnets
        | ResourceKind::Custom(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use purser_actors::port::GpuUse;
    use purser_events::ledger::event::NodeUse;
    use purser_events::{Bytes, MilliCpu, PodUid};
    use uuid::Uuid;

    use super::*;

    fn amount(measured: &Latest, kind: &ResourceKind) -> Option<u64> {
        used_by_pods(measured, kind).amount
    }

    #[test]
    fn what_pods_use_is_their_own_and_not_the_machines() {
        let sample = |at, cpu, disk| PodSample {
            at: Timestamp(at),
            cpu,
            memory: Bytes(100),
            disk: Some((Bytes(disk), Timestamp(1))),
        };
        let pods = [
            (PodUid(Uuid::from_u128(1)), sample(20, Some(MilliCpu(250)), 7)),
            (PodUid(Uuid::from_u128(2)), sample(10, None, 8)),
        ];
        let node = NodeUse { cpu_mean: MilliCpu(9_000), memory_mean: Bytes(9_000), disk: Bytes(9_000) };
        let gpus = GpuUse { share_percent: Some(130), memory: Some(Bytes(9_000)) };
        let pod_gpus = GpuUse { share_percent: Some(110), memory: Some(Bytes(8_000)) };
        let measured =
            Latest { node: Some(node), pods: pods.into(), running: 2, ports: Some(3), gpus, pod_gpus };
        let of = |kind| (used_by_pods(&measured, &kind), used_by_machine(&measured, &kind));
        let used = |amount, as_of| Used { amount: Some(amount), as_of: Some(Timestamp(as_of)) };
        assert_eq!(of(ResourceKind::Cpu), (used(250, 20), Some(9_000)));
        assert_eq!(of(ResourceKind::Memory), (used(200, 10), Some(9_000)));
        assert_eq!(of(ResourceKind::Disk), (used(15, 1), Some(9_000)));
        assert_eq!(of(ResourceKind::Ports), (Used { amount: Some(3), as_of: None }, None));
        let now = |amount| Used { amount: Some(amount), as_of: None };
        assert_eq!(of(ResourceKind::GpuShare), (now(110), Some(130)));
        assert_eq!(of(ResourceKind::GpuMemory), (now(8_000), Some(9_000)));
        for kind in [ResourceKind::Subnets, ResourceKind::Gpus, ResourceKind::Pods] {
            assert_eq!(of(kind), (Used::default(), None));
        }
    }

    #[test]
    fn what_was_not_measured_is_no_figure() {
        let idle = Latest::default();
        assert_eq!(
            (amount(&idle, &ResourceKind::Memory), amount(&idle, &ResourceKind::Ports)),
            (Some(0), None)
        );
        let unmeasured = Latest { running: 1, ..Latest::default() };
        assert_eq!(amount(&unmeasured, &ResourceKind::Memory), None);
    }
}
