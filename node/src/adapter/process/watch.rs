//! Waiting for processes that are not children, without a thread or a timer for each.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::time::Duration;

use purser_events::worker::ProcessIdentity;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::identity;

/// Time between two looks where the kernel gives no process file descriptor.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Returns once this very process has ended; at once if it has.
pub(super) async fn ended(process: &ProcessIdentity) {
    let held = match identity::hold(process) {
        Ok(None) => return,
        Ok(Some(fd)) => register(fd),
        Err(error) => Err(error),
    };
    match held {
        // The descriptor becomes readable when the process ends and stays so.
        Ok(fd) => drop(fd.readable().await),
        Err(error) => {
            let old_kernel = error.kind() == ErrorKind::Unsupported;
            tracing::warn!(%error, old_kernel, "waiting for a process by looking again and again");
            while identity::lives(process) {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe because the descriptor might be closed early: an owned one is not"
)]
fn register(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
