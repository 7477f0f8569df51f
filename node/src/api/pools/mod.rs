//! Pools and their tasks: what operators ask of them, and what they see.

pub mod log;
pub mod routes;
pub mod scaling;
pub mod task_routes;
pub mod task_view;
pub mod view;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What became of a change to a pool. It is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolAccepted {
    /// The pool.
    pub pool: String,
    /// The last record that the request led to, or the pool's last if it was so already.
    pub seq: u64,
    /// `created`, `changed`, `unchanged` or `accepted`.
    pub outcome: String,
}

/// What became of a change to a task. It is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskAccepted {
    /// The task.
    pub task: String,
    /// The pool that it is in.
    pub pool: String,
    /// The last record that the request led to, or the pool's last if it was so already.
    pub seq: u64,
    /// `created`, `unchanged` or `accepted`.
    pub outcome: String,
    /// How far the task is after that.
    pub state: String,
}
