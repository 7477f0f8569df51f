//! Worlds that were put away while a journal was folded, so that the next question about a moment folds only what came
//! after the last of them. They lie in a folder that the user names, never beside the journal.
//!
//! A cache: one that is damaged, of another release, or that is not read as it was put away, is left out. That it is of this
//! very journal is told by the record after it, which must continue the hash of its last record. That nothing of it was
//! redacted since is told by the segments that it was made from: a redaction writes them anew.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use purser_events::node::NodeEvent;
use purser_events::view::World;
use purser_events::{Event, Seq, Timestamp};
use purser_storage::offline::{Mark, SealedSegment};
use purser_storage::{Hash, Head, StoredRecord};
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::fold::{Folded, Until};
use crate::render;
use crate::source::{Opened, Place};

/// Records between two worlds that are put away.
const EVERY: u64 = 50_000;

/// Number of the layout below.
const LAYOUT: u32 = 2;

/// Most bytes of what stands in front of a world.
const FRONT_LEN_MAX: u64 = 64 << 20;

/// Most bytes of a world.
const WORLD_LEN_MAX: u64 = 1 << 30;

const EXTENSION: &str = "world";

/// What stands in front of a world: a line of JSON, with the world's JSON behind it, all of it compressed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Front {
    layout: u32,
    seq: Seq,
    hash: Hash,
    /// The time of its last record.
    time: Option<Timestamp>,
    /// The latest time until then.
    latest: Timestamp,
    /// Digest of the world: what is read must be what was put away, to the last field.
    digest: String,
    /// The segments that it was made from.
    segments: Vec<Made>,
}

/// A segment that a world was made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Made {
    first: Seq,
    /// What was in it; none if it was open.
    content: Option<Hash>,
}

/// A folder of them.
#[derive(Debug)]
pub(crate) struct Snapshots {
    dir: PathBuf,
    /// The latest time of the records that were folded.
    latest: Timestamp,
    /// Those that are not of the journal as it is now, by their last records: they go once that is certain.
    outdated: BTreeSet<(Seq, Hash)>,
    /// What was trimmed of the segments that the first of the worlds was made from.
    trimmed: Vec<Made>,
}

/// The segments that are there.
pub(crate) struct Present {
    /// The first record.
    begins: Seq,
    sealed: Vec<SealedSegment>,
}

impl Present {
    pub(crate) fn of(source: &Opened) -> Present {
        Present { begins: source.before().seq.next(), sealed: source.segments() }
    }

    /// Those that records up to one are in.
    fn upto(&self, seq: Seq) -> Vec<Made> {
        let sealed = self.sealed.iter().take_while(|segment| segment.first <= seq);
        let mut made: Vec<Made> =
            sealed.map(|segment| Made { first: segment.first, content: Some(segment.content) }).collect();
        let open = self.sealed.last().map_or(self.begins, |last| last.last.next());
        if open <= seq {
            made.push(Made { first: open, content: None });
        }
        made
    }
}

/// Where a fold begins: with what came after the mark.
pub(crate) struct Begin {
    pub(crate) folded: Folded,
    pub(crate) first: StoredRecord,
    pub(crate) source: Opened,
    pub(crate) present: Present,
}

impl Snapshots {
    /// Those in a folder; it is made when the first is put away.
    pub(crate) fn of(dir: &Path) -> Snapshots {
        Snapshots {
            dir: dir.to_owned(),
            latest: Timestamp(i64::MIN),
            outdated: BTreeSet::new(),
            trimmed: Vec::new(),
        }
    }

