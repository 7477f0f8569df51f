//! A world in which nothing is empty and every state is there: what it is written as is the layout's shape.
//!
//! Every struct is built field by field and every state is named, so that whoever adds one has to fill it here.

mod pools;
mod violations;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use purser_events::gpu::{self, Gpu, GpuEvent, GpuHealthPolicy, Health};
use purser_events::ledger::event::{
    AlertRaised, Allocated, CapacitySet, DriftFound, ForeignPortsSeen, ManagerStopped, PolicySet,
    PreemptionRequested, Queued, ReservationCancelled, Reserved, ResizeGranted, TenantSet,
};
use purser_events::ledger::{GpuUuid, Grant, Ledger, LedgerEvent, Limits, Size};
use purser_events::node::event::{DiskPressure, DiskPressureChanged, Started};
use purser_events::node::redaction::PendingRedaction;
use purser_events::node::state::RuntimeStanding;
use purser_events::node::{Node, NodeState};
use purser_events::pod::event::{
    Admitted, Exit, ExitReason, FailureClass, FailureReason, ResolvedImage, StopCause, StopReason, StopWhy,
};
use purser_events::pod::resize::Progress;
use purser_events::pod::spec::{Role, RuntimeClass};
use purser_events::pod::{
    Attempt, Container, ContainerSize, ContainerState, Phase, Pod, PodState, Resize, Setup,
};
use purser_events::view::{Entry, Quarantine, Registry, Tombstone};
use purser_events::worker::{ProcessIdentity, Worker, WorkerState};
use purser_events::{
    Bytes, ContainerName, Cpu, Decider, MilliCpu, MilliTflops, NodeUid, PodId, PodUid, Policy, Seq,
    StreamVersion, Timestamp, WorkerUid, World,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::live::{Inner, StreamHead};

const AT: Timestamp = Timestamp(1_772_368_245_000_000);

/// The last sample of an event's payload.
pub(super) fn golden<T: DeserializeOwned>(stem: &str) -> T {
    all(stem).pop().unwrap()
}

/// The first sample of an event's payload: it is filled to the last field.
fn first<T: DeserializeOwned>(stem: &str) -> T {
    all(stem).into_iter().next().unwrap()
}

/// Every sample of an event's payload.
fn all<T: DeserializeOwned>(stem: &str) -> Vec<T> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../storage/golden");
    let text = std::fs::read_to_string(folder.join(format!("{stem}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A pod of the samples, under another uid.
pub(super) fn admitted(number: u128) -> Admitted {
    let mut admitted: Admitted = first("pod.admitted.v3");
    admitted.uid = PodUid(Uuid::from_u128(number));
    admitted
}

/// A view with all of it.
pub(super) fn inner() -> Inner {
    let world = world();
    let head = |number: u128| {
        let (version, seq) = (StreamVersion(7), Seq(40 + u64::try_from(number).unwrap()));
        (
            PodUid(Uuid::from_u128(number)).stream(),
            StreamHead { version, seq, correlation: Uuid::from_u128(6) },
        )
    };
    Inner { heads: (1..3).map(head).collect(), world, unreadable: 2, assumed_upto: Some(Seq(9)) }
}

fn world() -> World {
    let pods: Vec<PodState> =
        phases().into_iter().zip(1..).map(|(phase, number)| pod(number, phase)).collect();
    let entries = pods.iter().map(|pod| (pod.spec.id.clone(), entry(pod))).collect();
    let gone = Uuid::from_u128(90);
    let tombstone = Tombstone { id: Some(id(90)), uid: PodUid(gone), restarts: 3, at: AT, seq: Seq(38) };
    World {
        head: Seq(42),
        node_uid: Some(NodeUid(Uuid::from_u128(100))),
        node: Node::Known(Box::new(node())),
        pods: pods.into_iter().map(|pod| (pod.uid, Pod::Live(Box::new(pod)))).collect(),
        workers: BTreeMap::from([
            (worker_uid(1), Worker::Running(worker())),
            (worker_uid(2), Worker::Exited { worker: worker(), exit: exit() }),
        ]),
        ledger: ledger(),
        gpus: gpus(),
        pools: pools::pools(),
        workers_registered: 12,
        registry: Registry { entries, recent: [tombstone].into(), admitted: 11 },
        quarantined: BTreeMap::from([(
            PodUid(Uuid::from_u128(91)).stream(),
            Quarantine { seq: Seq(39), reason: "it does not fit".to_owned() },
        )]),
        withheld: BTreeSet::from([PodUid(Uuid::from_u128(92))]),
        violations: violations::history(),
    }
}

/// A ledger to which everything has happened: as its events on file have it.
fn ledger() -> Ledger {
    let pod = |number| PodUid(Uuid::from_u128(number));
    let mut capacity: CapacitySet = first("ledger.capacity-set.v2");
    capacity.capacity.memory.0 = 64 << 30;
    let cpu = |id: u16| Cpu { id, core: u32::from(id), package: 1, node: 1 };
    capacity.capacity.cpus.cpus = (0..16).map(cpu).collect();
    let mut policy: PolicySet = first("ledger.policy-set.v3");
    policy.policy.default_requests.rates.values_mut().for_each(|rate| rate.burst = Some(7));
    let words =
        ["cpu", "memory", "disk", "gpu-share", "gpu-memory", "ports", "subnets", "example.com/dongle"];
    let limits = Limits { hard: Some(3), soft: Some(2), ..Limits::default() };
    policy.policy.limits = words.map(|word| (word.parse().unwrap(), limits)).into();
    let mut allocated: Allocated = first("ledger.allocated.v3");
    let mut queued: Queued = first("ledger.queued.v3");
    let mut reserved: Reserved = first("ledger.reserved.v2");
    for demand in [&mut allocated.demand, &mut queued.demand, &mut reserved.demand] {
        demand.gpu.as_mut().unwrap().tflops = Some(MilliTflops(1_500));
    }
    reserved.grant = Grant { cpu: MilliCpu(100), ..Grant::default() };
    let victims = vec![allocated.pod];
    let (has, from) = (allocated.pod, Size::of(&allocated.grant));
    let to = Size { memory: Bytes(from.memory.0 / 2), ..from };
    let resized = ResizeGranted { pod: has, generation: 2, from, to, at: AT };
    let preempted = PreemptionRequested { pod: pod(9), victims, grace_s: 30 };
    let stopped = |word: &str| {
        let kind = word.parse().unwrap();
        LedgerEvent::from(ManagerStopped { kind, reason: "it is exchanged".to_owned() })
    };
    reserved.token = 2;
    let ended = Reserved { reservation: Uuid::from_u128(93), token: 1, ..reserved.clone() };
    let cancelled = ReservationCancelled { reservation: ended.reservation };
    let mut tenant: TenantSet = first("ledger.tenant-set.v2");
    tenant.tenant.requests.rates.values_mut().for_each(|rate| rate.burst = Some(7));
    let mut history: Vec<LedgerEvent> = vec![
        capacity.into(),
        policy.into(),
        tenant.into(),
        allocated.into(),
        Queued { pod: pod(9), ..queued }.into(),
        ended.into(),
        cancelled.into(),
        reserved.into(),
        preempted.into(),
        resized.into(),
        first::<AlertRaised>("ledger.alert-raised.v1").into(),
        first::<DriftFound>("ledger.drift-found.v1").into(),
        first::<ForeignPortsSeen>("ledger.foreign-ports-seen.v1").into(),
    ];
    history.extend(["cpu", "memory", "disk", "gpu-share", "ports", "example.com/dongle"].map(stopped));
    let ledger = history.iter().try_fold(Ledger::default(), |ledger, event| ledger.evolve(event));
    ledger.unwrap()
}

/// A GPU in each state of health, with all that can be known of one: as the events on file have it.
fn gpus() -> BTreeMap<GpuUuid, Gpu> {
    let found: gpu::event::Found = first("gpu.found.v1");
    let healths: Vec<gpu::event::HealthChanged> = all("gpu.health-changed.v1");
    let gpus = healths.into_iter().zip(1..).map(|(changed, number)| {
        match &changed.health {
            Health::Healthy
            | Health::Degraded { .. }
            | Health::Probation
            | Health::Unresponsive { .. }
            | Health::Lost { .. }
            | Health::Faulty { .. } => {}
        }
        let uuid = GpuUuid::new(&format!("GPU-{number}")).unwrap();
        let found = gpu::event::Found {
            facts: gpu::GpuFacts { uuid: uuid.clone(), ..found.facts.clone() },
            health: changed.health,
            ..found.clone()
        };
        let history: [GpuEvent; 3] = [
            found.into(),
            first::<gpu::event::FaultNoted>("gpu.fault-noted.v1").into(),
            first::<gpu::event::Cordoned>("gpu.cordoned.v1").into(),
        ];
        let lived = history.iter().try_fold(Gpu::default(), |gpu, event| gpu.evolve(event));
        let mut lived = lived.unwrap();
        if let Gpu::Known(known) = &mut lived {
            known.violations = violations::of_entity();
        }
        (uuid, lived)
    });
    gpus.collect()
}

fn policy(fatal: u32) -> Policy {
    let gpus = GpuHealthPolicy { fatal_xids: BTreeSet::from([fatal]), ..GpuHealthPolicy::default() };
    Policy { gpus, ..Policy::default() }
}

fn node() -> NodeState {
    let mut last_start: Started = golden("node.started.v2");
    last_start.recovery.as_mut().unwrap().snapshot = Some(Seq(5));
    NodeState {
        last_start,
        starts: 4,
        unclean_starts: 2,
        up: true,
        cordoned: Some("a disk is exchanged".to_owned()),
        policy: policy(31),
        config_policy: Some(policy(13)),
        monitor: violations::policies(),
        runtimes: BTreeMap::from([
            (RuntimeClass::Containerd, RuntimeStanding::Up { version: "2.1".to_owned() }),
            (RuntimeClass::Process, RuntimeStanding::Down { message: "no answer".to_owned() }),
        ]),
        orphans_removed: 1,
        sealed_upto: Seq(30),
        trimmed_upto: Seq(20),
        disk_pressure: Some(DiskPressureChanged { pressure: DiskPressure::Low, used_percent: 91 }),
        redaction: Some(PendingRedaction {
            id: Uuid::from_u128(70),
            pods: BTreeSet::from([PodUid(Uuid::from_u128(71))]),
            workers: BTreeSet::from([worker_uid(72)]),
        }),
    }
}

/// Every phase; a new one does not compile until it is here.
fn phases() -> Vec<Phase> {
    let all = vec![
        Phase::Pending,
        Phase::Provisioning,
        Phase::Running,
        Phase::Stopping { grace_s: 30 },
        Phase::Stopped(StopCause::Completed),
        Phase::Terminating { grace_s: 5, cleaning: true },
        Phase::Failed(FailureReason::Container { container: name("main"), code: 3, exit: ExitReason::Error }),
    ];
    for phase in &all {
        match phase {
            Phase::Pending
            | Phase::Provisioning
            | Phase::Running
            | Phase::Stopping { .. }
            | Phase::Stopped(_)
            | Phase::Terminating { .. }
            | Phase::Failed(_) => {}
        }
    }
    all
}

/// Every setup.
fn setups() -> [Setup; 4] {
    let (class, message) = (FailureClass::ImagePull, "no route".to_owned());
    let all = [
        Setup::NotBegun,
        Setup::Requested { attempt: 1 },
        Setup::Failed { attempt: 2, class, message, retry_at: AT },
        Setup::Done,
    ];
    for setup in &all {
        match setup {
            Setup::NotBegun | Setup::Requested { .. } | Setup::Failed { .. } | Setup::Done => {}
        }
    }
    all
}

/// Every state of a container.
fn container_states() -> Vec<ContainerState> {
    use ContainerState as C;
    let all = vec![
        C::Waiting,
        C::Creating { attempt: 1, worker: worker_uid(3) },
        C::CreateFailed { class: FailureClass::Invalid, message: "no such program".to_owned() },
        C::Running { attempt: attempt(), startup_passed: true, ready: true },
        C::Stopping { attempt: attempt(), reason: StopReason::PodDelete, deadline: AT, killed: true },
        C::BackOff { until: AT, why: "exit 1".to_owned(), restart: true },
        C::Exited { exit: exit(), by_probe: true },
    ];
    for state in &all {
        match state {
            C::Waiting
            | C::Creating { .. }
            | C::CreateFailed { .. }
            | C::Running { .. }
            | C::Stopping { .. }
            | C::BackOff { .. }
            | C::Exited { .. } => {}
        }
    }
    all
}

fn pod(number: u128, phase: Phase) -> PodState {
    let setups = setups();
    let mut spec = admitted(number).spec;
    spec.id = id(number);
    PodState {
        uid: PodUid(Uuid::from_u128(number)),
        spec: Arc::new(spec),
        supersedes: Some(PodUid(Uuid::from_u128(80))),
        phase,
        run: 2,
        setup: setups[usize::try_from(number).unwrap() % setups.len()].clone(),
        containers: container_states().into_iter().map(container).collect(),
        execs: BTreeMap::from([(Uuid::from_u128(60), name("main"))]),
        started_at: Some(AT),
        awaits_resources: true,
        stop_why: StopWhy::Preempted { by: PodUid(Uuid::from_u128(9)) },
        violations: violations::of_entity(),
        resize: Some(resize(number)),
    }
}

/// A change of sizes, in one state or another.
fn resize(number: u128) -> Resize {
    let message = "the kernel refused it".to_owned();
    let progress = match number % 3 {
        0 => Progress::Requested,
        1 => Progress::Done,
        _ => Progress::Failed { container: name("main"), message },
    };
    let size = |milli| ContainerSize {
        container: name("main"),
        cpu_limit: Some(MilliCpu(milli)),
        cpu_request: Some(MilliCpu(milli / 2)),
        memory_limit: Some(Bytes(milli << 20)),
        memory_request: Some(Bytes(milli << 19)),
    };
    let tier = Some("dev.small".to_owned());
    Resize { generation: 2, tier, from: vec![size(500)], to: vec![size(1_000)], progress }
}

fn container(state: ContainerState) -> Container {
    Container {
        name: name("main"),
        role: Role::App,
        state,
        attempts: 4,
        restarts: 3,
        back_off_step: 2,
        up_in_run: true,
        oom_kills: 1,
        last_exit: Some(exit()),
        last_run_ms: 1_500,
        image: Some(ResolvedImage {
            container: name("main"),
            reference: "registry.example/app:1".to_owned(),
            digest: "sha256:00".to_owned(),
        }),
        garbage: BTreeSet::from([1, 2]),
    }
}

fn entry(pod: &PodState) -> Entry {
    Entry {
        uid: pod.uid,
        phase: pod.phase.word().into(),
        ready: 1,
        containers: 7,
        restarts: 21,
        admitted_at: AT,
        admitted_by: Seq(31),
        last: Seq(41),
    }
}

fn attempt() -> Attempt {
    Attempt { number: 4, worker: worker_uid(3), process: process(), started_at: AT }
}

fn worker() -> WorkerState {
    WorkerState { pod: PodUid(Uuid::from_u128(1)), container: name("main"), attempt: 4, process: process() }
}

fn process() -> ProcessIdentity {
    let boot_id = Uuid::from_u128(50);
    ProcessIdentity { host_pid: 1_337, start_time_ticks: 99, boot_id, container_pid: 1 }
}

fn exit() -> Exit {
    Exit { code: 137, reason: ExitReason::OomKilled, finished_at: AT }
}

fn worker_uid(number: u128) -> WorkerUid {
    WorkerUid(Uuid::from_u128(number))
}

fn id(number: u128) -> PodId {
    PodId::new("default", format!("pod-{number}")).unwrap()
}

fn name(name: &str) -> ContainerName {
    ContainerName::new(name).unwrap()
}
