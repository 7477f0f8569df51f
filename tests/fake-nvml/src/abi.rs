//! The functions of the C interface, as far as they are used. What they get are pointers of their caller, who promises
//! what `nvml.h` asks of him: null, or room for what is written there.

#![expect(unsafe_code, reason = "exported symbols, and buffers whose length is an argument of its own")]

use std::ffi::{CStr, c_char};
use std::slice;

use crate::answer::{self, Code, Turn};
use crate::layout::{MEMORY_VERSION, Memory, ProcessInfo, Utilization, UtilizationSample};
use crate::script::{Device, ProcessKind, Script};

/// A figure that no driver means: one that was seen from real ones.
pub(crate) const ABSURD: u32 = 2_147_483_632;
/// The text that is none: not UTF-8.
const ABSURD_TEXT: &[u8] = &[0xff, 0xfe, b'?'];
/// `NVML_VALUE_NOT_AVAILABLE`.
pub(crate) const NOT_AVAILABLE: u64 = u64::MAX;
/// What stands for no instance of a divided GPU.
const NO_INSTANCE: u32 = u32::MAX;
/// Samples of processes that fit into the driver's own buffer: what it answers when asked how many there are.
const SAMPLES_MAX: u32 = 100;

pub(crate) fn code(done: Result<(), Code>) -> Code {
    done.err().unwrap_or(answer::SUCCESS)
}

/// Writes a figure where the caller wants it.
pub(crate) fn put<T>(to: Option<&mut T>, value: T) -> Result<(), Code> {
    *to.ok_or(answer::INVALID_ARGUMENT)? = value;
    Ok(())
}

/// Writes text and the zero behind it.
fn put_text(to: *mut c_char, room: u32, text: &[u8]) -> Result<(), Code> {
    if to.is_null() {
        return Err(answer::INVALID_ARGUMENT);
    }
    if (room as usize) <= text.len() {
        return Err(answer::INSUFFICIENT_SIZE);
    }
    // SAFETY: the caller promises `room` bytes that nobody else uses, and there are more of them than of the text.
    let room = unsafe { slice::from_raw_parts_mut(to.cast::<u8>(), text.len() + 1) };
    for (place, byte) in room.iter_mut().zip(text.iter().copied().chain([0])) {
        *place = byte;
    }
    Ok(())
}

/// Writes a list if there is room, and how long it is in any case.
fn put_list<T: Copy>(count: Option<&mut u32>, to: *mut T, list: &[T]) -> Result<(), Code> {
    let count = count.ok_or(answer::INVALID_ARGUMENT)?;
    let room = *count as usize;
    *count = u32::try_from(list.len()).map_err(|_| answer::INVALID_ARGUMENT)?;
    if list.is_empty() {
        return Ok(());
    }
    if to.is_null() || room < list.len() {
        return Err(answer::INSUFFICIENT_SIZE);
    }
    // SAFETY: the caller promises room for as many as he said, and the list is not longer.
    unsafe { slice::from_raw_parts_mut(to, list.len()) }.copy_from_slice(list);
    Ok(())
}

#[unsafe(export_name = "nvmlInit_v2")]
extern "C" fn init() -> Code {
    code(answer::open("nvmlInit_v2"))
}

#[unsafe(export_name = "nvmlShutdown")]
extern "C" fn shutdown() -> Code {
    code(answer::close())
}

fn system_text(call: &str, to: *mut c_char, room: u32, of: fn(&Script) -> &str) -> Code {
    code(answer::script(call).and_then(|script| {
        let text = if script.faults.garbles(call) { ABSURD_TEXT } else { of(&script).as_bytes() };
        put_text(to, room, text)
    }))
}

#[unsafe(export_name = "nvmlSystemGetDriverVersion")]
extern "C" fn driver_version(to: *mut c_char, room: u32) -> Code {
    system_text("nvmlSystemGetDriverVersion", to, room, |script| &script.driver)
}

#[unsafe(export_name = "nvmlSystemGetNVMLVersion")]
extern "C" fn nvml_version(to: *mut c_char, room: u32) -> Code {
    system_text("nvmlSystemGetNVMLVersion", to, room, |script| &script.nvml)
}

