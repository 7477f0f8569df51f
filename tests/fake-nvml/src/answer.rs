//! What a call gets: the script as it is now, with what goes wrong in it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::place;
use crate::script::{Device, Faults, Script};

/// What a call returns (`nvmlReturn_t`).
pub(crate) type Code = u32;

pub(crate) const SUCCESS: Code = 0;
pub(crate) const UNINITIALIZED: Code = 1;
pub(crate) const INVALID_ARGUMENT: Code = 2;
pub(crate) const NOT_SUPPORTED: Code = 3;
pub(crate) const NOT_FOUND: Code = 6;
pub(crate) const INSUFFICIENT_SIZE: Code = 7;
pub(crate) const DRIVER_NOT_LOADED: Code = 9;
pub(crate) const TIMEOUT: Code = 10;
pub(crate) const GPU_IS_LOST: Code = 15;
pub(crate) const VERSION_MISMATCH: Code = 25;

/// Time between two looks of a call that hangs at whether it still has to.
const HANG_LOOK: Duration = Duration::from_millis(2);

/// How often the library is open.
static OPEN: AtomicU32 = AtomicU32::new(0);

static KNOWN: Mutex<Known> =
    Mutex::new(Known { uuids: vec![], calls: BTreeMap::new(), told: BTreeMap::new() });

/// What is remembered between calls.
struct Known {
    /// Devices that were handed out: a handle is the place in here, from 1 on.
    uuids: Vec<String>,
    /// How often each call was made for a device.
    calls: BTreeMap<(String, &'static str), usize>,
    /// How many faults of a device were told.
    told: BTreeMap<String, usize>,
}

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which text of a script was read: its file's number, time and length. A script is replaced, and so has another file.
type Edition = (u64, i64, i64, u64);

/// The script as it was read last.
static READ: Mutex<Option<(Edition, Arc<Script>)>> = Mutex::new(None);

/// The script as it is now; none if there is none.
fn present() -> Option<Arc<Script>> {
    let path = place::script()?;
    let about = std::fs::metadata(path).ok()?;
    let edition = (about.ino(), about.mtime(), about.mtime_nsec(), about.len());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, script)) = read.as_ref().filter(|(known, _)| *known == edition) {
        return Some(Arc::clone(script));
    }
    let script = Arc::new(Script::read(path).ok()?);
    *read = Some((edition, Arc::clone(&script)));
    Some(script)
}

/// One call for a device.
pub(crate) struct Turn {
    pub(crate) device: Shown,
    /// Its place on its board, if the device is an instance.
    pub(crate) board: Option<usize>,
    /// How often this call was made for it before.
    pub(crate) number: usize,
    /// Whether the answer has to be one that cannot be.
    pub(crate) garbled: bool,
}

/// A device of the script as it was when a call was let through. Nothing is copied: a driver that takes long over a call
/// would be measured in the place of whoever calls it.
pub(crate) struct Shown {
    script: Arc<Script>,
    place: Place,
}

/// Where a device is in a script: on which board, and as which of its instances.
type Place = (usize, Option<usize>);

impl std::ops::Deref for Shown {
    type Target = Device;

    fn deref(&self) -> &Device {
        self.script.at(self.place).expect("it was found there")
    }
}

/// Waits as long as the script has a call hang, and gives what it says then, or how the call fails.
fn passes<T>(
    call: &str,
    find: impl Fn(&Script) -> Result<T, Code>,
    faults_of: impl for<'a> Fn(&T, &'a Script) -> &'a Faults,
) -> Result<(T, Arc<Script>), Code> {
    loop {
        let script = present().ok_or(DRIVER_NOT_LOADED)?;
        let found = find(&script)?;
        let faults = faults_of(&found, &script);
        if !faults.hangs(call) {
            return match faults.code(call) {
                Some(code) => Err(code),
                None => Ok((found, script)),
            };
        }
        std::thread::sleep(HANG_LOOK);
    }
}

/// What goes wrong in calls about the device at a place.
fn faults_at(script: &Script, place: Place) -> &Faults {
    script.at(place).map_or(&script.faults, |device| &device.faults)
}

fn is_open() -> Result<(), Code> {
    if OPEN.load(Ordering::SeqCst) == 0 { Err(UNINITIALIZED) } else { Ok(()) }
}

/// Opens the library.
pub(crate) fn open(call: &str) -> Result<(), Code> {
    passes(call, |_| Ok(()), |(), script| &script.faults)?;
    OPEN.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

/// Closes it once.
pub(crate) fn close() -> Result<(), Code> {
    let closed = OPEN.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |open| open.checked_sub(1));
    closed.map(drop).map_err(|_| UNINITIALIZED)
}

/// The script, for a call that is about no device.
pub(crate) fn script(call: &str) -> Result<Arc<Script>, Code> {
    is_open()?;
    Ok(passes(call, |_| Ok(()), |(), script| &script.faults)?.1)
}

/// The handle of a device that a call found by `find`.
pub(crate) fn handle(call: &str, find: impl Fn(&Script) -> Result<Place, Code>) -> Result<usize, Code> {
    is_open()?;
    let (place, script) = passes(call, find, |place, script| {
        let all = &script.faults;
        if all.hangs(call) || all.code(call).is_some() { all } else { faults_at(script, *place) }
    })?;
    let uuid = script.at(place).map(|device| device.uuid.clone());
    uuid.map(handle_of).ok_or(GPU_IS_LOST)
}

/// The handle of the device of this name.
pub(crate) fn handle_of(uuid: String) -> usize {
    let mut known = known();
    if let Some(at) = known.uuids.iter().position(|known| *known == uuid) {
        return at + 1;
    }
    known.uuids.push(uuid);
    known.uuids.len()
}

/// The name of the device with this handle.
pub(crate) fn uuid_of(handle: usize) -> Result<String, Code> {
    handle.checked_sub(1).and_then(|at| known().uuids.get(at).cloned()).ok_or(INVALID_ARGUMENT)
}

/// What a call for a device gets.
pub(crate) fn turn(call: &'static str, handle: usize) -> Result<Turn, Code> {
    is_open()?;
    let uuid = uuid_of(handle)?;
    let find = |script: &Script| script.find(&uuid).ok_or(GPU_IS_LOST);
    let (place, script) = passes(call, find, |place, script| faults_at(script, *place))?;
    let garbled = faults_at(&script, place).garbles(call);
    let mut known = known();
    let calls = known.calls.entry((uuid, call)).or_default();
    let number = *calls;
    *calls = calls.wrapping_add(1);
    Ok(Turn { device: Shown { script, place }, board: place.1, number, garbled })
}

/// What a call gets that is for boards alone.
pub(crate) fn board_turn(call: &'static str, handle: usize) -> Result<Turn, Code> {
    let turn = turn(call, handle)?;
    if turn.board.is_some() { Err(INVALID_ARGUMENT) } else { Ok(turn) }
}

/// The next fault of a device that was not told yet; none if there is none.
pub(crate) fn untold(call: &str, uuid: &str) -> Result<Option<u32>, Code> {
    let find = |script: &Script| script.find(uuid).ok_or(GPU_IS_LOST);
    let (place, script) = passes(call, find, |place, script| faults_at(script, *place))?;
    let device = script.at(place).ok_or(GPU_IS_LOST)?;
    let mut known = known();
    let told = known.told.entry(uuid.to_owned()).or_default();
    // A script that is shorter than before begins anew.
    *told = (*told).min(device.xids.len());
    if *told == device.xids.len() {
        return Ok(None);
    }
    *told += 1;
    Ok(device.xids.last().copied())
}
