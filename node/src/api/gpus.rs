//! The machine's GPUs: which there are, how they stand, and what was read of them last.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use purser_actors::port::{
    DriverState, GpuPart, GpuProcess, GpuReadings, Reading, SeenGpu, SeenGpus, SeenXid,
};
use purser_events::ledger::GpuUuid;
use purser_events::{Timestamp, World};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::gpu::HealthView;
use super::processes::OwnerView;
use super::state::Api;
use crate::adapter::cdi::Catalogue;

/// The machine's GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpusView {
    /// How their driver stands.
    pub driver: DriverView,
    /// The GPUs, in the order of their uuids.
    pub gpus: Vec<SeenGpuView>,
    /// What is wrong with descriptions of devices (CDI).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cdi_troubles: Vec<String>,
}

/// The driver of the GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriverView {
    /// `Absent`, `Starting`, `Up` or `Failing`.
    pub state: String,
    /// Its library, as the config has it.
    pub library: String,
    /// Its release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Why it fails, or what could not be learnt from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeenGpuView {
    /// Which.
    pub uuid: String,
    /// Its number to the driver, which may be another after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Its compute, in thousandths of a TFLOPS (16-bit, dense), if the figure of its model is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milli_tflops: Option<u64>,
    /// Why containers of containerd cannot be given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_trouble: Option<String>,
    /// `Ready` and `Named` ones are given out; the others are `Starting`, `Unresponsive`, `Lost` or `Contradicted`.
    pub state: String,
    /// Why it is not given out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it is on record, `Healthy` and `Degraded` ones take pods; none before it was seen once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// What is wrong with it on record, and who has cordoned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_reason: Option<String>,
    /// `Whole`, `Divided` if its instances are given out in its place, or `Instance`.
    #[serde(default)]
    pub part: String,
    /// Of which GPU it is an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_of: Option<String>,
    /// Faults (Xids) that the driver told of since the service started, oldest first; the newest 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultView>,
    /// What was read when it answered last; none if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readings: Option<ReadingsView>,
}

/// A fault of a GPU that its driver told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultView {
    /// Counts the faults of this GPU since the service started, from 1 on.
    pub number: u64,
    /// NVIDIA's number for the kind of fault.
    pub xid: u32,
    /// When it was told.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// What was read of a GPU at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadingsView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Memory that is used, in bytes.
    pub memory_used_bytes: ReadingView,
    /// Time that anything ran on it, 0 to 100.
    pub utilization_percent: ReadingView,
    /// Time that its memory was read or written, 0 to 100.
    pub memory_utilization_percent: ReadingView,
    /// Its temperature.
    pub temperature_celsius: ReadingView,
    /// What it draws.
    pub power_milliwatts: ReadingView,
    /// What it may draw.
    pub power_limit_milliwatts: ReadingView,
    /// What it has drawn since the driver was loaded.
    pub energy_millijoules: ReadingView,
    /// How fast its processors run.
    pub sm_clock_megahertz: ReadingView,
    /// How fast its memory runs.
    pub memory_clock_megahertz: ReadingView,
    /// What holds its clocks down now; null if that cannot be read.
    pub slowed_by: Option<Vec<String>>,
    /// Errors of its memory that were corrected, over its life.
    pub ecc_corrected: ReadingView,
    /// Errors of its memory that were not corrected, over its life.
    pub ecc_uncorrected: ReadingView,
    /// Transfers over the bus that had to be made again.
    pub pcie_replays: ReadingView,
    /// How many processes use it.
    pub process_count: ReadingView,
    /// These processes, whosever they are.
    pub processes: Vec<ProcessView>,
}

/// A figure, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReadingView {
    /// What was read.
    Value(u64),
    /// The GPU does not have it: always true.
    Unsupported(bool),
    /// It could not be read this time.
    Failed(String),
}

/// A process that uses a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessView {
    /// Its id on the host.
    pub pid: u32,
    /// Whose it is.
    pub owner: OwnerView,
    /// Memory of the GPU that it uses, in bytes; null if the driver does not know.
    pub memory_bytes: Option<u64>,
    /// Time that the GPU was busy for it, 0 to 100; null if that cannot be read.
    pub sm_percent: Option<u32>,
}

/// Lists the machine's GPUs, with what was read of them last. Waits for no GPU.
#[utoipa::path(
    get, path = "/v1/gpus", tag = "resources",
    responses((status = 200, description = "the GPUs", body = GpusView))
)]
pub(super) async fn gpus(State(api): State<Api>) -> Json<GpusView> {
    let SeenGpus { driver, gpus } = api.service.gpus();
    let library = api.config.gpu.nvml_library.display().to_string();
    let catalogue = described(&api).await;
    let gpus = api.service.world(|world| with_health(world, gpus, catalogue.as_ref()));
    let cdi_troubles = catalogue.map(|catalogue| catalogue.troubles).unwrap_or_default();
    Json(GpusView { driver: DriverView::of(driver, library), gpus, cdi_troubles })
}

/// How devices are described now; none where nobody is given any by that.
async fn described(api: &Api) -> Option<Catalogue> {
    let cdi = api.cdi.clone()?;
    tokio::task::spawn_blocking(move || cdi.look()).await.ok()
}

