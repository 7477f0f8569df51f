//! Images on this node: found, fetched and unpacked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use containerd_client::services::v1::{
    CreateImageRequest, GetImageRequest, Image as Record, UpdateImageRequest,
};
use containerd_client::types::Descriptor;
use futures_util::{TryStreamExt, stream};
use prost_types::FieldMask;
use purser_actors::port::{Clock, Ids, LoadedImage, RuntimeError};
use purser_events::pod::event::FailureClass;
use purser_events::pod::spec::PullPolicy;
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::archive::Archive;
use super::config::ContainerdConfig;
use super::connection::{CALL_LIMIT, Connection, within};
use super::content::{self, NewBlob};
use super::document::{Document, DocumentError, ImageConfig, Link, Manifest};
use super::failure::{from_status, is_absent, is_away};
use super::reference::ImageName;
use super::registry::Registries;
use super::source::ImageSource;
use super::unpack;

/// Most images that are fetched at once; further ones wait.
const FETCHES_MAX: usize = 3;
/// Most layers of one image that are fetched at once.
const LAYERS_AT_ONCE: usize = 3;
/// Milliseconds after which containerd may collect what a fetch that was cut off left behind.
const LEASE_MS: u64 = 4 * 3_600_000;
/// Most images whose documents are remembered.
const REMEMBERED_MAX: usize = 256;

/// An image that is there.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) config: ImageConfig,
    /// The snapshot on which a container's root file system is laid; empty for an image without layers.
    pub(super) top: String,
}

/// The images of one containerd namespace.
pub(super) struct Images {
    line: Connection,
    snapshotter: String,
    images_dir: Option<PathBuf>,
    registries: Registries,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    /// What tells this node's leases from another's.
    owner: String,
    cleared: tokio::sync::OnceCell<()>,
    slots: Semaphore,
    turns: Mutex<BTreeMap<String, Weak<tokio::sync::Mutex<()>>>>,
    remembered: Mutex<BTreeMap<String, Arc<Image>>>,
}

