//! What was written since the last sync: answered already, but neither durable nor shown yet.

use std::time::{Duration, Instant};

use purser_events::{Record, Seq};

use crate::evidence::Evidence;
use crate::frame::Hash;
use crate::observer::CommitCost;

/// A group that was written.
pub(crate) struct Written {
    /// What that cost; its sync comes later.
    pub cost: CommitCost,
    /// Position of its first record, if it has one.
    pub first: Seq,
    /// Of its records, in order.
    pub hashes: Vec<Hash>,
    pub evidence: Vec<Evidence>,
}

/// What a sync has made durable.
pub(crate) struct Synced {
    pub cost: CommitCost,
    /// Commits that nobody was shown, in order.
    pub commits: Vec<Vec<Record>>,
    /// Position of the first record, if there is one.
    pub first: Seq,
    /// Of all records, in order.
    pub hashes: Vec<Hash>,
    pub evidence: Vec<Evidence>,
}

/// Commits that wait for a sync.
#[derive(Default)]
pub(crate) struct Unsynced {
    since: Option<Instant>,
    commits: Vec<Vec<Record>>,
    requests: usize,
    records: usize,
    bytes: usize,
    write: Duration,
    first: Seq,
    hashes: Vec<Hash>,
    evidence: Vec<Evidence>,
}

impl Unsynced {
    /// Whether all that was written is durable.
    pub(crate) fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// When it must be synced, if it may wait for so long.
    pub(crate) fn due(&self, wait: Duration) -> Option<Instant> {
        self.since.and_then(|since| since.checked_add(wait))
    }

    /// Takes notice of a group that was written; its sync, if it has one, comes next.
    pub(crate) fn note(&mut self, group: Written, at: Instant) {
        let Written { cost, first, hashes, evidence } = group;
        if self.hashes.is_empty() {
            (self.first, self.hashes) = (first, hashes);
        } else {
            self.hashes.extend(hashes);
        }
        self.since.get_or_insert(at);
        self.requests += cost.requests;
        self.records += cost.records;
        self.bytes += cost.bytes;
        self.write += cost.write;
        self.evidence.extend(evidence);
    }

    /// Keeps a commit that is answered before it is durable, to be shown once it is.
    pub(crate) fn keep(&mut self, commit: &[Record]) {
        if !commit.is_empty() {
            self.commits.push(commit.to_vec());
        }
    }

    /// Lets go of what a sync has made durable.
    pub(crate) fn synced(&mut self, sync: Duration) -> Synced {
        let Unsynced { commits, requests, records, bytes, write, first, hashes, evidence, .. } =
            std::mem::take(self);
        let cost = CommitCost { requests, records, bytes, write, sync };
        Synced { cost, commits, first, hashes, evidence }
    }
}
