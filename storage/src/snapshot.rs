//! Snapshots: what a projection was at a record, so that the next start need not fold everything before it.
//!
//! A cache as long as the records are there: one that is damaged, of a newer layout, of another journal, or that is
//! not read as it was put away, is left out, and the one before it or the whole journal is folded instead. Once the
//! first records are gone, it is the only way in: then what can be read of it counts.

pub mod at_rest;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use purser_events::{Record, Seq, StreamId, StreamVersion, Timestamp};

use crate::disk::Disk;
use crate::error::JournalError;
use crate::folder::{FolderError, io_error};
use crate::frame::{self, Hash};
use crate::journal::{Journal, JournalConfig};
use crate::open::Replayed;
use crate::opening::Watched;
use crate::segment::set::Segments;
use crate::store::Stores;
use crate::verify::Head;

/// Why a projection could not be captured or restored.
pub type SnapshotError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the bytes of a projection as it was when this was made.
pub type Capture = Box<dyn FnOnce() -> Result<Vec<u8>, SnapshotError> + Send>;

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamEnd {
    /// Version of its last record.
    pub version: StreamVersion,
    /// Where in the journal that record is, or was.
    pub seq: Seq,
}

/// Streams with their last records.
pub type Streams = BTreeMap<StreamId, StreamEnd>;

/// A projection that can be put away and taken out again.
pub trait Snapshots: Send {
    /// Number of the layout of its bytes. Older ones can be restored, newer ones cannot.
    fn layout(&self) -> u32;

    /// Takes hold of the projection as it is; called between two commits, on the thread that writes, so briefly.
    fn capture(&self) -> Capture;

    /// Becomes what was captured, and gives the last records of the streams that can still be written: they may be in
    /// no segment any more. A store that says otherwise of them is made again.
    ///
    /// # Errors
    /// The bytes are not what a capture gave, or are read as something else than was put away while the records are
    /// there to be folded again; the projection is then as it was.
    fn restore(&mut self, stored: &StoredSnapshot<'_>) -> Result<Streams, SnapshotError>;
}

/// A snapshot that is sound, as it was put away.
#[derive(Debug, Clone, Copy)]
pub struct StoredSnapshot<'a> {
    /// Number of the layout of its bytes: that of today, or an older one.
    pub layout: u32,
    /// The last record that is folded in.
    pub seq: Seq,
    /// What a capture gave.
    pub body: &'a [u8],
    /// Whether nothing else can tell what it says: the first records are gone, and no snapshot is read as it was put
    /// away.
    pub is_only_way: bool,
}

impl Journal {
    /// As [`Journal::open_with_snapshots`], with segments and snapshots on another disk and another store behind them.
    ///
    /// # Errors
    /// As for [`Journal::open`].
    pub fn open_on_with_snapshots(
        disk: Arc<dyn Disk>,
        stores: &dyn Stores,
        config: JournalConfig,
        now: impl Fn() -> Timestamp + Send + 'static,
        mut replay: impl FnMut(Replayed),
        on_commit: impl FnMut(&[Record]) + Send + 'static,
        snapshots: impl Snapshots + 'static,
    ) -> Result<Journal, JournalError> {
        let snapshots: Option<Box<dyn Snapshots>> = Some(Box::new(snapshots));
        let watched = Watched { replay: &mut replay, on_commit: Box::new(on_commit), snapshots };
        Journal::start(disk, stores, config, Box::new(now), watched)
    }
}

/// Snapshots kept.
const KEPT: usize = 2;

/// Longest snapshot that is read, in bytes.
const BODY_LEN_MAX: usize = 1 << 30;

const MAGIC: [u8; 8] = *b"PURSERN\n";
const FORMAT: u16 = 1;
const HEADER_LEN: usize = 100;
const EXTENSION: &str = "snap";

/// Where the snapshots of a journal in `dir` are.
pub(crate) fn folder(dir: &Path) -> PathBuf {
    dir.join("snapshots")
}

fn file_name(seq: Seq) -> String {
    format!("{:020}.{EXTENSION}", seq.0)
}

