//! Kills for want of memory: what the kernel has counted, told once, however often it is looked at.
//!
//! How much has been told is kept in the pod's folder too, so that a service that comes back does not tell it again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use purser_actors::paths::PodPaths;
use purser_actors::port::ContainerKey;

/// The kills of each container that have been told.
#[derive(Debug)]
pub(super) struct Told {
    paths: PodPaths,
    counts: Mutex<BTreeMap<ContainerKey, u64>>,
}

impl Told {
    /// For the pods below `paths`.
    pub(super) fn new(paths: PodPaths) -> Told {
        Told { paths, counts: Mutex::default() }
    }

    /// Whether `count` is more than was told of this container; from now on it counts as told.
    pub(super) fn rises_to(&self, key: &ContainerKey, count: u64) -> bool {
        // The usual case costs nothing: no container of most pods is ever killed so.
        if count == 0 {
            return false;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let told = counts.get(key).copied().unwrap_or_else(|| self.read(key));
        counts.insert(key.clone(), count.max(told));
        if count <= told {
            return false;
        }
        if let Err(error) = self.write(key, count) {
            tracing::warn!(container = %key, %error, "failed to keep how many kills for want of memory were told");
        }
        true
    }

    /// Forgets a container that is gone.
    pub(super) fn forget(&self, key: &ContainerKey) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        // None is there for most; what cannot be removed goes with the pod's folder.
        let _ = fs::remove_file(self.file(key));
    }

    fn file(&self, key: &ContainerKey) -> PathBuf {
        self.paths.pod(key.pod).join("out-of-memory").join(format!("{}-{}", key.container, key.attempt))
    }

    fn read(&self, key: &ContainerKey) -> u64 {
        let text = fs::read_to_string(self.file(key)).ok();
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn write(&self, key: &ContainerKey, count: u64) -> std::io::Result<()> {
        let file = self.file(key);
        // The pod's own folder is not made here: a pod that was cleaned up meanwhile must leave nothing.
        if let Some(folder) = file.parent().filter(|folder| !folder.exists()) {
            fs::create_dir(folder)?;
        }
        fs::write(file, count.to_string())
    }
}

#[cfg(test)]
mod tests {
    use purser_events::{ContainerName, PodUid};

    use super::*;
    use crate::adapter::clock::UuidV7;
    use purser_actors::port::Ids;

    #[test]
    fn each_rise_is_told_once_also_by_a_service_that_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let paths = PodPaths::new(folder.path());
        let pod = PodUid(UuidV7.uuid());
        let key = ContainerKey { pod, container: ContainerName::new("main").unwrap(), attempt: 1 };
        fs::create_dir_all(paths.pod(pod)).unwrap();
        let told = Told::new(paths.clone());
        let seen = [0, 1, 1, 1, 3, 3].map(|count| told.rises_to(&key, count));
        assert_eq!(seen, [false, true, false, false, true, false]);
        let next = ContainerKey { attempt: 2, ..key.clone() };
        assert!(told.rises_to(&next, 1), "each try has a count of its own");
        let told = Told::new(paths.clone());
        assert!(!told.rises_to(&key, 3));
        assert!(told.rises_to(&key, 4));
        told.forget(&key);
        assert!(told.rises_to(&key, 1));
        fs::remove_dir_all(paths.pod(pod)).unwrap();
        assert!(told.rises_to(&key, 2) && !told.rises_to(&key, 2));
        assert!(!paths.pod(pod).exists(), "a pod that is gone leaves nothing");
    }
}
