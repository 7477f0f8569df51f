//! The actor of one pod incarnation: the only writer of its stream, and the only one to act on it.

mod begin;
pub(crate) mod effects;
mod exec;
mod granted;
mod probing;
mod resize;

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, AtomicResponse, Context, Handler, Message,
    WrapFuture,
};
use purser_events::pod::event::ContainerStarted;
use purser_events::pod::{ContainerState, Phase, Pod, PodCommand, PodEvent, PodRejection, PodState, Setup};
use purser_events::{Cause, ContainerName, Decider, PodId, PodUid, Seq, StreamVersion};
use tokio::task::{AbortHandle, JoinHandle};
use uuid::Uuid;

pub(crate) use begin::Agree;
pub use begin::{Begin, Beginning};
pub use exec::Exec;
pub use resize::ResizePod;

use crate::alarm::Alarm;
use crate::directory::{Directory, Forget};
use crate::entity::{By, Committed, Done, Entity, Execute, Refusal};
use crate::ledger::LedgerActor;
use crate::mailbox;
use crate::monitor::tell;
use crate::port::{ContainerKey, Containers};
use crate::shell::Shell;
use crate::worker::WorkerActor;

type Outcome = Result<Done, Refusal<PodRejection>>;

/// Owns one pod.
pub struct PodActor {
    uid: PodUid,
    id: PodId,
    entity: Entity<Pod>,
    shell: Arc<Shell>,
    runtime: Arc<dyn Containers>,
    directory: Addr<Directory>,
    ledger: Addr<LedgerActor>,
    workers: BTreeMap<ContainerName, Addr<WorkerActor>>,
    probes: BTreeMap<ContainerName, Vec<AbortHandle>>,
    setup: Option<AbortHandle>,
    /// A change of limits that is being carried out.
    resizing: Option<AbortHandle>,
    /// Tries that this actor has asked to end.
    asked_to_end: BTreeMap<ContainerName, u32>,
    alarm: Alarm,
    execs: BTreeMap<Uuid, exec::Waiting>,
    /// What the ledger is being told.
    told_ledger: Option<JoinHandle<()>>,
    retired: bool,
}

/// Asks a pod that may never have come to be to make way for another of its name.
pub struct Retire;

impl Message for Retire {
    /// Whether it does: from then on it carries out nothing.
    type Result = bool;
}

/// Asks for a pod as its actor has it.
pub struct Inspect;

impl Message for Inspect {
    type Result = Inspected;
}

/// A pod as its actor has it.
pub struct Inspected {
    /// Its incarnation.
    pub uid: PodUid,
    /// Version of the last record that the actor has accepted.
    pub version: StreamVersion,
    /// Its state.
    pub pod: Pod,
}

impl PodActor {
    /// An actor for the pod `entity`, called `id`, run by `runtime`, whose resources are `ledger`'s.
    #[must_use]
    pub fn new(
        id: PodId,
        entity: Entity<Pod>,
        runtime: Arc<dyn Containers>,
        shell: Arc<Shell>,
        directory: Addr<Directory>,
        ledger: Addr<LedgerActor>,
    ) -> PodActor {
        PodActor {
            uid: PodUid(entity.stream.id),
            id,
            entity,
            shell,
            runtime,
            directory,
            ledger,
            workers: BTreeMap::new(),
            probes: BTreeMap::new(),
            setup: None,
            resizing: None,
            asked_to_end: BTreeMap::new(),
            alarm: Alarm::default(),
            execs: BTreeMap::new(),
            told_ledger: None,
            retired: false,
        }
    }

    fn key(&self, container: &ContainerName, attempt: u32) -> ContainerKey {
        ContainerKey { pod: self.uid, container: container.clone(), attempt }
    }

    /// Whether it carries out nothing any more. A pod that is gone answers nothing that could be remembered: its name may
    /// be another's in a moment.
    fn is_over(&self) -> bool {
        self.retired || self.entity.state.is_terminal()
    }

    fn live(&self) -> Option<&PodState> {
        self.entity.state.live()
    }

    /// The node's own doing in the conversation that `seq` belongs to.
    fn by(&self, cause: Cause) -> By {
        By::node(cause, self.entity.correlation)
    }

    /// Takes what is on disk as the new state, and only then acts on it.
    fn settle(&mut self, committed: Committed<Pod>, ctx: &mut Context<PodActor>) -> Done {
        let (done, happened) = self.entity.accept(committed);
        for (event, seq) in happened {
            self.react(&event, seq, ctx);
        }
        self.set_alarm(ctx);
        done
    }

