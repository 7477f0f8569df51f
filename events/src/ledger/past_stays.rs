//! Payloads from when every pod of a lower priority could be made to leave for another's sake.

use serde::{Deserialize, Serialize};

use super::claims::Demand;
use super::event::{Allocated, Queued};
use super::grant::{Grant, Shortage};
use super::tenant::TenantId;
use crate::ids::PodUid;
use crate::units::Timestamp;

/// `ledger.allocated` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Allocated", rename_all = "camelCase")]
pub struct AllocatedV2 {
    /// See [`Allocated`]; so for all fields here.
    pub pod: PodUid,
    /// Tenant.
    pub tenant: TenantId,
    /// Priority.
    pub priority: i32,
    /// What it asked for.
    pub demand: Demand,
    /// What it was given.
    pub grant: Grant,
    /// When.
    pub at: Timestamp,
}

/// `ledger.queued` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Queued", rename_all = "camelCase")]
pub struct QueuedV2 {
    /// See [`Queued`]; so for all fields here.
    pub pod: PodUid,
    /// Tenant.
    pub tenant: TenantId,
    /// Priority.
    pub priority: i32,
    /// What it asked for.
    pub demand: Demand,
    /// What it was short of.
    pub shortages: Vec<Shortage>,
    /// Since when.
    pub at: Timestamp,
}

impl From<AllocatedV2> for Allocated {
    fn from(past: AllocatedV2) -> Allocated {
        let AllocatedV2 { pod, tenant, priority, demand, grant, at } = past;
        Allocated { pod, tenant, priority, demand, grant, at, stays: false }
    }
}

impl From<QueuedV2> for Queued {
    fn from(past: QueuedV2) -> Queued {
        let QueuedV2 { pod, tenant, priority, demand, shortages, at } = past;
        Queued { pod, tenant, priority, demand, shortages, at, stays: false }
    }
}
