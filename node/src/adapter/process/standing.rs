//! What has become of an attempt, read from its folder; and the end of one that nobody watched to its end.

use std::io::ErrorKind;
use std::thread::sleep;
use std::time::{Duration, Instant};

use purser_events::pod::event::{Exit, ExitReason, FailureClass};
use rustix::process::{Signal, kill_process_group};

use super::cgroup;
use super::folder::Folder;
use super::identity;
use super::records::{Ending, Failure, Phase, State, now};

/// Longest wait for a shim that has begun to start a container to say what came of it.
const START_MAX: Duration = Duration::from_secs(20);
/// Longest wait for what was killed to be gone.
const KILL_MAX: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What an attempt's folder says.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// There is no such folder.
    Absent,
    /// There was a plan, and it never ran.
    Created,
    /// A shim is about to run it.
    Starting,
    /// It runs.
    Running(State),
    /// It ran and ended.
    Ended(State, Ending),
}

/// Looks at an attempt and, if its shim is gone without a word, ends it for good.
///
/// # Errors
/// The folder cannot be read or, for an attempt that has to be ended, written.
pub(super) fn look(folder: &Folder) -> Result<Found, Failure> {
    let failed = |error: std::io::Error| {
        Failure::runtime(format!(
            "failed to read the container's folder `{}`: {error}",
            folder.path().display()
        ))
    };
    let lock = match folder.try_lock() {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Absent),
        Err(error) => return Err(failed(error)),
    };
    // Read after the lock was tried: who held it then may have ended since, but not the other way round.
    if let Some(ending) = folder.ending().map_err(failed)? {
        return match (ending.exit.reason, folder.state().map_err(failed)?) {
            (ExitReason::StartError, _) | (_, None) => Ok(Found::Created),
            (_, Some(state)) => Ok(Found::Ended(state, ending)),
        };
    }
    match (lock, folder.state().map_err(failed)?) {
        (None, Some(state)) if state.phase == Phase::Running => Ok(Found::Running(state)),
        (None, _) => Ok(Found::Starting),
        (Some(_), None) => Ok(Found::Created),
        (Some(lock), Some(state)) => {
            let ending = end_unwatched(folder, &state);
            folder.write_ending(&ending).map_err(failed)?;
            drop(lock);
            Ok(Found::Ended(state, ending))
        }
    }
}

/// As [`look`], but waits until an attempt that is being started has been.
///
/// # Errors
/// As [`look`]; and a start that takes too long.
pub(super) fn look_settled(folder: &Folder) -> Result<Found, Failure> {
    let begun = Instant::now();
    loop {
        match look(folder)? {
            Found::Starting if begun.elapsed() < START_MAX => sleep(LOOK_INTERVAL),
            Found::Starting => {
                let message = format!("the container did not start within {} s", START_MAX.as_secs());
                return Err(Failure { class: FailureClass::Unavailable, message });
            }
            settled => return Ok(settled),
        }
    }
}

/// Kills what a dead shim left behind. How it would have ended, nobody will know.
fn end_unwatched(folder: &Folder, state: &State) -> Ending {
    let group = i32::try_from(state.main.host_pid).ok().and_then(rustix::process::Pid::from_raw);
    // Its group's number is its own pid: only as long as it lives is it sure that no other group has it.
    if let (true, Some(group)) = (identity::lives(&state.main), group) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let mut oom_kills = 0;
    if let Ok(Some(plan)) = folder.plan() {
        oom_kills = cgroup::oom_kills(&plan.cgroups);
        let begun = Instant::now();
        cgroup::kill_all(&plan.cgroups);
        // It must not run beside the next attempt.
        while begun.elapsed() < KILL_MAX
            && (identity::lives(&state.main) || !cgroup::members(&plan.cgroups).is_empty())
        {
            sleep(LOOK_INTERVAL);
            cgroup::kill_all(&plan.cgroups);
        }
    }
    Ending { exit: lost(), oom_kills }
}

/// How something ended that nobody saw end; 137 as in Kubernetes.
pub(super) fn lost() -> Exit {
    Exit { code: 137, reason: ExitReason::Lost, finished_at: now() }
}
