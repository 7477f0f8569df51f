//! Opening: finds out how far segments, store and snapshot have come, brings the store up to the segments, and
//! hands on what the snapshot does not hold.

use std::path::Path;
use std::sync::Arc;

use purser_events::{Header, Record, Seq, StreamId, StreamVersion, Timestamp};

use crate::answers::AnswerOrder;
use crate::checking::each_checked;
use crate::error::JournalError;
use crate::index::{IndexBatch, Place};
use crate::record::{PayloadError, StoredRecord};
use crate::segment::entry::{AnswerEntry, Entry};
use crate::segment::set::{Segments, SegmentsError};
use crate::store::Store;
use crate::subjects::SubjectKeys;
use crate::verify::{Fault, Head};

/// Bytes of a catch-up that the store takes at once.
const CATCH_UP_BYTES: usize = 1 << 20;

/// Bytes that an answer takes in a batch beside its text, so that a batch holds far fewer than are kept at all.
const ANSWER_COST: usize = 128;

/// What opening found at one position.
#[derive(Debug)]
pub enum Replayed {
    /// A record.
    Record(Record),
    /// A record whose payload this release cannot read; its bytes are sound and the chain goes on.
    Unreadable {
        /// Its position.
        seq: Seq,
        /// Where it stands and why it is there.
        header: Header,
        /// Number of its event type.
        layout_number: u16,
        /// Why its payload cannot be read.
        reason: PayloadError,
    },
}

/// Where the pass over the segments begins, and who wants what of it.
pub(crate) struct Pass<'a> {
    pub dir: &'a Path,
    pub segments: &'a Arc<Segments>,
    pub store: &'a dyn Store,
    /// How far the store has come, and what it need not hold.
    pub applied: Head,
    /// How far the projection has come.
    pub restored: Head,
    /// The last acknowledged record as the file beside the segments has it.
    pub known: Option<Head>,
    /// With which sealed payloads are read.
    pub keys: Option<&'a SubjectKeys>,
    /// Age at which answers to commands make way, in milliseconds; 0 for never.
    pub command_ids_kept_ms: u64,
}

/// What the pass found.
pub(crate) struct Passed {
    pub head: Head,
    pub epoch: u64,
    /// The last versions of the streams that were met.
    pub streams: std::collections::BTreeMap<StreamId, StreamVersion>,
    pub answers: AnswerOrder,
}

