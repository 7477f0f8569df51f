//! What a pod answers to a command, before what it then does by itself.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::command::{PodCommand, PodRejection};
use super::event::{
    Admitted, ContainerCreateFailed, ContainerExited, ContainerRemoved, ContainerStarted,
    ContainerStopRequested, ExecFinished, ExecRequested, FailureClass, OutOfMemory, PodEvent, ProbeFailed,
    ReadinessChanged, ResourcesAwaited, ResourcesGranted, SetupCompleted, SetupFailed, StartRequested,
    StartupPassed, StopReason, StopRequested, StopWhy, Terminated, TerminationRequested,
};
use super::resize;
use super::spec::{PodSpec, ProbeKind, Role};
use super::state::{Container, ContainerState, Phase, Pod, PodState, Setup};
use crate::context::Context;
use crate::ledger::{Admission, LedgerRejection};
use crate::names::ContainerName;
use crate::violation::ViolationCommand;

/// Most commands that may run in one pod at once.
const EXECS_MAX: usize = 32;
/// Longest program name that an event keeps, in bytes.
const PROGRAM_LEN_MAX: usize = 256;

type Answer = Result<Vec<PodEvent>, PodRejection>;

/// The events that a command makes happen, or why it is refused.
pub(super) fn answer(pod: &Pod, command: &PodCommand, context: &Context) -> Answer {
    match (command, pod) {
        (PodCommand::Admit { uid, spec, supersedes, admission }, Pod::Unknown) => match &context.cordoned {
            Some(reason) => Err(PodRejection::Cordoned { reason: reason.clone() }),
            None => {
                let spec = PodSpec::clone(spec);
                with_resources(Admitted { uid: *uid, spec, supersedes: *supersedes }.into(), admission)
            }
        },
        (PodCommand::Admit { spec, .. }, Pod::Live(pod)) => readmit(pod, spec),
        (_, Pod::Unknown) => Err(PodRejection::NotFound),
        (_, Pod::Terminated { .. }) => Err(PodRejection::Terminated),
        (command, Pod::Live(pod)) => answer_live(pod, command, context),
    }
}

/// The beginning of a run, or of the wait for it, as the ledger has it.
fn with_resources(begun: PodEvent, admission: &Admission) -> Answer {
    match admission {
        Admission::Granted => Ok(vec![begun]),
        Admission::Waiting => Ok(vec![begun, ResourcesAwaited {}.into()]),
        Admission::Refused(rejection) => Err(LedgerRejection::clone(rejection).into()),
    }
}