    /// Begins what an event asks for. Safe to repeat: recovery repeats it.
    fn react(&mut self, event: &PodEvent, seq: Seq, ctx: &mut Context<PodActor>) {
        use PodEvent as E;
        match event {
            E::SetupRequested(requested) => self.begin_setup(requested.attempt, seq, ctx),
            E::ContainerCreateRequested(requested) => {
                self.begin_start(&requested.container, requested.attempt, seq, ctx);
            }
            E::ContainerStarted(ContainerStarted { container, .. }) => {
                self.watch(container, ctx);
                self.begin_probing(container, seq, ctx);
                self.tell_ledger();
                self.begin_resizing(seq, ctx);
            }
            E::StartupPassed(passed) => self.begin_probing(&passed.container, seq, ctx),
            E::ContainerCreateFailed(failed) => {
                self.begin_removal(&failed.container, failed.attempt, seq, ctx);
                self.begin_resizing(seq, ctx);
            }
            E::ContainerExited(exited) => {
                self.end_probing(&exited.container);
                self.workers.remove(&exited.container);
                self.begin_removal(&exited.container, exited.attempt, seq, ctx);
                self.begin_resizing(seq, ctx);
            }
            E::ContainerStopRequested(requested) => {
                self.end_probing(&requested.container);
                self.begin_ending(&requested.container);
            }
            E::ContainerKillRequested(requested) => self.begin_ending(&requested.container),
            E::StopRequested(_) | E::TerminationRequested(_) => self.abandon_setup(seq, ctx),
            E::CleanupRequested(_) => self.begin_cleanup(seq, ctx),
            E::ResourcesAwaited(_) => self.take_up_grant(ctx),
            E::Stopped(_) | E::Failed(_) => self.give_back(seq),
            E::Terminated(_) => {
                self.give_back(seq);
                self.leave(ctx);
            }
            E::ExecRequested(requested) => self.begin_exec(requested, seq, ctx),
            E::Admitted(_)
            | E::ProvisioningStarted(_)
            | E::SetupCompleted(_)
            | E::SetupFailed(_)
            | E::Started(_)
            | E::ReadinessChanged(_)
            | E::ProbeFailed(_)
            | E::ContainerRemoved(_)
            | E::RestartScheduled(_)
            | E::OutOfMemory(_)
            | E::ResourcesGranted(_)
            | E::StartRequested(_)
            | E::ExecFinished(_) => {}
            E::ResizeRequested(_) => self.begin_resizing(seq, ctx),
            E::Resized(resized) => self.end_resizing(resized.generation, true, seq),
            E::ResizeFailed(failed) => self.end_resizing(failed.generation, false, seq),
            E::Violation(event) => tell::happened(None, event, &self.shell),
        }
    }

    /// Takes up what was open when an earlier process of the node ended.
    fn resume(&mut self, ctx: &mut Context<PodActor>) {
        let Some(pod) = self.live().cloned() else { return };
        let seq = self.entity.last;
        match pod.setup {
            // A pod that is not to run any more needs no setup: the open intent is given up.
            Setup::Requested { .. } if !pod.is_wanted() => self.abandon_setup(seq, ctx),
            Setup::Requested { attempt } => self.begin_setup(attempt, seq, ctx),
            Setup::NotBegun | Setup::Failed { .. } | Setup::Done => {}
        }
        for container in &pod.containers {
            match &container.state {
                ContainerState::Creating { attempt, .. } => {
                    self.resume_start(&container.name, *attempt, seq, ctx);
                }
                ContainerState::Running { .. } => {
                    self.watch(&container.name, ctx);
                    self.begin_probing(&container.name, seq, ctx);
                }
                ContainerState::Stopping { .. } => {
                    self.watch(&container.name, ctx);
                    self.begin_ending(&container.name);
                }
                ContainerState::Waiting
                | ContainerState::CreateFailed { .. }
                | ContainerState::BackOff { .. }
                | ContainerState::Exited { .. } => {}
            }
            for attempt in &container.garbage {
                self.begin_removal(&container.name, *attempt, seq, ctx);
            }
        }
        if matches!(pod.phase, Phase::Terminating { cleaning: true, .. }) {
            self.begin_cleanup(seq, ctx);
        }
        if pod.awaits_resources {
            self.take_up_grant(ctx);
        }
        self.begin_resizing(seq, ctx);
        self.give_up_execs(&pod, seq, ctx);
        self.set_alarm(ctx);
    }

