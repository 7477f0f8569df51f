//! Calls about one GPU: each is seen by the watchdog while it is under way, timed and counted. What the GPU does not have is
//! asked for once; a figure that cannot be true is left out and counted.

use std::collections::BTreeSet;
use std::sync::Arc;

use metrics::{counter, histogram};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use purser_actors::metric;
use purser_actors::port::Reading;
use purser_events::ledger::GpuUuid;

use super::board::Board;
use super::trouble::{Trouble, word};

/// Asks about one GPU.
pub(super) struct Caller {
    pub(super) board: Arc<Board>,
    pub(super) uuid: GpuUuid,
    /// Whether it is an instance of a divided one: of those, drivers call invalid what they do not have.
    is_instance: bool,
    /// Calls that this GPU does not answer, ever, and what they were to tell.
    unsupported: BTreeSet<(&'static str, &'static str)>,
}

/// Why a look was broken off.
pub(super) enum End {
    /// The GPU is not there any more.
    Gone,
    /// It is of no use now, and is looked at again.
    Lost(String),
    /// The driver is gone.
    Driver(String),
}

impl Caller {
    pub(super) fn new(board: Arc<Board>, uuid: GpuUuid, is_instance: bool) -> Caller {
        Caller { board, uuid, is_instance, unsupported: BTreeSet::new() }
    }

    /// The device of this name: its handle is another after the driver was loaded again.
    pub(super) fn device<'a>(&self, nvml: &'a Nvml) -> Result<Device<'a>, End> {
        let call = "nvmlDeviceGetHandleByUUID";
        self.board.calls(&self.uuid, call);
        nvml.device_by_uuid(self.uuid.as_str()).map_err(|error| match Trouble::of(&error) {
            Trouble::NotFound => End::Gone,
            Trouble::DriverGone(reason) => End::Driver(reason),
            Trouble::DeviceLost(reason) | Trouble::Passing(reason) => lost(call, &error, reason),
            Trouble::Unsupported => lost(call, &error, error.to_string()),
        })
    }

    /// Asks for a figure, unless it is known that there is none.
    pub(super) fn ask<T>(
        &mut self,
        call: &'static str,
        ask: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Result<Reading<T>, End> {
        self.ask_one(call, "", ask)
    }

    /// Asks for one of the figures of a call that has several, unless it is known that there is none.
    pub(super) fn ask_one<T>(
        &mut self,
        call: &'static str,
        figure: &'static str,
        ask: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Result<Reading<T>, End> {
        if self.unsupported.contains(&(call, figure)) {
            return Ok(Reading::Unsupported);
        }
        let begun = self.board.calls(&self.uuid, call);
        let answer = ask();
        let took = self.board.passed().saturating_sub(begun);
        histogram!(metric::NVML_CALL.name, "call" => call).record(took.as_secs_f64());
        self.read(call, figure, answer)
    }

    /// Waits for something, which takes as long as it takes.
    pub(super) fn wait<T>(
        &mut self,
        call: &'static str,
        wait: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Result<Reading<T>, End> {
        if self.unsupported.contains(&(call, "")) {
            return Ok(Reading::Unsupported);
        }
        self.board.calls(&self.uuid, call);
        let answer = wait();
        self.read(call, "", answer)
    }

    fn read<T>(
        &mut self,
        call: &'static str,
        figure: &'static str,
        answer: Result<T, NvmlError>,
    ) -> Result<Reading<T>, End> {
        let error = match answer {
            Ok(value) => return Ok(Reading::Value(value)),
            Err(error) => error,
        };
        let is_nothing = self.is_instance && matches!(error, NvmlError::InvalidArg);
        match Trouble::of(&error) {
            Trouble::Passing(_) if is_nothing => Ok(self.lacking(call, figure)),
            Trouble::Unsupported => Ok(self.lacking(call, figure)),
            Trouble::DeviceLost(reason) => Err(lost(call, &error, reason)),
            Trouble::DriverGone(reason) => Err(End::Driver(reason)),
            Trouble::NotFound | Trouble::Passing(_) => {
                count_error(call, &error);
                Ok(Reading::Failed(error.to_string()))
            }
        }
    }

    /// Asks again for what the GPU did not have: it has become another.
    pub(super) fn ask_all_again(&mut self) {
        self.unsupported.clear();
    }

    fn lacking<T>(&mut self, call: &'static str, figure: &'static str) -> Reading<T> {
        self.unsupported.insert((call, figure));
        Reading::Unsupported
    }
}

fn lost(call: &'static str, error: &NvmlError, reason: String) -> End {
    count_error(call, error);
    End::Lost(reason)
}

fn count_error(call: &'static str, error: &NvmlError) {
    counter!(metric::NVML_ERRORS.name, "call" => call, "code" => word(error)).increment(1);
}

/// Counts a figure that is left out.
pub(super) fn count_discarded(call: &'static str) {
    counter!(metric::NVML_DISCARDED.name, "call" => call).increment(1);
}

/// A figure, if it is one that can be.
pub(super) fn within<T: Copy + PartialOrd + std::fmt::Display>(
    call: &'static str,
    read: Reading<T>,
    most: T,
) -> Reading<T> {
    match read {
        Reading::Value(figure) if most < figure => {
            count_discarded(call);
            Reading::Failed(format!("the driver says {figure}, which cannot be"))
        }
        read => read,
    }
}
