//! The beginning of a run: the ledger is asked first, then the pod decides. Nothing else reaches the pod in between.

use std::sync::Arc;

use actix::prelude::{ActorFutureExt, Addr, AtomicResponse, Context, Handler, Message, WrapFuture};
use purser_events::ledger::event::ReleaseReason;
use purser_events::ledger::{Admission, LedgerRejection};
use purser_events::pod::event::StopWhy;
use purser_events::pod::{Phase, Pod, PodCommand, PodRejection, PodSpec, PodState};
use purser_events::{Cause, PodUid, Seq};

use tokio::task::JoinHandle;

use super::PodActor;
use crate::entity::{By, Done, Execute, Refusal};
use crate::ledger::{AdmitPod, GiveBack, LedgerActor, PutDown, Started, Step, for_pod};

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

/// Asks a pod whether the ledger has of it what it should.
pub(crate) struct Agree;

impl Message for Agree {
    type Result = ();
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

/// What is to be asked of the ledger before a pod decides.
enum Question {
    /// It begins no run: nothing.
    None,
    /// All that it needs.
    Admit(Arc<PodSpec>),
    /// Nothing, since it begins no run now whatever is free, though the reason may be gone in a moment.
    Refused(LedgerRejection),
}

impl PodActor {
    /// What is to be asked before a run begins so.
    fn question(&self, how: &Beginning) -> Question {
        match (how, &self.entity.state) {
            // A node that takes no pods says so before anything is given.
            (Beginning::Admit { spec, .. }, Pod::Unknown) => {
                match self.shell.live.context(self.shell.clock.now()).cordoned {
                    Some(reason) => Question::Refused(LedgerRejection::Cordoned { reason }),
                    None => Question::Admit(Arc::new(PodSpec::clone(spec))),
                }
            }
            (Beginning::Start, Pod::Live(pod))
                if matches!(pod.phase, Phase::Stopped(_) | Phase::Failed(_)) =>
            {
                // What was reserved for it was taken up by its first run, and ended with that.
                let mut spec = PodSpec::clone(&pod.spec);
                spec.claims.reservation = None;
                Question::Admit(Arc::new(spec))
            }
            (Beginning::Admit { .. } | Beginning::Start, _) => Question::None,
        }
    }

    /// Gives back what the ledger gave for a run that did not begin.
    fn return_unused(&mut self, by: By) {
        if !self.live().is_some_and(PodState::may_hold_resources) {
            self.return_all(ReleaseReason::NotAdmitted, by);
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
    pub(super) fn give_back(&mut self, seq: Seq) {
        self.return_all(ReleaseReason::Ended, self.by(Cause::Record(seq)));
    }

    fn return_all(&mut self, reason: ReleaseReason, by: By) {
        self.write_to_ledger(GiveBack { pod: self.uid, reason, by });
    }

    /// Tells the ledger something before whatever the pod asks of it next.
    pub(super) fn write_to_ledger<M>(&mut self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        LedgerActor: Handler<M>,
    {
        let (sent, before) = (self.ledger.send(message), self.told_ledger.take());
        self.told_ledger = Some(tokio::task::spawn_local(async move {
            said(before).await;
            // A ledger that is gone went with the service.
            let _ = sent.await;
        }));
    }

    /// Does what is to be done so that the ledger and the pod agree. Nothing that the pod has asked of the ledger is under
    /// way now, but for what it was told before this.
    fn agree(&mut self, ctx: &mut Context<PodActor>) {
        let pod = self.live();
        let Some(step) = self.shell.live.read(|world| Step::of(&world.ledger, self.uid, pod)) else { return };
        tracing::info!(pod = %self.id, ?step, "ledger and pod do not agree; that is put right");
        let by = By::node(Cause::Node, self.entity.correlation);
        let pod = self.uid;
        match step {
            Step::GiveBack => self.return_all(ReleaseReason::FoundLater, by),
            Step::Adopt(spec) => self.write_to_ledger(PutDown { pod, spec, adopt: true, by }),
            Step::Queue(spec) => self.write_to_ledger(PutDown { pod, spec, adopt: false, by }),
            Step::SettleResize { generation, done } => self.settle_resize(generation, done, by),
            Step::TakeUp => self.tell(PodCommand::GrantResources, by, ctx),
            Step::MakeWay { grace_s, by: preemptor } => {
                let why = StopWhy::Preempted { by: preemptor };
                self.tell(PodCommand::Stop { grace_s: Some(grace_s), why }, by, ctx);
            }
        }
    }
}

/// Waits until the ledger was told something.
pub(super) async fn said(told: Option<JoinHandle<()>>) {
    if let Some(told) = told {
        // It ends with the service, if not before.
        let _ = told.await;
    }
}

/// What the ledger says to a pod that is about to run, if it is to be asked.
async fn admission(
    ledger: Addr<LedgerActor>,
    uid: PodUid,
    question: Question,
    by: By,
) -> Result<Admission, Refusal<PodRejection>> {
    match question {
        Question::None => Ok(Admission::Granted),
        Question::Refused(rejection) => Ok(Admission::Refused(Box::new(rejection))),
        Question::Admit(spec) => {
            ledger.send(AdmitPod { uid, spec, by }).await.unwrap_or(Err(Refusal::Fenced)).map_err(for_pod)
        }
    }
}

impl Handler<Begin> for PodActor {
    type Result = AtomicResponse<PodActor, Result<Done, Refusal<PodRejection>>>;

    fn handle(&mut self, Begin { how, by }: Begin, _: &mut Context<PodActor>) -> Self::Result {
        if self.is_over() {
            return AtomicResponse::new(Box::pin(async { Err(Refusal::Retired) }.into_actor(self)));
        }
        if let Some(changes) = self.sizes_of(&how) {
            return AtomicResponse::new(self.resize(changes, None, by));
        }
        let question = self.question(&how);
        let has_asked = matches!(question, Question::Admit(_));
        let (uid, given_back) = (self.uid, by.clone());
        let (told, ledger, asking) = (self.told_ledger.take(), self.ledger.clone(), by.clone());
        let asked = async move {
            said(told).await;
            admission(ledger, uid, question, asking).await
        };
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

impl Handler<Agree> for PodActor {
    type Result = ();

    fn handle(&mut self, _: Agree, ctx: &mut Context<PodActor>) {
        if !self.retired {
            self.agree(ctx);
        }
    }
}
