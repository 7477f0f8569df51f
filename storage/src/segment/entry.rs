//! What stands in a segment: records, answers to commands, evidence, and notes about the segment's own life.
//!
//! Every entry begins as a frame does, with length, checksum, and three bytes that say what it is; entries that
//! are not records are not part of the chain of hashes.

use purser_events::{CommandId, Timestamp};
use uuid::Uuid;

use super::footer::Footer;
use crate::answers::StoredAnswer;
use crate::block::FrameBytes;
use crate::evidence::{Evidence, SealedTree};
use crate::frame::{self, FLAG_BEGINS_GROUP, FLAG_CONTINUED, FRAME_VERSION, FrameError, PREFIX_LEN};
use crate::record::StoredRecord;
use crate::sealing::Succession;

/// Bytes before what is particular to a kind of entry: length, checksum, kind, codec, flags.
const PREAMBLE_LEN: usize = PREFIX_LEN + 3;

const KIND_ANSWER: u8 = 0xa0;
const KIND_OPENED: u8 = 0xa1;
const KIND_CLOSED: u8 = 0xa2;
const KIND_CHECKPOINT: u8 = 0xa8;
const KIND_SUCCESSION: u8 = 0xa9;
const KIND_FOOTER: u8 = 0xaf;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A record.
    Record(StoredRecord),
    /// The answer to a command; the records of its commit follow.
    Answer(AnswerEntry),
    /// The journal was opened here.
    Opened(Opened),
    /// The journal was closed in order, and its store was synced before.
    Closed,
    /// Something that vouches for records before it.
    Evidence(Evidence),
    /// Nothing follows.
    Footer(Box<Footer>),
}

/// An answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerEntry {
    pub id: CommandId,
    /// Its place among all answers, from 0.
    pub order: u64,
    pub answer: StoredAnswer,
    /// Whether records of the same commit follow.
    pub continued: bool,
}

/// An opening of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    pub epoch: u64,
    /// Which boot of the host it was; nil if that is not known.
    pub boot_id: Uuid,
    pub at: Timestamp,
}

impl Entry {
    /// Whether the next entry belongs to the same commit.
    pub(crate) fn is_continued(&self) -> bool {
        match self {
            Entry::Record(record) => record.continued,
            Entry::Answer(answer) => answer.continued,
            Entry::Opened(_) | Entry::Closed | Entry::Evidence(_) | Entry::Footer(_) => false,
        }
    }

    /// Reads one entry, which must take all of the bytes, and checks its checksum.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Entry, FrameError> {
        Entry::parse_shared(bytes.to_vec().into())
    }

    /// As [`Entry::parse`], without a copy: a record keeps these bytes.
    pub(crate) fn parse_shared(bytes: FrameBytes) -> Result<Entry, FrameError> {
        match bytes.get(PREFIX_LEN) {
            None | Some(&FRAME_VERSION) => Ok(Entry::Record(frame::parse(bytes)?)),
            Some(&kind) => {
                frame::check(&bytes)?;
                parse_other(kind, &bytes)
            }
        }
    }
}

/// Whether bytes that may be an entry's say that it is a footer. Not checked.
pub(crate) fn claims_to_be_footer(bytes: &[u8]) -> bool {
    bytes.get(PREFIX_LEN) == Some(&KIND_FOOTER)
}

/// Whether bytes that may be an entry's say that it is the first of what was written at once. Not checked.
pub(crate) fn claims_to_begin_a_group(preamble: &[u8]) -> bool {
    match preamble {
        [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            FRAME_VERSION | KIND_ANSWER | KIND_OPENED | KIND_CLOSED | KIND_CHECKPOINT | KIND_SUCCESSION
            | KIND_FOOTER,
            _,
            flags,
            ..,
        ] => flags & FLAG_BEGINS_GROUP != 0,
        _ => false,
    }
}

