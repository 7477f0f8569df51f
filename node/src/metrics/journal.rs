//! What the journal tells about its own speed.

use std::time::Duration;

use metrics::{Histogram, histogram};
use purser_actors::metric;
use purser_storage::{CommitCost, JournalObserver};

/// Counts commits; its handles are looked up once, for the writer's sake.
pub struct JournalMeter {
    append: Histogram,
    sync: Histogram,
    batch: Histogram,
}

impl JournalMeter {
    /// A meter that counts into the recorder in force.
    #[must_use]
    pub fn new() -> JournalMeter {
        JournalMeter {
            append: histogram!(metric::JOURNAL_APPEND.name),
            sync: histogram!(metric::JOURNAL_FSYNC.name),
            batch: histogram!(metric::JOURNAL_BATCH.name),
        }
    }
}

impl Default for JournalMeter {
    fn default() -> JournalMeter {
        JournalMeter::new()
    }
}

impl JournalObserver for JournalMeter {
    fn committed(&self, cost: CommitCost) {
        self.sync.record(cost.sync.as_secs_f64());
        self.batch.record(u32::try_from(cost.records).map_or(f64::MAX, f64::from));
    }

    fn answered(&self, elapsed: Duration) {
        self.append.record(elapsed.as_secs_f64());
    }
}
