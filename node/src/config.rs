//! What an operator may set: one TOML file, environment variables over it, and a default for every key.

mod check;
mod gpu;
pub mod monitor;
mod pools;
pub mod resources;
mod source;
pub mod tiers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use purser_events::pod::spec::RuntimeClass;
use serde::{Deserialize, Serialize};

pub use gpu::{Cdi, GpuDriver, GpuModel, GpuPolicy};
pub use monitor::Monitor;
pub use pools::Pools;
pub use resources::{ResourcePolicy, Resources};
pub use source::{Surroundings, load, render};

/// What an operator may set. Every key has a default; an unknown key is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where the journal, the pods' files and the default socket are.
    pub data_dir: PathBuf,
    /// Free bytes below which the data folder's file system takes no new pods.
    pub free_disk_min_bytes: u64,
    /// How requests come in.
    pub api: Api,
    /// What holds for every runtime, and for plain processes.
    pub runtime: Runtime,
    /// How containerd is used.
    pub containerd: Containerd,
    /// How GPUs are looked at.
    pub gpu: GpuDriver,
    /// What the machine has that nothing measures.
    pub resources: Resources,
    /// What the node offers pools.
    pub pools: Pools,
    /// Numbers that decisions use: the journal remembers each change.
    pub policy: Policy,
    /// How the journal is kept.
    pub journal: Journal,
    /// What the service says about itself on standard error.
    pub log: Log,
}

/// How requests come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Api {
    /// The unix socket, made with mode 0660; at most 107 bytes.
    pub socket: PathBuf,
    /// The group that may use the socket, by name or number; the service's own if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_group: Option<String>,
    /// Requests a second that one caller may make on average.
    pub requests_per_second: NonZeroU32,
    /// Requests that one caller may make at once after a pause.
    pub requests_burst: NonZeroU32,
    /// Requests that may be open at the same time, feeds and log streams included; one caller gets half of them.
    pub requests_open_max: NonZeroU32,
    /// Time within which the head of a request must have come.
    pub head_timeout_ms: NonZeroU64,
    /// Requests over TCP; off if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
}

/// Requests over TCP, each with a bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tcp {
    /// Where to listen, as in `127.0.0.1:7070`. There is no TLS: put a proxy before any other address.
    pub address: SocketAddr,
    /// A file with one `name token` a line, readable by the service alone.
    pub token_file: PathBuf,
}

/// What holds for every runtime, and for plain processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Runtime {
    /// What runs a pod that names no `runtimeClassName`.
    pub default: DefaultRuntime,
    /// Folders of the host below which `hostPath` volumes may be; none allows no such volume.
    pub host_path_roots: Vec<PathBuf>,
    /// Whether a process pod with limits is run without them where the node may not write to its cgroup.
    pub unlimited_ok: bool,
    /// Most bytes of output that are kept of one try of a container.
    pub log_bytes_max: NonZeroU64,
    /// Most processes and threads of one container; of plain processes only where the node may write to its cgroup.
    pub pids_max: NonZeroU32,
}

/// What runs a pod that names no runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultRuntime {
    /// Containerd if it is there, plain processes if not.
    Auto,
    /// Plain processes.
    Process,
    /// Containers of containerd.
    Containerd,
}

impl DefaultRuntime {
    /// The runtime meant, given whether containerd is in use.
    #[must_use]
    pub fn resolve(self, containerd: bool) -> RuntimeClass {
        match self {
            DefaultRuntime::Auto if containerd => RuntimeClass::Containerd,
            DefaultRuntime::Auto | DefaultRuntime::Process => RuntimeClass::Process,
            DefaultRuntime::Containerd => RuntimeClass::Containerd,
        }
    }
}

/// How containerd is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Containerd {
    /// Whether it is used at all.
    pub enabled: Enabled,
    /// Its socket.
    pub socket: PathBuf,
    /// The containerd namespace that holds what Purser makes; nothing else may use it.
    pub namespace: String,
    /// The snapshotter, as containerd calls it.
    pub snapshotter: String,
    /// Folder of OCI archives (`*.tar`) that are looked through before a registry is asked; none if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_dir: Option<PathBuf>,
    /// Largest archive that is taken by `purser image load`.
    pub archive_bytes_max: NonZeroU64,
    /// For a registry's host, the endpoints, as `http://host:port`, that are asked in order before itself.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Registries, as `host[:port]`, that are asked over HTTP without TLS.
    pub plain_http: Vec<String>,
}

impl Containerd {
    /// Whether pods may run on it.
    pub(crate) fn is_used(&self) -> bool {
        match self.enabled {
            Enabled::Always => true,
            Enabled::Never => false,
            Enabled::Auto => self.socket.exists(),
        }
    }
}

/// Whether something is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enabled {
    /// If its socket is there when the service starts.
    Auto,
    /// Yes; what it is needed for waits until it answers.
    Always,
    /// No.
    Never,
}

/// Numbers that decisions use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// Waits between the tries to run a container.
    pub back_off: BackOff,
    /// When a GPU takes pods.
    pub gpus: GpuPolicy,
    /// How resources are given out.
    pub resources: ResourcePolicy,
    /// How violations are seen and answered.
    pub monitor: Monitor,
}

/// Waits between the tries to run a container: doubling from the first to the longest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BackOff {
    /// The first wait that is not zero.
    pub first_ms: NonZeroU64,
    /// The longest wait.
    pub max_ms: NonZeroU64,
    /// How long a container must have run for its waits to start over.
    pub reset_after_ms: NonZeroU64,
}