#[unsafe(export_name = "nvmlDeviceGetCount_v2")]
extern "C" fn device_count(to: Option<&mut u32>) -> Code {
    let call = "nvmlDeviceGetCount_v2";
    code(answer::script(call).and_then(|script| {
        let count = u32::try_from(script.devices.len()).map_err(|_| answer::INVALID_ARGUMENT)?;
        put(to, if script.faults.garbles(call) { ABSURD } else { count })
    }))
}

#[unsafe(export_name = "nvmlDeviceGetHandleByIndex_v2")]
extern "C" fn handle_by_index(index: u32, to: Option<&mut usize>) -> Code {
    let of = |script: &Script| {
        let at = index as usize;
        if at < script.devices.len() { Ok((at, None)) } else { Err(answer::INVALID_ARGUMENT) }
    };
    code(answer::handle("nvmlDeviceGetHandleByIndex_v2", of).and_then(|handle| put(to, handle)))
}

#[unsafe(export_name = "nvmlDeviceGetHandleByUUID")]
extern "C" fn handle_by_uuid(uuid: *const c_char, to: Option<&mut usize>) -> Code {
    if uuid.is_null() {
        return answer::INVALID_ARGUMENT;
    }
    // SAFETY: the caller promises a text that ends with a zero.
    let uuid = unsafe { CStr::from_ptr(uuid) }.to_string_lossy();
    let of = |script: &Script| script.find(&uuid).ok_or(answer::NOT_FOUND);
    code(answer::handle("nvmlDeviceGetHandleByUUID", of).and_then(|handle| put(to, handle)))
}

fn device_text(
    call: &'static str,
    device: usize,
    to: *mut c_char,
    room: u32,
    of: fn(&Device) -> &str,
) -> Code {
    code(answer::turn(call, device).and_then(|turn| {
        let text = if turn.garbled { ABSURD_TEXT } else { of(&turn.device).as_bytes() };
        put_text(to, room, text)
    }))
}

#[unsafe(export_name = "nvmlDeviceGetUUID")]
extern "C" fn uuid(device: usize, to: *mut c_char, room: u32) -> Code {
    device_text("nvmlDeviceGetUUID", device, to, room, |device| &device.uuid)
}

#[unsafe(export_name = "nvmlDeviceGetName")]
extern "C" fn name(device: usize, to: *mut c_char, room: u32) -> Code {
    device_text("nvmlDeviceGetName", device, to, room, |device| &device.model)
}

#[unsafe(export_name = "nvmlDeviceGetIndex")]
extern "C" fn index(device: usize, to: Option<&mut u32>) -> Code {
    code(answer::turn("nvmlDeviceGetIndex", device).and_then(|turn| {
        if let Some(at) = turn.board {
            return put(to, u32::try_from(at).map_err(|_| answer::INVALID_ARGUMENT)?);
        }
        let script = answer::script("nvmlDeviceGetIndex")?;
        let at = script.devices.iter().position(|device| device.uuid == turn.device.uuid);
        put(to, at.and_then(|at| u32::try_from(at).ok()).ok_or(answer::GPU_IS_LOST)?)
    }))
}

#[unsafe(export_name = "nvmlDeviceGetMemoryInfo_v2")]
extern "C" fn memory_info(device: usize, to: Option<&mut Memory>) -> Code {
    code(answer::turn("nvmlDeviceGetMemoryInfo_v2", device).and_then(|turn| {
        let to = to.ok_or(answer::INVALID_ARGUMENT)?;
        if to.version != MEMORY_VERSION {
            return Err(answer::VERSION_MISMATCH);
        }
        (to.total, to.reserved) = (turn.device.memory_total, turn.device.memory_reserved);
        to.used = turn.device.memory_used.at(turn.number);
        if turn.garbled {
            (to.used, to.reserved) = (NOT_AVAILABLE - 1, NOT_AVAILABLE - 1);
        }
        to.free = to.total.saturating_sub(to.used);
        Ok(())
    }))
}

#[unsafe(export_name = "nvmlDeviceGetUtilizationRates")]
extern "C" fn utilization(device: usize, to: Option<&mut Utilization>) -> Code {
    code(answer::turn("nvmlDeviceGetUtilizationRates", device).and_then(|turn| {
        if turn.board.is_some() || turn.device.mig.is_some() {
            return Err(answer::NOT_SUPPORTED);
        }
        let of = |figure: u32| if turn.garbled { ABSURD } else { figure };
        let gpu = of(turn.device.utilization.at(turn.number));
        put(to, Utilization { gpu, memory: of(turn.device.memory_utilization.at(turn.number)) })
    }))
}

