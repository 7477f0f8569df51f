//! What a pod answers to a wish for other sizes, given what has happened to it.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::collections::BTreeMap;

use purser_events::ledger::{Admission, Claims, LedgerRejection};
use purser_events::pod::event::{
    ContainerCreateFailed, Exit, ExitReason, FailureClass, PodEvent, ResizeFailed, ResizeRequested, Resized,
    StopWhy,
};
use purser_events::pod::spec::{ContainerSpec, PullPolicy, Resources, RestartPolicy, RuntimeClass, User};
use purser_events::pod::{ContainerSize, Pod, PodCommand, PodRejection, PodSpec, ResizeWish, SizeChange};
use purser_events::worker::ProcessIdentity;
use purser_events::{Bytes, ContainerName, Context, Decider, MilliCpu, PodId, PodUid, Policy, Timestamp};
use uuid::Uuid;

const UID: PodUid = PodUid(Uuid::from_u128(1));
const NOON: Timestamp = Timestamp(1_790_000_000_000_000);

/// A pod to which something has happened.
struct Scenario {
    pod: Pod,
}

/// What came of a command.
struct Outcome(Result<Vec<PodEvent>, PodRejection>);

impl Scenario {
    #[track_caller]
    fn after(self, command: PodCommand) -> Scenario {
        let events = self.pod.decide(&command, &context()).unwrap();
        Scenario { pod: events.iter().fold(self.pod, |pod, event| pod.evolve(event).unwrap()) }
    }

    fn when(self, command: PodCommand) -> Outcome {
        Outcome(self.pod.decide(&command, &context()))
    }

    fn state(&self) -> &Pod {
        &self.pod
    }
}

impl Outcome {
    #[track_caller]
    fn then<E: Into<PodEvent>>(self, expected: impl IntoIterator<Item = E>) {
        assert_eq!(self.0, Ok(expected.into_iter().map(Into::into).collect()));
    }

    #[track_caller]
    fn then_nothing(self) {
        assert_eq!(self.0, Ok(vec![]));
    }

    #[track_caller]
    fn then_refused(self, expected: PodRejection) {
        assert_eq!(self.0, Err(expected));
    }
}

fn name(text: &str) -> ContainerName {
    ContainerName::new(text).unwrap()
}

fn container(text: &str) -> ContainerSpec {
    ContainerSpec {
        name: name(text),
        image: None,
        image_pull_policy: PullPolicy::IfNotPresent,
        command: vec!["serve".to_owned()],
        args: vec![],
        env: vec![],
        working_dir: None,
        resources: Resources::default(),
        ports: vec![],
        mounts: vec![],
        liveness: None,
        readiness: None,
        startup: None,
        user: User::default(),
    }
}

fn sized(text: &str, cpu: u64, memory: u64) -> ContainerSpec {
    let mut spec = container(text);
    spec.resources.cpu_limit = Some(MilliCpu(cpu));
    spec.resources.cpu_request = Some(MilliCpu(cpu));
    spec.resources.memory_limit = Some(Bytes(memory));
    spec.resources.memory_request = Some(Bytes(memory));
    spec
}

