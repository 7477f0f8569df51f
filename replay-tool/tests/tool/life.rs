//! A node's life at random: what deciders make of commands that fit the state, from a seed, as a journal.

mod pools;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use purser_events::event::LAYOUTS;
use purser_events::ledger::capacity::{PortRange, SubnetRange};
use purser_events::ledger::event::ReleaseReason;
use purser_events::ledger::{
    Admission, Admit, Capacity, Demand, GpuClaim, GpuDevice, GpuUuid, Ledger, LedgerCommand, WhenFull,
};
use purser_events::node::{Node, NodeCommand, NodeEvent};
use purser_events::pod::event::{ExecOutcome, Exit, ExitReason, FailureClass, StopWhy};
use purser_events::pod::state::{ContainerState, Setup};
use purser_events::pod::{Pod, PodCommand, PodSpec};
use purser_events::pool::Pool;
use purser_events::worker::event::Registered;
use purser_events::worker::{ProcessIdentity, Worker, WorkerCommand};
use purser_events::{
    Bytes, Cause, CommandId, ContainerName, Context, Cpu, CpuTopology, Decider, Event, NodeUid, Origin,
    PodUid, Policy, Principal, Seq, StreamId, StreamVersion, Timestamp, WorkerUid,
};
use purser_storage::subjects::SubjectsConfig;
use purser_storage::{Append, Journal, JournalConfig, StreamWrite};
use serde_json::json;
use uuid::Uuid;

use crate::support::{BOOT, NODE, START, event, started};

/// One record to be.
pub(crate) struct Step {
    pub(crate) stream: StreamId,
    pub(crate) event: Event,
    pub(crate) origin: Origin,
    pub(crate) time: i64,
}

/// A node that lives.
pub(crate) struct Life {
    random: u64,
    now: i64,
    node: Node,
    ledger: Ledger,
    pods: Vec<(PodUid, Pod, u64)>,
    workers: BTreeMap<WorkerUid, Worker>,
    pool: Pool,
    /// The session of each member's agent.
    sessions: BTreeMap<u64, Uuid>,
    /// The last record of each stream.
    last: BTreeMap<StreamId, u64>,
    pub(crate) steps: Vec<Step>,
}

const NODE_STREAM: fn() -> StreamId = || NodeUid(NODE).stream();

fn ledger_stream() -> StreamId {
    StreamId { kind: purser_events::StreamKind::Ledger, id: NODE }
}

/// What a life of so many turns puts on record.
pub(crate) fn life(seed: u64, turns: usize) -> Vec<Step> {
    let mut life = Life {
        random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        now: START,
        node: Node::Unknown,
        ledger: Ledger::default(),
        pods: Vec::new(),
        workers: BTreeMap::new(),
        pool: Pool::default(),
        sessions: BTreeMap::new(),
        last: BTreeMap::new(),
        steps: Vec::new(),
    };
    life.begins();
    (0..turns).for_each(|_| life.turn());
    // What pods do comes first: a pool's pods are not among them.
    (0..turns).for_each(|_| life.pool_turn());
    life.steps
}

/// Writes steps as a journal.
pub(crate) fn write(steps: &[Step], dir: &Path) {
    write_as(steps, JournalConfig::new(dir));
}

/// Writes steps as a journal of which each pod's records are sealed with a key of its own.
pub(crate) fn write_sealed(steps: &[Step], dir: &Path, keys: &Path) {
    let random = |buffer: &mut [u8]| {
        buffer.iter_mut().zip(1..).for_each(|(byte, number)| *byte = number);
        Ok(())
    };
    let subjects = SubjectsConfig { dir: keys.to_owned(), seals: true, random };
    write_as(steps, JournalConfig { subjects: Some(subjects), ..JournalConfig::new(dir) });
}

