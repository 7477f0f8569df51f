//! What the journal tells about its own speed, to whoever keeps the figures.

use std::time::Duration;

/// Is told what commits cost. Called on the writer thread and on callers' tasks: must be quick.
pub trait JournalObserver: Send + Sync + 'static {
    /// A group of requests was made durable.
    fn committed(&self, cost: CommitCost);

    /// A request was answered, with success or not, this long after it was made.
    fn answered(&self, elapsed: Duration);
}

/// What one group commit cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitCost {
    /// Requests that were answered together.
    pub requests: usize,
    /// Records written.
    pub records: usize,
    /// Bytes of their frames.
    pub bytes: usize,
    /// Time to hand them to the store.
    pub write: Duration,
    /// Time until the disk had them.
    pub sync: Duration,
}
