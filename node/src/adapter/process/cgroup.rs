//! Control groups of the containers, in both versions of the kernel's interface: version 1 with a hierarchy
//! for each controller, version 2 with one for all.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_events::{Bytes, CpuSet, MilliCpu};

use super::cpuset;
use crate::adapter::throttle::{CPU_PERIOD_US, quota_us};

/// What one container may use; none means as much as there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) cpu: Option<MilliCpu>,
    pub(super) cpu_weight: Option<MilliCpu>,
    pub(super) memory: Option<Bytes>,
    /// A guard of the node's own: not asked for by anyone, so its absence fails nothing.
    pub(super) pids_max: Option<u32>,
    /// Held by the scheduler too: where there is no group for it, its absence fails nothing.
    pub(super) cpus: Option<CpuSet>,
}

impl Limits {
    /// Whether a pod asked for something that only a control group can hold.
    pub(super) fn are_asked_for(&self) -> bool {
        self.cpu.is_some() || self.memory.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Memory,
    Cpu,
    Pids,
    /// Counts processor time. Of version 1: in version 2 every group does.
    Cpuacct,
    /// Holds processes to processors.
    Cpuset,
}

impl Controller {
    const ALL: [Controller; 5] =
        [Controller::Memory, Controller::Cpu, Controller::Pids, Controller::Cpuacct, Controller::Cpuset];
    /// Those without which a hierarchy of version 2 is of no use.
    const NEEDED: [Controller; 3] = [Controller::Memory, Controller::Cpu, Controller::Pids];

    fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
            Controller::Pids => "pids",
            Controller::Cpuacct => "cpuacct",
            Controller::Cpuset => "cpuset",
        }
    }
}

/// The part of the control groups that this node may write.
#[derive(Debug, Clone)]
pub(super) enum Cgroups {
    /// One folder of ours for each controller.
    V1(BTreeMap<Controller, PathBuf>),
    /// One folder of ours for all controllers.
    V2(PathBuf),
    /// None, and why.
    Unwritable(String),
}

impl Cgroups {
    /// Looks for a hierarchy below `mount` in which a group `prefix` can be made, and makes it.
    pub(super) fn detect(mount: &Path, prefix: &str) -> Cgroups {
        if mount.join("cgroup.controllers").exists() {
            detect_v2(mount, prefix)
        } else {
            detect_v1(mount, prefix)
        }
    }

    /// Makes the groups of one container and sets its limits; gives back their folders.
    ///
    /// # Errors
    /// Says what is missing for a limit that was asked for.
    pub(super) fn make(&self, pod: &str, container: &str, limits: &Limits) -> Result<Vec<PathBuf>, String> {
        match self {
            Cgroups::V1(bases) => make_v1(bases, pod, container, limits),
            Cgroups::V2(base) => make_v2(base, pod, container, limits).map(|folder| vec![folder]),
            Cgroups::Unwritable(why) if limits.are_asked_for() => {
                Err(format!("resource limits need control groups, and {why}"))
            }
            Cgroups::Unwritable(_) => Ok(Vec::new()),
        }
    }

    /// Whether every limit that a pod may ask for can be set.
    pub(super) fn hold_limits(&self) -> bool {
        match self {
            Cgroups::V1(bases) => {
                [Controller::Memory, Controller::Cpu].iter().all(|asked| bases.contains_key(asked))
            }
            Cgroups::V2(_) => true,
            Cgroups::Unwritable(_) => false,
        }
    }

    /// The folders that the groups of one container have, made or not.
    pub(super) fn folders(&self, pod: &str, container: &str) -> Vec<PathBuf> {
        match self {
            Cgroups::V1(bases) => bases.values().map(|base| base.join(pod).join(container)).collect(),
            Cgroups::V2(base) => vec![base.join(pod).join(container)],
            Cgroups::Unwritable(_) => Vec::new(),
        }
    }

    /// The folders in which every pod has its group.
    pub(super) fn bases(&self) -> Vec<PathBuf> {
        match self {
            Cgroups::V1(bases) => bases.values().cloned().collect(),
            Cgroups::V2(base) => vec![base.clone()],
            Cgroups::Unwritable(_) => vec![],
        }
    }

