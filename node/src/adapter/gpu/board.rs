//! What the threads that look at GPUs have seen, for whoever asks: written by them, read without waiting for any.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use purser_actors::port::{Clock, DriverState, GpuPart, GpuReadings, GpuState, SeenGpu, SeenGpus};
use purser_events::ledger::{GpuDevice, GpuUuid};
use purser_events::{Bytes, Timestamp};

use super::kernel_log::{Place, place};
use super::told::{Faults, Teller, Told, Unplaced};
use super::{Models, Pace, named};
use crate::adapter::owners::Owners;

/// What was seen last.
pub(super) struct Board {
    state: Mutex<State>,
    /// Something was seen: for those who wait for that.
    changed: Condvar,
    /// The threads are to end: nothing else wakes those who rest.
    ended: Condvar,
    clock: Arc<dyn Clock>,
    named: Vec<GpuDevice>,
    pub(super) owners: Arc<Owners>,
    models: Models,
    pub(super) pace: Pace,
}

struct State {
    driver: DriverState,
    /// The call of the thread that finds GPUs.
    call: Option<Call>,
    gpus: BTreeMap<GpuUuid, Watched>,
    /// Faults whose GPU is not known.
    unplaced: Unplaced,
    stopping: bool,
}

/// A call that is under way.
#[derive(Debug, Clone, Copy)]
struct Call {
    name: &'static str,
    begun: Duration,
}

/// One GPU that a thread looks at.
struct Watched {
    standing: Standing,
    part: GpuPart,
    faults: Faults,
    seen: Option<Sample>,
    call: Option<Call>,
    /// Whether its thread has ended: one that is listed gets another.
    left: bool,
}

/// How its thread found a GPU.
enum Standing {
    Starting,
    Ready,
    Lost(String),
}

/// What was read of a GPU at one time.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) index: Option<u32>,
    pub(super) bus: Option<String>,
    pub(super) model: String,
    pub(super) memory: Bytes,
    pub(super) readings: GpuReadings,
}

impl Watched {
    /// Where it is on the bus, if that was read.
    fn place(&self) -> Option<Place> {
        self.seen.as_ref()?.bus.as_deref().and_then(place)
    }
}

fn tell_fault(gpu: &GpuUuid, told: Told) {
    tracing::warn!(%gpu, xid = told.xid, by = ?told.by, "a fault of a GPU is told of");
}

