//! Annotations by which a pod asks something of the node: their names, and how each is read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use purser_events::Bytes;
use purser_events::ledger::{GpuUuid, ReservationRef, ResourceKind, WhenFull};
use uuid::Uuid;

use super::error::FieldErrors;
use super::table::SupportedField;
use super::{path, quantity};
use crate::amount;

pub(super) const GPU_SHARE: &str = "purser.dev/gpu-share";
pub(super) const GPU_COUNT: &str = "purser.dev/gpu-count";
pub(super) const GPU_MEMORY: &str = "purser.dev/gpu-memory";
pub(super) const GPU_UUIDS: &str = "purser.dev/gpu-uuids";
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
const ALL: [(&str, &str, &str); 9] = [
    (
        GPU_SHARE,
        "1 to 100, with or without `%`",
        "a part of the compute of a GPU; not beside `nvidia.com/gpu`",
    ),
    (GPU_COUNT, "whole number from 1", "of so many GPUs; with `gpu-share`, 1 if absent"),
    (
        GPU_MEMORY,
        "quantity",
        "more than 0: memory of each GPU; with a share and without this, as much of the memory as of the compute; of \
         whole GPUs, only those that have as much",
    ),
    (GPU_UUIDS, "names, separated by commas", "the GPUs that will do, at least as many as are asked for"),
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
    ALL.into_iter().map(|(key, holds, note)| SupportedField { path: at(key), holds: holds.to_owned(), note })
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
    pub(super) exclusive_cpus: bool,
    pub(super) ports: u16,
    pub(super) subnet: bool,
    pub(super) when_full: WhenFull,
    pub(super) reservation: Option<ReservationRef>,
}

impl Asked {
    /// Reads the annotations that are for the node; each that is wrong is in `errors`.
    pub(super) fn read(annotations: &BTreeMap<String, String>, errors: &mut FieldErrors) -> Asked {
        let mut asked = Asked::default();
        // Kubernetes reads keys without regard to case.
        let ours = annotations.iter().filter(|(key, _)| key.to_ascii_lowercase().starts_with(PREFIX));
        for (key, value) in ours {
            if let Err(message) = asked.take(key, value) {
                errors.add(&at(key), message);
            }
        }
        asked
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            GPU_SHARE => self.gpu_share = Some(share(value)?),
            GPU_COUNT => self.gpu_count = Some(whole(value, 1..=u64::from(u32::MAX))?),
            GPU_MEMORY => self.gpu_memory = Some(memory(value)?),
            GPU_UUIDS => self.gpu_uuids = Some(uuids(value)?),
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

fn memory(value: &str) -> Result<Bytes, String> {
    match quantity::bytes(value) {
        Ok(Bytes(0)) => Err("must be more than 0".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

fn uuids(value: &str) -> Result<BTreeSet<GpuUuid>, String> {
    let mut uuids = BTreeSet::new();
    for (index, part) in value.split(',').enumerate() {
        let uuid = GpuUuid::new(part.trim()).map_err(|error| format!("name {}: {error}", index + 1))?;
        if !uuids.insert(uuid) {
            return Err(format!("name {}: is given more than once", index + 1));
        }
    }
    Ok(uuids)
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
