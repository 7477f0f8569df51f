//! A journal with signed checkpoints, as the service has it once there is a key.

use std::path::Path;

use purser_events::Timestamp;
use purser_storage::Journal;
use purser_storage::checkpoint::Seed;
use purser_storage::sealer::{SealingConfig, SealingParts, SealingState};
use purser_storage::sealing::{KeyFile, SealingKey};

use crate::random::Random;

/// Where checkpoints say that they come from.
const ORIGIN: &str = "purser/test";

/// Begins to seal an open journal with the service's defaults and the key in `key_file`, which is made from `random`
/// if it is absent.
///
/// # Panics
/// The key cannot be made, or cannot seal this journal.
pub fn seal(
    journal: &Journal,
    key_file: &Path,
    mut random: Random,
    now: impl Fn() -> Timestamp + Send + 'static,
) {
    let mut seed = move || Seed::read_from(&mut random.bytes().as_slice());
    if !key_file.exists() {
        let first = seed().expect("there are enough bytes for a seed");
        let key = SealingKey::first(ORIGIN, &first, now()).expect("a key can be made of any seed");
        KeyFile::create(key_file, &key).expect("the key can be kept");
    }
    let parts = SealingParts {
        config: SealingConfig::new(key_file),
        seeds: Box::new(seed),
        now: Box::new(now),
        observer: Box::new(()),
    };
    journal.seal(parts).expect("the key seals this journal");
}

/// Records after which there is a checkpoint.
#[must_use]
pub fn checkpoint_events() -> u64 {
    SealingConfig::new("").checkpoint_events.get()
}

/// Waits until there is a checkpoint over all but the last records, too few for one of their own.
///
/// # Panics
/// The journal is not sealed, or not any longer.
pub async fn settled(journal: &Journal) {
    let (head, every) = (journal.head().seq.0, checkpoint_events());
    let mut sealing = journal.sealing();
    let status =
        sealing.wait_for(|status| status.state != SealingState::On || head < status.sealed + every).await;
    assert_eq!(status.expect("the journal is open").state, SealingState::On);
}
