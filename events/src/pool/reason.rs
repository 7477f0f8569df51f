//! Why things happen to members and tasks of a pool. Parts of payloads: on disk for ever.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::TaskId;
use super::task::TaskExit;

/// Why an idle member is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberRemovalReason {
    /// There are more than there are to be.
    Surplus,
    /// It was made for an older revision.
    OldRevision,
    /// The pool stands still.
    Frozen,
    /// The pool goes.
    PoolRemoved,
}

/// Why a member is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum LossReason {
    /// Its pod ended, failed or is gone.
    PodEnded {
        /// What became of it, at most 1,024 bytes.
        detail: String,
    },
    /// Nothing was heard of its agent.
    Silent {
        /// For how long, in milliseconds.
        silent_ms: u64,
    },
    /// Its agent never came.
    NeverConnected,
    /// Its agent does not end what is to end.
    CancelIgnored {
        /// Which task.
        task: TaskId,
    },
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossReason::PodEnded { detail } => write!(f, "its pod ended: {detail}"),
            LossReason::Silent { silent_ms } => {
                write!(f, "nothing was heard of its agent for {silent_ms} ms")
            }
            LossReason::NeverConnected => write!(f, "its agent never came"),
            LossReason::CancelIgnored { task } => write!(f, "its agent does not end task {task}"),
        }
    }
}

/// Why a task has lost its slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum RequeueReason {
    /// Its pod was lost.
    MemberLost,
    /// The agent that had it died, and another life of it came.
    AgentRestarted,
    /// Its agent does not have it any more.
    AgentLostIt,
    /// Its agent left.
    AgentLeft,
    /// The plan that waited for its confirmation is lost: it must be planned again.
    PlanLost,
    /// It failed by itself, and is tried again.
    Failed {
        /// How its process ended.
        exit: Option<TaskExit>,
    },
}

/// Why a task that runs is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CancelReason {
    /// Somebody wants it.
    Requested,
    /// It has taken too long.
    TimedOut,
    /// The pool goes.
    PoolRemoved,
}

/// Why somebody does not have the slot that he speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StaleReason {
    /// The pool knows no such task, or not any more.
    NoSuchTask,
    /// The task has another slot by now, or the same one anew.
    Replaced,
    /// The task has no slot.
    NotRunning,
    /// The slot is another member's.
    NotTheOwner,
}
