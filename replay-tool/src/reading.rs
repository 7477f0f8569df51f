//! Records in order, as far as they are sound, and what of them could not be read.

use purser_events::{Event, Seq};
use purser_storage::offline::{Item, SourceError};
use purser_storage::{Head, PayloadError, StoredRecord};

use crate::failure::{Exit, Failure};
use crate::fold::Until;
use crate::source::{Opened, Place};
use crate::{Console, render};

/// Payloads that cannot be read and are told of one by one.
const TOLD_MAX: u64 = 20;

/// A journal that is read to its end, or to the first record that is not sound.
pub(crate) struct Reading {
    source: Opened,
    failure: Option<SourceError>,
    unread: Unread,
    /// The first record that was asked for.
    from: Seq,
}

/// Payloads that could not be read.
#[derive(Default)]
struct Unread {
    withheld: u64,
    unknown: u64,
    malformed: u64,
    /// The first of those that are not withheld on purpose, each with its reason.
    told: Vec<(Seq, String)>,
}

impl Reading {
    /// Reads records from one on; those before it may be among what is read.
    pub(crate) fn from(place: &Place, from: Seq) -> Result<Reading, Failure> {
        Ok(Reading { source: place.open(from)?, failure: None, unread: Unread::default(), from })
    }

    /// Reads the whole journal for a verb that needs it from its first record on.
    pub(crate) fn whole(place: &Place) -> Result<Reading, Failure> {
        let reading = Reading::from(place, Seq(1))?;
        match reading.before() {
            Seq::ZERO => Ok(reading),
            before => Err(Failure::Partial { before }),
        }
    }

    /// The record before the first.
    pub(crate) fn before(&self) -> Seq {
        self.source.before().seq
    }

    /// Whether payloads were left out when the source was made.
    pub(crate) fn is_excerpt(&self) -> bool {
        self.source.is_excerpt()
    }

    /// The record before the first, with its hash.
    pub(crate) fn begins_after(&self) -> Head {
        self.source.before()
    }

    /// The last record that was sound so far.
    pub(crate) fn head(&self) -> Head {
        self.source.head()
    }

    /// The next record; none at the end, and after the first that is not sound.
    pub(crate) fn next(&mut self) -> Option<StoredRecord> {
        loop {
            if let Item::Record(stored) = self.next_item()? {
                return Some(*stored);
            }
        }
    }

    /// The next record or piece of evidence; none at the end, and after the first record that is not sound.
    pub(crate) fn next_item(&mut self) -> Option<Item> {
        self.source.next_item()?.map_err(|error| self.failure = Some(error)).ok()
    }

    /// What a record says, if it can be read; else that it cannot be is told at the end.
    pub(crate) fn event(&mut self, stored: &StoredRecord) -> Option<Event> {
        let event = stored.event();
        self.note(stored, &event);
        event.ok()
    }

    /// Takes notice that a payload could not be read, to tell of it at the end.
    pub(crate) fn note(&mut self, stored: &StoredRecord, event: &Result<Event, PayloadError>) {
        if let Err(error) = event {
            self.unread.note(stored.header.seq, error);
        }
    }

    /// Checks, at its end, that it came as far as a record that was read before: a sound journal never gets shorter.
    pub(crate) fn reached(&self, before: Option<Seq>) -> Result<(), Failure> {
        let last = self.head().seq;
        match before {
            Some(seq) if self.is_sound() && last < seq => Err(Failure::Shorter { seq, last }),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks, at its end, that a moment that was asked for is in it. Damage before it is told by [`Reading::end`].
    pub(crate) fn holds(&self, at: Option<Until>) -> Result<(), Failure> {
        let at = at.filter(|_| self.is_sound());
        at.map_or(Ok(()), |at| at.is_reached(self.before().next(), self.head().seq))
    }

    /// Whether nothing came in between.
    pub(crate) fn is_sound(&self) -> bool {
        self.failure.is_none()
    }

    /// Why it could not be read to its end, if it could not.
    pub(crate) fn into_failure(self) -> Option<SourceError> {
        self.failure
    }

    /// How a verb ends that found what it says: it tells what could not be read, and that not all was, if so.
    pub(crate) fn end(self, found: Exit, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let exit = found.or_worse(self.unread.exit());
        let first = self.before().next();
        if self.from < first {
            console.note(format_args!(
                "the source begins with record {first}: what came before it is not in it, and is not shown"
            ));
        }
        self.unread.tell(console);
        // What is sound was shown; that it is not all must be told.
        self.failure.map_or(Ok(exit), |error| Err(error.into()))
    }
}

impl Unread {
    fn note(&mut self, seq: Seq, error: &PayloadError) {
        match Exit::of_payload(error) {
            Exit::Ok => {
                self.withheld += 1;
                return;
            }
            Exit::Unknown => self.unknown += 1,
            Exit::NothingMatched | Exit::Usage | Exit::Io | Exit::Integrity | Exit::Determinism => {
                self.malformed += 1;
            }
        }
        if self.unknown + self.malformed <= TOLD_MAX {
            self.told.push((seq, render::payload_error(error)));
        }
    }

    fn exit(&self) -> Exit {
        match (self.malformed, self.unknown) {
            (1.., _) => Exit::Integrity,
            (0, 1..) => Exit::Unknown,
            (0, 0) => Exit::Ok,
        }
    }

    fn tell(&self, console: &mut Console<'_>) {
        for (seq, reason) in &self.told {
            console.note(format_args!("record {seq}: {reason}"));
        }
        let untold = (self.unknown + self.malformed).saturating_sub(TOLD_MAX);
        if untold > 0 {
            console.note(format_args!("{untold} more payloads cannot be read: see `purser-replay verify`"));
        }
        if self.withheld > 0 {
            let count = self.withheld;
            console.note(format_args!(
                "{count} payloads are redacted or sealed, and of them no more than type and place is known"
            ));
        }
    }
}
