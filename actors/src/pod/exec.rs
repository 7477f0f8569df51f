//! Commands that run in a pod's containers on somebody's request.

use actix::prelude::{ActorFutureExt, AsyncContext, AtomicResponse, Context, Handler, Message, WrapFuture};
use purser_events::pod::event::{ExecOutcome, ExecRequested};
use purser_events::pod::{PodCommand, PodRejection, PodState};
use purser_events::{Cause, ContainerName, Seq};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{PodActor, report};
use crate::entity::{By, Execute, Refusal};
use crate::port::{ExecIo, RuntimeError};

/// Exit code of a command that was killed because nobody waited for it any more: 128 + SIGKILL.
const KILLED_CODE: u8 = 137;

/// Asks a pod to run a command.
pub struct Exec {
    /// Where; the pod's only container if none.
    pub container: Option<ContainerName>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The ends of the command.
    pub io: ExecIo,
    /// On whose behalf.
    pub by: By,
    /// Where its exit code goes once it is on record. The command is killed if the receiver is dropped.
    pub done: oneshot::Sender<Result<u8, RuntimeError>>,
}

impl Message for Exec {
    /// Nothing once the command is about to run, or why it is not.
    type Result = Result<(), Refusal<PodRejection>>;
}

/// A command that was asked for and is not on record yet.
pub(super) struct Waiting {
    argv: Vec<String>,
    io: ExecIo,
    done: oneshot::Sender<Result<u8, RuntimeError>>,
}

impl Handler<Exec> for PodActor {
    type Result = AtomicResponse<PodActor, Result<(), Refusal<PodRejection>>>;

    fn handle(&mut self, exec: Exec, _: &mut Context<PodActor>) -> Self::Result {
        let Exec { container, argv, io, by, done } = exec;
        let id = self.shell.ids.uuid();
        let command = PodCommand::BeginExec { exec: id, container, argv: argv.clone() };
        self.execs.insert(id, Waiting { argv, io, done });
        let commit = self.entity.commit(&Execute { command, by }, &self.shell).into_actor(self);
        AtomicResponse::new(Box::pin(commit.map(move |committed, this, ctx| {
            let settled = committed.map(|committed| this.settle(committed, ctx));
            // What an accepted request put in motion has taken its entry; a refused one never will.
            this.execs.remove(&id);
            settled.map(drop)
        })))
    }
}

impl PodActor {
    pub(super) fn begin_exec(&mut self, requested: &ExecRequested, seq: Seq, ctx: &mut Context<PodActor>) {
        let Some(Waiting { argv, io, mut done }) = self.execs.remove(&requested.exec) else { return };
        let attempt =
            self.live().and_then(|pod| pod.container(&requested.container)).and_then(|it| it.attempt());
        let Some(attempt) = attempt else { return };
        let key = self.key(&requested.container, attempt.number);
        let (exec, runtime, addr) = (requested.exec, self.runtime.clone(), ctx.address());
        let by = self.by(Cause::Observation(seq));
        actix::spawn(async move {
            let result = tokio::select! {
                result = runtime.exec(&key, &argv, io) => result,
                // Dropping the run kills it.
                () = done.closed() => Ok(KILLED_CODE),
            };
            let outcome = match &result {
                Ok(code) => ExecOutcome::Exited { code: *code },
                Err(error) => ExecOutcome::NotRun { class: error.class },
            };
            report(&addr, PodCommand::FinishExec { exec, outcome }, by).await;
            // Nobody may be waiting any more.
            let _ = done.send(result);
        });
    }

    /// Closes the commands that an earlier process of the node was running: they ended with it, unseen.
    pub(super) fn give_up_execs(&self, pod: &PodState, seq: Seq, ctx: &mut Context<PodActor>) {
        let open: Vec<Uuid> = pod.execs.keys().copied().collect();
        for exec in open {
            let command = PodCommand::FinishExec { exec, outcome: ExecOutcome::Unknown };
            self.tell(command, self.by(Cause::Record(seq)), ctx);
        }
    }
}
