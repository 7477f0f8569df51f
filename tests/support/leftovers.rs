//! What pods leave when their service is killed: ended here, by identity and never by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bounded::PATIENCE;

/// A process that a service's data folder speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its id.
    pub pid: i32,
    /// Its start, in clock ticks since boot.
    start_time_ticks: u64,
}

impl Recorded {
    fn of(identity: &Value) -> Option<Recorded> {
        let pid = i32::try_from(identity.get("hostPid")?.as_u64()?).ok()?;
        Some(Recorded { pid, start_time_ticks: identity.get("startTimeTicks")?.as_u64()? })
    }

    /// Whether it still runs, and no other process has its id by now.
    #[must_use]
    pub fn runs(self) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else { return false };
        // The name in parentheses may hold anything; fields are counted from behind it.
        let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
        let fields: Vec<&str> = fields.split(' ').collect();
        let ended = matches!(fields.first(), Some(&("Z" | "X")));
        !ended && fields.get(19).and_then(|start| start.parse().ok()) == Some(self.start_time_ticks)
    }
}

/// The shims and main processes that a service has recorded and that still run.
#[must_use]
pub fn running_processes(data_dir: &Path) -> Vec<Recorded> {
    let mut running = Vec::new();
    for state in records(data_dir, "state.json") {
        let content = state.get("content").unwrap_or(&Value::Null);
        let recorded = ["shim", "main"].iter().filter_map(|role| Recorded::of(content.get(role)?));
        running.extend(recorded.filter(|process| process.runs()));
    }
    running
}

/// Kills every process that a service has recorded, with its group and control groups, and removes those.
pub fn end_processes(data_dir: &Path) {
    for process in running_processes(data_dir) {
        // A process that went away in between is what is wanted.
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        let _ = killpg(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
    let plans = records(data_dir, "plan.json");
    let folders = plans.iter().filter_map(|plan| plan.get("content")?.get("cgroups")?.as_array()).flatten();
    for folder in folders.filter_map(Value::as_str) {
        end_control_group(Path::new(folder));
    }
}

fn end_control_group(folder: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while folder.exists() && Instant::now() < deadline {
        let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // Refused until the kernel has taken the last member out.
        if fs::remove_dir(folder).is_ok() {
            // The pod's and the node's own: refused while others still have theirs in it.
            let _ = folder.ancestors().skip(1).take(2).try_for_each(fs::remove_dir);
            return;
        }
        std::thread::yield_now();
    }
}

/// The control groups that a service made for its containers, in every hierarchy, the deepest first; its own,
/// which stays as long as the service, is not among them.
#[must_use]
pub fn control_groups(data_dir: &Path) -> Vec<PathBuf> {
    own_control_groups(data_dir).iter().flat_map(|own| folders_in(own)).collect()
}

/// Kills every process in the control groups that a service made, and removes those and its folder in `/run`.
pub fn end_control_groups(data_dir: &Path) {
    for own in own_control_groups(data_dir) {
        let deadline = Instant::now() + PATIENCE;
        while own.exists() && Instant::now() < deadline {
            for folder in folders_in(&own).iter().chain([&own]) {
                let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                // Refused until the kernel has taken the last member out.
                drop(fs::remove_dir(folder));
            }
            std::thread::yield_now();
        }
    }
    // There only if the service used containerd.
    drop(fs::remove_dir_all(Path::new("/run").join(node_name(data_dir))));
}

/// The control group of a service in each hierarchy that has one.
fn own_control_groups(data_dir: &Path) -> Vec<PathBuf> {
    let (mount, name) = (Path::new("/sys/fs/cgroup"), node_name(data_dir));
    let hierarchies = fs::read_dir(mount).into_iter().flatten().flatten().map(|entry| entry.path());
    let own = hierarchies.chain([mount.to_path_buf()]).map(|hierarchy| hierarchy.join(&name));
    own.filter(|folder| folder.is_dir()).collect()
}

/// What a service calls itself on its host, and its control group: the same data folder is the same node.
#[must_use]
pub fn node_name(data_dir: &Path) -> String {
    let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let short: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("purser-{short}")
}

/// Every folder in a folder, the deepest first.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    inner.map(|entry| entry.path()).flat_map(|path| [folders_in(&path), vec![path]].concat()).collect()
}

/// Every file of this name that can be read as JSON, anywhere in the folder.
fn records(folder: &Path, name: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if entry.file_name() == name {
                found.extend(fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()));
            }
        }
    }
    found
}
