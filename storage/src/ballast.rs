//! The ballast: room on the disk that is held for the worst case. It is given up once the disk is so full that not
//! even what ends a pod could be recorded any more, and taken again when there is room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, Space};
use crate::error::AppendError;
use crate::folder::{FolderError, io_error};
use crate::segment::SegmentHeader;
use crate::segment::open_segment::{OpenSegment, is_no_room};
use crate::terms::Class;

const NAME: &str = "ballast";

/// Bytes of room that a segment takes on the disk at a time: what a start after a kill has to look through.
const STEP: u64 = 8 << 20;

/// The same on a disk that has not that much.
const STEP_MIN: u64 = 256 << 10;

/// Whether the ballast is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BallastStanding {
    /// None is asked for, or there was no room for it yet.
    Absent,
    /// It is there.
    Held,
    /// It was given up, and what is not of [`Class::Safety`] has to wait for room.
    GivenUp,
}

/// The file that holds room on the journal's disk.
pub(crate) struct Ballast {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    bytes: u64,
    standing: Mutex<BallastStanding>,
    sheds_observations: AtomicBool,
    /// Whether there was room for no more than [`Class::Safety`] when it was looked at last.
    was_shut: AtomicBool,
}

impl Ballast {
    /// Takes stock of a ballast of so many bytes; 0 for none. One of another length is removed.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf, bytes: u64) -> Result<Ballast, FolderError> {
        let path = dir.join(NAME);
        let standing = match disk.open(&path, false) {
            Ok(file) if bytes > 0 && file.len().is_ok_and(|len| len == bytes) => BallastStanding::Held,
            Ok(_) => {
                disk.remove(&path).map_err(|error| io_error("remove", &path, error))?;
                BallastStanding::Absent
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BallastStanding::Absent,
            Err(error) => return Err(io_error("open", &path, error)),
        };
        let [sheds_observations, was_shut] = [const { AtomicBool::new(false) }; 2];
        Ok(Ballast { disk, dir, bytes, standing: Mutex::new(standing), sheds_observations, was_shut })
    }

    pub(crate) fn standing(&self) -> BallastStanding {
        *self.lock()
    }

    /// Bytes that it has when it is there.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Has observations refused from now on, or taken again.
    pub(crate) fn shed_observations(&self, shed: bool) {
        self.sheds_observations.store(shed, Ordering::Relaxed);
    }

    /// Whether a class is refused as long as nothing changes.
    pub(crate) fn sheds(&self, class: Class) -> bool {
        class == Class::Observation && self.sheds_observations.load(Ordering::Relaxed)
    }

    /// Whether a class would be taken, as far as is known: who was refused last changes that when he asks again.
    pub(crate) fn has_room(&self, class: Class) -> bool {
        !self.sheds(class) && (class == Class::Safety || !self.was_shut.load(Ordering::Relaxed))
    }

    /// How much of the file system is used and left.
    pub(crate) fn space(&self) -> io::Result<Space> {
        self.disk.space(&self.dir)
    }

    /// Makes it, unless it is there or none is asked for; says whether it is there now. It is not made if the disk
    /// would then be used to `used_percent_max` or more.
    pub(crate) fn make(&self, used_percent_max: u8) -> Result<bool, FolderError> {
        // Held throughout, so that it is not given up half made.
        let mut standing = self.lock();
        if *standing == BallastStanding::Held || self.bytes == 0 {
            return Ok(*standing == BallastStanding::Held);
        }
        let path = self.dir.join(NAME);
        let failed = |error| io_error("make", &path, error);
        let after = self.space().map_err(failed)?.after(self.bytes);
        if after.available == 0 || after.used_percent() >= used_percent_max {
            return Ok(false);
        }
        // Left by a removal that failed.
        let _ = self.disk.remove(&path);
        let made = self.disk.create(&path).and_then(|file| file.allocate(self.bytes));
        if let Err(error) = made {
            let _ = self.disk.remove(&path);
            return if is_full(&error) { Ok(false) } else { Err(failed(error)) };
        }
        tracing::info!(ballast = %path.display(), bytes = self.bytes, "ballast made");
        *standing = BallastStanding::Held;
        Ok(true)
    }

    /// Gives the room back, if it is held; says whether it was.
    pub(crate) fn give_up(&self) -> bool {
        let mut standing = self.lock();
        if *standing != BallastStanding::Held {
            return false;
        }
        *standing = BallastStanding::GivenUp;
        let path = self.dir.join(NAME);
        match self.disk.remove(&path) {
            Ok(()) => {
                tracing::warn!(ballast = %path.display(), "the disk is full: ballast given up for what ends pods");
                true
            }
            Err(error) => {
                tracing::error!(ballast = %path.display(), %error, "failed to give up the ballast");
                false
            }
        }
    }

    /// Looks at the disk before something is written, and says who must not write now. If something of
    /// [`Class::Safety`] is to be written and there is little room, the ballast is given up.
    pub(crate) fn gate(&self, has_safety: bool) -> Gate {
        let standing = self.standing();
        let kept_free = match standing {
            BallastStanding::Absent => 0,
            BallastStanding::Held => self.bytes / 4,
            // As long as it is gone, the room that it gave is not for everyone.
            BallastStanding::GivenUp => self.bytes.saturating_add(self.bytes / 4),
        };
        // A disk that cannot be asked is taken for one with room: the write will tell.
        let shut = kept_free > 0 && self.space().is_ok_and(|space| space.available < kept_free);
        self.was_shut.store(shut, Ordering::Relaxed);
        if shut && has_safety {
            self.give_up();
        }
        Gate { shut }
    }

    /// Makes a segment with room for a start.
    pub(crate) fn make_segment(&self, dir: &Path, header: SegmentHeader) -> Result<OpenSegment, FolderError> {
        self.taking_room(|room| OpenSegment::create(&self.disk, dir, header, room))
    }

    /// Sees to it that a segment has room for so many bytes more, and for a footer.
    pub(crate) fn make_room(&self, segment: &mut OpenSegment, len: usize) -> Result<(), FolderError> {
        self.taking_room(|step| segment.make_room(len, step))
    }

    /// Has room taken, less of it if the disk has little, and if it has none for that, the ballast makes way. Only if
    /// that does not help either, it fails.
    fn taking_room<T>(&self, mut take: impl FnMut(u64) -> Result<T, FolderError>) -> Result<T, FolderError> {
        let mut taken = take(STEP);
        if no_room(&taken) {
            tracing::debug!(wanted = STEP, bytes = STEP_MIN, "the disk has little room for segments");
            taken = take(STEP_MIN);
        }
        if no_room(&taken) && self.give_up() {
            taken = take(STEP_MIN);
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, BallastStanding> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who may write now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gate {
    shut: bool,
}

impl Gate {
    /// Whether everybody may.
    pub(crate) fn is_open(self) -> bool {
        !self.shut
    }

    pub(crate) fn admit(self, class: Class) -> Result<(), AppendError> {
        match class {
            Class::Safety => Ok(()),
            Class::Lifecycle | Class::Observation if self.shut => Err(AppendError::NoRoom { class }),
            Class::Lifecycle | Class::Observation => Ok(()),
        }
    }
}

fn no_room<T>(taken: &Result<T, FolderError>) -> bool {
    taken.as_ref().is_err_and(is_no_room)
}

/// Whether the system says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::ENOSPC)
}
