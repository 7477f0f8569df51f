//! Collects every child that ends: the tasks' programs, and whatever came to the agent as an orphan.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal as Notices, SignalKind, signal};
use tokio::sync::oneshot;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// The programs whose end somebody waits for. A program's group ends with it.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    awaited: RefCell<BTreeMap<i32, oneshot::Sender<Exit>>>,
}

impl Reaper {
    /// Has orphans below this process come to it, as they do to the first process of a container.
    ///
    /// # Errors
    /// Signals cannot be listened for.
    pub(super) fn listen() -> io::Result<Notices> {
        // Without it they go to whoever started the agent, and end with the pod.
        let _ = set_child_subreaper(true);
        signal(SignalKind::child())
    }

    /// Collects whenever a child has ended, for ever.
    pub(super) async fn run(&self, mut notices: Notices) {
        // A child may have ended before somebody listened.
        self.collect();
        while notices.recv().await.is_some() {
            self.collect();
        }
    }

    /// Has the end of a child be told. It must have been started in the same turn: nothing is collected in between.
    pub(super) fn await_end(&self, pid: Pid) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        self.awaited.borrow_mut().insert(pid.as_raw(), sender);
        receiver
    }

    fn collect(&self) {
        let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        loop {
            // Looked at first and left where it is, so that the number of its group stays its own.
            let (pid, exit) = match waitid(Id::All, ended | WaitPidFlag::WNOWAIT) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Exit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Signal(signal as i32)),
                Err(Errno::EINTR) => continue,
                Ok(_) | Err(_) => return,
            };
            let awaited = self.awaited.borrow_mut().remove(&pid.as_raw());
            if awaited.is_some() {
                let _ = killpg(pid, Signal::SIGKILL);
            }
            if waitid(Id::Pid(pid), ended).is_err() {
                return;
            }
            if let Some(awaited) = awaited {
                // Nobody waits any more for a program that was dropped.
                let _ = awaited.send(exit);
            }
        }
    }
}
