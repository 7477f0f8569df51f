//! What survives of a damaged journal: every record that can still be read, wherever it stands, and a new folder out of those
//! that follow on each other. Nothing gets another number or hash than it had.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use purser_events::{Seq, Timestamp};

use crate::disk::{Disk, DiskFile, SystemDisk};
use crate::evidence::{Evidence, Newest};
use crate::folder::{Folder, FolderError, HeadFile, io_error};
use crate::frame::{self, FRAME_LEN_MAX, PREFIX_LEN};
use crate::offline::Item;
use crate::record::StoredRecord;
use crate::segment::entry::{self, Entry};
use crate::segment::listing;
use crate::segment::open_segment::OpenSegment;
use crate::segment::{self, SegmentHeader};
use crate::verify::{Fault, Head};

/// Bytes of a new segment after which the next one begins.
const SEGMENT_LEN: u64 = 64 << 20;

/// Room that is taken at a time, in bytes.
const ROOM_LEN: u64 = 1 << 20;

/// Bytes that are written at once.
const WRITTEN_LEN: usize = 256 << 10;

/// Bytes that are read at once, many times the longest frame.
const READ_LEN: usize = 1 << 20;

/// Bytes that may be looked at in vain, beside so many times the file: what announces entry after entry and has none of
/// them would take years.
const VAIN_LEN_MAX: u64 = 4 << 30;
const VAIN_TIMES_MAX: u64 = 64;

/// Bytes that are passed over where a file cannot be read: the smallest unit in which disks lose data.
const UNREADABLE_LEN: usize = 512;

/// A journal's folder that is made out of records that survived.
pub struct Rebuilt {
    folder: Folder,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    open: Option<OpenSegment>,
    /// Whole commits that are not written yet.
    bytes: Vec<u8>,
    /// The last record in them.
    written: Option<(Head, Timestamp)>,
    /// A commit that is not whole yet.
    commit: Vec<u8>,
    commit_last: Option<(Head, Timestamp)>,
    head: Head,
    epoch: u64,
    newest: Newest,
}

impl Rebuilt {
    /// Begins a journal of what follows `before`, in a folder that is not there yet, or is empty.
    ///
    /// # Errors
    /// The folder has something in it, or cannot be made.
    pub fn begin(dir: &Path, before: Head) -> Result<Rebuilt, FolderError> {
        let folder = Folder::hold(dir)?;
        let segments = segment::folder(dir);
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        if !disk.is_absent(&segments) {
            return Err(FolderError::Foreign { dir: dir.to_owned(), reason: "a journal is in it already" });
        }
        disk.create_dir(&segments).map_err(|error| io_error("create", &segments, error))?;
        Ok(Rebuilt {
            folder,
            disk,
            dir: dir.to_owned(),
            open: None,
            bytes: Vec::new(),
            written: None,
            commit: Vec::new(),
            commit_last: None,
            head: before,
            epoch: 0,
            newest: Newest::default(),
        })
    }

    /// Adds the next record, which must have been verified to follow on the one before.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn record(&mut self, record: &StoredRecord) -> Result<(), FolderError> {
        self.epoch = self.epoch.max(record.header.epoch);
        let last = (Head { seq: record.header.seq, hash: record.hash }, record.header.time);
        if self.open.is_none() {
            self.begin_segment(last.1)?;
        }
        self.commit.extend_from_slice(record.as_bytes());
        self.commit_last = Some(last);
        if !record.continued {
            self.bytes.append(&mut self.commit);
            self.written = self.commit_last.take();
        }
        if WRITTEN_LEN <= self.bytes.len() {
            self.write()?;
        }
        Ok(())
    }

    /// Adds evidence for records before it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn evidence(&mut self, evidence: &Evidence) -> Result<(), FolderError> {
        // It never stands within a commit.
        self.write()?;
        self.newest.note(evidence.clone());
        let mut bytes = Vec::new();
        entry::put_evidence(&mut bytes, true, evidence);
        match &mut self.open {
            Some(open) => {
                open.make_room(bytes.len(), ROOM_LEN)?;
                open.write(&bytes, None)
            }
            // The first segment begins with it.
            None => Ok(()),
        }
    }

    /// Makes it all durable, and gives its last record: records of a commit that is not whole are not in it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn finish(mut self) -> Result<Head, FolderError> {
        self.write()?;
        if let Some(open) = self.open.take() {
            open.sync()?;
        }
        let segments = segment::folder(&self.dir);
        self.disk.sync_dir(&segments).map_err(|error| io_error("sync", &segments, error))?;
        HeadFile::open(&*self.disk, &self.dir)?.write(self.head)?;
        self.folder.sync_names(&*self.disk)?;
        Ok(self.head)
    }

    fn begin_segment(&mut self, created: Timestamp) -> Result<(), FolderError> {
        let header = SegmentHeader { before: self.head, epoch: self.epoch, created };
        let mut open = OpenSegment::create(&self.disk, &self.dir, header, ROOM_LEN)?;
        open.carry(&self.newest)?;
        self.open = Some(open);
        Ok(())
    }

    /// Writes the commits that are whole.
    fn write(&mut self) -> Result<(), FolderError> {
        let Some((head, time)) = self.written.take() else { return Ok(()) };
        if self.open.as_ref().is_some_and(|open| SEGMENT_LEN <= open.end()) {
            if let Some(full) = self.open.take() {
                full.seal()?;
            }
            self.begin_segment(time)?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.make_room(self.bytes.len(), ROOM_LEN)?;
        open.note_epoch(self.epoch);
        open.write(&self.bytes, Some((head, time)))?;
        self.bytes.clear();
        self.head = head;
        Ok(())
    }
}

