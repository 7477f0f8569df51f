//! Where a pod's files are on the node: known to the runtimes that make them and to those who read them.

use std::path::{Path, PathBuf};

use purser_events::{ContainerName, PodUid};

use crate::port::ContainerKey;

/// The folder in which every pod has a folder of its own. Names in paths are uids and checked labels only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPaths {
    root: PathBuf,
}

impl PodPaths {
    /// Pods below `root`.
    pub fn new(root: impl Into<PathBuf>) -> PodPaths {
        PodPaths { root: root.into() }
    }

    /// The folder that holds all pods.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What pools' agents need, beside the pods: each member of a pool has a folder of its own in here.
    #[must_use]
    pub fn agents(&self) -> PathBuf {
        self.root.with_file_name("agents")
    }

    /// Everything that a pod incarnation has on disk.
    #[must_use]
    pub fn pod(&self, pod: PodUid) -> PathBuf {
        self.root.join(pod.to_string())
    }

    /// An `emptyDir` volume.
    #[must_use]
    pub fn volume(&self, pod: PodUid, volume: &ContainerName) -> PathBuf {
        self.pod(pod).join("volumes").join(volume.as_str())
    }

    /// The output of one try of a container: standard output and error as they came, in one file.
    #[must_use]
    pub fn log(&self, key: &ContainerKey) -> PathBuf {
        self.logs(key.pod, &key.container).join(format!("{}.log", key.attempt))
    }

    /// The outputs of every try of a container.
    #[must_use]
    pub fn logs(&self, pod: PodUid, container: &ContainerName) -> PathBuf {
        self.pod(pod).join("logs").join(container.as_str())
    }

    /// What the process runtime keeps of one try of a container.
    #[must_use]
    pub fn process(&self, key: &ContainerKey) -> PathBuf {
        self.pod(key.pod).join("process").join(key.container.as_str()).join(key.attempt.to_string())
    }
}
