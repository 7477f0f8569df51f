//! What follows by itself from a change, in the same decision: who waits gets what came free.

use super::command::PoolCommand;
use super::event::PoolEvent;
use super::state::Pool;
use crate::context::Context;

/// The events of an answer and all that follow from them now.
pub(super) fn complete(
    pool: &Pool,
    events: Vec<PoolEvent>,
    command: &PoolCommand,
    context: &Context,
) -> Vec<PoolEvent> {
    let _ = (pool, command, context);
    events
}
