//! What may be asked of a GPU.

use purser_events::gpu::{Gpu, GpuCommand, GpuHealthPolicy, GpuRejection};
use purser_events::ledger::GpuUuid;
use purser_events::node::NodeCommand;
use purser_events::{Seq, StreamVersion};
use purser_storage::{JournalError, StoredRecord};

use super::{CORDON_REASON, Request, Service, ServiceError, refused};
use crate::entity::Execute;
use crate::ledger::Refit;
use crate::port::GpuState;

/// Events of a GPU that are told: the last ones.
const EVENTS_TOLD: u64 = 20;

impl Service {
    /// Gives nothing of a GPU out from now on; pods keep what they have. Whoever gives no reason leaves the one in force
    /// as it is.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn cordon_gpu(
        &self,
        uuid: &GpuUuid,
        reason: Option<String>,
        by: Request,
    ) -> Result<Seq, ServiceError> {
        let reason = self.cordon_reason(uuid, reason);
        let command = GpuCommand::Cordon { by: by.principal.clone(), reason };
        self.gpu_command(uuid, command, by).await
    }

    /// The reason of a cordon: what is given, or what is in force.
    fn cordon_reason(&self, uuid: &GpuUuid, given: Option<String>) -> String {
        let in_force = || {
            self.world(|world| {
                let cordon = world.gpus.get(uuid)?.known()?.cordon.as_ref()?;
                Some(cordon.reason.clone())
            })
        };
        let given = given.filter(|reason| !reason.is_empty());
        given.or_else(in_force).unwrap_or_else(|| CORDON_REASON.to_owned())
    }

    /// Gives nothing of a GPU out from now on, and stops the pods that have something of it. Returns once that is on
    /// record, not once it is over.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn drain_gpu(
        &self,
        uuid: &GpuUuid,
        reason: Option<String>,
        grace_s: Option<u32>,
        by: Request,
    ) -> Result<Seq, ServiceError> {
        let reason = self.cordon_reason(uuid, reason);
        let command = GpuCommand::Drain { by: by.principal.clone(), reason, grace_s };
        self.gpu_command(uuid, command, by).await
    }

    /// Lets go of what is known of a GPU that is gone for good. One that comes back is found anew.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn forget_gpu(&self, uuid: &GpuUuid, by: Request) -> Result<Seq, ServiceError> {
        let holders = self.world(|world| world.holders_of(uuid).count()) as u64;
        let is_seen = self.gpus().gpus.iter().any(|gpu| gpu.uuid == *uuid);
        let command = GpuCommand::Forget { by: by.principal.clone(), holders, is_seen };
        self.gpu_command(uuid, command, by).await
    }

    /// Gives a GPU out again, after its probation, and forgives what it has done.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn uncordon_gpu(&self, uuid: &GpuUuid, by: Request) -> Result<Seq, ServiceError> {
        let seen = self.gpus();
        let ready = seen.gpus.iter().find(|gpu| gpu.uuid == *uuid && gpu.state == GpuState::Ready);
        let readings = ready.and_then(|gpu| gpu.readings.as_ref());
        let ecc_uncorrected = readings.and_then(|readings| readings.ecc_uncorrected.value().copied());
        let command = GpuCommand::Uncordon { by: by.principal.clone(), ecc_uncorrected };
        self.gpu_command(uuid, command, by).await
    }

    /// Puts numbers in force by which it is decided when a GPU takes pods.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn set_gpu_policy(&self, policy: GpuHealthPolicy, by: Request) -> Result<Seq, ServiceError> {
        self.node_command(NodeCommand::SetGpuPolicy(policy), by).await
    }

    /// The last records of a GPU, the newest last. Blocks on the disk.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn gpu_records(&self, uuid: &GpuUuid) -> Result<Vec<StoredRecord>, JournalError> {
        let stream = uuid.stream();
        let head = self.inner.shell.live.head(stream).map_or(0, |head| head.version.0);
        let from = StreamVersion(head.saturating_sub(EVENTS_TOLD) + 1);
        self.journal().read_stream(stream, from, usize::try_from(EVENTS_TOLD).unwrap_or(usize::MAX))
    }

    async fn gpu_command(
        &self,
        uuid: &GpuUuid,
        command: GpuCommand,
        by: Request,
    ) -> Result<Seq, ServiceError> {
        let _permit = self.permit()?;
        let by = by.into_by();
        let actor = self.inner.gpus.find(uuid).ok_or(ServiceError::Gpu(GpuRejection::NotFound))?;
        let outcome = actor.send(Execute::<Gpu> { command, by }).await;
        let done = outcome.map_err(|_| ServiceError::Stopping)?;
        let done = done.map_err(|refusal| refused(refusal, ServiceError::Gpu))?;
        // Who has the answer finds nothing of the GPU given out, or all of it. If it cannot be recorded now, the next
        // look at the GPUs repeats it.
        if let Ok(Err(error)) = self.inner.ledger.send(Refit { machine: None }).await {
            tracing::warn!(gpu = %uuid, %error, "failed to record which GPUs are given out; it is tried again");
        }
        Ok(done.seq)
    }
}