impl Board {
    /// Nothing was seen yet.
    pub(super) fn new(
        named: Vec<GpuDevice>,
        models: Models,
        owners: Arc<Owners>,
        clock: Arc<dyn Clock>,
        pace: Pace,
    ) -> Board {
        let (driver, unplaced) = (DriverState::Starting, Unplaced::default());
        let state = State { driver, call: None, gpus: BTreeMap::new(), unplaced, stopping: false };
        let (state, changed, ended) = (Mutex::new(state), Condvar::new(), Condvar::new());
        Board { state, changed, ended, clock, named, models, owners, pace }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what was seen, and tells those who wait.
    fn change<T>(&self, of: impl FnOnce(&mut State) -> T) -> T {
        let changed = of(&mut self.lock());
        self.changed.notify_all();
        changed
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Nobody is going to look.
    pub(super) fn not_looked_at(&self) {
        self.change(|state| state.driver = DriverState::Absent);
    }

    /// The threads are to end.
    pub(super) fn stop(&self) {
        self.change(|state| state.stopping = true);
        self.ended.notify_all();
    }

    /// Waits for a change, at most for this time.
    pub(super) fn wait(&self, within: Duration) {
        drop(self.changed.wait_timeout(self.lock(), within));
    }

    /// Rests a thread for this time; says whether it is to end.
    pub(super) fn rest(&self, time: Duration) -> bool {
        let rested = self.ended.wait_timeout_while(self.lock(), time, |state| !state.stopping);
        rested.map_or_else(|poisoned| poisoned.into_inner().0.stopping, |(state, _)| state.stopping)
    }

    /// The thread that finds GPUs begins a call.
    pub(super) fn scout_calls(&self, name: &'static str) {
        let call = Call { name, begun: self.clock.passed() };
        self.change(|state| state.call = Some(call));
    }

    /// How the driver stands now; says whether that is news.
    pub(super) fn set_driver(&self, driver: DriverState) -> bool {
        self.change(|state| {
            state.call = None;
            let is_news = state.driver != driver;
            state.driver = driver;
            is_news
        })
    }

    /// A driver lists this GPU; says whether a thread has to look at it from now on.
    pub(super) fn listed(&self, uuid: &GpuUuid, part: &GpuPart) -> bool {
        let mut state = self.lock();
        let is_new = match state.gpus.entry(uuid.clone()) {
            Entry::Occupied(mut known) => std::mem::take(&mut known.get_mut().left),
            Entry::Vacant(place) => {
                let (standing, part, faults) = (Standing::Starting, part.clone(), Faults::default());
                place.insert(Watched { standing, part, faults, seen: None, call: None, left: false });
                true
            }
        };
        drop(state);
        if is_new {
            self.changed.notify_all();
        }
        is_new
    }

    /// Whether so many boards are known, and each is looked at.
    pub(super) fn is_complete(&self, count: u32) -> bool {
        let state = self.lock();
        let mut boards = state.gpus.values().filter(|gpu| !matches!(gpu.part, GpuPart::Instance { .. }));
        usize::try_from(count) == Ok(boards.clone().count()) && boards.all(|gpu| !gpu.left)
    }

    /// Whether a board is divided now; says whether it was otherwise before.
    pub(super) fn divided(&self, uuid: &GpuUuid, is_divided: bool) -> bool {
        let part = if is_divided { GpuPart::Divided } else { GpuPart::Whole };
        let mut state = self.lock();
        let Some(gpu) = state.gpus.get_mut(uuid) else { return false };
        std::mem::replace(&mut gpu.part, part) != gpu.part
    }

    /// Whether a board was divided when that was read last.
    pub(super) fn is_divided(&self, uuid: &GpuUuid) -> bool {
        self.lock().gpus.get(uuid).is_some_and(|gpu| gpu.part == GpuPart::Divided)
    }

    /// A GPU's thread has no call under way.
    pub(super) fn rests(&self, uuid: &GpuUuid) {
        if let Some(gpu) = self.lock().gpus.get_mut(uuid) {
            gpu.call = None;
        }
    }

    /// The driver told of a fault of a GPU. At `since` it had none to tell of.
    pub(super) fn fault(&self, uuid: &GpuUuid, xid: u32, since: Duration) {
        let (at, passed) = (self.clock.now(), self.clock.passed());
        let told = Told { by: Teller::Library, xid, since, passed };
        let is_new = self.change(|state| state.gpus.get_mut(uuid).map(|gpu| gpu.faults.add(told, at)));
        if is_new == Some(true) {
            tell_fault(uuid, told);
        }
    }

    /// The kernel's log told of a fault of the GPU in this place on the bus. One of a GPU that is not known yet, or not any
    /// more, waits until it is.
    pub(super) fn fault_at(&self, bus: Place, xid: u32) {
        let (at, passed) = (self.clock.now(), self.clock.passed());
        let told = Told { by: Teller::KernelLog, xid, since: passed, passed };
        let is_new = self.change(|state| {
            let found = state.gpus.iter_mut().find(|(_, gpu)| gpu.place() == Some(bus));
            let is_new = found.map(|(uuid, gpu)| (uuid.clone(), gpu.faults.add(told, at)));
            if is_new.is_none() {
                state.unplaced.keep(bus, told, at);
            }
            is_new
        });
        match is_new {
            Some((gpu, true)) => tell_fault(&gpu, told),
            Some((_, false)) => {}
            None => {
                let (domain, bus, device) = bus;
                let place = format!("{domain:04x}:{bus:02x}:{device:02x}");
                tracing::warn!(
                    xid,
                    place,
                    "a fault is told of a GPU that is not known: it waits for the GPU"
                );
            }
        }
    }

    /// A driver lists these GPUs and no others: those that nobody looks at any more are forgotten.
    pub(super) fn all_listed(&self, listed: &BTreeSet<GpuUuid>) {
        self.change(|state| state.gpus.retain(|uuid, gpu| !gpu.left || listed.contains(uuid)));
    }

    /// Time that has passed, to measure other times with.
    pub(super) fn passed(&self) -> Duration {
        self.clock.passed()
    }

    /// A GPU's thread begins a call; says when.
    pub(super) fn calls(&self, uuid: &GpuUuid, name: &'static str) -> Duration {
        let begun = self.clock.passed();
        if let Some(gpu) = self.lock().gpus.get_mut(uuid) {
            gpu.call = Some(Call { name, begun });
        }
        begun
    }

    /// What its thread read of a GPU.
    pub(super) fn sampled(&self, uuid: &GpuUuid, sample: Sample) {
        let passed = self.clock.passed();
        let waited = self.change(|state| {
            let Some(gpu) = state.gpus.get_mut(uuid) else { return vec![] };
            gpu.call = None;
            gpu.standing = Standing::Ready;
            gpu.seen = Some(sample);
            let place = gpu.place().filter(|_| !state.unplaced.is_empty());
            let waited = place.map(|place| state.unplaced.take(place, passed)).unwrap_or_default();
            waited.into_iter().filter(|(told, at)| gpu.faults.add(*told, *at)).collect()
        });
        waited.into_iter().for_each(|(told, _)| tell_fault(uuid, told));
    }

    /// A GPU is of no use now; its thread looks again, or has `left`.
    pub(super) fn lost(&self, uuid: &GpuUuid, reason: String, left: bool) {
        self.post(uuid, |gpu| {
            gpu.standing = Standing::Lost(reason);
            gpu.left = left;
        });
    }

    fn post(&self, uuid: &GpuUuid, of: impl FnOnce(&mut Watched)) {
        self.change(|state| {
            if let Some(gpu) = state.gpus.get_mut(uuid) {
                gpu.call = None;
                of(gpu);
            }
        });
    }

    /// A GPU is not there any more, and nobody looks at it.
    pub(super) fn gone(&self, uuid: &GpuUuid) {
        self.change(|state| drop(state.gpus.remove(uuid)));
    }

    /// Whether a call about a GPU is overdue: a look at all of them might then not come back either.
    pub(super) fn is_any_overdue(&self) -> bool {
        let now = self.clock.passed();
        self.lock().gpus.values().any(|gpu| self.overdue(gpu.call, now).is_some())
    }

    fn overdue(&self, call: Option<Call>, now: Duration) -> Option<&'static str> {
        call.filter(|call| self.pace.patience < now.saturating_sub(call.begun)).map(|call| call.name)
    }

    /// What was seen last, and what does not answer now.
    pub(super) fn seen(&self) -> SeenGpus {
        let now = self.clock.passed();
        let state = self.lock();
        let driver = match self.overdue(state.call, now) {
            Some(call) => DriverState::Failing { reason: format!("{call} does not come back") },
            None => state.driver.clone(),
        };
        let seen = |(uuid, gpu): (&GpuUuid, &Watched)| {
            let state = match (self.overdue(gpu.call, now), &gpu.standing) {
                (Some(call), _) => GpuState::Unresponsive { call },
                (None, Standing::Starting) => GpuState::Starting,
                (None, Standing::Ready) => GpuState::Ready,
                (None, Standing::Lost(reason)) => GpuState::Lost { reason: reason.clone() },
            };
            let sample = gpu.seen.as_ref();
            let seen = SeenGpu {
                uuid: uuid.clone(),
                index: sample.and_then(|sample| sample.index),
                bus: sample.and_then(|sample| sample.bus.clone()),
                model: sample.map(|sample| sample.model.clone()),
                memory: sample.map(|sample| sample.memory),
                tflops: None,
                state,
                part: gpu.part.clone(),
                readings: sample.map(|sample| sample.readings.clone()),
                xids: gpu.faults.newest.iter().cloned().collect(),
                xid_counts: gpu.faults.counts.clone(),
            };
            (uuid.clone(), seen)
        };
        let mut gpus: BTreeMap<GpuUuid, SeenGpu> = state.gpus.iter().map(seen).collect();
        drop(state);
        named::add(&self.named, &driver, &mut gpus);
        for gpu in gpus.values_mut() {
            gpu.tflops = gpu.model.as_deref().and_then(|model| self.models.tflops(model));
        }
        SeenGpus { driver, gpus: gpus.into_values().collect() }
    }
}
