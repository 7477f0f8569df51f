//! Waits for a change of the script without looking at it over and over: a driver that waits for a fault costs nothing, and
//! the stand-in must not cost in its place what would be measured as its caller's.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

use crate::place;

/// Time between two looks where the kernel does not tell of changes.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of what the kernel tells that are read at once.
const READ_LEN: usize = 4_096;

/// What the kernel tells of the script's folder.
pub(crate) struct Changes(Option<OwnedFd>);

impl Changes {
    /// Those of the script from now on.
    pub(crate) fn of_script() -> Changes {
        Changes(watch())
    }

    /// Forgets what was told until now.
    pub(crate) fn forget(&self) {
        let Some(told) = &self.0 else { return };
        let mut bytes = [0; READ_LEN];
        while rustix::io::read(told, &mut bytes).is_ok_and(|len| 0 < len) {}
    }

    /// Waits until there may have been a change, at most for this time.
    pub(crate) fn wait(&self, time: Duration) {
        let Some(told) = &self.0 else { return std::thread::sleep(time.min(LOOK)) };
        let mut asked = [PollFd::new(told.as_fd(), PollFlags::POLLIN)];
        // Rounded up: a wait of no time would be one after the other until the rest of a millisecond is over.
        let time_ms = time.as_millis().saturating_add(1);
        let time = PollTimeout::try_from(time_ms).unwrap_or(PollTimeout::MAX);
        // A wait that a signal ended is one that ended early: who waits looks and waits again.
        let _ = poll(&mut asked, time);
    }
}

/// A descriptor that tells of the folder: a script is replaced or written, and either way that is told of its folder.
fn watch() -> Option<OwnedFd> {
    let folder = place::script()?.parent()?;
    let told = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
    let changes =
        WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
    add_watch(&told, folder, changes).ok()?;
    Some(told)
}
