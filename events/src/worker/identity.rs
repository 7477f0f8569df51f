//! Which process: never a pid alone.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A process of the host that no other process, before or after, can be taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessIdentity {
    /// Process id on the host.
    pub host_pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start_time_ticks: u64,
    /// Which boot of the host (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: Uuid,
    /// Process id as the container sees it; the host's where there is no namespace of its own.
    pub container_pid: u32,
}
