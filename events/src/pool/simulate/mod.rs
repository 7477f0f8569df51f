//! What a pool would have done by another scaling policy: what is on record of its tasks is handed in again, to the same
//! decider, by a clock that stands still between two events.
//!
//! The loop is closed for pods and slots: who gets which slot when is decided anew. What people and programs did is as
//! recorded: when tasks were handed in, how long each phase of them took, and when plans were confirmed. Pods come up
//! after as long as they took by the record, and none is lost.

mod demand;
mod figures;
mod model;

use std::collections::BTreeSet;

use serde::Serialize;

use super::event::Scaled;
use super::{LocalTime, Pool, PoolEvent, PoolSpec, ScalingPolicy, SlotPolicy, TaskPolicy};
use crate::decider::{Decider, IllegalTransition};
use crate::units::Timestamp;
use demand::Demand;
pub use figures::Figures;
use model::Model;

/// A record of the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: PoolEvent,
}

/// What the clock on the wall says in a zone; none if the zone is not known.
pub type WallClock<'a> = &'a dyn Fn(&str, Timestamp) -> Option<LocalTime>;

/// Why nothing can be simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// There is nothing on record.
    #[error("nothing is on record of the pool in that time")]
    Nothing,
    /// The pool's beginning is not kept any more.
    #[error("the journal no longer has the pool's beginning, so how it stood then cannot be told")]
    Trimmed,
    /// Its records contradict each other.
    #[error("the pool's records cannot be followed")]
    Broken(#[from] IllegalTransition),
    /// The zone of a policy is not known here.
    #[error("this machine knows no time zone `{zone}`: install its tzdata")]
    Zone {
        /// Which.
        zone: String,
    },
}

/// What is to hold in place of what is on record; what is none stays as it was set, each time that it was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Instead {
    /// How many pods there are.
    pub scaling: Option<ScalingPolicy>,
    /// The slots of each pod.
    pub slots: Option<SlotPolicy>,
    /// What holds for tasks.
    pub tasks: Option<TaskPolicy>,
}

impl Instead {
    /// A specification with that in it.
    #[must_use]
    pub fn overlaid(&self, spec: &PoolSpec) -> PoolSpec {
        let Instead { scaling, slots, tasks } = self;
        PoolSpec {
            scaling: scaling.as_ref().unwrap_or(&spec.scaling).clone(),
            slots: slots.unwrap_or(spec.slots),
            tasks: tasks.as_ref().unwrap_or(&spec.tasks).clone(),
            ..spec.clone()
        }
    }
}

/// What came of it; `D` is a decision as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulated<D = Scaled> {
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Tasks that were handed in.
    pub tasks: usize,
    /// How long pods took to come up, in milliseconds: the median, or a guess if none did.
    pub start_up_ms: u64,
    /// Where the two policies first want another number of pods; none if they never do.
    pub first_difference: Option<Difference<D>>,
    /// What is on record.
    pub recorded: Figures,
    /// The policy that was in force, simulated: how near that comes to the record tells how good the model is.
    pub held: Figures,
    /// The other policy, simulated.
    pub other: Figures,
}

/// Two policies that want another number of pods.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference<D = Scaled> {
    /// When.
    pub at: Timestamp,
    /// The last decision by the policy in force; none if there was none yet.
    pub held: Option<D>,
    /// The last by the other; none if there was none yet.
    pub other: Option<D>,
}

impl Simulated {
    /// The same with its decisions shown in another way.
    pub fn shown<D>(self, show: impl Fn(&Scaled) -> D) -> Simulated<D> {
        let Simulated { since, until, tasks, start_up_ms, first_difference, recorded, held, other } = self;
        let first_difference = first_difference.map(|Difference { at, held, other }| Difference {
            at,
            held: held.as_ref().map(&show),
            other: other.as_ref().map(&show),
        });
        Simulated { since, until, tasks, start_up_ms, first_difference, recorded, held, other }
    }
}

/// Runs another scaling policy over what is on record of a pool, oldest first, from its beginning.
///
/// # Errors
/// See [`SimulateError`].
pub fn simulate(
    past: &[Happened],
    other: &ScalingPolicy,
    since: Timestamp,
    until: Timestamp,
    clock: WallClock<'_>,
) -> Result<Simulated, SimulateError> {
    let instead = Instead { scaling: Some(other.clone()), ..Instead::default() };
    simulate_instead(past, &instead, since, until, clock)
}

/// Runs other rules over what is on record of a pool, oldest first, from its beginning.
///
/// # Errors
/// See [`SimulateError`].
pub fn simulate_instead(
    past: &[Happened],
    other: &Instead,
    since: Timestamp,
    until: Timestamp,
    clock: WallClock<'_>,
) -> Result<Simulated, SimulateError> {
    let first = past.first().ok_or(SimulateError::Nothing)?;
    let PoolEvent::SpecSet(_) = first.event else { return Err(SimulateError::Trimmed) };
    let since = since.max(first.at);
    if until <= since {
        return Err(SimulateError::Nothing);
    }
    let (before, after) = past.split_at(past.partition_point(|happened| happened.at <= since));
    let mut start = Pool::default();
    for happened in before {
        start.follow(&happened.event)?;
    }
    let demand = Demand::of(past, since);
    let run = |policy| Model::new(start.clone(), &demand, policy, clock).run(after, since, until);
    let held = run(None)?;
    let other = run(Some(other))?;
    Ok(Simulated {
        since,
        until,
        tasks: demand.submitted_since(since),
        start_up_ms: demand.start_up_ms,
        first_difference: difference(&held.decisions, &other.decisions),
        recorded: figures::recorded(start, after, since, until)?,
        held: held.into_figures(until),
        other: other.into_figures(until),
    })
}

/// Where two runs first want another number of pods.
fn difference(held: &[Scaled], other: &[Scaled]) -> Option<Difference> {
    let moments: BTreeSet<Timestamp> = held.iter().chain(other).map(|scaled| scaled.at).collect();
    let last = |run: &[Scaled], at: Timestamp| run.iter().rfind(|scaled| scaled.at <= at).cloned();
    moments.into_iter().find_map(|at| {
        let (held, other) = (last(held, at), last(other, at));
        let wanted = |scaled: &Option<Scaled>| scaled.as_ref().map(|scaled| scaled.verdict.wanted);
        let differs = wanted(&held) != wanted(&other);
        differs.then_some(Difference { at, held, other })
    })
}