impl Images {
    pub(super) fn new(
        line: Connection,
        config: &ContainerdConfig,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Images {
        Images {
            line,
            snapshotter: config.snapshotter.clone(),
            images_dir: config.images_dir.clone(),
            registries: Registries::new(config),
            clock,
            ids,
            owner: config.runc_root.to_string_lossy().into_owned(),
            cleared: tokio::sync::OnceCell::new(),
            slots: Semaphore::new(FETCHES_MAX),
            turns: Mutex::default(),
            remembered: Mutex::default(),
        }
    }

    /// Makes sure that an image is there, as its policy says.
    pub(super) async fn ensure(&self, text: &str, policy: PullPolicy) -> Result<LoadedImage, RuntimeError> {
        let name = ImageName::parse(text).map_err(|problem| {
            RuntimeError::new(FailureClass::Invalid, format!("image reference `{text:.128}`: {problem}"))
        })?;
        let turn = self.turn(&name.whole());
        // One fetch per name at a time: the next one finds it done.
        let _mine = turn.lock().await;
        if policy != PullPolicy::Always
            && let Some(found) = self.find(&name).await?
        {
            return Ok(found);
        }
        if let Some(path) = self.local_copy(&name) {
            return self.import(&Archive::open(path).await?, &name).await;
        }
        if policy == PullPolicy::Never {
            let message =
                format!("image `{}` is not on this node and its imagePullPolicy is Never", name.whole());
            return Err(RuntimeError::new(FailureClass::ImageNotFound, message));
        }
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let (source, top) = self.registries.find(&name).await?;
        self.fetch(&source, top, name.reference().digest(), &name).await
    }

    /// Takes an image from an OCI archive or layout under the name given, or under the archive's own.
    pub(super) async fn import_as(
        &self,
        path: &Path,
        name: Option<&str>,
    ) -> Result<LoadedImage, RuntimeError> {
        let archive = Archive::open_given(path.to_path_buf()).await?;
        let own = if name.is_none() { archive.own_name().await? } else { None };
        let Some(text) = name.map(str::to_owned).or(own) else {
            let message = "the archive does not say what its image is called: give a name";
            return Err(RuntimeError::new(FailureClass::Invalid, message));
        };
        let name = ImageName::parse(&text).map_err(|problem| {
            RuntimeError::new(FailureClass::Invalid, format!("image reference `{text:.128}`: {problem}"))
        })?;
        let turn = self.turn(&name.whole());
        let _mine = turn.lock().await;
        self.import(&archive, &name).await
    }

    /// What a container needs to know of an image that [`Images::ensure`] found.
    pub(super) async fn load(&self, digest: &str) -> Result<Arc<Image>, RuntimeError> {
        if let Some(known) = self.remembered.lock().expect("no holder panics").get(digest) {
            return Ok(known.clone());
        }
        let manifest = self.manifest(digest).await?.ok_or_else(|| {
            let message = format!("image `{digest:.80}` is no longer on this node");
            RuntimeError::new(FailureClass::ImageNotFound, message)
        })?;
        let config = self.config_of(&self.line, &manifest).await?;
        let top = config.chain_ids().pop().unwrap_or_default();
        let image = Arc::new(Image { config, top });
        let mut remembered = self.remembered.lock().expect("no holder panics");
        if remembered.len() >= REMEMBERED_MAX {
            remembered.pop_first();
        }
        remembered.insert(digest.to_owned(), image.clone());
        Ok(image)
    }

    /// Forgets what was remembered of an image, for when containerd turns out not to have it.
    pub(super) fn forget(&self, digest: &str) {
        self.remembered.lock().expect("no holder panics").remove(digest);
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().expect("no holder panics");
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        turns.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }

    fn local_copy(&self, name: &ImageName) -> Option<PathBuf> {
        let folder = self.images_dir.as_ref()?;
        let stems = name.file_stems().into_iter();
        let mut paths = stems.flat_map(|stem| [folder.join(format!("{stem}.tar")), folder.join(stem)]);
        paths.find(|path| path.exists())
    }

    /// An image that containerd holds whole; none if any document of it is gone.
    async fn find(&self, name: &ImageName) -> Result<Option<LoadedImage>, RuntimeError> {
        let request = self.line.request(GetImageRequest { name: name.whole() });
        let record = match within(CALL_LIMIT, self.line.images().get(request)).await {
            Ok(reply) => reply.image,
            Err(status) if is_absent(&status) => None,
            Err(status) => return Err(from_status("look for an image", &status)),
        };
        let Some(target) = record.and_then(|record| record.target) else { return Ok(None) };
        let Some(manifest) = self.manifest(&target.digest).await? else { return Ok(None) };
        let config = match self.config_of(&self.line, &manifest).await {
            Ok(config) => config,
            Err(error) if error.class == FailureClass::ImageNotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let unpacked = unpack::is_unpacked(&self.line, &self.snapshotter, &config).await;
        let unpacked = unpacked.map_err(|status| from_status("look for an image's layers", &status))?;
        Ok(unpacked.then(|| LoadedImage { reference: name.whole(), digest: manifest.digest }))
    }

    /// The manifest for this machine behind a digest in containerd's store.
    async fn manifest(&self, digest: &str) -> Result<Option<Manifest>, RuntimeError> {
        let mut digest = digest.to_owned();
        // An index may lead to an index once; deeper nesting is nobody's image.
        for _ in 0..3 {
            let raw = match content::read(&self.line, &digest).await {
                Ok(raw) => raw,
                Err(status) if is_absent(&status) => return Ok(None),
                Err(status) => return Err(from_status("read an image's manifest", &status)),
            };
            match Document::parse(raw, Some(&digest)).map_err(unusable)? {
                Document::Manifest(manifest) => return Ok(Some(manifest)),
                Document::Index(index) => digest = index.select().map_err(unusable)?.digest.clone(),
            }
        }
        Err(RuntimeError::new(FailureClass::ImagePull, "the image's indexes are nested too deeply"))
    }

    async fn config_of(&self, line: &Connection, manifest: &Manifest) -> Result<ImageConfig, RuntimeError> {
        match content::read(line, &manifest.config.digest).await {
            Ok(raw) => ImageConfig::parse(&raw, manifest).map_err(unusable),
            Err(status) if is_absent(&status) => {
                let message =
                    format!("the configuration of image `{}` is no longer on this node", manifest.digest);
                Err(RuntimeError::new(FailureClass::ImageNotFound, message))
            }
            Err(status) => Err(from_status("read an image's configuration", &status)),
        }
    }

    async fn import(&self, archive: &Archive, name: &ImageName) -> Result<LoadedImage, RuntimeError> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let link = archive.find(&name.whole(), name.reference().tag()).await?;
        let top = archive.document(&link).await?;
        self.fetch(archive, top, Some(&link.digest), name).await
    }

    async fn fetch(
        &self,
        source: &dyn ImageSource,
        top: Vec<u8>,
        expected: Option<&str>,
        name: &ImageName,
    ) -> Result<LoadedImage, RuntimeError> {
        let ticket = format!("purser-{}", self.ids.uuid());
        let expires = self.clock.now().plus_ms(LEASE_MS).to_string();
        let failed = |status| pulling(name, &status);
        // Before the first of this process: all that there are belong to one that was killed.
        self.cleared.get_or_try_init(|| self.line.release_all_of(&self.owner)).await.map_err(failed)?;
        let line = self.line.lease(&ticket, &self.owner, expires).await.map_err(failed)?;
        let fetched =
            Fetch { images: self, line: &line, source, name, ticket: &ticket }.run(top, expected).await;
        if let Err(status) = self.line.release(&ticket).await {
            tracing::debug!(code = ?status.code(), "failed to end a lease; it will expire");
        }
        fetched
    }
}

/// One fetch of one image, under a lease.
struct Fetch<'a> {
    images: &'a Images,
    line: &'a Connection,
    source: &'a dyn ImageSource,
    name: &'a ImageName,
    ticket: &'a str,
}

