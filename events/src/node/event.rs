//! What happens to a node. Payloads are on disk for ever, see [`crate::pod::event`].

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::context::Policy;
use crate::ids::{NodeUid, PodUid, Seq, WorkerUid};
use crate::pod::spec::RuntimeClass;
use crate::units::Bytes;
use crate::violation::MonitorPolicy;

/// What has happened to the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEvent {
    /// The service came up and has read its journal.
    Started(Started),
    /// The service went down in order; pods go on.
    Stopped(Stopped),
    /// New pods are refused from now on.
    Cordoned(Cordoned),
    /// New pods are taken again.
    Uncordoned(Uncordoned),
    /// These numbers are in force from now on.
    PolicySet(PolicySet),
    /// A runtime stopped answering.
    RuntimeLost(RuntimeLost),
    /// A runtime answers.
    RuntimeFound(RuntimeFound),
    /// Something of this node that no pod knows was found in a runtime and removed.
    OrphanRemoved(OrphanRemoved),
    /// A segment of the journal was sealed: nothing in it changes any more.
    SegmentSealed(SegmentSealed),
    /// The journal's oldest records are given up from here on.
    JournalTrimmed(JournalTrimmed),
    /// The journal's disk has become fuller or emptier.
    DiskPressureChanged(DiskPressureChanged),
    /// What pods that are gone were is to be taken out of the journal.
    RedactionRequested(RedactionRequested),
    /// It was taken out.
    RedactionCompleted(RedactionCompleted),
    /// Violations are seen and answered by these numbers from now on.
    MonitorPolicySet(MonitorPolicySet),
}

macro_rules! from_payload {
    ($($name:ident),* $(,)?) => {
        $(impl From<$name> for NodeEvent {
            fn from(payload: $name) -> NodeEvent {
                NodeEvent::$name(payload)
            }
        })*
    };
}

from_payload!(
    Started,
    Stopped,
    Cordoned,
    Uncordoned,
    PolicySet,
    RuntimeLost,
    RuntimeFound,
    OrphanRemoved,
    SegmentSealed,
    JournalTrimmed,
    DiskPressureChanged,
    RedactionRequested,
    RedactionCompleted,
    MonitorPolicySet,
);

/// `node.started` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The node.
    pub node: NodeUid,
    /// Host name.
    pub hostname: String,
    /// Which boot of the host.
    pub boot_id: Uuid,
    /// Release of the service.
    pub version: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor cores that are online.
    pub cores: u32,
    /// Memory of the host.
    pub memory: Bytes,
    /// Process id of the service.
    pub pid: u32,
    /// How the journal was found; none if nobody noted it.
    pub recovery: Option<Recovery>,
}

/// How a start found the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// Whether the journal had been closed in order.
    pub closed: bool,
    /// Bytes at its end that a stop had torn off, never acknowledged, and that were cut away.
    pub torn_bytes: u64,
    /// The last record of the snapshot that was restored; none if every record was folded.
    pub snapshot: Option<Seq>,
    /// What became of the store behind the segments.
    pub store: StoreRecovery,
}

/// What became of the store behind the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StoreRecovery {
    /// It had every record.
    Kept,
    /// It got from the segments what it lacked.
    CaughtUp,
    /// It could not be trusted and was made again from the segments.
    MadeAgain,
}

/// Payloads of the past, and how today's are made of them.
pub mod past {
    use super::{Bytes, Deserialize, NodeUid, Policy, PolicySet, Serialize, Started, Uuid};
    use crate::context::BackOffPolicy;
    use crate::gpu::GpuHealthPolicy;

    /// `node.policy-set` version 1: there was nothing about GPUs.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename = "PolicySet")]
    pub struct PolicySetV1 {
        /// The numbers.
        pub policy: PolicyV1,
    }

    /// The numbers of then.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename = "Policy", rename_all = "camelCase")]
    pub struct PolicyV1 {
        /// How long a container waits for its next try.
        pub back_off: BackOffPolicy,
    }

    impl From<PolicySetV1> for PolicySet {
        fn from(PolicySetV1 { policy: PolicyV1 { back_off } }: PolicySetV1) -> PolicySet {
            PolicySet { policy: Policy { back_off, gpus: GpuHealthPolicy::default() }, from_config: true }
        }
    }

