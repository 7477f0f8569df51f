//! Annotations by which a pod asks something of the node: their names, and how each is read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use purser_events::ledger::{GpuPick, GpuUuid, Qos, ReservationRef, ResourceKind, WhenFull};
use purser_events::{Bytes, ContainerName, MilliTflops};
use uuid::Uuid;

use super::error::FieldErrors;
use super::table::SupportedField;
use super::{path, quantity, tensor_fusion};
use crate::amount;

pub(super) const GPU_SHARE: &str = "purser.dev/gpu-share";
pub(super) const GPU_COUNT: &str = "purser.dev/gpu-count";
pub(super) const GPU_MEMORY: &str = "purser.dev/gpu-memory";
pub(super) const GPU_UUIDS: &str = "purser.dev/gpu-uuids";
pub(super) const GPU_TFLOPS: &str = "purser.dev/gpu-tflops";
pub(super) const CONTAINER_GPUS: &str = "purser.dev/container-gpus";
pub(super) const QOS: &str = "purser.dev/qos";
pub(super) const EXCLUSIVE_CPUS: &str = "purser.dev/exclusive-cpus";
const PORTS: &str = "purser.dev/ports";
const SUBNET: &str = "purser.dev/subnet";
const WHEN_FULL: &str = "purser.dev/when-full";
const RESERVATION: &str = "purser.dev/reservation";

/// What the keys begin with. No other key that begins so is taken: a misspelt one would ask for nothing.
const PREFIX: &str = "purser.dev/";
/// Most ports that the node chooses for one pod.
const PORTS_MAX: u64 = 1_000;

/// Each annotation: its key, what it holds, what it means.
pub(super) const ALL: [(&str, &str, &str); 12] = [
    (
        GPU_SHARE,
        "1 to 100, with or without `%`",
        "a part of the compute of a GPU; not beside `nvidia.com/gpu`",
    ),
    (
        GPU_TFLOPS,
        "number with `m`, `k`, `M`, `G` or without",
        "more than 0: compute of a GPU in TFLOPS (16-bit, dense), of which each model has its share; neither beside \
         `gpu-share` nor `nvidia.com/gpu`",
    ),
    (GPU_COUNT, "whole number from 1", "of so many GPUs; with `gpu-share` or `gpu-tflops`, 1 if absent"),
    (
        GPU_MEMORY,
        "quantity",
        "more than 0: memory of each GPU; with a share and without this, as much of the memory as of the compute; of \
         whole GPUs, only those that have as much",
    ),
    (GPU_UUIDS, "names, separated by commas", "the GPUs that will do, at least as many as are asked for"),
    (
        CONTAINER_GPUS,
        "`CONTAINER=GPU,…;…`",
        "which GPUs each container gets: numbers from 0 in the order in which the pod has them, or names that \
         `gpu-uuids` all gives; one that is not named gets none, and every GPU is somebody's; all get all if absent",
    ),
    (
        QOS,
        "`low`, `medium`, `high`, `critical`",
        "how much the pod matters beside others on its GPUs; `medium` if absent",
    ),
    (
        EXCLUSIVE_CPUS,
        "`true`, `false`",
        "processors that nobody else uses; the containers together ask for a whole number of cores",
    ),
    (PORTS, "whole number from 1 to 1000", "ports that the node chooses"),
    (SUBNET, "`true`, `false`", "a subnet of 256 addresses"),
    (WHEN_FULL, "`wait`, `refuse`", "what happens if there is no room now; the node's policy if absent"),
    (RESERVATION, "`UUID:TOKEN`", "the reservation that the pod takes up, and the token that came with it"),
];

/// Every annotation, as documentation shows fields.
pub(super) fn supported() -> impl Iterator<Item = SupportedField> {
    ALL.into_iter().chain(tensor_fusion::ALL).map(|(key, holds, note)| SupportedField {
        path: at(key),
        holds: holds.to_owned(),
        note,
    })
}

