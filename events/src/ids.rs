//! Identifiers: numbers of the journal and uuids of the things it speaks of.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ledger::GpuUuid;
use crate::names::ContainerName;
use crate::pool::PoolName;

/// Position of a record in the journal: 1, 2, 3 … without a gap; 0 stands for "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first record.
    pub const ZERO: Seq = Seq(0);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Position of a record in its stream: 1, 2, 3 …; 0 is the version of a stream that does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamVersion(pub u64);

impl StreamVersion {
    /// The version of a stream without records.
    pub const NONE: StreamVersion = StreamVersion(0);

    /// The version after this one.
    #[must_use]
    pub fn next(self) -> StreamVersion {
        StreamVersion(self.0.saturating_add(1))
    }
}

impl fmt::Display for StreamVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What kind of entity a stream belongs to. The numbers are on disk for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum StreamKind {
    /// The node itself.
    Node = 1,
    /// One incarnation of a pod.
    Pod = 2,
    /// One worker process.
    Worker = 3,
    /// The node's ledger.
    Ledger = 4,
    /// One GPU.
    Gpu = 5,
    /// One pool.
    Pool = 6,
}

impl StreamKind {
    /// The kind that this number stands for on disk.
    #[must_use]
    pub fn from_number(number: u8) -> Option<StreamKind> {
        match number {
            1 => Some(StreamKind::Node),
            2 => Some(StreamKind::Pod),
            3 => Some(StreamKind::Worker),
            4 => Some(StreamKind::Ledger),
            5 => Some(StreamKind::Gpu),
            6 => Some(StreamKind::Pool),
            _ => None,
        }
    }

    /// The word used in text, as in `pod/<uid>`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            StreamKind::Node => "node",
            StreamKind::Pod => "pod",
            StreamKind::Worker => "worker",
            StreamKind::Ledger => "ledger",
            StreamKind::Gpu => "gpu",
            StreamKind::Pool => "pool",
        }
    }
}

/// Name of a stream: one entity's records, written by that entity alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// What the entity is.
    pub kind: StreamKind,
    /// Which one it is.
    pub id: Uuid,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.word(), self.id)
    }
}

/// Text that names no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the name of a stream, as in `pod/01890a5d-ac96-774b-bcce-b302099a8057`")]
pub struct NotAStream;

impl std::str::FromStr for StreamId {
    type Err = NotAStream;

    fn from_str(text: &str) -> Result<StreamId, NotAStream> {
        let (word, id) = text.split_once('/').ok_or(NotAStream)?;
        let kinds = [
            StreamKind::Node,
            StreamKind::Pod,
            StreamKind::Worker,
            StreamKind::Ledger,
            StreamKind::Gpu,
            StreamKind::Pool,
        ];
        let kind = kinds.into_iter().find(|kind| kind.word() == word).ok_or(NotAStream)?;
        match (kind, Uuid::try_parse(id)) {
            (_, Ok(id)) => Ok(StreamId { kind, id }),
            // A GPU is known by the name that its driver has for it.
            (StreamKind::Gpu, Err(_)) => GpuUuid::new(id).map(|uuid| uuid.stream()).map_err(|_| NotAStream),
            (StreamKind::Pool, Err(_)) => PoolName::new(id).map(|name| name.stream()).map_err(|_| NotAStream),
            (_, Err(_)) => Err(NotAStream),
        }
    }
}

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_newtype! {
    /// One incarnation of a pod (a UUIDv7, drawn when it is admitted).
    PodUid
}
uuid_newtype! {
    /// One worker process: derived from the container attempt that it runs, see [`WorkerUid::of`].
    WorkerUid
}
uuid_newtype! {
    /// One node, drawn at its first start and kept for the life of its journal.
    NodeUid
}
uuid_newtype! {
    /// One request from outside; a retry carries the same id and gets the first answer.
    CommandId
}

impl PodUid {
    /// The stream of this incarnation.
    #[must_use]
    pub fn stream(self) -> StreamId {
        StreamId { kind: StreamKind::Pod, id: self.0 }
    }
}

impl NodeUid {
    /// The node's stream.
    #[must_use]
    pub fn stream(self) -> StreamId {
        StreamId { kind: StreamKind::Node, id: self.0 }
    }
}

impl WorkerUid {
    /// The worker of one attempt to run one container: always the same id, so that a start which is repeated
    /// after a crash speaks of the same worker.
    #[must_use]
    pub fn of(pod: PodUid, container: &ContainerName, attempt: u32) -> WorkerUid {
        let attempt = attempt.to_be_bytes();
        WorkerUid(derived(&[pod.0.as_bytes(), container.as_str().as_bytes(), &attempt]))
    }

    /// The worker's stream.
    #[must_use]
    pub fn stream(self) -> StreamId {
        StreamId { kind: StreamKind::Worker, id: self.0 }
    }
}

/// A uuid that follows from these bytes, one after the other.
pub(crate) fn derived(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
