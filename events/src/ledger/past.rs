//! Payloads of the ledger's past, and how today's are made of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::event::{PolicySet, TenantSet};
use super::policy::{CpuPlacement, GpuPlacement, LedgerPolicy, Limits, Preemption};
use super::resource::{Amounts, ResourceKind};
use super::tenant::{RequestLimits, Tenant, TenantId};

/// `ledger.policy-set` version 1: soft limits were amounts alone, and there was no default of how often tenants may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "PolicySet", rename_all = "camelCase")]
pub struct PolicySetV1 {
    /// The numbers.
    pub policy: LedgerPolicyV1,
    /// Whether they are the config's.
    pub from_config: bool,
}

/// How resources were given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "LedgerPolicy", rename_all = "camelCase")]
pub struct LedgerPolicyV1 {
    /// Limits by kind.
    pub limits: BTreeMap<ResourceKind, LimitsV1>,
    /// Which processors a pod got that had them alone.
    pub cpu_placement: CpuPlacement,
    /// Which GPUs a pod got.
    pub gpu_placement: GpuPlacement,
    /// Whether nothing was given out beyond what was there.
    pub strict: bool,
    /// Whether a pod for which there was no room was refused.
    pub refuse_when_full: bool,
    /// Whether, and how, running pods made way.
    pub preemption: Preemption,
    /// Seconds that a pod which made way had to end.
    pub preemption_grace_s: u32,
    /// Bounds of tenants that had none of their own.
    pub default_quota: Amounts,
}

/// How much of a resource might be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Limits", rename_all = "camelCase")]
pub struct LimitsV1 {
    /// Most of what was there that was used at all.
    pub hard: Option<u64>,
    /// From here on the resource counted as degraded.
    pub soft: Option<u64>,
    /// How much was given out of what was there, in percent.
    pub overcommit_percent: u32,
    /// What was kept for the system, in percent.
    pub reserve_percent: u32,
}

/// `ledger.policy-set` version 2: priorities of pods had no default bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "PolicySet", rename_all = "camelCase")]
pub struct PolicySetV2 {
    /// The numbers.
    pub policy: LedgerPolicyV2,
    /// Whether they are the config's.
    pub from_config: bool,
}

/// How resources were given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "LedgerPolicy", rename_all = "camelCase")]
pub struct LedgerPolicyV2 {
    /// Limits by kind.
    pub limits: BTreeMap<ResourceKind, Limits>,
    /// Which processors a pod got that had them alone.
    pub cpu_placement: CpuPlacement,
    /// Which GPUs a pod got.
    pub gpu_placement: GpuPlacement,
    /// Whether nothing was given out beyond what was there.
    pub strict: bool,
    /// Whether a pod for which there was no room was refused.
    pub refuse_when_full: bool,
    /// Whether, and how, running pods made way.
    pub preemption: Preemption,
    /// Seconds that a pod which made way had to end.
    pub preemption_grace_s: u32,
    /// Bounds of tenants that had none of their own.
    pub default_quota: Amounts,
    /// How often tenants might ask that were not set.
    #[serde(default)]
    pub default_requests: RequestLimits,
}

impl From<PolicySetV1> for PolicySet {
    fn from(past: PolicySetV1) -> PolicySet {
        let PolicySetV1 { policy, from_config } = past;
        PolicySet { policy: LedgerPolicyV2::from(policy).into(), from_config }
    }
}

impl From<PolicySetV2> for PolicySet {
    fn from(past: PolicySetV2) -> PolicySet {
        let PolicySetV2 { policy, from_config } = past;
        PolicySet { policy: policy.into(), from_config }
    }
}

impl From<LedgerPolicyV2> for LedgerPolicy {
    fn from(past: LedgerPolicyV2) -> LedgerPolicy {
        let LedgerPolicyV2 {
            limits,
            cpu_placement,
            gpu_placement,
            strict,
            refuse_when_full,
            preemption,
            preemption_grace_s,
            default_quota,
            default_requests,
        } = past;
        LedgerPolicy {
            limits,
            cpu_placement,
            gpu_placement,
            strict,
            refuse_when_full,
            preemption,
            preemption_grace_s,
            default_quota,
            default_requests,
            default_priority_max: None,
        }
    }
}

impl From<LedgerPolicyV1> for LedgerPolicyV2 {
    fn from(past: LedgerPolicyV1) -> LedgerPolicyV2 {
        let LedgerPolicyV1 {
            limits,
            cpu_placement,
            gpu_placement,
            strict,
            refuse_when_full,
            preemption,
            preemption_grace_s,
            default_quota,
        } = past;
        LedgerPolicyV2 {
            limits: limits.into_iter().map(|(kind, limits)| (kind, limits.into())).collect(),
            cpu_placement,
            gpu_placement,
            strict,
            refuse_when_full,
            preemption,
            preemption_grace_s,
            default_quota,
            default_requests: RequestLimits::default(),
        }
    }
}

impl From<LimitsV1> for Limits {
    fn from(past: LimitsV1) -> Limits {
        let LimitsV1 { hard, soft, overcommit_percent, reserve_percent } = past;
        Limits { hard, soft, overcommit_percent, reserve_percent, soft_percent: None }
    }
}

/// `ledger.tenant-set` version 1: priorities of pods had no bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "TenantSet", rename_all = "camelCase")]
pub struct TenantSetV1 {
    /// Whose.
    pub id: TenantId,
    /// What it might have.
    pub tenant: TenantV1,
}

/// What a tenant might have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Tenant", rename_all = "camelCase")]
pub struct TenantV1 {
    /// Its namespaces.
    pub namespaces: BTreeSet<String>,
    /// Most that its pods might have together.
    pub quota: Option<Amounts>,
    /// Percent of a bound from which on an alert was raised.
    pub alert_percent: Option<u32>,
    /// Most that one pod might ask for.
    pub pod_max: Amounts,
    /// What a pod was given that did not say.
    pub pod_default: Amounts,
    /// How often it might ask.
    pub requests: RequestLimits,
}

impl From<TenantSetV1> for TenantSet {
    fn from(past: TenantSetV1) -> TenantSet {
        let TenantV1 { namespaces, quota, alert_percent, pod_max, pod_default, requests } = past.tenant;
        let priority_max = None;
        let tenant =
            Tenant { namespaces, quota, alert_percent, pod_max, pod_default, requests, priority_max };
        TenantSet { id: past.id, tenant }
    }
}
