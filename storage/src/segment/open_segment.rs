//! The segment that takes what is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use purser_events::{Seq, Timestamp};
use sha2::{Digest, Sha256};

use super::entry;
use super::footer::{self, Footer, MARK_INTERVAL, Mark};
use super::{HEADER_LEN, SegmentHeader, file_name, folder};
use crate::ballast::is_full;
use crate::disk::{Disk, DiskFile};
use crate::evidence::Newest;
use crate::folder::{FolderError, io_error};
use crate::verify::Head;

/// Bytes that are hashed at a time when a segment is sealed.
const HASH_LEN: usize = 256 << 10;

/// Bytes that are written before they are hashed, while the segment is open.
const HASH_STEP: u64 = 1 << 20;

/// Fewest and most zeros that are written ahead at a time, in bytes. The commit that they go with waits for them, and for
/// 1 MiB far more than in proportion.
const ZEROS_MIN: u64 = 64 << 10;
const ZEROS_MAX: u64 = 384 << 10;
/// As many as are written at once: kernels find room for larger pieces less easily.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What is tried when a segment gets its room.
const MAKE_ROOM: &str = "make room for";

/// An open segment; owned by the thread that writes.
pub(crate) struct OpenSegment {
    pub(crate) path: PathBuf,
    file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
    /// Where the next entry goes.
    end: u64,
    /// Up to where the disk holds room for it.
    allocated: u64,
    /// Up to where zeros were written.
    zeroed: u64,
    hashed: Arc<Mutex<Hashed>>,
    /// Up to where hashing was asked for.
    hash_asked: u64,
    /// Bytes after the end that a stop tore off and that are still there.
    torn: u64,
    /// Whether it does not say yet who opened it.
    hardly_begun: bool,
    contents: Contents,
}

/// Bytes that are left free at the end of a segment for its footer.
pub(crate) const FOOTER_RESERVE: u64 = 64 << 10;

/// What is in a segment so far.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    last: Head,
    epoch: u64,
    first_time: Option<Timestamp>,
    last_time: Timestamp,
    marks: Vec<Mark>,
}

impl Contents {
    pub(crate) fn new(header: &SegmentHeader) -> Contents {
        Contents {
            last: header.before,
            epoch: header.epoch,
            first_time: None,
            last_time: header.created,
            marks: vec![Mark { seq: header.first(), at: HEADER_LEN as u64 }],
        }
    }

    pub(crate) fn last(&self) -> Head {
        self.last
    }

    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Takes notice of a record, or of an opening, by its epoch.
    pub(crate) fn note_epoch(&mut self, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
    }

    pub(crate) fn note_record(&mut self, last: Head, time: Timestamp) {
        self.last = last;
        self.first_time.get_or_insert(time);
        self.last_time = time;
    }

    /// Takes notice that a group begins at a place.
    pub(crate) fn note_group(&mut self, at: u64) {
        let due = self.marks.last().is_none_or(|mark| mark.at + MARK_INTERVAL <= at);
        if due {
            self.marks.push(Mark { seq: self.last.seq.next(), at });
        }
    }

    fn footer(&self, content: [u8; 32]) -> Footer {
        Footer {
            last: self.last,
            first_time: self.first_time.unwrap_or(self.last_time),
            last_time: self.last_time,
            epoch: self.epoch,
            content,
            marks: self.marks.clone(),
        }
    }
}

/// What a sealing left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub path: PathBuf,
    pub first: Seq,
    pub footer: Footer,
    /// Length of the file.
    pub bytes: u64,
}

