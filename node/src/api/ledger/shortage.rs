//! Refusals of the ledger as callers see them: everything that there is too little of, and who has it.

use purser_actors::service::ledger::holders_of;
use purser_actors::service::{Service, ServiceError};
use purser_events::World;
use purser_events::ledger::{Bound, LedgerRejection, Shortage};
use purser_events::pod::PodRejection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::problem::Problem;

/// One thing that there is too little of. Amounts are in the resource's unit: thousandths of a core, bytes, percent of
/// one GPU, or pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShortageView {
    /// Of what.
    pub resource: String,
    /// How much was asked for.
    pub asked: u64,
    /// How much there is for it now.
    pub free: u64,
    /// What sets the bound: `free`, `node`, `quota`, `pod-max`, `port`, `device`, `stopped`, `unstated`,
    /// `reservation`, or of GPUs `unknown-gpu`, `largest-gpu`, `unknown-model`, `beyond-model` and `below-one-percent`.
    pub bound: String,
    /// Who has it: exactly who if it is one thing, else the largest.
    pub holders: Vec<String>,
    /// The same as a sentence.
    pub message: String,
}

impl ShortageView {
    /// A shortage with its holders as the world has them.
    #[must_use]
    pub fn of(world: &World, shortage: &Shortage) -> ShortageView {
        ShortageView {
            resource: shortage.kind.to_string(),
            asked: shortage.asked,
            free: shortage.free,
            bound: word(&shortage.bound).to_owned(),
            holders: holders_of(world, shortage),
            message: shortage.to_string(),
        }
    }

    /// The shortage as a sentence in kubectl's manner, with who has it.
    #[must_use]
    pub fn sentence(&self) -> String {
        let insufficient = matches!(&*self.bound, "free" | "node" | "quota" | "pod-max" | "device");
        let begin = if insufficient { "Insufficient " } else { "" };
        let holders = if self.holders.is_empty() {
            String::new()
        } else {
            format!(" (held by {})", self.holders.join(", "))
        };
        format!("{begin}{}{holders}", self.message)
    }
}

/// A word for what sets a bound.
fn word(bound: &Bound) -> &'static str {
    match bound {
        Bound::Free => "free",
        Bound::Node { .. } => "node",
        Bound::Quota { .. } => "quota",
        Bound::PodMax { .. } => "pod-max",
        Bound::Port(_) => "port",
        Bound::Device => "device",
        Bound::Stopped { .. } => "stopped",
        Bound::Unstated => "unstated",
        Bound::Reservation => "reservation",
        Bound::UnknownGpu { .. } => "unknown-gpu",
        Bound::LargestGpu { .. } => "largest-gpu",
        Bound::UnknownModel { .. } => "unknown-model",
        Bound::BeyondModel { .. } => "beyond-model",
        Bound::BelowOnePercent { .. } => "below-one-percent",
    }
}

/// What was refused, with every shortage and its holders if there was too little of something.
#[must_use]
pub fn told(service: &Service, error: ServiceError) -> Problem {
    let shortages = match &error {
        ServiceError::Pod(PodRejection::Resources { error: LedgerRejection::Insufficient { shortages } })
        | ServiceError::Ledger(LedgerRejection::Insufficient { shortages }) => service
            .world(|world| shortages.iter().map(|shortage| ShortageView::of(world, shortage)).collect()),
        _ => Box::default(),
    };
    Problem { shortages, ..Problem::from(error) }
}
