//! Annotations of TensorFusion, read as ours where they mean the same, and refused by name where Purser cannot do what they
//! ask for.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::ContainerName;
use purser_events::ledger::{GpuPick, GpuUuid};
use purser_events::names::check_subdomain;

use super::annotation::{
    self, Asked, ByContainer, CONTAINER_GPUS, GPU_MEMORY, GPU_TFLOPS, GPU_UUIDS, QOS, at,
};
use super::error::FieldErrors;

/// What the keys begin with. Others that begin so are refused: what they ask for is not known.
const PREFIX: &str = "tensor-fusion.ai/";

const TFLOPS_REQUEST: &str = "tensor-fusion.ai/tflops-request";
const TFLOPS_LIMIT: &str = "tensor-fusion.ai/tflops-limit";
const VRAM_REQUEST: &str = "tensor-fusion.ai/vram-request";
const VRAM_LIMIT: &str = "tensor-fusion.ai/vram-limit";
const IDS: &str = "tensor-fusion.ai/gpu-ids";
const BY_CONTAINER: &str = "tensor-fusion.ai/container-gpus";
const OTHER_QOS: &str = "tensor-fusion.ai/qos";
const ISOLATION: &str = "tensor-fusion.ai/isolation";
const WORKLOAD: &str = "tensor-fusion.ai/workload";
const INJECT: &str = "tensor-fusion.ai/inject-container";

/// Each annotation: its key, what it holds, what it means.
pub(super) const ALL: [(&str, &str, &str); 10] = [
    (TFLOPS_REQUEST, "as `gpu-tflops`", "at most `tflops-limit`; what `gpu-tflops` is if there is no limit"),
    (TFLOPS_LIMIT, "as `gpu-tflops`", "read as `gpu-tflops`: what a pod may use is what is kept for it"),
    (VRAM_REQUEST, "quantity", "at most `vram-limit`; what `gpu-memory` is if there is no limit"),
    (VRAM_LIMIT, "quantity", "read as `gpu-memory`: what a pod may use is what is kept for it"),
    (IDS, "names, separated by commas", "read as `gpu-uuids`, and all of them are asked for"),
    (BY_CONTAINER, "JSON: lists of names by container", "read as `container-gpus`"),
    (OTHER_QOS, "`low`, `medium`, `high`, `critical`", "read as `qos`"),
    (ISOLATION, "`shared`", "GPUs are shared, and what pods use of them is watched; other words are refused"),
    (WORKLOAD, "name", "kept and shown; Purser has no workloads of its own"),
    (INJECT, "names, separated by commas", "the containers that get the pod's GPUs, each all of them"),
];

/// Adds what TensorFusion's annotations ask for to what ours do; each that is wrong, or cannot be done, is in `errors`.
pub(super) fn read(asked: &mut Asked, annotations: &BTreeMap<String, String>, errors: &mut FieldErrors) {
    let is_theirs = |key: &str| key.to_ascii_lowercase().starts_with(PREFIX);
    let is_known = |key: &str| ALL.iter().any(|(known, ..)| *known == key);
    for key in annotations.keys().filter(|key| is_theirs(key) && !is_known(key)) {
        let keys: Vec<&str> = ALL.iter().map(|(key, ..)| *key).collect();
        errors.add(&at(key), format!("is not supported by Purser: of {PREFIX} it reads {}", keys.join(", ")));
    }
    let mut reader = Reader { asked, annotations, errors };
    let tflops = reader.bounded(TFLOPS_REQUEST, TFLOPS_LIMIT, GPU_TFLOPS, annotation::tflops);
    let memory = reader.bounded(VRAM_REQUEST, VRAM_LIMIT, GPU_MEMORY, annotation::memory);
    let uuids = reader.instead(IDS, GPU_UUIDS, annotation::uuids);
    let qos = reader.instead(OTHER_QOS, QOS, annotation::qos);
    let by_container = reader.instead(BY_CONTAINER, CONTAINER_GPUS, by_container);
    let inject = reader.of(INJECT, names);
    reader.of(ISOLATION, isolation);
    reader.of(WORKLOAD, workload);
    if let Some(containers) = inject {
        reader.inject(containers, by_container.as_ref());
    }
    asked.gpu_tflops = asked.gpu_tflops.or(tflops);
    asked.gpu_memory = asked.gpu_memory.or(memory);
    asked.qos = asked.qos.or(qos);
    if let Some(uuids) = uuids {
        asked.gpu_count = asked.gpu_count.or(u32::try_from(uuids.len()).ok());
        asked.gpu_uuids = Some(uuids);
    }
    if let Some(containers) = by_container {
        asked.gpus_by_container = ByContainer::Each(containers);
    }
}

