//! Images from OCI layouts on this node: a folder, or a tar of one. Nothing is ever extracted: blobs are found by
//! the digest in their name and read where they lie, so that no name in an archive becomes a path.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use purser_actors::port::RuntimeError;
use purser_events::pod::event::FailureClass;
use tokio::io::AsyncReadExt;

use super::content::BlobReader;
use super::document::{DOCUMENT_LEN_MAX, Document, Index, Link, is_sha256};
use super::source::ImageSource;

/// Most files in an archive.
const ENTRIES_MAX: usize = 16_384;
/// The annotation that holds a tag, or a whole name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation in which containerd and Docker write the whole name.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// An OCI layout that was looked through.
pub(super) struct Archive {
    path: PathBuf,
    /// What it is called in messages.
    label: String,
    /// Where each file lies in the tar, as offset and length; none for a folder.
    entries: Option<BTreeMap<String, (u64, u64)>>,
}

impl Archive {
    /// Looks through a folder or a tar that lies on this node.
    pub(super) async fn open(path: PathBuf) -> Result<Archive, RuntimeError> {
        let label = format!("the OCI archive `{}`", path.display());
        Archive::labelled(path, label).await
    }

    /// Looks through a folder or a tar whose path means nothing to whoever reads messages about it.
    pub(super) async fn open_given(path: PathBuf) -> Result<Archive, RuntimeError> {
        Archive::labelled(path, "the archive".to_owned()).await
    }

    async fn labelled(path: PathBuf, label: String) -> Result<Archive, RuntimeError> {
        let shown = label.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let entries = if path.is_dir() { None } else { Some(scan(&path)?) };
            Ok::<_, std::io::Error>(Archive { path, label, entries })
        });
        match opened.await.expect("looking through an archive does not panic") {
            Ok(archive) => Ok(archive),
            Err(error) => Err(unusable(&shown, &error.to_string())),
        }
    }

    /// The link to the image of that name: by its annotation, or the only one, or the one for this machine.
    pub(super) async fn find(&self, name: &str, tag: Option<&str>) -> Result<Link, RuntimeError> {
        let index = self.index().await?;
        let is_named = |link: &&Link| {
            let annotation = |key| link.annotations.get(key).map(String::as_str);
            [annotation(REF_NAME), annotation(IMAGE_NAME)]
                .into_iter()
                .flatten()
                .any(|given| given == name || Some(given) == tag)
        };
        if let Some(link) = index.manifests.iter().find(is_named) {
            return Ok(link.clone());
        }
        if let [only] = index.manifests.as_slice() {
            return Ok(only.clone());
        }
        index.select().cloned().map_err(|error| self.unusable(&error.to_string()))
    }

    /// The whole name that the archive itself gives its only image, if it does.
    pub(super) async fn own_name(&self) -> Result<Option<String>, RuntimeError> {
        let index = self.index().await?;
        let [only] = index.manifests.as_slice() else { return Ok(None) };
        let whole = |name: &&String| name.contains(['/', ':']);
        let named = [IMAGE_NAME, REF_NAME].into_iter().filter_map(|key| only.annotations.get(key));
        Ok(named.filter(whole).map(String::clone).next())
    }

    async fn index(&self) -> Result<Index, RuntimeError> {
        let (mut reader, len) = self.reader("index.json").await?;
        let raw = self.read_document(&mut reader, len).await?;
        match Document::parse(raw, None) {
            Ok(Document::Index(index)) => Ok(index),
            Ok(Document::Manifest(_)) => Err(self.unusable("its `index.json` is a manifest")),
            Err(error) => Err(self.unusable(&error.to_string())),
        }
    }

    async fn reader(&self, name: &str) -> Result<(BlobReader, u64), RuntimeError> {
        let opened = async {
            let Some(entries) = &self.entries else {
                let file = tokio::fs::File::open(self.path.join(name)).await?;
                let held = file.metadata().await?;
                if !held.is_file() {
                    return Err(std::io::Error::other("it is not a file"));
                }
                return Ok((Box::pin(file.take(held.len())) as BlobReader, held.len()));
            };
            let (offset, len) =
                *entries.get(name).ok_or_else(|| std::io::Error::other("it is not in the archive"))?;
            let mut file = tokio::fs::File::open(&self.path).await?;
            tokio::io::AsyncSeekExt::seek(&mut file, SeekFrom::Start(offset)).await?;
            Ok((Box::pin(file.take(len)) as BlobReader, len))
        };
        opened
            .await
            .map_err(|error: std::io::Error| self.unusable(&format!("failed to read `{name}`: {error}")))
    }

    async fn read_document(&self, reader: &mut BlobReader, len: u64) -> Result<Vec<u8>, RuntimeError> {
        if len > DOCUMENT_LEN_MAX {
            return Err(self.unusable("a document in it is too long"));
        }
        let mut raw = Vec::new();
        reader.read_to_end(&mut raw).await.map_err(|error| self.unusable(&error.to_string()))?;
        Ok(raw)
    }

    fn unusable(&self, problem: &str) -> RuntimeError {
        unusable(&self.label, problem)
    }
}

