//! Processes of a task that have left its group, or that an agent before this one has not seen the end of. Each process of
//! a task has a mark in its environment, which its children inherit.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uuid::Uuid;

use super::protocol::Grip;

/// The variable that marks a task's processes.
pub(super) const MARK: &str = "PURSER_ASSIGNMENT";

/// Most rounds: a process that starts others faster than they are found ends with the pod.
const ROUNDS_MAX: usize = 20;

/// The mark of an assignment's processes. The agent's session is in it: beside it another pool's agent may run, with a task
/// of the same id.
pub(super) fn mark_of(session: Uuid, grip: Grip) -> String {
    format!("{session}.{}.{}", grip.task, grip.token)
}

/// Kills all that has one of these marks. It can take long where there are many processes: not for the agent's own thread.
pub(super) fn kill_marked(marks: &[String]) {
    let wanted: Vec<Vec<u8>> = marks.iter().map(|mark| format!("{MARK}={mark}").into_bytes()).collect();
    if wanted.is_empty() {
        return;
    }
    for _ in 0..ROUNDS_MAX {
        let found: Vec<Pid> = processes().into_iter().filter(|pid| is_marked(*pid, &wanted)).collect();
        if found.is_empty() {
            return;
        }
        for pid in found {
            // It may have ended meanwhile, or be another user's after `sudo`.
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::yield_now();
    }
}

fn processes() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number > 1).map(Pid::from_raw).collect()
}

/// Whether a process lives and has a mark: the environment of one that only waits to be collected is empty.
fn is_marked(pid: Pid, wanted: &[Vec<u8>]) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    environment.split(|byte| *byte == 0).any(|variable| wanted.iter().any(|mark| mark == variable))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_what_is_marked_is_killed() {
        let sleeper = |mark: &str| {
            let mut command = Command::new("sleep");
            command.arg("600").env(MARK, mark).stdout(Stdio::null()).process_group(0).spawn().unwrap()
        };
        // Of this run alone: tests run beside each other.
        let own = std::process::id();
        let (mut marked, mut other) = (sleeper(&format!("{own}.1")), sleeper(&format!("{own}.11")));
        // A child has its environment once it runs its program.
        let is_up =
            |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it.starts_with(b"sleep"));
        while !(is_up(marked.id()) && is_up(other.id())) {
            std::thread::yield_now();
        }
        kill_marked(&[format!("{own}.1")]);
        assert_eq!(marked.wait().unwrap().signal(), Some(9));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
