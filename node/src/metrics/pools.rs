//! Pools as metrics: the series of a pool go with it.

use std::collections::BTreeMap;

use metrics::{counter, gauge};
use purser_actors::metric;
use purser_actors::service::Service;
use purser_events::Timestamp;
use purser_events::pool::{Pool, PoolName};

use super::process::exact;
use crate::api::pools::view::{PoolStatus, all};

/// The states of each kind. All of them are always shown, so that a zero can be told from no answer.
const POOL_STATES: [&str; 4] = ["active", "frozen", "gave-up", "leaving"];
const MEMBER_STATES: [&str; 6] = ["requested", "starting", "connected", "away", "removing", "lost"];
const SLOT_STATES: [&str; 3] = ["idle", "running", "reserved"];
const TASK_STATES: [&str; 3] = ["pending", "running", "apply_pending"];

/// Puts the figures of all pools into the recorder in force.
pub(super) fn record(service: &Service) {
    // Taken out first: nothing is committed while the world is read.
    let (seq, pools) = service.world(|world| (world.head, all(world)));
    let now = service.now();
    for (name, pool) in &pools {
        record_pool(name, pool, &PoolStatus::of(pool, seq), now);
    }
}

fn record_pool(name: &PoolName, pool: &Pool, status: &PoolStatus, now: Timestamp) {
    let name = name.to_string();
    for state in POOL_STATES {
        let labels = [("pool", name.clone()), ("state", state.to_owned())];
        gauge!(metric::POOL_STATE.name, &labels).set(if status.state == state { 1.0 } else { 0.0 });
    }
    by_state(&name, metric::POOL_MEMBERS.name, &MEMBER_STATES, &status.members_by_state);
    by_state(&name, metric::POOL_SLOTS.name, &SLOT_STATES, &status.slots_by_state);
    by_state(&name, metric::POOL_TASKS.name, &TASK_STATES, &status.tasks_by_state);
    let set = |metric: &'static str, value: f64| gauge!(metric, "pool" => name.clone()).set(value);
    let max = pool.spec.as_ref().map_or(0, |spec| spec.scaling.max_replicas);
    set(metric::POOL_WANTED.name, f64::from(status.wanted));
    set(metric::POOL_MAX.name, f64::from(max));
    set(metric::POOL_OUTDATED.name, f64::from(status.outdated));
    let age_ms = status.waiting_since.map_or(0, |since| now.ms_since(since));
    set(metric::POOL_QUEUE_AGE.name, exact(age_ms) / 1_000.0);
    counter!(metric::POOL_SUBMITTED.name, "pool" => name.clone()).absolute(pool.submitted);
    counter!(metric::POOL_ENDED.name, "pool" => name.clone()).absolute(pool.ended_count);
}

fn by_state(pool: &str, metric: &'static str, states: &[&'static str], counts: &BTreeMap<String, u32>) {
    for state in states {
        let labels = [("pool", pool.to_owned()), ("state", (*state).to_owned())];
        gauge!(metric, &labels).set(f64::from(counts.get(*state).copied().unwrap_or(0)));
    }
}