/// What was seen, with what is on record of it and how it is described; and what is on record alone.
fn with_health(world: &World, gpus: Vec<SeenGpu>, catalogue: Option<&Catalogue>) -> Vec<SeenGpuView> {
    let seen = gpus.into_iter().map(|gpu| {
        let uuid = gpu.uuid.clone();
        let device_trouble = catalogue.and_then(|catalogue| catalogue.trouble_of(&uuid));
        (uuid, SeenGpuView { device_trouble, ..SeenGpuView::of(gpu, world) })
    });
    let mut seen: BTreeMap<GpuUuid, SeenGpuView> = seen.collect();
    for (uuid, gpu) in &world.gpus {
        let Some(known) = gpu.known() else { continue };
        let health = HealthView::from(known);
        let row = seen.entry(uuid.clone()).or_insert_with(|| SeenGpuView {
            uuid: uuid.to_string(),
            index: None,
            model: known.facts.model.clone(),
            memory_bytes: known.facts.memory.map(|memory| memory.0),
            milli_tflops: known.facts.tflops.map(|tflops| tflops.0),
            device_trouble: None,
            state: "Lost".to_owned(),
            reason: None,
            part: String::new(),
            instance_of: known.facts.parent.as_ref().map(ToString::to_string),
            faults: vec![],
            health: None,
            health_reason: None,
            readings: None,
        });
        (row.health_reason, row.health) = (health.sentence(), Some(health.word));
    }
    seen.into_values().collect()
}

impl DriverView {
    fn of(driver: DriverState, library: String) -> DriverView {
        let (state, release, reason) = match driver {
            DriverState::Absent => ("Absent", None, None),
            DriverState::Starting => ("Starting", None, None),
            DriverState::Up { release, trouble } => ("Up", release, trouble),
            DriverState::Failing { reason } => ("Failing", None, Some(reason)),
        };
        DriverView { state: state.to_owned(), library, release, reason }
    }
}

impl SeenGpuView {
    pub(super) fn of(gpu: SeenGpu, world: &World) -> SeenGpuView {
        let (part, instance_of) = match gpu.part {
            GpuPart::Whole => ("Whole", None),
            GpuPart::Divided => ("Divided", None),
            GpuPart::Instance { of } => ("Instance", Some(of.into())),
        };
        let divided = || "it is divided: its instances are given out".to_owned();
        let fault = |SeenXid { number, xid, at }: SeenXid| FaultView { number, xid, at };
        SeenGpuView {
            uuid: gpu.uuid.into(),
            index: gpu.index,
            model: gpu.model,
            memory_bytes: gpu.memory.map(|bytes| bytes.0),
            milli_tflops: gpu.tflops.map(|tflops| tflops.0),
            device_trouble: None,
            state: gpu.state.word().to_owned(),
            reason: gpu.state.reason().or_else(|| (part == "Divided").then(divided)),
            part: part.to_owned(),
            instance_of,
            faults: gpu.xids.into_iter().map(fault).collect(),
            health: None,
            health_reason: None,
            readings: gpu.readings.map(|readings| ReadingsView::of(readings, world)),
        }
    }
}

impl ReadingsView {
    fn of(readings: GpuReadings, world: &World) -> ReadingsView {
        let processes = readings.processes;
        let each = processes.value().into_iter().flatten();
        let known = each.map(|process| ProcessView::of(process, world)).collect();
        let reasons = readings.slowed_by.value();
        ReadingsView {
            at: readings.at,
            memory_used_bytes: readings.memory_used.map(|bytes| bytes.0).into(),
            utilization_percent: readings.utilization_percent.map(u64::from).into(),
            memory_utilization_percent: readings.memory_utilization_percent.map(u64::from).into(),
            temperature_celsius: readings.temperature_c.map(u64::from).into(),
            power_milliwatts: readings.power_mw.map(u64::from).into(),
            power_limit_milliwatts: readings.power_limit_mw.map(u64::from).into(),
            energy_millijoules: readings.energy_mj.into(),
            sm_clock_megahertz: readings.sm_clock_mhz.map(u64::from).into(),
            memory_clock_megahertz: readings.memory_clock_mhz.map(u64::from).into(),
            slowed_by: reasons.map(|all| all.iter().map(|reason| reason.word().to_owned()).collect()),
            ecc_corrected: readings.ecc_corrected.into(),
            ecc_uncorrected: readings.ecc_uncorrected.into(),
            pcie_replays: readings.pcie_replays.into(),
            process_count: processes.map(|processes| processes.len() as u64).into(),
            processes: known,
        }
    }
}

impl From<Reading<u64>> for ReadingView {
    fn from(reading: Reading<u64>) -> ReadingView {
        match reading {
            Reading::Value(value) => ReadingView::Value(value),
            Reading::Unsupported => ReadingView::Unsupported(true),
            Reading::Failed(reason) => ReadingView::Failed(reason),
        }
    }
}

impl ProcessView {
    fn of(process: &GpuProcess, world: &World) -> ProcessView {
        let GpuProcess { pid, memory, sm_percent, owner } = process;
        ProcessView {
            pid: *pid,
            owner: OwnerView::of(owner, world),
            memory_bytes: memory.map(|bytes| bytes.0),
            sm_percent: *sm_percent,
        }
    }
}
