//! What the node gives out, and who has it: resources, tenants, reservations, and how often a tenant may ask.

pub mod advice;
pub mod allowance;
pub(super) mod body;
pub(super) mod gate;
pub mod grant;
pub mod limits;
pub mod reservations;
pub mod resources;
pub mod shortage;
pub mod tenants;
pub(crate) mod used;
pub mod wish;

use purser_actors::service::ledger::LedgerChange;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What became of a change to the ledger. It is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerAccepted {
    /// The last record that the request led to, or the ledger's last if it was so already.
    pub seq: u64,
    /// Whether anything was changed.
    pub changed: bool,
}

impl From<LedgerChange> for LedgerAccepted {
    fn from(change: LedgerChange) -> LedgerAccepted {
        LedgerAccepted { seq: change.seq.0, changed: change.changed }
    }
}
