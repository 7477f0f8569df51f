//! The actor of the ledger: the only one who gives resources out, and takes them back.

pub mod count;
pub(crate) mod drift;
pub(crate) mod pins;
pub(crate) mod ports;
mod recover;
mod resize;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use actix::prelude::{
    Actor, ActorFuture, ActorFutureExt, Addr, AsyncContext, AtomicResponse, Context, Handler, Message,
    WrapFuture,
};
use purser_events::ledger::event::ReleaseReason;
use purser_events::ledger::{
    Admission, Admit, Capacity, Demand, Ledger, LedgerCommand, LedgerEvent, LedgerRejection,
};
use purser_events::pod::event::StopWhy;
use purser_events::pod::{PodCommand, PodRejection, PodSpec};
use purser_events::{Cause, Decider, PodUid, Seq, World};
use tokio::sync::Notify;

use self::count::Counts;
pub(crate) use drift::watch;
pub(crate) use recover::{Step, recover};
pub(crate) use resize::{Regrant, SettleResize};

use crate::alarm::Alarm;
use crate::directory::{Directory, FindUid};
use crate::entity::{By, Done, Entity, Execute, Refusal};
use crate::mailbox;
use crate::pod::report;
use crate::pool::is_of_pool;
use crate::port::MachineCapacity;
use crate::shell::Shell;

/// Owns the ledger's stream.
pub struct LedgerActor {
    entity: Entity<Ledger>,
    shell: Arc<Shell>,
    directory: Option<Addr<Directory>>,
    alarm: Alarm,
    counts: Counts,
    /// Tells that containers may be on the wrong processors.
    pins: Option<Arc<Notify>>,
}

/// Tells the ledger where pods are found.
pub(crate) struct Attach(pub(crate) Addr<Directory>);

impl Message for Attach {
    type Result = ();
}

/// Takes back what a pod has, or its place in the queue. Sent without waiting for an answer, it is carried out before
/// whatever the sender asks for next; if it fails, the next look at all pods repeats it.
pub(crate) struct GiveBack {
    /// Whose.
    pub(crate) pod: PodUid,
    /// Why.
    pub(crate) reason: ReleaseReason,
    /// On whose behalf.
    pub(crate) by: By,
}

impl Message for GiveBack {
    type Result = ();
}

/// Puts a pod down for which nothing is. In order, and repeated, as [`GiveBack`] is.
pub(crate) struct PutDown {
    /// Which.
    pub(crate) pod: PodUid,
    /// What it is.
    pub(crate) spec: Arc<PodSpec>,
    /// Whether it runs already, see [`Admit::adopt`]; else it waits already, see [`Admit::waited`].
    pub(crate) adopt: bool,
    /// On whose behalf.
    pub(crate) by: By,
}

impl Message for PutDown {
    type Result = ();
}

/// Says that a container has been started, maybe while others got processors alone.
pub(crate) struct Started;

impl Message for Started {
    type Result = ();
}

/// Has the ledger give out what there is now: of the machine, if that was looked at, and of the GPUs that take pods.
/// Both are put together by the ledger, between two decisions, so that no look undoes another.
pub(crate) struct Refit {
    /// What the machine has.
    pub(crate) machine: Option<MachineCapacity>,
}

impl Message for Refit {
    type Result = Outcome;
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
        let counts = Counts::new(entity.decisions.clone());
        LedgerActor { entity, shell, directory: None, alarm: Alarm::default(), counts, pins: None }
    }

    /// What it has given, taken back and refused.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.clone()
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
                        let why = StopWhy::Preempted { by: requested.pod };
                        let stop = PodCommand::Stop { grace_s: Some(requested.grace_s), why };
                        self.tell_pod(victim, stop, *seq);
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

    /// Sees to it that the ledger is told when the next reservation is over. If that fails, the next look at all pods
    /// tells it again.
    fn set_alarm(&mut self, ctx: &mut Context<LedgerActor>) {
        let wanted = self.entity.state.next_deadline();
        let clock = &self.shell.clock;
        self.alarm.set(wanted, clock, ctx, |this| &mut this.alarm, |this, ctx| {
            let by = By::node(Cause::Timer(this.entity.last), this.entity.correlation);
            let told = ctx.address().send(Execute::<Ledger> { command: LedgerCommand::CheckTime, by });
            actix::spawn(async move {
                if let Ok(Err(error)) = told.await {
                    tracing::error!(%error, "failed to record the end of a reservation; it is tried again");
                }
            });
        });
    }

    /// Decides, and acts on what was decided once it is on disk. `asked` is told by its answer. Nothing is decided on GPUs
    /// that are on record otherwise than the ledger has them.
    fn carry_out(&mut self, execute: Execute<Ledger>, asked: Option<PodUid>) -> Carried {
        let is_capacity = matches!(execute.command, LedgerCommand::SetCapacity(_));
        let is_current =
            is_capacity || self.shell.live.read(|world| world.gives_out(&self.entity.state.capacity.gpus));
        if is_current {
            return self.decide(&execute, asked);
        }
        Box::pin(self.refit(None).then(move |refitted, this, _| {
            if let Err(error) = refitted {
                tracing::error!(%error, "failed to record which GPUs are given out; it is tried again");
            }
            this.decide(&execute, asked)
        }))
    }

    /// Puts down what there is to give out now.
    fn refit(&mut self, machine: Option<MachineCapacity>) -> Carried {
        let mut capacity = Capacity::clone(&self.entity.state.capacity);
        if let Some(MachineCapacity { cpus, memory, disk }) = machine {
            (capacity.cpus, capacity.memory, capacity.disk) = (cpus, memory, disk);
        }
        capacity.gpus = self.shell.live.read(World::gpus_to_give_out);
        let by = By::node(Cause::Node, self.shell.ids.uuid());
        let command = LedgerCommand::SetCapacity(Box::new(capacity));
        self.decide(&Execute { command, by }, None)
    }

    fn decide(&mut self, execute: &Execute<Ledger>, asked: Option<PodUid>) -> Carried {
        let commit = self.entity.commit(execute, &self.shell).into_actor(self);
        Box::pin(commit.map(move |committed, this, ctx| {
            if let Err(Refusal::Rejected(rejection)) = &committed {
                this.counts.refused(&this.entity.state, rejection);
            }
            let shared = this.entity.state.managers.cpu.shared();
            let before = this.entity.state.clone();
            let (done, happened) = this.entity.accept(committed?);
            this.counts.happened(&before, happened.iter().map(|(event, _)| event));
            if let (Some(pins), true) = (&this.pins, shared != this.entity.state.managers.cpu.shared()) {
                pins.notify_one();
            }
            this.react(&happened, asked);
            this.set_alarm(ctx);
            let events: Vec<LedgerEvent> = happened.into_iter().map(|(event, _)| event).collect();
            Ledger::refusal(&events).map_or(Ok(done), |rejection| Err(Refusal::Rejected(rejection)))
        }))
    }
}

