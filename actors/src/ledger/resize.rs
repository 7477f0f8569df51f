//! Other amounts for pods that go on, asked for and settled by them.

use actix::prelude::{ActorFutureExt, AsyncContext, AtomicResponse, Context, Handler, Message};
use purser_events::PodUid;
use purser_events::ledger::{Admission, Ledger, LedgerCommand, LedgerRejection, ResizeHolding};

use super::LedgerActor;
use crate::entity::{By, Execute, Refusal};

/// Asks for other amounts, besides what the pod has until that is settled.
pub(crate) struct Regrant {
    /// Whose, and which.
    pub(crate) holding: ResizeHolding,
    /// On whose behalf.
    pub(crate) by: By,
}

impl Message for Regrant {
    type Result = Result<Admission, Refusal<LedgerRejection>>;
}

/// Says what became of other amounts. In order, and repeated, as [`super::GiveBack`] is.
pub(crate) struct SettleResize {
    /// Whose.
    pub(crate) pod: PodUid,
    /// The generation of the pod that they were for.
    pub(crate) generation: u32,
    /// Whether it has them.
    pub(crate) done: bool,
    /// On whose behalf.
    pub(crate) by: By,
}

impl Message for SettleResize {
    type Result = ();
}

impl Handler<Regrant> for LedgerActor {
    type Result = actix::ResponseFuture<Result<Admission, Refusal<LedgerRejection>>>;

    fn handle(&mut self, Regrant { holding, by }: Regrant, ctx: &mut Context<LedgerActor>) -> Self::Result {
        let ledger = ctx.address();
        Box::pin(async move {
            // What it comes to is remembered with the pod's own answer.
            let by = By { key: None, ..by };
            let command = LedgerCommand::Resize(Box::new(holding));
            match ledger.send(Execute::<Ledger> { command, by }).await {
                Ok(Ok(_)) => Ok(Admission::Granted),
                Ok(Err(Refusal::Rejected(rejection))) => Ok(Admission::Refused(Box::new(rejection))),
                Ok(Err(refusal)) => Err(refusal),
                Err(_) => Err(Refusal::Fenced),
            }
        })
    }
}

impl Handler<SettleResize> for LedgerActor {
    type Result = AtomicResponse<LedgerActor, ()>;

    fn handle(&mut self, settle: SettleResize, _: &mut Context<LedgerActor>) -> Self::Result {
        let SettleResize { pod, generation, done, by } = settle;
        let command = LedgerCommand::SettleResize { pod, generation, done };
        let settled = self.carry_out(Execute { command, by: By { key: None, ..by } }, None);
        AtomicResponse::new(Box::pin(settled.map(move |outcome, _, _| {
            if let Err(error) = outcome {
                tracing::error!(%pod, %error, "failed to record that a pod was resized; it is tried again");
            }
        })))
    }
}
