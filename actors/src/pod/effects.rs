//! What a pod does outside: each effect is begun by an event on disk and ended by a command that reports it.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{Actor, AsyncContext, Context};
use purser_events::pod::event::{Exit, ExitReason, FailureClass};
use purser_events::pod::{ContainerState, PodCommand, PodState, Setup, expansion};
use purser_events::worker::event::Registered;
use purser_events::{Cause, ContainerName, PodUid, Seq};

use super::granted::Granted;
use super::{PodActor, report};
use crate::port::{
    Clock, ContainerKey, ContainerPlan, Containers, PodPlan, RuntimeError, Signal, Standing, StartedContainer,
};
use crate::worker::WorkerActor;

/// The first wait before an effect that must succeed is tried again, in milliseconds; it doubles.
const RETRY_FIRST_MS: u64 = 500;
/// The longest such wait, in milliseconds.
const RETRY_MAX_MS: u64 = 30_000;
/// How long setup may take before it counts as failed: a large image over a slow line.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30 * 60);

impl PodActor {
    /// Fetches images and makes volumes. Idempotent.
    pub(super) fn begin_setup(&mut self, attempt: u32, seq: Seq, ctx: &mut Context<PodActor>) {
        let Some(pod) = self.live() else { return };
        let granted = self.shell.live.read(|world| world.ledger.grant(self.uid).cloned());
        let gpus = granted.into_iter().flat_map(|grant| grant.gpus).map(|gpu| gpu.uuid).collect();
        let (run, plan) = (pod.run, PodPlan { uid: self.uid, spec: pod.spec.clone(), gpus });
        let (runtime, addr, by) = (self.runtime.clone(), ctx.address(), self.by(Cause::Observation(seq)));
        let task = tokio::task::spawn_local(async move {
            let setup = tokio::time::timeout(SETUP_TIMEOUT, runtime.set_up(&plan)).await;
            let command = match setup {
                Ok(Ok(images)) => PodCommand::CompleteSetup { run, attempt, images },
                Ok(Err(RuntimeError { class, message })) => {
                    PodCommand::FailSetup { run, attempt, class, message }
                }
                Err(_) => {
                    let message = format!("setup took longer than {} minutes", SETUP_TIMEOUT.as_secs() / 60);
                    PodCommand::FailSetup { run, attempt, class: FailureClass::Unavailable, message }
                }
            };
            report(&addr, command, by).await;
        });
        self.setup = Some(task.abort_handle());
    }

    /// Gives up a setup that is under way: the pod is not to run any more.
    pub(super) fn abandon_setup(&mut self, seq: Seq, ctx: &mut Context<PodActor>) {
        if let Some(task) = self.setup.take() {
            task.abort();
        }
        let Some(pod) = self.live() else { return };
        let Setup::Requested { attempt } = pod.setup else { return };
        let (class, message) = (FailureClass::Unavailable, "given up: the pod is to stop".to_owned());
        let command = PodCommand::FailSetup { run: pod.run, attempt, class, message };
        self.tell(command, self.by(Cause::Record(seq)), ctx);
    }

    /// Creates a container and starts it.
    pub(super) fn begin_start(
        &mut self,
        container: &ContainerName,
        attempt: u32,
        seq: Seq,
        ctx: &mut Context<PodActor>,
    ) {
        let Some(plan) = self.plan(container, attempt) else { return };
        let (runtime, addr, by) = (self.runtime.clone(), ctx.address(), self.by(Cause::Observation(seq)));
        actix::spawn(async move {
            let outcome = runtime.start(&plan).await;
            report(&addr, start_report(&plan.key, outcome), by).await;
        });
    }

    /// Finds out what became of a start that an earlier process of the node had begun, and finishes it.
    pub(super) fn resume_start(
        &mut self,
        container: &ContainerName,
        attempt: u32,
        seq: Seq,
        ctx: &mut Context<PodActor>,
    ) {
        let Some(plan) = self.plan(container, attempt) else { return };
        let wanted = self.live().is_some_and(PodState::is_wanted);
        let (runtime, addr, by) = (self.runtime.clone(), ctx.address(), self.by(Cause::Observation(seq)));
        let clock = self.shell.clock.clone();
        actix::spawn(async move {
            let standing = until_done(&*clock, "inspect", &plan.key, || runtime.inspect(&plan.key)).await;
            let outcome = match standing {
                Standing::Running(started) | Standing::Exited { started: Some(started), .. } => Ok(started),
                Standing::Absent | Standing::Created | Standing::Exited { started: None, .. } => {
                    // Whatever the earlier try left is not known to run: away with it, and once more.
                    until_done(&*clock, "remove", &plan.key, || runtime.remove(&plan.key)).await;
                    if wanted {
                        runtime.start(&plan).await
                    } else {
                        let message = "given up: the pod is to stop";
                        Err(RuntimeError::new(FailureClass::Unavailable, message))
                    }
                }
            };
            report(&addr, start_report(&plan.key, outcome), by).await;
        });
    }