fn answer_live(pod: &PodState, command: &PodCommand, context: &Context) -> Answer {
    use PodCommand as C;
    match command {
        C::Admit { spec, .. } => readmit(pod, spec),
        C::CompleteSetup { run, attempt, images } => {
            check_setup(pod, *run, *attempt)?;
            Ok(vec![SetupCompleted { images: images.clone() }.into()])
        }
        C::FailSetup { run, attempt, class, message } => {
            check_setup(pod, *run, *attempt)?;
            let retry_at = context.now.plus_ms(context.policy.back_off.retry_wait_ms(attempt - 1));
            let failed = SetupFailed { attempt: *attempt, class: *class, message: message.clone(), retry_at };
            Ok(vec![failed.into()])
        }
        C::ReportStarted { container, attempt, process, started_at } => {
            let (container, attempt) = (container.clone(), *attempt);
            let (process, started_at) = (*process, *started_at);
            let started = ContainerStarted { container, attempt, process, started_at };
            report_started(pod, started)
        }
        C::ReportCreateFailed { container, attempt, class, message } => {
            check_creating(pod, container, *attempt)?;
            let (container, message) = (container.clone(), message.clone());
            let failed = ContainerCreateFailed {
                container,
                attempt: *attempt,
                class: *class,
                message,
                at: context.now,
            };
            Ok(vec![failed.into()])
        }
        C::ReportExit { container, attempt, exit } => {
            let exited =
                ContainerExited { container: container.clone(), attempt: *attempt, exit: exit.clone() };
            report_exit(pod, exited)
        }
        C::ReportRemoved { container, attempt } => {
            let removed = ContainerRemoved { container: container.clone(), attempt: *attempt };
            let is_garbage = find(pod, container)?.garbage.contains(attempt);
            Ok(if is_garbage { vec![removed.into()] } else { vec![] })
        }
        C::ReportOutOfMemory { container, attempt } => {
            // The notice of a kill that ended the container may come after the notice of its end.
            if !find(pod, container)?.garbage.contains(attempt) {
                check_running(pod, container, *attempt)?;
            }
            Ok(vec![OutOfMemory { container: container.clone(), attempt: *attempt }.into()])
        }
        C::ReportProbe { container, attempt, probe, success, message } => {
            let target = check_running(pod, container, *attempt)?;
            Ok(report_probe(pod, target, *probe, *success, message, context))
        }
        C::CheckTime => Ok(vec![]),
        C::Stop { grace_s, why } => stop(pod, *grace_s, why, context),
        C::Start { admission } => start(pod, admission),
        C::GrantResources if pod.awaits_resources => Ok(vec![ResourcesGranted {}.into()]),
        C::GrantResources => Ok(vec![]),
        C::Resize(_) | C::CompleteResize { .. } | C::FailResize { .. } => resize::answer(pod, command),
        C::Violation(command) => violation(pod, command, context),
        C::Delete { grace_s } => Ok(delete(pod, *grace_s, context)),
        C::CompleteCleanup => match pod.phase {
            Phase::Terminating { cleaning: true, .. } => Ok(vec![Terminated { at: context.now }.into()]),
            _ => Err(wrong_phase(pod, "be cleaned up")),
        },
        C::BeginExec { exec, container, argv } => begin_exec(pod, *exec, container.as_ref(), argv),
        C::FinishExec { exec, outcome } => match pod.execs.contains_key(exec) {
            true => Ok(vec![ExecFinished { exec: *exec, outcome: outcome.clone() }.into()]),
            false => Err(PodRejection::NoSuchExec),
        },
    }
}

/// Nothing begins on a pod that does not run.
fn violation(pod: &PodState, command: &ViolationCommand, context: &Context) -> Answer {
    let begins = matches!(command, ViolationCommand::Open { .. } | ViolationCommand::OpenGap { .. });
    if begins && !pod.holds_resources() {
        return Err(wrong_phase(pod, "violate its limits"));
    }
    let events = pod.violations.decide(command, context.now)?;
    Ok(events.into_iter().map(PodEvent::from).collect())
}

fn wrong_phase(pod: &PodState, verb: &str) -> PodRejection {
    PodRejection::WrongPhase { phase: pod.phase.word().to_owned(), verb: verb.to_owned() }
}

/// Answers an `apply` of a name that is taken: it is already so, or it is another specification.
fn readmit(pod: &PodState, spec: &PodSpec) -> Answer {
    let id = pod.spec.id.clone();
    if matches!(pod.phase, Phase::Terminating { .. }) {
        return Err(PodRejection::BeingDeleted { id });
    }
    match pod.spec.first_conflict(spec) {
        None => Ok(vec![]),
        Some(path) => Err(PodRejection::SpecConflict { id, path }),
    }
}

fn find<'pod>(pod: &'pod PodState, name: &ContainerName) -> Result<&'pod Container, PodRejection> {
    pod.container(name).ok_or_else(|| PodRejection::NoSuchContainer {
        container: name.to_string(),
        known: known_containers(pod),
    })
}

fn known_containers(pod: &PodState) -> String {
    let names: Vec<String> = pod.containers.iter().map(|container| format!("`{}`", container.name)).collect();
    names.join(", ")
}

fn check_setup(pod: &PodState, run: u32, attempt: u32) -> Result<(), PodRejection> {
    match pod.setup {
        Setup::Requested { attempt: open } if open == attempt && pod.run == run => Ok(()),
        _ => Err(PodRejection::StaleSetup { run, attempt }),
    }
}

