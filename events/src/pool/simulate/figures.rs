//! How a time went for a pool: pods, decisions and waits.

use std::collections::BTreeMap;

use crate::pool::event::Scaled;
use crate::pool::{Pool, PoolEvent, TaskId};
use crate::{Decider, IllegalTransition, Timestamp};
use serde::Serialize;

use super::Happened;

/// How a time went.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Hours that pods were there or coming, of all together, in thousandths.
    pub pod_milli_hours: u64,
    /// Most pods at once.
    pub pods_max: u32,
    /// Decisions on the number of pods.
    pub decisions: usize,
    /// Tasks that ended.
    pub ended: usize,
    /// Tasks that were not over at the end.
    pub left: usize,
    /// How long tasks waited for their first slot: the median, in milliseconds.
    pub wait_median_ms: u64,
    /// Of a hundred tasks, 95 waited no longer, in milliseconds.
    pub wait_95_ms: u64,
    /// The longest wait, in milliseconds; of who still waits, until the end.
    pub wait_max_ms: u64,
}

/// Counts as events come.
#[derive(Debug)]
pub(super) struct Counting {
    pub(super) decisions: Vec<Scaled>,
    /// Until when pods are counted.
    counted_at: Timestamp,
    pods: u32,
    pods_max: u32,
    pod_ms: u64,
    ended: usize,
    open: usize,
    waiting: BTreeMap<TaskId, Timestamp>,
    waits: Vec<u64>,
}

impl Counting {
    /// Counts from this moment on.
    pub(super) fn new(start: &Pool, since: Timestamp) -> Counting {
        let pods = live(start);
        Counting {
            decisions: vec![],
            counted_at: since,
            pods,
            pods_max: pods,
            pod_ms: 0,
            ended: 0,
            open: start.tasks.values().filter(|task| !task.is_over()).count(),
            waiting: BTreeMap::new(),
            waits: vec![],
        }
    }

    /// Takes notice of an event after which the pool is `pool`.
    pub(super) fn note(&mut self, event: &PoolEvent, pool: &Pool, at: Timestamp) {
        use PoolEvent as E;
        match event {
            E::MemberRequested(_)
            | E::MemberRequestFailed(_)
            | E::MemberRemovalRequested(_)
            | E::MemberRemoved(_)
            | E::MemberLost(_)
            | E::Removed(_) => {
                self.pass(at);
                self.pods = live(pool);
                self.pods_max = self.pods_max.max(self.pods);
            }
            E::TaskSubmitted(event) => {
                self.open += 1;
                self.waiting.insert(event.spec.id, at);
            }
            E::TaskAssigned(event) => {
                self.waits.extend(self.waiting.remove(&event.task).map(|since| at.ms_since(since)));
            }
            E::TaskEnded(event) => {
                self.open = self.open.saturating_sub(1);
                self.ended += 1;
                // Who never had a slot waited for none any more.
                self.waiting.remove(&event.task);
            }
            E::Scaled(scaled) => self.decisions.push(Scaled::clone(scaled)),
            _ => {}
        }
    }

    fn pass(&mut self, at: Timestamp) {
        self.pod_ms += u64::from(self.pods) * at.ms_since(self.counted_at);
        self.counted_at = self.counted_at.max(at);
    }

    /// What it came to.
    pub(super) fn into_figures(mut self, until: Timestamp) -> Figures {
        self.pass(until);
        let mut waits = self.waits;
        waits.extend(self.waiting.values().map(|since| until.ms_since(*since)));
        waits.sort_unstable();
        let of_hundred =
            |part: usize| waits.get((waits.len() * part / 100).min(waits.len().saturating_sub(1)));
        Figures {
            pod_milli_hours: self.pod_ms / 3_600,
            pods_max: self.pods_max,
            decisions: self.decisions.len(),
            ended: self.ended,
            left: self.open,
            wait_median_ms: of_hundred(50).copied().unwrap_or(0),
            wait_95_ms: of_hundred(95).copied().unwrap_or(0),
            wait_max_ms: waits.last().copied().unwrap_or(0),
        }
    }
}

fn live(pool: &Pool) -> u32 {
    u32::try_from(pool.live_members().count()).unwrap_or(u32::MAX)
}

/// What is on record of a time.
pub(super) fn recorded(
    start: Pool,
    after: &[Happened],
    since: Timestamp,
    until: Timestamp,
) -> Result<Figures, IllegalTransition> {
    let mut counting = Counting::new(&start, since);
    let mut pool = start;
    for Happened { at, event } in after.iter().take_while(|happened| happened.at <= until) {
        pool.follow(event)?;
        counting.note(event, &pool, *at);
    }
    Ok(counting.into_figures(until))
}
