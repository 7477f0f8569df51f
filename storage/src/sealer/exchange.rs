//! What goes between the thread that writes and the one that seals. Neither ever waits for the other here.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Mutex, MutexGuard, PoisonError};

use purser_events::Seq;
use tokio::sync::watch;

use super::{SealingState, SealingStatus};
use crate::evidence::{Evidence, Newest};
use crate::frame::Hash;

/// Commits whose hashes may wait for the thread that seals; it reads those that found no room from the segments.
pub(crate) const COMMITS_WAITING_MAX: usize = 1_024;

/// Evidence that may wait for the thread that writes.
const EVIDENCE_WAITING_MAX: usize = 16;

/// The hashes of one commit's records.
#[derive(Debug)]
pub(crate) struct Committed {
    /// Position of the first.
    pub(crate) first: Seq,
    pub(crate) hashes: Vec<Hash>,
}

pub(crate) struct Exchange {
    hashes: Mutex<Option<SyncSender<Committed>>>,
    waiting: Mutex<Vec<Evidence>>,
    /// The newest that is in the segments.
    newest: Mutex<Newest>,
    pub(crate) status: watch::Sender<SealingStatus>,
}

impl Exchange {
    pub(crate) fn new(newest: Newest) -> Exchange {
        Exchange {
            hashes: Mutex::default(),
            waiting: Mutex::default(),
            newest: Mutex::new(newest),
            status: watch::Sender::new(SealingStatus::default()),
        }
    }

    /// From now on commits are told to the thread that seals; false if there is one already.
    pub(crate) fn begin(&self, hashes: SyncSender<Committed>) -> bool {
        let mut present = lock(&self.hashes);
        if present.is_some() {
            return false;
        }
        *present = Some(hashes);
        true
    }

    /// The first record that no durable checkpoint is over; none unless the journal is sealed.
    pub(crate) fn first_unsealed(&self) -> Option<Seq> {
        let SealingStatus { state, sealed, .. } = self.status.borrow().clone();
        let durable = lock(&self.newest).checkpoint.as_ref().map_or(0, |tree| tree.checkpoint().size());
        (state == SealingState::On).then_some(Seq(sealed.min(durable)).next())
    }

    /// Nothing more is told to the thread that seals, which then ends.
    pub(crate) fn end(&self) {
        lock(&self.hashes).take();
    }

    /// Tells of records that are durable. If there is no room they are left out: whoever seals sees the gap.
    pub(crate) fn tell(&self, first: Seq, hashes: Vec<Hash>) {
        let mut present = lock(&self.hashes);
        let Some(sender) = present.as_ref().filter(|_| !hashes.is_empty()) else { return };
        match sender.try_send(Committed { first, hashes }) {
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => *present = None,
        }
    }

    /// Whether the thread that writes keeps up with the evidence it is given.
    pub(crate) fn has_room(&self) -> bool {
        lock(&self.waiting).len() < EVIDENCE_WAITING_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.waiting).is_empty()
    }

    /// Hands evidence over, to be written with the next group.
    pub(crate) fn put(&self, evidence: Evidence) {
        lock(&self.waiting).push(evidence);
    }

    /// What is to be written.
    pub(crate) fn take(&self) -> Vec<Evidence> {
        std::mem::take(&mut *lock(&self.waiting))
    }

    /// Takes notice that evidence is durable.
    pub(crate) fn note_written(&self, evidence: Vec<Evidence>) {
        if evidence.is_empty() {
            return;
        }
        let mut newest = lock(&self.newest);
        evidence.into_iter().for_each(|evidence| newest.note(evidence));
    }

    pub(crate) fn newest(&self) -> Newest {
        lock(&self.newest).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holds one value that is put or taken whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
