//! What a pod answers, given what has happened to it.

use purser_events::ledger::Admission;
use purser_events::pod::event::{
    Admitted, CleanupRequested, ContainerCreateFailed, ContainerCreateRequested, ContainerExited,
    ContainerKillRequested, ContainerRemoved, ContainerStarted, ContainerStopRequested, ExecFinished,
    ExecOutcome, Exit, ExitReason, Failed, FailureClass, FailureReason, ProbeFailed, ProvisioningStarted,
    ReadinessChanged, RestartScheduled, SetupCompleted, SetupFailed, SetupRequested, StartRequested, Started,
    StartupPassed, StopCause, StopReason, StopRequested, StopWhy, Stopped, Terminated, TerminationRequested,
};
use purser_events::pod::spec::{ProbeKind, RestartPolicy};
use purser_events::pod::{Pod, PodCommand, PodEvent, PodRejection, PodSpec};
use purser_events::worker::ProcessIdentity;
use purser_events::{Decider, PodUid, Timestamp, WorkerUid};
use purser_tests::scenario::{NOON, Scenario};
use purser_tests::specs::{container, name, pod, probe};
use uuid::Uuid;

const UID: PodUid = PodUid(Uuid::from_u128(1));

fn web(policy: RestartPolicy) -> PodSpec {
    PodSpec { restart_policy: policy, ..pod("web", vec![container("app", &["serve"])]) }
}

/// What follows once the ledger has given all that is needed.
const START: PodCommand = PodCommand::Start { admission: Admission::Granted };

fn admit(spec: &PodSpec) -> PodCommand {
    PodCommand::Admit {
        uid: UID,
        spec: Box::new(spec.clone()),
        supersedes: None,
        admission: Admission::Granted,
    }
}

fn process(pid: u32) -> ProcessIdentity {
    ProcessIdentity { host_pid: pid, start_time_ticks: 7, boot_id: Uuid::from_u128(9), container_pid: 1 }
}

fn started(container: &str, attempt: u32) -> PodCommand {
    PodCommand::ReportStarted {
        container: name(container),
        attempt,
        process: process(attempt),
        started_at: NOON,
    }
}

fn exit(code: u8, finished_at: Timestamp) -> Exit {
    let reason = if code == 0 { ExitReason::Completed } else { ExitReason::Error };
    Exit { code, reason, finished_at }
}

fn exited(container: &str, attempt: u32, code: u8, at: Timestamp) -> PodCommand {
    PodCommand::ReportExit { container: name(container), attempt, exit: exit(code, at) }
}

fn set_up(run: u32, attempt: u32) -> PodCommand {
    PodCommand::CompleteSetup { run, attempt, images: vec![] }
}

/// A pod whose images and volumes are asked for.
fn provisioning(spec: &PodSpec) -> Scenario<Pod> {
    Scenario::<Pod>::given(Vec::<PodEvent>::new()).after(admit(spec))
}

/// A pod of which every container runs.
fn running(spec: &PodSpec) -> Scenario<Pod> {
    provisioning(spec).after(set_up(1, 1)).after(started("app", 1))
}

fn create(container: &str, attempt: u32) -> PodEvent {
    let worker = WorkerUid::of(UID, &name(container), attempt);
    ContainerCreateRequested { container: name(container), attempt, worker }.into()
}

#[test]
fn an_admitted_pod_asks_for_its_setup_in_the_same_decision() {
    let spec = web(RestartPolicy::Always);
    Scenario::<Pod>::given(Vec::<PodEvent>::new()).when(admit(&spec)).then::<PodEvent>([
        Admitted { uid: UID, spec: spec.clone(), supersedes: None }.into(),
        ProvisioningStarted { run: 1 }.into(),
        SetupRequested { attempt: 1 }.into(),
    ]);
}

