//! What a pod claims of the node: read from its priority, its annotations and the GPUs of its containers, and checked
//! for what contradicts itself.

use std::collections::BTreeMap;

use purser_events::ledger::{Claims, Demand, GpuClaim};
use purser_events::pod::PodSpec;

use super::annotation::{self, Asked, EXCLUSIVE_CPUS, GPU_COUNT, GPU_MEMORY, GPU_SHARE, GPU_UUIDS};
use super::error::FieldErrors;
use super::resources::GPU;

/// What a pod claims, if nothing of it is in `errors`. `gpus` is how many whole ones its containers ask for.
pub(super) fn claims(
    annotations: &BTreeMap<String, String>,
    priority: i32,
    gpus: u64,
    errors: &mut FieldErrors,
) -> Claims {
    let asked = Asked::read(annotations, errors);
    let gpu = gpu(&asked, annotations, gpus, errors);
    let Asked { exclusive_cpus, ports, subnet, when_full, reservation, .. } = asked;
    Claims { priority, exclusive_cpus, gpu, ports, subnet, when_full, reservation }
}

fn gpu(
    asked: &Asked,
    annotations: &BTreeMap<String, String>,
    gpus: u64,
    errors: &mut FieldErrors,
) -> Option<GpuClaim> {
    let count = match (gpus, annotations.contains_key(GPU_SHARE)) {
        (0, false) => {
            for key in
                [GPU_COUNT, GPU_MEMORY, GPU_UUIDS].into_iter().filter(|key| annotations.contains_key(*key))
            {
                let message =
                    format!("is about GPUs, and none is asked for: give {GPU_SHARE}, or {GPU} in limits");
                errors.add(&annotation::at(key), message);
            }
            return None;
        }
        (0, true) => asked.gpu_count.unwrap_or(1),
        (_, true) => {
            let message = format!("must not stand beside {GPU}: ask for shares or for whole GPUs");
            errors.add(&annotation::at(GPU_SHARE), message);
            return None;
        }
        (_, false) => {
            if annotations.contains_key(GPU_COUNT) {
                let message = format!("is for shares: {GPU} says how many whole GPUs");
                errors.add(&annotation::at(GPU_COUNT), message);
            }
            u32::try_from(gpus)
                .map_err(|_| errors.add("spec.containers", format!("ask for more {GPU} than can be counted")))
                .ok()?
        }
    };
    let memory = asked.gpu_memory;
    if memory.is_some_and(|memory| memory.0.checked_mul(u64::from(count)).is_none()) {
        errors.add(&annotation::at(GPU_MEMORY), "times the number of GPUs is more than can be counted");
    }
    let uuids = asked.gpu_uuids.clone().unwrap_or_default();
    let named = u64::try_from(uuids.len()).unwrap_or(u64::MAX);
    if asked.gpu_uuids.is_some() && named < u64::from(count) {
        let message = format!("must name at least as many GPUs as are asked for: {count}, are {named}");
        errors.add(&annotation::at(GPU_UUIDS), message);
    }
    Some(GpuClaim { count, share: asked.gpu_share, memory, uuids })
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
