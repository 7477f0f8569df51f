//! What the agents in pools' pods may ask. An agent speaks for its own member alone, in the session in which it is
//! connected.

use std::time::Duration;

use purser_events::pool::{Pool, PoolCommand, PoolRejection, TaskId, TaskReport, Token};
use uuid::Uuid;

use super::pools::ask;
use super::{Request, Service, ServiceError};
use crate::pool::{
    AgentOrders, AgentStanding, Called, PoolHandle, SessionState, missing, running, session_state, standing,
};
use crate::port::MemberId;

/// Why an agent's request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The service does not know the session: the agent is to connect again.
    #[error("the session is not connected: connect again")]
    SessionUnknown,
    /// Another session is the present one.
    #[error("another session of this member has begun")]
    SessionReplaced,
    /// The member is gone or lost.
    #[error("the pool has no such member any more")]
    NoMember,
    /// The slot is another's, or the task has ended. That it was asked for is on record.
    #[error("the token does not stand for the task any more")]
    StaleToken,
    /// It connects again and again.
    #[error("the agent has connected too often; wait a while")]
    TooOften,
    /// Anything else.
    #[error(transparent)]
    Service(ServiceError),
}

impl From<ServiceError> for AgentError {
    fn from(error: ServiceError) -> AgentError {
        match error {
            ServiceError::Pool(PoolRejection::NoSuchPool | PoolRejection::NoSuchMember { .. }) => {
                AgentError::NoMember
            }
            ServiceError::Pool(PoolRejection::SessionOver { .. }) => AgentError::SessionReplaced,
            ServiceError::Pool(PoolRejection::StaleToken { .. }) => AgentError::StaleToken,
            error => AgentError::Service(error),
        }
    }
}

