//! What an operator may set of the process runtime, and what the node itself may do.

use std::path::PathBuf;

use nix::unistd::{getegid, geteuid};

use crate::adapter::mps::Mps;

/// What the process runtime is given to work with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program that is run as `shim`, `shim-init` and `shim-exec`: the node's own.
    pub shim: PathBuf,
    /// Folders below which a `hostPath` volume may be.
    pub host_path_roots: Vec<PathBuf>,
    /// Where the control groups are mounted.
    pub cgroup_mount: PathBuf,
    /// Folder for all control groups of this node, below the mount: no other node of the host may have the same.
    pub cgroup_prefix: String,
    /// Most processes and threads of one container where the node may write control groups; none for no limit.
    pub pids_max: Option<u32>,
    /// Whether a container with limits runs without them where the node may not write control groups.
    pub unlimited_ok: bool,
    /// What limits processes that share a GPU; none where they are only watched.
    pub mps: Option<Mps>,
}

impl Settings {
    /// The defaults with this program as shim.
    pub fn with_shim(shim: impl Into<PathBuf>) -> Settings {
        Settings {
            shim: shim.into(),
            host_path_roots: Vec::new(),
            cgroup_mount: "/sys/fs/cgroup".into(),
            cgroup_prefix: "purser".into(),
            pids_max: Some(4_096),
            unlimited_ok: false,
            mps: None,
        }
    }
}

/// Who the node runs as: root may become anybody and mount, others may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl NodeUser {
    pub(super) fn current() -> NodeUser {
        NodeUser { uid: geteuid().as_raw(), gid: getegid().as_raw() }
    }

    pub(super) fn is_root(self) -> bool {
        self.uid == 0
    }
}
