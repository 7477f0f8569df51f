//! Where the bytes of an image come from.

use async_trait::async_trait;
use purser_actors::port::RuntimeError;

use super::content::BlobReader;
use super::document::Link;

/// Something that has an image: a registry, or an archive on this node.
#[async_trait]
pub(super) trait ImageSource: Send + Sync {
    /// What it is, for people.
    fn describe(&self) -> String;

    /// A document by the link to it. Its digest is not yet checked.
    async fn document(&self, link: &Link) -> Result<Vec<u8>, RuntimeError>;

    /// A blob by the link to it. Its digest is not yet checked.
    async fn blob(&self, link: &Link) -> Result<BlobReader, RuntimeError>;
}
