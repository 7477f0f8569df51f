//! A node whose pods are real processes, whose clock the test moves on, and whose GPU says what the test has it say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use purser_actors::paths::PodPaths;
use purser_actors::port::{
    DriverState, GpuPart, GpuProcess, GpuReadings, GpuState, Gpus, ProcessOwner, Reading, SeenGpu, SeenGpus,
};
use purser_actors::service::{Request, Service};
use purser_events::ledger::{Capacity, GpuClaim, GpuDevice, GpuUuid};
use purser_events::pod::PodSpec;
use purser_events::view::violations::PastEpisode;
use purser_events::violation::Violations;
use purser_events::{Bytes, Cpu, CpuTopology, PodUid, Principal, Timestamp};
use purser_fake_nvml::script::{Process, Steps};
use purser_node::adapter::gpu::Sensor;
use purser_tests::gpus::FakeDriver;
use purser_tests::stepped::{START, SetAnew, Stepped, node_with, step};
use purser_tests::{bounded, leftovers, specs};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

/// A gibibyte.
pub(super) const GIB: u64 = 1 << 30;

pub(super) fn gpu() -> GpuUuid {
    GpuUuid::new("GPU-00000000-0000-0000-0000-000000000000").unwrap()
}

/// What is seen of the GPU: each look has figures of its moment.
#[derive(Debug)]
pub(super) struct Scripted {
    now: watch::Sender<Timestamp>,
    gpu: Mutex<Said>,
}

/// What the test has the GPU say.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// Whether the driver lists it.
    pub(super) is_listed: bool,
    pub(super) state: GpuState,
    pub(super) busy_percent: u32,
    pub(super) processes: Vec<GpuProcess>,
}

impl Scripted {
    pub(super) fn say(&self, how: impl FnOnce(&mut Said)) {
        how(&mut self.gpu.lock().unwrap());
    }
}

impl Gpus for Scripted {
    fn seen(&self) -> SeenGpus {
        let Said { is_listed, state, busy_percent, processes } = self.gpu.lock().unwrap().clone();
        let held = processes.iter().filter_map(|process| process.memory).map(|bytes| bytes.0).sum();
        let figure = |_| Reading::Unsupported;
        let readings = GpuReadings {
            at: *self.now.borrow(),
            memory_used: Reading::Value(Bytes(held)),
            memory_reserved: Reading::Unsupported,
            utilization_percent: Reading::Value(busy_percent),
            memory_utilization_percent: figure(()),
            temperature_c: figure(()),
            power_mw: figure(()),
            power_limit_mw: figure(()),
            energy_mj: Reading::Unsupported,
            sm_clock_mhz: figure(()),
            memory_clock_mhz: figure(()),
            slowed_by: Reading::Value(BTreeSet::new()),
            ecc_corrected: Reading::Unsupported,
            ecc_uncorrected: Reading::Unsupported,
            pcie_replays: Reading::Unsupported,
            processes: Reading::Value(processes),
        };
        let seen = SeenGpu {
            uuid: gpu(),
            index: Some(0),
            bus: None,
            model: Some("scripted".to_owned()),
            memory: Some(Bytes(80 * GIB)),
            tflops: None,
            state,
            readings: Some(readings),
            xids: vec![],
            part: GpuPart::Whole,
            xid_counts: BTreeMap::new(),
        };
        let gpus = if is_listed { vec![seen] } else { vec![] };
        SeenGpus { driver: DriverState::Up { release: None, trouble: None }, gpus }
    }
}

/// A process of a pod that holds so many GiB and keeps the GPU busy for so many percent of the time.
pub(super) fn process(pid: u32, pod: PodUid, gib: u64, sm_percent: u32) -> GpuProcess {
    let owner = ProcessOwner::Pod { pod, container: specs::name("main"), attempt: 1, inner_pid: None };
    GpuProcess { pid, owner, memory: Some(Bytes(gib * GIB)), sm_percent: Some(sm_percent) }
}