impl Service {
    /// Takes notice of an agent that is there, and says how what it has stands.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn agent_connect(
        &self,
        member: &MemberId,
        called: Called,
        by: Request,
    ) -> Result<AgentStanding, AgentError> {
        let pool = self.agents_pool(member)?;
        if !pool.board.may_connect(member.member, self.inner.shell.clock.passed()) {
            return Err(AgentError::TooOften);
        }
        // First: who waits for its orders waits for those of this session.
        self.note_heard(&pool, member);
        let Called { session, version, fresh, has, keeps } = called;
        let number = member.member;
        let command = PoolCommand::Connect { member: number, session, version, fresh, has: has.clone() };
        if ask(&pool, command, by.into_by()).await?.changed {
            pool.board.connected(number, self.inner.shell.clock.passed());
        }
        tracing::info!(pool = %member.pool, member = number, "an agent is connected");
        Ok(self.standing(member, &has, &keeps))
    }

    /// Takes notice of an agent that is still there, and says how what it has stands. What it does not have any more
    /// though it had begun with it, and says so twice, is lost. One that is `leaving` gets nothing more.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn agent_beat(
        &self,
        id: &MemberId,
        session: Uuid,
        (has, keeps): (&[(TaskId, Token)], &[TaskId]),
        leaving: bool,
        by: Request,
    ) -> Result<AgentStanding, AgentError> {
        let pool = self.in_session(id, session)?;
        let is_known = self.of_pool(id, |pool| {
            let agent = pool.member(id.member).and_then(|member| member.agent.as_ref());
            agent.is_none_or(|agent| agent.leaving)
        });
        if leaving && !is_known {
            let command = PoolCommand::AgentLeaving { member: id.member, session, has: has.to_vec() };
            ask(&pool, command, by.clone().into_by()).await?;
        }
        let missing = self.of_pool(id, |pool| missing(pool, id.member, has));
        let lost = pool.board.lacks(id.member, missing, self.inner.shell.clock.passed());
        if !lost.is_empty() {
            let (known, mut kept) = self.of_pool(id, |pool| {
                let agent = pool.member(id.member).and_then(|member| member.agent.clone());
                (agent, running(pool, id.member).collect::<Vec<_>>())
            });
            let (member, version) = (id.member, known.map_or_else(String::new, |agent| agent.version));
            // All else is its own until it has said otherwise twice.
            kept.retain(|grip| !lost.contains(grip));
            let command = PoolCommand::Connect { member, session, version, fresh: false, has: kept };
            ask(&pool, command, by.into_by()).await?;
        }
        Ok(self.standing(id, has, keeps))
    }

    /// All that an agent is to do, once that is another than what it has seen, or after this time.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn agent_orders(
        &self,
        member: &MemberId,
        session: Uuid,
        seen: u64,
        wait: Duration,
    ) -> Result<AgentOrders, AgentError> {
        let pool = self.in_session(member, session)?;
        let clock = &self.inner.shell.clock;
        let mut changes = pool.board.orders(member.member, clock.passed());
        let mut over = clock.sleep(wait);
        loop {
            // Before the orders are looked at: who comes again with this number has seen at least these.
            let now = *changes.borrow_and_update();
            self.still_in_session(member, session)?;
            if now != seen || wait.is_zero() {
                let orders = self.of_pool(member, |pool| pool.orders(member.member));
                return Ok(AgentOrders { orders, seen: now });
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| AgentError::NoMember)?,
                () = &mut over => {
                    self.still_in_session(member, session)?;
                    let orders = self.of_pool(member, |pool| pool.orders(member.member));
                    return Ok(AgentOrders { orders, seen: now });
                }
            }
        }
    }

    /// Takes an agent's word for how far a task is.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn agent_report(
        &self,
        member: &MemberId,
        session: Uuid,
        (task, token): (TaskId, Token),
        report: TaskReport,
        by: Request,
    ) -> Result<(), AgentError> {
        let pool = self.in_session(member, session)?;
        let command = PoolCommand::Report { member: member.member, task, token, report };
        match ask(&pool, command, by.into_by()).await.map_err(AgentError::from) {
            Ok(_) => Ok(()),
            Err(error) => {
                if matches!(error, AgentError::StaleToken) {
                    pool.board.refused(member.member, self.inner.shell.clock.passed());
                }
                Err(error)
            }
        }
    }

    /// Whether an agent may add to the output of a task.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub fn agent_prints(
        &self,
        member: &MemberId,
        session: Uuid,
        (task, token): (TaskId, Token),
    ) -> Result<(), AgentError> {
        self.in_session(member, session)?;
        if self.of_pool(member, |pool| pool.holds(member.member, task, token)) {
            Ok(())
        } else {
            Err(AgentError::StaleToken)
        }
    }

    /// Takes notice of an agent that leaves: what it has not brought to an end is lost.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn agent_leave(&self, member: &MemberId, session: Uuid, by: Request) -> Result<(), AgentError> {
        let pool = self.agents_pool(member)?;
        let command = PoolCommand::Disconnect { member: member.member, session, left: true };
        ask(&pool, command, by.into_by()).await?;
        Ok(())
    }

    fn agents_pool(&self, member: &MemberId) -> Result<PoolHandle, AgentError> {
        if !self.ready() {
            return Err(AgentError::Service(ServiceError::Stopping));
        }
        Ok(self.pool(&member.pool)?)
    }

    /// The pool of an agent that speaks in its present session.
    fn in_session(&self, member: &MemberId, session: Uuid) -> Result<PoolHandle, AgentError> {
        let pool = self.still_in_session(member, session)?;
        self.note_heard(&pool, member);
        Ok(pool)
    }

    /// The same for one that waits for its answer: nothing is heard of it meanwhile.
    fn still_in_session(&self, member: &MemberId, session: Uuid) -> Result<PoolHandle, AgentError> {
        let pool = self.agents_pool(member)?;
        match self.of_pool(member, |pool| session_state(pool, member.member, session)) {
            SessionState::Present => Ok(pool),
            SessionState::Unknown => Err(AgentError::SessionUnknown),
            SessionState::Replaced => Err(AgentError::SessionReplaced),
            SessionState::NoMember => Err(AgentError::NoMember),
        }
    }

    fn note_heard(&self, pool: &PoolHandle, member: &MemberId) {
        pool.board.heard(member.member, self.inner.shell.clock.passed());
    }

    fn standing(&self, member: &MemberId, has: &[(TaskId, Token)], keeps: &[TaskId]) -> AgentStanding {
        self.of_pool(member, |pool| standing(pool, member.member, has, keeps))
    }

    fn of_pool<R>(&self, member: &MemberId, read: impl FnOnce(&Pool) -> R) -> R {
        self.world(|world| match world.pools.get(&member.pool) {
            Some(pool) => read(pool),
            None => read(&Pool::default()),
        })
    }
}
