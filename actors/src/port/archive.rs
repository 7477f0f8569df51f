//! Where sealed segments of the journal are put for good.

use async_trait::async_trait;
use purser_storage::retention::SegmentInfo;

/// Keeps copies of segments somewhere else.
#[async_trait]
pub trait Archive: Send + Sync + 'static {
    /// Puts a segment there; returns once it is there for good. Once more does no harm.
    ///
    /// # Errors
    /// It may not be there.
    async fn keep(&self, segment: &SegmentInfo) -> Result<(), ArchiveFailure>;
}

/// Why a segment may not be in the archive.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ArchiveFailure(Box<dyn std::error::Error + Send + Sync>);

impl ArchiveFailure {
    /// With the adapter's own words.
    #[must_use]
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ArchiveFailure {
        ArchiveFailure(source.into())
    }
}
