//! Pods under arbitrary commands: whatever comes, in whatever order, what follows is possible, the invariants
//! hold, and the fold of the records is what was lived.

use proptest::prelude::*;
use purser_events::ledger::Admission;
use purser_events::pod::event::{Exit, ExitReason, FailureClass, StopWhy};
use purser_events::pod::spec::{ProbeKind, RestartPolicy};
use purser_events::pod::{ContainerState, Pod, PodCommand, PodSpec, Setup};
use purser_events::view::Incarnation;
use purser_events::worker::ProcessIdentity;
use purser_events::worker::event::Registered;
use purser_events::worker::{Worker, WorkerCommand};
use purser_events::{
    Cause, Context, Decider, Event, Header, Origin, PodUid, Policy, Principal, Record, Seq, StreamId,
    StreamVersion, Timestamp, World, invariant,
};
use purser_tests::scenario::NOON;
use purser_tests::specs::{container, pod, probe};
use uuid::Uuid;

/// What the outside does next. Numbers choose among what is possible.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Stop(u32),
    Start,
    Delete(u32),
    /// Setup ends, well or not.
    Setup(bool),
    /// The n-th container that is being created comes up, or does not.
    Created(usize, bool, bool),
    /// The n-th container that runs ends.
    Exits(usize, u8),
    /// A probe of the n-th container that runs changes its mind.
    Probe(usize, u8, bool),
    /// The n-th remains are gone.
    Removed(usize),
    CleanedUp,
    /// Time passes.
    Wait(u64),
    /// A report that belongs to nothing.
    Stray(u32),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..40_u32).prop_map(Step::Stop),
        1 => Just(Step::Start),
        1 => (0..40_u32).prop_map(Step::Delete),
        4 => any::<bool>().prop_map(Step::Setup),
        6 => (any::<usize>(), prop::bool::weighted(0.8), any::<bool>()).prop_map(|(n, up, bad)| Step::Created(n, up, bad)),
        5 => (any::<usize>(), prop_oneof![Just(0), 1..=255_u8]).prop_map(|(n, code)| Step::Exits(n, code)),
        3 => (any::<usize>(), 0..3_u8, any::<bool>()).prop_map(|(n, kind, success)| Step::Probe(n, kind, success)),
        4 => any::<usize>().prop_map(Step::Removed),
        1 => Just(Step::CleanedUp),
        4 => (0..700_000_u64).prop_map(Step::Wait),
        1 => (0..9_u32).prop_map(Step::Stray),
    ]
}

pub(crate) fn spec(policy: RestartPolicy, inits: usize, apps: usize, probed: bool) -> PodSpec {
    let containers = (0..apps).map(|n| container(&format!("app{n}"), &["run"])).collect();
    let mut spec = PodSpec { restart_policy: policy, ..pod("model", containers) };
    spec.init_containers = (0..inits).map(|n| container(&format!("init{n}"), &["prepare"])).collect();
    if probed {
        spec.containers[0].startup = Some(probe());
        spec.containers[0].liveness = Some(probe());
        spec.containers[0].readiness = Some(probe());
    }
    spec
}

/// One pod with its workers, lived as the actors live it, beside the fold of what was recorded.
pub(crate) struct Life {
    uid: PodUid,
    pub(crate) pod: Pod,
    version: u64,
    now: Timestamp,
    world: World,
    pub(crate) records: Vec<Record>,
}

impl Life {
    fn begin(spec: PodSpec) -> Life {
        Life::begin_as(PodUid(Uuid::from_u128(1)), spec)
    }

    pub(crate) fn begin_as(uid: PodUid, spec: PodSpec) -> Life {
        let (world, records) = (World::default(), vec![]);
        let mut life = Life { uid, pod: Pod::Unknown, version: 0, now: NOON, world, records };
        life.ask(&PodCommand::Admit {
            uid,
            spec: Box::new(spec),
            supersedes: None,
            admission: Admission::Granted,
        });
        life
    }

    /// Carries a command out; a refusal is an answer too, and must leave no event.
    fn ask(&mut self, command: &PodCommand) {
        let context = Context { now: self.now, policy: Policy::default(), cordoned: None };
        let Ok(events) = self.pod.decide(command, &context) else { return };
        for event in events {
            self.pod = self.pod.evolve(&event).expect("a decider only emits what its state can follow");
            self.version += 1;
            self.record(self.uid.stream(), self.version, event.into());
        }
    }

    fn record(&mut self, stream: StreamId, version: u64, event: Event) {
        let seq = self.world.head.next();
        let origin = Origin { cause: Cause::Node, correlation: Uuid::nil(), principal: Principal::node() };
        let version = StreamVersion(version);
        let header = Header { seq, stream, version, time: self.now, epoch: 1, origin };
        let record = Record { header, event };
        self.world.apply(&record).expect("what was decided can be folded");
        self.records.push(record);
    }

