//! Holding containers that run to less than they were given: their processor time, and their pod's memory of a GPU, both
//! by files of the kernel's control groups. What is in force already is not written again.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use purser_actors::port::RuntimeError;
use purser_events::pod::event::FailureClass;
use purser_events::{Bytes, MilliCpu};

use super::cgroups::is_gone;

/// Length of the window over which processor time is measured, in microseconds: what Kubernetes uses.
pub(super) const CPU_PERIOD_US: u64 = 100_000;
/// Least quota that the kernel takes, in microseconds.
const CPU_QUOTA_US_MIN: u64 = 1_000;
/// The kernel counts memory in pages of at least this many bytes.
const PAGE: u64 = 4_096;

/// Processor time in each window, in microseconds.
pub(super) fn quota_us(cpu: MilliCpu) -> u64 {
    (cpu.0.saturating_mul(CPU_PERIOD_US) / 1_000).max(CPU_QUOTA_US_MIN)
}

/// Lets the processes in these groups, one of each hierarchy, have so much processor time at most; says whether there is
/// any of the groups.
///
/// # Errors
/// `Invalid`: there are groups, and none of them has processor time.
pub(super) fn set_cpu_limit(groups: &[PathBuf], limit: Option<MilliCpu>) -> Result<bool, RuntimeError> {
    let mut is_there = false;
    for group in groups {
        let (unified, quota) = (group.join("cpu.max"), group.join("cpu.cfs_quota_us"));
        if unified.exists() {
            let most = limit.map_or_else(|| "max".to_owned(), |limit| quota_us(limit).to_string());
            put(&unified, &format!("{most} {CPU_PERIOD_US}"))?;
            return Ok(true);
        }
        if quota.exists() {
            if limit.is_some() {
                put(&group.join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string())?;
            }
            let most = limit.map_or_else(|| "-1".to_owned(), |limit| quota_us(limit).to_string());
            put(&quota, &most)?;
            return Ok(true);
        }
        is_there |= group.exists();
    }
    if is_there {
        return Err(cannot("the container's control groups have no controller for processor time"));
    }
    Ok(false)
}

/// Why a container that runs outside of any control group cannot be held.
pub(super) fn without_group() -> RuntimeError {
    cannot("the container runs without a control group")
}

/// Lets the processes in a pod's group have so much memory of the GPU at this address on the bus. `mount` is where the
/// hierarchy begins that the group is in.
///
/// # Errors
/// `Invalid`: the kernel or the driver does not limit it.
pub(super) fn set_gpu_memory_limit(
    mount: &Path,
    group: &Path,
    bus: &str,
    limit: Option<Bytes>,
) -> Result<(), RuntimeError> {
    let capacity = match fs::read_to_string(mount.join("dmem.capacity")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_controller()),
        capacity => capacity.map_err(|error| failed("read", &mount.join("dmem.capacity"), &error))?,
    };
    let bus = short(bus);
    let names = capacity.lines().filter_map(|line| line.split_whitespace().next());
    let regions: Vec<&str> = names.filter(|region| region.to_ascii_lowercase().contains(&bus)).collect();
    if regions.is_empty() {
        let message =
            format!("the driver of the GPU at {bus} does not account for its memory by control groups");
        return Err(cannot(&message));
    }
    if !group.exists() {
        return Ok(());
    }
    hand_down(mount, group)?;
    let file = group.join("dmem.max");
    let most = limit.map_or_else(|| "max".to_owned(), |limit| (limit.0 / PAGE * PAGE).to_string());
    for region in regions {
        let in_force = read(&file)?;
        let in_force = in_force.lines().find_map(|line| line.strip_prefix(region)?.strip_prefix(' '));
        if in_force.map(str::trim) != Some(most.as_str()) {
            write(&file, &format!("{region} {most}"))?;
        }
    }
    Ok(())
}

/// What a kernel of the first version of control groups, or an old one, cannot do.
pub(super) fn no_controller() -> RuntimeError {
    cannot("this kernel does not limit memory of devices: it has no control groups of version 2 with `dmem`")
}

/// Has every group above this one hand the controller down.
fn hand_down(mount: &Path, group: &Path) -> Result<(), RuntimeError> {
    let mut above: Vec<&Path> =
        group.ancestors().skip(1).take_while(|folder| folder.starts_with(mount)).collect();
    above.reverse();
    for folder in above {
        let file = folder.join("cgroup.subtree_control");
        if !read(&file)?.split_whitespace().any(|name| name == "dmem") {
            write(&file, "+dmem")?;
        }
    }
    Ok(())
}

/// An address as the kernel writes it: `0000:1a:00.0` for NVIDIA's `00000000:1A:00.0`.
fn short(bus: &str) -> String {
    let bus = bus.to_ascii_lowercase();
    match bus.split_once(':') {
        Some((domain, rest)) => {
            let cut = domain.len().saturating_sub(4);
            format!("{}:{rest}", domain.get(cut..).unwrap_or(domain))
        }
        None => bus,
    }
}

fn put(file: &Path, value: &str) -> Result<(), RuntimeError> {
    if read(file)?.trim() == value { Ok(()) } else { write(file, value) }
}

