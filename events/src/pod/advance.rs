//! What a pod does next by itself, in the same decision as what led to it: so that no crash can come between.

use super::event::{
    CleanupRequested, ContainerCreateRequested, ContainerKillRequested, ContainerStopRequested, ExecFinished,
    ExecOutcome, Failed, FailureReason, PodEvent, ProvisioningStarted, RestartScheduled, SetupRequested,
    Started, StopCause, StopReason, Stopped,
};
use super::resize;
use super::state::{Container, ContainerState, Phase, Pod, PodState, Setup};
use uuid::Uuid;

use crate::context::Context;
use crate::decider::Decider;
use crate::ids::WorkerUid;

/// Most events that one decision may add by itself, besides those of each container and of each command that runs in the
/// pod: far more than any pod can need.
const STEPS_MAX: usize = 1_024;
/// Most that it may add for each container.
const CONTAINER_STEPS_MAX: usize = 16;

/// The events of an answer and all that follow from them now.
pub(super) fn complete(pod: &Pod, mut events: Vec<PodEvent>, context: &Context) -> Vec<PodEvent> {
    let evolved = |pod: Pod, event: &PodEvent| {
        pod.evolve(event).expect("a decider only emits events that its state can follow")
    };
    let mut next = events.iter().fold(pod.clone(), evolved);
    for _ in 0..steps_max(&next) {
        let Some(event) = next.live().and_then(|pod| step(pod, context)) else { return events };
        for event in with_violations(&next, event, context) {
            next = evolved(next, &event);
            events.push(event);
        }
    }
    unreachable!("a pod does a bounded number of things by itself")
}

/// How many events a pod can add by itself. A journal from elsewhere has pods with any number of containers.
fn steps_max(pod: &Pod) -> usize {
    let of = |pod: &PodState| pod.execs.len() + pod.containers.len() * CONTAINER_STEPS_MAX;
    STEPS_MAX + pod.live().map_or(0, of)
}

/// An event, and before it the ends of what ends with it: once nothing of the pod runs it violates nothing.
fn with_violations(pod: &Pod, event: PodEvent, context: &Context) -> Vec<PodEvent> {
    let ends = matches!(event, PodEvent::Stopped(_) | PodEvent::Failed(_) | PodEvent::CleanupRequested(_));
    let violations = pod.live().filter(|_| ends).map(|pod| &pod.violations);
    let over = violations.map(|known| known.end("nothing of the pod runs any more", context.now));
    over.into_iter().flatten().map(PodEvent::from).chain([event]).collect()
}

/// The next event, if one is due now.
fn step(pod: &PodState, context: &Context) -> Option<PodEvent> {
    if let Some(kill) = overdue(pod, context) {
        return Some(kill);
    }
    if let Some(resized) = resize::step(pod) {
        return Some(resized.into());
    }
    match &pod.phase {
        Phase::Pending if pod.awaits_resources => None,
        Phase::Pending => Some(ProvisioningStarted { run: pod.run + 1 }.into()),
        Phase::Provisioning | Phase::Running => match &pod.setup {
            Setup::NotBegun => Some(SetupRequested { attempt: 1 }.into()),
            Setup::Failed { attempt, retry_at, .. } if *retry_at <= context.now => {
                Some(SetupRequested { attempt: attempt + 1 }.into())
            }
            Setup::Failed { .. } | Setup::Requested { .. } => None,
            Setup::Done => towards_running(pod, context),
        },
        Phase::Stopping { grace_s } => {
            stop_request(pod, StopReason::PodStop, *grace_s, context).or_else(|| {
                let stopped = Stopped { cause: StopCause::Requested, at: context.now };
                pod.containers.iter().all(Container::is_down).then(|| stopped.into())
            })
        }
        Phase::Terminating { grace_s, cleaning } => {
            stop_request(pod, StopReason::PodDelete, *grace_s, context).or_else(|| {
                let still = matches!(pod.setup, Setup::Requested { .. })
                    || pod
                        .containers
                        .iter()
                        .any(|container| !container.is_down() || !container.garbage.is_empty());
                // Nothing can be running them any more: whoever still reports an end comes too late.
                let open = pod.execs.keys().next().filter(|_| !still && !cleaning);
                let unseen = |exec: &Uuid| ExecFinished { exec: *exec, outcome: ExecOutcome::Unknown }.into();
                open.map(unseen).or_else(|| (!still && !cleaning).then(|| CleanupRequested {}.into()))
            })
        }
        Phase::Stopped(_) | Phase::Failed(_) => None,
    }
}

