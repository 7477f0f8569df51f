//! From a folder to a journal that can be written.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use purser_events::{Seq, Timestamp};

use crate::answers::AnswerOrder;
use crate::ballast::Ballast;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::evidence::Newest;
use crate::folder::{Folder, FolderError, HeadFile, io_error};
use crate::found::{Found, StoreFound};
use crate::index;
use crate::journal::JournalConfig;
use crate::open::{Passed, Replayed, damaged, hash_of};
use crate::published::Published;
use crate::sealer::exchange::Exchange;
use crate::segment::entry::{self, Opened};
use crate::segment::open_segment::OpenSegment;
use crate::segment::set::{Loaded, Segments};
use crate::segment::{self, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SegmentHeader};
use crate::snapshot::{Restored, SnapshotThread, Snapshots, restore_newest};
use crate::store::{Store, Stores};
use crate::store_thread::StoreThread;
use crate::subjects::SubjectKeys;
use crate::trust::{self, Ground};
use crate::unsynced::Unsynced;
use crate::verify::Head;
use crate::writer::{OnCommit, Writer};

/// Who is told of the records.
pub(crate) struct Watched<'a> {
    /// What the journal holds from before.
    pub replay: &'a mut dyn FnMut(Replayed),
    /// What is committed.
    pub on_commit: OnCommit,
    /// The same projection, to be put away and taken out again.
    pub snapshots: Option<Box<dyn Snapshots>>,
}

/// Opens a journal up to where its writer can run.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    stores: &dyn Stores,
    config: &JournalConfig,
    keys: Option<&SubjectKeys>,
    now: Box<dyn Fn() -> Timestamp + Send>,
    watched: Watched<'_>,
) -> Result<Writer, JournalError> {
    let Watched { replay, on_commit, mut snapshots } = watched;
    let dir = &config.dir;
    let folder = Folder::hold(dir)?;
    let known = HeadFile::read(&*disk, dir)?;
    make_segments_folder(&*disk, dir)?;
    let loaded = Segments::load(disk, dir, true).map_err(|error| damaged(dir, error))?;
    let Loaded { segments, open, unmade, before, head, epoch, opened: opened_before, closed, newest, .. } =
        loaded;
    let segments = Arc::new(segments);
    let ballast = Ballast::open(Arc::clone(segments.disk()), dir.clone(), config.ballast_bytes)?;
    let same_boot = opened_before
        .is_some_and(|opened| !opened.boot_id.is_nil() && Some(opened.boot_id) == config.boot_id);
    // First, so that a journal that only a newer release can open is left as it is.
    let restored = restore(dir, &segments, before, head, snapshots.as_deref_mut())?;
    // A close in order is not enough: sled writes on while it is dropped and opened, and syncs nothing of that.
    let trusted = trusted_store(stores, dir, &segments, before, head, same_boot)?;
    let at = now();
    let ground = Ground { config, segments: &segments, keys, known, before, restored: &restored, now: at };
    folder.sync_names(&**segments.disk())?;
    let (Trusted { store, found: store_found, .. }, passed) = bring_up(&ground, stores, trusted, replay)?;
    let from = restored.head.unwrap_or(before);
    let Passed { head, epoch: newest_epoch, streams, answers } = passed;
    let epoch = epoch.max(newest_epoch).saturating_add(1);
    let opened = Opened { epoch, boot_id: config.boot_id.unwrap_or_default(), at };
    remove_unmade(segments.disk().as_ref(), &unmade)?;
    let found = Found {
        closed: closed || opened_before.is_none(),
        torn_bytes: open.as_ref().map_or(0, OpenSegment::torn),
        snapshot: restored.head.map(|restored| restored.seq),
        store: store_found,
    };
    let segment = begin(&segments, &ballast, open, (head, known), opened, &newest)?;
    let known_snapshots = Arc::new(Mutex::new(restored.sound));
    let start = |snapshots| {
        let since = head.seq.0.saturating_sub(from.seq.0);
        SnapshotThread::start(&segments, snapshots, config.snapshot_every, since, known_snapshots.clone())
    };
    let published = Arc::new(Published::new(head, answers.next));
    let store_thread = StoreThread::start(Arc::clone(&store), Arc::clone(&published), config)?;
    Ok(Writer {
        found,
        snapshots: snapshots.filter(|_| config.snapshot_every > 0).map(start).transpose()?,
        known_snapshots,
        base_streams: restored.streams.into_iter().map(|(stream, end)| (stream, end.version)).collect(),
        segment: Some(segment),
        exchange: Arc::new(Exchange::new(newest)),
        head_file: HeadFile::open(&**segments.disk(), dir)?,
        segments,
        ballast: Arc::new(ballast),
        unsynced: Unsynced::default(),
        lazy_wait: Duration::from_millis(config.lazy_ms_max),
        segment_bytes: config.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
        segment_age_ms: config.segment_age_ms,
        store_thread,
        store,
        _folder: folder,
        codec: config.codec,
        now,
        on_commit,
        head,
        epoch,
        opened,
        streams: streams.into_iter().collect(),
        published,
        answers,
        recent_answers: VecDeque::new(),
    })
}

