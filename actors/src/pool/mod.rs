//! The actor of one pool: the only writer of its stream. It decides ahead of the disk, so that many who hand in tasks are
//! served together; nobody hears of an event, and nothing begins, before it is durable.
//!
//! What follows outside is [`upkeep`]'s: it looks at what is on record and at what there is, and brings them together.

mod agent;
mod board;
mod member;
mod registry;
mod resize;
mod upkeep;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use actix::prelude::{Actor, ActorFuture, Addr, AsyncContext, Context, Handler};
use metrics::counter;
use purser_events::pool::{Pool, PoolEvent, PoolName, TaskId};

pub use agent::{AgentOrders, AgentStanding, Called};
pub(crate) use agent::{SessionState, missing, running, session_state, standing};
pub(crate) use board::Board;
pub(crate) use member::is_of_pool;
pub(crate) use registry::{MakePool, PoolActors, PoolHandle, PoolRegistry, begin};

use crate::directory::Directory;
use crate::entity::{Entity, Execute};
use crate::later::{Later, later};
use crate::pipeline::{Onlooker, Outcome, Pipeline, Writing};
use crate::shell::Shell;
use crate::{mailbox, metric};

/// Owns one pool's stream.
pub(crate) struct PoolActor {
    name: PoolName,
    pipeline: Pipeline<Pool>,
    /// Whether what is in flight is awaited.
    is_awaiting: bool,
    shell: Arc<Shell>,
    directory: Addr<Directory>,
    board: Arc<Board>,
}

impl PoolActor {
    /// An actor for a pool as the journal has it.
    fn new(name: PoolName, shell: Arc<Shell>, directory: Addr<Directory>, board: Arc<Board>) -> PoolActor {
        let state = shell.live.read(|world| world.pools.get(&name).cloned()).unwrap_or_default();
        let entity = Entity::recovered(name.stream().id, state, &shell);
        board.begin(entity.version.0);
        PoolActor { name, pipeline: Pipeline::new(entity), is_awaiting: false, shell, directory, board }
    }

    /// Sees to it that what is in flight is heard of.
    fn await_next(&mut self, ctx: &mut Context<PoolActor>) {
        if !self.is_awaiting {
            self.is_awaiting = true;
            ctx.spawn(Landing { first: None });
        }
    }
}

/// Hears of what is in flight, one append after the other, until nothing is: those of one group in one go.
struct Landing {
    /// The first append in flight, once it is awaited.
    first: Option<Writing>,
}

impl ActorFuture<PoolActor> for Landing {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut PoolActor,
        _: &mut Context<PoolActor>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        loop {
            let Some(mut writing) = self.first.take().or_else(|| actor.pipeline.next_writing()) else {
                actor.is_awaiting = false;
                return Poll::Ready(());
            };
            let Poll::Ready(written) = writing.as_mut().poll(task) else {
                self.first = Some(writing);
                return Poll::Pending;
            };
            let PoolActor { name, pipeline, shell, board, .. } = actor;
            pipeline.land(written, shell, &mut Wakes { name, board, members: BTreeSet::new() });
        }
    }
}

/// Wakes whoever waits for what happens.
struct Wakes<'a> {
    name: &'a PoolName,
    board: &'a Board,
    /// Whose orders change.
    members: BTreeSet<u64>,
}

impl Wakes<'_> {
    /// Adds whoever has something to do with these: a task's slot is another's before and after.
    fn add(&mut self, pool: &Pool, events: &[PoolEvent]) {
        self.members.extend(events.iter().filter_map(|event| match touched(event) {
            Touched::Member(member) => Some(member),
            Touched::Task(task) => slot_of(pool, task),
            Touched::Nobody => None,
        }));
    }
}

impl Onlooker<Pool> for Wakes<'_> {
    fn before(&mut self, before: &Pool, events: &[PoolEvent]) {
        self.add(before, events);
    }

    fn after(&mut self, entity: &Entity<Pool>, events: &[PoolEvent]) {
        self.add(&entity.state, events);
        events.iter().for_each(|event| tell(self.name, event));
        self.board.wake(&self.members, entity.version.0);
        if events.iter().any(changes_members) {
            self.board.call_upkeep();
        }
    }
}

fn slot_of(pool: &Pool, task: TaskId) -> Option<u64> {
    let (slot, _) = pool.task(task)?.slot()?;
    Some(slot.member)
}

/// Whose orders an event changes.
enum Touched {
    Member(u64),
    Task(TaskId),
    Nobody,
}

