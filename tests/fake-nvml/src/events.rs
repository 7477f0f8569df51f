//! The calls that wait for what a driver tells by itself: faults (Xids) alone.

#![expect(unsafe_code, reason = "exported symbols")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::abi::{code, put};
use crate::answer::{self, Code};
use crate::change::Changes;
use crate::layout::EventData;

/// `nvmlEventTypeXidCriticalError`.
const XID: u64 = 8;

/// The sets of events that there are.
static SETS: Mutex<BTreeMap<usize, Set>> = Mutex::new(BTreeMap::new());

/// A set of events.
#[derive(Clone)]
struct Set {
    /// The devices that it is for.
    devices: Vec<usize>,
    /// Tells when there may be something: who waits rests until then, as with a real driver.
    changes: Arc<Changes>,
}

fn sets<T>(of: impl FnOnce(&mut BTreeMap<usize, Set>) -> T) -> T {
    of(&mut SETS.lock().unwrap_or_else(PoisonError::into_inner))
}

#[unsafe(export_name = "nvmlEventSetCreate")]
extern "C" fn create(to: Option<&mut usize>) -> Code {
    code(answer::script("nvmlEventSetCreate").and_then(|_| {
        let set = sets(|sets| {
            let set = sets.last_key_value().map_or(1, |(last, _)| last + 1);
            sets.insert(set, Set { devices: vec![], changes: Arc::new(Changes::of_script()) });
            set
        });
        put(to, set)
    }))
}

#[unsafe(export_name = "nvmlEventSetFree")]
extern "C" fn free(set: usize) -> Code {
    if sets(|sets| sets.remove(&set)).is_some() { answer::SUCCESS } else { answer::INVALID_ARGUMENT }
}

#[unsafe(export_name = "nvmlDeviceRegisterEvents")]
extern "C" fn register(device: usize, kinds: u64, set: usize) -> Code {
    code(answer::board_turn("nvmlDeviceRegisterEvents", device).and_then(|_| {
        if kinds & !XID != 0 {
            return Err(answer::NOT_SUPPORTED);
        }
        let devices = sets(|sets| sets.get_mut(&set).map(|set| set.devices.push(device)));
        devices.ok_or(answer::INVALID_ARGUMENT)
    }))
}

#[unsafe(export_name = "nvmlEventSetWait_v2")]
extern "C" fn wait(set: usize, to: Option<&mut EventData>, timeout_ms: u32) -> Code {
    let (begun, timeout) = (Instant::now(), Duration::from_millis(timeout_ms.into()));
    let Some(Set { devices, changes }) = sets(|sets| sets.get(&set).cloned()) else {
        return answer::INVALID_ARGUMENT;
    };
    code(loop {
        // Before it is looked: what changes meanwhile ends the rest at once.
        changes.forget();
        match next(&devices) {
            Ok(Some(event)) => break put(to, event),
            Err(code) => break Err(code),
            Ok(None) => {}
        }
        let left = timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break Err(answer::TIMEOUT);
        }
        changes.wait(left);
    })
}

/// The next fault of these devices; none if there is none.
fn next(devices: &[usize]) -> Result<Option<EventData>, Code> {
    for device in devices.iter().copied() {
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