#[test]
fn a_cordoned_node_admits_nothing() {
    let scenario = Scenario::<Pod>::given(Vec::<PodEvent>::new()).cordoned("maintenance");
    scenario
        .when(admit(&web(RestartPolicy::Always)))
        .then_refused(PodRejection::Cordoned { reason: "maintenance".to_owned() });
}

#[test]
fn applying_the_same_again_changes_nothing_and_another_is_refused_by_its_path() {
    let spec = web(RestartPolicy::Always);
    running(&spec).when(admit(&spec)).then_nothing();
    let mut other = spec.clone();
    other.containers[0].args.push("--debug".to_owned());
    let path = "spec.containers[0].args".to_owned();
    running(&spec).when(admit(&other)).then_refused(PodRejection::SpecConflict { id: spec.id.clone(), path });
}

#[test]
fn setup_done_creates_containers_and_their_start_makes_the_pod_run() {
    let spec = web(RestartPolicy::Always);
    provisioning(&spec)
        .when(set_up(1, 1))
        .then::<PodEvent>([SetupCompleted { images: vec![] }.into(), create("app", 1)]);
    provisioning(&spec).after(set_up(1, 1)).when(started("app", 1)).then::<PodEvent>([
        ContainerStarted { container: name("app"), attempt: 1, process: process(1), started_at: NOON }.into(),
        Started { at: NOON }.into(),
    ]);
}

#[test]
fn setup_that_fails_is_tried_again_later_and_later() {
    let fail = |attempt| PodCommand::FailSetup {
        run: 1,
        attempt,
        class: FailureClass::ImageNotFound,
        message: "manifest unknown".to_owned(),
    };
    let failed = |attempt, wait_s: u64| SetupFailed {
        attempt,
        class: FailureClass::ImageNotFound,
        message: "manifest unknown".to_owned(),
        retry_at: NOON.plus_ms(wait_s * 1_000),
    };
    let spec = web(RestartPolicy::Always);
    provisioning(&spec).when(fail(1)).then([failed(1, 10)]);
    let waiting = provisioning(&spec).after(fail(1));
    waiting.when(PodCommand::CheckTime).then_nothing();
    let due = provisioning(&spec).after(fail(1)).at(NOON.plus_ms(10_000));
    due.when(PodCommand::CheckTime).then([SetupRequested { attempt: 2 }]);
    let second = provisioning(&spec)
        .after(fail(1))
        .at(NOON.plus_ms(10_000))
        .after(PodCommand::CheckTime)
        .at(NOON)
        .when(fail(2));
    second.then([failed(2, 20)]);
}

#[test]
fn a_report_on_another_setup_is_refused() {
    let spec = web(RestartPolicy::Always);
    provisioning(&spec).when(set_up(1, 2)).then_refused(PodRejection::StaleSetup { run: 1, attempt: 2 });
    provisioning(&spec).when(set_up(2, 1)).then_refused(PodRejection::StaleSetup { run: 2, attempt: 1 });
}

#[test]
fn init_containers_run_one_after_the_other_before_the_others() {
    let mut spec = web(RestartPolicy::Always);
    spec.init_containers = vec![container("first", &["a"]), container("second", &["b"])];
    let scenario = || provisioning(&spec).after(set_up(1, 1)).after(started("first", 1));
    scenario().when(exited("first", 1, 0, NOON)).then::<PodEvent>([
        ContainerExited { container: name("first"), attempt: 1, exit: exit(0, NOON) }.into(),
        create("second", 1),
    ]);
    scenario()
        .after(exited("first", 1, 0, NOON))
        .after(started("second", 1))
        .when(exited("second", 1, 0, NOON))
        .then::<PodEvent>([
            ContainerExited { container: name("second"), attempt: 1, exit: exit(0, NOON) }.into(),
            create("app", 1),
        ]);
}