type Outcome = Result<Done, Refusal<LedgerRejection>>;
type Carried = Pin<Box<dyn ActorFuture<LedgerActor, Output = Outcome>>>;

impl Actor for LedgerActor {
    type Context = Context<LedgerActor>;

    fn started(&mut self, ctx: &mut Context<LedgerActor>) {
        ctx.set_mailbox_capacity(mailbox::LEN_MAX);
        self.set_alarm(ctx);
    }
}

impl Handler<Attach> for LedgerActor {
    type Result = ();

    fn handle(&mut self, Attach(directory): Attach, _: &mut Context<LedgerActor>) {
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
    type Result = AtomicResponse<LedgerActor, Outcome>;

    fn handle(&mut self, execute: Execute<Ledger>, _: &mut Context<LedgerActor>) -> Self::Result {
        let asked = match &execute.command {
            LedgerCommand::Admit(admit) => Some(admit.pod),
            _ => None,
        };
        AtomicResponse::new(self.carry_out(execute, asked))
    }
}

impl Handler<Refit> for LedgerActor {
    type Result = AtomicResponse<LedgerActor, Outcome>;

    fn handle(&mut self, Refit { machine }: Refit, _: &mut Context<LedgerActor>) -> Self::Result {
        AtomicResponse::new(self.refit(machine))
    }
}

impl Handler<GiveBack> for LedgerActor {
    type Result = AtomicResponse<LedgerActor, ()>;

    fn handle(
        &mut self,
        GiveBack { pod, reason, by }: GiveBack,
        _: &mut Context<LedgerActor>,
    ) -> Self::Result {
        let command = LedgerCommand::Release { pod, reason };
        let released = self.carry_out(Execute { command, by: By { key: None, ..by } }, None);
        AtomicResponse::new(Box::pin(released.map(move |outcome, _, _| {
            if let Err(error) = outcome {
                tracing::error!(%pod, %error, "failed to record that a pod has its resources no longer; it is tried again");
            }
        })))
    }
}

impl Handler<PutDown> for LedgerActor {
    type Result = AtomicResponse<LedgerActor, ()>;

    fn handle(
        &mut self,
        PutDown { pod, spec, adopt, by }: PutDown,
        _: &mut Context<LedgerActor>,
    ) -> Self::Result {
        let stays = self.shell.live.read(|world| is_of_pool(world, pod, &spec));
        let admit = match admit(pod, &spec, &by) {
            Ok(admit) => Admit { adopt, waited: !adopt, stays, reservation: None, ..admit },
            Err(error) => {
                tracing::error!(%pod, %error, "a pod asks for what cannot be counted");
                return AtomicResponse::new(Box::pin(actix::fut::ready(())));
            }
        };
        let command = LedgerCommand::Admit(Box::new(admit));
        // What it is given at once it is told of as any other that waits.
        let put_down = self.carry_out(Execute { command, by: By { key: None, ..by } }, None);
        AtomicResponse::new(Box::pin(put_down.map(move |outcome, _, _| {
            if let Err(error) = outcome {
                tracing::error!(%pod, %error, "a pod's resources could not be put down");
            }
        })))
    }
}

impl Handler<AdmitPod> for LedgerActor {
    type Result = actix::ResponseFuture<Result<Admission, Refusal<LedgerRejection>>>;

    fn handle(&mut self, asked: AdmitPod, ctx: &mut Context<LedgerActor>) -> Self::Result {
        let AdmitPod { uid, spec, by } = asked;
        let (ledger, shell) = (ctx.address(), self.shell.clone());
        Box::pin(async move {
            let stays = shell.live.read(|world| is_of_pool(world, uid, &spec));
            let admit = match admit(uid, &spec, &by) {
                Ok(admit) => Admit { stays, ..admit },
                Err(rejection) => return Ok(Admission::Refused(Box::new(rejection))),
            };
            ports::look_for(&shell, &ledger, &admit.demand).await;
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
pub(crate) fn admit(uid: PodUid, spec: &PodSpec, by: &By) -> Result<Admit, LedgerRejection> {
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
        waited: false,
        stays: false,
    })
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