fn parse_other(kind: u8, bytes: &[u8]) -> Result<Entry, FrameError> {
    let Some((preamble, rest)) = bytes.split_first_chunk::<PREAMBLE_LEN>() else {
        return Err(FrameError::CutShort { len: bytes.len(), announced: PREAMBLE_LEN });
    };
    let flags = preamble[PREAMBLE_LEN - 1];
    match kind {
        KIND_ANSWER => parse_answer(flags, rest).ok_or(FrameError::Malformed { field: "answer" }),
        KIND_OPENED => parse_opened(rest).ok_or(FrameError::Malformed { field: "opening" }),
        KIND_CLOSED if rest.is_empty() => Ok(Entry::Closed),
        KIND_CLOSED => Err(FrameError::Malformed { field: "close" }),
        KIND_CHECKPOINT => {
            let tree = SealedTree::decode(rest).map_err(|_| FrameError::Malformed { field: "checkpoint" })?;
            Ok(Entry::Evidence(Evidence::Checkpoint(Box::new(tree))))
        }
        KIND_SUCCESSION => {
            let succession =
                Succession::decode(rest).map_err(|_| FrameError::Malformed { field: "succession" })?;
            Ok(Entry::Evidence(Evidence::Succession(Box::new(succession))))
        }
        KIND_FOOTER => {
            let footer = Footer::decode(rest).ok_or(FrameError::Malformed { field: "footer" })?;
            Ok(Entry::Footer(Box::new(footer)))
        }
        version => Err(FrameError::NewerVersion { version }),
    }
}

fn parse_answer(flags: u8, rest: &[u8]) -> Option<Entry> {
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (answer, order) = StoredAnswer::from_bytes(rest)?;
    let continued = flags & FLAG_CONTINUED != 0;
    Some(Entry::Answer(AnswerEntry { id: CommandId(Uuid::from_bytes(*id)), order, answer, continued }))
}

fn parse_opened(rest: &[u8]) -> Option<Entry> {
    let (epoch, rest) = rest.split_first_chunk()?;
    let (boot_id, rest) = rest.split_first_chunk()?;
    let at = <[u8; 8]>::try_from(rest).ok()?;
    let (epoch, at) = (u64::from_le_bytes(*epoch), Timestamp(i64::from_le_bytes(at)));
    Some(Entry::Opened(Opened { epoch, boot_id: Uuid::from_bytes(*boot_id), at }))
}

/// Appends an answer's bytes.
pub(crate) fn put_answer(out: &mut Vec<u8>, begins_group: bool, entry: &AnswerEntry) {
    let continued = if entry.continued { FLAG_CONTINUED } else { 0 };
    put(out, KIND_ANSWER, continued, begins_group, |body| {
        body.extend_from_slice(entry.id.0.as_bytes());
        body.extend_from_slice(&entry.answer.to_bytes(entry.order));
    });
}

/// Appends the note that the journal was opened.
pub(crate) fn put_opened(out: &mut Vec<u8>, opened: &Opened) {
    put(out, KIND_OPENED, 0, true, |body| {
        body.extend_from_slice(&opened.epoch.to_le_bytes());
        body.extend_from_slice(opened.boot_id.as_bytes());
        body.extend_from_slice(&opened.at.0.to_le_bytes());
    });
}

/// Appends the note that the journal was closed in order.
pub(crate) fn put_closed(out: &mut Vec<u8>) {
    put(out, KIND_CLOSED, 0, true, |_| {});
}

/// Appends evidence.
pub(crate) fn put_evidence(out: &mut Vec<u8>, begins_group: bool, evidence: &Evidence) {
    match evidence {
        Evidence::Checkpoint(tree) => {
            put(out, KIND_CHECKPOINT, 0, begins_group, |body| tree.encode(body));
        }
        Evidence::Succession(succession) => {
            put(out, KIND_SUCCESSION, 0, begins_group, |body| body.extend(succession.encode()));
        }
    }
}

/// Appends a footer.
pub(crate) fn put_footer(out: &mut Vec<u8>, footer: &Footer) {
    put(out, KIND_FOOTER, 0, true, |body| footer.encode(body));
}

fn put(out: &mut Vec<u8>, kind: u8, flags: u8, begins_group: bool, body: impl FnOnce(&mut Vec<u8>)) {
    let begins = if begins_group { FLAG_BEGINS_GROUP } else { 0 };
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_LEN]);
    out.extend_from_slice(&[kind, 0, flags | begins]);
    body(out);
    frame::seal(&mut out[start..]);
}
