//! Pools and tasks for tests that speak for the agents themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use purser_actors::Service;
use purser_actors::pool::Called;
use purser_actors::port::{Ids, MemberId};
use purser_actors::service::{AgentError, Request};
use purser_events::Principal;
use purser_events::pool::{
    AgentPolicy, PoolName, PoolSpec, ScalingPolicy, SlotPolicy, SlotRule, TaskId, TaskKind, TaskPolicy,
    TaskSpec,
};
use purser_node::adapter::clock::UuidV7;
use uuid::Uuid;

use crate::specs;

/// A request of root, in a conversation of its own.
#[must_use]
pub fn request() -> Request {
    Request { principal: Principal::new("uid:0"), correlation: UuidV7.uuid(), command: None }
}

/// A pool of so many pods that sleep, with so many slots each that take anything.
#[must_use]
pub fn spec(members: u32, slots: u8) -> PoolSpec {
    let sleeps = specs::container("agent", &["sleep", "1000000"]);
    PoolSpec {
        namespace: "default".to_owned(),
        template: Arc::new(specs::pod("template", vec![sleeps])),
        slots: SlotPolicy { rule: SlotRule::Flexible, count: slots },
        scaling: ScalingPolicy {
            min_replicas: members,
            max_replicas: members.max(1),
            ..ScalingPolicy::default()
        },
        tasks: TaskPolicy::default(),
        agents: AgentPolicy::default(),
        references: vec![],
    }
}

/// Plain work.
#[must_use]
pub fn work(id: TaskId) -> TaskSpec {
    TaskSpec {
        id,
        kind: TaskKind::Work,
        workspace: None,
        priority: 0,
        argv: vec!["true".to_owned()],
        apply_argv: vec![],
        env: vec![],
        secrets: vec![],
        working_dir: None,
        timeout_s: None,
        labels: BTreeMap::new(),
    }
}

/// The session in which a test speaks for a member's agent.
#[must_use]
pub fn session(member: u64) -> Uuid {
    Uuid::from_u128(u128::from(member))
}

/// Speaks for the agent of a member, as soon as there is one.
///
/// # Panics
/// The pool does not have it.
pub async fn connect(service: &Service, pool: &PoolName, member: u64) {
    let id = MemberId { pool: pool.clone(), member };
    loop {
        let (session, version) = (session(member), "test".to_owned());
        let called = Called { session, version, fresh: true, has: vec![], keeps: vec![] };
        match service.agent_connect(&id, called, request()).await {
            Ok(_) => return,
            // Its pod is not up yet.
            Err(AgentError::NoMember | AgentError::Service(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}