/// The path of an annotation.
pub(super) fn at(key: &str) -> String {
    format!("metadata.annotations[{}]", path::key(key))
}

/// What a pod's annotations ask for; what is absent or wrong is none.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) gpu_share: Option<u32>,
    pub(super) gpu_count: Option<u32>,
    pub(super) gpu_memory: Option<Bytes>,
    pub(super) gpu_uuids: Option<BTreeSet<GpuUuid>>,
    pub(super) gpu_tflops: Option<MilliTflops>,
    pub(super) gpus_by_container: ByContainer,
    pub(super) qos: Option<Qos>,
    pub(super) exclusive_cpus: bool,
    pub(super) ports: u16,
    pub(super) subnet: bool,
    pub(super) when_full: WhenFull,
    pub(super) reservation: Option<ReservationRef>,
    /// Each of our keys for which something is given, right or wrong, with the key under which it is.
    given: BTreeMap<&'static str, &'static str>,
}

/// Which containers get which of the pod's GPUs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum ByContainer {
    /// Every container all of them.
    #[default]
    All,
    /// These containers all of them, and others none.
    AllFor(BTreeSet<ContainerName>),
    /// Each of these its own, and others none.
    Each(BTreeMap<ContainerName, BTreeSet<GpuPick>>),
}

impl Asked {
    /// Reads the annotations that are for the node; each that is wrong is in `errors`.
    pub(super) fn read(annotations: &BTreeMap<String, String>, errors: &mut FieldErrors) -> Asked {
        let given = ALL.iter().filter(|it| annotations.contains_key(it.0)).map(|it| (it.0, it.0));
        let mut asked = Asked { given: given.collect(), ..Asked::default() };
        // Kubernetes reads keys without regard to case.
        let ours = annotations.iter().filter(|(key, _)| key.to_ascii_lowercase().starts_with(PREFIX));
        for (key, value) in ours {
            if let Err(message) = asked.take(key, value) {
                errors.add(&at(key), message);
            }
        }
        tensor_fusion::read(&mut asked, annotations, errors);
        asked
    }

    /// The key under which something is given that ours is about, if it is.
    pub(super) fn given(&self, ours: &str) -> Option<&'static str> {
        self.given.get(ours).copied()
    }

    /// Notes that something that ours is about is given under another key.
    ///
    /// # Errors
    /// It is given already, under this key.
    pub(super) fn give(&mut self, ours: &'static str, key: &'static str) -> Result<(), &'static str> {
        match self.given.insert(ours, key) {
            None => Ok(()),
            Some(other) => {
                self.given.insert(ours, other);
                Err(other)
            }
        }
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            GPU_SHARE => self.gpu_share = Some(share(value)?),
            GPU_COUNT => self.gpu_count = Some(whole(value, 1..=u64::from(u32::MAX))?),
            GPU_MEMORY => self.gpu_memory = Some(memory(value)?),
            GPU_UUIDS => self.gpu_uuids = Some(uuids(value)?),
            GPU_TFLOPS => self.gpu_tflops = Some(tflops(value)?),
            CONTAINER_GPUS => self.gpus_by_container = ByContainer::Each(by_container(value)?),
            QOS => self.qos = Some(qos(value)?),
            EXCLUSIVE_CPUS => self.exclusive_cpus = flag(value)?,
            PORTS => self.ports = whole(value, 1..=PORTS_MAX)?,
            SUBNET => self.subnet = flag(value)?,
            WHEN_FULL => self.when_full = when_full(value)?,
            RESERVATION => self.reservation = Some(reservation(value)?),
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

fn unknown() -> String {
    let keys: Vec<&str> = ALL.iter().map(|(key, _, _)| *key).collect();
    format!("is no annotation of Purser: there are {}", keys.join(", "))
}

