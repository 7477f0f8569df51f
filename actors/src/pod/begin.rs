//! The beginning of a run: the ledger is asked first, then the pod decides. Nothing else reaches the pod in between.

use std::sync::Arc;

use actix::prelude::{ActorFutureExt, Addr, AtomicResponse, Context, Handler, Message, WrapFuture};
use purser_events::ledger::Admission;
use purser_events::ledger::event::ReleaseReason;
use purser_events::pod::{Phase, Pod, PodCommand, PodRejection, PodSpec, PodState};
use purser_events::{PodUid, Seq};

use super::PodActor;
use crate::entity::{By, Done, Execute, Refusal};
use crate::ledger::{AdmitPod, LedgerActor, Started, for_pod, release};

/// Asks a pod to run.
pub struct Begin {
    /// How.
    pub how: Beginning,
    /// On whose behalf.
    pub by: By,
}

/// How a run begins.
#[derive(Debug, Clone)]
pub enum Beginning {
    /// The pod is to be.
    Admit {
        /// What it is to be.
        spec: Box<PodSpec>,
        /// The incarnation that had the name before.
        supersedes: Option<PodUid>,
    },
    /// It has ended, and is to run again.
    Start,
}

impl Message for Begin {
    type Result = Result<Done, Refusal<PodRejection>>;
}

impl Beginning {
    fn command(self, uid: PodUid, admission: Admission) -> PodCommand {
        match self {
            Beginning::Admit { spec, supersedes } => PodCommand::Admit { uid, spec, supersedes, admission },
            Beginning::Start => PodCommand::Start { admission },
        }
    }
}

impl PodActor {
    /// What the ledger is to be asked for, if the pod is about to begin a run.
    fn wanted(&self, how: &Beginning) -> Option<Arc<PodSpec>> {
        match (how, &self.entity.state) {
            // A node that takes no pods says so before anything is given.
            (Beginning::Admit { spec, .. }, Pod::Unknown) => {
                let is_cordoned = self.shell.live.context(self.shell.clock.now()).cordoned.is_some();
                (!is_cordoned).then(|| Arc::new(PodSpec::clone(spec)))
            }
            (Beginning::Start, Pod::Live(pod)) => {
                matches!(pod.phase, Phase::Stopped(_) | Phase::Failed(_)).then(|| pod.spec.clone())
            }
            (Beginning::Admit { .. } | Beginning::Start, _) => None,
        }
    }

    /// Gives back what the ledger gave for a run that did not begin.
    fn return_unused(&self, by: By) {
        if !self.live().is_some_and(PodState::may_hold_resources) {
            let (ledger, uid) = (self.ledger.clone(), self.uid);
            actix::spawn(async move { release(&ledger, uid, ReleaseReason::NotAdmitted, by).await });
        }
    }

    /// Says that a container came up, maybe on processors that are somebody else's by now.
    pub(super) fn tell_ledger(&self) {
        let told = self.ledger.send(Started);
        actix::spawn(async move {
            // A ledger that is gone went with the service.
            let _ = told.await;
        });
    }

    /// Nothing of the pod runs any more: others may have what it had.
    pub(super) fn give_back(&self, seq: Seq) {
        let by = self.by(purser_events::Cause::Record(seq));
        let (ledger, uid) = (self.ledger.clone(), self.uid);
        actix::spawn(async move { release(&ledger, uid, ReleaseReason::Ended, by).await });
    }
}

/// What the ledger says to a pod that is about to run, if it is to be asked.
async fn admission(
    ledger: Addr<LedgerActor>,
    uid: PodUid,
    wanted: Option<Arc<PodSpec>>,
    by: By,
) -> Result<Admission, Refusal<PodRejection>> {
    let Some(spec) = wanted else { return Ok(Admission::Granted) };
    ledger.send(AdmitPod { uid, spec, by }).await.unwrap_or(Err(Refusal::Fenced)).map_err(for_pod)
}

impl Handler<Begin> for PodActor {
    type Result = AtomicResponse<PodActor, Result<Done, Refusal<PodRejection>>>;

    fn handle(&mut self, Begin { how, by }: Begin, _: &mut Context<PodActor>) -> Self::Result {
        if self.is_over() {
            return AtomicResponse::new(Box::pin(async { Err(Refusal::Retired) }.into_actor(self)));
        }
        let wanted = self.wanted(&how);
        let has_asked = wanted.is_some();
        let (uid, given_back) = (self.uid, by.clone());
        let asked = admission(self.ledger.clone(), uid, wanted, by.clone());
        let begun = asked.into_actor(self).then(move |admission, this, _| {
            let commit = admission.map(|admission| {
                let execute = Execute { command: how.command(uid, admission), by };
                this.entity.commit(&execute, &this.shell)
            });
            async move { commit?.await }.into_actor(this)
        });
        AtomicResponse::new(Box::pin(begun.map(move |committed, this, ctx| {
            let outcome = committed.map(|committed| this.settle(committed, ctx));
            if has_asked {
                this.return_unused(given_back);
            }
            outcome
        })))
    }
}