impl OpenSegment {
    /// Makes a segment with so many bytes of room, durable before anything is written to it. If there is no room for
    /// it, nothing is left of it, see [`is_no_room`].
    pub(crate) fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        header: SegmentHeader,
        room: u64,
    ) -> Result<OpenSegment, FolderError> {
        let path = folder(dir).join(file_name(header.first()));
        let failed = |error| io_error("create", &path, error);
        let file = disk.create(&path).map_err(|error| io_error(MAKE_ROOM, &path, error))?;
        if let Err(error) = file.allocate(room) {
            if is_full(&error) {
                disk.remove(&path).map_err(failed)?;
            }
            return Err(io_error(MAKE_ROOM, &path, error));
        }
        file.write_all_at(&header.encode(), 0).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        disk.sync_dir(&folder(dir)).map_err(failed)?;
        OpenSegment::resume(path, file, header, Contents::new(&header), HEADER_LEN as u64)
    }

    /// Goes on with a segment that ends at `end`.
    pub(crate) fn resume(
        path: PathBuf,
        file: Box<dyn DiskFile>,
        header: SegmentHeader,
        contents: Contents,
        end: u64,
    ) -> Result<OpenSegment, FolderError> {
        let allocated = file.len().map_err(|error| io_error("measure", &path, error))?;
        let (file, hashed) = (Arc::from(file), Arc::default());
        let (zeroed, hash_asked) = (end, 0);
        let (torn, hardly_begun) = (0, false);
        Ok(OpenSegment {
            path,
            file,
            header,
            end,
            allocated,
            zeroed,
            hashed,
            hash_asked,
            torn,
            hardly_begun,
            contents,
        })
    }

    /// Bytes after the end that a stop tore off.
    pub(crate) fn torn(&self) -> u64 {
        self.torn
    }

    /// Takes notice of what a stop left: bytes after the end, or a segment whose beginning is not whole.
    pub(crate) fn left_by_stop(self, torn: u64, hardly_begun: bool) -> OpenSegment {
        OpenSegment { torn, hardly_begun, ..self }
    }

    /// Whether a stop came before it said who opened it: the newest evidence may be missing in it.
    pub(crate) fn is_hardly_begun(&self) -> bool {
        self.hardly_begun
    }

    /// Cuts away what a stop tore off. Only once it is known that nothing of it was acknowledged.
    pub(crate) fn cut_torn(&mut self) -> Result<(), FolderError> {
        if self.torn == 0 {
            return Ok(());
        }
        tracing::warn!(segment = %self.path.display(), bytes = self.torn, "what a stop tore off is cut away");
        let failed = |error| io_error("recover", &self.path, error);
        // When it is lengthened again, that is zeros: nothing of the torn bytes can come back later.
        self.file.set_len(self.end).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        (self.allocated, self.torn) = (self.end, 0);
        Ok(())
    }

    /// Where the next entry goes.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Sees to it that so many bytes and a footer have room on the disk, and takes `step` bytes more at once if that
    /// is missing. If there is no room for it, nothing has changed, see [`is_no_room`].
    pub(crate) fn make_room(&mut self, len: usize, step: u64) -> Result<(), FolderError> {
        let needed = self.end + len as u64 + FOOTER_RESERVE;
        if needed > self.allocated {
            let room = needed + step;
            self.file.allocate(room).map_err(|error| io_error(MAKE_ROOM, &self.path, error))?;
            self.allocated = room;
        }
        Ok(())
    }

    /// Writes a group's bytes, for which there should be room; they are not durable yet. `last` is its last record
    /// with its time, if it has one.
    pub(crate) fn write(&mut self, bytes: &[u8], last: Option<(Head, Timestamp)>) -> Result<(), FolderError> {
        let next = self.end + bytes.len() as u64;
        self.zero_ahead(next)?;
        self.file.write_all_at(bytes, self.end).map_err(|error| io_error("write", &self.path, error))?;
        self.contents.note_group(self.end);
        if let Some((head, time)) = last {
            self.contents.note_record(head, time);
        }
        self.end = next;
        Ok(())
    }

    /// Writes zeros where what comes next will be, if an entry goes beyond those that are there. To write to room that
    /// was never written costs the file system a transaction of its own with the sync; this way there is one for many
    /// commits. What is synced is no different: room that was not written reads as zeros too.
    fn zero_ahead(&mut self, next: u64) -> Result<(), FolderError> {
        if next <= self.zeroed {
            return Ok(());
        }
        // A segment that grows slowly takes little; one that is written fast takes much at once.
        let step = self.end.next_power_of_two().clamp(ZEROS_MIN, ZEROS_MAX);
        let upto = (next + step).min(self.allocated);
        self.zeroed = next;
        while self.zeroed < upto {
            // To the end of a piece, so that every later one begins where a page does.
            let piece = ZEROS.len() as u64;
            let len = (piece - self.zeroed % piece).min(upto - self.zeroed);
            let zeros = ZEROS.get(..usize::try_from(len).unwrap_or(ZEROS.len())).unwrap_or(&ZEROS);
            self.file
                .write_all_at(zeros, self.zeroed)
                .map_err(|error| io_error("write", &self.path, error))?;
            self.zeroed += zeros.len() as u64;
        }
        Ok(())
    }

    /// What is to be done so that less has to be hashed when it is sealed; none if that is not worth the while yet.
    pub(crate) fn hash_ahead(&mut self) -> Option<impl FnOnce() + Send + 'static> {
        if self.end < self.hash_asked + HASH_STEP {
            return None;
        }
        self.hash_asked = self.end;
        let (file, hashed, upto) = (Arc::clone(&self.file), Arc::clone(&self.hashed), self.end);
        Some(move || {
            // Sealing meets the error again, and tells of it.
            let _ = lock(&hashed).go_on(&*file, upto);
        })
    }

    /// Begins a new segment with the newest evidence, durable before anything follows it.
    pub(crate) fn carry(&mut self, newest: &Newest) -> Result<(), FolderError> {
        let mut bytes = Vec::new();
        for evidence in newest.to_evidence() {
            let begins_group = bytes.is_empty();
            entry::put_evidence(&mut bytes, begins_group, &evidence);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.write(&bytes, None)?;
        self.sync()
    }

    pub(crate) fn note_epoch(&mut self, epoch: u64) {
        self.contents.note_epoch(epoch);
    }

    /// Makes durable what was written. Never called again after an error: the kernel may have dropped the pages
    /// and report success.
    pub(crate) fn sync(&self) -> Result<(), FolderError> {
        self.file.sync_data().map_err(|error| io_error("sync", &self.path, error))
    }

    /// Adds the footer, gives back the room that was not needed, and makes it durable. Nothing is added after.
    pub(crate) fn seal(self) -> Result<Sealed, FolderError> {
        let content = self.hash()?;
        let footer = self.contents.footer(content);
        let mut bytes = Vec::new();
        entry::put_footer(&mut bytes, &footer);
        bytes.extend_from_slice(&footer::trailer(self.end));
        let failed = |error| io_error("seal", &self.path, error);
        self.file.write_all_at(&bytes, self.end).map_err(failed)?;
        let len = self.end + bytes.len() as u64;
        self.file.set_len(len).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        Ok(Sealed { path: self.path, first: self.header.first(), footer, bytes: len })
    }

    fn hash(&self) -> Result<[u8; 32], FolderError> {
        let mut hashed = lock(&self.hashed);
        hashed.go_on(&*self.file, self.end).map_err(|error| io_error("read", &self.path, error))?;
        // What was asked for and comes too late has nothing left to do.
        hashed.upto = u64::MAX;
        Ok(std::mem::take(&mut hashed.hash).finalize().into())
    }
}

