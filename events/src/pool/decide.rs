//! What a pool answers to a command, before what then follows by itself.

use super::command::{PoolCommand, PoolRejection};
use super::event::PoolEvent;
use super::state::Pool;
use crate::context::Context;

/// Says what a command would make happen, before what then follows by itself.
pub(super) fn answer(
    pool: &Pool,
    command: &PoolCommand,
    context: &Context,
) -> Result<Vec<PoolEvent>, PoolRejection> {
    let _ = (pool, command, context);
    Ok(vec![])
}