fn write_as(steps: &[Step], config: JournalConfig) {
    let clock = Arc::new(AtomicI64::new(START));
    let told = Arc::clone(&clock);
    let now = move || Timestamp(told.load(Ordering::SeqCst));
    let journal = Journal::open(config, now, |_| {}, |_| {}).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut versions: BTreeMap<StreamId, u64> = BTreeMap::new();
    for step in steps {
        clock.store(step.time, Ordering::SeqCst);
        let version = versions.entry(step.stream).or_default();
        let expected = StreamVersion(*version);
        let writes = vec![StreamWrite { stream: step.stream, expected, events: vec![step.event.clone()] }];
        let append = Append { writes, origin: step.origin.clone(), command: None };
        runtime.block_on(journal.append(append)).unwrap();
        *version += 1;
    }
    journal.close().unwrap();
}

impl Life {
    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % limit
    }

    fn uuid(&mut self) -> Uuid {
        let (high, low) = (self.below(u64::MAX >> 12), self.below(u64::MAX >> 12));
        uuid::Builder::from_custom_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).into_uuid()
    }

    fn context(&self) -> Context {
        Context { now: Timestamp(self.now), policy: Policy::default(), cordoned: None }
    }

    /// A request from outside.
    fn asked(&mut self) -> Origin {
        let id = self.uuid();
        Origin {
            cause: Cause::Command(CommandId(id)),
            correlation: id,
            principal: Principal::new("uid:1000"),
        }
    }

    /// What follows from the last record of a stream, in one of the ways in which something can.
    fn follows(&mut self, stream: StreamId) -> Origin {
        let last = self.last[&stream];
        let correlation = self.steps[usize::try_from(last).unwrap() - 1].origin.correlation;
        let cause = match self.below(4) {
            0 => Cause::Timer(Seq(last)),
            1 => Cause::Observation(Seq(last)),
            _ => Cause::Record(Seq(last)),
        };
        Origin { cause, correlation, principal: Principal::node() }
    }

    fn record(&mut self, stream: StreamId, origin: &Origin, events: Vec<Event>) {
        for event in events {
            self.now += i64::try_from(self.below(3_000_000)).unwrap();
            let (origin, time) = (origin.clone(), self.now);
            self.steps.push(Step { stream, event, origin, time });
            self.last.insert(stream, self.steps.len() as u64);
        }
    }

    fn asks<D: Decider>(&self, entity: &mut D, command: &D::Command) -> Vec<Event> {
        let Ok(events) = entity.decide(command, &self.context()) else { return Vec::new() };
        events.iter().for_each(|event| entity.follow(event).unwrap());
        events.into_iter().map(Into::into).collect()
    }

    fn begins(&mut self) {
        let origin = Origin { cause: Cause::Node, correlation: self.uuid(), principal: Principal::node() };
        let Event::Node(NodeEvent::Started(facts)) = event("node.started", &started()) else { panic!() };
        let mut node = std::mem::take(&mut self.node);
        let events = self.asks(&mut node, &NodeCommand::Start(facts));
        self.node = node;
        self.record(NODE_STREAM(), &origin, events);
        let cores = |id: u16| Cpu { id, core: u32::from(id), package: 0, node: 0 };
        let gpu = |number: u32| GpuDevice {
            uuid: GpuUuid::new(&format!("GPU-{number}")).unwrap(),
            model: "T1000".to_owned(),
            memory: Bytes(80),
            tflops: None,
        };
        let capacity = Capacity {
            cpus: CpuTopology { cpus: (0..8).map(cores).collect() },
            memory: Bytes(64),
            disk: Bytes(100),
            gpus: vec![gpu(0), gpu(1)],
            ports: PortRange { first: 30_000, last: 30_010 },
            subnets: SubnetRange { first: [10, 88, 0], count: 4 },
            custom: BTreeMap::new(),
        };
        self.ledger_does(&LedgerCommand::SetCapacity(Box::new(capacity)), &origin);
        self.ledger_does(&LedgerCommand::Configure(Box::default()), &origin);
    }

    fn ledger_does(&mut self, command: &LedgerCommand, origin: &Origin) {
        let mut ledger = std::mem::take(&mut self.ledger);
        let events = self.asks(&mut ledger, command);
        self.ledger = ledger;
        self.record(ledger_stream(), origin, events);
    }

    fn turn(&mut self) {
        self.now += i64::try_from(self.below(20_000_000)).unwrap();
        let live = self.pods.iter().filter(|(_, pod, _)| !pod.is_terminal()).count();
        if live < 4 && self.below(6) == 0 || self.pods.is_empty() {
            self.admits();
            return;
        }
        let at = usize::try_from(self.below(self.pods.len() as u64)).unwrap();
        let (uid, mut pod, _) = self.pods[at].clone();
        let Some(command) = self.command(&pod) else { return };
        let origin = match command {
            PodCommand::Stop { .. } | PodCommand::Start { .. } | PodCommand::Delete { .. } => self.asked(),
            PodCommand::BeginExec { .. } => self.asked(),
            _ => self.follows(uid.stream()),
        };
        self.worker_sees(uid, &command);
        let events = self.asks(&mut pod, &command);
        self.pods[at].1 = pod;
        self.record(uid.stream(), &origin, events);
        let pod = &self.pods[at].1;
        if pod.live().is_none_or(|pod| !pod.may_hold_resources()) && self.ledger.grant(uid).is_some() {
            let origin = self.follows(uid.stream());
            self.ledger_does(&LedgerCommand::Release { pod: uid, reason: ReleaseReason::Ended }, &origin);
        }
    }

    /// A pod of one of three names that nobody has.
    fn admits(&mut self) {
        let name = self.below(3);
        if self.pods.iter().any(|(_, pod, other)| *other == name && !pod.is_terminal()) {
            return;
        }
        let (uid, origin) = (PodUid(self.uuid()), self.asked());
        let claim = GpuClaim { count: 1, share: Some(50), memory: None, uuids: [].into(), tflops: None };
        let gpu = (self.below(2) == 0).then_some(claim);
        let namespace = ["red", "blue", "red"][usize::try_from(name).unwrap()];
        let admit = Admit {
            pod: uid,
            namespace: namespace.to_owned(),
            demand: Demand { memory: Bytes(8), gpu, ..Demand::default() },
            priority: 0,
            when_full: WhenFull::Refuse,
            reservation: None,
            adopt: false,
            waited: false,
            stays: false,
        };
        self.ledger_does(&LedgerCommand::Admit(Box::new(admit)), &origin);
        let admission = match self.ledger.grant(uid) {
            Some(_) => Admission::Granted,
            None => return,
        };
        let spec: PodSpec =
            serde_json::from_value(crate::support::spec(namespace, &format!("web-{name}"))).unwrap();
        let mut pod = Pod::Unknown;
        let command = PodCommand::Admit { uid, spec: Box::new(spec), supersedes: None, admission };
        let events = self.asks(&mut pod, &command);
        self.pods.push((uid, pod, name));
        self.record(uid.stream(), &origin, events);
    }

    /// Something that fits the pod's state, if anything does.
    fn command(&mut self, pod: &Pod) -> Option<PodCommand> {
        let state = pod.live()?;
        let container = state.containers.first()?;
        let (name, attempt) = (container.name.clone(), container.attempts);
        let at = Timestamp(self.now);
        let message = "it did not".to_owned();
        if let Setup::Requested { attempt } = state.setup
            && self.below(4) > 0
        {
            let run = state.run;
            return Some(match self.below(4) {
                0 => PodCommand::FailSetup { run, attempt, class: FailureClass::Volume, message },
                _ => PodCommand::CompleteSetup { run, attempt, images: Vec::new() },
            });
        }
        if let Some(garbage) = container.garbage.first()
            && self.below(2) == 0
        {
            return Some(PodCommand::ReportRemoved { container: name, attempt: *garbage });
        }
        let exec = state.execs.keys().next().copied();
        let is_up = container.attempt().is_some();
        Some(match (self.below(12), &container.state) {
            (0, _) => PodCommand::Stop { grace_s: None, why: StopWhy::Asked },
            (1, _) => PodCommand::Start { admission: Admission::Granted },
            (2, _) => PodCommand::Delete { grace_s: Some(5) },
            (3, _) if is_up && exec.is_none() => {
                let argv = vec!["true".to_owned()];
                PodCommand::BeginExec { exec: self.uuid(), container: None, argv }
            }
            (3..=5, _) if exec.is_some() => {
                PodCommand::FinishExec { exec: exec?, outcome: ExecOutcome::Exited { code: 0 } }
            }
            (3..=9, ContainerState::Creating { .. }) if self.below(5) == 0 => {
                let class = FailureClass::Runtime;
                PodCommand::ReportCreateFailed { container: name, attempt, class, message }
            }
            (3..=9, ContainerState::Creating { .. }) => {
                let process = self.process();
                PodCommand::ReportStarted { container: name, attempt, process, started_at: at }
            }
            (6..=9, _) if is_up => {
                let exit = Exit { code: 137, reason: ExitReason::Error, finished_at: at };
                PodCommand::ReportExit { container: name, attempt, exit }
            }
            (3..=5, _) if is_up => PodCommand::ReportOutOfMemory { container: name, attempt },
            (6..=7, _) => PodCommand::CompleteCleanup,
            _ => PodCommand::CheckTime,
        })
    }

    fn process(&mut self) -> ProcessIdentity {
        let host_pid = u32::try_from(self.below(30_000) + 1).unwrap();
        ProcessIdentity { host_pid, start_time_ticks: 7, boot_id: BOOT, container_pid: 1 }
    }

    /// A worker is on record before the pod knows that it runs, and its end before the pod knows of that.
    fn worker_sees(&mut self, pod: PodUid, command: &PodCommand) {
        let (container, attempt, command): (&ContainerName, u32, WorkerCommand) = match command {
            PodCommand::ReportStarted { container, attempt, process, .. } => {
                let (process, attempt) = (*process, *attempt);
                let registered = Registered { pod, container: container.clone(), attempt, process };
                (container, attempt, WorkerCommand::Register(registered))
            }
            PodCommand::ReportExit { container, attempt, exit } => {
                (container, *attempt, WorkerCommand::ReportExit { exit: exit.clone() })
            }
            _ => return,
        };
        let uid = WorkerUid::of(pod, container, attempt);
        let mut worker = self.workers.remove(&uid).unwrap_or_default();
        let origin = self.follows(pod.stream());
        let events = self.asks(&mut worker, &command);
        self.workers.insert(uid, worker);
        self.record(uid.stream(), &origin, events);
    }
}