    fn workers_do(&mut self, registered: Registered, command: WorkerCommand) {
        let uid = purser_events::WorkerUid::of(registered.pod, &registered.container, registered.attempt);
        let before = self.world.workers.get(&uid).cloned().unwrap_or_default();
        let version = if before == Worker::Unknown { 1 } else { 2 };
        let context = Context { now: self.now, policy: Policy::default(), cordoned: None };
        for event in before.decide(&command, &context).expect("the model's workers behave") {
            self.record(uid.stream(), version, event.into());
        }
    }

    pub(crate) fn take(&mut self, step: &Step) {
        let Some(live) = self.pod.live().cloned() else { return };
        match step {
            Step::Stop(grace_s) => {
                self.ask(&PodCommand::Stop { grace_s: Some(*grace_s), why: StopWhy::Asked })
            }
            Step::Start => self.ask(&PodCommand::Start { admission: Admission::Granted }),
            Step::Delete(grace_s) => self.ask(&PodCommand::Delete { grace_s: Some(*grace_s) }),
            Step::Setup(well) => {
                let Setup::Requested { attempt } = live.setup else { return };
                let (run, class) = (live.run, FailureClass::ImagePull);
                self.ask(&if *well {
                    PodCommand::CompleteSetup { run, attempt, images: vec![] }
                } else {
                    PodCommand::FailSetup { run, attempt, class, message: "no".to_owned() }
                });
            }
            Step::Created(n, up, invalid) => self.created(&live, *n, *up, *invalid),
            Step::Exits(n, code) => self.exits(&live, *n, *code),
            Step::Probe(n, kind, success) => {
                let running: Vec<_> = live.containers.iter().filter(|it| it.attempt().is_some()).collect();
                let Some(it) = running.get(n % running.len().max(1)) else { return };
                let probe =
                    [ProbeKind::Liveness, ProbeKind::Readiness, ProbeKind::Startup][usize::from(*kind)];
                let (container, attempt) = (it.name.clone(), it.attempts);
                let message = String::new();
                self.ask(&PodCommand::ReportProbe { container, attempt, probe, success: *success, message });
            }
            Step::Removed(n) => {
                let remains: Vec<_> = live
                    .containers
                    .iter()
                    .flat_map(|it| it.garbage.iter().map(|attempt| (it.name.clone(), *attempt)))
                    .collect();
                let Some((container, attempt)) = remains.get(n % remains.len().max(1)) else { return };
                self.ask(&PodCommand::ReportRemoved { container: container.clone(), attempt: *attempt });
            }
            Step::CleanedUp => self.ask(&PodCommand::CompleteCleanup),
            Step::Wait(ms) => {
                self.now = self.now.plus_ms(*ms);
                self.ask(&PodCommand::CheckTime);
            }
            Step::Stray(attempt) => {
                let (container, attempt) =
                    (live.containers[0].name.clone(), live.containers[0].attempts + attempt + 1);
                self.ask(&PodCommand::ReportOutOfMemory { container: container.clone(), attempt });
                let exit = Exit { code: 0, reason: ExitReason::Completed, finished_at: self.now };
                self.ask(&PodCommand::ReportExit { container, attempt, exit });
            }
        }
    }

    fn created(&mut self, live: &purser_events::pod::PodState, n: usize, up: bool, invalid: bool) {
        let creating: Vec<_> =
            live.containers.iter().filter(|it| matches!(it.state, ContainerState::Creating { .. })).collect();
        let Some(it) = creating.get(n % creating.len().max(1)) else { return };
        let (container, attempt) = (it.name.clone(), it.attempts);
        if !up {
            let class = if invalid { FailureClass::Invalid } else { FailureClass::Runtime };
            self.ask(&PodCommand::ReportCreateFailed { container, attempt, class, message: "no".to_owned() });
            return;
        }
        let host_pid = u32::try_from(self.records.len()).expect("a short life") + 10;
        let boot_id = Uuid::from_u128(3);
        let process = ProcessIdentity { host_pid, start_time_ticks: 1, boot_id, container_pid: 1 };
        let started_at = self.now;
        let report = PodCommand::ReportStarted { container: container.clone(), attempt, process, started_at };
        self.ask(&report);
        let registered = Registered { pod: self.uid, container, attempt, process };
        self.workers_do(registered.clone(), WorkerCommand::Register(registered));
    }