struct Reader<'a> {
    asked: &'a mut Asked,
    annotations: &'a BTreeMap<String, String>,
    errors: &'a mut FieldErrors,
}

impl Reader<'_> {
    /// What an annotation holds, if it is there and right.
    fn of<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.annotations.get(key)?;
        read(value).map_err(|message| self.errors.add(&at(key), message)).ok()
    }

    /// What an annotation holds that stands for one of ours.
    fn instead<T>(
        &mut self,
        key: &'static str,
        ours: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.annotations.contains_key(key) {
            return None;
        }
        if let Err(other) = self.asked.give(ours, key) {
            self.errors.add(&at(key), format!("asks for the same as {other}: give one of them"));
            return None;
        }
        self.of(key, read)
    }

    /// What a request and its limit ask for together: the limit, which is never less.
    fn bounded<T: PartialOrd>(
        &mut self,
        request: &'static str,
        limit: &'static str,
        ours: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.annotations.contains_key(limit) {
            return self.instead(request, ours, read);
        }
        let most = self.instead(limit, ours, &read);
        let least = self.of(request, &read);
        if let (Some(least), Some(most)) = (&least, &most)
            && most < least
        {
            self.errors.add(&at(request), format!("must not be more than {limit}"));
        }
        most
    }

    /// These containers get GPUs, and the map of GPUs says nothing else.
    fn inject(
        &mut self,
        containers: BTreeSet<ContainerName>,
        divided: Option<&BTreeMap<ContainerName, BTreeSet<GpuPick>>>,
    ) {
        if let Some(divided) = divided {
            if !divided.keys().eq(&containers) {
                self.errors.add(
                    &at(INJECT),
                    format!("must name the containers of {BY_CONTAINER}, if both are given"),
                );
            }
        } else if let Err(other) = self.asked.give(CONTAINER_GPUS, INJECT) {
            self.errors.add(&at(INJECT), format!("asks for the same as {other}: give one of them"));
        } else {
            self.asked.gpus_by_container = ByContainer::AllFor(containers);
        }
    }
}

fn names(value: &str) -> Result<BTreeSet<ContainerName>, String> {
    let mut names = BTreeSet::new();
    for (index, part) in value.split(',').enumerate() {
        let name = ContainerName::new(part.trim()).map_err(|error| format!("name {}: {error}", index + 1))?;
        if !names.insert(name) {
            return Err(format!("name {}: is given more than once", index + 1));
        }
    }
    Ok(names)
}

fn by_container(value: &str) -> Result<BTreeMap<ContainerName, BTreeSet<GpuPick>>, String> {
    // Without the parser's text, which may quote the value.
    let read: BTreeMap<ContainerName, Vec<GpuUuid>> = serde_json::from_str(value).map_err(|_| {
        "must be JSON with the names of GPUs by container, as in {\"main\": [\"GPU-…\"]}".to_owned()
    })?;
    let mut containers = BTreeMap::new();
    for (name, gpus) in read {
        let len = gpus.len();
        let picks: BTreeSet<GpuPick> = gpus.into_iter().map(GpuPick::Named).collect();
        if picks.len() != len {
            return Err(format!("names a GPU of container {name} more than once"));
        }
        // One without any is one that is not named.
        if !picks.is_empty() {
            containers.insert(name, picks);
        }
    }
    Ok(containers)
}

fn isolation(value: &str) -> Result<(), String> {
    match value {
        "shared" => Ok(()),
        "soft" => {
            Err("cannot be soft: nothing holds back what a pod uses of a GPU, it is watched; use shared, or \
                       leave it out"
                .to_owned())
        }
        "hard" => {
            Err("cannot be hard: parts of a GPU are not walled off; ask for whole ones with nvidia.com/gpu"
                .to_owned())
        }
        "partitioned" => {
            Err("cannot be partitioned: Purser makes no MIG instances; name one in purser.dev/gpu-uuids"
                .to_owned())
        }
        _ => Err("must be shared".to_owned()),
    }
}

fn workload(value: &str) -> Result<(), String> {
    check_subdomain(value).map_err(|error| error.to_string())
}