    /// Removes the group of a pod, once those of its containers are gone.
    pub(super) fn remove_pod(&self, pod: &str) -> std::io::Result<()> {
        match self {
            Cgroups::V1(bases) => bases.values().try_for_each(|base| remove_folder(&base.join(pod))),
            Cgroups::V2(base) => remove_folder(&base.join(pod)),
            Cgroups::Unwritable(_) => Ok(()),
        }
    }
}

fn detect_v1(mount: &Path, prefix: &str) -> Cgroups {
    let mut bases = BTreeMap::new();
    let mut why = format!("there is no control group hierarchy below `{}`", mount.display());
    for controller in Controller::ALL {
        let hierarchy = mount.join(controller.name());
        if !hierarchy.join("cgroup.procs").exists() {
            continue;
        }
        let base = hierarchy.join(prefix);
        let made = fs::create_dir_all(&base).and_then(|()| match controller {
            Controller::Cpuset => cpuset::inherit(&base),
            Controller::Memory | Controller::Cpu | Controller::Pids | Controller::Cpuacct => Ok(()),
        });
        match made {
            Ok(()) => drop(bases.insert(controller, base)),
            Err(error) => why = format!("`{}` cannot be made: {error}", base.display()),
        }
    }
    if bases.is_empty() { Cgroups::Unwritable(why) } else { Cgroups::V1(bases) }
}

fn detect_v2(mount: &Path, prefix: &str) -> Cgroups {
    let base = mount.join(prefix);
    let made = fs::create_dir_all(&base).and_then(|()| {
        // Every group from the top to ours must hand its controllers down.
        let mut above: Vec<&Path> = base.ancestors().take_while(|folder| folder.starts_with(mount)).collect();
        above.reverse();
        above.into_iter().try_for_each(hand_down)
    });
    match made {
        Ok(()) => Cgroups::V2(base),
        Err(error) => Cgroups::Unwritable(format!("`{}` cannot be used: {error}", base.display())),
    }
}

fn hand_down(folder: &Path) -> std::io::Result<()> {
    let held = fs::read_to_string(folder.join("cgroup.subtree_control"))?;
    let is_missing = |controller: &&Controller| !has(&held, **controller);
    let missing: Vec<String> = Controller::NEEDED
        .iter()
        .filter(is_missing)
        .map(|controller| format!("+{}", controller.name()))
        .collect();
    if !missing.is_empty() {
        fs::write(folder.join("cgroup.subtree_control"), missing.join(" "))?;
    }
    let offered = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    if has(&offered, Controller::Cpuset) && !has(&held, Controller::Cpuset) {
        // Without it the scheduler alone holds processes to their processors.
        let _ = fs::write(folder.join("cgroup.subtree_control"), "+cpuset");
    }
    Ok(())
}

fn has(list: &str, controller: Controller) -> bool {
    list.split_whitespace().any(|name| name == controller.name())
}

pub(super) fn write(folder: &Path, file: &str, value: impl ToString) -> Result<(), String> {
    let path = folder.join(file);
    fs::write(&path, value.to_string())
        .map_err(|error| format!("failed to write `{}`: {error}", path.display()))
}

fn make_folder(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder)
        .map_err(|error| format!("failed to make the control group `{}`: {error}", folder.display()))
}

fn make_v1(
    bases: &BTreeMap<Controller, PathBuf>,
    pod: &str,
    container: &str,
    limits: &Limits,
) -> Result<Vec<PathBuf>, String> {
    let missing = |controller: Controller| {
        let asked = match controller {
            Controller::Memory => limits.memory.is_some(),
            Controller::Cpu => limits.cpu.is_some(),
            Controller::Pids | Controller::Cpuacct | Controller::Cpuset => false,
        };
        asked && !bases.contains_key(&controller)
    };
    if let Some(controller) = Controller::ALL.into_iter().find(|controller| missing(*controller)) {
        let name = controller.name();
        return Err(format!(
            "a {name} limit needs the control group hierarchy of `{name}`, which is not writable here"
        ));
    }
    let mut folders = Vec::new();
    for (controller, base) in bases {
        let pod = base.join(pod);
        let folder = pod.join(container);
        make_folder(&folder)?;
        match controller {
            Controller::Memory => limit_memory_v1(&folder, limits)?,
            Controller::Cpu => limit_cpu_v1(&folder, limits)?,
            Controller::Pids => limit_pids(&folder, limits)?,
            Controller::Cpuacct => {}
            Controller::Cpuset => {
                if cpuset::inherit(&pod).and_then(|()| cpuset::inherit(&folder)).is_err() {
                    // A group without processors lets nobody in: the scheduler alone holds the container then.
                    let _ = remove_folder(&folder);
                    continue;
                }
                limits.cpus.as_ref().map_or(Ok(()), |cpus| cpuset::confine(&folder, cpus))?;
            }
        }
        folders.push(folder);
    }
    Ok(folders)
}

