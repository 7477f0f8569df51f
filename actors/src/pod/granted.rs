//! What one container gets of what its pod was given.

use purser_events::ledger::{GpuGrant, GpuUuid, Grant, Ledger, environment, visible_gpus};
use purser_events::pod::PodSpec;
use purser_events::pod::spec::RuntimeClass;
use purser_events::{ContainerName, CpuSet, PodUid};

use crate::ledger::pins;
use crate::port::GpuSlice;

/// What one container gets.
pub(super) struct Granted {
    /// Variables that tell it of that.
    pub(super) env: Vec<(String, String)>,
    /// Its processors; none for every processor that the runtime may use.
    pub(super) cpus: Option<CpuSet>,
    /// Its GPUs.
    pub(super) gpus: Vec<GpuUuid>,
    /// What of each of them; none if it has none, or has them alone.
    pub(super) slice: Option<GpuSlice>,
    /// Variables that say which GPUs are its own. Nothing but them keeps a plain process from the others.
    pub(super) visible: Vec<(String, String)>,
}

impl Granted {
    /// What a container of a pod gets now.
    pub(super) fn of(ledger: &Ledger, pod: PodUid, spec: &PodSpec, container: &ContainerName) -> Granted {
        let cpus = pins::cpus(ledger, pod);
        let grant = ledger.grant(pod).cloned().unwrap_or_default();
        let own = Grant { gpus: spec.claims.gpus_of(container, &grant.gpus), ..grant };
        let env = environment(&own, ledger.capacity.subnets);
        let slice = slice(&own.gpus);
        let gpus: Vec<GpuUuid> = own.gpus.into_iter().map(|gpu| gpu.uuid).collect();
        let is_told =
            spec.runtime == RuntimeClass::Process && (!gpus.is_empty() || !ledger.capacity.gpus.is_empty());
        let visible = if is_told { visible_gpus(&gpus).into() } else { vec![] };
        Granted { env, cpus, gpus, slice, visible }
    }
}

fn slice(gpus: &[GpuGrant]) -> Option<GpuSlice> {
    if gpus.iter().all(|gpu| gpu.whole) {
        return None;
    }
    let share = gpus.iter().map(|gpu| gpu.share).min()?;
    let memory = gpus.iter().map(|gpu| gpu.memory).min()?;
    Some(GpuSlice { count: gpus.len(), share, memory })
}
