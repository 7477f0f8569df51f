//! What the node offers pools.

use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the node offers pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pools {
    /// Folder with what pools refer to: `secrets/NAME` and `configs/NAME`; none if there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references_dir: Option<PathBuf>,
    /// Most bytes of output that are kept of one time that a task runs.
    pub task_log_bytes_max: NonZeroU64,
}