#[test]
fn an_init_container_that_fails_ends_a_pod_that_never_restarts() {
    let mut spec = web(RestartPolicy::Never);
    spec.init_containers = vec![container("first", &["a"])];
    let reason = FailureReason::InitContainer { container: name("first"), code: 3 };
    provisioning(&spec)
        .after(set_up(1, 1))
        .after(started("first", 1))
        .when(exited("first", 1, 3, NOON))
        .then::<PodEvent>([
        ContainerExited { container: name("first"), attempt: 1, exit: exit(3, NOON) }.into(),
        Failed { reason, at: NOON }.into(),
    ]);
}

#[test]
fn first_restart_comes_at_once_and_the_next_waits() {
    let spec = web(RestartPolicy::Always);
    running(&spec).when(exited("app", 1, 1, NOON)).then::<PodEvent>([
        ContainerExited { container: name("app"), attempt: 1, exit: exit(1, NOON) }.into(),
        RestartScheduled { container: name("app"), until: NOON, step: 1 }.into(),
        create("app", 2),
    ]);
    let again = running(&spec).after(exited("app", 1, 1, NOON)).after(started("app", 2));
    again.when(exited("app", 2, 1, NOON)).then::<PodEvent>([
        ContainerExited { container: name("app"), attempt: 2, exit: exit(1, NOON) }.into(),
        RestartScheduled { container: name("app"), until: NOON.plus_ms(10_000), step: 2 }.into(),
    ]);
}

#[test]
fn a_restart_counts_when_it_is_made_and_not_when_it_is_planned() {
    let spec = web(RestartPolicy::Always);
    let restarts = |scenario: &Scenario<Pod>| scenario.state().live().unwrap().restarts();
    let again = running(&spec).after(exited("app", 1, 1, NOON)).after(started("app", 2));
    assert_eq!(restarts(&again), 1);
    let waiting = again.after(exited("app", 2, 1, NOON));
    assert_eq!(restarts(&waiting), 1);
    let away = |attempt| PodCommand::ReportCreateFailed {
        container: name("app"),
        attempt,
        class: FailureClass::Unavailable,
        message: "away".to_owned(),
    };
    // One restart that takes three tries is one.
    let late = waiting.at(NOON.plus_ms(10_000)).after(PodCommand::CheckTime).after(away(3));
    let later = late.at(NOON.plus_ms(60_000)).after(PodCommand::CheckTime).after(started("app", 4));
    assert_eq!(restarts(&later), 2);
}

#[test]
fn ten_minutes_of_running_begin_the_waits_anew() {
    let spec = web(RestartPolicy::Always);
    let later = NOON.plus_ms(600_000);
    let waited = running(&spec).after(exited("app", 1, 1, NOON)).after(started("app", 2)).at(later);
    waited.when(exited("app", 2, 1, later)).then::<PodEvent>([
        ContainerExited { container: name("app"), attempt: 2, exit: exit(1, later) }.into(),
        RestartScheduled { container: name("app"), until: later, step: 1 }.into(),
        create("app", 3),
    ]);
}

#[test]
fn success_completes_a_pod_that_restarts_on_failure_only() {
    let exited_well: PodEvent =
        ContainerExited { container: name("app"), attempt: 1, exit: exit(0, NOON) }.into();
    for policy in [RestartPolicy::OnFailure, RestartPolicy::Never] {
        let stopped = Stopped { cause: StopCause::Completed, at: NOON };
        running(&web(policy)).when(exited("app", 1, 0, NOON)).then([exited_well.clone(), stopped.into()]);
    }
    let reason = FailureReason::Container { container: name("app"), code: 2, exit: ExitReason::Error };
    running(&web(RestartPolicy::Never)).when(exited("app", 1, 2, NOON)).then::<PodEvent>([
        ContainerExited { container: name("app"), attempt: 1, exit: exit(2, NOON) }.into(),
        Failed { reason, at: NOON }.into(),
    ]);
}

