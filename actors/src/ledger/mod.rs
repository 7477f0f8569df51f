//! The actor of the ledger: the only one who gives resources out, and takes them back.

mod count;
mod drift;
pub(crate) mod pins;
mod recover;

use std::collections::BTreeSet;
use std::sync::Arc;

use actix::prelude::{
    Actor, ActorFutureExt, Addr, AsyncContext, AtomicResponse, Context, Handler, Message, SpawnHandle,
    WrapFuture,
};
use purser_events::ledger::event::ReleaseReason;
use purser_events::ledger::{Admission, Admit, Demand, Ledger, LedgerCommand, LedgerEvent, LedgerRejection};
use purser_events::pod::{PodCommand, PodRejection, PodSpec};
use purser_events::{Cause, Decider, PodUid, Seq, Timestamp};
use tokio::sync::Notify;

pub(crate) use recover::recover;

use crate::directory::{Directory, FindUid};
use crate::entity::{By, Done, Entity, Execute, Refusal};
use crate::mailbox;
use crate::pod::report;
use crate::shell::Shell;

/// Owns the ledger's stream.
pub struct LedgerActor {
    entity: Entity<Ledger>,
    shell: Arc<Shell>,
    directory: Option<Addr<Directory>>,
    alarm: Option<(Timestamp, SpawnHandle)>,
    /// Tells that containers may be on the wrong processors.
    pins: Option<Arc<Notify>>,
}

/// Tells the ledger where pods are found.
pub(crate) struct Attach(pub(crate) Addr<Directory>);

impl Message for Attach {
    type Result = ();
}

/// Says that a container has been started, maybe while others got processors alone.
pub(crate) struct Started;

impl Message for Started {
    type Result = ();
}

/// Asks for all that a pod needs.
pub(crate) struct AdmitPod {
    /// The pod.
    pub(crate) uid: PodUid,
    /// What it is to be.
    pub(crate) spec: Arc<PodSpec>,
    /// On whose behalf.
    pub(crate) by: By,
}

impl Message for AdmitPod {
    type Result = Result<Admission, Refusal<LedgerRejection>>;
}

impl LedgerActor {
    /// An actor for the ledger as the journal has it.
    #[must_use]
    pub fn new(entity: Entity<Ledger>, shell: Arc<Shell>) -> LedgerActor {
        LedgerActor { entity, shell, directory: None, alarm: None, pins: None }
    }

    /// Does outside what was decided. `asked` is told by its answer.
    fn react(&mut self, happened: &[(LedgerEvent, Seq)], asked: Option<PodUid>) {
        for (event, seq) in happened {
            match event {
                LedgerEvent::Allocated(allocated) if Some(allocated.pod) != asked => {
                    self.tell_pod(allocated.pod, PodCommand::GrantResources, *seq);
                }
                LedgerEvent::PreemptionRequested(requested) => {
                    let victims: BTreeSet<PodUid> = requested.victims.iter().copied().collect();
                    for victim in victims {
                        self.tell_pod(victim, PodCommand::Stop { grace_s: Some(requested.grace_s) }, *seq);
                    }
                }
                _ => {}
            }
        }
    }

    fn tell_pod(&self, pod: PodUid, command: PodCommand, seq: Seq) {
        let Some(directory) = self.directory.clone() else { return };
        let by = By::node(Cause::Record(seq), self.entity.correlation);
        actix::spawn(async move {
            if let Ok(Some(actor)) = directory.send(FindUid { uid: pod }).await {
                report(&actor, command, by).await;
            }
        });
    }

    /// Sees to it that the ledger is told when the next reservation is over.
    fn set_alarm(&mut self, ctx: &mut Context<LedgerActor>) {
        let wanted = self.entity.state.next_deadline();
        if self.alarm.as_ref().map(|(moment, _)| *moment) == wanted {
            return;
        }
        if let Some((_, handle)) = self.alarm.take() {
            ctx.cancel_future(handle);
        }
        let Some(moment) = wanted else { return };
        let clock = self.shell.clock.clone();
        let wait = async move { clock.sleep_until(moment).await };
        let handle = ctx.spawn(wait.into_actor(self).map(|(), this, ctx| {
            this.alarm = None;
            let by = By::node(Cause::Timer(this.entity.last), this.entity.correlation);
            let told = ctx.address().send(Execute::<Ledger> { command: LedgerCommand::CheckTime, by });
            actix::spawn(async move {
                if let Ok(Err(error)) = told.await {
                    tracing::error!(%error, "failed to record the end of a reservation");
                }
            });
        }));
        self.alarm = Some((moment, handle));
    }
}

impl Actor for LedgerActor {
    type Context = Context<LedgerActor>;

    fn started(&mut self, ctx: &mut Context<LedgerActor>) {
        ctx.set_mailbox_capacity(mailbox::LEN_MAX);
        self.set_alarm(ctx);
    }
}

impl Handler<Attach> for LedgerActor {
    type Result = ();