/// The records and evidence in one file that can still be read, in the order in which they stand there. Of each no more is known than
/// that its bytes have the checksum that they were written with.
pub struct Survivors {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    /// Where the window begins in the file.
    window_at: u64,
    window: Vec<u8>,
    /// Where the next entry may begin in the window.
    next: usize,
    is_at_end: bool,
    /// Bytes that were looked at and are no entry's.
    vain: u64,
}

impl Survivors {
    /// Looks through a segment or an export.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn of(path: &Path) -> Result<Survivors, FolderError> {
        let file = listing::open(&SystemDisk, path, false)?;
        Ok(Survivors {
            file,
            path: path.to_owned(),
            window_at: 0,
            window: Vec::new(),
            next: 0,
            is_at_end: false,
            vain: 0,
        })
    }

    /// The next one; none at the end.
    ///
    /// # Errors
    /// The file cannot be measured, or too much in it only looks like entries; what of it cannot be read is passed over.
    pub fn next_survivor(&mut self) -> Result<Option<Item>, FolderError> {
        loop {
            if !self.is_at_end && self.window.len().saturating_sub(self.next) < FRAME_LEN_MAX {
                self.fill()?;
            }
            let Some(rest) = self.window.get(self.next..).filter(|rest| rest.len() > PREFIX_LEN) else {
                if self.is_at_end {
                    return Ok(None);
                }
                // What follows could not be read: on behind it.
                self.next = self.window.len();
                continue;
            };
            let bytes = rest
                .first_chunk()
                .and_then(|prefix| frame::announced_len(*prefix).ok())
                .and_then(|len| rest.get(..len));
            let Some(bytes) = bytes.filter(|bytes| bytes.len() > PREFIX_LEN) else {
                self.next += 1;
                continue;
            };
            match Entry::parse(bytes) {
                Ok(entry) => {
                    self.next += bytes.len();
                    match entry {
                        Entry::Record(record) => return Ok(Some(Item::Record(Box::new(record)))),
                        Entry::Evidence(evidence) => return Ok(Some(Item::Evidence(evidence))),
                        Entry::Answer(_) | Entry::Opened(_) | Entry::Closed | Entry::Footer(_) => {}
                    }
                }
                Err(_) => {
                    self.vain += bytes.len() as u64;
                    self.next += 1;
                    self.check_vain()?;
                }
            }
        }
    }

    fn check_vain(&self) -> Result<(), FolderError> {
        let passed = self.window_at + self.next as u64;
        if self.vain <= VAIN_LEN_MAX.saturating_add(passed.saturating_mul(VAIN_TIMES_MAX)) {
            return Ok(());
        }
        let error = io::Error::other("nearly every byte of it claims to begin a record, and none does");
        Err(io_error("look through", &self.path, error))
    }

    fn fill(&mut self) -> Result<(), FolderError> {
        self.window.drain(..self.next.min(self.window.len()));
        self.window_at += self.next as u64;
        self.next = 0;
        let len = self.file.len().map_err(|error| io_error("measure", &self.path, error))?;
        let mut step = READ_LEN;
        while self.window.len() < READ_LEN {
            let held = self.window.len();
            let at = self.window_at + held as u64;
            if len <= at {
                self.is_at_end = true;
                return Ok(());
            }
            self.window.resize(held + step.min(READ_LEN), 0);
            let read = self.file.read_up_to(self.window.get_mut(held..).unwrap_or_default(), at);
            self.window.truncate(held + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => {
                    self.is_at_end = true;
                    return Ok(());
                }
                Ok(_) => {}
                // A smaller piece may be fine.
                Err(_) if UNREADABLE_LEN < step => step = UNREADABLE_LEN,
                // What was read before it is looked through first.
                Err(_) if held > 0 => return Ok(()),
                Err(_) => self.window_at += UNREADABLE_LEN as u64,
            }
        }
        Ok(())
    }
}

/// Records that follow on each other behind a damage: each is checked against the one before, and the first is known by its
/// checksum alone.
#[derive(Debug)]
pub struct Run {
    verifier: crate::verify::Verifier,
}

impl Run {
    /// Begins behind a place that is known.
    #[must_use]
    pub fn after(head: Head) -> Run {
        Run { verifier: crate::verify::Verifier::after(head) }
    }

    /// Begins behind a record.
    #[must_use]
    pub fn behind(first: &StoredRecord) -> Run {
        Run::after(Head { seq: first.header.seq, hash: first.hash })
    }

    /// Whether a record is the next one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn follows(&mut self, record: &StoredRecord) -> Result<(), Fault> {
        self.verifier.check(record)
    }

    /// Its last record.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.verifier.head().seq
    }
}