/// Whether a segment was not made, or did not get longer, because the disk has no room for it.
pub(crate) fn is_no_room(error: &FolderError) -> bool {
    matches!(error, FolderError::Io { action: MAKE_ROOM, source, .. } if is_full(source))
}

/// SHA-256 of a file up to a place.
pub(crate) fn content_hash(path: &Path, file: &dyn DiskFile, end: u64) -> Result<[u8; 32], FolderError> {
    let mut hashed = Hashed::default();
    hashed.go_on(file, end).map_err(|error| io_error("read", path, error))?;
    Ok(hashed.hash.finalize().into())
}

/// The hash of a file's beginning.
#[derive(Default)]
struct Hashed {
    hash: Sha256,
    upto: u64,
}

impl Hashed {
    /// Goes on up to a place, unless it has come so far already.
    fn go_on(&mut self, file: &dyn DiskFile, upto: u64) -> io::Result<()> {
        let mut buffer = vec![0; HASH_LEN];
        while self.upto < upto {
            let len = usize::try_from(upto - self.upto).unwrap_or(HASH_LEN).min(HASH_LEN);
            let free = buffer.get_mut(..len).unwrap_or_default();
            let read = file.read_up_to(free, self.upto)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.hash.update(free.get(..read).unwrap_or_default());
            self.upto += read as u64;
        }
        Ok(())
    }
}

fn lock(hashed: &Mutex<Hashed>) -> MutexGuard<'_, Hashed> {
    // A panic in between ends the thread that writes, too.
    hashed.lock().unwrap_or_else(PoisonError::into_inner)
}