#[test]
fn a_program_that_is_absent_counts_like_an_exit_and_a_runtime_that_is_away_does_not() {
    let report = |class| PodCommand::ReportCreateFailed {
        container: name("app"),
        attempt: 1,
        class,
        message: "no such program".to_owned(),
    };
    let event = |class| ContainerCreateFailed {
        container: name("app"),
        attempt: 1,
        class,
        message: "no such program".to_owned(),
        at: NOON,
    };
    let creating = || provisioning(&web(RestartPolicy::Never)).after(set_up(1, 1));
    let reason = FailureReason::Container { container: name("app"), code: 128, exit: ExitReason::StartError };
    creating()
        .when(report(FailureClass::Invalid))
        .then::<PodEvent>([event(FailureClass::Invalid).into(), Failed { reason, at: NOON }.into()]);
    let retry = RestartScheduled { container: name("app"), until: NOON.plus_ms(10_000), step: 1 };
    creating()
        .when(report(FailureClass::Unavailable))
        .then::<PodEvent>([event(FailureClass::Unavailable).into(), retry.into()]);
}

#[test]
fn liveness_failure_ends_the_container_and_brings_it_back() {
    let mut spec = web(RestartPolicy::OnFailure);
    spec.containers[0].liveness = Some(probe());
    let failing = PodCommand::ReportProbe {
        container: name("app"),
        attempt: 1,
        probe: ProbeKind::Liveness,
        success: false,
        message: "code 1".to_owned(),
    };
    let deadline = NOON.plus_ms(30_000);
    running(&spec).when(failing.clone()).then::<PodEvent>([
        ProbeFailed {
            container: name("app"),
            probe: ProbeKind::Liveness,
            failures: 3,
            message: "code 1".to_owned(),
        }
        .into(),
        ContainerStopRequested { container: name("app"), reason: StopReason::LivenessFailed, deadline }
            .into(),
    ]);
    // Although it ended well: it was made to.
    running(&spec).after(failing).when(exited("app", 1, 0, NOON)).then::<PodEvent>([
        ContainerExited { container: name("app"), attempt: 1, exit: exit(0, NOON) }.into(),
        RestartScheduled { container: name("app"), until: NOON, step: 1 }.into(),
        create("app", 2),
    ]);
}

#[test]
fn a_startup_probe_holds_back_readiness() {
    let mut spec = web(RestartPolicy::Always);
    spec.containers[0].startup = Some(probe());
    spec.containers[0].readiness = Some(probe());
    let report = |probe, success| PodCommand::ReportProbe {
        container: name("app"),
        attempt: 1,
        probe,
        success,
        message: String::new(),
    };
    running(&spec).when(report(ProbeKind::Readiness, true)).then_nothing();
    running(&spec).when(report(ProbeKind::Liveness, false)).then_nothing();
    running(&spec).when(report(ProbeKind::Startup, true)).then([StartupPassed { container: name("app") }]);
    let up = || running(&spec).after(report(ProbeKind::Startup, true));
    let ready = ReadinessChanged { container: name("app"), ready: true, message: String::new() };
    up().when(report(ProbeKind::Readiness, true)).then([ready]);
    up().when(report(ProbeKind::Readiness, false)).then_nothing();
    assert!(up().after(report(ProbeKind::Readiness, true)).state().live().unwrap().is_ready());
}