fn encode_header(head: Head, layout: u32, body: &[u8]) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[12..16].copy_from_slice(&layout.to_le_bytes());
    bytes[16..24].copy_from_slice(&head.seq.0.to_le_bytes());
    bytes[24..56].copy_from_slice(&head.hash);
    bytes[56..64].copy_from_slice(&(body.len() as u64).to_le_bytes());
    bytes[64..96].copy_from_slice(&frame::sha256(body));
    let checksum = crc32c::crc32c(&bytes[..HEADER_LEN - 4]);
    bytes[HEADER_LEN - 4..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Why a snapshot's file cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Damaged(&'static str),
    #[error("a newer release wrote it: it has layout {found}, this one knows up to {known}")]
    Newer { found: u32, known: u32 },
}

/// What a file holds.
struct Decoded<'a> {
    head: Head,
    layout: u32,
    body: &'a [u8],
}

/// Reads a snapshot's file, of this layout or an older one.
fn decode(bytes: &[u8], known: u32) -> Result<Decoded<'_>, Unusable> {
    let damaged = |what| Err(Unusable::Damaged(what));
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return damaged("it is cut short");
    };
    let (fields, checksum) = header.split_at(HEADER_LEN - 4);
    if header[..8] != MAGIC {
        return damaged("it is no snapshot");
    }
    if crc32c::crc32c(fields).to_le_bytes() != checksum {
        return damaged("its header is damaged");
    }
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| header[at + byte]));
    let found = u32::from_le_bytes(std::array::from_fn(|byte| header[12 + byte]));
    if u16::from_le_bytes([header[8], header[9]]) > FORMAT || found > known {
        return Err(Unusable::Newer { found, known });
    }
    let body_hash: Hash = std::array::from_fn(|byte| header[64 + byte]);
    if number(56) != body.len() as u64 || frame::sha256(body) != body_hash {
        return damaged("its body is damaged");
    }
    let hash = std::array::from_fn(|byte| header[24 + byte]);
    Ok(Decoded { head: Head { seq: Seq(number(16)), hash }, layout: found, body })
}

/// What was restored at the start.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// The record that the projection has come to; none if it begins from nothing.
    pub head: Option<Head>,
    pub streams: Streams,
    /// Snapshots that look sound, oldest first.
    pub sound: Vec<Sound>,
    /// The layout of a snapshot that only a newer release can read, and the newest that this one knows.
    pub newer: Option<(u32, u32)>,
    /// Why one could not be read, if that is so.
    pub unread: Option<FolderError>,
}

/// Restores the newest snapshot that is sound and of a record for which `is_ours` holds. If none is read as it was put
/// away and `is_only_way`, what can be read of the newest counts.
pub(crate) fn restore_newest(
    disk: &dyn Disk,
    dir: &Path,
    snapshots: &mut dyn Snapshots,
    is_ours: &dyn Fn(Head) -> Result<bool, JournalError>,
    is_only_way: bool,
) -> Result<Restored, JournalError> {
    let restored = restore_as(disk, dir, snapshots, is_ours, false)?;
    if restored.head.is_none() && is_only_way {
        return restore_as(disk, dir, snapshots, is_ours, true);
    }
    Ok(restored)
}

fn restore_as(
    disk: &dyn Disk,
    dir: &Path,
    snapshots: &mut dyn Snapshots,
    is_ours: &dyn Fn(Head) -> Result<bool, JournalError>,
    is_only_way: bool,
) -> Result<Restored, JournalError> {
    let mut restored = Restored::default();
    let paths = list(disk, dir).unwrap_or_else(|error| {
        tracing::warn!(%error, "snapshots cannot be listed: everything is folded instead");
        restored.unread = Some(error);
        Vec::new()
    });
    for path in paths {
        let reason = match read(disk, &path) {
            Ok(bytes) => restored.try_one(&bytes.unwrap_or_default(), snapshots, is_ours, is_only_way)?,
            Err(error) => {
                let reason = error.to_string();
                restored.unread = Some(error);
                Err(reason.into())
            }
        };
        if let Err(reason) = reason {
            tracing::warn!(snapshot = %path.display(), %reason, "a snapshot cannot be used: more is folded instead");
        }
    }
    restored.sound.reverse();
    Ok(restored)
}