    fn handle(&mut self, Attach(directory): Attach, ctx: &mut Context<LedgerActor>) {
        drift::begin(&self.shell, &ctx.address());
        self.directory = Some(directory);
        self.pins = Some(pins::begin(&self.shell));
    }
}

impl Handler<Started> for LedgerActor {
    type Result = ();

    fn handle(&mut self, Started: Started, _: &mut Context<LedgerActor>) {
        if let (Some(pins), false) = (&self.pins, self.entity.state.managers.cpu.alone().next().is_none()) {
            pins.notify_one();
        }
    }
}

impl Handler<Execute<Ledger>> for LedgerActor {
    type Result = AtomicResponse<LedgerActor, Result<Done, Refusal<LedgerRejection>>>;

    fn handle(&mut self, execute: Execute<Ledger>, _: &mut Context<LedgerActor>) -> Self::Result {
        let asked = match &execute.command {
            LedgerCommand::Admit(admit) => Some(admit.pod),
            _ => None,
        };
        let commit = self.entity.commit(&execute, &self.shell).into_actor(self);
        AtomicResponse::new(Box::pin(commit.map(move |committed, this, ctx| {
            if let Err(Refusal::Rejected(rejection)) = &committed {
                count::refused(rejection);
            }
            let shared = this.entity.state.managers.cpu.shared();
            let (done, happened) = this.entity.accept(committed?);
            if let (Some(pins), true) = (&this.pins, shared != this.entity.state.managers.cpu.shared()) {
                pins.notify_one();
            }
            this.react(&happened, asked);
            this.set_alarm(ctx);
            let events: Vec<LedgerEvent> = happened.into_iter().map(|(event, _)| event).collect();
            Ledger::refusal(&events).map_or(Ok(done), |rejection| Err(Refusal::Rejected(rejection)))
        })))
    }
}

impl Handler<AdmitPod> for LedgerActor {
    type Result = actix::ResponseFuture<Result<Admission, Refusal<LedgerRejection>>>;

    fn handle(&mut self, asked: AdmitPod, ctx: &mut Context<LedgerActor>) -> Self::Result {
        let AdmitPod { uid, spec, by } = asked;
        let (ledger, shell) = (ctx.address(), self.shell.clone());
        Box::pin(async move {
            let admit = match admit(uid, &spec, &by) {
                Ok(admit) => admit,
                Err(rejection) => return Ok(Admission::Refused(Box::new(rejection))),
            };
            // What it comes to is remembered with the pod's own answer.
            let by = By { key: None, ..by };
            let command = LedgerCommand::Admit(Box::new(admit));
            match ledger.send(Execute::<Ledger> { command, by }).await {
                Ok(Ok(_)) => {}
                Ok(Err(Refusal::Rejected(rejection))) => {
                    return Ok(Admission::Refused(Box::new(rejection)));
                }
                Ok(Err(refusal)) => return Err(refusal),
                Err(_) => return Err(Refusal::Fenced),
            }
            let is_granted = shell.live.read(|world| world.ledger.grant(uid).is_some());
            Ok(if is_granted { Admission::Granted } else { Admission::Waiting })
        })
    }
}

/// What a pod asks of the ledger.
fn admit(uid: PodUid, spec: &PodSpec, by: &By) -> Result<Admit, LedgerRejection> {
    let demand = Demand::of(spec).map_err(|error| LedgerRejection::Uncountable { kind: error.kind })?;
    let owner = by.origin.principal.to_string();
    Ok(Admit {
        pod: uid,
        namespace: spec.id.namespace().to_owned(),
        demand,
        priority: spec.claims.priority,
        when_full: spec.claims.when_full,
        reservation: spec.claims.reservation.map(|reservation| (reservation, owner)),
        adopt: false,
    })
}

/// Takes back what a pod has. It is on record sooner or later: a start looks for what was missed.
pub(crate) async fn release(ledger: &Addr<LedgerActor>, pod: PodUid, reason: ReleaseReason, by: By) {
    let command = LedgerCommand::Release { pod, reason };
    match ledger.send(Execute::<Ledger> { command, by: By { key: None, ..by } }).await {
        Ok(Ok(_)) | Err(_) => {}
        Ok(Err(error)) => {
            tracing::error!(%pod, %error, "failed to record that a pod has its resources no longer");
        }
    }
}

/// A refusal of the ledger as the pod's.
pub(crate) fn for_pod(refusal: Refusal<LedgerRejection>) -> Refusal<PodRejection> {
    match refusal {
        Refusal::Rejected(rejection) => Refusal::Rejected(rejection.into()),
        Refusal::KeyReused => Refusal::KeyReused,
        Refusal::Busy { retry_after_ms } => Refusal::Busy { retry_after_ms },
        Refusal::NoRoom => Refusal::NoRoom,
        Refusal::TooLarge { len, max } => Refusal::TooLarge { len, max },
        Refusal::Retired => Refusal::Retired,
        Refusal::Fenced => Refusal::Fenced,
    }
}