fn check_creating(pod: &PodState, name: &ContainerName, attempt: u32) -> Result<(), PodRejection> {
    match find(pod, name)?.state {
        ContainerState::Creating { attempt: open, .. } if open == attempt => Ok(()),
        _ => Err(PodRejection::StaleAttempt { container: name.clone(), attempt }),
    }
}

fn check_running<'pod>(
    pod: &'pod PodState,
    name: &ContainerName,
    attempt: u32,
) -> Result<&'pod Container, PodRejection> {
    let container = find(pod, name)?;
    match container.attempt() {
        Some(running) if running.number == attempt => Ok(container),
        _ => Err(PodRejection::StaleAttempt { container: name.clone(), attempt }),
    }
}

fn report_started(pod: &PodState, started: ContainerStarted) -> Answer {
    let container = find(pod, &started.container)?;
    match &container.state {
        ContainerState::Creating { attempt, .. } if *attempt == started.attempt => Ok(vec![started.into()]),
        ContainerState::Running { attempt, .. } | ContainerState::Stopping { attempt, .. }
            if attempt.number == started.attempt && attempt.process == started.process =>
        {
            Ok(vec![])
        }
        _ => Err(PodRejection::StaleAttempt { container: started.container, attempt: started.attempt }),
    }
}

fn report_exit(pod: &PodState, exited: ContainerExited) -> Answer {
    let container = find(pod, &exited.container)?;
    match container.attempt() {
        Some(running) if running.number == exited.attempt => Ok(vec![exited.into()]),
        // It has been reported before: by the worker that saw it, and again after a restart.
        _ if exited.attempt <= container.attempts
            && !matches!(container.state, ContainerState::Creating { attempt, .. } if attempt == exited.attempt) =>
        {
            Ok(vec![])
        }
        _ => Err(PodRejection::StaleAttempt { container: exited.container, attempt: exited.attempt }),
    }
}

/// What a probe's standing means for the container that it watches.
fn report_probe(
    pod: &PodState,
    container: &Container,
    probe: ProbeKind,
    success: bool,
    message: &str,
    context: &Context,
) -> Vec<PodEvent> {
    let ContainerState::Running { startup_passed, ready, .. } = &container.state else { return vec![] };
    let name = container.name.clone();
    let message = message.to_owned();
    match (probe, success) {
        (ProbeKind::Startup, true) if !startup_passed => vec![StartupPassed { container: name }.into()],
        (ProbeKind::Readiness, ready_now) if *startup_passed && ready_now != *ready => {
            vec![ReadinessChanged { container: name, ready: ready_now, message }.into()]
        }
        (ProbeKind::Startup, false) if !startup_passed => {
            fail_probe(pod, name, probe, StopReason::StartupFailed, message, context)
        }
        (ProbeKind::Liveness, false) if *startup_passed => {
            fail_probe(pod, name, probe, StopReason::LivenessFailed, message, context)
        }
        (ProbeKind::Startup | ProbeKind::Readiness | ProbeKind::Liveness, _) => vec![],
    }
}

fn fail_probe(
    pod: &PodState,
    container: ContainerName,
    probe: ProbeKind,
    reason: StopReason,
    message: String,
    context: &Context,
) -> Vec<PodEvent> {
    let spec = pod.spec.container(&container);
    let probe_spec = spec.and_then(|spec| spec.probe(probe));
    let failures = probe_spec.map_or(1, |probe| probe.failure_threshold);
    let deadline = context.now.plus_ms(u64::from(pod.spec.termination_grace_s) * 1_000);
    vec![
        ProbeFailed { container: container.clone(), probe, failures, message }.into(),
        ContainerStopRequested { container, reason, deadline }.into(),
    ]
}

/// A stop; one that gives less time than an earlier stop brings the kill forward.
fn stop(pod: &PodState, grace_s: Option<u32>, why: &StopWhy, context: &Context) -> Answer {
    let asked_s = grace_s.unwrap_or(pod.spec.termination_grace_s);
    match pod.phase {
        Phase::Pending | Phase::Provisioning | Phase::Running => {
            Ok(vec![StopRequested { grace_s: asked_s, why: why.clone() }.into()])
        }
        Phase::Stopping { .. } => Ok(sooner(pod, StopReason::PodStop, asked_s, context)),
        Phase::Stopped(_) => Ok(vec![]),
        Phase::Terminating { .. } => Err(PodRejection::BeingDeleted { id: pod.spec.id.clone() }),
        Phase::Failed(_) => Err(wrong_phase(pod, "stop")),
    }
}

