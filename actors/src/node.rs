//! The actor of the node itself.

use std::sync::Arc;

use actix::prelude::{Actor, ActorFutureExt, AtomicResponse, Context, Handler, WrapFuture};
use purser_events::node::{Node, NodeRejection};

use crate::entity::{Done, Entity, Execute, Refusal};
use crate::mailbox;
use crate::shell::Shell;

/// Owns the node's stream.
pub struct NodeActor {
    entity: Entity<Node>,
    shell: Arc<Shell>,
}

impl NodeActor {
    /// An actor for the node as the journal has it.
    #[must_use]
    pub fn new(entity: Entity<Node>, shell: Arc<Shell>) -> NodeActor {
        NodeActor { entity, shell }
    }
}

impl Actor for NodeActor {
    type Context = Context<NodeActor>;

    fn started(&mut self, ctx: &mut Context<NodeActor>) {
        ctx.set_mailbox_capacity(mailbox::LEN_MAX);
    }
}

impl Handler<Execute<Node>> for NodeActor {
    type Result = AtomicResponse<NodeActor, Result<Done, Refusal<NodeRejection>>>;

    fn handle(&mut self, execute: Execute<Node>, _: &mut Context<NodeActor>) -> Self::Result {
        let commit = self.entity.commit(&execute, &self.shell).into_actor(self);
        AtomicResponse::new(Box::pin(commit.map(|committed, this, _| Ok(this.entity.accept(committed?).0))))
    }
}
