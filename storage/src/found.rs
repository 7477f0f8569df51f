//! What an opening of the journal found, for those who put it on record.

use purser_events::Seq;

/// How the journal was found, and what was done before it could be written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Whether it had been closed in order; true for a new one.
    pub closed: bool,
    /// Bytes at its end that a stop had torn off: they were never acknowledged, and were cut away.
    pub torn_bytes: u64,
    /// The snapshot that was restored, by its last record; none if every record was folded.
    pub snapshot: Option<Seq>,
    /// What became of the store.
    pub store: StoreFound,
}

/// What became of the store behind the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFound {
    /// It had every record, or there was none.
    Kept,
    /// It lacked the last records and got them from the segments.
    CaughtUp,
    /// It could not be trusted and was made again from the segments.
    MadeAgain,
}
