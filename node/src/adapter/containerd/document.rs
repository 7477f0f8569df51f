//! The documents of an image, read from untrusted bytes with a bound on everything: index, manifest, config.

use std::collections::BTreeMap;

use containerd_client::types::Descriptor;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Largest index, manifest or configuration that is read, in bytes.
pub(super) const DOCUMENT_LEN_MAX: u64 = 4 << 20;
/// Most layers of one image: more than that no overlay can carry.
const LAYERS_MAX: usize = 125;
/// Largest sum of an image's layers as they travel, in bytes.
const IMAGE_LEN_MAX: u64 = 256 << 30;
/// Most entries of an index.
const INDEX_ENTRIES_MAX: usize = 1_024;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What a registry is asked for.
pub(super) const MANIFEST_TYPES: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

/// Why an image's documents cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("the {what} is not what it should be: {problem}")]
    Malformed { what: &'static str, problem: String },
    #[error("the {what} has {len} {unit}, more than the {max} that are allowed")]
    TooLarge { what: &'static str, len: u64, max: u64, unit: &'static str },
    #[error("the digest of the {what} is {found}, not {expected}")]
    WrongDigest { what: &'static str, expected: String, found: String },
    #[error("there is no image for linux/{architecture} in it, only for: {offered}")]
    NoPlatform { architecture: &'static str, offered: String },
}

/// A reference from one document to another, or to a layer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) platform: Option<Platform>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

/// What machine an image is for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
}

/// A manifest and the exact bytes that its digest is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) raw: Vec<u8>,
    pub(super) digest: String,
    pub(super) media_type: String,
    pub(super) config: Link,
    pub(super) layers: Vec<Link>,
}

/// An index and the exact bytes that its digest is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) raw: Vec<u8>,
    pub(super) digest: String,
    pub(super) media_type: String,
    pub(super) manifests: Vec<Link>,
}

/// What a reference may lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Document {
    Manifest(Manifest),
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Either {
    #[serde(default)]
    media_type: String,
    config: Option<Link>,
    #[serde(default)]
    layers: Vec<Link>,
    manifests: Option<Vec<Link>>,
}

impl Document {
    /// Reads an index or a manifest whose digest must be `expected`, if one is.
    pub(super) fn parse(raw: Vec<u8>, expected: Option<&str>) -> Result<Document, DocumentError> {
        check_len("manifest", raw.len() as u64)?;
        let digest = digest_of(&raw);
        check_digest("manifest", expected, &digest)?;
        let read: Either = serde_json::from_slice(&raw)
            .map_err(|error| DocumentError::Malformed { what: "manifest", problem: error.to_string() })?;
        let media_type = |default: &str| {
            if read.media_type.is_empty() { default.to_owned() } else { read.media_type.clone() }
        };
        match (read.manifests, read.config) {
            (Some(manifests), _) => {
                check_count("index", manifests.len(), INDEX_ENTRIES_MAX)?;
                manifests.iter().try_for_each(check_link)?;
                Ok(Document::Index(Index { media_type: media_type(OCI_INDEX), raw, digest, manifests }))
            }
            (None, Some(config)) => {
                check_count("manifest", read.layers.len(), LAYERS_MAX)?;
                read.layers.iter().chain([&config]).try_for_each(check_link)?;
                check_len("configuration", config.size)?;
                check_image_len(&read.layers)?;
                let media_type = media_type(OCI_MANIFEST);
                Ok(Document::Manifest(Manifest { media_type, raw, digest, config, layers: read.layers }))
            }
            (None, None) => Err(DocumentError::Malformed {
                what: "manifest",
                problem: "it has neither `config` nor `manifests`; an image in the old version 1 form?"
                    .into(),
            }),
        }
    }
}

impl Manifest {
    /// Labels that keep what a manifest refers to from being collected.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let layers = self.layers.iter().enumerate();
        let mut labels: BTreeMap<String, String> = layers
            .map(|(i, layer)| (format!("containerd.io/gc.ref.content.l.{i}"), layer.digest.clone()))
            .collect();
        labels.insert("containerd.io/gc.ref.content.config".into(), self.config.digest.clone());
        labels
    }
}