    fn exits(&mut self, live: &purser_events::pod::PodState, n: usize, code: u8) {
        let running: Vec<_> = live.containers.iter().filter(|it| it.attempt().is_some()).collect();
        let Some(it) = running.get(n % running.len().max(1)) else { return };
        let attempt = it.attempt().expect("it was chosen for running one").clone();
        let reason = if code == 0 { ExitReason::Completed } else { ExitReason::Error };
        let exit = Exit { code, reason, finished_at: self.now };
        let container = it.name.clone();
        let registered = Registered {
            pod: self.uid,
            container: container.clone(),
            attempt: attempt.number,
            process: attempt.process,
        };
        self.workers_do(registered, WorkerCommand::ReportExit { exit: exit.clone() });
        self.ask(&PodCommand::ReportExit { container, attempt: attempt.number, exit });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn replaying_the_records_is_the_same_as_having_lived_them(
        policy in prop_oneof![Just(RestartPolicy::Always), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Never)],
        inits in 0..3_usize,
        apps in 1..4_usize,
        probed in any::<bool>(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut life = Life::begin(spec(policy, inits, apps, probed));
        for step in &steps {
            life.take(step);
            let broken = invariant::check(&life.world);
            prop_assert!(broken.is_empty(), "after {step:?}: {broken:?}");
        }
        let lived = if life.pod.is_terminal() { None } else { Some(&life.pod) };
        prop_assert_eq!(life.world.pod(life.uid), lived);
        let mut replayed = World::default();
        for record in &life.records {
            replayed.apply(record).expect("what was decided can be folded");
        }
        prop_assert_eq!(replayed.digest(), life.world.digest());
        let put_away = serde_json::to_vec(&life.world).expect("a world can be written");
        let taken_out: World = serde_json::from_slice(&put_away).expect("and read");
        prop_assert_eq!(&taken_out, &life.world);
        prop_assert_eq!(replayed.head, Seq(life.records.len() as u64));
    }

    /// What history says of a pod is what was lived, after every record.
    #[test]
    fn history_agrees_with_what_was_lived(
        policy in prop_oneof![Just(RestartPolicy::Always), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Never)],
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut life = Life::begin(spec(policy, 1, 2, false));
        steps.iter().for_each(|step| life.take(step));
        let (mut pod, mut told) = (Pod::Unknown, None::<Incarnation>);
        for record in &life.records {
            let Event::Pod(event) = &record.event else {
                prop_assert_eq!(Incarnation::follow(told.clone(), record), None);
                continue;
            };
            pod.follow(event).expect("it was lived");
            told = Incarnation::follow(told, record);
            let told = told.as_ref().expect("the record is a pod's");
            prop_assert_eq!((told.uid, told.last, told.first), (life.uid, record.header.seq, Seq(1)));
            prop_assert_eq!(&*told.phase, pod.word());
            prop_assert_eq!(told.is_over(), pod.is_terminal());
            let Some(live) = pod.live() else { continue };
            prop_assert_eq!((told.restarts(), told.runs), (live.restarts(), live.run));
            prop_assert_eq!((&told.id, told.started_at), (&Some(live.spec.id.clone()), live.started_at));
            for (told, lived) in told.containers.iter().zip(&live.containers) {
                let exit = told.last_exit.map(|exit| (exit.code, exit.reason, exit.at));
                let lived_exit = lived.last_exit.as_ref().map(|exit| (exit.code, exit.reason, exit.finished_at));
                prop_assert_eq!((&told.name, told.restarts, exit), (&lived.name, lived.restarts, lived_exit));
            }
        }
        let told = told.expect("it was admitted");
        let written = serde_json::to_vec(&told).expect("an incarnation can be written");
        prop_assert_eq!(serde_json::from_slice::<Incarnation>(&written).expect("and read"), told);
    }

    /// No event is accepted in a state that no decision reaches it from: an illegal one leaves the state alone.
    #[test]
    fn events_out_of_place_are_refused_by_the_fold(
        steps in prop::collection::vec(step(), 1..60),
        drop_at in any::<prop::sample::Index>(),
    ) {
        let mut life = Life::begin(spec(RestartPolicy::Always, 1, 2, false));
        steps.iter().for_each(|step| life.take(step));
        // Without its first record a pod's history cannot be followed at all.
        let mut torn = World::default();
        let at = drop_at.index(life.records.len());
        for record in life.records.iter().skip(1).take(at) {
            let _ = torn.apply(record);
        }
        prop_assert!(torn.pods.is_empty());
    }

    /// A state that cannot follow an event stays what it was to the last field: quarantine keeps it.
    #[test]
    fn an_event_that_does_not_fit_changes_nothing(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut life = Life::begin(spec(RestartPolicy::Always, 1, 2, true));
        steps.iter().for_each(|step| life.take(step));
        let events: Vec<_> = life.records.iter().filter_map(|record| match &record.event {
            Event::Pod(event) => Some(event.clone()),
            Event::Node(_) | Event::Worker(_) | Event::Ledger(_) | Event::Gpu(_) | Event::Pool(_) => None,
        }).collect();
        let mut pod = Pod::Unknown;
        for lived in &events {
            for event in &events {
                let mut other = pod.clone();
                if other.follow(event).is_err() {
                    prop_assert_eq!(&other, &pod, "{:?} was refused and left a mark", event);
                }
            }
            pod.follow(lived).expect("it was lived");
        }
    }
}
