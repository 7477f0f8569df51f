//! A run that broke a promise: what repeats it, and what it had written until then.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use purser_storage::export::{ExportError, Writer};
use purser_storage::{Head, StoredRecord};

/// What went wrong in a run.
pub struct Failure {
    /// Repeats the run.
    pub seed: u64,
    /// After how many steps.
    pub step: u32,
    /// What was promised and does not hold.
    pub what: String,
    /// Every record that anybody had seen.
    pub records: Vec<StoredRecord>,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, step, what, records } = self;
        write!(f, "seed {seed}, step {step}, {} records: {what}", records.len())
    }
}

impl Failure {
    /// Writes all records as an export, which `purser-replay` opens, and says where it is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<PathBuf, ExportError> {
        let path = dir.join(format!("simulated-{}.export", self.seed));
        let failed = |source: io::Error| ExportError::Io { action: "create", source };
        let mut writer = Writer::new(File::create(&path).map_err(failed)?, Head::GENESIS)?;
        for record in &self.records {
            writer.write(record)?;
        }
        writer.finish()?;
        Ok(path)
    }
}
