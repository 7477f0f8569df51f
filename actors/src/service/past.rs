//! How well the node knows its own past.

use purser_events::Seq;

use super::Service;

impl Service {
    /// Records that this release could not read when it started.
    #[must_use]
    pub fn unreadable_records(&self) -> u64 {
        self.inner.shell.live.unreadable()
    }

    /// As [`crate::LiveWorld::assumed_upto`].
    #[must_use]
    pub fn assumed_upto(&self) -> Option<Seq> {
        self.inner.shell.live.assumed_upto()
    }
}
