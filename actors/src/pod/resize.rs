//! Other limits for containers that run. The ledger gives more before the pod decides; the runtime is told once that is on
//! record; and what is given up goes back once the runtime has done it. So nothing is ever used that is not held.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{
    ActorFuture, ActorFutureExt, Addr, AsyncContext, AtomicResponse, Context, Handler, Message, WrapFuture,
};
use purser_events::ledger::{Admission, ResizeHolding};
use purser_events::pod::event::{FailureClass, ResizeFailed};
use purser_events::pod::{
    ContainerState, Phase, Pod, PodCommand, PodRejection, PodSpec, ResizeWish, SizeChange,
};
use purser_events::violation::hold::{Held, holds, processor_time};
use purser_events::{Bytes, Cause, ContainerName, PodUid, Seq};

use super::begin::{Beginning, said};
use super::effects::until_done;
use super::{Outcome, PodActor, report};
use crate::entity::{By, Execute, Refusal};
use crate::ledger::{LedgerActor, Regrant, SettleResize, for_pod};
use crate::port::{Clock, ContainerKey, Containers, ResizePlan, RuntimeError};
use crate::shell::Shell;

/// Wait before a runtime that is away is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Asks a pod to have other sizes.
pub struct ResizePod {
    /// What is to be changed.
    pub changes: Vec<SizeChange>,
    /// The tier by whose name that was asked for.
    pub tier: Option<String>,
    /// On whose behalf.
    pub by: By,
}

impl Message for ResizePod {
    type Result = Outcome;
}

type Resizing = Pin<Box<dyn ActorFuture<PodActor, Output = Outcome>>>;

/// What is to be found out before a pod decides on other sizes.
struct Question {
    holding: ResizeHolding,
    /// Containers that run and whose memory would be less, with what they are to have.
    lowered: Vec<(ContainerKey, Bytes)>,
    obstacle: Option<String>,
}

/// What was found out.
struct Found {
    admission: Admission,
    used: BTreeMap<ContainerName, Bytes>,
    obstacle: Option<String>,
}

impl Found {
    /// Nothing that stands against it.
    fn nothing() -> Found {
        Found { admission: Admission::Granted, used: BTreeMap::new(), obstacle: None }
    }
}

impl PodActor {
    /// Other sizes that a manifest asks of a pod that has its name, if it asks for nothing else.
    pub(super) fn sizes_of(&self, how: &Beginning) -> Option<Vec<SizeChange>> {
        match (how, &self.entity.state) {
            (Beginning::Admit { spec, .. }, Pod::Live(pod))
                if !matches!(pod.phase, Phase::Terminating { .. }) =>
            {
                let sizes = pod.spec.resizes_to(spec)?;
                Some(sizes.into_iter().map(SizeChange::from).collect())
            }
            (Beginning::Admit { .. } | Beginning::Start, _) => None,
        }
    }

    /// Finds out what there is to be known, decides, and begins. Nothing else reaches the pod in between.
    pub(super) fn resize(&mut self, changes: Vec<SizeChange>, tier: Option<String>, by: By) -> Resizing {
        let question = self.question_of(&changes);
        let generation = question.as_ref().map(|question| question.holding.generation);
        let (told, ledger, runtime) = (self.told_ledger.take(), self.ledger.clone(), self.runtime.clone());
        let (asking, given_back) = (by.clone(), by.clone());
        let found = async move {
            said(told).await;
            match question {
                Some(question) => find_out(question, &*runtime, ledger, asking).await,
                // It is refused, or so already, whatever there is.
                None => Ok(Found::nothing()),
            }
        };
        let decided = found.into_actor(self).then(move |found, this, _| {
            let commit = found.map(|Found { admission, used, obstacle }| {
                let wish = ResizeWish { changes, tier, admission, used, obstacle };
                let command = PodCommand::Resize(Box::new(wish));
                this.entity.commit(&Execute { command, by }, &this.shell)
            });
            async move { commit?.await }.into_actor(this)
        });
        Box::pin(decided.map(move |committed, this, ctx| {
            let outcome = committed.map(|committed| this.settle(committed, ctx));
            let is_taken_up = this.live().is_some_and(|pod| Some(pod.generation()) == generation);
            if let Some(generation) = generation.filter(|_| !is_taken_up) {
                this.settle_resize(generation, false, given_back);
            }
            outcome
        }))
    }

    /// What is to be asked; none if the pod refuses anyway, or is so already.
    fn question_of(&self, changes: &[SizeChange]) -> Option<Question> {
        let pod = self.live()?;
        let is_fit = pod.open_resize().is_none() && !pod.awaits_resources;
        let sizes = pod.sizes_to_be(changes).ok().filter(|sizes| is_fit && !sizes.is_empty())?;
        let (cpu, memory) = pod.demand_of(&sizes).ok()?;
        let generation = pod.generation().saturating_add(1);
        let lowered = pod.lowered(&sizes).filter_map(|size| {
            let attempt = pod.container(&size.container)?.attempt()?.number;
            Some((self.key(&size.container, attempt), size.memory_limit?))
        });
        let lowered = lowered.collect();
        let obstacle = self.runtime.cannot_resize();
        Some(Question {
            holding: ResizeHolding { pod: self.uid, generation, cpu, memory },
            lowered,
            obstacle,
        })
    }

    /// Tells the ledger what became of other amounts.
    pub(super) fn settle_resize(&mut self, generation: u32, done: bool, by: By) {
        self.write_to_ledger(SettleResize { pod: self.uid, generation, done, by });
    }