#[test]
fn a_life_has_something_of_everything() {
    let mut met: std::collections::BTreeSet<&str> = std::collections::BTreeSet::new();
    for seed in 0..20 {
        met.extend(life(seed, 200).iter().map(|step| step.event.layout().name));
    }
    let pods: Vec<&str> =
        LAYOUTS.iter().map(|layout| layout.name).filter(|name| name.starts_with("pod.")).collect();
    let missing: Vec<&&str> = pods.iter().filter(|name| !met.contains(**name)).collect();
    // No probes, no queue, no init containers, no violations, no other sizes: all else that happens to pods is there.
    let known = ["pod.readiness-changed", "pod.startup-passed", "pod.probe-failed", "pod.failed"];
    let known = known.iter().chain(&["pod.resources-awaited", "pod.resources-granted"]);
    let known = known.chain(&["pod.resize-requested", "pod.resized", "pod.resize-failed"]);
    let violations =
        |name: &&&str| name.starts_with("pod.violation-") || name.starts_with("pod.enforcement-");
    let missing: Vec<&&str> = missing.into_iter().filter(|name| !violations(name)).collect();
    assert_eq!(missing, known.collect::<Vec<_>>(), "{}", json!(met));
    // Of pools all but what takes longer than a life, and other sizes.
    let pools = LAYOUTS.iter().map(|layout| layout.name).filter(|name| name.starts_with("pool."));
    let missing: Vec<&str> = pools.filter(|name| !met.contains(name)).collect();
    let known = [
        "pool.reservation-expired",
        "pool.member-resize-requested",
        "pool.member-resized",
        "pool.member-resize-failed",
    ];
    assert_eq!(missing, known, "{}", json!(met));
}
