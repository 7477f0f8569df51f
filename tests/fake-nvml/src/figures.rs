//! The calls for figures of a board that are more than its load: what it may draw, how fast it runs, what went wrong.

#![expect(unsafe_code, reason = "exported symbols")]

use crate::abi::{NOT_AVAILABLE, code, figure, put};
use crate::answer::{self, Code, Turn};

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
