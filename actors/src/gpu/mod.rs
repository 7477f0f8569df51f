//! The actor of one GPU: it makes of what is seen what is on record.

mod draining;
mod looking;

use std::pin::Pin;
use std::sync::Arc;

use actix::prelude::{
    Actor, ActorFuture, ActorFutureExt, AtomicResponse, Context, Handler, Message, WrapFuture,
};
use purser_events::gpu::event::HealthChanged;
use purser_events::gpu::{Gpu, GpuCommand, GpuEvent, GpuRejection, Seen, Watch};
use purser_events::ledger::GpuUuid;
use purser_events::{Cause, Seq};

use crate::entity::{By, Done, Entity, Execute, Refusal};
use crate::mailbox;
use crate::monitor::tell;
use crate::shell::Shell;
pub(crate) use looking::{GpuActors, begin, watch};

/// Owns one GPU's stream.
pub(crate) struct GpuActor {
    uuid: GpuUuid,
    entity: Entity<Gpu>,
    watch: Watch,
    shell: Arc<Shell>,
}

/// Says what was seen of the GPU. What cannot be recorded now is seen again.
pub(crate) struct See(pub(crate) Seen);

impl Message for See {
    type Result = ();
}

type Outcome = Result<Done, Refusal<GpuRejection>>;
type Carried = Pin<Box<dyn ActorFuture<GpuActor, Output = Outcome>>>;

impl GpuActor {
    /// An actor for a GPU, with what the journal knows of it.
    fn new(uuid: GpuUuid, shell: Arc<Shell>) -> GpuActor {
        let state = shell.live.read(|world| world.gpus.get(&uuid).cloned()).unwrap_or_default();
        let entity = Entity::recovered(uuid.stream().id, state, &shell);
        GpuActor { uuid, entity, watch: Watch::default(), shell }
    }

    fn carry_out(&mut self, execute: &Execute<Gpu>) -> Carried {
        let commit = self.entity.commit(execute, &self.shell).into_actor(self);
        Box::pin(commit.map(|committed, this, _| {
            let (done, happened) = this.entity.accept(committed?);
            for (event, _) in &happened {
                this.react(event);
            }
            Ok(done)
        }))
    }

    fn react(&mut self, event: &GpuEvent) {
        let gpu = &self.uuid;
        match event {
            GpuEvent::Found(found) => tracing::info!(%gpu, health = found.health.word(), "GPU found"),
            GpuEvent::FactsChanged(_) => tracing::info!(%gpu, "GPU is another than it was"),
            GpuEvent::HealthChanged(HealthChanged { health, .. }) => {
                let (word, detail) = (health.word(), health.detail().unwrap_or_default());
                if health.takes_pods() {
                    tracing::info!(%gpu, health = word, detail, "GPU takes pods");
                } else {
                    tracing::warn!(%gpu, health = word, detail, "GPU takes no pods");
                }
            }
            GpuEvent::FaultNoted(noted) => {
                tracing::warn!(%gpu, xid = noted.xid, count = noted.count, "the driver told of a fault");
                self.watch.noted(noted.xid, noted.count);
            }
            GpuEvent::Violation(event) => tell::happened(Some(gpu), event, &self.shell),
            GpuEvent::Cordoned(cordoned) => tracing::info!(%gpu, by = %cordoned.by, "GPU cordoned"),
            GpuEvent::Uncordoned(uncordoned) => {
                tracing::info!(%gpu, by = %uncordoned.by, "GPU uncordoned");
                self.watch.forgive();
            }
            GpuEvent::DrainRequested(requested) => {
                tracing::info!(%gpu, by = %requested.by, "pods that have something of a GPU are stopped");
            }
            GpuEvent::DrainEnded(ended) => tracing::info!(%gpu, outcome = ?ended.outcome, "GPU drained"),
            GpuEvent::Forgotten(forgotten) => {
                tracing::info!(%gpu, by = %forgotten.by, "GPU forgotten");
                self.watch = Watch::default();
            }
        }
    }

    /// On whose behalf what was seen is recorded.
    fn observed(&self) -> By {
        let cause = match self.entity.last {
            Seq::ZERO => Cause::Node,
            last => Cause::Observation(last),
        };
        By::node(cause, self.entity.correlation)
    }
}

impl Actor for GpuActor {
    type Context = Context<GpuActor>;

    fn started(&mut self, ctx: &mut Context<GpuActor>) {
        ctx.set_mailbox_capacity(mailbox::LEN_MAX);
    }
}

impl Handler<See> for GpuActor {
    type Result = AtomicResponse<GpuActor, ()>;

    fn handle(&mut self, See(seen): See, _: &mut Context<GpuActor>) -> Self::Result {
        let look = self.watch.look(&self.entity.state, seen, self.shell.clock.passed());
        let execute = Execute { command: GpuCommand::ReportLook(Box::new(look)), by: self.observed() };
        let reported = self.carry_out(&execute);
        AtomicResponse::new(Box::pin(reported.map(|outcome, this, _| match outcome {
            Ok(_) | Err(Refusal::Busy { .. } | Refusal::NoRoom) => {}
            Err(error) => {
                tracing::error!(gpu = %this.uuid, %error, "failed to record what was seen of a GPU");
            }
        })))
    }
}

impl Handler<Execute<Gpu>> for GpuActor {
    type Result = AtomicResponse<GpuActor, Outcome>;

    fn handle(&mut self, execute: Execute<Gpu>, _: &mut Context<GpuActor>) -> Self::Result {
        AtomicResponse::new(self.carry_out(&execute))
    }
}
