//! The processors that a thread may run on, as the kernel's scheduler has them.

use std::io::{Error, ErrorKind};

use nix::errno::Errno;
use nix::sched::{self, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use purser_actors::port::RuntimeError;
use purser_events::CpuSet;
use purser_events::pod::event::FailureClass;

/// The processors that a thread may run on: none if there is no such thread.
///
/// # Errors
/// The kernel has more processors than can be told.
pub(super) fn of(thread: Pid) -> std::io::Result<Option<CpuSet>> {
    match sched_getaffinity(thread) {
        Ok(held) => {
            let numbers = (0..sched::CpuSet::count()).filter(|cpu| held.is_set(*cpu).unwrap_or(false));
            Ok(Some(numbers.filter_map(|cpu| u16::try_from(cpu).ok()).collect()))
        }
        Err(Errno::ESRCH) => Ok(None),
        Err(error) => Err(Error::other(format!("failed to ask which processors it may run on: {error}"))),
    }
}

/// The processors that this program may run on, as it was started.
///
/// # Errors
/// As [`of`].
pub(super) fn own() -> std::io::Result<CpuSet> {
    // The first thread has the number of the process.
    Ok(of(Pid::this())?.unwrap_or_default())
}

/// Lets a thread run on these processors alone; says whether there is such a thread.
///
/// # Errors
/// `InvalidInput`: none of them can be had here. Other kinds: the thread is another user's.
pub(super) fn set(thread: Pid, cpus: &CpuSet) -> std::io::Result<bool> {
    let mut wanted = sched::CpuSet::new();
    for cpu in cpus.iter() {
        wanted.set(usize::from(cpu)).map_err(|_| {
            let max = sched::CpuSet::count() - 1;
            let message =
                format!("processor {cpu} is more than {max}, the highest that a thread can be given");
            Error::new(ErrorKind::InvalidInput, message)
        })?;
    }
    match sched_setaffinity(thread, &wanted) {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(Errno::EINVAL) => {
            let message = format!("none of the processors `{cpus}` can be had here");
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
        Err(error) => Err(Error::other(format!("failed to set the processors `{cpus}`: {error}"))),
    }
}

/// Refuses a set without processors: nothing could run on it.
///
/// # Errors
/// There is none in it.
pub(super) fn refuse_none(cpus: &CpuSet) -> Result<(), RuntimeError> {
    if cpus.is_empty() {
        let message = "a container needs at least one processor";
        return Err(RuntimeError::new(FailureClass::Invalid, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_runs_where_it_was_told() {
        let before = own().unwrap();
        let first: CpuSet = before.iter().take(1).collect();
        // A thread of its own: the others of this program keep theirs.
        let held = std::thread::spawn(move || {
            let me = nix::unistd::gettid();
            assert!(set(me, &first).unwrap());
            (of(me).unwrap(), first)
        });
        let (held, first) = held.join().unwrap();
        assert_eq!(held, Some(first));
        assert_eq!(own().unwrap(), before);
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let me = nix::unistd::gettid();
        let error = set(me, &[1_023].into_iter().collect()).unwrap_err();
        assert!(error.to_string().contains("`1023` can be had"), "{error}");
        let error = set(me, &[4_000].into_iter().collect()).unwrap_err();
        assert!(error.to_string().contains("processor 4000 is more than 1023"), "{error}");
        assert!(!set(Pid::from_raw(i32::MAX), &own().unwrap()).unwrap());
        assert_eq!(of(Pid::from_raw(i32::MAX)).unwrap(), None);
    }
}
