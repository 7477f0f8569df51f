//! What was answered under a command id, as it is stored beside the records: whoever asks again is told the same.

use std::collections::BTreeSet;

use purser_events::pod::PodRejection;
use purser_events::{Decider, Seq, StreamId};
use purser_storage::StoredAnswer;
use serde::{Deserialize, Serialize};

use crate::entity::{CommandKey, Done, Refusal};

/// What is stored under a command id.
#[derive(Serialize, Deserialize)]
pub(crate) struct Verdict<R> {
    pub(crate) stream: StreamId,
    pub(crate) changed: bool,
    /// The entity's last record when nothing happened.
    pub(crate) last: Seq,
    pub(crate) refused: Option<R>,
}

impl<R: Serialize> Verdict<R> {
    /// As it is stored.
    pub(crate) fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("rejections have text keys and no failing serializers")
    }
}

/// What a stored answer becomes once its stream is redacted, if it is of one of these streams and says more of it than
/// that: a refusal may name the pod and parts of it.
#[must_use]
pub fn redacted_answer(answer: &[u8], streams: &BTreeSet<StreamId>) -> Option<Vec<u8>> {
    let verdict: Verdict<serde_json::Value> = serde_json::from_slice(answer).ok()?;
    if verdict.refused.is_none() || !streams.contains(&verdict.stream) {
        return None;
    }
    let Verdict { stream, changed, last, .. } = verdict;
    let refused = Some(PodRejection::Terminated);
    Some(Verdict { stream, changed, last, refused }.written())
}

/// Reads a stored answer as one of this kind of entity.
///
/// # Errors
/// The refusal that was answered first, or that the id stands for another request.
pub fn recall<D: Decider>(answer: &StoredAnswer, key: CommandKey) -> Result<Done, Refusal<D::Rejection>> {
    if answer.fingerprint != key.fingerprint {
        return Err(Refusal::KeyReused);
    }
    // An answer of another kind of entity under the same fingerprint cannot be: the path is part of it.
    let verdict: Verdict<D::Rejection> =
        serde_json::from_slice(&answer.answer).map_err(|_| Refusal::KeyReused)?;
    match verdict.refused {
        Some(rejection) => Err(Refusal::Rejected(rejection)),
        None => {
            let seq = if verdict.changed { answer.last } else { verdict.last };
            Ok(Done { stream: verdict.stream, changed: verdict.changed, seq, replayed: true })
        }
    }
}