    /// Goes on if the ledger has given the pod what it waits for already: word of it may have come too early.
    fn take_up_grant(&self, ctx: &mut Context<PodActor>) {
        if self.shell.live.read(|world| world.ledger.grant(self.uid).is_some()) {
            self.tell(PodCommand::GrantResources, self.by(Cause::Record(self.entity.last)), ctx);
        }
    }

    /// Sees to it that the pod is told when the next moment comes that it waits for.
    fn set_alarm(&mut self, ctx: &mut Context<PodActor>) {
        let wanted = self.live().and_then(PodState::next_deadline);
        let clock = &self.shell.clock;
        self.alarm.set(
            wanted,
            clock,
            ctx,
            |this| &mut this.alarm,
            |this, ctx| {
                let by = this.by(Cause::Timer(this.entity.last));
                this.tell(PodCommand::CheckTime, by, ctx);
            },
        );
    }

    /// Sends itself a command, behind all that is waiting.
    fn tell(&self, command: PodCommand, by: By, ctx: &mut Context<PodActor>) {
        let addr = ctx.address();
        actix::spawn(async move {
            report(&addr, command, by).await;
        });
    }

    /// The pod is gone: nobody may find it any more, and its actor ends.
    fn leave(&mut self, ctx: &mut Context<PodActor>) {
        let forget = self.directory.send(Forget { id: self.id.clone(), uid: self.uid });
        ctx.wait(forget.into_actor(self).map(|_, _, ctx| ctx.stop()));
    }
}

/// Tells a pod what was seen or done outside; says whether to tell it again later. Another refusal means that the pod
/// has moved on meanwhile.
pub(crate) async fn report(addr: &Addr<PodActor>, command: PodCommand, by: By) -> bool {
    match addr.send(Execute { command: command.clone(), by }).await {
        Ok(Ok(_)) => {}
        Ok(Err(refusal @ (Refusal::Busy { .. } | Refusal::NoRoom))) => {
            tracing::debug!(%refusal, "a report was not recorded");
            return true;
        }
        Ok(Err(Refusal::Fenced)) => {
            tracing::error!("a report was not recorded: the journal cannot be written");
        }
        Ok(Err(refusal)) => tracing::debug!(%refusal, "a report came too late"),
        // The pod is gone, and its actor with it.
        Err(_) => {}
    }
    false
}

impl Actor for PodActor {
    type Context = Context<PodActor>;

    fn started(&mut self, ctx: &mut Context<PodActor>) {
        ctx.set_mailbox_capacity(mailbox::LEN_MAX);
        self.resume(ctx);
    }

    fn stopped(&mut self, _: &mut Context<PodActor>) {
        let probes = std::mem::take(&mut self.probes);
        let tasks = probes.into_values().flatten().chain(self.setup.take());
        tasks.chain(self.resizing.take()).for_each(|task| task.abort());
    }
}

impl Handler<Execute<Pod>> for PodActor {
    type Result = AtomicResponse<PodActor, Outcome>;

    fn handle(&mut self, execute: Execute<Pod>, _: &mut Context<PodActor>) -> Self::Result {
        if self.is_over() {
            return AtomicResponse::new(Box::pin(async { Err(Refusal::Retired) }.into_actor(self)));
        }
        let commit = self.entity.commit(&execute, &self.shell).into_actor(self);
        // Atomic: no other message is seen between the decision and the new state.
        AtomicResponse::new(Box::pin(commit.map(|committed, this, ctx| Ok(this.settle(committed?, ctx)))))
    }
}

impl Handler<Retire> for PodActor {
    type Result = bool;

    fn handle(&mut self, _: Retire, ctx: &mut Context<PodActor>) -> bool {
        if self.entity.state == Pod::Unknown && !self.retired {
            self.retired = true;
            self.leave(ctx);
        }
        self.retired
    }
}

impl Handler<Inspect> for PodActor {
    type Result = actix::MessageResult<Inspect>;

    fn handle(&mut self, _: Inspect, _: &mut Context<PodActor>) -> Self::Result {
        let (version, pod) = (self.entity.version, self.entity.state.clone());
        actix::MessageResult(Inspected { uid: self.uid, version, pod })
    }
}
