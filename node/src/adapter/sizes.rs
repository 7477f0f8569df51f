//! Limits of containers that run, in both versions of the kernel's control groups: changed, and read back.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use purser_actors::port::{LimitsInForce, RuntimeError};
use purser_events::pod::event::FailureClass;
use purser_events::{Bytes, MilliCpu};

use super::cgroups::is_gone;
use super::usage::Measured;

/// From here on a limit of version 1 is none: the kernel writes the largest number of whole pages.
const NO_LIMIT_V1: u64 = 1 << 62;

/// The limits that the kernel holds a container with these groups to, one of each hierarchy; none without groups.
#[must_use]
pub fn in_force(groups: &[PathBuf]) -> Option<LimitsInForce> {
    let cpu = first(groups, "cpu.cfs_quota_us").map(|quota| {
        let period = first(groups, "cpu.cfs_period_us").unwrap_or_default();
        milli_cpu(&quota, &period)
    });
    let cpu = cpu.or_else(|| {
        let text = first(groups, "cpu.max")?;
        let (quota, period) = text.trim().split_once(' ')?;
        Some(milli_cpu(quota, period))
    });
    let v1 =
        || first(groups, "memory.limit_in_bytes").map(|text| bytes(&text).filter(|it| *it < NO_LIMIT_V1));
    let memory = v1().or_else(|| first(groups, "memory.max").map(|text| bytes(&text)));
    (cpu.is_some() || memory.is_some())
        .then(|| LimitsInForce { cpu: cpu.flatten(), memory: memory.flatten().map(Bytes) })
}

fn milli_cpu(quota: &str, period: &str) -> Option<MilliCpu> {
    // Less than nothing, or a word, is no limit.
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok().filter(|period| *period != 0)?;
    Some(MilliCpu(quota.saturating_mul(1_000) / period))
}

fn bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Refuses a limit of memory below what a container uses: version 2 of the kernel's interface would kill something in it.
///
/// # Errors
/// `Invalid`: it uses more.
pub(super) fn refuse_below_use(groups: &[PathBuf], limit: Option<Bytes>) -> Result<(), RuntimeError> {
    let used = Measured::of(groups).memory;
    match (limit, used) {
        (Some(limit), Some(used)) if limit < used => Err(below_use(limit, Some(used))),
        _ => Ok(()),
    }
}

/// What a container is told that uses more memory than it was to have.
pub(super) fn below_use(limit: Bytes, used: Option<Bytes>) -> RuntimeError {
    let used = used.map_or_else(|| "more".to_owned(), |used| used.to_string());
    let message = format!("the container has {used} of memory in use, and the limit was to be {limit}");
    RuntimeError::new(FailureClass::Invalid, message)
}

/// Lets the processes in these groups have so much memory at most, swap included; says whether there is any of the groups.
///
/// # Errors
/// `Invalid`: they use more, or none of the groups has memory. Other classes: the kernel failed.
pub(super) fn set_memory_limit(groups: &[PathBuf], limit: Option<Bytes>) -> Result<bool, RuntimeError> {
    let mut is_there = false;
    for group in groups {
        let (first, second) = (group.join("memory.limit_in_bytes"), group.join("memory.max"));
        if first.exists() {
            refuse_below_use(groups, limit)?;
            set_v1(group, limit).map_err(|error| match (error.raw_os_error(), limit) {
                (Some(nix::libc::EBUSY), Some(limit)) => below_use(limit, Measured::of(groups).memory),
                _ => failed(&first, &error),
            })?;
            return Ok(true);
        }
        if second.exists() {
            refuse_below_use(groups, limit)?;
            let most = limit.map_or_else(|| "max".to_owned(), |limit| limit.0.to_string());
            put(&second, &most).map_err(|error| failed(&second, &error))?;
            let swap = group.join("memory.swap.max");
            if swap.exists() {
                let most = if limit.is_some() { "0" } else { "max" };
                put(&swap, most).map_err(|error| failed(&swap, &error))?;
            }
            return Ok(true);
        }
        is_there |= group.exists();
    }
    if is_there && limit.is_some() {
        let message = "the container's control groups have no controller for memory";
        return Err(RuntimeError::new(FailureClass::Invalid, message));
    }
    Ok(is_there)
}

