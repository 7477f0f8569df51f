//! A pool's manifest as it is written, once its shape is known to be right.

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Document {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) replicas: Replicas,
    pub(super) slots: Slots,
    pub(super) scaling: Scaling,
    pub(super) freeze_windows: Vec<Window>,
    pub(super) time_zone: Option<String>,
    pub(super) tasks: Tasks,
    pub(super) agents: Agents,
    pub(super) secret_refs: Vec<Ref>,
    pub(super) config_refs: Vec<Ref>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replicas {
    pub(super) min: Option<u32>,
    pub(super) max: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Slots {
    pub(super) policy: Option<String>,
    pub(super) count: Option<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Scaling {
    pub(super) up_above_percent: Option<u32>,
    pub(super) down_below_percent: Option<u32>,
    pub(super) stabilization_seconds: Stabilization,
    pub(super) max_unavailable: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stabilization {
    pub(super) up: Option<u64>,
    pub(super) down: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Window {
    pub(super) days: Vec<String>,
    pub(super) from: String,
    pub(super) to: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Tasks {
    pub(super) on_lost: Option<String>,
    pub(super) on_failed: Option<String>,
    pub(super) attempts: Option<u32>,
    pub(super) back_off_seconds: BackOff,
    pub(super) timeout_seconds: Option<u32>,
    pub(super) reservation_seconds: Option<u32>,
    pub(super) queue_max: Option<u32>,
    pub(super) kept_max: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BackOff {
    pub(super) first: Option<u64>,
    pub(super) max: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Agents {
    pub(super) offline_after_seconds: Option<u64>,
    pub(super) start_within_seconds: Option<u64>,
    pub(super) cancel_grace_seconds: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ref {
    pub(super) name: String,
}
