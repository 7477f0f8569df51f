//! The actor of one worker process: it watches the process and says when it ends.

use std::sync::Arc;

use actix::prelude::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, AtomicResponse, Context, Handler, WrapFuture,
};
use purser_events::pod::PodCommand;
use purser_events::pod::event::Exit;
use purser_events::worker::event::Registered;
use purser_events::worker::{Worker, WorkerCommand, WorkerEvent, WorkerRejection};
use purser_events::{Cause, WorkerUid};

use crate::entity::{By, Done, Entity, Execute, Refusal};
use crate::mailbox;
use crate::pod::effects::{lost, until_done};
use crate::pod::{PodActor, report};
use crate::port::{ContainerKey, Containers, Standing};
use crate::shell::Shell;

/// Owns one worker.
pub struct WorkerActor {
    facts: Registered,
    by: By,
    entity: Entity<Worker>,
    runtime: Arc<dyn Containers>,
    shell: Arc<Shell>,
    pod: Addr<PodActor>,
}

impl WorkerActor {
    /// An actor for the process that `facts` name, with what the journal knows of it.
    #[must_use]
    pub fn new(
        uid: WorkerUid,
        facts: Registered,
        by: By,
        runtime: Arc<dyn Containers>,
        shell: Arc<Shell>,
        pod: Addr<PodActor>,
    ) -> WorkerActor {
        let state = shell.live.read(|world| world.workers.get(&uid).cloned()).unwrap_or_default();
        let entity = Entity::recovered(uid.0, state, &shell);
        WorkerActor { facts, by, entity, runtime, shell, pod }
    }

    fn key(&self) -> ContainerKey {
        let Registered { pod, container, attempt, .. } = &self.facts;
        ContainerKey { pod: *pod, container: container.clone(), attempt: *attempt }
    }

    /// Registers the process, waits for its end and reports it.
    async fn watch(worker: Addr<WorkerActor>, watched: Watched) {
        let Watched { facts, key, by, runtime, shell } = watched;
        let registered =
            worker.send(Execute { command: WorkerCommand::Register(facts.clone()), by: by.clone() });
        if !matches!(registered.await, Ok(Ok(_))) {
            tracing::error!(%key, "failed to register a worker");
            return;
        }
        let exit = Watched::ended(&facts, &key, &*runtime, &shell).await;
        // Whatever came of it, a refusal included, the worker's own reaction tells the pod.
        let _ = worker.send(Execute { command: WorkerCommand::ReportExit { exit }, by }).await;
    }

    /// Tells the pod how its container ended, and goes.
    fn hand_over(&self, exit: &Exit, ctx: &mut Context<WorkerActor>) {
        let (container, attempt) = (self.facts.container.clone(), self.facts.attempt);
        let command = PodCommand::ReportExit { container, attempt, exit: exit.clone() };
        let by = By::node(Cause::Record(self.entity.last), self.entity.correlation);
        let pod = self.pod.clone();
        let told = async move {
            report(&pod, command, by).await;
        };
        ctx.spawn(told.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

/// What watching a process takes.
struct Watched {
    facts: Registered,
    key: ContainerKey,
    by: By,
    runtime: Arc<dyn Containers>,
    shell: Arc<Shell>,
}

impl Watched {
    /// Waits until the container has ended. A runtime that speaks of another process under the same key has
    /// lost ours.
    async fn ended(facts: &Registered, key: &ContainerKey, runtime: &dyn Containers, shell: &Shell) -> Exit {
        let clock = &*shell.clock;
        match until_done(clock, "inspect", key, || runtime.inspect(key)).await {
            Standing::Running(started) if started.process != facts.process => lost(clock),
            Standing::Absent | Standing::Created => lost(clock),
            Standing::Running(_) | Standing::Exited { .. } => {
                until_done(clock, "wait for", key, || runtime.wait(key)).await
            }
        }
    }
}

impl Actor for WorkerActor {
    type Context = Context<WorkerActor>;

    fn started(&mut self, ctx: &mut Context<WorkerActor>) {
        ctx.set_mailbox_capacity(mailbox::LEN_MAX);
        if let Worker::Exited { exit, .. } = &self.entity.state {
            // The node ended between the worker's last record and its pod's.
            let exit = exit.clone();
            self.hand_over(&exit, ctx);
            return;
        }
        let watched = Watched {
            facts: self.facts.clone(),
            key: self.key(),
            by: self.by.clone(),
            runtime: self.runtime.clone(),
            shell: self.shell.clone(),
        };
        actix::spawn(WorkerActor::watch(ctx.address(), watched));
    }
}

impl Handler<Execute<Worker>> for WorkerActor {
    type Result = AtomicResponse<WorkerActor, Result<Done, Refusal<WorkerRejection>>>;

    fn handle(&mut self, execute: Execute<Worker>, _: &mut Context<WorkerActor>) -> Self::Result {
        let commit = self.entity.commit(&execute, &self.shell).into_actor(self);
        AtomicResponse::new(Box::pin(commit.map(|committed, this, ctx| {
            let (done, happened) = this.entity.accept(committed?);
            for (event, _) in happened {
                match event {
                    WorkerEvent::Registered(_) => {}
                    WorkerEvent::Exited(exited) => this.hand_over(&exited.exit, ctx),
                }
            }
            Ok(done)
        })))
    }
}