fn limit_memory_v1(folder: &Path, limits: &Limits) -> Result<(), String> {
    let Some(Bytes(memory)) = limits.memory else { return Ok(()) };
    write(folder, "memory.limit_in_bytes", memory)?;
    // Memory and swap together: with the same number there is no swap beyond the memory.
    if folder.join("memory.memsw.limit_in_bytes").exists() {
        write(folder, "memory.memsw.limit_in_bytes", memory)?;
    }
    Ok(())
}

fn limit_cpu_v1(folder: &Path, limits: &Limits) -> Result<(), String> {
    if let Some(weight) = limits.cpu_weight {
        write(folder, "cpu.shares", shares(Some(weight)))?;
    }
    let Some(cpu) = limits.cpu else { return Ok(()) };
    write(folder, "cpu.cfs_period_us", CPU_PERIOD_US)?;
    write(folder, "cpu.cfs_quota_us", quota_us(cpu))
}

fn limit_pids(folder: &Path, limits: &Limits) -> Result<(), String> {
    limits.pids_max.map_or(Ok(()), |pids_max| write(folder, "pids.max", pids_max))
}

fn make_v2(base: &Path, pod: &str, container: &str, limits: &Limits) -> Result<PathBuf, String> {
    let pod = base.join(pod);
    make_folder(&pod)?;
    hand_down(&pod).map_err(|error| format!("failed to use `{}`: {error}", pod.display()))?;
    let folder = pod.join(container);
    make_folder(&folder)?;
    if let Some(Bytes(memory)) = limits.memory {
        write(&folder, "memory.max", memory)?;
        if folder.join("memory.swap.max").exists() {
            write(&folder, "memory.swap.max", 0)?;
        }
        // As in Kubernetes: what is left of a container after such a kill is rarely of use.
        if folder.join("memory.oom.group").exists() {
            write(&folder, "memory.oom.group", 1)?;
        }
    }
    if let Some(weight) = limits.cpu_weight {
        write(&folder, "cpu.weight", 1 + (shares(Some(weight)) - 2) * 9_999 / 262_142)?;
    }
    if let Some(cpu) = limits.cpu {
        write(&folder, "cpu.max", format!("{} {CPU_PERIOD_US}", quota_us(cpu)))?;
    }
    if let Some(cpus) = &limits.cpus {
        cpuset::confine(&folder, cpus)?;
    }
    limit_pids(&folder, limits)?;
    Ok(folder)
}

/// The weight of version 1, in the kernel's range of 2 to 262,144: 1,024 for a core, as for who asks for nothing.
pub(super) fn shares(cpu: Option<MilliCpu>) -> u64 {
    let cpu = cpu.unwrap_or(MilliCpu(1_000));
    (cpu.0.saturating_mul(1_024) / 1_000).clamp(2, 262_144)
}

/// Puts the calling process into the groups.
pub(super) fn join(folders: &[PathBuf]) -> Result<(), String> {
    folders.iter().try_for_each(|folder| write(folder, "cgroup.procs", std::process::id()))
}

/// The processes in the groups, threads not counted.
pub(super) fn members(folders: &[PathBuf]) -> Vec<i32> {
    // Every process is in all of the groups, so the first that can be read tells of all.
    let text = folders.iter().find_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok());
    let pids = text.iter().flat_map(|text| text.lines()).filter_map(|line| line.parse().ok());
    // The kernel writes 0 for a process that this one cannot see; killing 0 would be killing ourselves.
    pids.filter(|pid| *pid > 0).collect()
}

