//! What must not go: whatever a snapshot or a reader that keeps its place still needs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use purser_events::Seq;

use crate::journal::Journal;

/// Readers that keep their place, by name, with the next record that each will read.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<BTreeMap<String, Seq>>);

impl Holds {
    /// Holds every record from `next` on for a reader, in place of what was held for it before.
    pub(crate) fn set(&self, reader: &str, next: Seq) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(reader.to_owned(), next);
    }

    /// Holds nothing more for a reader.
    pub(crate) fn release(&self, reader: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(reader);
    }
}

impl Journal {
    /// Holds every record from `next` on for a reader, in place of what was held for it before.
    pub fn set_cursor(&self, reader: &str, next: Seq) {
        self.holds().set(reader, next);
    }

    /// Holds nothing more for a reader.
    pub fn drop_cursor(&self, reader: &str) {
        self.holds().release(reader);
    }

    /// The first record that is still needed: the one after the oldest snapshot, where the last reader is, or, while
    /// the journal is sealed, the first that no checkpoint is over. The journal's first if there is no snapshot.
    #[must_use]
    pub fn protected_from(&self) -> Seq {
        let first = self.before().seq.next();
        let after_snapshot = self.snapshots().first().map_or(first, |oldest| oldest.seq.next());
        let unsealed = self.exchange().first_unsealed();
        let held = self.holds().0.lock().unwrap_or_else(PoisonError::into_inner);
        held.values().copied().chain(unsealed).fold(after_snapshot, Seq::min)
    }
}