#[async_trait]
impl ImageSource for Archive {
    fn describe(&self) -> String {
        self.label.clone()
    }

    async fn document(&self, link: &Link) -> Result<Vec<u8>, RuntimeError> {
        let (mut reader, len) = self.reader(&self.blob_name(link)?).await?;
        self.read_document(&mut reader, len).await
    }

    async fn blob(&self, link: &Link) -> Result<BlobReader, RuntimeError> {
        Ok(self.reader(&self.blob_name(link)?).await?.0)
    }
}

impl Archive {
    fn blob_name(&self, link: &Link) -> Result<String, RuntimeError> {
        // Checked here again although documents check their links: this is where it becomes a path.
        if !is_sha256(&link.digest) {
            return Err(self.unusable("a digest in it is not a SHA-256"));
        }
        Ok(format!("blobs/{}", link.digest.replace(':', "/")))
    }
}

fn unusable(label: &str, problem: &str) -> RuntimeError {
    RuntimeError::new(FailureClass::ImagePull, format!("failed to read {label}: {problem}"))
}

/// Finds where each file of a tar lies, without reading what is in them.
fn scan(path: &Path) -> std::io::Result<BTreeMap<String, (u64, u64)>> {
    let mut file = File::open(path)?;
    let mut magic = [0; 2];
    if file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b] {
        return Err(std::io::Error::other("it is compressed with gzip; decompress it first"));
    }
    file.rewind()?;
    let len = file.metadata()?.len();
    let mut tar = tar::Archive::new(file);
    let mut entries = BTreeMap::new();
    for entry in tar.entries_with_seek()? {
        let entry = entry.map_err(|error| match error.kind() {
            // A reader of tars speaks of octal numbers then, and repeats what it read.
            ErrorKind::Other | ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                std::io::Error::other(if entries.is_empty() { "it is not a tar" } else { "it is damaged" })
            }
            _ => error,
        })?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        // Nothing is read here, so nobody else sees that the last file goes on past the end.
        if entry.raw_file_position().checked_add(entry.size()).is_none_or(|end| len < end) {
            return Err(std::io::Error::other(format!("it is cut off within `{name:.128}`")));
        }
        entries.insert(name, (entry.raw_file_position(), entry.size()));
        if entries.len() > ENTRIES_MAX {
            return Err(std::io::Error::other(format!("it has more than {ENTRIES_MAX} files")));
        }
    }
    if !entries.contains_key("index.json") {
        let hint = "it has no `index.json`; write one with `skopeo copy … oci-archive:FILE`";
        return Err(std::io::Error::other(hint));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(files: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut tar = tar::Builder::new(file.reopen().unwrap());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            // Written by hand: the builder itself refuses the names that an attacker would use.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        tar.into_inner().unwrap();
        file
    }

    #[tokio::test]
    async fn names_that_leave_the_archive_are_only_names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let index = format!(r#"{{"manifests":[{{"digest":"{digest}","size":4}}]}}"#);
        let hostile = b"../../../../tmp/purser-escaped".as_slice();
        let file = tar_of(&[
            ("./index.json", index.as_bytes()),
            ("../../../../tmp/purser-escaped", hostile),
            (&format!("blobs/{}", digest.replace(':', "/")), b"blob"),
        ]);
        let archive = Archive::open(file.path().into()).await.unwrap();
        let link = archive.find("docker.io/library/x:1", Some("1")).await.unwrap();
        assert_eq!(archive.document(&link).await.unwrap(), b"blob");
        assert!(!Path::new("/tmp/purser-escaped").exists());
        let escape = Link { digest: "sha256:../../index.json".into(), ..link };
        assert!(archive.document(&escape).await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_archive_is_named_as_such() {
        let gzip = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(gzip.path(), [0x1f, 0x8b, 8, 0]).unwrap();
        let docker = tar_of(&[("manifest.json", b"[]")]);
        let noise = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(noise.path(), [7; 4_096]).unwrap();
        for (file, told) in [(gzip.path(), "gzip"), (docker.path(), "skopeo"), (noise.path(), "OCI archive")]
        {
            let Err(error) = Archive::open(file.into()).await else { panic!("{told}") };
            assert!(error.message.contains(told), "{error}");
        }
    }
}
