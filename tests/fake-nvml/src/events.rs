//! The calls that wait for what a driver tells by itself: faults (Xids) alone.

#![expect(unsafe_code, reason = "exported symbols")]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::abi::{code, put};
use crate::answer::{self, Code};
use crate::layout::EventData;

/// `nvmlEventTypeXidCriticalError`.
const XID: u64 = 8;
/// Time between two looks of a call that waits at whether there is something.
const LOOK: Duration = Duration::from_millis(20);

/// Which devices each set of events is for.
static SETS: Mutex<BTreeMap<usize, Vec<usize>>> = Mutex::new(BTreeMap::new());

fn sets<T>(of: impl FnOnce(&mut BTreeMap<usize, Vec<usize>>) -> T) -> T {
    of(&mut SETS.lock().unwrap_or_else(PoisonError::into_inner))
}

#[unsafe(export_name = "nvmlEventSetCreate")]
extern "C" fn create(to: Option<&mut usize>) -> Code {
    code(answer::script("nvmlEventSetCreate").and_then(|_| {
        let set = sets(|sets| {
            let set = sets.last_key_value().map_or(1, |(last, _)| last + 1);
            sets.insert(set, vec![]);
            set
        });
        put(to, set)
    }))
}

#[unsafe(export_name = "nvmlEventSetFree")]
extern "C" fn free(set: usize) -> Code {
    sets(|sets| sets.remove(&set)).map_or(answer::INVALID_ARGUMENT, |_| answer::SUCCESS)
}

#[unsafe(export_name = "nvmlDeviceRegisterEvents")]
extern "C" fn register(device: usize, kinds: u64, set: usize) -> Code {
    code(answer::board_turn("nvmlDeviceRegisterEvents", device).and_then(|_| {
        if kinds & !XID != 0 {
            return Err(answer::NOT_SUPPORTED);
        }
        let devices = sets(|sets| sets.get_mut(&set).map(|devices| devices.push(device)));
        devices.ok_or(answer::INVALID_ARGUMENT)
    }))
}

#[unsafe(export_name = "nvmlEventSetWait_v2")]
extern "C" fn wait(set: usize, to: Option<&mut EventData>, timeout_ms: u32) -> Code {
    let (begun, timeout) = (Instant::now(), Duration::from_millis(timeout_ms.into()));
    code(loop {
        match next(set) {
            Ok(Some(event)) => break put(to, event),
            Err(code) => break Err(code),
            Ok(None) => {}
        }
        let left = timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break Err(answer::TIMEOUT);
        }
        std::thread::sleep(left.min(LOOK));
    })
}

/// The next fault of a set's devices; none if there is none.
fn next(set: usize) -> Result<Option<EventData>, Code> {
    let devices = sets(|sets| sets.get(&set).cloned()).ok_or(answer::INVALID_ARGUMENT)?;
    for device in devices {
        if let Some(xid) = answer::untold("nvmlEventSetWait_v2", &answer::uuid_of(device)?)? {
            let (gpu_instance, compute_instance) = (u32::MAX, u32::MAX);
            return Ok(Some(EventData {
                device,
                kind: XID,
                data: xid.into(),
                gpu_instance,
                compute_instance,
            }));
        }
    }
    Ok(None)
}
