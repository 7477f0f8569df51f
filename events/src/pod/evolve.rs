//! The state of a pod after an event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decide::counts_as_exit;
use super::event::{
    Admitted, ContainerCreateFailed, ContainerCreateRequested, ContainerExited, ContainerStarted,
    ContainerStopRequested, Exit, ExitReason, OutOfMemory, PodEvent, RestartScheduled, SetupCompleted,
    SetupFailed, StopReason, StopWhy,
};
use super::resize;
use super::spec::{ContainerSpec, Role};
use super::state::{Attempt, Container, ContainerState, Phase, Pod, PodState, Setup};
use crate::decider::IllegalTransition;
use crate::event::Event;
use crate::names::ContainerName;
use crate::units::Timestamp;
use crate::violation::Violations;

/// Exit code of a container that could not be started, as kubelet reports it.
const START_ERROR_CODE: u8 = 128;

/// Makes `pod` what it is after `event`; it stays what it was if the event cannot happen to it.
pub(super) fn follow(pod: &mut Pod, event: &PodEvent) -> Result<(), IllegalTransition> {
    let next = match (event, &mut *pod) {
        (PodEvent::Admitted(admitted), Pod::Unknown) => {
            admit(admitted).map(|admitted| Pod::Live(Box::new(admitted)))
        }
        (PodEvent::Terminated(gone), Pod::Live(live)) => match live.phase {
            Phase::Terminating { cleaning: true, .. } => Some(Pod::Terminated {
                id: live.spec.id.clone(),
                uid: live.uid,
                restarts: live.restarts(),
                at: gone.at,
            }),
            _ => None,
        },
        (event, Pod::Live(live)) => match apply(live, event) {
            Some(()) => return Ok(()),
            None => None,
        },
        (_, Pod::Unknown | Pod::Terminated { .. }) => None,
    };
    let illegal = || IllegalTransition::new(pod.word(), Event::from(event.clone()).layout().name);
    let next = next.ok_or_else(illegal)?;
    *pod = next;
    Ok(())
}

/// What is admitted; none if two of its containers have one name, so that nothing said of it says of which.
fn admit(admitted: &Admitted) -> Option<PodState> {
    let spec = Arc::new(admitted.spec.clone());
    let mut names = BTreeSet::new();
    spec.all_containers().all(|(_, container)| names.insert(&container.name)).then_some(())?;
    let containers = spec.all_containers().map(|(role, container)| new_container(role, container)).collect();
    Some(PodState {
        uid: admitted.uid,
        spec,
        supersedes: admitted.supersedes,
        phase: Phase::Pending,
        run: 0,
        setup: Setup::NotBegun,
        containers,
        execs: BTreeMap::new(),
        started_at: None,
        awaits_resources: false,
        stop_why: StopWhy::Asked,
        violations: Violations::default(),
        resize: None,
    })
}

fn new_container(role: Role, spec: &ContainerSpec) -> Container {
    Container {
        name: spec.name.clone(),
        role,
        state: ContainerState::Waiting,
        attempts: 0,
        restarts: 0,
        back_off_step: 0,
        up_in_run: false,
        oom_kills: 0,
        last_exit: None,
        last_run_ms: 0,
        image: None,
        garbage: BTreeSet::new(),
    }
}

