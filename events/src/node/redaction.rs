//! Redactions: what of the past the node was asked to forget, and whether it has.
//!
//! One at a time. Its lists may be long, so they are recorded in parts: the records of one redaction have its id.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::NodeRejection;
use super::event::{NodeEvent, RedactionCompleted, RedactionRequested};
use super::state::REASON_LEN_MAX;
use crate::decider::IllegalTransition;
use crate::ids::{PodUid, StreamId, WorkerUid};

/// Pods, and workers, in one record.
const STREAMS_MAX: usize = 1_000;

/// Segments in one record.
const SEGMENTS_MAX: usize = 256;

/// A redaction that was asked for and is not over yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingRedaction {
    /// Which.
    pub id: Uuid,
    /// Incarnations whose payloads go.
    pub pods: BTreeSet<PodUid>,
    /// Workers whose payloads go with them.
    pub workers: BTreeSet<WorkerUid>,
}

impl PendingRedaction {
    /// What is pending after a part of a request.
    ///
    /// # Errors
    /// Another redaction is pending.
    pub fn after(
        pending: Option<&PendingRedaction>,
        part: &RedactionRequested,
    ) -> Result<PendingRedaction, IllegalTransition> {
        let mut pending = match pending {
            None => PendingRedaction { id: part.redaction, pods: BTreeSet::new(), workers: BTreeSet::new() },
            Some(pending) if pending.id == part.redaction => pending.clone(),
            Some(pending) => {
                let state = format_args!("redaction {}", pending.id);
                return Err(IllegalTransition::new(state, "node.redaction-requested"));
            }
        };
        pending.pods.extend(&part.pods);
        pending.workers.extend(&part.workers);
        Ok(pending)
    }

    /// What is pending after an event of the node, as far as parts fit what was pending before.
    #[must_use]
    pub fn followed(pending: Option<PendingRedaction>, event: &NodeEvent) -> Option<PendingRedaction> {
        match event {
            NodeEvent::RedactionRequested(part) => {
                PendingRedaction::after(pending.as_ref(), part).ok().or(pending)
            }
            NodeEvent::RedactionCompleted(part) if !part.more => None,
            _ => pending,
        }
    }

    /// The streams whose payloads go.
    #[must_use]
    pub fn streams(&self) -> BTreeSet<StreamId> {
        let pods = self.pods.iter().map(|pod| pod.stream());
        pods.chain(self.workers.iter().map(|worker| worker.stream())).collect()
    }
}

/// What asking for a redaction makes happen.
pub(super) fn request(
    pending: Option<&PendingRedaction>,
    request: &RedactionRequested,
) -> Result<Vec<NodeEvent>, NodeRejection> {
    if let Some(pending) = pending {
        return Err(NodeRejection::RedactionPending { redaction: pending.id });
    }
    let RedactionRequested { redaction, pods, workers, reason } = request;
    if REASON_LEN_MAX < reason.len() {
        return Err(NodeRejection::ReasonTooLong { len: reason.len() });
    }
    if reason.trim().is_empty() || reason.chars().any(char::is_control) {
        return Err(NodeRejection::BadReason);
    }
    let parts = pods.len().div_ceil(STREAMS_MAX).max(workers.len().div_ceil(STREAMS_MAX));
    let part = |number| {
        NodeEvent::from(RedactionRequested {
            redaction: *redaction,
            pods: pods.chunks(STREAMS_MAX).nth(number).unwrap_or_default().to_vec(),
            workers: workers.chunks(STREAMS_MAX).nth(number).unwrap_or_default().to_vec(),
            reason: reason.clone(),
        })
    };
    Ok((0..parts).map(part).collect())
}

/// What the end of a redaction makes happen.
pub(super) fn complete(
    pending: Option<&PendingRedaction>,
    completed: &RedactionCompleted,
) -> Result<Vec<NodeEvent>, NodeRejection> {
    let RedactionCompleted { redaction, records, segments, keys_destroyed, more: _ } = completed;
    if pending.is_none_or(|pending| pending.id != *redaction) {
        return Err(NodeRejection::NoSuchRedaction { redaction: *redaction });
    }
    let parts = segments.len().div_ceil(SEGMENTS_MAX).max(1);
    let part = |number| {
        let is_first = number == 0;
        NodeEvent::from(RedactionCompleted {
            redaction: *redaction,
            // Once in all: they can be added up.
            records: if is_first { *records } else { 0 },
            segments: segments.chunks(SEGMENTS_MAX).nth(number).unwrap_or_default().to_vec(),
            keys_destroyed: if is_first { *keys_destroyed } else { 0 },
            more: number + 1 < parts,
        })
    };
    Ok((0..parts).map(part).collect())
}

/// What is pending after a part of a completion.
pub(super) fn completed(
    pending: Option<&PendingRedaction>,
    part: &RedactionCompleted,
) -> Result<Option<PendingRedaction>, IllegalTransition> {
    match pending {
        Some(pending) if pending.id == part.redaction => Ok(part.more.then(|| pending.clone())),
        Some(_) | None => Err(IllegalTransition::new("no such redaction", "node.redaction-completed")),
    }
}
