//! What was written since the last sync: answered already, but neither durable nor shown yet.

use std::time::{Duration, Instant};

use purser_events::Record;

use crate::observer::CommitCost;

/// Longest time from a write until it is synced.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// Commits that wait for a sync.
#[derive(Default)]
pub(crate) struct Unsynced {
    since: Option<Instant>,
    commits: Vec<Vec<Record>>,
    requests: usize,
    records: usize,
    bytes: usize,
    write: Duration,
}

impl Unsynced {
    /// Whether all that was written is durable.
    pub(crate) fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// When it must be synced.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.and_then(|since| since.checked_add(WAIT_MAX))
    }

    /// Takes notice of a group that was written; its sync, if it has one, comes next.
    pub(crate) fn note(&mut self, group: CommitCost, written: Instant) {
        self.since.get_or_insert(written);
        self.requests += group.requests;
        self.records += group.records;
        self.bytes += group.bytes;
        self.write += group.write;
    }

    /// Keeps a commit that is answered before it is durable, to be shown once it is.
    pub(crate) fn keep(&mut self, commit: &[Record]) {
        if !commit.is_empty() {
            self.commits.push(commit.to_vec());
        }
    }

    /// What a sync has made durable: what it cost, and the commits that nobody was shown.
    pub(crate) fn synced(&mut self, sync: Duration) -> (CommitCost, Vec<Vec<Record>>) {
        let Unsynced { commits, requests, records, bytes, write, .. } = std::mem::take(self);
        (CommitCost { requests, records, bytes, write, sync }, commits)
    }
}
