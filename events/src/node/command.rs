//! What may be asked of the node, and why it may refuse.

use serde::{Deserialize, Serialize};

use super::event::{
    DiskPressureChanged, JournalTrimmed, OrphanRemoved, RedactionCompleted, RedactionRequested, RuntimeFound,
    RuntimeLost, SegmentSealed, Started,
};
use crate::context::Policy;
use crate::gpu::{GpuHealthPolicy, GpuPolicyError};
use crate::violation::MonitorPolicy;
use crate::violation::policy::MonitorPolicyError;

/// A request to the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeCommand {
    /// The service came up.
    Start(Started),
    /// The service goes down.
    Stop {
        /// Why.
        reason: String,
    },
    /// Refuse new pods.
    Cordon {
        /// Why.
        reason: String,
    },
    /// Take new pods again.
    Uncordon,
    /// Put the config's numbers in force. They hold from when they are first seen: what an operator sets later stays until
    /// the config changes.
    SetPolicy(Policy),
    /// Put these numbers of the GPUs in force.
    SetGpuPolicy(GpuHealthPolicy),
    /// See and answer violations as the config says, unless it said so before.
    ConfigureMonitor(Box<MonitorPolicy>),
    /// See and answer violations so.
    SetMonitor(Box<MonitorPolicy>),
    /// A runtime does not answer.
    ReportRuntimeLost(RuntimeLost),
    /// A runtime answers.
    ReportRuntimeFound(RuntimeFound),
    /// An orphan was removed.
    ReportOrphan(OrphanRemoved),
    /// A segment of the journal was sealed.
    ReportSealed(SegmentSealed),
    /// The journal's oldest records are about to be given up.
    ReportTrimmed(JournalTrimmed),
    /// The journal's disk was looked at.
    ReportDiskPressure(DiskPressureChanged),
    /// Take what pods that are gone were out of the journal. Of any length: it is recorded in parts.
    RequestRedaction(RedactionRequested),
    /// It was taken out. Of any length: it is recorded in parts.
    CompleteRedaction(RedactionCompleted),
}

/// Why the node refused a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum NodeRejection {
    /// It has not started yet.
    #[error("node has not started")]
    NotStarted,
    /// The journal belongs to another node.
    #[error("the journal belongs to node {owner}")]
    OtherNode {
        /// Whose it is.
        owner: crate::ids::NodeUid,
    },
    /// A reason is too long.
    #[error("reason has {len} bytes; at most 256 are kept")]
    ReasonTooLong {
        /// Bytes given.
        len: usize,
    },
    /// Waits must not be zero, nor the first longer than the longest.
    #[error("back-off must satisfy 0 < first <= max and 0 < reset")]
    BadBackOff,
    /// A number of the monitor's policy is out of range.
    #[error("monitor policy: {error}")]
    BadMonitorPolicy {
        /// Which.
        error: MonitorPolicyError,
    },
    /// A number of the GPUs' health is out of range.
    #[error("policy of GPUs: {error}")]
    BadGpuPolicy {
        /// Which.
        error: GpuPolicyError,
    },
    /// A redaction was asked for without saying why, or in words that a terminal would obey.
    #[error("reason must be one line of text without control characters")]
    BadReason,
    /// Another redaction is not over yet.
    #[error("redaction {redaction} is not over yet")]
    RedactionPending {
        /// Which.
        redaction: uuid::Uuid,
    },
    /// No such redaction was asked for.
    #[error("redaction {redaction} was not asked for")]
    NoSuchRedaction {
        /// Which.
        redaction: uuid::Uuid,
    },
}

impl NodeRejection {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            NodeRejection::NotStarted => "node-not-started",
            NodeRejection::OtherNode { .. } => "other-node",
            NodeRejection::ReasonTooLong { .. } => "reason-too-long",
            NodeRejection::BadBackOff => "bad-back-off",
            NodeRejection::BadMonitorPolicy { .. } => "bad-monitor-policy",
            NodeRejection::BadGpuPolicy { .. } => "bad-gpu-policy",
            NodeRejection::BadReason => "bad-reason",
            NodeRejection::RedactionPending { .. } => "redaction-pending",
            NodeRejection::NoSuchRedaction { .. } => "no-such-redaction",
        }
    }
}