impl Index {
    /// The entry for this machine. An entry that names no platform counts if it is the only one.
    pub(super) fn select(&self) -> Result<&Link, DocumentError> {
        let architecture = architecture();
        let fits = |link: &&Link| {
            link.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == architecture)
        };
        if let Some(link) = self.manifests.iter().find(fits) {
            return Ok(link);
        }
        if let [only] = self.manifests.as_slice()
            && only.platform.is_none()
        {
            return Ok(only);
        }
        let offered = self.manifests.iter().filter_map(|link| link.platform.as_ref()).take(8);
        let offered: Vec<String> = offered.map(|p| format!("{}/{}", p.os, p.architecture)).collect();
        Err(DocumentError::NoPlatform { architecture, offered: offered.join(", ") })
    }
}

impl Link {
    /// The link as containerd wants it.
    pub(super) fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            annotations: Default::default(),
        }
    }
}

/// What of an image's configuration a container starts from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ImageProcess {
    pub(super) user: Option<String>,
    pub(super) env: Option<Vec<String>>,
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) cmd: Option<Vec<String>>,
    pub(super) working_dir: Option<String>,
}

/// An image's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ImageConfig {
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) config: Option<ImageProcess>,
    pub(super) rootfs: RootFs,
}

/// The layers of a root file system by the digests of their unpacked bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct RootFs {
    pub(super) diff_ids: Vec<String>,
}

impl ImageConfig {
    /// Reads a configuration; it must be for this machine and have as many layers as its manifest.
    pub(super) fn parse(raw: &[u8], manifest: &Manifest) -> Result<ImageConfig, DocumentError> {
        check_len("configuration", raw.len() as u64)?;
        check_digest("configuration", Some(&manifest.config.digest), &digest_of(raw))?;
        let malformed = |problem: String| DocumentError::Malformed { what: "configuration", problem };
        let config: ImageConfig =
            serde_json::from_slice(raw).map_err(|error| malformed(error.to_string()))?;
        let (layers, diffs) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diffs {
            return Err(malformed(format!("it has {diffs} layers and the manifest {layers}")));
        }
        if config.rootfs.diff_ids.iter().any(|digest| !is_sha256(digest)) {
            return Err(malformed("a layer's digest is not a SHA-256".into()));
        }
        let machine = |os: &str, arch: &str| {
            (os.is_empty() || os == "linux") && (arch.is_empty() || arch == architecture())
        };
        if !machine(&config.os, &config.architecture) {
            let offered = format!("{:.32}/{:.32}", config.os, config.architecture);
            return Err(DocumentError::NoPlatform { architecture: architecture(), offered });
        }
        Ok(config)
    }

    /// The names under which unpacked layers are kept: each stands for the layer and all below it.
    pub(super) fn chain_ids(&self) -> Vec<String> {
        let mut chain: Vec<String> = Vec::with_capacity(self.rootfs.diff_ids.len());
        for diff in &self.rootfs.diff_ids {
            let next = match chain.last() {
                None => diff.clone(),
                Some(below) => digest_of(format!("{below} {diff}").as_bytes()),
            };
            chain.push(next);
        }
        chain
    }
}

/// This machine's architecture in the words of image registries.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The digest of bytes as registries write it.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push(char::from_digit(u32::from(byte >> 4), 16).expect("four bits are one hexadecimal digit"));
        text.push(char::from_digit(u32::from(byte & 15), 16).expect("four bits are one hexadecimal digit"));
    }
    text
}

/// Whether a digest is a well-formed SHA-256: only then may it be part of a path.
pub(super) fn is_sha256(digest: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    digest.strip_prefix("sha256:").is_some_and(|rest| rest.len() == 64 && rest.bytes().all(hex))
}

/// Refuses a document that is larger than any honest one.
pub(super) fn check_len(what: &'static str, len: u64) -> Result<(), DocumentError> {
    let max = DOCUMENT_LEN_MAX;
    if len <= max { Ok(()) } else { Err(DocumentError::TooLarge { what, len, max, unit: "bytes" }) }
}

