//! What must not go: whatever a snapshot or a reader that keeps its place still needs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use purser_events::Seq;

use crate::journal::Journal;

/// Who needs which records.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// The record up to which the oldest sound snapshot speaks.
    snapshot: Option<Seq>,
    /// Readers that keep their place, by name, with the next record that each will read.
    cursors: BTreeMap<String, Seq>,
}

impl Journal {
    /// Says up to which record the oldest sound snapshot speaks; none if there is no sound snapshot. Until this is
    /// said, no record is given up.
    pub fn set_oldest_snapshot(&self, seq: Option<Seq>) {
        self.holds().0.lock().unwrap_or_else(PoisonError::into_inner).snapshot = seq;
    }

    /// Holds every record from `next` on for a reader, in place of what was held for it before.
    pub fn set_cursor(&self, reader: &str, next: Seq) {
        let mut held = self.holds().0.lock().unwrap_or_else(PoisonError::into_inner);
        held.cursors.insert(reader.to_owned(), next);
    }

    /// Holds nothing more for a reader.
    pub fn drop_cursor(&self, reader: &str) {
        self.holds().0.lock().unwrap_or_else(PoisonError::into_inner).cursors.remove(reader);
    }

    /// The first record that is still needed: the one after the oldest snapshot, or where the last reader is. The
    /// journal's first if there is no snapshot.
    #[must_use]
    pub fn protected_from(&self) -> Seq {
        let held = self.holds().0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.before().seq.next();
        let after_snapshot = held.snapshot.map_or(first, Seq::next);
        held.cursors.values().copied().fold(after_snapshot, Seq::min)
    }
}