/// Changes `pod` as the event says; none if the event cannot happen to it. Nothing is changed then: whatever is
/// called from here checks everything before its first change.
fn apply(pod: &mut PodState, event: &PodEvent) -> Option<()> {
    use PodEvent as E;
    match event {
        E::Admitted(_) | E::Terminated(_) => None,
        E::ProvisioningStarted(started) => provisioning(pod, started.run),
        E::SetupRequested(requested) => setup_requested(pod, requested.attempt),
        E::SetupCompleted(completed) => setup_completed(pod, completed),
        E::SetupFailed(failed) => setup_failed(pod, failed),
        E::ContainerCreateRequested(requested) => create_requested(pod, requested),
        E::ContainerStarted(started) => container_started(pod, started),
        E::ContainerCreateFailed(failed) => create_failed(pod, failed),
        E::Started(started) => (pod.phase == Phase::Provisioning).then(|| {
            pod.phase = Phase::Running;
            pod.started_at = Some(started.at);
        }),
        E::ReadinessChanged(changed) => match &mut container(pod, &changed.container)?.state {
            ContainerState::Running { ready, .. } => flip(ready, changed.ready),
            _ => None,
        },
        E::StartupPassed(passed) => startup_passed(pod, &passed.container),
        E::ProbeFailed(failed) => {
            matches!(container(pod, &failed.container)?.state, ContainerState::Running { .. }).then_some(())
        }
        E::ContainerStopRequested(requested) => stop_requested(pod, requested),
        E::ContainerKillRequested(requested) => match &mut container(pod, &requested.container)?.state {
            ContainerState::Stopping { killed, .. } => flip(killed, true),
            _ => None,
        },
        E::ContainerExited(exited) => container_exited(pod, exited),
        E::ContainerRemoved(removed) => {
            container(pod, &removed.container)?.garbage.remove(&removed.attempt).then_some(())
        }
        E::RestartScheduled(scheduled) => restart_scheduled(pod, scheduled),
        E::OutOfMemory(oom) => out_of_memory(pod, oom),
        E::StopRequested(requested) => pod.is_wanted().then(|| {
            pod.phase = Phase::Stopping { grace_s: requested.grace_s };
            pod.awaits_resources = false;
            pod.stop_why = requested.why.clone();
        }),
        E::Stopped(stopped) => rest(pod, Phase::Stopped(stopped.cause)),
        E::Failed(failed) => {
            // A container that waits for its turn has none any more.
            pod.is_wanted().then_some(())?;
            rest(pod, Phase::Failed(failed.reason.clone()))
        }
        E::StartRequested(_) => matches!(pod.phase, Phase::Stopped(_) | Phase::Failed(_)).then(|| {
            pod.phase = Phase::Pending;
            pod.stop_why = StopWhy::Asked;
        }),
        E::TerminationRequested(requested) => {
            let cleaning = matches!(pod.phase, Phase::Terminating { cleaning: true, .. });
            pod.phase = Phase::Terminating { grace_s: requested.grace_s, cleaning };
            pod.awaits_resources = false;
            Some(())
        }
        E::CleanupRequested(_) => match &mut pod.phase {
            Phase::Terminating { cleaning, .. } => flip(cleaning, true),
            _ => None,
        },
        E::ExecRequested(requested) => {
            let is_new = !pod.execs.contains_key(&requested.exec);
            is_new.then(|| drop(pod.execs.insert(requested.exec, requested.container.clone())))
        }
        E::ExecFinished(finished) => pod.execs.remove(&finished.exec).map(drop),
        E::Violation(event) => pod.violations.follow(event),
        E::ResourcesAwaited(_) => {
            (pod.phase == Phase::Pending).then_some(())?;
            flip(&mut pod.awaits_resources, true)
        }
        E::ResourcesGranted(_) => flip(&mut pod.awaits_resources, false),
        E::ResizeRequested(_) | E::Resized(_) | E::ResizeFailed(_) => resize::follow(pod, event),
    }
}

fn out_of_memory(pod: &mut PodState, oom: &OutOfMemory) -> Option<()> {
    let container = container(pod, &oom.container)?;
    let is_running = container.attempt().is_some_and(|attempt| attempt.number == oom.attempt);
    (is_running || container.garbage.contains(&oom.attempt)).then(|| container.oom_kills += 1)
}

fn container<'pod>(pod: &'pod mut PodState, name: &ContainerName) -> Option<&'pod mut Container> {
    pod.containers.iter_mut().find(|container| container.name == *name)
}

/// Begins a run: every container from the start, its history kept.
fn provisioning(pod: &mut PodState, run: u32) -> Option<()> {
    (pod.phase == Phase::Pending && !pod.awaits_resources && run == pod.run + 1).then_some(())?;
    pod.phase = Phase::Provisioning;
    pod.run = run;
    pod.setup = Setup::NotBegun;
    pod.started_at = None;
    for container in &mut pod.containers {
        container.state = ContainerState::Waiting;
        container.back_off_step = 0;
        container.up_in_run = false;
    }
    Some(())
}

/// Sets a flag that must not be so already.
fn flip(flag: &mut bool, to: bool) -> Option<()> {
    let before = std::mem::replace(flag, to);
    (before != to).then_some(())
}

fn setup_requested(pod: &mut PodState, attempt: u32) -> Option<()> {
    let fits = match pod.setup {
        Setup::NotBegun => attempt == 1,
        Setup::Failed { attempt: failed, .. } => attempt == failed + 1,
        Setup::Requested { .. } | Setup::Done => false,
    };
    (fits && pod.is_wanted()).then(|| pod.setup = Setup::Requested { attempt })
}

fn setup_completed(pod: &mut PodState, completed: &SetupCompleted) -> Option<()> {
    let known = completed.images.iter().all(|image| pod.container(&image.container).is_some());
    (known && matches!(pod.setup, Setup::Requested { .. })).then_some(())?;
    for image in &completed.images {
        container(pod, &image.container)?.image = Some(image.clone());
    }
    pod.setup = Setup::Done;
    Some(())
}

fn setup_failed(pod: &mut PodState, failed: &SetupFailed) -> Option<()> {
    match pod.setup {
        Setup::Requested { attempt } if attempt == failed.attempt => {
            let (attempt, class, retry_at) = (failed.attempt, failed.class, failed.retry_at);
            pod.setup = Setup::Failed { attempt, class, message: failed.message.clone(), retry_at };
            Some(())
        }
        _ => None,
    }
}