impl Fetch<'_> {
    async fn run(&self, top: Vec<u8>, expected: Option<&str>) -> Result<LoadedImage, RuntimeError> {
        let (indexes, manifest) = self.documents(top, expected).await?;
        let blobs = manifest.layers.iter().chain([&manifest.config]).enumerate();
        stream::iter(blobs.map(Ok))
            .try_for_each_concurrent(LAYERS_AT_ONCE, |(number, link)| self.copy(number, link))
            .await?;
        let config = self.images.config_of(self.line, &manifest).await?;
        let mut target =
            self.put(&manifest.raw, &manifest.digest, &manifest.media_type, manifest.labels()).await?;
        self.record(&self.name.pinned(&manifest.digest), target.clone()).await?;
        let mut child = manifest.digest.clone();
        for (raw, digest, media_type) in indexes.iter().rev() {
            let labels = BTreeMap::from([("containerd.io/gc.ref.content.m.0".to_owned(), child)]);
            target = self.put(raw, digest, media_type, labels).await?;
            child = digest.clone();
        }
        let snapshotter = &self.images.snapshotter;
        unpack::unpack(self.line, snapshotter, &manifest, &config, self.ticket)
            .await
            .map_err(|status| pulling(self.name, &status))?;
        // Last: a name in containerd's list promises an image that is whole.
        self.record(&self.name.whole(), target).await?;
        Ok(LoadedImage { reference: self.name.whole(), digest: manifest.digest })
    }

    /// The indexes on the way, outermost first, and the manifest at its end.
    async fn documents(
        &self,
        top: Vec<u8>,
        expected: Option<&str>,
    ) -> Result<(Vec<(Vec<u8>, String, String)>, Manifest), RuntimeError> {
        let mut indexes = Vec::new();
        let mut raw = top;
        let mut expected = expected.map(str::to_owned);
        for _ in 0..3 {
            match Document::parse(raw, expected.as_deref()).map_err(|error| self.unusable(error))? {
                Document::Manifest(manifest) => return Ok((indexes, manifest)),
                Document::Index(index) => {
                    let link = index.select().map_err(|error| self.unusable(error))?.clone();
                    raw = self.source.document(&link).await?;
                    expected = Some(link.digest);
                    indexes.push((index.raw, index.digest, index.media_type));
                }
            }
        }
        Err(RuntimeError::new(FailureClass::ImagePull, "the image's indexes are nested too deeply"))
    }

    async fn copy(&self, number: usize, link: &Link) -> Result<(), RuntimeError> {
        let held =
            content::has(self.line, &link.digest).await.map_err(|status| pulling(self.name, &status))?;
        if held {
            return Ok(());
        }
        let reader = self.source.blob(link).await?;
        let ticket = format!("{}-{number}", self.ticket);
        let blob = NewBlob { digest: &link.digest, len: link.size, labels: BTreeMap::new(), ticket };
        content::write(self.line, blob, reader).await.map_err(|status| pulling(self.name, &status))
    }

    async fn put(
        &self,
        raw: &[u8],
        digest: &str,
        media_type: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<Descriptor, RuntimeError> {
        let failed = |status: Status| pulling(self.name, &status);
        if content::has(self.line, digest).await.map_err(failed)? {
            content::label(self.line, digest, labels).await.map_err(failed)?;
        } else {
            let ticket = format!("{}-{digest}", self.ticket);
            let blob = NewBlob { digest, len: raw.len() as u64, labels, ticket };
            let reader = Box::pin(std::io::Cursor::new(raw.to_vec()));
            content::write(self.line, blob, reader).await.map_err(failed)?;
        }
        let size = i64::try_from(raw.len()).expect("a document is a few mebibytes at most");
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest: digest.to_owned(),
            size,
            ..Descriptor::default()
        })
    }

    async fn record(&self, name: &str, target: Descriptor) -> Result<(), RuntimeError> {
        let record = Record { name: name.to_owned(), target: Some(target), ..Record::default() };
        let create = CreateImageRequest { image: Some(record.clone()), source_date_epoch: None };
        let created = within(CALL_LIMIT, self.line.images().create(self.line.request(create))).await;
        let done = match created {
            Err(status) if status.code() == Code::AlreadyExists => {
                let update_mask = Some(FieldMask { paths: vec!["target".to_owned()] });
                let update = UpdateImageRequest { image: Some(record), update_mask, source_date_epoch: None };
                within(CALL_LIMIT, self.line.images().update(self.line.request(update))).await.map(|_| ())
            }
            other => other.map(|_| ()),
        };
        done.map_err(|status| pulling(self.name, &status))
    }

    fn unusable(&self, error: DocumentError) -> RuntimeError {
        let RuntimeError { class, message } = unusable(error);
        let from = self.source.describe();
        RuntimeError::new(class, format!("image `{}` from {from}: {message}", self.name.whole()))
    }
}

fn unusable(error: DocumentError) -> RuntimeError {
    let class = match error {
        DocumentError::NoPlatform { .. } => FailureClass::ImageNotFound,
        DocumentError::Malformed { .. }
        | DocumentError::TooLarge { .. }
        | DocumentError::WrongDigest { .. } => FailureClass::ImagePull,
    };
    RuntimeError::new(class, error.to_string())
}

fn pulling(name: &ImageName, status: &Status) -> RuntimeError {
    if is_away(status) {
        return from_status("fetch an image", status);
    }
    RuntimeError::new(
        FailureClass::ImagePull,
        format!("failed to fetch `{}`: {}", name.whole(), status.message()),
    )
}