impl Restored {
    fn try_one(
        &mut self,
        bytes: &[u8],
        snapshots: &mut dyn Snapshots,
        is_ours: &dyn Fn(Head) -> Result<bool, JournalError>,
        is_only_way: bool,
    ) -> Result<Result<(), SnapshotError>, JournalError> {
        let Decoded { head, layout, body } = match decode(bytes, snapshots.layout()) {
            Ok(decoded) => decoded,
            Err(reason) => {
                if let Unusable::Newer { found, known } = reason {
                    self.newer = Some((found, known));
                }
                return Ok(Err(reason.into()));
            }
        };
        if !is_ours(head)? {
            return Ok(Err("it is of a record that this journal does not have".into()));
        }
        if self.head.is_none() {
            match snapshots.restore(&StoredSnapshot { layout, seq: head.seq, body, is_only_way }) {
                Ok(streams) => (self.head, self.streams) = (Some(head), streams),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        self.sound.push(Sound { head, is_durable: false });
        Ok(Ok(()))
    }
}

/// Every snapshot's file, the newest first.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let mut paths = files(disk, &folder(dir))?;
    paths.retain(|path| path.extension() == Some(OsStr::new(EXTENSION)));
    paths.sort_unstable_by(|a, b| b.cmp(a));
    Ok(paths)
}

/// Every file in a folder, in no order; none if it is absent.
fn files(disk: &dyn Disk, folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    match disk.names(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io_error("list", folder, error)),
        Ok(names) => Ok(names.into_iter().map(|name| folder.join(name)).collect()),
    }
}

/// The records that there are snapshots of, oldest first; whether they are sound is not looked at.
pub(crate) fn positions(disk: &dyn Disk, dir: &Path) -> Result<Vec<Seq>, FolderError> {
    let position = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok().map(Seq);
    Ok(list(disk, dir)?.iter().rev().filter_map(position).collect())
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, FolderError> {
    disk.read_small(path, BODY_LEN_MAX).map_err(|error| io_error("read", path, error))
}

/// Writes a snapshot so that it is there whole or not at all, and removes those that are too many.
fn write(disk: &dyn Disk, dir: &Path, head: Head, layout: u32, body: &[u8]) -> Result<(), FolderError> {
    let folder = folder(dir);
    disk.create_dir(&folder).map_err(|error| io_error("create", &folder, error))?;
    let (path, new) = (folder.join(file_name(head.seq)), folder.join("new"));
    let put = disk.replace_by_parts(&path, &new, &[&encode_header(head, layout, body), body]);
    put.and_then(|()| disk.sync_dir(dir)).map_err(|error| io_error("write", &path, error))?;
    for old in list(disk, dir)?.into_iter().skip(KEPT) {
        disk.remove(&old).map_err(|error| io_error("remove", &old, error))?;
    }
    Ok(())
}

/// Writes a snapshot's file once more, so that it is on the disk with its name.
fn write_again(disk: &dyn Disk, dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let put = disk.replace_by_parts(path, &folder(dir).join("again"), &[bytes]);
    put.map_err(|error| io_error("write", path, error))?;
    disk.sync_dir(dir).map_err(|error| io_error("sync", dir, error))
}

/// Removes every snapshot but a sound one of `kept`, and what was being written. False, and nothing is removed, if
/// there is no sound one of it and `may_go` does not allow to be left without.
pub(crate) fn keep_only(disk: &dyn Disk, dir: &Path, kept: Head, may_go: bool) -> Result<bool, FolderError> {
    let folder = folder(dir);
    let kept_path = folder.join(file_name(kept.seq));
    let sound = read(disk, &kept_path)?.filter(|bytes| {
        let layout = bytes.get(12..16).and_then(|layout| layout.try_into().ok()).map(u32::from_le_bytes);
        decode(bytes, layout.unwrap_or_default()).is_ok_and(|decoded| decoded.head == kept)
    });
    let is_sound = sound.is_some();
    match sound {
        // The others go for good: it must be on the disk, see [`Sound::is_durable`].
        Some(bytes) => write_again(disk, dir, &kept_path, &bytes)?,
        None if !may_go => return Ok(false),
        None => {}
    }
    let files = files(disk, &folder)?;
    if files.is_empty() {
        return Ok(true);
    }
    for path in files.iter().filter(|path| !is_sound || **path != kept_path) {
        disk.remove(path).map_err(|error| io_error("remove", path, error))?;
    }
    disk.sync_dir(&folder).map_err(|error| io_error("sync", &folder, error))?;
    Ok(true)
}

/// A snapshot that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sound {
    /// The record that it is of.
    pub head: Head,
    /// Whether it is known to be on the disk. One that an earlier process left can be read, and still be lost with the
    /// power: that process may have been stopped before the file's name was synced, or its sync may have failed.
    pub is_durable: bool,
}

