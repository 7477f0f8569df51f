//! The commands behind the records of pods.

use std::collections::BTreeMap;

use purser_events::pod::event::{ContainerStopRequested, StopReason, StopWhy};
use purser_events::pod::spec::ProbeKind;
use purser_events::pod::state::Setup;
use purser_events::pod::{Pod, PodCommand, PodEvent, PodState, ResizeWish, SizeChange};
use purser_events::{ContainerName, Event};

use super::{About, Redecided};
use purser_events::ledger::Admission;

const SECOND_US: i64 = 1_000_000;

impl Redecided for Pod {
    fn commands(&self, events: &[PodEvent], about: About) -> Vec<PodCommand> {
        let Some(first) = events.first() else { return Vec::new() };
        if let PodEvent::ContainerStopRequested(asked) = first {
            return brought_forward(asked, about);
        }
        if let PodEvent::Violation(_) = first {
            // It follows from samples, which are not on record.
            return Vec::new();
        }
        // What no command leads to directly follows once a time comes that the pod waits for.
        let asked = begun(first, events).or_else(|| reported(self, first)).or_else(|| asked_for(first));
        vec![asked.unwrap_or(PodCommand::CheckTime)]
    }

    fn take_over(decided: &mut PodEvent, recorded: &PodEvent) {
        if let (PodEvent::ExecRequested(decided), PodEvent::ExecRequested(recorded)) = (decided, recorded) {
            // The arguments themselves are not on record.
            decided.argv_sha256.clone_from(&recorded.argv_sha256);
        }
    }

    fn of(event: &Event) -> Option<&PodEvent> {
        match event {
            Event::Pod(event) => Some(event),
            _ => None,
        }
    }
}

/// A run that begins, with what the ledger had said.
fn begun(first: &PodEvent, events: &[PodEvent]) -> Option<PodCommand> {
    let admission = match events.get(1) {
        Some(PodEvent::ResourcesAwaited(_)) => Admission::Waiting,
        Some(_) | None => Admission::Granted,
    };
    match first {
        PodEvent::Admitted(admitted) => Some(PodCommand::Admit {
            uid: admitted.uid,
            spec: Box::new(admitted.spec.clone()),
            supersedes: admitted.supersedes,
            admission,
        }),
        PodEvent::StartRequested(_) => Some(PodCommand::Start { admission }),
        _ => None,
    }
}

/// Something that was seen.
fn reported(pod: &Pod, first: &PodEvent) -> Option<PodCommand> {
    use PodCommand as C;
    use PodEvent as E;
    let live = pod.live();
    let setup = || match live?.setup {
        Setup::Requested { attempt } => Some((live?.run, attempt)),
        _ => None,
    };
    let probed = |container: &ContainerName, probe, success, message: &str| {
        let attempt = live?.container(container)?.attempt()?.number;
        let (container, message) = (container.clone(), message.to_owned());
        Some(C::ReportProbe { container, attempt, probe, success, message })
    };
    Some(match first {
        E::SetupCompleted(it) => {
            let (run, attempt) = setup()?;
            C::CompleteSetup { run, attempt, images: it.images.clone() }
        }
        E::SetupFailed(it) => {
            let (run, message) = (live?.run, it.message.clone());
            C::FailSetup { run, attempt: it.attempt, class: it.class, message }
        }
        E::ContainerStarted(it) => C::ReportStarted {
            container: it.container.clone(),
            attempt: it.attempt,
            process: it.process,
            started_at: it.started_at,
        },
        E::ContainerCreateFailed(it) => C::ReportCreateFailed {
            container: it.container.clone(),
            attempt: it.attempt,
            class: it.class,
            message: it.message.clone(),
        },
        E::ContainerExited(it) => {
            C::ReportExit { container: it.container.clone(), attempt: it.attempt, exit: it.exit.clone() }
        }
        E::ContainerRemoved(it) => C::ReportRemoved { container: it.container.clone(), attempt: it.attempt },
        E::OutOfMemory(it) => C::ReportOutOfMemory { container: it.container.clone(), attempt: it.attempt },
        E::StartupPassed(it) => return probed(&it.container, ProbeKind::Startup, true, ""),
        E::ReadinessChanged(it) => return probed(&it.container, ProbeKind::Readiness, it.ready, &it.message),
        E::ProbeFailed(it) => return probed(&it.container, it.probe, false, &it.message),
        E::ExecFinished(it) => C::FinishExec { exec: it.exec, outcome: it.outcome.clone() },
        E::Terminated(_) => C::CompleteCleanup,
        E::ResourcesGranted(_) => C::GrantResources,
        // Whatever runs was told, or it would not have been decided.
        E::Resized(it) => C::CompleteResize { generation: it.generation, told: running(live?) },
        E::ResizeFailed(it) => C::FailResize { failed: it.clone(), told: running(live?) },
        _ => return None,
    })
}

/// The tries of containers that run.
fn running(pod: &PodState) -> BTreeMap<ContainerName, u32> {
    let running = pod.containers.iter();
    running.filter_map(|it| Some((it.name.clone(), it.attempt()?.number))).collect()
}

/// Something that was asked for.
fn asked_for(first: &PodEvent) -> Option<PodCommand> {
    use PodCommand as C;
    Some(match first {
        PodEvent::StopRequested(it) => C::Stop { grace_s: Some(it.grace_s), why: it.why.clone() },
        PodEvent::ResizeRequested(it) => C::Resize(Box::new(ResizeWish {
            changes: it.to.iter().cloned().map(SizeChange::from).collect(),
            tier: it.tier.clone(),
            admission: Admission::Granted,
            used: BTreeMap::new(),
            obstacle: None,
        })),
        PodEvent::TerminationRequested(it) => C::Delete { grace_s: Some(it.grace_s) },
        PodEvent::ExecRequested(it) => {
            let args = usize::try_from(it.args_count).unwrap_or(usize::MAX).min(1 << 16);
            let argv = std::iter::once(it.program.clone()).chain(std::iter::repeat_n(String::new(), args));
            C::BeginExec { exec: it.exec, container: Some(it.container.clone()), argv: argv.collect() }
        }
        _ => return None,
    })
}

/// A kill that comes sooner than an earlier stop had said; the seconds are those that were left, which are whole.
fn brought_forward(asked: &ContainerStopRequested, about: About) -> Vec<PodCommand> {
    let left_us = asked.deadline.0.saturating_sub(about.time.0);
    let grace = |seconds: i64| {
        let grace_s = u32::try_from(seconds).ok()?;
        Some(PodCommand::Stop { grace_s: Some(grace_s), why: StopWhy::Asked })
    };
    let (down, up) = (left_us.div_euclid(SECOND_US), left_us.div_euclid(SECOND_US) + 1);
    let stops = match asked.reason {
        StopReason::PodStop => grace(up).into_iter().chain(grace(down)).collect(),
        _ => Vec::new(),
    };
    stops.into_iter().chain([PodCommand::CheckTime]).collect()
}
