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
    /// How many wait in front for whom some of it is kept, so that it is not free; absent if that makes no difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_front: Option<usize>,
    /// The same as a sentence.
    pub message: String,
}

impl ShortageView {
    /// A shortage with its holders as the world has them, and with how many wait in front for whom some of it is kept.
    #[must_use]
    pub fn of(world: &World, shortage: &Shortage, in_front: Option<usize>) -> ShortageView {
        let foreign = world.ledger.managers.network.foreign();
        let message = match shortage.bound {
            Bound::Port(port) if foreign.contains(&port) => {
                format!("{shortage}: a process that is no pod's listens on it")
            }
            _ => shortage.to_string(),
        };
        ShortageView {
            resource: shortage.kind.to_string(),
            asked: shortage.asked,
            free: shortage.free,
            bound: word(&shortage.bound).to_owned(),
            holders: holders_of(world, shortage),
            in_front,
            message,
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
        let kept = match self.in_front {
            None => String::new(),
            Some(1) => "; what is kept for 1 pod that waits in front is not free".to_owned(),
            Some(pods) => format!("; what is kept for {pods} pods that wait in front is not free"),
        };
        format!("{begin}{}{holders}{kept}", self.message)
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
        ServiceError::Pod(PodRejection::Resources {
            error: LedgerRejection::Insufficient { shortages, in_front },
        })
        | ServiceError::Ledger(LedgerRejection::Insufficient { shortages, in_front }) => {
            let kept = |shortage: &Shortage| {
                in_front.as_ref().filter(|front| front.kinds.contains(&shortage.kind)).map(|front| front.pods)
            };
            let view = |world: &World, it: &Shortage| ShortageView::of(world, it, kept(it));
            service.world(|world| shortages.iter().map(|shortage| view(world, shortage)).collect())
        }
        _ => Box::default(),
    };
    Problem { shortages, ..Problem::from(error) }
}
