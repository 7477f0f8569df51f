//! What a pod claims of the node: read from its priority, its annotations and the GPUs of its containers, and checked
//! for what contradicts itself.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::ContainerName;
use purser_events::ledger::{Claims, Demand, GpuClaim};
use purser_events::pod::PodSpec;

use super::annotation::{
    self, Asked, CONTAINER_GPUS, EXCLUSIVE_CPUS, GPU_COUNT, GPU_MEMORY, GPU_SHARE, GPU_TFLOPS, GPU_UUIDS,
};
use super::division;
use super::error::FieldErrors;
use super::resources::GPU;

/// What of the rest of the manifest claims depend on.
pub(super) struct Asking {
    /// Its priority.
    pub(super) priority: i32,
    /// How many whole GPUs its containers ask for.
    pub(super) gpus: u64,
    /// Its containers.
    pub(super) containers: BTreeSet<ContainerName>,
}

/// What a pod claims, if nothing of it is in `errors`.
pub(super) fn claims(
    annotations: &BTreeMap<String, String>,
    asking: Asking,
    errors: &mut FieldErrors,
) -> Claims {
    let asked = Asked::read(annotations, errors);
    let gpu = gpu(&asked, asking.gpus, errors);
    let container_gpus = gpu
        .as_ref()
        .map_or_else(BTreeMap::new, |gpu| division::divided(&asked, gpu, &asking.containers, errors));
    let Asked { exclusive_cpus, ports, subnet, when_full, reservation, qos, .. } = asked;
    let (priority, qos) = (asking.priority, qos.unwrap_or_default());
    Claims { priority, exclusive_cpus, gpu, ports, subnet, when_full, reservation, qos, container_gpus }
}

fn gpu(asked: &Asked, gpus: u64, errors: &mut FieldErrors) -> Option<GpuClaim> {
    let mut wrong = |ours: &'static str, message: String| {
        errors.add(&annotation::at(asked.given(ours).unwrap_or(ours)), message);
    };
    let compute = [GPU_TFLOPS, GPU_SHARE].into_iter().find(|key| asked.given(key).is_some());
    if let (Some(GPU_TFLOPS), Some(share)) = (compute, asked.given(GPU_SHARE)) {
        wrong(GPU_TFLOPS, format!("must not stand beside {share}: ask for one of them"));
        return None;
    }
    let count = match (gpus, compute) {
        (0, None) => {
            let about = [GPU_COUNT, GPU_MEMORY, GPU_UUIDS, CONTAINER_GPUS];
            for key in about.into_iter().filter(|key| asked.given(key).is_some()) {
                let message = format!(
                    "is about GPUs, and none is asked for: give {GPU_SHARE} or {GPU_TFLOPS}, or {GPU} in limits"
                );
                wrong(key, message);
            }
            return None;
        }
        (0, Some(_)) => asked.gpu_count.unwrap_or(1),
        (_, Some(compute)) => {
            wrong(compute, format!("must not stand beside {GPU}: ask for shares or for whole GPUs"));
            return None;
        }
        (_, None) => {
            if asked.given(GPU_COUNT).is_some() {
                wrong(GPU_COUNT, format!("is for shares: {GPU} says how many whole GPUs"));
            }
            u32::try_from(gpus)
                .map_err(|_| errors.add("spec.containers", format!("ask for more {GPU} than can be counted")))
                .ok()?
        }
    };
    let mut wrong = |ours: &'static str, message: String| {
        errors.add(&annotation::at(asked.given(ours).unwrap_or(ours)), message);
    };
    let memory = asked.gpu_memory;
    if memory.is_some_and(|memory| memory.0.checked_mul(u64::from(count)).is_none()) {
        wrong(GPU_MEMORY, "times the number of GPUs is more than can be counted".to_owned());
    }
    let uuids = asked.gpu_uuids.clone().unwrap_or_default();
    let named = u64::try_from(uuids.len()).unwrap_or(u64::MAX);
    if asked.gpu_uuids.is_some() && named < u64::from(count) {
        wrong(GPU_UUIDS, format!("must name at least as many GPUs as are asked for: {count}, are {named}"));
    }
    Some(GpuClaim { count, share: asked.gpu_share, memory, uuids, tflops: asked.gpu_tflops })
}

/// Checks what the containers ask for together.
pub(super) fn check_sums(spec: &mut PodSpec, errors: &mut FieldErrors) {
    // The sum as it is given: the ledger rounds that of exclusive processors up.
    let exclusive = std::mem::take(&mut spec.claims.exclusive_cpus);
    match Demand::of(spec) {
        Ok(demand) if exclusive && (demand.cpu.0 == 0 || !demand.cpu.0.is_multiple_of(1_000)) => {
            let message = format!(
                "needs a whole number of cores: the containers together ask for {}; set resources.requests.cpu",
                demand.cpu
            );
            errors.add(&annotation::at(EXCLUSIVE_CPUS), message);
        }
        Ok(_) => {}
        Err(error) => errors.add("spec.containers", error.to_string()),
    }
    spec.claims.exclusive_cpus = exclusive;
}
