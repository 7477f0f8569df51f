//! From a folder to a journal that can be written.

use std::path::Path;
use std::sync::Arc;

use purser_events::Timestamp;
use uuid::Uuid;

use crate::ballast::Ballast;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::folder::{Folder, HeadFile, io_error};
use crate::index;
use crate::journal::JournalConfig;
use crate::open::{Pass, Passed, Replayed, damaged, hash_of};
use crate::segment::entry::{self, Opened};
use crate::segment::open_segment::OpenSegment;
use crate::segment::set::{Loaded, Segments};
use crate::segment::{self, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SegmentHeader};
use crate::store::{Store, Stores};
use crate::store_thread::StoreThread;
use crate::unsynced::Unsynced;
use crate::verify::Head;
use crate::writer::{OnCommit, Published, Writer};

/// Opens a journal up to where its writer can run.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    stores: &dyn Stores,
    config: &JournalConfig,
    now: Box<dyn Fn() -> Timestamp + Send>,
    replay: &mut dyn FnMut(Replayed),
    on_commit: OnCommit,
) -> Result<Writer, JournalError> {
    let dir = &config.dir;
    let folder = Folder::hold(dir)?;
    let known = HeadFile::read(dir)?;
    make_segments_folder(&*disk, dir)?;
    let loaded = Segments::load(disk, dir, true).map_err(|error| damaged(dir, error))?;
    let Loaded { segments, open, before, head, epoch, opened, closed } = loaded;
    let segments = Arc::new(segments);
    let ballast = Ballast::open(Arc::clone(segments.disk()), dir.clone(), config.ballast_bytes)?;
    if before != Head::GENESIS {
        return Err(JournalError::Trimmed { dir: dir.clone(), before: before.seq });
    }
    let same_boot =
        opened.is_some_and(|opened| !opened.boot_id.is_nil() && Some(opened.boot_id) == config.boot_id);
    let trust = closed || same_boot;
    let (store, applied) = trusted_store(stores, dir, &segments, before, head, trust)?;
    let pass = Pass { dir, segments: &segments, store: &*store, applied, restored: before, known };
    folder.sync_names()?;
    let Passed { head, epoch: newest, streams, answers } = pass.run(replay)?;
    let boot_id = config.boot_id.unwrap_or_else(Uuid::nil);
    let at = now();
    let opened = Opened { epoch: epoch.max(newest).saturating_add(1), boot_id, at };
    let segment_bytes = config.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    let segment = begin(&segments, &ballast, open, head, opened, segment_bytes)?;
    Ok(Writer {
        segment: Some(segment),
        segments,
        ballast: Arc::new(ballast),
        unsynced: Unsynced::default(),
        segment_bytes,
        segment_age_ms: config.segment_age_ms,
        store_thread: StoreThread::start(Arc::clone(&store))?,
        store,
        head_file: HeadFile::open(&folder)?,
        _folder: folder,
        codec: config.codec,
        now,
        on_commit,
        head,
        epoch: opened.epoch,
        opened,
        streams,
        published: Arc::new(Published::new(head, answers.next)),
        answers,
    })
}

fn make_segments_folder(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    let path = segment::folder(dir);
    disk.create_dir(&path).map_err(|error| io_error("create", &path, error))?;
    disk.sync_dir(dir).map_err(|error| io_error("sync", dir, error))?;
    Ok(())
}

/// A store and how far it has come: the one that is there if the segments agree with it, or else an empty one.
fn trusted_store(
    stores: &dyn Stores,
    dir: &Path,
    segments: &Arc<Segments>,
    before: Head,
    head: Head,
    trust: bool,
) -> Result<(Arc<dyn Store>, Head), JournalError> {
    let store = stores.open()?;
    let claimed = index::applied(&*store);
    let is_new = matches!(claimed, Ok(None));
    if is_new {
        return Ok((store, before));
    }
    if trust
        && let Ok(Some(applied)) = claimed
        && applied.seq <= head.seq
        && hash_of(dir, segments, before, applied.seq)? == Some(applied)
    {
        return Ok((store, applied));
    }
    tracing::warn!(store = store.name(), "the store cannot be trusted and is made again from the segments");
    drop(store);
    stores.set_aside()?;
    Ok((stores.open()?, before))
}

/// Goes on with the open segment, or with a new one, and notes in it that the journal was opened.
fn begin(
    segments: &Segments,
    ballast: &Ballast,
    open: Option<OpenSegment>,
    head: Head,
    opened: Opened,
    segment_bytes: u64,
) -> Result<OpenSegment, JournalError> {
    let mut segment = match open {
        Some(segment) => segment,
        None => {
            let header = SegmentHeader { before: head, epoch: opened.epoch, created: opened.at };
            ballast.make_segment(segments.dir(), header, segment_bytes)?
        }
    };
    segments.note_open(segment.header.first(), segment.path.clone());
    segment.note_epoch(opened.epoch);
    let mut bytes = Vec::new();
    entry::put_opened(&mut bytes, &opened);
    segment.write(&bytes, None)?;
    segment.sync()?;
    Ok(segment)
}
