//! Events that cannot happen change nothing.

use purser_events::decider::Decider;
use purser_events::pool::{Pool, PoolEvent, TaskState};

/// What happened once cannot happen again, as a rule, nor with another token or for another task.
///
/// # Errors
/// It cannot, and yet something has changed.
pub(super) fn refused(before: &Pool, past: &PoolEvent) -> Result<(), String> {
    for event in [past.clone(), renewed(past, before)] {
        let mut pool = before.clone();
        if pool.follow(&event).is_err() && pool != *before {
            return Err(format!("{event:?} cannot happen, but changed the pool"));
        }
    }
    Ok(())
}

/// An event as if it happened now: with a token that nobody has had, for somebody who waits.
fn renewed(event: &PoolEvent, pool: &Pool) -> PoolEvent {
    let mut event = event.clone();
    let waits = pool.tasks.values().find(|task| matches!(task.state, TaskState::Pending { .. }));
    match &mut event {
        PoolEvent::TaskAssigned(it) => {
            it.token = pool.last_token.next();
            it.task = waits.map_or(it.task, |task| task.spec.id);
        }
        PoolEvent::TaskPlanned(it) => it.token = pool.last_token.next(),
        PoolEvent::TaskConfirmed(it) => it.token = pool.last_token.next(),
        _ => {}
    }
    event
}
