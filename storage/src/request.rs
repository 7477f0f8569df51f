//! A request to the thread that writes, made ready on the caller's thread. What it is made of goes back there with the
//! answer: memory that one thread takes and another gives back is slow at both.

use std::cell::RefCell;

use purser_events::{Header, Layout, Origin, Record, Seq, StreamId, StreamVersion, Timestamp};
use tokio::sync::oneshot;

use crate::answers::ANSWER_LEN_MAX;
use crate::codec::{Codec, PAYLOAD_LEN};
use crate::error::AppendError;
use crate::frame::{self, FRAME_LEN_MAX, HEADER_LEN_MAX, Hash, PREFIX_LEN};
use crate::journal::{Append, Appended, COMMIT_BYTES_MAX, CommandWrite, StreamWrite};
use crate::subjects::{SubjectKey, SubjectKeys};
use crate::terms::{Durability, Terms};

/// Longest payload that fits into a frame under every header, sealed or not.
const PAYLOAD_LEN_MAX: usize =
    FRAME_LEN_MAX - PREFIX_LEN - HEADER_LEN_MAX - size_of::<Hash>() - SubjectKey::OVERHEAD;

/// Bytes that a record takes beside its payload, as a rule.
const RECORD_OVERHEAD: usize = 120;

/// A request with its events encoded.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub writes: Vec<PreparedWrite>,
    /// The events of all writes in order. Their headers lack what only the thread that writes can know.
    pub records: Vec<Record>,
    /// One for each record.
    pub encoded: Vec<Encoded>,
    /// All payloads, one right after the other.
    pub payloads: Vec<u8>,
    pub command: Option<CommandWrite>,
    pub terms: Terms,
}

impl Prepared {
    /// A request that asks for nothing but that the thread is awake.
    pub(crate) fn empty(terms: Terms) -> Prepared {
        let (writes, records, encoded) = (Vec::new(), Vec::new(), Vec::new());
        Prepared { writes, records, encoded, payloads: Vec::new(), command: None, terms }
    }

    /// Whether nothing is asked for but that the thread is awake.
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.command.is_none()
    }

    /// About so many bytes it takes in a segment.
    pub(crate) fn bytes_in_segment(&self) -> usize {
        self.payloads.len() + self.encoded.len() * RECORD_OVERHEAD
    }
}

/// What is to be written to one stream.
#[derive(Debug)]
pub(crate) struct PreparedWrite {
    pub stream: StreamId,
    pub expected: StreamVersion,
    /// How many of the records are its.
    pub count: usize,
}

/// What became of an event's payload.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub layout: Layout,
    pub payload_len: usize,
    pub payload_hash: Hash,
    /// Whether the payload is sealed with the key of its subject.
    pub sealed: bool,
}

/// What a request came to.
pub(crate) type Outcome = Result<Appended, AppendError>;

#[derive(Debug)]
pub(crate) struct Request {
    pub append: Prepared,
    /// Gets the request back as well.
    pub reply: oneshot::Sender<(Outcome, Prepared)>,
}

/// Checks a request, encodes its events and hashes them, on the caller's thread.
pub(crate) fn prepare(
    append: Append,
    terms: Terms,
    codec: Codec,
    keys: Option<&SubjectKeys>,
) -> Result<Prepared, AppendError> {
    let Append { writes, origin, command } = append;
    if command.is_none() && writes.iter().all(|write| write.events.is_empty()) {
        return Err(AppendError::NothingToWrite);
    }
    if let Some(command) = &command {
        check_len(command.answer.len(), ANSWER_LEN_MAX)?;
    }
    // The answer to a command is told to the outside.
    let durability = if command.is_some() { Durability::Sync } else { terms.durability };
    let terms = Terms { durability, ..terms };
    let count = writes.iter().map(|write| write.events.len()).sum();
    let payloads = RefCell::new(Vec::with_capacity(count * PAYLOAD_LEN));
    let mut prepared = Prepared {
        writes: Vec::with_capacity(writes.len()),
        records: Vec::with_capacity(count),
        encoded: Vec::with_capacity(count),
        payloads: Vec::new(),
        command,
        terms,
    };
    // Sealing makes payloads longer, and that does not count.
    let mut bytes = 0;
    for StreamWrite { stream, expected, events } in writes {
        prepared.writes.push(PreparedWrite { stream, expected, count: events.len() });
        let begins = expected == StreamVersion::NONE;
        for event in events {
            assert_eq!(event.stream_kind(), stream.kind, "an event belongs in a stream of its own kind");
            let start = payloads.borrow().len();
            event
                .encode(&codec.appending(&payloads))
                .expect("payloads are plain structs, which every codec encodes");
            let mut payloads = payloads.borrow_mut();
            let payload = payloads.get(start..).unwrap_or_default();
            check_len(payload.len(), PAYLOAD_LEN_MAX)?;
            bytes += payload.len();
            check_len(bytes, COMMIT_BYTES_MAX)?;
            let layout = event.layout();
            let sealed = keys.map(|keys| keys.seal(stream, begins, (layout.number, layout.version), payload));
            let sealed = sealed.transpose().map_err(|error| AppendError::no_key(stream, &error))?.flatten();
            if let Some(sealed) = &sealed {
                payloads.truncate(start);
                payloads.extend_from_slice(sealed);
            }
            let payload = payloads.get(start..).unwrap_or_default();
            prepared.encoded.push(Encoded {
                layout,
                payload_len: payload.len(),
                payload_hash: frame::sha256(payload),
                sealed: sealed.is_some(),
            });
            prepared.records.push(Record { header: unplaced(stream, &origin), event });
        }
    }
    prepared.payloads = payloads.into_inner();
    Ok(prepared)
}

/// A header before the record has its place.
fn unplaced(stream: StreamId, origin: &Origin) -> Header {
    let (seq, version, time) = (Seq::ZERO, StreamVersion::NONE, Timestamp(0));
    Header { seq, stream, version, time, epoch: 0, origin: origin.clone() }
}

fn check_len(len: usize, max: usize) -> Result<(), AppendError> {
    if len > max { Err(AppendError::TooLarge { len, max }) } else { Ok(()) }
}