/// What the newest snapshot of this journal holds, if there is one that can be used.
fn restore(
    dir: &Path,
    segments: &Arc<Segments>,
    before: Head,
    head: Head,
    snapshots: Option<&mut (dyn Snapshots + 'static)>,
) -> Result<Restored, JournalError> {
    let is_ours = |snapshot: Head| {
        Ok(snapshot.seq <= head.seq && hash_of(dir, segments, before, snapshot.seq)? == Some(snapshot))
    };
    let is_trimmed = before != Head::GENESIS;
    let restored = match snapshots {
        Some(snapshots) => restore_newest(&**segments.disk(), dir, snapshots, &is_ours, is_trimmed)?,
        None => Restored::default(),
    };
    if restored.head.is_some() || !is_trimmed {
        return Ok(restored);
    }
    let trimmed = JournalError::Trimmed { dir: dir.to_owned(), before: before.seq };
    Err(match (restored.newer, restored.unread) {
        (Some((found, known)), _) => JournalError::NewerSnapshot { dir: dir.to_owned(), found, known },
        (None, Some(error)) => JournalError::Folder(error),
        (None, None) => trimmed,
    })
}

fn make_segments_folder(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    let path = segment::folder(dir);
    disk.create_dir(&path).map_err(|error| io_error("create", &path, error))?;
    disk.sync_dir(dir).map_err(|error| io_error("sync", dir, error))?;
    Ok(())
}

pub(crate) fn remove_unmade(disk: &dyn Disk, unmade: &[PathBuf]) -> Result<(), FolderError> {
    for path in unmade {
        tracing::warn!(segment = %path.display(), "a segment whose making was cut short is made again");
        disk.remove(path).map_err(|error| io_error("remove", path, error))?;
    }
    Ok(())
}

/// A store that agrees with the segments.
struct Trusted {
    store: Arc<dyn Store>,
    /// How far it has come; none if it is empty.
    applied: Option<Head>,
    found: StoreFound,
}

/// A store and how far it has come: the one that is there if the segments agree with it, or else an empty one.
fn trusted_store(
    stores: &dyn Stores,
    dir: &Path,
    segments: &Arc<Segments>,
    before: Head,
    head: Head,
    trust: bool,
) -> Result<Trusted, JournalError> {
    if !trust {
        // Not even opened: sled panics over what a loss of power leaves of it.
        let is_new = head == before;
        if !is_new {
            tracing::warn!(
                "the store may have lost a part with the host and is made again from the segments"
            );
        }
        stores.set_aside()?;
        let found = if is_new { StoreFound::Kept } else { StoreFound::MadeAgain };
        return Ok(Trusted { store: stores.open()?, applied: None, found });
    }
    let store = stores.open()?;
    let claimed = index::applied(&*store);
    if matches!(claimed, Ok(None)) && index::is_empty(&*store).unwrap_or(false) {
        let found = if head == before { StoreFound::Kept } else { StoreFound::MadeAgain };
        return Ok(Trusted { store, applied: None, found });
    }
    if let Ok(Some(applied)) = claimed
        && applied.seq <= head.seq
        // Segments that were put back are unknown to a store that has given them up.
        && index::trimmed(&*store).is_ok_and(|trimmed| trimmed <= before.seq)
        && hash_of(dir, segments, before, applied.seq)? == Some(applied)
        && index::begins(&*store).is_ok_and(|begins| begins <= applied.seq)
        && AnswerOrder::load(&*store, 0).is_ok()
    {
        let found = if applied == head { StoreFound::Kept } else { StoreFound::CaughtUp };
        return Ok(Trusted { store, applied: Some(applied), found });
    }
    Ok(Trusted { store: store_anew(stores, store)?, applied: None, found: StoreFound::MadeAgain })
}

/// Brings the store up to the segments, and hands on the records after the snapshot. A store that says something else of
/// their streams, or of the snapshot's, is made again.
fn bring_up(
    ground: &Ground<'_>,
    stores: &dyn Stores,
    mut trusted: Trusted,
    replay: &mut dyn FnMut(Replayed),
) -> Result<(Trusted, Passed), JournalError> {
    let store = &*trusted.store;
    let applied = trusted.applied.map_or_else(|| ground.begin(store), Ok)?;
    let from = ground.restored.head.unwrap_or(ground.before);
    let mut passed = ground.pass(store, applied, from, replay)?;
    let before = ground.before.seq;
    if !index::agrees(store, &passed.streams)
        || !trust::keeps(store, &ground.restored.streams, &passed.streams, before)?
    {
        // Some damage makes a store forget a part and say nothing.
        let store = store_anew(stores, trusted.store)?;
        passed = ground.pass(&*store, ground.begin(&*store)?, passed.head, &mut |_| {})?;
        trusted = Trusted { store, applied: None, found: StoreFound::MadeAgain };
    }
    Ok((trusted, passed))
}

/// An empty store in place of one that cannot be trusted.
fn store_anew(stores: &dyn Stores, store: Arc<dyn Store>) -> Result<Arc<dyn Store>, JournalError> {
    tracing::warn!(store = store.name(), "the store cannot be trusted and is made again from the segments");
    drop(store);
    stores.set_aside()?;
    stores.open()
}

/// Goes on with the open segment, to which it may have to carry the newest evidence, or with a new one, and notes in it
/// that the journal was opened. Records up to `known` were acknowledged.
fn begin(
    segments: &Segments,
    ballast: &Ballast,
    open: Option<OpenSegment>,
    (head, known): (Head, Option<Head>),
    opened: Opened,
    newest: &Newest,
) -> Result<OpenSegment, JournalError> {
    // Nothing may come after what is not durable itself.
    segments.sync_last(known.map_or(Seq::ZERO, |known| known.seq))?;
    let mut segment = match open {
        Some(mut segment) => {
            segment.cut_torn()?;
            if segment.is_hardly_begun() {
                segment.carry(newest)?;
            }
            segment
        }
        None => {
            let header = SegmentHeader { before: head, epoch: opened.epoch, created: opened.at };
            let mut segment = ballast.make_segment(segments.dir(), header)?;
            segment.carry(newest)?;
            segment
        }
    };
    segments.note_open(segment.header.first(), segment.path.clone(), segment.contents().marks());
    segment.note_epoch(opened.epoch);
    let mut bytes = Vec::new();
    entry::put_opened(&mut bytes, &opened);
    ballast.make_room(&mut segment, bytes.len())?;
    segment.write(&bytes, None)?;
    segment.sync()?;
    Ok(segment)
}
