//! The calls for boards that are divided (MIG).

#![expect(unsafe_code, reason = "exported symbols")]

use crate::abi::{ABSURD, code, put};
use crate::answer::{self, Code};

/// Most instances that a board can have.
const INSTANCES_MAX: u32 = 7;

/// Every board can be divided; one that could not answers so by a fault in its script.
#[unsafe(export_name = "nvmlDeviceGetMigMode")]
extern "C" fn mode(device: usize, current: Option<&mut u32>, pending: Option<&mut u32>) -> Code {
    code(answer::board_turn("nvmlDeviceGetMigMode", device).and_then(|turn| {
        let mode = u32::from(turn.device.mig.is_some());
        put(current, mode)?;
        put(pending, mode)
    }))
}

#[unsafe(export_name = "nvmlDeviceGetMaxMigDeviceCount")]
extern "C" fn count_max(device: usize, to: Option<&mut u32>) -> Code {
    code(
        answer::board_turn("nvmlDeviceGetMaxMigDeviceCount", device)
            .and_then(|turn| put(to, if turn.garbled { ABSURD } else { INSTANCES_MAX })),
    )
}

#[unsafe(export_name = "nvmlDeviceGetMigDeviceHandleByIndex")]
extern "C" fn by_index(device: usize, index: u32, to: Option<&mut usize>) -> Code {
    code(answer::board_turn("nvmlDeviceGetMigDeviceHandleByIndex", device).and_then(|turn| {
        let instances = turn.device.mig.as_ref().ok_or(answer::NOT_SUPPORTED)?;
        let instance = instances.get(index as usize).ok_or(answer::NOT_FOUND)?;
        put(to, answer::handle_of(instance.uuid.clone()))
    }))
}
