//! The registry: which pods there are by name, which there were lately, and how they stand.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Deserializer, Serialize};

use super::{by_text, from_text};
use crate::ids::{PodUid, Seq};
use crate::names::PodId;
use crate::pod::{Phase, Pod};
use crate::record::Header;
use crate::units::Timestamp;

/// Incarnations that are gone and still remembered, newest last.
const TOMBSTONES_MAX: usize = 1_000;

/// Pods by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    /// Every pod that is not gone.
    #[serde(serialize_with = "by_text", deserialize_with = "from_text")]
    pub entries: BTreeMap<PodId, Entry>,
    /// The incarnations that went last, oldest first.
    pub recent: VecDeque<Tombstone>,
    /// Incarnations that were ever admitted.
    pub admitted: u64,
}

/// One pod that is not gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Which incarnation it is.
    pub uid: PodUid,
    /// The word for its state.
    #[serde(deserialize_with = "phase_word")]
    pub phase: Cow<'static, str>,
    /// Containers that can serve.
    pub ready: u32,
    /// Containers that the pod is for.
    pub containers: u32,
    /// Restarts of its containers in all.
    pub restarts: u32,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// The record that admitted it.
    pub admitted_by: Seq,
    /// The last record of its stream.
    pub last: Seq,
}

/// An incarnation that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tombstone {
    /// What it was called; none if it was redacted.
    pub id: Option<PodId>,
    /// Which incarnation it was.
    pub uid: PodUid,
    /// Restarts of its containers in all; 0 if it was redacted.
    pub restarts: u32,
    /// When the record of its going was written.
    pub at: Timestamp,
    /// The record that says so.
    pub seq: Seq,
}

impl Registry {
    /// Takes notice of what a pod has become by the record with this header.
    pub(crate) fn notice(&mut self, pod: &Pod, header: &Header) {
        match pod {
            Pod::Unknown => {}
            Pod::Live(live) => {
                let standing = |admitted_at, admitted_by| Entry {
                    uid: live.uid,
                    phase: Cow::Borrowed(live.phase.word()),
                    ready: count(live.apps().filter(|app| app.is_ready())),
                    containers: count(live.apps()),
                    restarts: live.restarts(),
                    admitted_at,
                    admitted_by,
                    last: header.seq,
                };
                match self.entries.get_mut(&live.spec.id) {
                    Some(entry) if entry.uid == live.uid => {
                        *entry = standing(entry.admitted_at, entry.admitted_by);
                    }
                    Some(_) | None => {
                        self.admitted += 1;
                        self.entries.insert(live.spec.id.clone(), standing(header.time, header.seq));
                    }
                }
            }
            Pod::Terminated { id, uid, restarts, at: _ } => {
                if self.entries.get(id).is_some_and(|entry| entry.uid == *uid) {
                    self.entries.remove(id);
                }
                self.bury(Some(id.clone()), *uid, *restarts, header);
            }
        }
    }

    /// Remembers an incarnation that went by the record with this header.
    pub(super) fn bury(&mut self, id: Option<PodId>, uid: PodUid, restarts: u32, header: &Header) {
        if self.recent.len() == TOMBSTONES_MAX {
            self.recent.pop_front();
        }
        let (at, seq) = (header.time, header.seq);
        self.recent.push_back(Tombstone { id, uid, restarts, at, seq });
    }

    /// Forgets of an incarnation that is gone what a redaction leaves unknown.
    pub(super) fn forget(&mut self, uid: PodUid) {
        for gone in self.recent.iter_mut().filter(|gone| gone.uid == uid) {
            (gone.id, gone.restarts) = (None, 0);
        }
    }

    /// The incarnation that has this name now, or had it last as far as is remembered.
    #[must_use]
    pub fn latest(&self, id: &PodId) -> Option<PodUid> {
        let live = self.entries.get(id).map(|entry| entry.uid);
        live.or_else(|| {
            self.recent.iter().rev().find(|gone| gone.id.as_ref() == Some(id)).map(|gone| gone.uid)
        })
    }
}

fn phase_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'static, str>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let word = Phase::WORDS.into_iter().find(|word| *word == text);
    word.map(Cow::Borrowed)
        .ok_or_else(|| serde::de::Error::custom(format_args!("`{text}` is no state of a pod")))
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
