//! Processes of the host, told apart by pid, start time and boot, so that a reused pid is never mistaken.

use std::fs;
use std::io::{Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use purser_events::worker::ProcessIdentity;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use uuid::Uuid;

/// Which boot of the host this is.
///
/// # Errors
/// `/proc` is not there or says something else.
pub(super) fn boot_id() -> std::io::Result<Uuid> {
    static BOOT_ID: OnceLock<Uuid> = OnceLock::new();
    if let Some(id) = BOOT_ID.get() {
        return Ok(*id);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let id = text.trim().parse().map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
    Ok(*BOOT_ID.get_or_init(|| id))
}

/// What `/proc/<pid>/stat` says of one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stat {
    pub(super) parent: u32,
    start_time_ticks: u64,
    /// It has ended and only waits to be collected.
    ended: bool,
    /// Processor time of its threads.
    pub(super) own_ticks: u64,
    /// Processor time of the children that it has collected, and of theirs.
    pub(super) collected_ticks: u64,
    /// Pages of memory that it holds.
    pub(super) resident_pages: u64,
}

/// Looks at a process: none if there is no such.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in parentheses and may itself contain any character: what counts is the last one.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        start_time_ticks: number(19)?,
        ended: matches!(*fields.first()?, "Z" | "X"),
        own_ticks: number(11)?.saturating_add(number(12)?),
        collected_ticks: number(13)?.saturating_add(number(14)?),
        resident_pages: number(21)?,
    })
}

/// Names the process that has this pid now.
///
/// # Errors
/// There is no such process.
pub(in crate::adapter) fn identify(pid: u32) -> std::io::Result<ProcessIdentity> {
    let stat = stat(pid).ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no process {pid}")))?;
    Ok(ProcessIdentity {
        host_pid: pid,
        start_time_ticks: stat.start_time_ticks,
        boot_id: boot_id()?,
        container_pid: pid,
    })
}

/// Whether this very process exists and has not ended.
pub(super) fn lives(process: &ProcessIdentity) -> bool {
    boot_id().is_ok_and(|boot| boot == process.boot_id)
        && stat(process.host_pid)
            .is_some_and(|stat| stat.start_time_ticks == process.start_time_ticks && !stat.ended)
}

/// A hold on this very process: none if it has ended.
///
/// # Errors
/// The kernel has no process file descriptors, or none to spare.
pub(super) fn hold(process: &ProcessIdentity) -> std::io::Result<Option<OwnedFd>> {
    let pid = i32::try_from(process.host_pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        // Checked after opening: from here on the descriptor cannot come to stand for another process.
        Ok(fd) => Ok(lives(process).then_some(fd)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sends a signal to this very process; that it has ended is fine.
///
/// # Errors
/// It is not ours to signal, or the kernel has no process file descriptors to spare.
pub(in crate::adapter) fn send(process: &ProcessIdentity, signal: Signal) -> std::io::Result<()> {
    let Some(fd) = hold(process)? else { return Ok(()) };
    match pidfd_send_signal(&fd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The living children of a process.
pub(super) fn children(parent: u32) -> Vec<u32> {
    let of_it = all().filter(|(_, stat)| stat.parent == parent && !stat.ended);
    of_it.map(|(pid, _)| pid).collect()
}

/// Every process of the host that this one can see.
pub(super) fn all() -> impl Iterator<Item = (u32, Stat)> {
    numbers(Path::new("/proc")).into_iter().filter_map(|pid| Some((pid, stat(pid)?)))
}

/// The names in a folder of `/proc` that are numbers, of processes or of threads; none if it is gone.
pub(super) fn numbers(folder: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_not_the_same_process() {
        let me = identify(std::process::id()).unwrap();
        assert!(lives(&me));
        assert!(hold(&me).unwrap().is_some());
        let before_me = ProcessIdentity { start_time_ticks: me.start_time_ticks - 1, ..me };
        let of_another_boot = ProcessIdentity { boot_id: Uuid::nil(), ..me };
        for other in [before_me, of_another_boot] {
            assert!(!lives(&other));
            assert!(hold(&other).unwrap().is_none());
            send(&other, Signal::KILL).expect("this process survives a signal to the one before it");
        }
    }
}
