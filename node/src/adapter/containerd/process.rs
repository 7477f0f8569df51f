//! Which process of the host a container's main process is.

use std::path::Path;

use purser_events::worker::ProcessIdentity;
use uuid::Uuid;

use crate::adapter::stat::{innermost_pid, start_time_ticks};

/// Reads what tells a process from every other; none if it is gone.
pub(super) fn identify(host_pid: u32) -> Option<ProcessIdentity> {
    let folder = Path::new("/proc").join(host_pid.to_string());
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    let status = std::fs::read_to_string(folder.join("status")).ok()?;
    let start_time_ticks = start_time_ticks(&stat)?;
    let container_pid = innermost_pid(&status).unwrap_or(host_pid);
    Some(ProcessIdentity { host_pid, start_time_ticks, boot_id: boot_id()?, container_pid })
}

fn boot_id() -> Option<Uuid> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_itself() {
        let me = identify(std::process::id()).unwrap();
        assert_eq!(identify(std::process::id()), Some(me));
        assert_eq!(identify(u32::MAX), None);
    }
}