impl Pass<'_> {
    /// Reads and checks every record after the one that both store and projection have.
    pub(crate) fn run(&self, replay: &mut dyn FnMut(Replayed)) -> Result<Passed, JournalError> {
        let begin = self.applied.earlier(self.restored);
        let mut catch_up = CatchUp::new(self)?;
        // From that record on: answers without records may stand behind it, at the end of its segment.
        let walk = self.segments.walk(begin.seq)?;
        let verifier = each_checked(self.dir, walk, begin, self.known, |entry| match entry {
            Entry::Record(record) => {
                catch_up.record(record)?;
                if record.header.seq > self.restored.seq {
                    self.keys.map_or(Ok(()), |keys| keys.open(record))?;
                    replay(replayed(record));
                }
                Ok(())
            }
            Entry::Answer(answer) => catch_up.answer(answer),
            Entry::Opened(_) | Entry::Closed | Entry::Evidence(_) | Entry::Footer(_) => Ok(()),
        })?;
        let head = verifier.head();
        self.check_end(head.seq)?;
        let answers = catch_up.finish()?;
        Ok(Passed { head, epoch: verifier.epoch(), streams: verifier.into_streams(), answers })
    }

    /// Whether the segments end where they are known to end.
    fn check_end(&self, found: Seq) -> Result<(), JournalError> {
        match self.known {
            Some(known) if known.seq > found => {
                let source = Fault::Shortened { found, expected: known.seq };
                Err(self.damaged(SegmentsError::Fault { sound: found, source }))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn damaged(&self, error: SegmentsError) -> JournalError {
        damaged(self.dir, error)
    }
}

/// A record with the hash that the segments have for it, if they have the record.
pub(crate) fn hash_of(
    dir: &Path,
    segments: &Arc<Segments>,
    before: Head,
    seq: Seq,
) -> Result<Option<Head>, JournalError> {
    if seq <= before.seq {
        return Ok((seq == before.seq).then_some(before));
    }
    let mut walk = segments.walk(seq)?;
    while let Some(entry) = walk.step().map_err(|error| damaged(dir, error))? {
        if let Entry::Record(record) = entry
            && record.header.seq == seq
        {
            return Ok(Some(Head { seq, hash: record.hash }));
        }
    }
    Ok(None)
}

/// Says what a fault of the segments means to who reads an open journal.
pub(crate) fn unread(error: SegmentsError) -> JournalError {
    match error {
        SegmentsError::Folder(error) => JournalError::Folder(error),
        SegmentsError::Fault { source, .. } => JournalError::Segment { source },
    }
}

/// Says what a fault of the segments means to a journal in `dir`.
pub(crate) fn damaged(dir: &Path, error: SegmentsError) -> JournalError {
    match error {
        SegmentsError::Folder(error) => error.into(),
        SegmentsError::Fault { sound, source } if source.is_unknown() => {
            JournalError::Newer { dir: dir.to_owned(), seq: sound.next(), source }
        }
        SegmentsError::Fault { sound, source } => {
            JournalError::Damaged { dir: dir.to_owned(), sound, source }
        }
    }
}

pub(crate) fn replayed(record: &StoredRecord) -> Replayed {
    let header = record.header.clone();
    match record.event() {
        Ok(event) => Replayed::Record(Record { header, event }),
        Err(reason) => {
            Replayed::Unreadable { seq: header.seq, layout_number: record.layout_number, header, reason }
        }
    }
}

/// Gives the store what it lacks.
struct CatchUp<'a> {
    store: &'a dyn Store,
    applied: Head,
    head: Head,
    batch: IndexBatch,
    bytes: usize,
    answers: AnswerOrder,
    /// Time of the last record.
    time: Option<Timestamp>,
}

impl CatchUp<'_> {
    fn new<'a>(pass: &Pass<'a>) -> Result<CatchUp<'a>, JournalError> {
        let Pass { store, applied, .. } = *pass;
        let answers = AnswerOrder::load(store, pass.command_ids_kept_ms)?;
        let batch = IndexBatch::default();
        Ok(CatchUp { store, applied, head: applied, batch, bytes: 0, answers, time: None })
    }

    fn record(&mut self, record: &StoredRecord) -> Result<(), JournalError> {
        if record.header.seq <= self.applied.seq {
            return Ok(());
        }
        self.batch.add(Place::of(&record.header));
        self.head = Head { seq: record.header.seq, hash: record.hash };
        self.bytes += record.as_bytes().len();
        if record.continued {
            return Ok(());
        }
        self.time = Some(record.header.time);
        self.answers.settle(self.store, &mut self.batch.batch, record.header.time)?;
        // Only between commits: an answer is never ahead of its records.
        if self.bytes >= CATCH_UP_BYTES { self.apply() } else { Ok(()) }
    }

    fn answer(&mut self, entry: &AnswerEntry) -> Result<(), JournalError> {
        let AnswerEntry { id, order, answer, .. } = entry;
        self.bytes += ANSWER_COST + answer.answer.len();
        self.answers.put(self.store, &mut self.batch.batch, *id, answer, *order)?;
        if self.bytes >= CATCH_UP_BYTES && !entry.continued { self.apply() } else { Ok(()) }
    }

    fn apply(&mut self) -> Result<(), JournalError> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if !batch.is_empty() {
            self.store.apply(batch.finish(self.head))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<AnswerOrder, JournalError> {
        self.apply()?;
        if let Some(time) = self.time {
            // Answers after the last record get their time from the next one, as they would have without a stop.
            while self.answers.expire(self.store, &mut self.batch.batch, time)? > 0 {
                self.apply()?;
            }
            self.apply()?;
        }
        Ok(self.answers)
    }
}
