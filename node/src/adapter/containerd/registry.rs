//! Images from registries, and from mirrors of them.

use std::time::Duration;

use async_trait::async_trait;
use oci_client::client::{ClientConfig, ClientProtocol, LayerDescriptor};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use purser_actors::port::RuntimeError;
use purser_events::causes;
use purser_events::pod::event::FailureClass;
use tokio_util::io::StreamReader;

use super::config::{ContainerdConfig, Endpoint};
use super::content::BlobReader;
use super::document::{Link, MANIFEST_TYPES};
use super::reference::ImageName;
use super::source::ImageSource;

/// Longest time that a registry may take to answer with a document.
const DOCUMENT_LIMIT: Duration = Duration::from_secs(60);
/// Longest time without a byte in the middle of a layer.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Longest time that a connection may take to open.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A client of every registry that images name.
pub(super) struct Registries {
    client: Client,
    config: ContainerdConfig,
}

impl Registries {
    pub(super) fn new(config: &ContainerdConfig) -> Registries {
        let mirrors = config.mirrors.values().flatten().filter_map(|text| Endpoint::parse(text));
        let plain_mirrors = mirrors.filter(|endpoint| endpoint.plain).map(|endpoint| endpoint.host);
        let plain = config.plain_http_registries.iter().cloned().chain(plain_mirrors).collect();
        let client = Client::new(ClientConfig {
            protocol: ClientProtocol::HttpsExcept(plain),
            read_timeout: Some(SILENCE_LIMIT),
            connect_timeout: Some(CONNECT_LIMIT),
            user_agent: concat!("purser/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        Registries { client, config: config.clone() }
    }

    /// Asks the mirrors in their order, and then the registry itself, for what an image's name leads to.
    pub(super) async fn find(&self, name: &ImageName) -> Result<(RegistrySource, Vec<u8>), RuntimeError> {
        let mut refusals = Vec::new();
        for reference in self.candidates(name) {
            let source = RegistrySource { client: self.client.clone(), reference };
            match source.fetch(&source.reference).await {
                Ok(raw) => return Ok((source, raw)),
                Err(error) => refusals.push((source.describe(), error)),
            }
        }
        let absent = refusals.iter().all(|(_, error)| error.class == FailureClass::ImageNotFound);
        let class = if absent { FailureClass::ImageNotFound } else { FailureClass::ImagePull };
        let told: Vec<String> =
            refusals.iter().map(|(whom, error)| format!("{whom}: {}", error.message)).collect();
        Err(RuntimeError::new(class, format!("failed to pull `{}`: {}", name.whole(), told.join("; "))))
    }

    fn candidates(&self, name: &ImageName) -> Vec<Reference> {
        let mirrors = self.config.mirrors.get(name.reference().registry()).into_iter().flatten();
        let endpoints = mirrors.filter_map(|text| Endpoint::parse(text));
        let mirrored = endpoints.map(|endpoint| {
            let mut reference = name.reference().clone();
            reference.set_mirror_registry(endpoint.host);
            reference
        });
        mirrored.chain([name.reference().clone()]).collect()
    }
}

/// An image in a registry that has it.
pub(super) struct RegistrySource {
    client: Client,
    reference: Reference,
}

impl RegistrySource {
    async fn fetch(&self, reference: &Reference) -> Result<Vec<u8>, RuntimeError> {
        let anonymous = RegistryAuth::Anonymous;
        let fetch = self.client.pull_manifest_raw(reference, &anonymous, &MANIFEST_TYPES);
        match tokio::time::timeout(DOCUMENT_LIMIT, fetch).await {
            Ok(Ok((raw, _))) => Ok(raw.to_vec()),
            Ok(Err(error)) => Err(refusal(&error)),
            Err(_) => {
                let message = format!("no answer within {} s", DOCUMENT_LIMIT.as_secs());
                Err(RuntimeError::new(FailureClass::ImagePull, message))
            }
        }
    }
}

#[async_trait]
impl ImageSource for RegistrySource {
    fn describe(&self) -> String {
        self.reference.resolve_registry().to_owned()
    }

    async fn document(&self, link: &Link) -> Result<Vec<u8>, RuntimeError> {
        self.fetch(&self.reference.clone_with_digest(link.digest.clone())).await
    }

    async fn blob(&self, link: &Link) -> Result<BlobReader, RuntimeError> {
        // Other places that a manifest may name for a layer are not asked: they are for whoever wrote it to choose.
        let layer = LayerDescriptor { digest: &link.digest, urls: &None };
        let stream =
            self.client.pull_blob_stream(&self.reference, &layer).await.map_err(|error| refusal(&error))?;
        Ok(Box::pin(StreamReader::new(stream)))
    }
}

fn refusal(error: &OciDistributionError) -> RuntimeError {
    use OciErrorCode as C;
    let absent = match error {
        OciDistributionError::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
            matches!(error.code, C::ManifestUnknown | C::NameUnknown | C::NotFound | C::ManifestBlobUnknown)
        }),
        OciDistributionError::ServerError { code: 404, .. } => true,
        OciDistributionError::ImageManifestNotFoundError(_) => true,
        _ => false,
    };
    // "error sending request" alone helps nobody: the reason is further down.
    let text = causes::told(&error);
    let class = if absent { FailureClass::ImageNotFound } else { FailureClass::ImagePull };
    RuntimeError::new(class, text)
}