    /// As [`PodActor::settle_resize`], as what follows from a record.
    pub(super) fn end_resizing(&mut self, generation: u32, done: bool, seq: Seq) {
        let by = self.by(Cause::Record(seq));
        self.settle_resize(generation, done, by);
    }

    /// Has the runtime hold what runs to its new limits, if that is to be done: whenever a container came up or ended
    /// meanwhile, once more.
    pub(super) fn begin_resizing(&mut self, seq: Seq, ctx: &mut Context<PodActor>) {
        if let Some(task) = self.resizing.take() {
            task.abort();
        }
        let Some(pod) = self.live() else { return };
        let Some(open) = pod.open_resize() else { return };
        // One that comes up may have the limits of before: it is waited for.
        if pod.containers.iter().any(|container| matches!(container.state, ContainerState::Creating { .. })) {
            return;
        }
        let change = Change {
            generation: open.generation,
            keys: ContainerKey::running(pod).collect(),
            before: Arc::new(pod.spec.resized(&open.from)),
            after: pod.spec.clone(),
            runtime: self.runtime.clone(),
            shell: self.shell.clone(),
        };
        let (addr, by) = (ctx.address(), self.by(Cause::Observation(seq)));
        let task = tokio::task::spawn_local(async move {
            let command = change.carry_out().await;
            report(&addr, command, by).await;
        });
        self.resizing = Some(task.abort_handle());
    }
}

/// Measures, then asks the ledger: what a pod would be refused for anyway it is not given.
async fn find_out(
    question: Question,
    runtime: &dyn Containers,
    ledger: Addr<LedgerActor>,
    by: By,
) -> Result<Found, Refusal<PodRejection>> {
    let Question { holding, lowered, obstacle } = question;
    let mut used = BTreeMap::new();
    for (key, limit) in lowered {
        match runtime.usage(&key).await {
            Ok(Some(read)) if limit < read.memory => drop(used.insert(key.container, read.memory)),
            Ok(_) => {}
            // The kernel may refuse it still.
            Err(error) => tracing::debug!(container = %key, %error, "failed to measure a container"),
        }
    }
    if obstacle.is_some() || !used.is_empty() {
        return Ok(Found { used, obstacle, ..Found::nothing() });
    }
    let asked = ledger.send(Regrant { holding, by }).await;
    let admission = asked.unwrap_or(Err(Refusal::Fenced)).map_err(for_pod)?;
    Ok(Found { admission, ..Found::nothing() })
}

/// A change that the runtime is to carry out.
struct Change {
    generation: u32,
    keys: Vec<ContainerKey>,
    before: Arc<PodSpec>,
    after: Arc<PodSpec>,
    runtime: Arc<dyn Containers>,
    shell: Arc<Shell>,
}

impl Change {
    /// Carries it out, or takes back what was done of it; says which.
    async fn carry_out(&self) -> PodCommand {
        let told = self.keys.iter().map(|key| (key.container.clone(), key.attempt)).collect();
        let generation = self.generation;
        for key in &self.keys {
            let Err(error) = self.hold(key, &self.after).await else { continue };
            tracing::warn!(container = %key, %error, "failed to resize a container; its pod stays as it was");
            self.take_back().await;
            let (container, message) = (key.container.clone(), error.message);
            return PodCommand::FailResize { failed: ResizeFailed { generation, container, message }, told };
        }
        PodCommand::CompleteResize { generation, told }
    }

    /// Holds a container to its limits by a specification; a runtime that is away is waited for.
    async fn hold(&self, key: &ContainerKey, spec: &Arc<PodSpec>) -> Result<(), RuntimeError> {
        let Some(plan) = self.plan(key, spec) else { return Ok(()) };
        loop {
            match self.runtime.resize(&plan).await {
                Err(error) if error.class == FailureClass::Unavailable => {
                    tracing::debug!(container = %key, %error, "a resize waits for the runtime");
                    self.shell.clock.sleep(RETRY).await;
                }
                done => return done,
            }
        }
    }

    async fn take_back(&self) {
        let clock: &dyn Clock = &*self.shell.clock;
        for key in &self.keys {
            let Some(plan) = self.plan(key, &self.before) else { continue };
            until_done(clock, "take a resize back", key, || self.runtime.resize(&plan)).await;
        }
    }

    fn plan(&self, key: &ContainerKey, spec: &Arc<PodSpec>) -> Option<ResizePlan> {
        let container = spec.container(&key.container)?;
        // While a pod is held back for a violation it stays so, in terms of its new limit.
        let is_held = self.shell.live.read(|world| is_held_back(world, key.pod));
        let held_to = is_held.then(|| processor_time(container.resources.cpu_limit));
        let resources = container.resources.clone();
        Some(ResizePlan { key: key.clone(), resources, pod: spec.clone(), held_to })
    }
}

fn is_held_back(world: &purser_events::World, pod: PodUid) -> bool {
    holds(world).contains_key(&(pod, Held::Processors))
}

impl Handler<ResizePod> for PodActor {
    type Result = AtomicResponse<PodActor, Outcome>;

    fn handle(
        &mut self,
        ResizePod { changes, tier, by }: ResizePod,
        _: &mut Context<PodActor>,
    ) -> Self::Result {
        if self.is_over() {
            return AtomicResponse::new(Box::pin(async { Err(Refusal::Retired) }.into_actor(self)));
        }
        AtomicResponse::new(self.resize(changes, tier, by))
    }
}
