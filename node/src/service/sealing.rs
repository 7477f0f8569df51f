//! Sealing the journal, if there is a key: where seeds come from, and who hears of checkpoints.

use metrics::{Counter, counter};
use purser_actors::metric;
use purser_actors::port::Clock;
use purser_storage::Journal;
use purser_storage::checkpoint::SignedNote;
use purser_storage::sealer::{SealingConfig, SealingObserver, SealingParts};

use super::keys;
use crate::adapter::clock::SystemClock;
use crate::adapter::witness::Witnesses;
use crate::config::Config;

/// Begins to seal if there is a key. Trouble with it is told in the log, the status and a metric; the node goes on.
pub(super) fn begin(config: &Config, journal: &Journal) {
    let key_file = config.key_file();
    if matches!(key_file.try_exists(), Ok(false)) {
        tracing::info!("the journal is not sealed: there is no key, `purserd keys setup` makes one");
        return;
    }
    let sealing = &config.journal.sealing;
    let parts = SealingParts {
        config: SealingConfig {
            key_file,
            checkpoint_events: sealing.checkpoint_events,
            checkpoint_ms: sealing.checkpoint_ms,
            interval_ms: sealing.interval_ms,
        },
        seeds: Box::new(keys::seed),
        now: Box::new(|| SystemClock.now()),
        observer: Box::new(Checkpoints {
            signed: counter!(metric::JOURNAL_CHECKPOINTS.name),
            witnesses: Witnesses::start(&config.journal.witness),
        }),
    };
    if let Err(error) = journal.seal(parts) {
        tracing::debug!(%error, "sealing did not begin");
    }
}

/// Hears of checkpoints.
struct Checkpoints {
    signed: Counter,
    witnesses: Option<Witnesses>,
}

impl SealingObserver for Checkpoints {
    fn sealed(&mut self, note: &SignedNote, _: u64) {
        self.signed.increment(1);
        if let Some(witnesses) = &self.witnesses {
            witnesses.tell(note);
        }
    }
}
