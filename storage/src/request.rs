//! A request to the thread that writes, made ready on the caller's thread.

use purser_events::{Event, Layout, Origin, StreamId, StreamVersion};
use tokio::sync::oneshot;

use crate::answers::ANSWER_LEN_MAX;
use crate::codec::Codec;
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
    pub origin: Origin,
    pub command: Option<CommandWrite>,
    pub terms: Terms,
    /// Bytes of all payloads.
    pub bytes: usize,
}

impl Prepared {
    /// Whether nothing is asked for but that the thread is awake.
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.command.is_none()
    }

    /// About so many bytes it takes in a segment.
    pub(crate) fn bytes_in_segment(&self) -> usize {
        let events: usize = self.writes.iter().map(|write| write.events.len()).sum();
        self.bytes + events * RECORD_OVERHEAD
    }
}

#[derive(Debug)]
pub(crate) struct PreparedWrite {
    pub stream: StreamId,
    pub expected: StreamVersion,
    pub events: Vec<PreparedEvent>,
}

#[derive(Debug)]
pub(crate) struct PreparedEvent {
    pub event: Event,
    pub layout: Layout,
    pub payload: Vec<u8>,
    pub payload_hash: Hash,
    /// Whether the payload is sealed with the key of its subject.
    pub sealed: bool,
}

/// What a request came to.
pub(crate) type Outcome = Result<Appended, AppendError>;

#[derive(Debug)]
pub(crate) struct Request {
    pub append: Prepared,
    pub reply: oneshot::Sender<Outcome>,
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
    let mut bytes = 0;
    let mut prepared = Vec::with_capacity(writes.len());
    for StreamWrite { stream, expected, events } in writes {
        let mut encoded = Vec::with_capacity(events.len());
        for event in events {
            assert_eq!(event.stream_kind(), stream.kind, "an event belongs in a stream of its own kind");
            let payload =
                event.encode(&codec).expect("payloads are plain structs, which every codec encodes");
            check_len(payload.len(), PAYLOAD_LEN_MAX)?;
            bytes += payload.len();
            check_len(bytes, COMMIT_BYTES_MAX)?;
            let layout = event.layout();
            let begins = expected == StreamVersion::NONE;
            let sealed =
                keys.map(|keys| keys.seal(stream, begins, (layout.number, layout.version), &payload));
            let sealed = sealed.transpose().map_err(|error| AppendError::no_key(stream, &error))?.flatten();
            let (sealed, payload) = (sealed.is_some(), sealed.unwrap_or(payload));
            let payload_hash = frame::sha256(&payload);
            encoded.push(PreparedEvent { layout, event, payload, payload_hash, sealed });
        }
        prepared.push(PreparedWrite { stream, expected, events: encoded });
    }
    Ok(Prepared { writes: prepared, origin, command, terms, bytes })
}

fn check_len(len: usize, max: usize) -> Result<(), AppendError> {
    if len > max { Err(AppendError::TooLarge { len, max }) } else { Ok(()) }
}