/// Memory with swap is never less than memory alone: the one that grows is written first.
fn set_v1(group: &Path, limit: Option<Bytes>) -> std::io::Result<()> {
    let (memory, with_swap) =
        (group.join("memory.limit_in_bytes"), group.join("memory.memsw.limit_in_bytes"));
    let most = limit.map_or_else(|| "-1".to_owned(), |limit| limit.0.to_string());
    let before = fs::read_to_string(&memory).ok().and_then(|text| bytes(&text)).unwrap_or(u64::MAX);
    let grows = limit.is_none_or(|limit| before < limit.0);
    let files = if grows { [&with_swap, &memory] } else { [&memory, &with_swap] };
    files.into_iter().filter(|file| file.exists()).try_for_each(|file| put(file, &most))
}

/// Weighs the processes in these groups when processor time is short; `shares` as in version 1. Where it cannot be set, all
/// are equal.
pub(super) fn weigh(groups: &[PathBuf], shares: u64) {
    let shares = shares.clamp(2, 262_144);
    let weight = 1 + (shares - 2) * 9_999 / 262_142;
    for group in groups {
        for (file, value) in [("cpu.shares", shares), ("cpu.weight", weight)] {
            let path = group.join(file);
            if path.exists()
                && let Err(error) = put(&path, &value.to_string())
            {
                tracing::debug!(path = %path.display(), %error, "failed to weigh a container's processor time");
            }
        }
    }
}

fn put(file: &Path, value: &str) -> std::io::Result<()> {
    // Nothing is made: a file of a group that is gone must not be.
    let opened = fs::OpenOptions::new().write(true).truncate(true).open(file);
    let written = opened.and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()));
    match written {
        Err(error) if is_gone(&error) || error.kind() == ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

fn failed(file: &Path, error: &std::io::Error) -> RuntimeError {
    RuntimeError::new(FailureClass::Runtime, format!("failed to write `{}`: {error}", file.display()))
}

fn first(groups: &[PathBuf], file: &str) -> Option<String> {
    groups.iter().find_map(|group| fs::read_to_string(group.join(file)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::groups_on_disk::{folder, says};

    #[test]
    fn limits_are_read_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let cpu = [("cpu.cfs_quota_us", "50000\n"), ("cpu.cfs_period_us", "100000\n")];
        let cpu = folder(root.path(), "cpu", &cpu);
        let memory = folder(root.path(), "memory", &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        let first = LimitsInForce { cpu: Some(MilliCpu(500)), memory: None };
        assert_eq!(in_force(&[memory, cpu]), Some(first));
        let second = folder(root.path(), "second", &[("cpu.max", "max 100000\n"), ("memory.max", "4096\n")]);
        let second_limits = LimitsInForce { cpu: None, memory: Some(Bytes(4_096)) };
        assert_eq!(in_force(&[second]), Some(second_limits));
        assert_eq!(in_force(&[root.path().join("gone")]), None);
    }

    #[test]
    fn memory_is_changed_in_both_versions_and_not_below_what_is_used() {
        let root = tempfile::tempdir().unwrap();
        let first = [
            ("memory.limit_in_bytes", "100\n"),
            ("memory.memsw.limit_in_bytes", "100\n"),
            ("memory.usage_in_bytes", "90\n"),
            ("memory.stat", "total_inactive_file 30\n"),
        ];
        let first = folder(root.path(), "first", &first);
        let second = [("memory.max", "100\n"), ("memory.swap.max", "0\n"), ("memory.current", "60\n")];
        let second = folder(root.path(), "second", &second);
        for group in [&first, &second] {
            let groups = std::slice::from_ref(group);
            let error = set_memory_limit(groups, Some(Bytes(59))).unwrap_err();
            assert!(error.class == FailureClass::Invalid && error.message.contains("has 60"), "{error}");
            assert!(set_memory_limit(groups, Some(Bytes(60))).unwrap());
        }
        let v1 = (says(&first, "memory.limit_in_bytes"), says(&first, "memory.memsw.limit_in_bytes"));
        assert_eq!(v1, ("60".to_owned(), "60".to_owned()));
        assert_eq!(says(&second, "memory.max"), "60");
        assert!(set_memory_limit(std::slice::from_ref(&second), None).unwrap());
        assert_eq!(says(&second, "memory.swap.max"), "max");
        assert!(!set_memory_limit(&[root.path().join("gone")], None).unwrap());
        let without = folder(root.path(), "without", &[]);
        assert!(set_memory_limit(std::slice::from_ref(&without), None).unwrap(), "there is no limit");
        assert_eq!(set_memory_limit(&[without], Some(Bytes(1))).unwrap_err().class, FailureClass::Invalid);
    }
}
