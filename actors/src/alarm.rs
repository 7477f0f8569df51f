//! An actor's next moment: set anew whenever what it waits for has changed.

use std::sync::Arc;

use actix::prelude::{Actor, ActorFutureExt, AsyncContext, Context, SpawnHandle};
use purser_events::Timestamp;

use crate::port::Clock;

/// The moment for which an actor has been set to be woken.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    set: Option<(Timestamp, SpawnHandle)>,
}

impl Alarm {
    /// Sees to it that `ring` is called at `wanted`, and at no moment that was wanted before. `of` finds the alarm in the
    /// actor.
    pub(crate) fn set<A: Actor<Context = Context<A>>>(
        &mut self,
        wanted: Option<Timestamp>,
        clock: &Arc<dyn Clock>,
        ctx: &mut Context<A>,
        of: fn(&mut A) -> &mut Alarm,
        ring: fn(&mut A, &mut Context<A>),
    ) {
        if self.set.map(|(moment, _)| moment) == wanted {
            return;
        }
        if let Some((_, handle)) = self.set.take() {
            ctx.cancel_future(handle);
        }
        let Some(moment) = wanted else { return };
        let clock = clock.clone();
        let wait = async move { clock.sleep_until(moment).await };
        let handle = ctx.spawn(actix::fut::wrap_future::<_, A>(wait).map(move |(), actor, ctx| {
            of(actor).set = None;
            ring(actor, ctx);
        }));
        self.set = Some((moment, handle));
    }
}