fn share(value: &str) -> Result<u32, String> {
    let percent = amount::read(&ResourceKind::GpuShare, value).ok().filter(|it| (1..=100).contains(it));
    percent.and_then(|it| u32::try_from(it).ok()).ok_or_else(|| {
        "must be a whole number of percent from 1 to 100, as in 50 or 50%; for whole GPUs use nvidia.com/gpu in \
         limits"
            .to_owned()
    })
}

fn whole<T: TryFrom<u64>>(value: &str, range: RangeInclusive<u64>) -> Result<T, String> {
    let number = amount::read(&ResourceKind::Pods, value).ok().filter(|number| range.contains(number));
    let wrong = || format!("must be a whole number from {} to {}", range.start(), range.end());
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(wrong)
}

pub(super) fn memory(value: &str) -> Result<Bytes, String> {
    match quantity::bytes(value) {
        Ok(Bytes(0)) => Err("must be more than 0".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn uuids(value: &str) -> Result<BTreeSet<GpuUuid>, String> {
    let mut uuids = BTreeSet::new();
    for (index, part) in value.split(',').enumerate() {
        let uuid = GpuUuid::new(part.trim()).map_err(|error| format!("name {}: {error}", index + 1))?;
        if !uuids.insert(uuid) {
            return Err(format!("name {}: is given more than once", index + 1));
        }
    }
    Ok(uuids)
}

pub(super) fn tflops(value: &str) -> Result<MilliTflops, String> {
    match quantity::milli_tflops(value) {
        Ok(MilliTflops(0)) => Err("must be more than 0".to_owned()),
        Ok(tflops) => Ok(tflops),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn qos(value: &str) -> Result<Qos, String> {
    let known = Qos::ALL.into_iter().find(|qos| qos.word() == value);
    known.ok_or_else(|| "must be low, medium, high or critical".to_owned())
}

fn by_container(value: &str) -> Result<BTreeMap<ContainerName, BTreeSet<GpuPick>>, String> {
    let mut containers = BTreeMap::new();
    for (index, part) in value.split(';').enumerate() {
        let wrong = |message: String| format!("part {}: {message}", index + 1);
        let (name, picks) = part
            .split_once('=')
            .ok_or_else(|| wrong("must be a container, '=' and its GPUs, as in main=0,1".to_owned()))?;
        let name = ContainerName::new(name.trim()).map_err(|error| wrong(error.to_string()))?;
        let mut picked = BTreeSet::new();
        for text in picks.split(',').map(str::trim) {
            if !picked.insert(pick(text).map_err(wrong)?) {
                return Err(wrong("names a GPU more than once".to_owned()));
            }
        }
        if containers.insert(name, picked).is_some() {
            return Err(wrong("names a container that was named before".to_owned()));
        }
    }
    Ok(containers)
}

fn pick(text: &str) -> Result<GpuPick, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        let number = text.parse().map_err(|_| "a GPU's number is too large".to_owned())?;
        return Ok(GpuPick::Nth(number));
    }
    GpuUuid::new(text).map(GpuPick::Named).map_err(|error| error.to_string())
}

fn flag(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

fn when_full(value: &str) -> Result<WhenFull, String> {
    match value {
        "wait" => Ok(WhenFull::Wait),
        "refuse" => Ok(WhenFull::Refuse),
        _ => Err("must be wait or refuse; without it the node's policy holds".to_owned()),
    }
}

fn reservation(value: &str) -> Result<ReservationRef, String> {
    let parsed = value.split_once(':').and_then(|(id, token)| {
        // Other spellings of a uuid are left out: each reservation is written in one way.
        let uuid = Uuid::try_parse(id).ok().filter(|uuid| uuid.hyphenated().to_string() == id)?;
        Some(ReservationRef { id: uuid, token: amount::read(&ResourceKind::Pods, token).ok()? })
    });
    let wrong = "must be the reservation's uuid, ':' and the token that came with it";
    parsed.ok_or_else(|| wrong.to_owned())
}