fn touched(event: &PoolEvent) -> Touched {
    use PoolEvent as E;
    match event {
        E::MemberRemovalRequested(event) => Touched::Member(event.member),
        E::MemberLost(event) => Touched::Member(event.member),
        E::AgentConnected(event) => Touched::Member(event.member),
        E::AgentDisconnected(event) => Touched::Member(event.member),
        E::TaskAssigned(event) => Touched::Member(event.slot.member),
        E::TaskStarted(event) => Touched::Task(event.task),
        E::TaskPlanned(event) => Touched::Task(event.task),
        E::TaskConfirmed(event) => Touched::Task(event.task),
        E::TaskApproved(event) => Touched::Task(event.task),
        E::TaskDiscarded(event) => Touched::Task(event.task),
        E::TaskEnded(event) => Touched::Task(event.task),
        E::TaskRequeued(event) => Touched::Task(event.task),
        E::TaskCancelRequested(event) => Touched::Task(event.task),
        E::ReservationExpired(event) => Touched::Task(event.task),
        E::SpecSet(_)
        | E::RemovalRequested(_)
        | E::Removed(_)
        | E::MemberRequested(_)
        | E::MemberAdmitted(_)
        | E::MemberRequestFailed(_)
        | E::MemberRemoved(_)
        | E::AgentsAway(_)
        | E::ReferencesChanged(_)
        | E::TaskSubmitted(_)
        | E::StaleTokenRefused(_)
        | E::StaleTokensCounted(_)
        | E::AgentLeaving(_)
        | E::MemberNoRoom(_)
        | E::SetbacksOver(_)
        | E::Scaled(_)
        | E::MemberResizeRequested(_)
        | E::MemberResized(_)
        | E::MemberResizeFailed(_)
        | E::Unfrozen(_) => Touched::Nobody,
    }
}

/// Whether something is to be done outside now, or decided now rather than at the next round.
fn changes_members(event: &PoolEvent) -> bool {
    use PoolEvent as E;
    matches!(
        event,
        E::SpecSet(_)
            | E::RemovalRequested(_)
            | E::MemberRequested(_)
            | E::MemberRemovalRequested(_)
            | E::MemberRemoved(_)
            | E::MemberLost(_)
            | E::MemberResizeRequested(_)
            | E::MemberResizeFailed(_)
            | E::ReferencesChanged(_)
            | E::Unfrozen(_)
    )
}

fn tell(pool: &PoolName, event: &PoolEvent) {
    use PoolEvent as E;
    match event {
        E::SpecSet(_) => tracing::info!(%pool, "pool set"),
        E::RemovalRequested(event) => tracing::info!(%pool, force = event.force, "pool is to go"),
        E::Removed(_) => tracing::info!(%pool, "pool is gone"),
        E::Scaled(event) => {
            let labels = [("pool", pool.to_string()), ("rule", event.verdict.rule.word().to_owned())];
            counter!(metric::POOL_DECISIONS.name, &labels).increment(1);
        }
        E::MemberRequestFailed(event) => {
            let gives_up = event.setback.retry_at.is_none();
            tracing::warn!(%pool, member = event.member, reason = event.reason, gives_up, "a pool's pod was not taken");
        }
        E::MemberNoRoom(event) => {
            let (member, reason, retry_at) = (event.member, &event.reason, event.retry_at);
            tracing::warn!(%pool, member, reason, %retry_at, "the node has no room for a pool's pod");
        }
        E::StaleTokensCounted(event) => {
            tracing::warn!(%pool, member = event.member, count = event.count, "an agent spoke again and again for slots that it does not have");
        }
        E::MemberLost(event) => {
            tracing::warn!(%pool, member = event.member, reason = ?event.reason, "a pool's pod is lost");
        }
        E::MemberResizeFailed(event) => {
            let (member, reason) = (event.member, &event.reason);
            tracing::warn!(%pool, member, reason, "a pool's pod could not be resized in place; it is replaced once it is idle");
        }
        E::TaskRequeued(event) => {
            let (task, may_have_run) = (event.task, event.may_have_run);
            tracing::warn!(%pool, %task, may_have_run, reason = ?event.reason, "a task has lost its slot");
        }
        E::StaleTokenRefused(event) => {
            tracing::warn!(%pool, member = event.member, task = %event.task, reason = ?event.reason, "an agent spoke for a slot that it does not have");
        }
        _ => {}
    }
}

impl Actor for PoolActor {
    type Context = Context<PoolActor>;

    fn started(&mut self, ctx: &mut Context<PoolActor>) {
        ctx.set_mailbox_capacity(mailbox::LEN_MAX);
        let (shell, directory) = (self.shell.clone(), self.directory.clone());
        upkeep::begin(self.name.clone(), shell, directory, ctx.address(), Arc::clone(&self.board));
    }
}

impl Handler<Execute<Pool>> for PoolActor {
    type Result = Later<Outcome<Pool>>;

    fn handle(&mut self, execute: Execute<Pool>, ctx: &mut Context<PoolActor>) -> Self::Result {
        let (reply, answer) = later();
        self.pipeline.ask(execute, reply, &self.shell);
        self.await_next(ctx);
        answer
    }
}
