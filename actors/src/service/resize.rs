//! Other sizes for pods that go on.

use std::collections::BTreeMap;

use purser_events::event::Event;
use purser_events::ledger::{LedgerCommand, ResizeHolding};
use purser_events::pod::{Pod, PodEvent, PodRejection, PodSpec, PodState, SizeChange};
use purser_events::{ContainerName, PodId};

use super::accepted::{Accepted, Outcome, accepted};
use super::{Request, Service, ServiceError};
use crate::entity::{Done, Refusal};
use crate::pod::ResizePod;
use crate::port::{ContainerKey, LimitsInForce};

impl Service {
    /// Gives containers of a pod other limits and requests while they run. Returns once that is on record, not once the
    /// kernel holds them to it.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn resize(
        &self,
        id: &PodId,
        changes: Vec<SizeChange>,
        tier: Option<String>,
        by: Request,
    ) -> Result<Accepted, ServiceError> {
        let _permit = self.permit()?;
        let by = by.into_by();
        let word = |done: &Done| if done.changed { Outcome::Resized } else { Outcome::Unchanged };
        if let Some(first) = self.recalled::<Pod>(&by)? {
            return accepted(id.clone(), first, word);
        }
        let pod = self.find(id).await?;
        let gone = |_| ServiceError::Pod(PodRejection::NotFound);
        let outcome = match pod.send(ResizePod { changes, tier, by }).await.map_err(gone)? {
            Err(Refusal::Retired) => Err(Refusal::Rejected(PodRejection::NotFound)),
            outcome => outcome,
        };
        accepted(id.clone(), outcome, word)
    }

    /// What became of an `apply`: a pod that was there was resized, or one was admitted.
    pub(super) fn applied_word(&self, done: &Done) -> Outcome {
        if !done.changed {
            return Outcome::Unchanged;
        }
        let last = self.journal().read(done.seq, 1).ok().and_then(|records| records.into_iter().next());
        match last.map(|record| record.event()) {
            Some(Ok(Event::Pod(PodEvent::ResizeRequested(_) | PodEvent::Resized(_)))) => Outcome::Resized,
            Some(_) | None => Outcome::Created,
        }
    }

    /// Whether a manifest asks for other sizes of a pod that is there, and for nothing else. Records nothing.
    ///
    /// # Errors
    /// It would be refused now.
    pub fn would_resize(&self, pod: &PodState, spec: &PodSpec) -> Result<bool, ServiceError> {
        let Some(sizes) = pod.spec.resizes_to(spec) else { return Ok(false) };
        let changes: Vec<SizeChange> = sizes.into_iter().map(SizeChange::from).collect();
        let sizes = pod.sizes_to_be(&changes).map_err(ServiceError::Pod)?;
        let (cpu, memory) = pod.demand_of(&sizes).map_err(ServiceError::Pod)?;
        let generation = pod.generation().saturating_add(1);
        let asked = LedgerCommand::Resize(Box::new(ResizeHolding { pod: pod.uid, generation, cpu, memory }));
        let context = self.inner.shell.live.context(self.now());
        let refused = |rejection| ServiceError::Pod(PodRejection::from(rejection));
        self.world(|world| world.ledger.prospect(&asked, &context)).map(|_| true).map_err(refused)
    }

    /// The limits that the kernel holds a pod's containers to now, as far as it tells.
    pub async fn limits_in_force(&self, pod: &PodState) -> BTreeMap<ContainerName, LimitsInForce> {
        let mut found = BTreeMap::new();
        let Some(runtime) = self.inner.shell.runtime(pod.spec.runtime) else { return found };
        for key in ContainerKey::running(pod) {
            match runtime.limits(&key).await {
                Ok(limits) => found.extend(limits.map(|limits| (key.container, limits))),
                Err(error) => tracing::debug!(container = %key, %error, "failed to read limits"),
            }
        }
        found
    }
}