    /// `node.started` version 1: it did not say how the journal was found.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename = "Started", rename_all = "camelCase")]
    pub struct StartedV1 {
        /// The node.
        pub node: NodeUid,
        /// Host name.
        pub hostname: String,
        /// Which boot of the host.
        pub boot_id: Uuid,
        /// Release of the service.
        pub version: String,
        /// Kernel release.
        pub kernel: String,
        /// Processor cores that are online.
        pub cores: u32,
        /// Memory of the host.
        pub memory: Bytes,
        /// Process id of the service.
        pub pid: u32,
    }

    impl From<StartedV1> for Started {
        fn from(past: StartedV1) -> Started {
            let StartedV1 { node, hostname, boot_id, version, kernel, cores, memory, pid } = past;
            Started { node, hostname, boot_id, version, kernel, cores, memory, pid, recovery: None }
        }
    }
}

/// `node.stopped` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Why, as in `SIGTERM`.
    pub reason: String,
}

/// `node.cordoned` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordoned {
    /// Why, in the words of who asked; at most 256 bytes.
    pub reason: String,
}

/// `node.uncordoned` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncordoned {}

/// `node.policy-set` version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicySet {
    /// The numbers.
    pub policy: Policy,
    /// Whether they are the config's.
    pub from_config: bool,
}

/// `node.monitor-policy-set` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonitorPolicySet {
    /// The numbers.
    pub policy: MonitorPolicy,
    /// Whether they are the config's.
    pub from_config: bool,
}

/// `node.runtime-lost` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeLost {
    /// Which.
    pub runtime: RuntimeClass,
    /// What was seen, shortened.
    pub message: String,
}

/// `node.runtime-found` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFound {
    /// Which.
    pub runtime: RuntimeClass,
    /// What it calls itself.
    pub version: String,
}

/// `node.orphan-removed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanRemoved {
    /// Which runtime held it.
    pub runtime: RuntimeClass,
    /// What the runtime calls it.
    pub id: String,
}

/// `node.segment-sealed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentSealed {
    /// Its first record.
    pub first: Seq,
    /// Its last record.
    pub last: Seq,
    /// Hash of the last record, in hex.
    pub last_hash: String,
    /// SHA-256 of what is in it, in hex.
    pub content: String,
}

/// `node.journal-trimmed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalTrimmed {
    /// The last record that is given up.
    pub upto: Seq,
    /// Its hash, in hex: what the record after it is chained to.
    pub upto_hash: String,
    /// Segments that go.
    pub segments: u64,
    /// Bytes that they take.
    pub bytes: Bytes,
}

/// `node.disk-pressure-changed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskPressureChanged {
    /// How it is from now on.
    pub pressure: DiskPressure,
    /// How much of the disk was used, in percent.
    pub used_percent: u8,
}

/// How full the journal's disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DiskPressure {
    /// There is room.
    #[default]
    Fine,
    /// It fills up: what will be seen again is not recorded.
    Low,
    /// It is nearly full: new pods are refused as well.
    Full,
}

/// `node.redaction-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedactionRequested {
    /// Which redaction; several of these may belong to one, and then make up one list.
    pub redaction: Uuid,
    /// Incarnations that are gone and whose payloads go.
    pub pods: Vec<PodUid>,
    /// Their workers, whose payloads go with them.
    pub workers: Vec<WorkerUid>,
    /// Why, in the words of who asked; at most 256 bytes without control characters.
    pub reason: String,
}

/// `node.redaction-completed` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedactionCompleted {
    /// Which redaction.
    pub redaction: Uuid,
    /// Payloads that were taken out of the segments below.
    pub records: u64,
    /// Segments that were written anew.
    pub segments: Vec<SegmentRewritten>,
    /// Keys of pods that were destroyed: copies kept elsewhere of what they had sealed are unreadable from here on.
    pub keys_destroyed: u64,
    /// Whether the next record goes on with more segments of the same redaction.
    pub more: bool,
}

/// A segment that was written anew with payloads replaced by their hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentRewritten {
    /// Its first record.
    pub first: Seq,
    /// SHA-256 of what was in it, in hex.
    pub before: String,
    /// SHA-256 of what is in it now, in hex.
    pub after: String,
}