    /// The newest that is of before a moment and of the journal as it is, with the record after it, which vouches for it; of
    /// the moment itself there would be none.
    pub(crate) fn before(&mut self, at: Option<Until>, place: &Place) -> Result<Option<Begin>, Failure> {
        let limit = match at {
            Some(Until::Seq(seq)) => seq,
            Some(Until::Time(_)) | None => Seq(u64::MAX),
        };
        let mut known: Vec<(Seq, PathBuf)> =
            self.list().into_iter().filter(|(seq, _)| *seq < limit).collect();
        known.sort();
        let is_before = |front: &Front| match at {
            Some(Until::Time(time)) => front.latest <= time,
            Some(Until::Seq(_)) | None => true,
        };
        for (seq, path) in known.iter().rev() {
            let Some((front, world)) = open(*seq, path) else { continue };
            if !is_before(&front) {
                continue;
            }
            let head = Head { seq: front.seq, hash: front.hash };
            let mark = Mark { head, export: None };
            let mut source = place.open_after(&mark)?;
            let present = Present::of(&source);
            let stands = match front.standing(&present) {
                Standing::Same => true,
                Standing::Other => false,
                Standing::Unknown => !has_redacted(place, &mark, &front, path)?,
            };
            if !stands {
                self.outdated.insert((front.seq, front.hash));
                continue;
            }
            // Without a record after it, with one of another journal, or with one further on because what is between them is
            // trimmed, everything is folded.
            let Some(Ok(first)) = source
                .next()
                .filter(|first| first.as_ref().is_ok_and(|first| first.header.seq == front.seq.next()))
            else {
                return Ok(None);
            };
            if let Some(world) = front.world(world) {
                self.latest = front.latest;
                let trimmed = front.segments.iter().filter(|made| made.first < present.begins);
                self.trimmed = trimmed.cloned().collect();
                let folded = Folded { world, time: front.time, ..Folded::default() };
                return Ok(Some(Begin { folded, first, source, present }));
            }
        }
        Ok(None)
    }

    /// Takes notice of a record that was folded, and puts the world away if it is time to.
    pub(crate) fn note(
        &mut self,
        time: Timestamp,
        head: Head,
        folded: &Folded,
        present: &Present,
    ) -> Result<(), Failure> {
        self.latest = self.latest.max(time);
        if !head.seq.0.is_multiple_of(EVERY) {
            return Ok(());
        }
        let world = &folded.world;
        let path = self.dir.join(format!("{:020}.{EXTENSION}", head.seq.0));
        let failed = |source| Failure::Open { path: path.clone(), source };
        // What could not be read now may be read another time, with the keys or by another release.
        let is_whole = folded.exit == Exit::Ok && world.withheld.is_empty();
        if !is_whole || world.head != head.seq {
            // It is of this journal, and has what was redacted since.
            if self.outdated.contains(&(head.seq, head.hash)) {
                fs::remove_file(&path).map_err(failed)?;
            }
            return Ok(());
        }
        let Head { seq, hash } = head;
        let digest = render::hex(&world.digest());
        let (layout, time, latest) = (LAYOUT, folded.time, self.latest);
        let segments = self.trimmed.iter().cloned().chain(present.upto(seq)).collect();
        let front = Front { layout, seq, hash, time, latest, digest, segments };
        let mut json = serde_json::to_vec(&front).map_err(|error| failed(error.into()))?;
        json.push(b'\n');
        serde_json::to_writer(&mut json, world).map_err(|error| failed(error.into()))?;
        fs::create_dir_all(&self.dir).map_err(failed)?;
        let bytes = zstd::bulk::compress(&json, 1).map_err(failed)?;
        // Whole or not there: another may read meanwhile. One that is there may be damaged, or another journal's.
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn list(&self) -> Vec<(Seq, PathBuf)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let known = entries.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
        known.filter_map(|path| Some((Seq(path.file_stem()?.to_str()?.parse().ok()?), path))).collect()
    }
}

/// Whether a world is what the journal as it is now would give.
enum Standing {
    /// It was made from the same bytes.
    Same,
    /// Some of these were written anew, or may have been.
    Other,
    /// Some of these are no longer there.
    Unknown,
}

