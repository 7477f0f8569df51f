//! The calls for figures of a board that are more than its load: what it may draw, how fast it runs, what went wrong.

#![expect(unsafe_code, reason = "exported symbols")]

use std::ffi::c_char;

use crate::abi::{NOT_AVAILABLE, code, figure, put};
use crate::answer::{self, Code, Turn};
use crate::layout::PciInfo;

/// `NVML_CLOCK_SM` and `NVML_CLOCK_MEM`.
const CLOCK_SM: u32 = 1;
const CLOCK_MEMORY: u32 = 2;
/// `NVML_MEMORY_ERROR_TYPE_CORRECTED` and `NVML_MEMORY_ERROR_TYPE_UNCORRECTED`.
const CORRECTED: u32 = 0;
const UNCORRECTED: u32 = 1;

fn long_figure(
    call: &'static str,
    device: usize,
    to: Option<&mut u64>,
    of: impl Fn(&Turn) -> Result<u64, Code>,
) -> Code {
    code(answer::board_turn(call, device).and_then(|turn| {
        let figure = of(&turn)?;
        put(to, if turn.garbled { NOT_AVAILABLE - 1 } else { figure })
    }))
}

/// A text and zeros behind it.
fn chars<const LEN: usize>(text: &str) -> [c_char; LEN] {
    let mut chars = [0; LEN];
    // One stays zero: it ends the text.
    for (place, byte) in chars.iter_mut().take(LEN - 1).zip(text.bytes()) {
        *place = c_char::from_ne_bytes([byte]);
    }
    chars
}

#[unsafe(export_name = "nvmlDeviceGetPciInfo_v3")]
extern "C" fn pci_info(device: usize, to: Option<&mut PciInfo>) -> Code {
    code(answer::board_turn("nvmlDeviceGetPciInfo_v3", device).and_then(|turn| {
        let slot = turn.device.slot;
        let place = PciInfo {
            short_bus_id: chars(&format!("0000:{slot:02X}:00.0")),
            domain: 0,
            bus: slot.into(),
            device: 0,
            device_id: 0x2335_10DE,
            subsystem_id: 0x18BE_10DE,
            bus_id: chars(&format!("00000000:{slot:02X}:00.0")),
        };
        put(to, place)
    }))
}

#[unsafe(export_name = "nvmlDeviceGetEnforcedPowerLimit")]
extern "C" fn power_limit(device: usize, to: Option<&mut u32>) -> Code {
    figure("nvmlDeviceGetEnforcedPowerLimit", device, to, |turn| turn.device.power_limit_mw.at(turn.number))
}

#[unsafe(export_name = "nvmlDeviceGetTotalEnergyConsumption")]
extern "C" fn energy(device: usize, to: Option<&mut u64>) -> Code {
    let of = |turn: &Turn| Ok(turn.device.energy_mj.at(turn.number));
    long_figure("nvmlDeviceGetTotalEnergyConsumption", device, to, of)
}

#[unsafe(export_name = "nvmlDeviceGetClockInfo")]
extern "C" fn clock(device: usize, kind: u32, to: Option<&mut u32>) -> Code {
    let call = "nvmlDeviceGetClockInfo";
    match kind {
        CLOCK_SM => figure(call, device, to, |turn| turn.device.sm_clock_mhz.at(turn.number)),
        CLOCK_MEMORY => figure(call, device, to, |turn| turn.device.memory_clock_mhz.at(turn.number)),
        _ => answer::INVALID_ARGUMENT,
    }
}

#[unsafe(export_name = "nvmlDeviceGetCurrentClocksThrottleReasons")]
extern "C" fn slowed_by(device: usize, to: Option<&mut u64>) -> Code {
    let of = |turn: &Turn| Ok(turn.device.slowed_by.at(turn.number));
    long_figure("nvmlDeviceGetCurrentClocksThrottleReasons", device, to, of)
}

#[unsafe(export_name = "nvmlDeviceGetTotalEccErrors")]
extern "C" fn ecc(device: usize, kind: u32, _counter: u32, to: Option<&mut u64>) -> Code {
    long_figure("nvmlDeviceGetTotalEccErrors", device, to, |turn| match kind {
        CORRECTED => Ok(turn.device.ecc_corrected.at(turn.number)),
        UNCORRECTED => Ok(turn.device.ecc_uncorrected.at(turn.number)),
        _ => Err(answer::INVALID_ARGUMENT),
    })
}

#[unsafe(export_name = "nvmlDeviceGetPcieReplayCounter")]
extern "C" fn pcie_replays(device: usize, to: Option<&mut u32>) -> Code {
    figure("nvmlDeviceGetPcieReplayCounter", device, to, |turn| turn.device.pcie_replays.at(turn.number))
}
