//! Which process of the host a container's main process is.

use std::path::Path;

use purser_events::worker::ProcessIdentity;
use uuid::Uuid;

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

/// Field 22 of `/proc/<pid>/stat`. The second field is the program's name and may hold spaces and brackets.
fn start_time_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn innermost_pid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_call_itself_anything() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("42 (a) R 1 (b)) {}", fields.join(" "));
        assert_eq!(start_time_ticks(&stat), Some(22));
    }

    #[test]
    fn the_innermost_namespace_names_the_container_pid() {
        assert_eq!(innermost_pid("Name:\tsh\nNSpid:\t28007\t1\n"), Some(1));
        assert_eq!(innermost_pid("Name:\tsh\n"), None);
    }

    #[test]
    fn this_process_is_itself() {
        let me = identify(std::process::id()).unwrap();
        assert_eq!(identify(std::process::id()), Some(me));
        assert_eq!(identify(u32::MAX), None);
    }
}