impl Front {
    fn standing(&self, present: &Present) -> Standing {
        let (mut is_trimmed, mut is_sealed_since) = (false, false);
        for made in &self.segments {
            let now = present.sealed.iter().find(|segment| segment.first == made.first);
            match (now.map(|segment| segment.content), made.content) {
                (None, _) if made.first < present.begins => is_trimmed = true,
                // Still open: a redaction seals it first.
                (None, None) => {}
                (Some(_), None) => is_sealed_since = true,
                (Some(now), Some(then)) if now == then => {}
                (Some(_) | None, Some(_)) => return Standing::Other,
            }
        }
        match (is_trimmed, is_sealed_since) {
            (true, _) => Standing::Unknown,
            // It is made again, and then names what is in it.
            (false, true) => Standing::Other,
            (false, false) => Standing::Same,
        }
    }

    /// The world behind it, if it is what was put away.
    fn world(&self, mut behind: impl Read) -> Option<World> {
        let world: World = serde_json::from_reader(&mut behind).ok()?;
        (world.head == self.seq && render::hex(&world.digest()) == self.digest).then_some(world)
    }
}

/// A world as it lies in a file.
pub(crate) struct Put {
    /// The last record that is folded in.
    pub(crate) head: Head,
    pub(crate) world: World,
}

/// Why a file cannot be read.
pub(crate) enum PutError {
    /// It is not what was put away.
    Damaged,
    /// Another release put it away, in this layout.
    Layout(u32),
}

/// The files of the worlds in a folder, oldest first.
pub(crate) fn list(dir: &Path) -> Vec<(Seq, PathBuf)> {
    let mut known = Snapshots::of(dir).list();
    known.sort();
    known
}

/// Reads a world that was put away after a record.
pub(crate) fn read(seq: Seq, path: &Path) -> Result<Put, PutError> {
    #[derive(Deserialize)]
    struct AnyFront {
        layout: u32,
    }
    let (line, world) = open_any(path).ok_or(PutError::Damaged)?;
    match serde_json::from_slice(&line) {
        Ok(AnyFront { layout: LAYOUT }) => {}
        Ok(AnyFront { layout }) => return Err(PutError::Layout(layout)),
        Err(_) => return Err(PutError::Damaged),
    }
    let front: Option<Front> = serde_json::from_slice(&line).ok().filter(|front: &Front| front.seq == seq);
    let put = front.and_then(|front| {
        let head = Head { seq, hash: front.hash };
        Some(Put { head, world: front.world(world)? })
    });
    put.ok_or(PutError::Damaged)
}

/// What stands in a file in front of the world, and what is behind it.
fn open(seq: Seq, path: &Path) -> Option<(Front, impl Read + use<>)> {
    let (line, world) = open_any(path)?;
    let front: Front = serde_json::from_slice(&line).ok()?;
    (front.layout == LAYOUT && front.seq == seq).then_some((front, world))
}

/// The line in front of the world in a file of any release, and what is behind it.
fn open_any(path: &Path) -> Option<(Vec<u8>, impl Read + use<>)> {
    let file = File::open(path).ok()?;
    let plain = zstd::stream::read::Decoder::new(file).ok()?;
    let mut plain = BufReader::new(plain);
    let mut line = Vec::new();
    plain.by_ref().take(FRONT_LEN_MAX).read_until(b'\n', &mut line).ok()?;
    Some((line, plain.take(WORLD_LEN_MAX)))
}

/// Whether anything of what a world tells of was redacted after it: of a trimmed journal, its records alone say so.
fn has_redacted(place: &Place, mark: &Mark, front: &Front, path: &Path) -> Result<bool, Failure> {
    let mut text = String::new();
    let is_text = open(front.seq, path).and_then(|(_, mut world)| world.read_to_string(&mut text).ok());
    if is_text.is_none() {
        return Ok(true);
    }
    for stored in place.open_after(mark)? {
        let stored = stored?;
        if render::type_name(&stored) != "node.redaction-requested" {
            continue;
        }
        let Ok(Event::Node(NodeEvent::RedactionRequested(part))) = stored.event() else { return Ok(true) };
        let pods = part.pods.iter().map(ToString::to_string);
        let workers = part.workers.iter().map(ToString::to_string);
        if pods.chain(workers).any(|uid| text.contains(&uid)) {
            return Ok(true);
        }
    }
    Ok(false)
}
