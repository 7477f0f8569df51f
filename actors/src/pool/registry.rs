//! Which actor has which pool.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::{Actor, Addr, Context, Handler, Message, MessageResult};
use purser_events::Cause;
use purser_events::pool::{Pool, PoolCommand, PoolName, PoolRejection};

use super::{Board, PoolActor};
use crate::directory::Directory;
use crate::entity::{By, Execute, Refusal};
use crate::mailbox;
use crate::shell::Shell;

/// A pool's actor, and what is known of its agents.
#[derive(Clone)]
pub(crate) struct PoolHandle {
    /// The actor.
    pub(crate) actor: Addr<PoolActor>,
    /// The board.
    pub(crate) board: Arc<Board>,
}

/// Which actor has which pool. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct PoolActors {
    handles: Arc<Mutex<BTreeMap<PoolName, PoolHandle>>>,
}

impl PoolActors {
    /// The actor of a pool that was ever set.
    pub(crate) fn find(&self, name: &PoolName) -> Option<PoolHandle> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// Makes the actors of pools, on the thread where it lives.
pub(crate) struct PoolRegistry {
    shell: Arc<Shell>,
    directory: Addr<Directory>,
    actors: PoolActors,
}

/// Asks for the actor of a pool, which is made if there is none; none if the pool's records cannot be followed.
pub(crate) struct MakePool(pub(crate) PoolName);

impl Message for MakePool {
    type Result = Option<PoolHandle>;
}

impl Actor for PoolRegistry {
    type Context = Context<PoolRegistry>;

    fn started(&mut self, ctx: &mut Context<PoolRegistry>) {
        ctx.set_mailbox_capacity(mailbox::LEN_MAX);
    }
}

impl Handler<MakePool> for PoolRegistry {
    type Result = MessageResult<MakePool>;

    fn handle(&mut self, MakePool(name): MakePool, _: &mut Context<PoolRegistry>) -> Self::Result {
        MessageResult(self.make(name))
    }
}

impl PoolRegistry {
    fn make(&self, name: PoolName) -> Option<PoolHandle> {
        let known = self.actors.find(&name);
        if known.is_some() || self.shell.live.read(|world| world.quarantined.contains_key(&name.stream())) {
            return known;
        }
        let board = Arc::new(Board::default());
        let (shell, directory) = (self.shell.clone(), self.directory.clone());
        let actor = PoolActor::new(name.clone(), shell, directory, Arc::clone(&board)).start();
        let handle = PoolHandle { actor, board };
        let mut handles = self.actors.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.insert(name, handle.clone());
        Some(handle)
    }
}

/// Starts the actors of all pools, and puts on record that no agent is there until it says so.
pub(crate) async fn begin(
    shell: &Arc<Shell>,
    directory: &Addr<Directory>,
    by: &By,
) -> (PoolActors, Addr<PoolRegistry>) {
    let actors = PoolActors::default();
    let registry =
        PoolRegistry { shell: shell.clone(), directory: directory.clone(), actors: actors.clone() };
    sweep(shell).await;
    let known: Vec<PoolName> = shell.live.read(|world| {
        // Of one that is gone nothing is to be done until it is made again.
        world.pools.iter().filter(|(_, pool)| pool.exists()).map(|(name, _)| name.clone()).collect()
    });
    for name in known {
        let Some(handle) = registry.make(name.clone()) else {
            tracing::error!(pool = %name, "the records of a pool cannot be followed; it is left as it is");
            continue;
        };
        let by = By::node(Cause::Node, by.origin.correlation);
        let told = handle.actor.send(Execute::<Pool> { command: PoolCommand::AgentsAway, by }).await;
        match told {
            Ok(Ok(_) | Err(Refusal::Rejected(PoolRejection::NoSuchPool))) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::error!(pool = %name, %error, "failed to record that no agent is there");
            }
        }
    }
    (actors, registry.start())
}

/// Removes the folders of members that there are not: what a stop between an end and its clean-up has left.
async fn sweep(shell: &Arc<Shell>) {
    let prepared = match shell.pools.prepared().await {
        Ok(prepared) => prepared,
        Err(error) => {
            tracing::warn!(%error, "failed to look for the folders of agents that are gone");
            return;
        }
    };
    let strays: Vec<String> = shell.live.read(|world| {
        let is_stray = |name: &String| {
            let Some((pool, member)) = name.rsplit_once('-') else { return false };
            let (Ok(pool), Ok(member)) = (PoolName::new(pool), member.parse()) else { return false };
            // Nothing is certain of a pool whose records cannot be followed.
            let is_certain = !world.quarantined.contains_key(&pool.stream());
            is_certain && world.pools.get(&pool).is_none_or(|pool| pool.member(member).is_none())
        };
        prepared.into_iter().filter(is_stray).collect()
    });
    for name in strays {
        if let Err(error) = shell.pools.forget(&name).await {
            tracing::warn!(name, %error, "failed to remove the folder of an agent that is gone");
        }
    }
}