fn web() -> PodSpec {
    PodSpec {
        id: PodId::new("default", "web").unwrap(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        runtime: RuntimeClass::Process,
        restart_policy: RestartPolicy::Always,
        termination_grace_s: 30,
        fs_group: None,
        volumes: vec![],
        init_containers: vec![],
        containers: vec![sized("app", 500, 100)],
        claims: Claims::default(),
    }
}

fn started(attempt: u32) -> PodCommand {
    let process = ProcessIdentity {
        host_pid: attempt,
        start_time_ticks: 7,
        boot_id: Uuid::from_u128(9),
        container_pid: 1,
    };
    PodCommand::ReportStarted { container: name("app"), attempt, process, started_at: NOON }
}

fn coming_up(spec: &PodSpec) -> Scenario {
    let spec = Box::new(spec.clone());
    let admit = PodCommand::Admit { uid: UID, spec, supersedes: None, admission: Admission::Granted };
    let set_up = PodCommand::CompleteSetup { run: 1, attempt: 1, images: vec![] };
    Scenario { pod: Pod::default() }.after(admit).after(set_up)
}

fn running() -> Scenario {
    coming_up(&web()).after(started(1))
}

fn to(cpu: u64, memory: u64) -> SizeChange {
    let (cpu, memory) = (Some(Some(MilliCpu(cpu))), Some(Some(Bytes(memory))));
    SizeChange {
        container: None,
        cpu_limit: cpu,
        cpu_request: cpu,
        memory_limit: memory,
        memory_request: memory,
    }
}

fn wish(change: SizeChange) -> ResizeWish {
    let (admission, used) = (Admission::Granted, BTreeMap::new());
    ResizeWish { changes: vec![change], tier: None, admission, used, obstacle: None }
}

fn resize(cpu: u64, memory: u64) -> PodCommand {
    PodCommand::Resize(Box::new(wish(to(cpu, memory))))
}

fn told(attempt: u32) -> BTreeMap<ContainerName, u32> {
    [(name("app"), attempt)].into()
}

fn complete(generation: u32, attempt: u32) -> PodCommand {
    PodCommand::CompleteResize { generation, told: told(attempt) }
}

fn requested(generation: u32, from: (u64, u64), to: (u64, u64)) -> ResizeRequested {
    let size = |(cpu, memory): (u64, u64)| vec![ContainerSize::of(&sized("app", cpu, memory))];
    ResizeRequested { generation, tier: None, from: size(from), to: size(to) }
}

fn limits(scenario: &Scenario) -> (Option<MilliCpu>, Option<Bytes>) {
    let spec = &scenario.state().live().expect("it is there").spec.containers[0];
    (spec.resources.cpu_limit, spec.resources.memory_limit)
}

#[test]
fn a_resize_is_an_intent_until_the_runtime_has_done_it() {
    running().when(resize(900, 50)).then([requested(2, (500, 100), (900, 50))]);
    let open = running().after(resize(900, 50));
    assert_eq!(limits(&open), (Some(MilliCpu(900)), Some(Bytes(50))), "what comes up now has the new ones");
    open.when(complete(2, 1)).then([Resized { generation: 2 }]);
    running().after(resize(900, 50)).after(complete(2, 1)).when(resize(900, 50)).then_nothing();
    running().after(resize(900, 50)).when(complete(3, 1)).then_nothing();
    let again = running().after(resize(900, 50)).after(complete(2, 1));
    again.when(resize(500, 100)).then([requested(3, (900, 50), (500, 100))]);
}

#[test]
fn what_is_refused_outside_leaves_all_as_it_was() {
    let failed = ResizeFailed { generation: 2, container: name("app"), message: "busy".to_owned() };
    let fail = PodCommand::FailResize { failed: failed.clone(), told: told(1) };
    running().after(resize(900, 50)).when(fail.clone()).then([failed]);
    let after = running().after(resize(900, 50)).after(fail);
    assert_eq!(limits(&after), (Some(MilliCpu(500)), Some(Bytes(100))));
    after.when(resize(900, 60)).then([requested(3, (500, 100), (900, 60))]);
}

#[test]
fn one_that_comes_up_meanwhile_is_waited_for() {
    let open = || coming_up(&web()).after(resize(900, 50));
    open().when(PodCommand::CompleteResize { generation: 2, told: BTreeMap::new() }).then_nothing();
    let up = open().after(started(1));
    up.when(PodCommand::CompleteResize { generation: 2, told: BTreeMap::new() }).then_nothing();
    open().after(started(1)).when(complete(2, 1)).then([Resized { generation: 2 }]);
    // With nothing left that runs there is nothing to be told.
    let exit = Exit { code: 1, reason: ExitReason::Error, finished_at: NOON };
    let exited = PodCommand::ReportExit { container: name("app"), attempt: 1, exit };
    let events = open().after(started(1)).state().decide(&exited, &context()).unwrap();
    assert!(events.contains(&Resized { generation: 2 }.into()), "{events:?}");
    let class = FailureClass::Runtime;
    let failed = PodCommand::ReportCreateFailed {
        container: name("app"),
        attempt: 1,
        class,
        message: "no".to_owned(),
    };
    let events = open().state().decide(&failed, &context()).unwrap();
    assert!(matches!(events[0], PodEvent::ContainerCreateFailed(ContainerCreateFailed { .. })));
    assert!(events.contains(&Resized { generation: 2 }.into()), "{events:?}");
}

fn context() -> Context {
    Context { now: NOON, policy: Policy::default(), cordoned: None }
}

#[test]
fn a_pod_at_rest_is_resized_at_once_and_one_that_ends_is_not() {
    let stop = PodCommand::Stop { grace_s: Some(0), why: StopWhy::Asked };
    let exit = Exit { code: 0, reason: ExitReason::Completed, finished_at: NOON };
    let exited = PodCommand::ReportExit { container: name("app"), attempt: 1, exit };
    let stopping = || running().after(stop.clone());
    let phase = PodRejection::WrongPhase { phase: "Stopping".to_owned(), verb: "be resized".to_owned() };
    stopping().when(resize(900, 50)).then_refused(phase);
    stopping()
        .after(exited)
        .when(resize(900, 50))
        .then::<PodEvent>([requested(2, (500, 100), (900, 50)).into(), Resized { generation: 2 }.into()]);
    let deleted = running().after(PodCommand::Delete { grace_s: None });
    deleted.when(resize(900, 50)).then_refused(PodRejection::BeingDeleted { id: web().id });
}

#[test]
fn what_cannot_be_is_refused_by_its_name() {
    let refused = |change: SizeChange| running().when(PodCommand::Resize(Box::new(wish(change))));
    let bad = |path: &str, message: &str| PodRejection::BadResize {
        path: format!("spec.containers[0].resources.{path}"),
        message: message.to_owned(),
    };
    let below = SizeChange { cpu_limit: Some(Some(MilliCpu(100))), ..SizeChange::default() };
    refused(below).then_refused(bad("requests.cpu", "must not be more than the limit"));
    refused(to(900, 0)).then_refused(bad("limits.memory", "must be more than 0"));
    let other = SizeChange { container: Some(name("other")), ..to(1, 1) };
    let known = "`app`".to_owned();
    refused(other).then_refused(PodRejection::NoSuchContainer { container: "other".to_owned(), known });
    running()
        .after(resize(900, 50))
        .when(resize(1, 1))
        .then_refused(PodRejection::ResizeInProgress { generation: 2 });

    let mut alone = web();
    alone.claims.exclusive_cpus = true;
    let reason = "the pod has its processors alone".to_owned();
    let path = "spec.containers[0].resources.requests.cpu".to_owned();
    let scenario = || coming_up(&alone).after(started(1));
    scenario().when(resize(900, 100)).then_refused(PodRejection::NotResizable { path, reason });
    scenario().when(resize(500, 50)).then([requested(2, (500, 100), (500, 50))]);
}

#[test]
fn what_was_found_out_stands_against_it() {
    let with = |wish: ResizeWish| running().when(PodCommand::Resize(Box::new(wish)));
    let obstacle = Some("no control groups".to_owned());
    let reason = "no control groups".to_owned();
    with(ResizeWish { obstacle, ..wish(to(900, 50)) })
        .then_refused(PodRejection::NeedsReplacement { reason });
    let used: BTreeMap<_, _> = [(name("app"), Bytes(60))].into();
    let below = PodRejection::BelowUse { container: name("app"), limit: Bytes(50), used: Bytes(60) };
    with(ResizeWish { used: used.clone(), ..wish(to(900, 50)) }).then_refused(below);
    with(ResizeWish { used, ..wish(to(900, 60)) }).then([requested(2, (500, 100), (900, 60))]);
    let error = LedgerRejection::QueueFull { waiting: 1 };
    let admission = Admission::Refused(Box::new(error.clone()));
    with(ResizeWish { admission, ..wish(to(900, 50)) }).then_refused(PodRejection::Resources { error });
}

#[test]
fn a_specification_says_whether_more_than_sizes_differs() {
    let other = PodSpec { containers: vec![sized("app", 900, 100)], ..web() };
    assert_eq!(web().resizes_to(&other), Some(vec![ContainerSize::of(&other.containers[0])]));
    assert_eq!(web().resizes_to(&web()), None);
    let mut more = other.clone();
    more.containers[0].args.push("--debug".to_owned());
    assert_eq!(web().resizes_to(&more), None);
    let mut disk = other;
    disk.containers[0].resources.disk_limit = Some(Bytes(1));
    assert_eq!(web().resizes_to(&disk), None);
}