pub(crate) fn figure(call: &'static str, device: usize, to: Option<&mut u32>, of: fn(&Turn) -> u32) -> Code {
    code(
        answer::board_turn(call, device)
            .and_then(|turn| put(to, if turn.garbled { ABSURD } else { of(&turn) })),
    )
}

#[unsafe(export_name = "nvmlDeviceGetTemperature")]
extern "C" fn temperature(device: usize, _sensor: u32, to: Option<&mut u32>) -> Code {
    figure("nvmlDeviceGetTemperature", device, to, |turn| turn.device.temperature_c.at(turn.number))
}

#[unsafe(export_name = "nvmlDeviceGetPowerUsage")]
extern "C" fn power(device: usize, to: Option<&mut u32>) -> Code {
    figure("nvmlDeviceGetPowerUsage", device, to, |turn| turn.device.power_mw.at(turn.number))
}

fn processes(
    call: &'static str,
    device: usize,
    count: Option<&mut u32>,
    to: *mut ProcessInfo,
    kind: ProcessKind,
) -> Code {
    code(answer::turn(call, device).and_then(|turn| {
        let of_kind = turn.device.processes.iter().filter(|process| process.kind == kind);
        let list: Vec<ProcessInfo> = of_kind
            .map(|process| ProcessInfo {
                pid: process.pid,
                used_gpu_memory: process.memory.unwrap_or(NOT_AVAILABLE),
                gpu_instance: NO_INSTANCE,
                compute_instance: NO_INSTANCE,
            })
            .collect();
        put_list(count, to, &list)
    }))
}

#[unsafe(export_name = "nvmlDeviceGetComputeRunningProcesses_v3")]
extern "C" fn compute_processes(device: usize, count: Option<&mut u32>, to: *mut ProcessInfo) -> Code {
    processes("nvmlDeviceGetComputeRunningProcesses_v3", device, count, to, ProcessKind::Compute)
}

#[unsafe(export_name = "nvmlDeviceGetGraphicsRunningProcesses_v3")]
extern "C" fn graphics_processes(device: usize, count: Option<&mut u32>, to: *mut ProcessInfo) -> Code {
    processes("nvmlDeviceGetGraphicsRunningProcesses_v3", device, count, to, ProcessKind::Graphics)
}

#[unsafe(export_name = "nvmlDeviceGetMPSComputeRunningProcesses_v3")]
extern "C" fn mps_processes(device: usize, count: Option<&mut u32>, to: *mut ProcessInfo) -> Code {
    processes("nvmlDeviceGetMPSComputeRunningProcesses_v3", device, count, to, ProcessKind::Mps)
}

/// Answers as the driver does: how many it could hold when there is no room, and that nothing is found when nobody was
/// busy since `last_seen`.
#[unsafe(export_name = "nvmlDeviceGetProcessUtilization")]
extern "C" fn process_utilization(
    device: usize,
    to: *mut UtilizationSample,
    count: Option<&mut u32>,
    last_seen: u64,
) -> Code {
    code(answer::turn("nvmlDeviceGetProcessUtilization", device).and_then(|turn| {
        if turn.board.is_some() || turn.device.mig.is_some() {
            return Err(answer::NOT_SUPPORTED);
        }
        let sampled_us = turn.device.sampled_us.unwrap_or(last_seen.saturating_add(1));
        if sampled_us <= last_seen {
            return Err(answer::NOT_FOUND);
        }
        let busy = turn.device.processes.iter().filter_map(|process| Some((process.pid, process.sm?)));
        let sample = |(pid, sm): (u32, u32)| UtilizationSample {
            pid,
            timestamp: sampled_us,
            sm: if turn.garbled { ABSURD } else { sm },
            memory: 0,
            encoder: 0,
            decoder: 0,
        };
        let list: Vec<UtilizationSample> = busy.map(sample).collect();
        if list.is_empty() {
            return Err(answer::NOT_FOUND);
        }
        if to.is_null() {
            put(count, SAMPLES_MAX)?;
            return Err(answer::INSUFFICIENT_SIZE);
        }
        put_list(count, to, &list)
    }))
}