/// Kills every process in the groups once.
pub(super) fn kill_all(folders: &[PathBuf]) {
    for pid in members(folders) {
        // It may have ended meanwhile.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// How many processes the kernel has killed in the groups for want of memory.
pub(super) fn oom_kills(folders: &[PathBuf]) -> u64 {
    let files = ["memory.oom_control", "memory.events"];
    let text = folders
        .iter()
        .flat_map(|folder| files.iter().map(move |file| folder.join(file)))
        .find_map(|path| fs::read_to_string(path).ok());
    let count = text.as_deref().unwrap_or_default().lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Kills what is in the groups and removes them. *Idempotent*.
///
/// # Errors
/// A process in them does not end.
pub(super) fn remove(folders: &[PathBuf]) -> std::io::Result<()> {
    kill_all(folders);
    folders.iter().try_for_each(|folder| remove_folder(folder))
}

fn remove_folder(folder: &Path) -> std::io::Result<()> {
    // A killed process leaves its group a moment after it is gone from every list.
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => sleep(Duration::from_millis(10)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stay_in_the_kernels_ranges() {
        assert_eq!(shares(Some(MilliCpu(0))), 2);
        assert_eq!(shares(Some(MilliCpu(1_000))), 1_024);
        assert_eq!(shares(None), 1_024, "as the kernel has it");
        assert_eq!(shares(Some(MilliCpu(u64::MAX))), 262_144);
    }

    #[test]
    fn limits_fail_closed_where_no_group_can_be_made() {
        let empty = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::detect(empty.path(), "purser");
        let limits = Limits { memory: Some(Bytes(1 << 20)), ..Limits::default() };
        let message = cgroups.make("pod", "main-1", &limits).unwrap_err();
        assert!(message.contains("no control group hierarchy"), "{message}");
        let guard = Limits { pids_max: Some(1), ..Limits::default() };
        assert_eq!(cgroups.make("pod", "main-1", &guard).unwrap(), Vec::<PathBuf>::new());
    }

    /// The interface of version 2 as plain files: what is written where, and in which order of folders.
    #[test]
    fn version_two_gets_its_limits() {
        let mount = tempfile::tempdir().unwrap();
        let group = |path: &str| {
            let folder = mount.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cgroup.subtree_control"), "cpu").unwrap();
            folder
        };
        fs::write(group("").join("cgroup.controllers"), "cpu memory pids").unwrap();
        fs::write(group("purser/pod").join("cgroup.controllers"), "cpuset cpu memory pids").unwrap();
        let (base, pod) = (group("purser"), group("purser/pod"));
        let leaf = group("purser/pod/main-1");
        fs::write(leaf.join("memory.swap.max"), "max").unwrap();
        fs::write(leaf.join("cpuset.cpus"), "").unwrap();
        fs::write(leaf.join("memory.events"), "low 0\noom 3\noom_kill 2\n").unwrap();
        let cgroups = Cgroups::detect(mount.path(), "purser");
        assert_eq!(fs::read_to_string(base.join("cgroup.subtree_control")).unwrap(), "+memory +pids");
        let limits = Limits {
            cpu: Some(MilliCpu(250)),
            cpu_weight: Some(MilliCpu(1_000)),
            memory: Some(Bytes(64 << 20)),
            pids_max: Some(100),
            cpus: Some("0-1".parse().unwrap()),
        };
        assert_eq!(cgroups.make("pod", "main-1", &limits).unwrap(), vec![leaf.clone()]);
        let held = |file: &str| fs::read_to_string(leaf.join(file)).unwrap();
        assert_eq!(held("memory.max"), "67108864");
        assert_eq!(held("memory.swap.max"), "0");
        assert_eq!(held("cpu.max"), "25000 100000");
        assert_eq!(held("cpu.weight"), "39");
        assert_eq!(held("pids.max"), "100");
        assert_eq!(held("cpuset.cpus"), "0-1");
        assert_eq!(fs::read_to_string(pod.join("cgroup.subtree_control")).unwrap(), "+cpuset");
        assert_eq!(oom_kills(&[leaf]), 2);
    }
}
