//! Images of the node: what is asked of a runtime and leaves no record.

use std::path::Path;
use std::sync::Arc;

use purser_events::pod::spec::RuntimeClass;

use super::{Request, Service, ServiceError};
use crate::port::{Containers, LoadedImage};

impl Service {
    /// Says whether a runtime of this node has images.
    ///
    /// # Errors
    /// None has: [`ServiceError::NoImages`].
    pub fn check_images(&self) -> Result<(), ServiceError> {
        self.image_keeper().map(|_| ())
    }

    /// Takes an image from an OCI archive into containerd, under `name` or under the archive's own.
    ///
    /// This changes no entity and makes no event: images are the runtime's, it may drop them at any time, and no
    /// decision looks at them. Which image a pod got is on record with the pod. Doing it twice is harmless.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn load_image(
        &self,
        archive: &Path,
        name: Option<&str>,
        by: Request,
    ) -> Result<LoadedImage, ServiceError> {
        let keeper = self.image_keeper()?;
        // Given back at once: a load may take minutes and must not count against those who only ask.
        drop(self.permit()?);
        let Request { principal, correlation, command: _ } = by;
        let loaded = keeper.load_image(archive, name).await;
        match &loaded {
            Ok(image) => {
                let (reference, digest) = (&image.reference, &image.digest);
                tracing::info!(principal = principal.as_str(), %correlation, %reference, %digest, "image loaded");
            }
            Err(error) => {
                tracing::info!(principal = principal.as_str(), %correlation, %error, "image not loaded");
            }
        }
        loaded.map_err(ServiceError::Image)
    }

    fn image_keeper(&self) -> Result<Arc<dyn Containers>, ServiceError> {
        self.inner.shell.runtime(RuntimeClass::Containerd).ok_or(ServiceError::NoImages)
    }
}
