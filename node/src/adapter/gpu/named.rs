//! GPUs that the config names, put together with those that were seen.

use std::collections::BTreeMap;

use purser_actors::port::{DriverState, GpuPart, GpuState, SeenGpu};
use purser_events::ledger::{GpuDevice, GpuUuid};

/// Puts the GPUs that the config names among those that a driver lists. Where there is no driver, they are as the config
/// says. Of one that a driver lists, the config may give another model and less memory, and not more.
pub(super) fn add(named: &[GpuDevice], driver: &DriverState, gpus: &mut BTreeMap<GpuUuid, SeenGpu>) {
    for device in named {
        match gpus.get_mut(&device.uuid) {
            Some(gpu) => agree(device, gpu),
            None => drop(gpus.insert(device.uuid.clone(), alone(device, driver))),
        }
    }
}

fn agree(device: &GpuDevice, gpu: &mut SeenGpu) {
    match gpu.memory {
        Some(memory) if memory < device.memory => {
            let (named, uuid) = (device.memory, &gpu.uuid);
            let reason = format!(
                "is {named}, and the driver says that {uuid} has {memory}: name at most that, or leave the GPU out"
            );
            gpu.state = GpuState::Contradicted { reason };
        }
        Some(_) | None => gpu.memory = Some(device.memory),
    }
    gpu.model = Some(device.model.clone());
}

/// One that no driver lists.
fn alone(device: &GpuDevice, driver: &DriverState) -> SeenGpu {
    let lost = |reason: String| GpuState::Lost { reason };
    let state = match driver {
        DriverState::Absent => GpuState::Named,
        DriverState::Starting => GpuState::Starting,
        DriverState::Up { .. } => lost("the config names it, and the driver does not list it".to_owned()),
        DriverState::Failing { reason } => lost(format!("the driver cannot be used: {reason}")),
    };
    SeenGpu {
        uuid: device.uuid.clone(),
        index: None,
        bus: None,
        model: Some(device.model.clone()),
        memory: Some(device.memory),
        tflops: None,
        state,
        part: GpuPart::Whole,
        readings: None,
        xids: vec![],
        xid_counts: BTreeMap::new(),
    }
}