/// Has a driver's first GPU be busy, and these processes use it: pid, percent of its time and GiB.
pub(super) fn tell(driver: &FakeDriver, busy: u32, processes: &[(u32, u32, u64)]) {
    driver.change(|script| {
        let device = &mut script.devices[0];
        let of = |&(pid, sm, gib): &(u32, u32, u64)| Process {
            pid,
            memory: Some(gib * GIB),
            sm: Some(sm),
            ..Process::default()
        };
        device.utilization = Steps::Same(busy);
        device.memory_used = Steps::Same(processes.iter().map(|(_, _, gib)| gib * GIB).sum());
        device.processes = processes.iter().map(of).collect();
    });
}

/// The machine under the node, which outlives it.
pub(super) struct Ground {
    folder: TempDir,
    moved: watch::Sender<Timestamp>,
    /// How far the time of day is from the time that passes, in milliseconds.
    pub(super) off_ms: watch::Sender<i64>,
    pub(super) gpu: Arc<Scripted>,
    /// What looks at a driver in the place of the scripted GPU, if anything does.
    sensor: Option<Arc<Sensor>>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        leftovers::end_processes(self.folder.path());
        leftovers::end_control_groups(self.folder.path());
    }
}

impl Ground {
    pub(super) fn new() -> Ground {
        Ground::with(None)
    }

    /// A machine whose GPU is looked at through this, if through anything.
    pub(super) fn with(sensor: Option<Arc<Sensor>>) -> Ground {
        let (moved, _) = watch::channel(START);
        let said = Said { is_listed: true, state: GpuState::Ready, busy_percent: 0, processes: vec![] };
        let gpu = Arc::new(Scripted { now: moved.clone(), gpu: Mutex::new(said) });
        let folder = tempfile::Builder::new().prefix("purser-").tempdir().unwrap();
        Ground { folder, moved, off_ms: watch::Sender::new(0), gpu, sensor }
    }

    /// Waits until the driver was asked again, if there is one: each second has figures of its own.
    fn look_again(&self) {
        let Some(sensor) = &self.sensor else { return };
        let read_at = |seen: &SeenGpus| seen.gpus.first()?.readings.as_ref().map(|read| read.at);
        let before = read_at(&sensor.seen());
        let is_read = sensor.wait_until(bounded::PATIENCE, |seen| read_at(seen) != before);
        assert!(is_read, "the driver is not asked: {:#?}", sensor.seen());
    }

    /// The seconds that have passed.
    pub(super) fn passed_s(&self) -> u64 {
        self.moved.borrow().ms_since(START) / 1_000
    }

    /// Starts a node.
    pub(super) async fn node(&self) -> Node<'_> {
        let device =
            GpuDevice { uuid: gpu(), model: "scripted".to_owned(), memory: Bytes(80 * GIB), tflops: None };
        let cpu = |id| Cpu { id, core: u32::from(id), package: 0, node: 0 };
        let capacity = Capacity {
            cpus: CpuTopology { cpus: (0..4).map(cpu).collect() },
            memory: Bytes(4 * GIB),
            disk: Bytes(4 * GIB),
            gpus: vec![device],
            ..Capacity::default()
        };
        let clock = SetAnew { passing: Stepped(self.moved.clone()), off_ms: self.off_ms.clone() };
        let paths = PodPaths::new(self.folder.path().join("pods"));
        let gpus: Arc<dyn Gpus> = match &self.sensor {
            Some(sensor) => sensor.clone(),
            None => self.gpu.clone(),
        };
        let service = node_with(self.folder.path(), &paths, Arc::new(clock), capacity, gpus).await;
        Node { service, ground: self }
    }
}

/// A node that lives.
pub(super) struct Node<'a> {
    pub(super) service: Service,
    ground: &'a Ground,
}

