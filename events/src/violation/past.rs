//! Payloads of the past of violations, and how today's are made of them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::Resolved;
use crate::units::Timestamp;

/// `*.violation-resolved` version 1: what was used over the limit before a restart was not in the area, and that of a pod
/// which had gone was 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Resolved", rename_all = "camelCase")]
pub struct ResolvedV1 {
    /// See [`Resolved`]; so for all fields here.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// How long.
    pub duration_ms: u64,
    /// The most.
    pub peak: u64,
    /// Over the limit, as far as it was seen.
    pub area: u64,
    /// Why.
    pub reason: String,
}

impl From<ResolvedV1> for Resolved {
    fn from(past: ResolvedV1) -> Resolved {
        let ResolvedV1 { id, at, duration_ms, peak, area, reason } = past;
        Resolved { id, at, duration_ms, peak, area: Some(area), reason }
    }
}
