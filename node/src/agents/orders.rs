//! A pool's orders as agents read them.

use purser_actors::pool::AgentOrders;
use purser_events::pool::event::CancelReason;
use purser_events::pool::state;
use purser_events::pool::{Phase, TaskId, TaskKind, Token};

use super::Agents;
use crate::agent::protocol::{self, Assignment, Cancel, Kind, Order, Orders};

/// Time between SIGTERM and SIGKILL of a task whose time is over, in seconds.
const GRACE_S: u64 = 10;

/// Orders as an agent reads them, with the secrets of tasks that are not begun; and the tasks that have some which cannot be
/// read, with why: those are ordered nobody.
pub(super) async fn told(orders: AgentOrders, agents: &Agents) -> (Orders, Vec<((TaskId, Token), String)>) {
    let (mut told, mut unreadable) = (vec![], vec![]);
    for of in orders.orders {
        let secrets = match &of {
            state::Order::Run { task, token, spec, started: false, .. } => {
                Some((*task, *token, spec.secrets.clone()))
            }
            state::Order::Run { .. } | state::Order::Cancel { .. } | state::Order::Drain => None,
        };
        let mut order = order(of);
        if let (Some((task, token, secrets)), Order::Assign(assignment)) = (secrets, &mut order) {
            match agents.secrets(secrets).await {
                Ok(values) => assignment.env.extend(values),
                Err(message) => {
                    unreadable.push(((task, token), message));
                    continue;
                }
            }
        }
        told.push(order);
    }
    (Orders { orders: told, seen: orders.seen }, unreadable)
}

fn order(order: state::Order) -> Order {
    match order {
        state::Order::Run { task, slot, token, phase, attempt, spec, timeout_s, started: _ } => {
            Order::Assign(Assignment {
                task: task.0,
                token: token.0,
                slot: slot.slot,
                phase: match phase {
                    Phase::Plan => protocol::Phase::Plan,
                    Phase::Apply => protocol::Phase::Apply,
                    Phase::Only => protocol::Phase::Only,
                },
                kind: kind(spec.kind),
                workspace: spec.workspace.as_ref().map(ToString::to_string),
                argv: spec.argv_of(phase).to_vec(),
                env: spec.env.iter().map(|var| (var.name.clone(), var.value.clone())).collect(),
                working_dir: spec.working_dir.clone(),
                timeout_s: Some(u64::from(timeout_s)),
                grace_s: GRACE_S,
                attempt,
            })
        }
        state::Order::Cancel { task, token, reason, grace_s } => Order::Cancel(Cancel {
            task: task.0,
            token: token.0,
            reason: because(reason).to_owned(),
            grace_s: u64::from(grace_s),
        }),
        state::Order::Drain => Order::Drain {},
    }
}

fn kind(kind: TaskKind) -> Kind {
    match kind {
        TaskKind::Plan => Kind::Plan,
        TaskKind::Apply => Kind::Apply,
        TaskKind::PlanAndApply => Kind::PlanAndApply,
        TaskKind::DriftCheck => Kind::DriftCheck,
        TaskKind::Work => Kind::Work,
    }
}

fn because(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::Requested => "somebody wants it to end",
        CancelReason::TimedOut => "it has taken too long",
        CancelReason::PoolRemoved => "the pool is removed",
    }
}