impl Node<'_> {
    /// Runs a pod with half of the GPU and 40 GiB of its memory.
    pub(super) async fn run(&self, name: &str) -> PodUid {
        let (count, share, memory) = (1, Some(50), Some(Bytes(40 * GIB)));
        self.run_with(name, Some(GpuClaim { count, share, memory, tflops: None, uuids: BTreeSet::new() }))
            .await
    }

    /// Runs a pod that asks for this of the GPU.
    pub(super) async fn run_with(&self, name: &str, claim: Option<GpuClaim>) -> PodUid {
        let mut spec: PodSpec = specs::pod(name, vec![specs::container("main", &["/bin/sleep", "1000"])]);
        spec.claims.gpu = claim;
        let id = spec.id.clone();
        self.service.apply(spec, request()).await.unwrap();
        let phase = || {
            self.service.world(|world| world.registry.entries.get(&id).map(|it| (it.uid, it.phase.clone())))
        };
        let deadline = tokio::time::Instant::now() + bounded::PATIENCE;
        loop {
            match phase() {
                Some((uid, phase)) if phase == "Running" => return uid,
                standing => {
                    assert!(tokio::time::Instant::now() < deadline, "{name} does not run: {standing:?}");
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Starts a pod again that has stopped.
    pub(super) async fn start(&self, name: &str) {
        let id = purser_events::PodId::new("default", name).unwrap();
        self.service.start(&id, request()).await.unwrap();
    }

    /// Moves the clock on by so many seconds, one by one, and lets the actors work.
    pub(super) async fn seconds(&self, seconds: u32) {
        for _ in 0..seconds {
            self.ground.look_again();
            step(&self.ground.moved, 1_000).await;
        }
    }

    /// Moves the clock on until something is so.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Node<'_>) -> bool) {
        let deadline = tokio::time::Instant::now() + bounded::PATIENCE;
        while !is_so(self) {
            assert!(tokio::time::Instant::now() < deadline, "{what}: not so, but {:#?}", self.history());
            self.seconds(1).await;
        }
    }

    /// Waits until something is so that takes no time of the node's clock.
    pub(super) async fn until_by_itself(&self, what: &str, is_so: impl Fn(&Node<'_>) -> bool) {
        let deadline = tokio::time::Instant::now() + bounded::PATIENCE;
        while !is_so(self) {
            assert!(tokio::time::Instant::now() < deadline, "{what}: not so, but {:#?}", self.history());
            tokio::task::yield_now().await;
        }
    }

    /// Every violation, oldest first.
    pub(super) fn history(&self) -> Vec<PastEpisode> {
        self.service.world(|world| world.violations.all().cloned().collect())
    }

    /// What the GPU's entity has open.
    pub(super) fn open(&self) -> Violations {
        let known = self.service.world(|world| world.gpus.get(&gpu()).and_then(|gpu| gpu.known().cloned()));
        known.map(|known| known.violations).unwrap_or_default()
    }

    /// The word for a pod's state.
    pub(super) fn phase(&self, pod: PodUid) -> String {
        self.service.world(|world| world.pod(pod).map_or("gone", |pod| pod.word()).to_owned())
    }

    /// Whether a pod was admitted, and how often it was asked to stop.
    pub(super) fn stops(&self, pod: PodUid) -> usize {
        let journal = self.service.journal();
        let records = journal.read_stream(pod.stream(), purser_events::StreamVersion(1), 1_000).unwrap();
        let is_stop = |name: &str| name == "pod.stop-requested";
        records.iter().filter(|record| record.event().is_ok_and(|event| is_stop(event.layout().name))).count()
    }

    /// Ends the service; pods go on.
    pub(super) async fn end(self) {
        self.service.shut_down("the test has it so").await;
        self.service.journal().clone().close().unwrap();
    }
}

pub(super) fn request() -> Request {
    Request { principal: Principal::new("test"), correlation: Uuid::nil(), command: None }
}