/// The earlier kills of containers that are ending, if this grace ends before the one that they have.
fn sooner(pod: &PodState, reason: StopReason, grace_s: u32, context: &Context) -> Vec<PodEvent> {
    let kill_at = context.now.plus_ms(u64::from(grace_s) * 1_000);
    let ending = pod.containers.iter().filter_map(|container| match &container.state {
        ContainerState::Stopping { deadline, killed: false, .. } if kill_at < *deadline => {
            let container = container.name.clone();
            Some(ContainerStopRequested { container, reason, deadline: kill_at }.into())
        }
        _ => None,
    });
    ending.collect()
}

fn start(pod: &PodState, admission: &Admission) -> Answer {
    match pod.phase {
        Phase::Stopped(_) | Phase::Failed(_) => with_resources(StartRequested {}.into(), admission),
        Phase::Pending | Phase::Provisioning | Phase::Running => Ok(vec![]),
        Phase::Stopping { .. } => Err(wrong_phase(pod, "start")),
        Phase::Terminating { .. } => Err(PodRejection::BeingDeleted { id: pod.spec.id.clone() }),
    }
}

/// A delete; one that gives less time than an earlier stop or delete brings the kill forward.
fn delete(pod: &PodState, grace_s: Option<u32>, context: &Context) -> Vec<PodEvent> {
    let grace_s = grace_s.unwrap_or(pod.spec.termination_grace_s);
    if matches!(pod.phase, Phase::Terminating { grace_s: held, .. } if held <= grace_s) {
        return vec![];
    }
    let mut events: Vec<PodEvent> = vec![TerminationRequested { grace_s }.into()];
    events.extend(sooner(pod, StopReason::PodDelete, grace_s, context));
    events
}

fn begin_exec(pod: &PodState, exec: Uuid, container: Option<&ContainerName>, argv: &[String]) -> Answer {
    let Some((program, args)) = argv.split_first() else { return Err(PodRejection::EmptyCommand) };
    let target = match container {
        Some(name) => find(pod, name)?,
        None => only_app(pod)?,
    };
    if target.attempt().is_none() {
        let state = target.word().to_owned();
        return Err(PodRejection::NotRunning { container: target.name.clone(), state });
    }
    if EXECS_MAX <= pod.execs.len() {
        return Err(PodRejection::TooManyExecs { open: pod.execs.len() });
    }
    let requested = ExecRequested {
        exec,
        container: target.name.clone(),
        program: program
            .chars()
            .scan(0, |len, char| {
                *len += char.len_utf8();
                (*len <= PROGRAM_LEN_MAX).then_some(char)
            })
            .collect(),
        args_count: u32::try_from(args.len()).unwrap_or(u32::MAX),
        argv_sha256: argv_digest(argv),
    };
    Ok(vec![requested.into()])
}

fn only_app(pod: &PodState) -> Result<&Container, PodRejection> {
    let mut apps = pod.apps();
    match (apps.next(), apps.next()) {
        (Some(only), None) => Ok(only),
        _ => {
            let apps = pod.containers.iter().filter(|container| container.role == Role::App);
            let known: Vec<String> = apps.map(|container| format!("`{}`", container.name)).collect();
            Err(PodRejection::AmbiguousContainer { known: known.join(", ") })
        }
    }
}

fn argv_digest(argv: &[String]) -> String {
    let mut hash = Sha256::new();
    for arg in argv {
        hash.update(arg.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a failure to start counts like an exit: another try may succeed only if something is changed.
pub(crate) fn counts_as_exit(class: FailureClass) -> bool {
    match class {
        FailureClass::Invalid => true,
        FailureClass::ImageNotFound
        | FailureClass::ImagePull
        | FailureClass::Volume
        | FailureClass::Unavailable
        | FailureClass::Runtime => false,
    }
}
