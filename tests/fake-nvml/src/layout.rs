//! The structs of the C interface. That they are laid out as the wrapper's is checked when this is compiled.

use std::ffi::c_char;
use std::mem::{align_of, offset_of, size_of};

use nvml_wrapper_sys::bindings;

/// `nvmlMemory_v2_t`, in bytes each.
#[repr(C)]
pub(crate) struct Memory {
    pub(crate) version: u32,
    pub(crate) total: u64,
    pub(crate) reserved: u64,
    pub(crate) free: u64,
    pub(crate) used: u64,
}

/// `nvmlUtilization_t`, in percent each.
#[repr(C)]
pub(crate) struct Utilization {
    pub(crate) gpu: u32,
    pub(crate) memory: u32,
}

/// `nvmlProcessInfo_v2_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ProcessInfo {
    pub(crate) pid: u32,
    pub(crate) used_gpu_memory: u64,
    pub(crate) gpu_instance: u32,
    pub(crate) compute_instance: u32,
}

/// `nvmlProcessUtilizationSample_t`; the time in microseconds, the others in percent.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct UtilizationSample {
    pub(crate) pid: u32,
    pub(crate) timestamp: u64,
    pub(crate) sm: u32,
    pub(crate) memory: u32,
    pub(crate) encoder: u32,
    pub(crate) decoder: u32,
}

/// `nvmlEventData_t`.
#[repr(C)]
pub(crate) struct EventData {
    pub(crate) device: usize,
    pub(crate) kind: u64,
    pub(crate) data: u64,
    pub(crate) gpu_instance: u32,
    pub(crate) compute_instance: u32,
}

/// `nvmlPciInfo_t`.
#[repr(C)]
pub(crate) struct PciInfo {
    pub(crate) short_bus_id: [c_char; 16],
    pub(crate) domain: u32,
    pub(crate) bus: u32,
    pub(crate) device: u32,
    pub(crate) device_id: u32,
    pub(crate) subsystem_id: u32,
    pub(crate) bus_id: [c_char; 32],
}

/// What `nvmlDeviceGetMemoryInfo_v2` finds in `version`: the size of the struct, and 2 in the highest byte.
pub(crate) const MEMORY_VERSION: u32 = 40 | 2 << 24;

macro_rules! same_layout {
    ($own:ty, $theirs:ty, $($field:ident = $their_field:ident),*) => {
        const _: () = {
            assert!(size_of::<$own>() == size_of::<$theirs>());
            assert!(align_of::<$own>() == align_of::<$theirs>());
            $(assert!(offset_of!($own, $field) == offset_of!($theirs, $their_field));)*
        };
    };
}

same_layout!(
    Memory,
    bindings::nvmlMemory_v2_t,
    version = version,
    total = total,
    reserved = reserved,
    free = free,
    used = used
);
same_layout!(Utilization, bindings::nvmlUtilization_t, gpu = gpu, memory = memory);
same_layout!(
    ProcessInfo,
    bindings::nvmlProcessInfo_t,
    pid = pid,
    used_gpu_memory = usedGpuMemory,
    gpu_instance = gpuInstanceId,
    compute_instance = computeInstanceId
);
same_layout!(
    UtilizationSample,
    bindings::nvmlProcessUtilizationSample_t,
    pid = pid,
    timestamp = timeStamp,
    sm = smUtil,
    memory = memUtil,
    encoder = encUtil,
    decoder = decUtil
);
same_layout!(
    EventData,
    bindings::nvmlEventData_t,
    device = device,
    kind = eventType,
    data = eventData,
    gpu_instance = gpuInstanceId,
    compute_instance = computeInstanceId
);
same_layout!(
    PciInfo,
    bindings::nvmlPciInfo_t,
    short_bus_id = busIdLegacy,
    domain = domain,
    bus = bus,
    device = device,
    device_id = pciDeviceId,
    subsystem_id = pciSubSystemId,
    bus_id = busId
);
const _: () = assert!(size_of::<Memory>() == 40);
const _: () = assert!(size_of::<EventData>() == 32);
const _: () = assert!(size_of::<usize>() == size_of::<bindings::nvmlEventSet_t>());
