//! What callers are told of a request about a pod that was carried out.

use purser_events::pod::PodRejection;
use purser_events::{PodId, PodUid, Seq, StreamId};
use serde::Serialize;

use super::{ServiceError, pod_error};
use crate::entity::{Done, Refusal};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// A pod was admitted.
    Created,
    /// A pod that runs is to have other limits.
    Resized,
    /// It was so already.
    Unchanged,
    /// It happened, or has begun.
    Accepted,
}

/// A request that was carried out. It is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The pod's name.
    pub pod: PodId,
    /// Its incarnation.
    pub uid: PodUid,
    /// The last record that the request led to directly.
    pub seq: Seq,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether this is the first answer, given again to a retry.
    pub replayed: bool,
}

pub(super) fn accepted_word(done: &Done) -> Outcome {
    if done.changed { Outcome::Accepted } else { Outcome::Unchanged }
}

pub(super) fn accepted(
    pod: PodId,
    outcome: Result<Done, Refusal<PodRejection>>,
    word: impl FnOnce(&Done) -> Outcome,
) -> Result<Accepted, ServiceError> {
    let done = outcome.map_err(pod_error)?;
    let StreamId { id, .. } = done.stream;
    Ok(Accepted { pod, uid: PodUid(id), seq: done.seq, outcome: word(&done), replayed: done.replayed })
}
