//! What is kept for those who wait in front: nobody behind them takes it, or they would wait for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::capacity::GpuUuid;
use super::claims::Port;
use super::resource::{Amounts, ResourceKind};
use super::tenant::TenantId;

/// All that is kept at one place in the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// What is counted and no more. Processors that somebody is to have alone are not among it.
    pub(super) amounts: Amounts,
    /// Processors that somebody is to have alone.
    pub(super) alone: u64,
    /// GPUs, each with what is kept of it.
    pub(super) gpus: BTreeMap<GpuUuid, KeptGpu>,
    /// Ports by number.
    pub(super) fixed_ports: BTreeSet<Port>,
    /// Of the quota of each tenant.
    pub(super) quotas: BTreeMap<TenantId, Amounts>,
}

/// What is kept of one GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KeptGpu {
    /// Percent of its compute.
    pub(super) share: u64,
    /// Of its memory, in bytes.
    pub(super) memory: u64,
    /// Whether it is kept for somebody who is to have it whole.
    pub(super) whole: bool,
}

impl Kept {
    /// How much of a kind is kept that is counted and no more.
    pub(super) fn amount(&self, kind: &ResourceKind) -> u64 {
        self.amounts.get(kind)
    }

    /// Keeps more of what is counted and no more.
    pub(super) fn more(&mut self, kind: &ResourceKind, amount: u64) {
        let sum = self.amounts.get(kind).saturating_add(amount);
        self.amounts.set(kind.clone(), sum);
    }

    /// How much of a tenant's quota is kept.
    pub(super) fn of_quota(&self, tenant: &TenantId, kind: &ResourceKind) -> u64 {
        self.quotas.get(tenant).map_or(0, |kept| kept.get(kind))
    }

    /// Keeps these amounts, and one pod, of a tenant's quota.
    pub(super) fn more_of_quota(&mut self, tenant: &TenantId, asked: &Amounts) {
        let kept = self.quotas.entry(tenant.clone()).or_default();
        for (kind, amount) in asked.iter().chain([(&ResourceKind::Pods, 1)]) {
            kept.set(kind.clone(), kept.get(kind).saturating_add(amount));
        }
    }
}
