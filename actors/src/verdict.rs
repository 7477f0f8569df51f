//! What was answered under a command id, as it is stored beside the records: whoever asks again is told the same.

use std::collections::BTreeSet;

use purser_events::pod::PodRejection;
use purser_events::{Decider, Seq, StreamId, StreamVersion};
use purser_storage::{Journal, StoredAnswer};
use serde::{Deserialize, Serialize};

use crate::entity::{CommandKey, Done, Refusal};

/// What is stored under a command id.
#[derive(Serialize, Deserialize)]
pub(crate) struct Verdict<R> {
    pub(crate) stream: StreamId,
    pub(crate) changed: bool,
    /// The entity's last record when nothing happened, as far as that was on disk when it was decided.
    pub(crate) last: Seq,
    /// The version of the last record that it was decided on: that may have been on its way to the disk.
    #[serde(default)]
    pub(crate) version: Option<StreamVersion>,
    pub(crate) refused: Option<R>,
}

impl<R: Serialize> Verdict<R> {
    /// As it is stored.
    pub(crate) fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("rejections have text keys and no failing serializers")
    }
}

impl<R> Verdict<R> {
    /// The same of another kind of entity, of what refused it no word.
    fn without_refusal<S>(self) -> Verdict<S> {
        let Verdict { stream, changed, last, version, refused: _ } = self;
        Verdict { stream, changed, last, version, refused: None }
    }

    /// The record that an answer rests on that changed nothing: no older one, so that whoever waits for it sees all that was
    /// decided before.
    fn rests_on(&self, journal: &Journal) -> Seq {
        let newest = self.version.filter(|version| *version != StreamVersion::NONE);
        let read = newest.and_then(|version| journal.read_stream(self.stream, version, 1).ok());
        let found = read.into_iter().flatten().next().filter(|record| Some(record.header.version) == newest);
        found.map_or(self.last, |record| record.header.seq)
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
    let refused = Some(PodRejection::Terminated);
    Some(Verdict { refused, ..verdict.without_refusal() }.written())
}

/// Reads a stored answer as one of this kind of entity.
///
/// # Errors
/// The refusal that was answered first, or that the id stands for another request.
pub fn recall<D: Decider>(
    answer: &StoredAnswer,
    key: CommandKey,
    journal: &Journal,
) -> Result<Done, Refusal<D::Rejection>> {
    if answer.fingerprint != key.fingerprint {
        return Err(Refusal::KeyReused);
    }
    // An answer of another kind of entity under the same fingerprint cannot be: the path is part of it.
    let verdict: Verdict<D::Rejection> =
        serde_json::from_slice(&answer.answer).map_err(|_| Refusal::KeyReused)?;
    if let Some(rejection) = verdict.refused {
        return Err(Refusal::Rejected(rejection));
    }
    let seq = if verdict.changed { answer.last } else { verdict.rests_on(journal) };
    Ok(Done { stream: verdict.stream, changed: verdict.changed, seq, replayed: true })
}
