//! Checkpoints for tests: a key beside a journal, sealing with it, and an audit of what was sealed.

use std::io::Cursor;
use std::num::NonZeroU64;
use std::path::Path;

use purser_events::Timestamp;
use purser_events::causes::told;
use purser_storage::audit::{Auditor, Finding};
use purser_storage::checkpoint::Seed;
use purser_storage::offline::{Item, Source};
use purser_storage::sealer::{SealingConfig, SealingParts};
use purser_storage::sealing::{KeyFile, SealingKey};
use purser_storage::{Journal, StoredRecord};

use crate::random::Random;

/// Records between two checkpoints.
const EVERY: NonZeroU64 = NonZeroU64::new(64).expect("it is not 0");
/// Time between two checkpoints in milliseconds: longer than a run.
const INTERVAL_MS: NonZeroU64 = NonZeroU64::new(3_600_000).expect("it is not 0");
/// Who seals.
const ORIGIN: &str = "purser/test";

fn first_key() -> SealingKey {
    let seed = Seed::read_from(&mut Cursor::new([7; Seed::LEN])).expect("it is long enough");
    SealingKey::first(ORIGIN, &seed, Timestamp(0)).expect("the origin may be a key's name")
}

/// Begins to seal a journal with the key in a file, which is made if there is none.
///
/// # Errors
/// The key does not fit the journal, or cannot be used.
pub fn seal(journal: &Journal, key: &Path) -> Result<(), String> {
    if !key.exists() {
        KeyFile::create(key, &first_key()).map_err(|error| told(&error))?;
    }
    let mut random = Random(journal.epoch());
    let parts = SealingParts {
        config: SealingConfig {
            checkpoint_events: EVERY,
            interval_ms: INTERVAL_MS,
            ..SealingConfig::new(key)
        },
        seeds: Box::new(move || Seed::read_from(&mut Cursor::new(random.bytes()))),
        now: Box::new(|| Timestamp(1_790_000_000_000_000)),
        observer: Box::new(()),
    };
    journal.seal(parts).map_err(|error| told(&error))
}

/// Every record of a closed journal, those in its archive too, once they and their checkpoints were found to belong
/// together. `is_sealed` says that there must be checkpoints.
///
/// # Errors
/// Something is damaged, or the audit finds something.
pub fn audited(dir: &Path, archive: &Path, is_sealed: bool) -> Result<Vec<StoredRecord>, String> {
    let source = if archive.is_dir() {
        Source::from_folder_and_archive(dir, archive)
    } else {
        Source::from_folder(dir)
    };
    let mut source = source.map_err(|error| told(&error))?;
    let key = first_key().verifier().clone();
    let auditor = Auditor::new(source.before().seq, Some(key), Vec::new());
    let (mut auditor, mut records) = (auditor.map_err(|error| told(&error))?, Vec::new());
    while let Some(item) = source.next_item() {
        match item.map_err(|error| told(&error))? {
            Item::Record(record) => {
                auditor.record(&record.hash);
                records.push(*record);
            }
            Item::Evidence(evidence) => auditor.evidence(&evidence),
        }
    }
    let mut report = auditor.finish();
    report.findings.retain(|finding| is_sealed || !matches!(finding, Finding::NothingSealed));
    if report.findings.is_empty() {
        Ok(records)
    } else {
        Err(format!("the audit finds {:?}", report.findings))
    }
}
