//! What pods really use, as metrics: their GPUs as these were seen last, processors and memory as they were measured last.
//! A figure that nobody can tell has no series; the series of a pod go with it.

use std::collections::BTreeMap;

use metrics::gauge;
use purser_actors::metering::Latest;
use purser_actors::metric;
use purser_actors::port::{GpuPart, GpuProcess, ProcessOwner, SeenGpu, SeenGpus};
use purser_actors::service::Service;
use purser_events::ledger::{GpuGrant, HolderId};
use purser_events::{PodId, PodUid, World};

use super::process::exact;

/// What is shown of one pod.
struct Pod {
    id: PodId,
    containers: Vec<String>,
    /// Containers of which a process runs.
    running: usize,
    ready: usize,
    gpus: Vec<GpuGrant>,
}

/// What a container uses of one GPU; none if the driver does not say it of one of its processes.
#[derive(Clone, Copy)]
struct Use {
    processes: u64,
    memory: Option<u64>,
    percent: Option<u32>,
}

impl Use {
    /// Nothing.
    const NONE: Use = Use { processes: 0, memory: Some(0), percent: Some(0) };

    fn add(&mut self, process: &GpuProcess) {
        let memory = process.memory.map(|bytes| bytes.0);
        self.processes += 1;
        self.memory = self.memory.zip(memory).map(|(sum, more)| sum.saturating_add(more));
        self.percent = self.percent.zip(process.sm_percent).map(|(sum, more)| sum.saturating_add(more));
    }
}

/// Puts what pods use into the recorder in force.
pub(super) fn record(service: &Service) {
    let pods = service.world(pods);
    let seen = service.gpus();
    for pod in pods.values() {
        for gpu in &pod.gpus {
            record_limits(pod, gpu);
        }
    }
    for (gpu, readings) in seen.answering() {
        if let Some(processes) = readings.owned_processes() {
            record_gpu(&pods, gpu, processes);
        }
    }
    record_seed(&pods, &service.measured(), &seen);
}

fn pods(world: &World) -> BTreeMap<PodUid, Pod> {
    let live = world.pods.iter().filter_map(|(uid, pod)| Some((*uid, pod.live()?)));
    let shown = |(uid, pod): (PodUid, &purser_events::pod::PodState)| {
        let holding = world.ledger.holdings.get(&HolderId::Pod(uid));
        let pod = Pod {
            id: pod.spec.id.clone(),
            containers: pod.containers.iter().map(|container| container.name.to_string()).collect(),
            running: pod.containers.iter().filter(|container| container.attempt().is_some()).count(),
            ready: pod.containers.iter().filter(|container| container.is_ready()).count(),
            gpus: holding.map(|holding| holding.grant.gpus.clone()).unwrap_or_default(),
        };
        (uid, pod)
    };
    live.map(shown).collect()
}

fn record_limits(pod: &Pod, gpu: &GpuGrant) {
    let labels = [
        ("namespace", pod.id.namespace().to_owned()),
        ("pod", pod.id.name().to_owned()),
        ("uuid", gpu.uuid.to_string()),
    ];
    gauge!(metric::POD_GPU_UTILIZATION_LIMIT.name, &labels).set(f64::from(gpu.share) / 100.0);
    gauge!(metric::POD_GPU_MEMORY_LIMIT.name, &labels).set(exact(gpu.memory.0));
}

/// What each container uses of one GPU: also nothing, of those whose pod was given some of it.
fn record_gpu(pods: &BTreeMap<PodUid, Pod>, gpu: &SeenGpu, processes: &[GpuProcess]) {
    let mut used: BTreeMap<(PodUid, &str), Use> = BTreeMap::new();
    for (uid, pod) in pods {
        if pod.gpus.iter().any(|grant| grant.uuid == gpu.uuid) {
            used.extend(pod.containers.iter().map(|container| ((*uid, container.as_str()), Use::NONE)));
        }
    }
    for process in processes {
        if let ProcessOwner::Pod { pod, container, .. } = &process.owner {
            used.entry((*pod, container.as_str())).or_insert(Use::NONE).add(process);
        }
    }
    for ((uid, container), used) in used {
        let Some(pod) = pods.get(&uid) else { continue };
        let labels = [
            ("namespace", pod.id.namespace().to_owned()),
            ("pod", pod.id.name().to_owned()),
            ("container", container.to_owned()),
            ("uuid", gpu.uuid.to_string()),
        ];
        gauge!(metric::POD_GPU_PROCESSES.name, &labels).set(exact(used.processes));
        if let Some(memory) = used.memory {
            gauge!(metric::POD_GPU_MEMORY_USED.name, &labels).set(exact(memory));
        }
        if let Some(percent) = used.percent {
            gauge!(metric::POD_GPU_UTILIZATION.name, &labels).set(f64::from(percent) / 100.0);
        }
    }
}

/// The same under the names that dashboards of an older system ask for.
fn record_seed(pods: &BTreeMap<PodUid, Pod>, measured: &Latest, seen: &SeenGpus) {
    gauge!(metric::SEED_PODS.name).set(exact(pods.len() as u64));
    for (uid, pod) in pods {
        let labels = || [("pod_id", pod.id.to_string()), ("namespace", pod.id.namespace().to_owned())];
        gauge!(metric::SEED_WORKERS.name, &labels()).set(exact(pod.running as u64));
        gauge!(metric::SEED_HEALTHY_WORKERS.name, &labels()).set(exact(pod.ready as u64));
        if let Some(sample) = measured.pods.get(uid) {
            gauge!(metric::SEED_MEMORY_USED.name, &labels()).set(exact(sample.memory.0));
            if let Some(cpu) = sample.cpu {
                gauge!(metric::SEED_CPU.name, &labels()).set(exact(cpu.0) / 10.0);
            }
        }
        for (gpu, readings) in seen.answering().filter(|(gpu, _)| gpu.part == GpuPart::Whole) {
            let told = readings.owned_processes();
            let processes = told.into_iter().flatten();
            let of_pod =
                |process: &&GpuProcess| matches!(&process.owner, ProcessOwner::Pod { pod, .. } if pod == uid);
            let mut used = Use::NONE;
            processes.filter(of_pod).for_each(|process| used.add(process));
            let has_it = used.processes != 0 || pod.gpus.iter().any(|grant| grant.uuid == gpu.uuid);
            if let Some(percent) = used.percent.filter(|_| has_it && told.is_some()) {
                let [pod_id, namespace] = labels();
                let index = gpu.index.map(|index| index.to_string()).unwrap_or_default();
                let labels =
                    [pod_id, namespace, ("device_idx", index), ("device_uuid", gpu.uuid.to_string())];
                gauge!(metric::SEED_GPU.name, &labels).set(f64::from(percent));
            }
        }
    }
}
