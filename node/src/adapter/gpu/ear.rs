//! Hears what a driver tells of a GPU without being asked: its faults (Xids). What waits for it does so between two looks.

use std::time::Duration;

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{EventSet, Nvml};
use purser_actors::port::Reading;

use super::caller::{Caller, End};

/// What NVML has for a fault without a number.
const XID_UNKNOWN: u32 = 999;

/// Hears of the faults of one GPU.
pub(super) struct Ear<'n> {
    nvml: &'n Nvml,
    set: Option<EventSet<'n>>,
    /// When it was known last that there was nothing to tell, by the time that has passed: what is told next has happened
    /// since, however late it is told.
    quiet_at: Duration,
}

impl<'n> Ear<'n> {
    pub(super) fn new(nvml: &'n Nvml) -> Ear<'n> {
        Ear { nvml, set: None, quiet_at: Duration::ZERO }
    }

    /// Forgets what it asked the driver to tell: after a GPU was lost, that is gone as well.
    pub(super) fn forget(&mut self) {
        self.set = None;
    }

    /// Listens for at most this time; says whether it could.
    pub(super) fn listen(&mut self, caller: &mut Caller, time: Duration) -> Result<bool, End> {
        if self.set.is_none() {
            self.quiet_at = caller.board.passed();
            self.set = self.ask_to_be_told(caller)?;
        }
        let Some(set) = &self.set else { return Ok(false) };
        // A wait is a call as any other to the watchdog: it ends well before it would count as one that hangs.
        let time = time.min(caller.board.pace.patience / 2);
        let time_ms = u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1);
        let heard = caller.wait("nvmlEventSetWait_v2", || match set.wait(time_ms) {
            Err(NvmlError::Timeout) => Ok(None),
            heard => heard.map(|event| event.event_data),
        })?;
        match heard {
            Reading::Value(Some(xid)) => {
                let xid = number(&xid);
                caller.board.fault(&caller.uuid, xid, self.quiet_at);
                Ok(true)
            }
            Reading::Value(None) => {
                self.quiet_at = caller.board.passed();
                Ok(true)
            }
            Reading::Unsupported => Ok(false),
            Reading::Failed(_) => {
                self.set = None;
                Ok(false)
            }
        }
    }

    /// Asks the driver to tell; none if it cannot.
    fn ask_to_be_told(&self, caller: &mut Caller) -> Result<Option<EventSet<'n>>, End> {
        let (call, uuid) = ("nvmlDeviceRegisterEvents", caller.uuid.clone());
        let asked = caller.ask(call, || {
            let set = self.nvml.create_event_set()?;
            let device = self.nvml.device_by_uuid(uuid.as_str())?;
            device.register_events(EventTypes::CRITICAL_XID_ERROR, set).map_err(|error| error.error)
        })?;
        Ok(match asked {
            Reading::Value(set) => Some(set),
            Reading::Unsupported | Reading::Failed(_) => None,
        })
    }
}

fn number(xid: &XidError) -> u32 {
    match xid {
        XidError::Value(number) => u32::try_from(*number).unwrap_or(XID_UNKNOWN),
        XidError::Unknown => XID_UNKNOWN,
    }
}
