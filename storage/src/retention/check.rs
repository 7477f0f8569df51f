//! Looking after what lies there for months.

use purser_events::Seq;

use super::proof;
use crate::error::JournalError;
use crate::journal::Journal;
use crate::segment::set::Known;

impl Journal {
    /// Reads a sealed segment again and checks every entry, the chain and the hash of the whole. Nothing is done if
    /// there is no sealed segment that begins there. Blocks on the disk.
    ///
    /// # Errors
    /// The segment is damaged, or the disk fails.
    pub fn check_segment(&self, first: Seq) -> Result<(), JournalError> {
        let segments = self.segment_set();
        let _one_at_a_time = segments.upkeep();
        let Some(Known { path, sealed: Some(info), .. }) = segments.all().remove(&first) else {
            return Ok(());
        };
        let proven = proof::prove(&**segments.disk(), &path, first, &info)?;
        proven.map(|_| ()).map_err(|source| JournalError::Segment { source })
    }
}
