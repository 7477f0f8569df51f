//! Payloads of pools' events as they were: read for ever, written never again.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::TaskSubmitted;
use super::names::{TaskId, Workspace};
use super::task::{TaskKind, TaskSpec};
use crate::pod::spec::EnvVar;
use crate::units::Timestamp;

/// `pool.task-submitted` version 1: tasks had no variables from secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "TaskSubmitted")]
pub struct TaskSubmittedV1 {
    /// See [`TaskSubmitted`]; so for all fields here.
    pub spec: TaskSpecV1,
    /// Its number.
    pub order: u64,
    /// When.
    pub at: Timestamp,
}

/// What was to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "TaskSpec", rename_all = "camelCase")]
pub struct TaskSpecV1 {
    /// See [`TaskSpec`]; so for all fields here.
    pub id: TaskId,
    /// Kind.
    pub kind: TaskKind,
    /// Workspace.
    pub workspace: Option<Workspace>,
    /// Priority.
    pub priority: i32,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Those of the apply.
    pub apply_argv: Vec<String>,
    /// Environment.
    pub env: Vec<EnvVar>,
    /// Working folder.
    pub working_dir: Option<String>,
    /// Time limit.
    pub timeout_s: Option<u32>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl From<TaskSubmittedV1> for TaskSubmitted {
    fn from(past: TaskSubmittedV1) -> TaskSubmitted {
        let TaskSubmittedV1 { spec, order, at } = past;
        let TaskSpecV1 {
            id,
            kind,
            workspace,
            priority,
            argv,
            apply_argv,
            env,
            working_dir,
            timeout_s,
            labels,
        } = spec;
        let secrets = vec![];
        let spec = TaskSpec {
            id,
            kind,
            workspace,
            priority,
            argv,
            apply_argv,
            env,
            secrets,
            working_dir,
            timeout_s,
            labels,
        };
        TaskSubmitted { spec: Arc::new(spec), order, at }
    }
}
