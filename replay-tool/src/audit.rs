//! What the verbs stand on, for audits of one's own: a journal's records in order, each checked, and what was true.
//!
//! ```no_run
//! # fn main() -> Result<(), purser_replay::Failure> {
//! use purser_replay::audit::Journal;
//!
//! for audited in Journal::folder("/backup/journal").records()? {
//!     let audited = audited?;
//!     println!("{} {}", audited.header.seq, audited.kind);
//! }
//! # Ok(())
//! # }
//! ```

use std::path::PathBuf;

use purser_events::view::World;
use purser_events::{Event, Header, Seq};
use purser_storage::Hash;

use crate::failure::{Exit, Failure};
use crate::fold::{self, Until};
use crate::progress::Line;
use crate::source::{Opened, Place};
use crate::{Console, render};

/// A journal that is read and never changed.
#[derive(Debug)]
pub struct Journal {
    place: Place,
}

/// One record, checked against the one before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Audited {
    /// Its place, time, cause and principal.
    pub header: Header,
    /// The name of its type, as in `pod.admitted`; of one that this release does not know, its number.
    pub kind: String,
    /// What happened; else why it cannot be told: it was redacted, is sealed, or is of a newer release.
    pub event: Result<Event, String>,
    /// The hash over it and all before it.
    pub hash: Hash,
}

/// What was true at a moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct State {
    /// All of it.
    pub world: World,
    /// [`Exit::Ok`] if every record could be read and followed from those before it; else how `state` would end.
    pub exit: Exit,
    /// What could not be folded, in words.
    pub untold: Vec<String>,
}

/// A journal's records in order. After an error, nothing follows: what came before it is sound.
pub struct Records(Opened);

impl Journal {
    /// An export.
    pub fn export(path: impl Into<PathBuf>) -> Journal {
        Journal { place: Place::of_export(path.into(), Line::default()) }
    }

    /// A journal's folder that no process writes, a copy of one, or a folder with segments alone, as an archive is.
    pub fn folder(path: impl Into<PathBuf>) -> Journal {
        Journal { place: Place::of_folder(path.into(), Line::default()) }
    }

    /// A live node, asked over its socket.
    pub fn socket(path: impl Into<PathBuf>) -> Journal {
        Journal { place: Place::of_socket(path.into(), Line::default()) }
    }

    /// The same with the archive of what was trimmed from its folder.
    #[must_use]
    pub fn with_archive(self, archive: impl Into<PathBuf>) -> Journal {
        Journal { place: self.place.with_archive(archive.into()) }
    }

    /// The same with the folder of the keys that pods' payloads are sealed with.
    #[must_use]
    pub fn with_keys(self, keys: impl Into<PathBuf>) -> Journal {
        Journal { place: self.place.with_keys(keys.into()) }
    }

    /// Where it is.
    pub(crate) fn into_place(self) -> Place {
        self.place
    }

    /// Its records from the first one on.
    ///
    /// # Errors
    /// It cannot be read, or is not a journal that this release knows.
    pub fn records(&self) -> Result<Records, Failure> {
        self.records_from(Seq(1))
    }

    /// Its records from one on; those before it may be among them, for they are what it is checked against.
    ///
    /// # Errors
    /// It cannot be read, or is not a journal that this release knows.
    pub fn records_from(&self, from: Seq) -> Result<Records, Failure> {
        self.place.open(from).map(Records)
    }

    /// All that was true right after a record, or after the last one, and how whole that is.
    ///
    /// # Errors
    /// It cannot be read up to there, does not begin with its first record, or has no such record.
    pub fn state(&self, at: Option<Seq>) -> Result<State, Failure> {
        let (mut out, mut notes) = (std::io::sink(), Vec::new());
        let mut console = Console { out: &mut out, notes: &mut notes };
        let folded = fold::fold(at.map(Until::Seq), &self.place, &mut console)?;
        let untold = String::from_utf8_lossy(&notes).lines().map(str::to_owned).collect();
        Ok(State { world: folded.world, exit: folded.exit, untold })
    }

    /// All that was true right after a record; after the last one, if none is named. Whether all of it could be folded
    /// is told by [`Journal::state`].
    ///
    /// # Errors
    /// It cannot be read up to there, does not begin with its first record, or has no such record.
    pub fn world(&self, at: Option<Seq>) -> Result<World, Failure> {
        // What cannot be folded is in the world as well: see `World::quarantined`.
        self.state(at).map(|state| state.world)
    }
}

impl Iterator for Records {
    type Item = Result<Audited, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let stored = match self.0.next()? {
            Ok(stored) => stored,
            Err(error) => return Some(Err(error.into())),
        };
        let event = stored.event().map_err(|error| render::payload_error(&error));
        let kind = render::type_name(&stored);
        Some(Ok(Audited { kind, event, hash: stored.hash, header: stored.header }))
    }
}
