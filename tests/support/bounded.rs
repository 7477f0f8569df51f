//! Programs that are run to their end, but not for ever.

use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest that a program may take before a test gives it up: far more than any needs on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Runs a program to its end and gives back its output; nothing is on its standard input.
///
/// # Panics
/// It cannot be started, or has not ended within [`PATIENCE`]; it is killed then.
pub fn output(command: &mut Command) -> Output {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", name(command)));
    let pid = pid_of(&child);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || drop(sender.send(child.wait_with_output())));
    let Ok(output) = receiver.recv_timeout(PATIENCE) else {
        let _ = kill(pid, Signal::SIGKILL);
        panic!("{} has not ended within {} s", name(command), PATIENCE.as_secs());
    };
    output.expect("a child that was started can be waited for")
}

/// Waits until a child has ended.
///
/// # Panics
/// It has not within [`PATIENCE`]; it is killed then.
pub fn wait(child: &mut Child, what: &str) -> ExitStatus {
    let pid = pid_of(child);
    let (sender, receiver) = mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        // The sender is dropped as soon as the child has ended.
        if receiver.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let since = Instant::now();
    let status = child.wait().expect("a child that was started can be waited for");
    drop(sender);
    guard.join().expect("the guard does not panic");
    assert!(
        since.elapsed() < PATIENCE,
        "{what} has not ended within {} s and was killed",
        PATIENCE.as_secs()
    );
    status
}

/// Looks again and again until something is so that nothing announces, as the end of a foreign process.
///
/// # Panics
/// It is not so within [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not so within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The process id of a child.
#[must_use]
pub fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().expect("process ids fit in an i32"))
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}