impl Policy {
    /// The policy as the journal holds it.
    #[must_use]
    pub fn in_force(&self) -> purser_events::Policy {
        let back_off = purser_events::BackOffPolicy {
            first_ms: self.back_off.first_ms.get(),
            max_ms: self.back_off.max_ms.get(),
            reset_after_ms: self.back_off.reset_after_ms.get(),
        };
        purser_events::Policy { back_off, gpus: self.gpus.in_force() }
    }
}

/// How the journal is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Journal {
    /// How new records are encoded; old ones stay readable whatever this says.
    pub codec: Codec,
    /// What keeps the store behind the segments.
    pub backend: Backend,
    /// Memory that the store may use to keep pages at hand.
    pub cache_bytes: NonZeroU64,
    /// Longest time that a commit is held open for requests that are likely to come, at most 10 ms; 0 for not at all.
    pub group_wait_us_max: u64,
    /// Length at which a segment is sealed, from 256 KiB to 128 MiB.
    pub segment_bytes: NonZeroU64,
    /// Age at which a segment that holds records is sealed by the next commit.
    pub segment_age_ms: NonZeroU64,
    /// Time after which a sealed segment is read again, to find damage early; 0 for never.
    pub check_every_ms: u64,
    /// Whether payloads of pods are sealed with a key for each pod.
    pub encryption: Encryption,
    /// What happens when its disk gets full.
    pub reserve: Reserve,
    /// Which sealed segments may go.
    pub retention: Retention,
    /// Where sealed segments are put before they may go.
    pub archive: JournalArchive,
    /// Records after which the node's state is put away again, so that a start folds only what came later; 0 for
    /// never.
    pub snapshot_every: u64,
    /// Age at which the answer to a request makes way, after which a retry is carried out anew; 0 to go by number alone.
    pub command_ids_kept_ms: u64,
    /// How its records are sealed, once there is a key.
    pub sealing: Sealing,
    /// Who else keeps checkpoints.
    #[serde(default)]
    pub witness: Witness,
}

/// What happens when the journal's disk gets full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reserve {
    /// Used percent of the file system from which observations are not recorded, 1 to 100.
    pub warn_percent: u8,
    /// Used percent from which new pods are refused as well, at most 100.
    pub refuse_percent: u8,
    /// Room that is held for stops and deletes; 0 for none.
    pub ballast_bytes: u64,
}

/// Which sealed segments of the journal may go. None goes before a snapshot is there that makes it unneeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retention {
    /// Age of its last record at which a segment may go.
    pub age_ms: u64,
    /// Bytes of sealed segments beyond which the oldest may go, however young.
    pub bytes: u64,
    /// Sealed segments that stay in any case.
    pub segments_min: u64,
    /// Whether segments may go for good though no archive has them.
    pub without_archive: bool,
}

/// Where sealed segments of the journal are put before they may go; nowhere if neither is set, and both if both are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct JournalArchive {
    /// A folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// A program with its arguments, of which `{}` stands for the file; exit code 0 says that it has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Time after which the program is killed and tried again later.
    pub command_timeout_ms: NonZeroU64,
}

/// How records are sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sealing {
    /// The file with the key in force; `keys/seal.key` in the data folder if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Time after which the key is replaced if there are records since it took over.
    pub interval_ms: NonZeroU64,
    /// Records after which there is a checkpoint.
    pub checkpoint_events: NonZeroU64,
    /// Time after which there is a checkpoint if there are records since the last.
    pub checkpoint_ms: NonZeroU64,
}

/// Who else keeps checkpoints; nobody if nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Witness {
    /// A file to which each checkpoint is added: on a mount of another host, at best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A program and its arguments that gets each checkpoint on its standard input. No shell is involved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

impl Config {
    /// Where the key is with which the journal is sealed. Not in the journal's folder, which auditors copy.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        let default = || self.data_dir.join("keys/seal.key");
        self.journal.sealing.key_file.clone().unwrap_or_else(default)
    }
}

impl Config {
    /// Where the keys of pods are. Not in the journal's folder either: what is copied from there is unreadable without.
    #[must_use]
    pub fn subject_keys_dir(&self) -> PathBuf {
        self.data_dir.join("keys/subjects")
    }
}

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// sled 0.34.
    Sled,
    /// redb 4.
    Redb,
}

impl From<Backend> for purser_storage::store::Backend {
    fn from(backend: Backend) -> purser_storage::store::Backend {
        match backend {
            Backend::Sled => purser_storage::store::Backend::Sled,
            Backend::Redb => purser_storage::store::Backend::Redb,
        }
    }
}

/// What is sealed with keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// Nothing that is new; pods that have a key keep it.
    Off,
    /// The payloads of each pod that comes, with a key of its own.
    Subjects,
}

/// An encoding of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// Bincode 2.
    Bincode,
    /// Postcard 1.
    Postcard,
}

/// What the service says about itself on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// The least important lines that are written.
    pub level: LogLevel,
}

/// How a line of the service's log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How important a line of the service's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// What may go wrong.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word, as in the config.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Why there is no config to work with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the config `{path}`")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the config `{path}` is not valid TOML")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A variable of the environment names no key, or something inside a key that is no table.
    #[error("environment variable {name} names no config key (`{key}`)")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The key that it would stand for.
        key: String,
    },
    /// A key is unknown or its value does not fit.
    #[error("config key `{key}`{}: {message}", .origin.as_ref().map_or(String::new(), |origin| format!(" ({origin})")))]
    Value {
        /// Where.
        key: String,
        /// The file or the variable of the environment that sets it, if one does.
        origin: Option<String>,
        /// What is wrong.
        message: String,
    },
}

impl ConfigError {
    /// A value that does not fit.
    pub(crate) fn value(key: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError::Value { key: key.into(), origin: None, message: message.into() }
    }
}
