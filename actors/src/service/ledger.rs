//! What may be asked of the ledger.

use std::collections::BTreeSet;

use purser_events::ledger::policy::Preset;
use purser_events::ledger::{
    Bound, Demand, HolderId, Ledger, LedgerCommand, LedgerPolicy, LedgerRejection, Limits, ReservationRef,
    Reserve, ResourceKind, Shortage, Tenant, TenantId,
};
use purser_events::pod::{Pod, PodRejection};
use purser_events::{PodId, Seq, Timestamp, World};
use uuid::Uuid;

use super::{Accepted, Request, Service, ServiceError, accepted, accepted_word, refused};
use crate::entity::{By, Done, Execute, Refusal};
use crate::ledger::count::Counts;
use crate::ledger::ports;
use crate::metering::Latest;
use crate::pod::{Begin, Beginning};
use crate::port::{ProcessOwner, SeenGpus};

/// A reservation that was made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationMade {
    /// Which.
    pub id: Uuid,
    /// Shows that one has it.
    pub token: u64,
    /// From when on it is over.
    pub expires_at: Timestamp,
    /// The record that says so.
    pub seq: Seq,
}

/// What became of a change to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerChange {
    /// The last record that it led to, or the ledger's last if it was so already.
    pub seq: Seq,
    /// Whether anything was changed.
    pub changed: bool,
}

/// What is to be kept, for whom and for how long.
#[derive(Debug, Clone)]
pub struct ReserveRequest {
    /// The namespace of the pod to be.
    pub namespace: String,
    /// What is to be kept.
    pub demand: Demand,
    /// For how long, in milliseconds.
    pub ttl_ms: u64,
}

impl Service {
    /// Starts a pod that has stopped or failed, once the ledger has what it needs.
    pub(super) async fn start_again(&self, id: &PodId, by: Request) -> Result<Accepted, ServiceError> {
        let _permit = self.permit()?;
        let by = by.into_by();
        if let Some(first) = self.recalled::<Pod>(&by)? {
            return accepted(id.clone(), first, accepted_word);
        }
        let pod = self.find(id).await?;
        let gone = |_| ServiceError::Pod(PodRejection::NotFound);
        let outcome = pod.send(Begin { how: Beginning::Start, by }).await.map_err(gone)?;
        let outcome = match outcome {
            Err(Refusal::Retired) => Err(Refusal::Rejected(PodRejection::NotFound)),
            outcome => outcome,
        };
        accepted(id.clone(), outcome, accepted_word)
    }

    /// Puts limits of a resource in force.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn set_limits(
        &self,
        kind: ResourceKind,
        limits: Limits,
        by: Request,
    ) -> Result<LedgerChange, ServiceError> {
        self.ledger_command(LedgerCommand::SetLimits { kind, limits }, by).await
    }

    /// Puts the whole policy of the ledger in force.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn set_ledger_policy(
        &self,
        policy: LedgerPolicy,
        by: Request,
    ) -> Result<LedgerChange, ServiceError> {
        self.ledger_command(LedgerCommand::SetPolicy(Box::new(policy)), by).await
    }

    /// Puts a named set of limits in force for processors, memory and disk; their hard limits stay.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn set_preset(&self, preset: Preset, by: Request) -> Result<LedgerChange, ServiceError> {
        self.ledger_command(LedgerCommand::SetPreset(preset), by).await
    }

    /// Says what a tenant may have.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn set_tenant(
        &self,
        id: TenantId,
        tenant: Tenant,
        by: Request,
    ) -> Result<LedgerChange, ServiceError> {
        self.ledger_command(LedgerCommand::SetTenant { id, tenant: Box::new(tenant) }, by).await
    }

    /// Has the node's default hold for a tenant again.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn remove_tenant(&self, id: TenantId, by: Request) -> Result<LedgerChange, ServiceError> {
        self.ledger_command(LedgerCommand::RemoveTenant { id }, by).await
    }

    /// Gives out nothing of a resource from now on.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn stop_manager(
        &self,
        kind: ResourceKind,
        reason: String,
        by: Request,
    ) -> Result<LedgerChange, ServiceError> {
        self.ledger_command(LedgerCommand::StopManager { kind, reason }, by).await
    }

    /// Gives a resource out again.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn start_manager(&self, kind: ResourceKind, by: Request) -> Result<LedgerChange, ServiceError> {
        self.ledger_command(LedgerCommand::StartManager { kind }, by).await
    }

    /// Keeps something for whoever asks.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn reserve(&self, wish: ReserveRequest, by: Request) -> Result<ReservationMade, ServiceError> {
        // A retry under the same key means the same reservation.
        let id = by.command.map_or_else(|| self.inner.shell.ids.uuid(), |key| key.id.0);
        let ReserveRequest { namespace, demand, ttl_ms } = wish;
        ports::look_for(&self.inner.shell, &self.inner.ledger, &demand).await;
        let owner = by.principal.to_string();
        let reserve = Reserve { reservation: id, owner, namespace, demand, ttl_ms };
        let LedgerChange { seq, .. } =
            self.ledger_command(LedgerCommand::Reserve(Box::new(reserve)), by).await?;
        let made = self.world(|world| {
            let reservation = world.ledger.reservations.get(&id)?;
            Some(ReservationMade { id, token: reservation.token, expires_at: reservation.expires_at, seq })
        });
        // It may be over already when an old answer is given again.
        made.ok_or(ServiceError::Ledger(LedgerRejection::StaleToken {
            reservation: id,
            token: 0,
            reason: purser_events::ledger::event::StaleReason::Gone,
        }))
    }

    /// Gives a reservation up.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn cancel_reservation(
        &self,
        reservation: ReservationRef,
        by: Request,
    ) -> Result<LedgerChange, ServiceError> {
        let owner = by.principal.to_string();
        self.ledger_command(LedgerCommand::Cancel { reservation, owner }, by).await
    }

    /// Gives up a reservation in its owner's place. Whoever takes it up afterwards is refused as with any that is over.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn revoke_reservation(
        &self,
        reservation: Uuid,
        by: Request,
    ) -> Result<LedgerChange, ServiceError> {
        self.ledger_command(LedgerCommand::Revoke { reservation }, by).await
    }

    /// Has the ledger look who can have what he waits for. If it cannot now, the next change leads to it.
    pub(super) async fn serve_waiting(&self, by: Request) {
        let by = By { key: None, ..by.into_by() };
        let told = self.inner.ledger.send(Execute::<Ledger> { command: LedgerCommand::CheckTime, by }).await;
        if let Ok(Err(error)) = told {
            tracing::warn!(%error, "failed to serve the pods that wait");
        }
    }

    /// What machine and pods really used when they were measured last.
    #[must_use]
    pub fn measured(&self) -> Latest {
        self.inner.meter.latest()
    }

    /// Whose a process of the machine is now.
    pub async fn process_owner(&self, pid: u32) -> ProcessOwner {
        self.inner.shell.machine.owner(pid).await
    }

    /// What was seen of the machine's GPUs last.
    #[must_use]
    pub fn gpus(&self) -> SeenGpus {
        self.inner.shell.gpus.seen()
    }

    /// What the ledger has given, taken back and refused since the service started.
    #[must_use]
    pub fn ledger_counts(&self) -> &Counts {
        &self.inner.counts
    }

    async fn ledger_command(
        &self,
        command: LedgerCommand,
        by: Request,
    ) -> Result<LedgerChange, ServiceError> {
        let _permit = self.permit()?;
        let by: By = by.into_by();
        let outcome = self.inner.ledger.send(Execute::<Ledger> { command, by }).await;
        let done: Result<Done, _> = outcome.map_err(|_| ServiceError::Stopping)?;
        let change = done.map(|done| LedgerChange { seq: done.seq, changed: done.changed });
        change.map_err(|refusal| refused(refusal, ServiceError::Ledger))
    }
}