fn create_requested(pod: &mut PodState, requested: &ContainerCreateRequested) -> Option<()> {
    (pod.setup == Setup::Done && pod.is_wanted()).then_some(())?;
    let container = container(pod, &requested.container)?;
    let may = matches!(container.state, ContainerState::Waiting | ContainerState::BackOff { .. });
    (may && requested.attempt == container.attempts + 1).then_some(())?;
    container.restarts += u32::from(matches!(container.state, ContainerState::BackOff { restart: true, .. }));
    container.attempts = requested.attempt;
    container.state = ContainerState::Creating { attempt: requested.attempt, worker: requested.worker };
    Some(())
}

fn container_started(pod: &mut PodState, started: &ContainerStarted) -> Option<()> {
    let spec = pod.spec.clone();
    let spec = spec.container(&started.container)?;
    let container = container(pod, &started.container)?;
    let ContainerState::Creating { attempt, worker } = container.state else { return None };
    (attempt == started.attempt).then_some(())?;
    let startup_passed = spec.startup.is_none();
    container.state = ContainerState::Running {
        attempt: Attempt {
            number: attempt,
            worker,
            process: started.process,
            started_at: started.started_at,
        },
        startup_passed,
        ready: startup_passed && spec.readiness.is_none(),
    };
    container.up_in_run = true;
    Some(())
}

fn create_failed(pod: &mut PodState, failed: &ContainerCreateFailed) -> Option<()> {
    let container = container(pod, &failed.container)?;
    match container.state {
        ContainerState::Creating { attempt, .. } if attempt == failed.attempt => {}
        _ => return None,
    }
    container.garbage.insert(failed.attempt);
    container.last_run_ms = 0;
    container.state = if counts_as_exit(failed.class) {
        let exit = start_error(failed.at);
        container.last_exit = Some(exit.clone());
        ContainerState::Exited { exit, by_probe: false }
    } else {
        ContainerState::CreateFailed { class: failed.class, message: failed.message.clone() }
    };
    Some(())
}

/// The exit of a container that could not be started.
pub(crate) fn start_error(at: Timestamp) -> Exit {
    Exit { code: START_ERROR_CODE, reason: ExitReason::StartError, finished_at: at }
}

fn startup_passed(pod: &mut PodState, name: &ContainerName) -> Option<()> {
    let spec = pod.spec.clone();
    let has_readiness = spec.container(name)?.readiness.is_some();
    match &mut container(pod, name)?.state {
        ContainerState::Running { startup_passed, ready, .. } if !*startup_passed => {
            *startup_passed = true;
            *ready = !has_readiness;
            Some(())
        }
        _ => None,
    }
}

fn stop_requested(pod: &mut PodState, requested: &ContainerStopRequested) -> Option<()> {
    let container = container(pod, &requested.container)?;
    let (attempt, killed) = match &container.state {
        ContainerState::Running { attempt, .. } => (attempt.clone(), false),
        ContainerState::Stopping { attempt, killed, deadline, .. } if requested.deadline < *deadline => {
            (attempt.clone(), *killed)
        }
        _ => return None,
    };
    container.state =
        ContainerState::Stopping { attempt, reason: requested.reason, deadline: requested.deadline, killed };
    Some(())
}

fn container_exited(pod: &mut PodState, exited: &ContainerExited) -> Option<()> {
    let container = container(pod, &exited.container)?;
    let attempt = container.attempt()?;
    (attempt.number == exited.attempt).then_some(())?;
    container.last_run_ms = exited.exit.finished_at.ms_since(attempt.started_at);
    let by_probe = matches!(
        container.state,
        ContainerState::Stopping { reason: StopReason::LivenessFailed | StopReason::StartupFailed, .. }
    );
    container.last_exit = Some(exited.exit.clone());
    container.garbage.insert(exited.attempt);
    container.state = ContainerState::Exited { exit: exited.exit.clone(), by_probe };
    Some(())
}

fn restart_scheduled(pod: &mut PodState, scheduled: &RestartScheduled) -> Option<()> {
    pod.is_wanted().then_some(())?;
    let container = container(pod, &scheduled.container)?;
    let (why, restart) = match &container.state {
        ContainerState::Exited { exit, .. } => {
            (format!("ended with code {} ({:?})", exit.code, exit.reason), true)
        }
        ContainerState::CreateFailed { class, message } => (format!("{}: {message}", class.word()), false),
        _ => return None,
    };
    container.back_off_step = scheduled.step;
    container.state = ContainerState::BackOff { until: scheduled.until, why, restart };
    Some(())
}

/// Comes to rest in `phase`: only when nothing runs.
fn rest(pod: &mut PodState, phase: Phase) -> Option<()> {
    let at_rest = pod.containers.iter().all(Container::is_down);
    let may = pod.is_wanted() || matches!(pod.phase, Phase::Stopping { .. });
    (at_rest && may).then(|| pod.phase = phase)
}
