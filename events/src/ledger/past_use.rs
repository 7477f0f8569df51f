//! Recorded use of the past, and how today's is made of it.

use serde::{Deserialize, Serialize};

use super::event::{GpuUsed, NodeUse, PodUse, UseRecorded};
use crate::ids::PodUid;
use crate::units::{Bytes, MilliCpu, Timestamp};

/// `ledger.use-recorded` version 1: nothing was said of GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "UseRecorded", rename_all = "camelCase")]
pub struct UseRecordedV1 {
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// Each pod that ran.
    pub pods: Vec<PodUseV1>,
    /// The whole machine.
    pub node: NodeUse,
}

/// How much a pod really used for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "PodUse", rename_all = "camelCase")]
pub struct PodUseV1 {
    /// Which.
    pub pod: PodUid,
    /// Samples that this was made of.
    pub samples: u32,
    /// Mean processor time.
    pub cpu_mean: MilliCpu,
    /// Most processor time between two samples.
    pub cpu_max: MilliCpu,
    /// Mean memory.
    pub memory_mean: Bytes,
    /// Most memory.
    pub memory_max: Bytes,
    /// Disk, at the end.
    pub disk: Bytes,
}

impl From<UseRecordedV1> for UseRecorded {
    fn from(past: UseRecordedV1) -> UseRecorded {
        let UseRecordedV1 { from, to, pods, node } = past;
        let pods = pods.into_iter().map(PodUse::from).collect();
        UseRecorded { from, to, pods, node, gpus: GpuUsed::default() }
    }
}

impl From<PodUseV1> for PodUse {
    fn from(past: PodUseV1) -> PodUse {
        let PodUseV1 { pod, samples, cpu_mean, cpu_max, memory_mean, memory_max, disk } = past;
        let gpus = GpuUsed::default();
        PodUse { pod, samples, cpu_mean, cpu_max, memory_mean, memory_max, disk, gpus }
    }
}