/// Holders that a caller is told of, for one resource.
pub const HOLDERS_TOLD_MAX: usize = 3;

/// Who holds what there is too little of, as they are called: exactly who, if it is one thing; else the largest, of the
/// tenant if it is its quota that is used up.
#[must_use]
pub fn holders_of(world: &World, shortage: &Shortage) -> Vec<String> {
    if let Some(holder) = shortage.holder {
        return vec![name_of(world, holder)];
    }
    match &shortage.bound {
        Bound::Free | Bound::Device | Bound::Node { .. } => {
            largest_holders(world, &shortage.kind, HOLDERS_TOLD_MAX)
        }
        Bound::Quota { tenant, .. } => largest(world, &shortage.kind, Some(tenant), HOLDERS_TOLD_MAX),
        Bound::Port(_)
        | Bound::PodMax { .. }
        | Bound::Stopped { .. }
        | Bound::Unstated
        | Bound::Reservation
        | Bound::UnknownGpu { .. }
        | Bound::LargestGpu { .. }
        | Bound::UnknownModel { .. }
        | Bound::BeyondModel { .. }
        | Bound::BelowOnePercent { .. } => vec![],
    }
}

/// Who holds most of a resource, the largest first, as they are called.
#[must_use]
pub fn largest_holders(world: &World, kind: &ResourceKind, most: usize) -> Vec<String> {
    largest(world, kind, None, most)
}

fn largest(world: &World, kind: &ResourceKind, only: Option<&TenantId>, most: usize) -> Vec<String> {
    let mut sizes: BTreeSet<(u64, HolderId)> = BTreeSet::new();
    for (holder, holding) in &world.ledger.holdings {
        if only.is_some_and(|tenant| *tenant != holding.tenant) {
            continue;
        }
        let amount = if *kind == ResourceKind::Pods { 1 } else { holding.grant.amounts().get(kind) };
        if amount != 0 {
            sizes.insert((amount, *holder));
            if most < sizes.len() {
                sizes.pop_first();
            }
        }
    }
    sizes.into_iter().rev().map(|(_, holder)| name_of(world, holder)).collect()
}

/// What a holder is called.
#[must_use]
pub fn name_of(world: &World, holder: HolderId) -> String {
    match holder {
        HolderId::Pod(uid) => {
            let pod = world.pods.get(&uid).and_then(Pod::live);
            pod.map_or_else(|| holder.to_string(), |pod| pod.spec.id.to_string())
        }
        HolderId::Reservation(_) => holder.to_string(),
    }
}