#[test]
fn stop_asks_then_kills_then_rests_and_start_runs_it_again() {
    let spec = web(RestartPolicy::Always);
    let stop = PodCommand::Stop { grace_s: Some(5), why: StopWhy::Asked };
    let deadline = NOON.plus_ms(5_000);
    running(&spec).when(stop.clone()).then::<PodEvent>([
        StopRequested { grace_s: 5, why: StopWhy::Asked }.into(),
        ContainerStopRequested { container: name("app"), reason: StopReason::PodStop, deadline }.into(),
    ]);
    let stopping = || running(&spec).after(stop.clone());
    stopping().when(PodCommand::CheckTime).then_nothing();
    stopping()
        .at(deadline)
        .when(PodCommand::CheckTime)
        .then([ContainerKillRequested { container: name("app") }]);
    stopping().when(exited("app", 1, 143, NOON)).then::<PodEvent>([
        ContainerExited { container: name("app"), attempt: 1, exit: exit(143, NOON) }.into(),
        Stopped { cause: StopCause::Requested, at: NOON }.into(),
    ]);
    let stopped = || stopping().after(exited("app", 1, 143, NOON));
    stopped().when(stop.clone()).then_nothing();
    stopped().when(START).then::<PodEvent>([
        StartRequested {}.into(),
        ProvisioningStarted { run: 2 }.into(),
        SetupRequested { attempt: 1 }.into(),
    ]);
    stopped()
        .after(START)
        .when(set_up(2, 1))
        .then::<PodEvent>([SetupCompleted { images: vec![] }.into(), create("app", 2)]);
    stopping()
        .when(START)
        .then_refused(PodRejection::WrongPhase { phase: "Stopping".to_owned(), verb: "start".to_owned() });
}

#[test]
fn a_container_that_comes_up_while_the_pod_stops_is_asked_to_end_at_once() {
    let spec = web(RestartPolicy::Always);
    let creating = provisioning(&spec)
        .after(set_up(1, 1))
        .after(PodCommand::Stop { grace_s: None, why: StopWhy::Asked });
    creating.when(started("app", 1)).then::<PodEvent>([
        ContainerStarted { container: name("app"), attempt: 1, process: process(1), started_at: NOON }.into(),
        ContainerStopRequested {
            container: name("app"),
            reason: StopReason::PodStop,
            deadline: NOON.plus_ms(30_000),
        }
        .into(),
    ]);
}

#[test]
fn delete_waits_for_every_trace() {
    let spec = web(RestartPolicy::Always);
    let delete = PodCommand::Delete { grace_s: None };
    let deadline = NOON.plus_ms(30_000);
    running(&spec).when(delete.clone()).then::<PodEvent>([
        TerminationRequested { grace_s: 30 }.into(),
        ContainerStopRequested { container: name("app"), reason: StopReason::PodDelete, deadline }.into(),
    ]);
    let ended = || running(&spec).after(delete.clone()).after(exited("app", 1, 143, NOON));
    ended().when(delete.clone()).then_nothing();
    let removed = PodCommand::ReportRemoved { container: name("app"), attempt: 1 };
    ended().when(removed.clone()).then::<PodEvent>([
        ContainerRemoved { container: name("app"), attempt: 1 }.into(),
        CleanupRequested {}.into(),
    ]);
    ended().after(removed).when(PodCommand::CompleteCleanup).then([Terminated { at: NOON }]);
}

#[test]
fn a_delete_with_less_time_brings_the_kill_forward() {
    let spec = web(RestartPolicy::Always);
    let deleting = running(&spec).after(PodCommand::Delete { grace_s: None });
    deleting.when(PodCommand::Delete { grace_s: Some(0) }).then::<PodEvent>([
        TerminationRequested { grace_s: 0 }.into(),
        ContainerStopRequested { container: name("app"), reason: StopReason::PodDelete, deadline: NOON }
            .into(),
        ContainerKillRequested { container: name("app") }.into(),
    ]);
}

#[test]
fn a_stop_with_less_time_brings_the_kill_forward_and_one_with_more_does_not() {
    let spec = web(RestartPolicy::Always);
    let stopping = || running(&spec).after(PodCommand::Stop { grace_s: Some(20), why: StopWhy::Asked });
    stopping().when(PodCommand::Stop { grace_s: Some(25), why: StopWhy::Asked }).then_nothing();
    let deadline = NOON.plus_ms(3_000);
    stopping()
        .when(PodCommand::Stop { grace_s: Some(3), why: StopWhy::Asked })
        .then([ContainerStopRequested { container: name("app"), reason: StopReason::PodStop, deadline }]);
}

