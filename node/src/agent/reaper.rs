//! Collects every child that ends: the tasks' programs, and whatever came to the agent as an orphan.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use nix::sys::prctl::set_child_subreaper;
use nix::unistd::Pid;
use rustix::process::{
    Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, wait, waitid, waitpid,
};
use tokio::signal::unix::{Signal as Notices, SignalKind, signal};
use tokio::sync::oneshot;

/// Looks whether a process has ended, and leaves it to be collected.
const ENDED: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOWAIT).union(WaitIdOptions::NOHANG);

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
        let awaited: Vec<i32> = self.awaited.borrow().keys().copied().collect();
        for number in awaited {
            let Some(pid) = rustix::process::Pid::from_raw(number) else { continue };
            // Looked at first and left where it is, so that the number of its group stays its own.
            if let Ok(Some(status)) = waitid(WaitId::Pid(pid), ENDED) {
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
                self.tell(number, exit_of(status.exit_status(), status.terminating_signal()));
            }
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            // An orphan, or a program that has ended in this very moment.
            self.tell(pid.as_raw_nonzero().get(), exit_of(status.exit_status(), status.terminating_signal()));
        }
    }

    fn tell(&self, number: i32, exit: Exit) {
        let awaited = self.awaited.borrow_mut().remove(&number);
        // Nobody waits any more for a program that was dropped.
        let _ = awaited.map(|awaited| awaited.send(exit));
    }
}

fn exit_of(code: Option<i32>, signal: Option<i32>) -> Exit {
    signal.map_or(Exit::Code(code.unwrap_or(255)), Exit::Signal)
}
