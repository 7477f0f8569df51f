//! What was seen of the machine's GPUs last, as metrics. A figure that a GPU does not have, or that could not be read, has
//! no series; neither has a figure of a GPU that does not answer.

use metrics::{counter, gauge};
use purser_actors::metric::{self, Metric};
use purser_actors::port::{
    DriverState, GpuPart, GpuReadings, GpuState, Reading, SeenGpu, SeenGpus, Slowdown,
};
use purser_events::World;
use purser_events::gpu::Health;

use super::process::exact;

/// Faults (Xids) that have a series of their own: those of NVIDIA's catalogue that say something of the board or of what
/// runs on it.
const XIDS: [u32; 21] =
    [13, 31, 43, 45, 48, 61, 62, 63, 64, 68, 69, 74, 79, 92, 94, 95, 119, 120, 121, 140, 143];

/// Puts what was seen into the recorder in force.
pub(super) fn record(seen: &SeenGpus) {
    let (is_up, release) = match &seen.driver {
        DriverState::Absent => (None, None),
        DriverState::Up { release, .. } => (Some(true), release.as_deref()),
        DriverState::Starting | DriverState::Failing { .. } => (Some(false), None),
    };
    if let Some(is_up) = is_up {
        gauge!(metric::GPU_DRIVER_UP.name).set(f64::from(u8::from(is_up)));
    }
    // Nobody can say of one that is only named whether it answers.
    for gpu in seen.gpus.iter().filter(|gpu| gpu.state != GpuState::Named) {
        record_gpu(gpu, release.unwrap_or_default());
    }
}

/// Puts how the GPUs are on record into the recorder in force.
pub(super) fn record_health(world: &World) {
    for (uuid, gpu) in &world.gpus {
        for word in Health::WORDS {
            let labels = [("uuid", uuid.to_string()), ("health", word.to_owned())];
            gauge!(metric::GPU_HEALTH.name, &labels).set(f64::from(u8::from(gpu.word() == word)));
        }
    }
}

/// What it is.
fn record_info(gpu: &SeenGpu, driver: &str) {
    let labels = [
        ("uuid", gpu.uuid.to_string()),
        ("gpu", gpu.index.map(|index| index.to_string()).unwrap_or_default()),
        ("model", gpu.model.clone().unwrap_or_default()),
        ("driver", driver.to_owned()),
        ("pci_bus", gpu.bus.clone().unwrap_or_default()),
    ];
    gauge!(metric::GPU_INFO.name, &labels).set(1.0);
}

fn record_gpu(gpu: &SeenGpu, driver: &str) {
    let uuid = || gpu.uuid.to_string();
    record_info(gpu, driver);
    let is_up = gpu.state == GpuState::Ready;
    gauge!(metric::GPU_UP.name, "uuid" => uuid()).set(f64::from(u8::from(is_up)));
    let show = |metric: Metric, value: Option<f64>| {
        if let Some(value) = value {
            gauge!(metric.name, "uuid" => uuid()).set(value);
        }
    };
    if !matches!(gpu.part, GpuPart::Instance { .. }) {
        record_faults(gpu);
    }
    show(metric::GPU_MEMORY_TOTAL, gpu.memory.map(|bytes| exact(bytes.0)));
    let Some(readings) = gpu.readings.as_ref().filter(|_| is_up) else { return };
    let GpuReadings {
        at: _,
        memory_used,
        memory_reserved,
        utilization_percent,
        memory_utilization_percent,
        temperature_c,
        power_mw,
        power_limit_mw,
        energy_mj,
        sm_clock_mhz,
        memory_clock_mhz,
        slowed_by,
        ecc_corrected,
        ecc_uncorrected,
        pcie_replays,
        processes,
    } = readings;
    let ratio = |percent: &u32| f64::from(*percent) / 100.0;
    let watts = |milliwatts: &u32| f64::from(*milliwatts) / 1_000.0;
    show(metric::GPU_UTILIZATION, utilization_percent.value().map(ratio));
    show(metric::GPU_MEMORY_UTILIZATION, memory_utilization_percent.value().map(ratio));
    show(metric::GPU_MEMORY_USED, memory_used.value().map(|bytes| exact(bytes.0)));
    show(metric::GPU_MEMORY_RESERVED, memory_reserved.value().map(|bytes| exact(bytes.0)));
    if let Reading::Value(degrees) = temperature_c {
        gauge!(metric::GPU_TEMPERATURE.name, "uuid" => uuid(), "sensor" => "gpu").set(f64::from(*degrees));
    }
    show(metric::GPU_POWER, power_mw.value().map(watts));
    show(metric::GPU_POWER_LIMIT, power_limit_mw.value().map(watts));
    show(metric::GPU_PROCESSES, processes.value().map(|processes| exact(processes.len() as u64)));
    for (clock, reading) in [("sm", sm_clock_mhz), ("memory", memory_clock_mhz)] {
        if let Reading::Value(mhz) = reading {
            gauge!(metric::GPU_CLOCK.name, "uuid" => uuid(), "clock" => clock).set(f64::from(*mhz) * 1e6);
        }
    }
    for reason in slowed_by.value().into_iter().flat_map(|_| Slowdown::ALL) {
        let is_so = slowed_by.value().is_some_and(|all| all.contains(&reason));
        let labels = [("uuid", uuid()), ("reason", reason.word().to_owned())];
        gauge!(metric::GPU_THROTTLE.name, &labels).set(f64::from(u8::from(is_so)));
    }
    if let Reading::Value(millijoules) = energy_mj {
        counter!(metric::GPU_ENERGY.name, "uuid" => uuid()).absolute(millijoules / 1_000);
    }
    if let Reading::Value(replays) = pcie_replays {
        counter!(metric::GPU_REPLAYS.name, "uuid" => uuid()).absolute(*replays);
    }
    for (kind, reading) in [("corrected", ecc_corrected), ("uncorrected", ecc_uncorrected)] {
        if let Reading::Value(errors) = reading {
            let labels =
                [("uuid", uuid()), ("type", kind.to_owned()), ("volatility", "aggregate".to_owned())];
            counter!(metric::GPU_ECC.name, &labels).absolute(*errors);
        }
    }
}

/// Faults of a board, also of one that does not answer now: it may be why.
fn record_faults(gpu: &SeenGpu) {
    let told = |xid: &u32| gpu.xid_counts.get(xid).copied().unwrap_or_default();
    let others = gpu.xid_counts.iter().filter(|(xid, _)| !XIDS.contains(xid)).map(|(_, count)| *count);
    let named = XIDS.iter().map(|xid| (xid.to_string(), told(xid)));
    for (xid, count) in named.chain([("other".to_owned(), others.sum())]) {
        let labels = [("uuid", gpu.uuid.to_string()), ("xid", xid)];
        counter!(metric::GPU_XIDS.name, &labels).absolute(count);
    }
}
