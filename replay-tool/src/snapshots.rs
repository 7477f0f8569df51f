//! Worlds that were put away while a journal was folded, so that the next question about a moment folds only what came
//! after the last of them. They lie in a folder that the user names, never beside the journal.
//!
//! A cache: one that is damaged, of another release, or that is not read as it was put away, is left out. That it is of this
//! very journal is told by the record after it, which must continue the hash of its last record.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use purser_events::view::World;
use purser_events::{Seq, Timestamp};
use purser_storage::offline::Mark;
use purser_storage::{Hash, Head};
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::fold::{Folded, Until};
use crate::render;

/// Records between two worlds that are put away.
const EVERY: u64 = 50_000;

/// Number of the layout below.
const LAYOUT: u32 = 1;

/// Most bytes of a world.
const WORLD_LEN_MAX: usize = 1 << 30;

const EXTENSION: &str = "world";

/// A world, as it is put away: JSON, compressed.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    layout: u32,
    seq: Seq,
    hash: Hash,
    /// The time of its last record.
    time: Option<Timestamp>,
    /// The latest time until then.
    latest: Timestamp,
    /// Digest of the world: what is read must be what was put away, to the last field.
    digest: String,
    world: World,
}

/// A folder of them.
#[derive(Debug)]
pub(crate) struct Snapshots {
    dir: PathBuf,
    /// The latest time of the records that were folded.
    latest: Timestamp,
}

/// Where a fold begins.
pub(crate) struct Begin {
    pub(crate) folded: Folded,
    pub(crate) mark: Mark,
}

impl Snapshots {
    /// Those in a folder; it is made when the first is put away.
    pub(crate) fn of(dir: &Path) -> Snapshots {
        Snapshots { dir: dir.to_owned(), latest: Timestamp(i64::MIN) }
    }

    /// The newest that is of before a moment; of the moment itself there would be no record to vouch for it.
    pub(crate) fn before(&mut self, at: Option<Until>) -> Option<Begin> {
        let limit = match at {
            Some(Until::Seq(seq)) => seq,
            Some(Until::Time(_)) | None => Seq(u64::MAX),
        };
        let mut known: Vec<(Seq, PathBuf)> =
            self.list().into_iter().filter(|(seq, _)| *seq < limit).collect();
        known.sort();
        let fits = |stored: &Stored| match at {
            Some(Until::Time(time)) => stored.latest <= time,
            Some(Until::Seq(_)) | None => true,
        };
        let stored = known.iter().rev().filter_map(|(seq, path)| read(*seq, path)).find(fits)?;
        self.latest = stored.latest;
        let folded = Folded { world: stored.world, time: stored.time, exit: Exit::Ok };
        let mark = Mark { head: Head { seq: stored.seq, hash: stored.hash }, export: None };
        Some(Begin { folded, mark })
    }

    /// Takes notice of a record that was folded, and puts the world away if it is time to.
    pub(crate) fn note(&mut self, time: Timestamp, head: Head, folded: &Folded) -> Result<(), Failure> {
        self.latest = self.latest.max(time);
        let world = &folded.world;
        // What could not be read now may be read another time, with the keys or by another release.
        let is_whole = folded.exit == Exit::Ok && world.withheld.is_empty();
        let path = self.dir.join(format!("{:020}.{EXTENSION}", head.seq.0));
        if !head.seq.0.is_multiple_of(EVERY) || !is_whole || world.head != head.seq {
            return Ok(());
        }
        let Head { seq, hash } = head;
        let digest = render::hex(&world.digest());
        let (layout, time, latest) = (LAYOUT, folded.time, self.latest);
        let stored = Stored { layout, seq, hash, time, latest, digest, world: world.clone() };
        let failed = |source| Failure::Open { path: path.clone(), source };
        let json = serde_json::to_vec(&stored).map_err(|error| failed(error.into()))?;
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

/// A world from its file, if it is what was put away.
fn read(seq: Seq, path: &Path) -> Option<Stored> {
    let file = File::open(path).ok()?;
    let mut reader = std::io::Read::take(zstd::stream::read::Decoder::new(file).ok()?, WORLD_LEN_MAX as u64);
    let stored: Stored = serde_json::from_reader(std::io::BufReader::new(&mut reader)).ok()?;
    let is_same = stored.layout == LAYOUT && stored.seq == seq && stored.world.head == seq;
    (is_same && render::hex(&stored.world.digest()) == stored.digest).then_some(stored)
}
