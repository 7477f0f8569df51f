//! Which of its GPUs a pod's containers get, checked against how many there are and what they are called.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::ContainerName;
use purser_events::ledger::{GpuClaim, GpuPick};

use super::annotation::{self, Asked, ByContainer, CONTAINER_GPUS, GPU_UUIDS};
use super::error::FieldErrors;

/// Most GPUs that are divided among containers: no machine has more.
const DIVIDED_MAX: u32 = 64;

/// The GPUs of each container; empty if every container gets all of them, or if something is in `errors`.
pub(super) fn divided(
    asked: &Asked,
    claim: &GpuClaim,
    containers: &BTreeSet<ContainerName>,
    errors: &mut FieldErrors,
) -> BTreeMap<ContainerName, BTreeSet<GpuPick>> {
    let divided = match &asked.gpus_by_container {
        ByContainer::All => return BTreeMap::new(),
        ByContainer::AllFor(names) => {
            let all: BTreeSet<GpuPick> = (0..claim.count.min(DIVIDED_MAX)).map(GpuPick::Nth).collect();
            names.iter().map(|name| (name.clone(), all.clone())).collect()
        }
        ByContainer::Each(divided) => divided.clone(),
    };
    match problem(&divided, claim, containers) {
        None => divided,
        Some(message) => {
            let key = asked.given(CONTAINER_GPUS).unwrap_or(CONTAINER_GPUS);
            errors.add(&annotation::at(key), message);
            BTreeMap::new()
        }
    }
}

fn problem(
    divided: &BTreeMap<ContainerName, BTreeSet<GpuPick>>,
    claim: &GpuClaim,
    containers: &BTreeSet<ContainerName>,
) -> Option<String> {
    let GpuClaim { count, uuids, .. } = claim;
    if DIVIDED_MAX < *count {
        return Some(format!("divides at most {DIVIDED_MAX} GPUs, and {count} are asked for"));
    }
    if let Some(stranger) = divided.keys().find(|name| !containers.contains(*name)) {
        return Some(format!("names {stranger}, which is no container of the pod"));
    }
    let picks: BTreeSet<&GpuPick> = divided.values().flatten().collect();
    let by_name = picks.iter().filter(|pick| matches!(pick, GpuPick::Named(_))).count();
    if by_name != 0 && by_name != picks.len() {
        return Some("must name GPUs all by number or all by name".to_owned());
    }
    if by_name != 0 && uuids.len() != *count as usize {
        return Some(format!(
            "names GPUs by name: {GPU_UUIDS} must name exactly the {count} that are asked for, or use numbers from 0"
        ));
    }
    let unknown = picks.iter().find_map(|pick| match pick {
        GpuPick::Nth(number) if count <= number => {
            Some(format!("names GPU {number}, and {count} are asked for: they are numbered from 0"))
        }
        GpuPick::Named(uuid) if !uuids.contains(uuid) => {
            Some(format!("names GPU {uuid}, which {GPU_UUIDS} does not"))
        }
        GpuPick::Nth(_) | GpuPick::Named(_) => None,
    });
    let idle = || {
        let message = format!(
            "gives {} of {count} GPUs to containers: each must be given to one at least",
            picks.len()
        );
        (picks.len() != *count as usize).then_some(message)
    };
    unknown.or_else(idle)
}
