//! What each pod uses of GPUs, as the driver tells it.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::ledger::{GpuUuid, HolderId};
use purser_events::{Bytes, PodUid, World};

use crate::port::{GpuPart, GpuReadings, GpuUse, ProcessOwner, SeenGpu, SeenGpus};

/// Which GPUs each pod has something of.
pub(super) type Given = BTreeMap<PodUid, BTreeSet<GpuUuid>>;

/// Which GPUs each pod has something of now.
pub(super) fn given(world: &World) -> Given {
    let given = world.ledger.holdings.iter().filter_map(|(holder, holding)| {
        let HolderId::Pod(pod) = holder else { return None };
        let gpus: BTreeSet<GpuUuid> = holding.grant.gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
        Some((*pod, gpus)).filter(|(_, gpus)| !gpus.is_empty())
    });
    given.collect()
}

/// What each pod uses of GPUs that has something of them, or uses them all the same. A figure that cannot be told for one of
/// its GPUs is left out; a pod without any GPU is not among them.
pub(super) fn used(seen: &SeenGpus, given: &Given) -> BTreeMap<PodUid, GpuUse> {
    let nothing = GpuUse { share_percent: Some(0), memory: Some(Bytes(0)) };
    let mut used: BTreeMap<PodUid, GpuUse> = given.keys().map(|pod| (*pod, nothing)).collect();
    let told: BTreeMap<&GpuUuid, &[_]> = seen.answering().filter_map(processes).collect();
    for (pod, gpus) in given {
        if !gpus.iter().all(|gpu| told.contains_key(gpu)) {
            used.insert(*pod, GpuUse::default());
        }
    }
    for (gpu, readings) in seen.answering() {
        let Some((_, processes)) = processes((gpu, readings)) else { continue };
        // Who is in an instance has it alone: there is no part of its time to tell.
        let is_instance = matches!(gpu.part, GpuPart::Instance { .. });
        for process in processes {
            let ProcessOwner::Pod { pod, .. } = process.owner else { continue };
            let sum = used.entry(pod).or_insert(nothing);
            let share = process.sm_percent.filter(|_| !is_instance).map(u64::from);
            sum.share_percent = sum.share_percent.zip(share).map(|(sum, more)| sum.saturating_add(more));
            let memory = sum.memory.zip(process.memory);
            sum.memory = memory.map(|(sum, more)| Bytes(sum.0.saturating_add(more.0)));
        }
    }
    used
}

/// The processes of a GPU on which any can be told.
fn processes<'a>(
    (gpu, readings): (&'a SeenGpu, &'a GpuReadings),
) -> Option<(&'a GpuUuid, &'a [crate::port::GpuProcess])> {
    let processes = readings.owned_processes().filter(|_| gpu.part != GpuPart::Divided)?;
    Some((&gpu.uuid, processes))
}

#[cfg(test)]
mod tests {
    use purser_events::{ContainerName, Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::port::{DriverState, GpuProcess, GpuState, Reading};

    fn pod(number: u128) -> PodUid {
        PodUid(Uuid::from_u128(number))
    }

    fn name(text: &str) -> GpuUuid {
        GpuUuid::new(text).unwrap()
    }

    fn process(pid: u32, owner: u128, sm: Option<u32>, memory: Option<u64>) -> GpuProcess {
        let container = ContainerName::new("main").unwrap();
        let owner = ProcessOwner::Pod { pod: pod(owner), container, attempt: 1, inner_pid: None };
        GpuProcess { pid, owner, memory: memory.map(Bytes), sm_percent: sm }
    }

    fn gpu(uuid: &str, part: GpuPart, processes: Reading<Vec<GpuProcess>>) -> SeenGpu {
        let none = || Reading::Unsupported;
        let readings = GpuReadings {
            at: Timestamp(0),
            memory_used: Reading::Unsupported,
            memory_reserved: Reading::Unsupported,
            utilization_percent: none(),
            memory_utilization_percent: none(),
            temperature_c: none(),
            power_mw: none(),
            power_limit_mw: none(),
            energy_mj: Reading::Unsupported,
            sm_clock_mhz: none(),
            memory_clock_mhz: none(),
            slowed_by: Reading::Unsupported,
            ecc_corrected: Reading::Unsupported,
            ecc_uncorrected: Reading::Unsupported,
            pcie_replays: Reading::Unsupported,
            processes,
        };
        SeenGpu {
            uuid: name(uuid),
            index: None,
            bus: None,
            model: None,
            memory: None,
            tflops: None,
            state: GpuState::Ready,
            part,
            readings: Some(readings),
            xids: vec![],
            xid_counts: BTreeMap::new(),
        }
    }

    fn of(share_percent: Option<u64>, memory: Option<u64>) -> GpuUse {
        GpuUse { share_percent, memory: memory.map(Bytes) }
    }

    #[test]
    fn each_pod_has_what_its_own_processes_use_and_nothing_is_made_up() {
        let whole = |uuid, processes| gpu(uuid, GpuPart::Whole, Reading::Value(processes));
        let board = process(5, 5, Some(99), Some(9));
        let gpus = vec![
            whole("GPU-a", vec![process(1, 1, Some(30), Some(7)), process(2, 2, Some(20), Some(1))]),
            whole("GPU-b", vec![process(3, 1, Some(50), Some(2)), process(4, 3, None, Some(4))]),
            gpu(
                "MIG-c",
                GpuPart::Instance { of: name("GPU-c") },
                Reading::Value(vec![process(6, 4, None, Some(3))]),
            ),
            gpu("GPU-c", GpuPart::Divided, Reading::Value(vec![board])),
            gpu("GPU-d", GpuPart::Whole, Reading::Failed("odd".to_owned())),
        ];
        let seen = SeenGpus { driver: DriverState::Up { release: None, trouble: None }, gpus };
        let given = [(1, "GPU-a"), (6, "GPU-b"), (7, "GPU-d"), (8, "GPU-gone")];
        let given = given.map(|(number, uuid)| (pod(number), [name(uuid)].into()));
        let expected = [
            (pod(1), of(Some(80), Some(9))),
            (pod(2), of(Some(20), Some(1))),
            (pod(3), of(None, Some(4))),
            (pod(4), of(None, Some(3))),
            (pod(6), of(Some(0), Some(0))),
            (pod(7), of(None, None)),
            (pod(8), of(None, None)),
        ];
        assert_eq!(used(&seen, &given.into()), expected.into());
    }
}
