//! The world at a moment, folded from the journal by the same logic as the node's.

use purser_events::view::World;
use purser_events::{Header, Record, Seq, Timestamp};
use purser_storage::offline::SourceError;
use purser_storage::{Head, StoredRecord};
use serde_json::{Value, json};

use crate::cli::Moment;
use crate::failure::{Exit, Failure};
use crate::snapshots::{Begin, Present, Snapshots};
use crate::source::{Opened, Place};
use crate::{Console, render};

/// A moment that is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// After this record.
    Seq(Seq),
    /// Before the first record that is later.
    Time(Timestamp),
}

impl Moment {
    /// The moment, as seen from `now`.
    pub(crate) fn seen_from(self, now: Timestamp) -> Until {
        match self {
            Moment::Seq(seq) => Until::Seq(seq),
            Moment::Time(when) => Until::Time(when.seen_from(now)),
        }
    }
}

impl Until {
    /// Whether a record is after it.
    pub(crate) fn is_before(self, header: &Header) -> bool {
        match self {
            Until::Seq(last) => header.seq > last,
            Until::Time(last) => header.time > last,
        }
    }

    /// Checks that a journal with these first and last records holds it. Of a time nobody can tell that it is not reached.
    pub(crate) fn is_reached(self, first: Seq, last: Seq) -> Result<(), Failure> {
        match self {
            Until::Seq(asked) if asked > last => Err(Failure::NoRecord { first, last, asked }),
            Until::Seq(_) | Until::Time(_) => Ok(()),
        }
    }
}

/// A world, and how it came about.
#[derive(Clone)]
pub(crate) struct Folded {
    pub(crate) world: World,
    /// When its last record was written.
    pub(crate) time: Option<Timestamp>,
    /// The moment from which it is looked at, if that is later.
    pub(crate) seen_at: Option<Timestamp>,
    pub(crate) exit: Exit,
    /// The same for payloads alone that could not be read.
    pub(crate) unread: Exit,
}

impl Default for Folded {
    fn default() -> Folded {
        Folded { world: World::default(), time: None, seen_at: None, exit: Exit::Ok, unread: Exit::Ok }
    }
}

impl Folded {
    /// The moment, for programs.
    pub(crate) fn place(&self) -> Value {
        json!({ "seq": self.world.head, "time": self.time })
    }

    /// The moment from which what waits is judged: a time that was asked for, now of a node that lives, else that of the
    /// last record.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        self.seen_at.max(self.time)
    }

    /// When its last record was written, for people.
    pub(crate) fn time_text(&self) -> String {
        self.time.map_or_else(String::new, |time| format!(" of {time}"))
    }

    /// Folds one record in; what cannot be folded is told.
    pub(crate) fn apply(&mut self, stored: StoredRecord, console: &mut Console<'_>) {
        let (seq, stream, time) = (stored.header.seq, stored.header.stream, stored.header.time);
        match stored.event() {
            Ok(event) => {
                let record = Record { header: stored.header, event };
                if let Err(illegal) = self.world.apply(&record) {
                    // Each record is whole, and yet they are no history: what follows is not what was.
                    self.exit = self.exit.or_worse(Exit::Integrity);
                    console.note(format_args!(
                        "record {seq} of {stream}: {illegal}; the stream is no longer folded"
                    ));
                }
            }
            Err(error) if error.is_withheld() => {
                self.world.apply_withheld(&stored.header, stored.layout_number);
            }
            Err(error) => {
                self.unread = self.unread.or_worse(Exit::of_payload(&error));
                self.exit = self.exit.or_worse(self.unread);
                let reason = render::payload_error(&error);
                console
                    .note(format_args!("record {seq} of {stream}: {reason}; the stream is no longer folded"));
                self.world.quarantine(stream, seq, reason);
            }
        }
        self.time = Some(time);
    }
}

/// The world at a moment; at the end without one.
pub(crate) fn fold(at: Option<Until>, place: &Place, console: &mut Console<'_>) -> Result<Folded, Failure> {
    let Some(dir) = place.snapshots() else {
        return go_on(at, Folded::default(), whole(place)?, None, console);
    };
    let mut snapshots = Snapshots::of(dir);
    if let Some(Begin { folded, first, source, present }) = snapshots.before(at, place)? {
        let source = std::iter::once(Ok(first)).chain(source);
        return go_on(at, folded, source, Some((&mut snapshots, &present)), console);
    }
    let source = whole(place)?;
    let present = Present::of(&source);
    go_on(at, Folded::default(), source, Some((&mut snapshots, &present)), console)
}

/// The journal from its first record on.
fn whole(place: &Place) -> Result<Opened, Failure> {
    let source = place.open(Seq(1))?;
    match source.before().seq {
        Seq::ZERO => Ok(source),
        before => Err(Failure::Partial { before }),
    }
}

/// Folds what comes next, up to a moment.
fn go_on(
    at: Option<Until>,
    mut folded: Folded,
    source: impl Iterator<Item = Result<StoredRecord, SourceError>>,
    mut snapshots: Option<(&mut Snapshots, &Present)>,
    console: &mut Console<'_>,
) -> Result<Folded, Failure> {
    for stored in source {
        let stored = stored?;
        if at.is_some_and(|at| at.is_before(&stored.header)) {
            return Ok(folded);
        }
        let (head, time) = (Head { seq: stored.header.seq, hash: stored.hash }, stored.header.time);
        folded.apply(stored, console);
        if let Some((snapshots, present)) = &mut snapshots {
            snapshots.note(time, head, &folded, present)?;
        }
    }
    folded.reaches(at)?;
    Ok(folded)
}

impl Folded {
    /// Checks that a journal that ended here holds a moment that was asked for.
    pub(crate) fn reaches(&self, at: Option<Until>) -> Result<(), Failure> {
        at.map_or(Ok(()), |at| at.is_reached(Seq(1), self.world.head))
    }
}
