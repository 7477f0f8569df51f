//! GPUs through the real wrapper of their driver's library, with a stand-in behind it that says what a script has it say.

mod capacity;
mod faults;
mod health;
mod instances;
mod kernel_log;
mod leaving;
mod owners;
mod samples;
mod service;
mod xids;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use purser_actors::port::{Clock, DriverState, GpuReadings, GpuState, Gpus, SeenGpu, SeenGpus};
use purser_events::Bytes;
use purser_events::ledger::{GpuDevice, GpuUuid};
use purser_fake_nvml::script::{Device, Faults, Script};
use purser_node::adapter::clock::SystemClock;
use purser_node::adapter::gpu::{Models, Pace, Sensor};
use purser_tests::bounded::PATIENCE;
use purser_tests::gpus::{FakeDriver, FakeProc, ToGiveOut};

/// A pace at which a test does not wait; only a call that hangs takes as long as `patience`, in which a thread of a busy
/// machine gets its turn.
const FAST: Pace = Pace {
    sample: Duration::from_millis(2),
    scan: Duration::from_millis(4),
    patience: Duration::from_secs(2),
};

/// The name of the GPU with this number.
fn uuid(number: u32) -> GpuUuid {
    GpuUuid::new(&format!("GPU-00000000-0000-0000-0000-{number:012}")).unwrap()
}

/// A GPU with this number and otherwise like every other.
fn device(number: u32) -> Device {
    let slot = u8::try_from(number + 1).unwrap();
    Device { uuid: uuid(number).to_string(), slot, ..Device::default() }
}

/// A driver of this many GPUs.
fn script(count: u32) -> Script {
    Script { devices: (0..count).map(device).collect(), ..Script::default() }
}

/// A GPU as the config names it.
fn named(number: u32, gib: u64) -> GpuDevice {
    GpuDevice { uuid: uuid(number), model: "named".to_owned(), memory: Bytes(gib << 30), tflops: None }
}

/// Processes of nobody that are there in every scene.
const PROCESSES: [u32; 5] = [1, 7, 10, 11, 12];

/// A driver, and what looks at it.
struct Scene {
    driver: FakeDriver,
    proc: FakeProc,
    sensor: Arc<Sensor>,
}

impl Scene {
    fn new(script: &Script) -> Scene {
        Scene::of(FakeDriver::new(script), vec![])
    }

    fn of(driver: FakeDriver, named: Vec<GpuDevice>) -> Scene {
        Scene::with(driver, named, PathBuf::new(), Arc::new(SystemClock))
    }

    fn with(driver: FakeDriver, named: Vec<GpuDevice>, kernel_log: PathBuf, clock: Arc<dyn Clock>) -> Scene {
        Scene::made_of(driver, named, kernel_log, clock, FakeProc::new())
    }

    /// The same of a service to which the kernel tells this of processes.
    fn seen_by(script: &Script, proc: FakeProc) -> Scene {
        Scene::made_of(FakeDriver::new(script), vec![], PathBuf::new(), Arc::new(SystemClock), proc)
    }

    fn made_of(
        driver: FakeDriver,
        named: Vec<GpuDevice>,
        kernel_log: PathBuf,
        clock: Arc<dyn Clock>,
        proc: FakeProc,
    ) -> Scene {
        let library = driver.library().into_os_string();
        for pid in PROCESSES {
            proc.put(pid, 5, "/");
        }
        let sensor =
            Sensor::begin(library, kernel_log, named, Models::default(), proc.owners(), clock, FAST).unwrap();
        Scene { driver, proc, sensor: Arc::new(sensor) }
    }

    /// Waits until something is seen; gives what was seen then.
    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&SeenGpus) -> bool) -> SeenGpus {
        let met = RefCell::new(None);
        let is_met = |seen: &SeenGpus| {
            let is_so = is_so(seen);
            if is_so {
                met.replace(Some(seen.clone()));
            }
            is_so
        };
        let is_seen = self.sensor.wait_until(PATIENCE, is_met);
        let Some(seen) = met.into_inner() else {
            panic!("{what}: not seen, but {:#?}", self.sensor.seen());
        };
        assert!(is_seen, "{what}: {seen:#?}");
        seen
    }

    /// Waits until a GPU is as it should be.
    #[track_caller]
    fn until_gpu(&self, number: u32, what: &str, is_so: impl Fn(&SeenGpu) -> bool) -> SeenGpu {
        let seen = self.until(what, |seen| gpu(seen, number).is_some_and(&is_so));
        gpu(&seen, number).unwrap_or_else(|| panic!("{what}: gone again")).clone()
    }

    /// Waits until exactly these GPUs are given out.
    #[track_caller]
    fn until_given_out(&self, numbers: &[u32]) {
        let names: Vec<GpuUuid> = numbers.iter().copied().map(uuid).collect();
        let given = |seen: &SeenGpus| seen.to_give_out().into_iter().map(|gpu| gpu.uuid).collect::<Vec<_>>();
        self.until(&format!("{numbers:?} are given out"), |seen| given(seen) == names);
    }
}

fn gpu(seen: &SeenGpus, number: u32) -> Option<&SeenGpu> {
    seen.gpus.iter().find(|gpu| gpu.uuid == uuid(number))
}

fn is_ready(gpu: &SeenGpu) -> bool {
    gpu.state == GpuState::Ready
}

/// Whether the driver fails and says this about it.
fn fails_with(driver: &DriverState, words: &str) -> bool {
    matches!(driver, DriverState::Failing { reason } if reason.contains(words))
}

fn failing(call: &str, code: u32) -> Faults {
    Faults { fail: BTreeMap::from([(call.to_owned(), code)]), ..Faults::default() }
}

fn hanging(call: &str) -> Faults {
    Faults { hang: BTreeSet::from([call.to_owned()]), ..Faults::default() }
}

fn readings(gpu: &SeenGpu) -> &GpuReadings {
    gpu.readings.as_ref().expect("it was read")
}