/// The snapshots that are there, oldest first.
pub(crate) type Known = Arc<Mutex<Vec<Sound>>>;

/// Sees to it that every snapshot known is on the disk, by writing it again where that is not sure: before records go
/// that only a snapshot tells of.
///
/// # Errors
/// One cannot be read or written.
pub(crate) fn make_durable(disk: &dyn Disk, dir: &Path, known: &Known) -> Result<(), FolderError> {
    let unsure: Vec<Head> = {
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|it| !it.is_durable).map(|it| it.head).collect()
    };
    for head in unsure {
        let path = folder(dir).join(file_name(head.seq));
        // One that was too many has gone meanwhile.
        if let Some(bytes) = read(disk, &path)? {
            write_again(disk, dir, &path, &bytes)?;
        }
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter_mut().filter(|it| it.head == head).for_each(|it| it.is_durable = true);
    }
    Ok(())
}

/// Writes snapshots on a thread of its own, one at a time.
pub(crate) struct SnapshotThread {
    snapshots: Box<dyn Snapshots>,
    every: u64,
    since: u64,
    /// None only while it is dropped.
    jobs: Option<SyncSender<(Head, u32, Capture)>>,
    thread: Option<JoinHandle<()>>,
}

impl SnapshotThread {
    /// Takes a snapshot every so many records; `since` were folded after the last one.
    pub(crate) fn start(
        segments: &Segments,
        snapshots: Box<dyn Snapshots>,
        every: u64,
        since: u64,
        known: Known,
    ) -> Result<SnapshotThread, JournalError> {
        let (jobs, waiting) = sync_channel::<(Head, u32, Capture)>(1);
        let (disk, dir) = (Arc::clone(segments.disk()), segments.dir().to_owned());
        let run = move || {
            for (head, layout, capture) in waiting {
                match take(&*disk, &dir, head, layout, capture) {
                    Ok(()) => note(&known, head),
                    // Only the next start gets slower.
                    Err(error) => tracing::warn!(error = &*error, seq = %head.seq, "no snapshot was written"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("journal-snapshot".to_owned()).spawn(run);
        let thread = Some(thread.map_err(JournalError::Thread)?);
        Ok(SnapshotThread { snapshots, every, since, jobs: Some(jobs), thread })
    }

    /// Takes notice of a commit of so many records that ended with `head`.
    pub(crate) fn committed(&mut self, records: usize, head: Head) {
        self.since += records as u64;
        if self.since >= self.every {
            self.take(head);
        }
    }

    /// Takes a last one if anything was committed since the last. It waits for those before: without it the next start
    /// would fold what this one could have put away.
    pub(crate) fn close(self, head: Head) {
        if self.since > 0
            && let Some(jobs) = &self.jobs
        {
            // It cannot be handed over only where the thread panicked, which its hook has told.
            let _ = jobs.send((head, self.snapshots.layout(), self.snapshots.capture()));
        }
    }

    fn take(&mut self, head: Head) {
        let job = (head, self.snapshots.layout(), self.snapshots.capture());
        match self.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => self.since = 0,
            // The one before is still being written: some records later there is another try.
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => {
                self.since = self.every / 2;
            }
        }
    }
}

impl Drop for SnapshotThread {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            // It panics only by a defect, which its hook has told.
            let _ = thread.join();
        }
    }
}

fn take(disk: &dyn Disk, dir: &Path, head: Head, layout: u32, capture: Capture) -> Result<(), SnapshotError> {
    Ok(write(disk, dir, head, layout, &capture()?)?)
}

fn note(known: &Known, head: Head) {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.push(Sound { head, is_durable: true });
    let extra = known.len().saturating_sub(KEPT);
    known.drain(..extra);
}
