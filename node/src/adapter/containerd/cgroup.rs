//! The cgroups of containers: where they are, what the kernel counted in them, and their removal.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_actors::port::ContainerKey;
use purser_events::PodUid;

const MOUNT: &str = "/sys/fs/cgroup";
/// Tries to remove a cgroup whose processes are dying, and the time between two of them.
const END_TRIES: u32 = 500;
const END_PAUSE: Duration = Duration::from_millis(10);

/// The cgroups below one prefix, in every hierarchy of the host.
#[derive(Debug, Clone)]
pub(super) struct Cgroups {
    prefix: String,
    /// The mounted hierarchies: one for version 2, one per controller for version 1.
    roots: Vec<PathBuf>,
    /// Whether the kernel can limit swap.
    pub(super) limits_swap: bool,
}

impl Cgroups {
    /// Looks at what the host has.
    pub(super) fn detect(prefix: &str) -> Cgroups {
        let mount = Path::new(MOUNT);
        if mount.join("cgroup.controllers").exists() {
            return Cgroups { prefix: prefix.to_owned(), roots: vec![mount.to_owned()], limits_swap: true };
        }
        let entries = fs::read_dir(mount).into_iter().flatten().flatten();
        let mut roots: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        roots.sort();
        let limits_swap = mount.join("memory/memory.memsw.limit_in_bytes").exists();
        Cgroups { prefix: prefix.to_owned(), roots, limits_swap }
    }

    /// The cgroup of one try of a container: a fresh one for each, since a left-over one would bring old limits.
    pub(super) fn path(&self, key: &ContainerKey) -> String {
        format!("{}/{}-{}", self.pod_path(key.pod), key.container, key.attempt)
    }

    /// Where the cgroup of one try of a container is in each hierarchy, or would be.
    pub(super) fn folders(&self, key: &ContainerKey) -> Vec<PathBuf> {
        let inside = self.path(key);
        self.roots.iter().map(|root| root.join(inside.trim_start_matches('/'))).collect()
    }

    /// The folders in which every pod has its cgroup, made or not.
    pub(super) fn bases(&self) -> Vec<PathBuf> {
        self.roots.iter().map(|root| root.join(&self.prefix)).collect()
    }

    /// Where the one hierarchy of version 2 begins, and the cgroup of a pod in it; none on a host with version 1.
    pub(super) fn unified(&self, pod: PodUid) -> Option<(PathBuf, PathBuf)> {
        let root = self.roots.iter().find(|root| root.join("cgroup.controllers").exists())?;
        // One hierarchy beside those of version 1 has no cgroups of pods' devices.
        (root == Path::new(MOUNT))
            .then(|| (root.clone(), root.join(self.pod_path(pod).trim_start_matches('/'))))
    }

    fn pod_path(&self, pod: PodUid) -> String {
        format!("/{}/{pod}", self.prefix)
    }

    /// Processes of a container that the kernel killed for want of memory; none if its cgroup is gone.
    pub(super) fn out_of_memory_kills(&self, key: &ContainerKey) -> Option<u64> {
        let files = ["memory.events", "memory.oom_control"];
        let mut texts = self
            .folders(key)
            .into_iter()
            .flat_map(|folder| files.map(|file| fs::read_to_string(folder.join(file)).ok()));
        texts.find_map(|text| oom_kills(&text?))
    }

    /// Removes the cgroup of a try, as far as it is left, killing what still runs in it.
    pub(super) fn end(&self, key: &ContainerKey) -> std::io::Result<()> {
        let inside = self.path(key);
        for _ in 1..END_TRIES {
            match self.remove_path(&inside) {
                // Busy: the kernel has not yet taken the last process out.
                Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                    self.kill_members(&inside);
                    std::thread::sleep(END_PAUSE);
                }
                done => return done,
            }
        }
        self.remove_path(&inside)
    }

    fn kill_members(&self, inside: &str) {
        for root in &self.roots {
            let folder = root.join(inside.trim_start_matches('/'));
            let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
                // One that is gone by now is what is wanted.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// Removes the cgroup of a pod with all below it, as far as it is left.
    pub(super) fn remove_pod(&self, pod: PodUid) -> std::io::Result<()> {
        self.remove_path(&self.pod_path(pod))
    }

    /// Divides processor time among pods, not only among the containers of one: the pod's share is its
    /// containers' sum. A host that does not let it be set divides equally.
    pub(super) fn weigh_pod(&self, pod: PodUid, shares: u64) {
        let inside = self.pod_path(pod);
        for root in &self.roots {
            let folder = root.join(inside.trim_start_matches('/'));
            // The range of version 1 (2 to 262144) on that of version 2 (1 to 10000), as runtimes map it.
            let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142;
            for (file, value) in [("cpu.shares", shares.clamp(2, 262_144)), ("cpu.weight", weight)] {
                let path = folder.join(file);
                if path.exists()
                    && let Err(error) = fs::write(&path, value.to_string())
                {
                    tracing::debug!(path = %path.display(), %error, "failed to weigh a pod's processor time");
                }
            }
        }
    }

    fn remove_path(&self, inside: &str) -> std::io::Result<()> {
        for root in &self.roots {
            remove_tree(&root.join(inside.trim_start_matches('/')))?;
        }
        Ok(())
    }
}

/// Cgroups are removed from the leaves up; their files go with them.
fn remove_tree(folder: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn oom_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_read_from_both_versions() {
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(oom_kills("oom_kill_disable 0\n"), None);
    }

    #[test]
    fn a_tree_is_removed_from_its_leaves() {
        let root = tempfile::tempdir().unwrap();
        let prefix = root.path().join("p");
        fs::create_dir_all(prefix.join("a/b")).unwrap();
        remove_tree(&prefix).unwrap();
        assert!(!prefix.exists());
        remove_tree(&prefix).unwrap();
    }
}