#[test]
fn commands_that_are_open_when_a_pod_goes_are_closed_before_its_traces_are_removed() {
    let spec = web(RestartPolicy::Always);
    let exec = Uuid::from_u128(5);
    let begin = PodCommand::BeginExec { exec, container: None, argv: vec!["id".to_owned()] };
    let ended = running(&spec)
        .after(begin)
        .after(PodCommand::Delete { grace_s: None })
        .after(exited("app", 1, 143, NOON));
    ended.when(PodCommand::ReportRemoved { container: name("app"), attempt: 1 }).then::<PodEvent>([
        ContainerRemoved { container: name("app"), attempt: 1 }.into(),
        ExecFinished { exec, outcome: ExecOutcome::Unknown }.into(),
        CleanupRequested {}.into(),
    ]);
}

#[test]
fn a_pod_that_goes_refuses_everything_else_by_name() {
    let spec = web(RestartPolicy::Always);
    let deleting = || running(&spec).after(PodCommand::Delete { grace_s: None });
    let being_deleted = PodRejection::BeingDeleted { id: spec.id.clone() };
    for command in [admit(&spec), START, PodCommand::Stop { grace_s: None, why: StopWhy::Asked }] {
        deleting().when(command).then_refused(being_deleted.clone());
    }
    Scenario::<Pod>::given(Vec::<PodEvent>::new()).when(START).then_refused(PodRejection::NotFound);
}

#[test]
fn exec_needs_a_container_that_runs_and_keeps_no_arguments() {
    let spec = web(RestartPolicy::Always);
    let begin = |container: Option<&str>, argv: &[&str]| PodCommand::BeginExec {
        exec: Uuid::from_u128(5),
        container: container.map(name),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
    };
    provisioning(&spec)
        .when(begin(None, &["id"]))
        .then_refused(PodRejection::NotRunning { container: name("app"), state: "Waiting".to_owned() });
    running(&spec).when(begin(None, &[])).then_refused(PodRejection::EmptyCommand);
    let unknown = PodRejection::NoSuchContainer { container: "db".to_owned(), known: "`app`".to_owned() };
    running(&spec).when(begin(Some("db"), &["id"])).then_refused(unknown);
    let command = begin(None, &["login", "--password", "hunter2"]);
    let scenario = running(&spec);
    let events = scenario.state().decide(
        &command,
        &purser_events::Context { now: NOON, policy: purser_events::Policy::default(), cordoned: None },
    );
    let recorded = serde_json::to_string(&purser_events::Event::from(events.unwrap()[0].clone())).unwrap();
    assert!(!recorded.contains("hunter2"), "{recorded}");
    let open = running(&spec).after(command);
    let finish = PodCommand::FinishExec { exec: Uuid::from_u128(6), outcome: ExecOutcome::Unknown };
    open.when(finish).then_refused(PodRejection::NoSuchExec);
}

#[test]
fn an_exit_that_is_reported_twice_counts_once() {
    let spec = web(RestartPolicy::Always);
    running(&spec).after(exited("app", 1, 1, NOON)).when(exited("app", 1, 1, NOON)).then_nothing();
    let stale = PodRejection::StaleAttempt { container: name("app"), attempt: 7 };
    running(&spec).when(exited("app", 7, 1, NOON)).then_refused(stale);
}

/// The kernel's notice of a kill and the end that the kill caused come on two roads.
#[test]
fn a_kill_for_want_of_memory_counts_also_after_the_end_that_it_caused() {
    let spec = web(RestartPolicy::Never);
    let notice = || PodCommand::ReportOutOfMemory { container: name("app"), attempt: 1 };
    let ended = running(&spec).after(exited("app", 1, 137, NOON)).after(notice());
    assert_eq!(ended.state().live().map(|pod| pod.containers[0].oom_kills), Some(1));
    let removed = PodCommand::ReportRemoved { container: name("app"), attempt: 1 };
    let stale = PodRejection::StaleAttempt { container: name("app"), attempt: 1 };
    ended.after(removed).when(notice()).then_refused(stale);
}