/// The kill of a container that did not end in time.
fn overdue(pod: &PodState, context: &Context) -> Option<PodEvent> {
    pod.containers.iter().find_map(|container| match &container.state {
        ContainerState::Stopping { deadline, killed: false, .. } if *deadline <= context.now => {
            Some(ContainerKillRequested { container: container.name.clone() }.into())
        }
        _ => None,
    })
}

/// The request to end of a container that still runs though the pod is not to.
fn stop_request(pod: &PodState, reason: StopReason, grace_s: u32, context: &Context) -> Option<PodEvent> {
    let running = |container: &&Container| matches!(container.state, ContainerState::Running { .. });
    let container = pod.containers.iter().find(running)?;
    let deadline = context.now.plus_ms(u64::from(grace_s) * 1_000);
    Some(ContainerStopRequested { container: container.name.clone(), reason, deadline }.into())
}

/// What brings a pod whose setup is done nearer to running, or to its end.
fn towards_running(pod: &PodState, context: &Context) -> Option<PodEvent> {
    for init in pod.inits() {
        match &init.state {
            ContainerState::Exited { exit, by_probe }
                if pod.restarts_after(exit, *by_probe) && exit.code != 0 =>
            {
                return restart(init, context);
            }
            ContainerState::Exited { exit, .. } if exit.code != 0 => {
                let reason = FailureReason::InitContainer { container: init.name.clone(), code: exit.code };
                return Some(Failed { reason, at: context.now }.into());
            }
            ContainerState::Exited { .. } => {}
            _ => return bring_up(pod, init, context),
        }
    }
    let restart_due = pod.apps().find_map(|app| match &app.state {
        ContainerState::Exited { exit, by_probe } if pod.restarts_after(exit, *by_probe) => {
            restart(app, context)
        }
        ContainerState::Exited { .. } => None,
        _ => bring_up(pod, app, context),
    });
    restart_due.or_else(|| settled(pod, context))
}

/// Creates a container whose turn it is, or schedules its next try if it could not be created.
fn bring_up(pod: &PodState, container: &Container, context: &Context) -> Option<PodEvent> {
    match &container.state {
        ContainerState::Waiting => Some(create(pod, container)),
        ContainerState::BackOff { until, .. } if *until <= context.now => Some(create(pod, container)),
        ContainerState::CreateFailed { .. } => {
            let wait_ms = context.policy.back_off.retry_wait_ms(container.back_off_step);
            Some(schedule(container, wait_ms, container.back_off_step, context))
        }
        ContainerState::BackOff { .. }
        | ContainerState::Creating { .. }
        | ContainerState::Running { .. }
        | ContainerState::Stopping { .. }
        | ContainerState::Exited { .. } => None,
    }
}

fn create(pod: &PodState, container: &Container) -> PodEvent {
    let attempt = container.attempts + 1;
    let worker = WorkerUid::of(pod.uid, &container.name, attempt);
    ContainerCreateRequested { container: container.name.clone(), attempt, worker }.into()
}

/// Schedules the restart of a container that ended; one that ran long enough begins its waits anew.
fn restart(container: &Container, context: &Context) -> Option<PodEvent> {
    let policy = &context.policy.back_off;
    let step = if policy.reset_after_ms <= container.last_run_ms { 0 } else { container.back_off_step };
    Some(schedule(container, policy.restart_wait_ms(step), step, context))
}

fn schedule(container: &Container, wait_ms: u64, step: u32, context: &Context) -> PodEvent {
    let until = context.now.plus_ms(wait_ms);
    RestartScheduled { container: container.name.clone(), until, step: step.saturating_add(1) }.into()
}

/// The pod's own transition once no container has anything to do.
fn settled(pod: &PodState, context: &Context) -> Option<PodEvent> {
    let at = context.now;
    if pod.phase == Phase::Provisioning && pod.apps().all(|app| app.up_in_run) {
        return Some(Started { at }.into());
    }
    let exits: Option<Vec<_>> = pod
        .apps()
        .map(|app| match &app.state {
            ContainerState::Exited { exit, .. } => Some((app, exit)),
            _ => None,
        })
        .collect();
    let failed = exits?.into_iter().find(|(_, exit)| exit.code != 0);
    Some(match failed {
        None => Stopped { cause: StopCause::Completed, at }.into(),
        Some((app, exit)) => {
            let reason =
                FailureReason::Container { container: app.name.clone(), code: exit.code, exit: exit.reason };
            Failed { reason, at }.into()
        }
    })
}