/// What a file says; nothing if its group ended meanwhile.
fn read(file: &Path) -> Result<String, RuntimeError> {
    match fs::read_to_string(file) {
        Err(error) if is_gone(&error) => Ok(String::new()),
        text => text.map_err(|error| failed("read", file, &error)),
    }
}

fn write(file: &Path, value: &str) -> Result<(), RuntimeError> {
    // Nothing is made: a file of a group that is gone must not be.
    let written = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(file)
        .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()));
    match written {
        Err(error) if is_gone(&error) => Ok(()),
        written => written.map_err(|error| failed("write", file, &error)),
    }
}

fn failed(what: &str, file: &Path, error: &std::io::Error) -> RuntimeError {
    RuntimeError::new(FailureClass::Runtime, format!("failed to {what} `{}`: {error}", file.display()))
}

fn cannot(message: &str) -> RuntimeError {
    RuntimeError::new(FailureClass::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::groups_on_disk::{folder, says};

    #[test]
    fn figures_stay_in_the_kernels_ranges() {
        assert_eq!(quota_us(MilliCpu(1)), 1_000);
        assert_eq!(quota_us(MilliCpu(1_500)), 150_000);
    }

    #[test]
    fn processor_time_is_held_and_let_go_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let memory = folder(root.path(), "memory", &[("memory.limit_in_bytes", "1\n")]);
        let first = [("cpu.cfs_quota_us", "-1\n"), ("cpu.cfs_period_us", "50000\n")];
        let first = folder(root.path(), "first", &first);
        let second = folder(root.path(), "second", &[("cpu.max", "max 100000\n")]);
        let groups = [memory.clone(), first.clone()];
        assert!(set_cpu_limit(&groups, Some(MilliCpu(250))).unwrap());
        let set = (says(&first, "cpu.cfs_quota_us"), says(&first, "cpu.cfs_period_us"));
        assert_eq!(set, ("25000".to_owned(), "100000".to_owned()));
        assert!(set_cpu_limit(&groups, None).unwrap());
        assert_eq!(says(&first, "cpu.cfs_quota_us"), "-1");
        assert!(set_cpu_limit(std::slice::from_ref(&second), Some(MilliCpu(250))).unwrap());
        assert_eq!(says(&second, "cpu.max"), "25000 100000");
        assert!(set_cpu_limit(std::slice::from_ref(&second), None).unwrap());
        assert_eq!(says(&second, "cpu.max"), "max 100000");
        assert!(!set_cpu_limit(&[root.path().join("gone")], None).unwrap());
        let error = set_cpu_limit(&[memory], Some(MilliCpu(1))).unwrap_err();
        assert_eq!(error.class, FailureClass::Invalid);
    }

    #[test]
    fn what_is_in_force_is_not_written_again() {
        let root = tempfile::tempdir().unwrap();
        let group = folder(root.path(), "group", &[("cpu.max", "25000 100000\n")]);
        assert!(set_cpu_limit(std::slice::from_ref(&group), Some(MilliCpu(250))).unwrap());
        assert_eq!(says(&group, "cpu.max"), "25000 100000\n", "as the kernel ends its lines");
    }

    #[test]
    fn memory_of_a_gpu_is_limited_where_its_driver_accounts_for_it() {
        let root = tempfile::tempdir().unwrap();
        let mount = root.path();
        let capacity = "drm/0000:03:00.0/vram0 100\nnvidia/0000:1a:00.0/fb 81559\n";
        folder(mount, "", &[("dmem.capacity", capacity), ("cgroup.subtree_control", "cpu memory\n")]);
        folder(mount, "purser", &[("cgroup.subtree_control", "dmem\n")]);
        let limits = "drm/0000:03:00.0/vram0 max\nnvidia/0000:1a:00.0/fb max\n";
        let pod = folder(mount, "purser/pod", &[("dmem.max", limits)]);
        let bus = "00000000:1A:00.0";
        set_gpu_memory_limit(mount, &pod, bus, None).unwrap();
        assert_eq!(says(&pod, "dmem.max"), limits, "there is no limit");
        set_gpu_memory_limit(mount, &pod, bus, Some(Bytes(81_000))).unwrap();
        // The kernel's file would go on to tell of every region.
        assert_eq!(says(&pod, "dmem.max"), "nvidia/0000:1a:00.0/fb 77824");
        assert_eq!(says(mount, "cgroup.subtree_control"), "+dmem");
        assert_eq!(says(&mount.join("purser"), "cgroup.subtree_control"), "dmem\n");
        set_gpu_memory_limit(mount, &mount.join("purser/gone"), bus, Some(Bytes(1))).unwrap();
        let error = set_gpu_memory_limit(mount, &pod, "00000000:02:00.0", None).unwrap_err();
        assert!(error.message.contains("0000:02:00.0 does not account"), "{error}");
        fs::remove_file(mount.join("dmem.capacity")).unwrap();
        let error = set_gpu_memory_limit(mount, &pod, bus, Some(Bytes(1))).unwrap_err();
        assert!(error.message.contains("no control groups of version 2"), "{error}");
    }
}