fn check_count(what: &'static str, len: usize, max: usize) -> Result<(), DocumentError> {
    if len <= max {
        return Ok(());
    }
    Err(DocumentError::TooLarge { what, len: len as u64, max: max as u64, unit: "entries" })
}

fn check_image_len(layers: &[Link]) -> Result<(), DocumentError> {
    let len = layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
    if len <= IMAGE_LEN_MAX {
        return Ok(());
    }
    Err(DocumentError::TooLarge { what: "image", len, max: IMAGE_LEN_MAX, unit: "bytes" })
}

fn check_link(link: &Link) -> Result<(), DocumentError> {
    if is_sha256(&link.digest) {
        return Ok(());
    }
    let problem = format!("`{:.80}` is not a SHA-256 digest", link.digest);
    Err(DocumentError::Malformed { what: "manifest", problem })
}

fn check_digest(what: &'static str, expected: Option<&str>, found: &str) -> Result<(), DocumentError> {
    match expected {
        Some(expected) if expected != found => {
            Err(DocumentError::WrongDigest { what, expected: expected.to_owned(), found: found.to_owned() })
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(fill: char) -> String {
        format!(r#"{{"mediaType":"m","digest":"sha256:{}","size":3}}"#, fill.to_string().repeat(64))
    }

    fn manifest(layers: usize) -> Vec<u8> {
        let layers = vec![link('b'); layers].join(",");
        format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#, link('a')).into_bytes()
    }

    #[test]
    fn a_manifest_is_known_by_its_bytes() {
        let raw = manifest(2);
        let digest = digest_of(&raw);
        let Ok(Document::Manifest(read)) = Document::parse(raw.clone(), Some(&digest)) else { panic!() };
        assert_eq!((read.layers.len(), read.digest.as_str()), (2, digest.as_str()));
        let other = digest_of(b"other");
        assert!(matches!(Document::parse(raw, Some(&other)), Err(DocumentError::WrongDigest { .. })));
    }

    #[test]
    fn hostile_documents_are_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes();
        let path = br#"{"config":{"digest":"sha256:../../etc/passwd","size":1},"layers":[]}"#.to_vec();
        let huge = br#"{"config":{"digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":99999999999}}"#;
        for raw in [manifest(126), deep, path, huge.to_vec(), b"{}".to_vec(), vec![b' '; 5 << 20], vec![]] {
            assert!(Document::parse(raw.clone(), None).is_err(), "{:.60?}", String::from_utf8_lossy(&raw));
        }
    }

    #[test]
    fn the_entry_for_this_machine_is_chosen() {
        let entry = |fill: char, arch: &str| {
            let digest = fill.to_string().repeat(64);
            format!(
                r#"{{"digest":"sha256:{digest}","size":1,"platform":{{"os":"linux","architecture":"{arch}"}}}}"#
            )
        };
        let index = |entries: &[String]| {
            let raw = format!(r#"{{"manifests":[{}]}}"#, entries.join(",")).into_bytes();
            let Ok(Document::Index(index)) = Document::parse(raw, None) else { panic!() };
            index
        };
        let both = index(&[entry('c', "s390x"), entry('d', architecture())]);
        assert!(both.select().unwrap().digest.ends_with('d'));
        let Err(error) = index(&[entry('c', "s390x")]).select().cloned() else { panic!() };
        assert!(error.to_string().contains("linux/s390x"), "{error}");
    }

    #[test]
    fn a_chain_id_stands_for_a_layer_and_all_below() {
        let rootfs = RootFs { diff_ids: vec![digest_of(b"a"), digest_of(b"b")] };
        let config = ImageConfig { os: String::new(), architecture: String::new(), config: None, rootfs };
        let chain = config.chain_ids();
        assert_eq!(chain[0], digest_of(b"a"));
        assert_eq!(chain[1], digest_of(format!("{} {}", digest_of(b"a"), digest_of(b"b")).as_bytes()));
    }
}
