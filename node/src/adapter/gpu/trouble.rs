//! What the errors of the management library mean for whoever asks it.

use nvml_wrapper::error::NvmlError;

/// What an error means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no such figure here, and there will be none.
    Unsupported,
    /// There is no such device, or nothing to tell of it.
    NotFound,
    /// The device is of no use now.
    DeviceLost(String),
    /// The driver is gone; the library has to be opened again.
    DriverGone(String),
    /// It may go better the next time.
    Passing(String),
}

impl Trouble {
    /// What an error means.
    pub(super) fn of(error: &NvmlError) -> Trouble {
        match error {
            NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
                Trouble::Unsupported
            }
            NvmlError::NotFound => Trouble::NotFound,
            NvmlError::GpuLost | NvmlError::ResetRequired => Trouble::DeviceLost(error.to_string()),
            NvmlError::Uninitialized | NvmlError::DriverNotLoaded => Trouble::DriverGone(advice(error)),
            other => Trouble::Passing(other.to_string()),
        }
    }
}

/// The word for an error: a few that are fixed, so that errors can be counted by them.
pub(super) fn word(error: &NvmlError) -> &'static str {
    match error {
        NvmlError::Uninitialized => "uninitialized",
        NvmlError::InvalidArg => "invalid_argument",
        NvmlError::NoPermission => "no_permission",
        NvmlError::NotFound => "not_found",
        NvmlError::InsufficientSize(_) => "insufficient_size",
        NvmlError::DriverNotLoaded => "driver_not_loaded",
        NvmlError::Timeout => "timeout",
        NvmlError::IrqIssue => "irq_issue",
        NvmlError::GpuLost => "gpu_is_lost",
        NvmlError::ResetRequired => "reset_required",
        NvmlError::OperatingSystem => "operating_system",
        NvmlError::LibRmVersionMismatch => "version_mismatch",
        NvmlError::InUse => "in_use",
        NvmlError::InsufficientMemory => "insufficient_memory",
        NvmlError::NoData => "no_data",
        NvmlError::Unknown => "unknown",
        _ => "other",
    }
}

/// Why a library or its driver is of no use, and what to do.
pub(super) fn advice(error: &NvmlError) -> String {
    let what = match error {
        NvmlError::LibRmVersionMismatch => {
            "load the kernel module of the library's release, or start the machine again"
        }
        NvmlError::DriverNotLoaded => "load the kernel module `nvidia`",
        NvmlError::NoPermission => "let the service's user use /dev/nvidiactl",
        NvmlError::FailedToLoadSymbol(_) => "install a driver of release 450 or later",
        _ => return error.to_string(),
    };
    format!("{error}; {what}")
}