    fn plan(&self, container: &ContainerName, attempt: u32) -> Option<ContainerPlan> {
        let pod = self.live()?;
        let spec = pod.spec.container(container)?.clone();
        let mut resolved = expansion::resolve(&spec);
        let Granted { env, cpus, gpus, slice, visible } =
            self.shell.live.read(|world| Granted::of(&world.ledger, self.uid, &pod.spec, container));
        // What the manifest sets under such a name is what its author wants.
        let is_set = |name: &str| resolved.env.iter().any(|(set, _)| set == name);
        let env: Vec<_> = env.into_iter().filter(|(name, _)| !is_set(name)).collect();
        resolved.env.splice(0..0, env);
        // Which GPUs are its own is not for the manifest to say.
        resolved.env.retain(|(name, _)| !visible.iter().any(|(set, _)| set == name));
        resolved.env.extend(visible);
        Some(ContainerPlan {
            key: self.key(container, attempt),
            pod: pod.spec.clone(),
            env: resolved.env,
            command: resolved.command,
            args: resolved.args,
            image: pod.container(container).and_then(|container| container.image.clone()),
            cpus,
            gpus,
            gpu_slice: slice,
            spec,
        })
    }

    /// Gives a container that runs its worker, which watches it and says when it ends.
    pub(super) fn watch(&mut self, container: &ContainerName, ctx: &mut Context<PodActor>) {
        let Some(attempt) = self.live().and_then(|pod| pod.container(container)).and_then(|it| it.attempt())
        else {
            return;
        };
        let worker = Registered {
            pod: self.uid,
            container: container.clone(),
            attempt: attempt.number,
            process: attempt.process,
        };
        let (uid, by) = (attempt.worker, self.by(Cause::Record(self.entity.last)));
        let (runtime, shell) = (self.runtime.clone(), self.shell.clone());
        let actor = WorkerActor::new(uid, worker, by, runtime, shell, ctx.address());
        self.workers.insert(container.clone(), actor.start());
    }

    /// Signals a container that is to end: a request first, a kill once its time is up.
    pub(super) fn begin_ending(&mut self, container: &ContainerName) {
        let state = self.live().and_then(|pod| pod.container(container)).map(|container| &container.state);
        let Some(ContainerState::Stopping { attempt, killed, .. }) = state else { return };
        let signal = if *killed { Signal::Kill } else { Signal::Terminate };
        let number = attempt.number;
        // Once is enough: many programs take a second SIGTERM for more than the first.
        if !killed && self.asked_to_end.insert(container.clone(), number) == Some(number) {
            return;
        }
        let (key, runtime, clock) =
            (self.key(container, number), self.runtime.clone(), self.shell.clock.clone());
        actix::spawn(async move {
            until_done(&*clock, "signal", &key, || runtime.signal(&key, signal)).await;
        });
    }

    /// Removes what the runtime holds of a try that is over.
    pub(super) fn begin_removal(
        &self,
        container: &ContainerName,
        attempt: u32,
        seq: Seq,
        ctx: &mut Context<PodActor>,
    ) {
        let (key, runtime, clock) =
            (self.key(container, attempt), self.runtime.clone(), self.shell.clock.clone());
        let (addr, by) = (ctx.address(), self.by(Cause::Observation(seq)));
        actix::spawn(async move {
            until_done(&*clock, "remove", &key, || runtime.remove(&key)).await;
            let ContainerKey { container, attempt, .. } = key;
            report(&addr, PodCommand::ReportRemoved { container, attempt }, by).await;
        });
    }

    /// Removes the pod's volumes, logs and folders.
    pub(super) fn begin_cleanup(&self, seq: Seq, ctx: &mut Context<PodActor>) {
        let (uid, runtime, clock): (PodUid, Arc<dyn Containers>, _) =
            (self.uid, self.runtime.clone(), self.shell.clock.clone());
        let (addr, by) = (ctx.address(), self.by(Cause::Observation(seq)));
        actix::spawn(async move {
            until_done(&*clock, "clean up", &uid, || runtime.clean_up(uid)).await;
            report(&addr, PodCommand::CompleteCleanup, by).await;
        });
    }
}

fn start_report(key: &ContainerKey, outcome: Result<StartedContainer, RuntimeError>) -> PodCommand {
    let (container, attempt) = (key.container.clone(), key.attempt);
    match outcome {
        Ok(StartedContainer { process, started_at }) => {
            PodCommand::ReportStarted { container, attempt, process, started_at }
        }
        Err(RuntimeError { class, message }) => {
            PodCommand::ReportCreateFailed { container, attempt, class, message }
        }
    }
}

/// Repeats an idempotent effect until it succeeds: what has to be undone must not be forgotten.
pub(crate) async fn until_done<T, F>(
    clock: &dyn Clock,
    what: &str,
    subject: &dyn std::fmt::Display,
    effect: impl Fn() -> F,
) -> T
where
    F: Future<Output = Result<T, RuntimeError>>,
{
    let mut wait_ms = RETRY_FIRST_MS;
    loop {
        match effect().await {
            Ok(value) => return value,
            Err(error) => {
                tracing::warn!(%subject, %error, retry_in_ms = wait_ms, "failed to {what}");
                clock.sleep(Duration::from_millis(wait_ms)).await;
                wait_ms = (wait_ms * 2).min(RETRY_MAX_MS);
            }
        }
    }
}

/// The exit of a container of which nobody saw the end.
pub(crate) fn lost(clock: &dyn Clock) -> Exit {
    Exit { code: 137, reason: ExitReason::Lost, finished_at: clock.now() }
}
