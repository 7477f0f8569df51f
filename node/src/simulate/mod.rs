//! What a pool would have done by another scaling policy, as the command line shows it.

#[cfg(test)]
pub(crate) mod tests;

use purser_events::Timestamp;
use purser_events::pool::ScalingPolicy;
use purser_events::pool::simulate::{Difference as OfDecisions, Simulated as WithDecisions};
pub use purser_events::pool::simulate::{Figures, Happened, SimulateError, WallClock};

use crate::api::pools::scaling::ScaledView;

/// What came of it.
pub type Simulated = WithDecisions<ScaledView>;

/// Two policies that want another number of pods.
pub type Difference = OfDecisions<ScaledView>;

/// Runs another policy over what is on record of a pool, oldest first, from its beginning.
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
    let simulated = purser_events::pool::simulate::simulate(past, other, since, until, clock)?;
    Ok(simulated.shown(ScaledView::of))
}
