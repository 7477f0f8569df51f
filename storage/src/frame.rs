//! One record's bytes: what is where, how it is checked, and how the hashes form a chain.
//!
//! The layout is told byte by byte in `docs/journal-format.md`; the two must say the same.

use purser_events::{
    Cause, CommandId, Header, Origin, Principal, Seq, StreamId, StreamKind, StreamVersion, Timestamp,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::block::FrameBytes;
use crate::codec::Codec;
use crate::record::{Opening, StoredRecord};
use crate::varint;

/// Longest frame, in bytes; part of the format.
pub const FRAME_LEN_MAX: usize = 60 * 1024;

/// SHA-256 over a record and the hash before it.
pub type Hash = [u8; 32];

/// What stands before the first record in the chain of hashes.
pub const GENESIS: Hash = [0; 32];

/// Length and checksum in front of the body, in bytes.
pub(crate) const PREFIX_LEN: usize = 8;

/// Most bytes that a body's header takes.
pub(crate) const HEADER_LEN_MAX: usize = FIXED_LEN + 5 * varint::LEN_MAX + 16 + 1 + Principal::LEN_MAX;

pub(crate) const FRAME_VERSION: u8 = 1;
const FIXED_LEN: usize = 48;
const FLAGS_AT: usize = 2;
const HASH_LEN: usize = 32;

/// In the codec's number: the payload is sealed with the key of its subject.
pub(crate) const CODEC_SEALED: u8 = 0b1000_0000;

const FLAG_REDACTED: u8 = 0b0000_0001;
pub(crate) const FLAG_CONTINUED: u8 = 0b0000_0010;
/// Everything before it was durable when it was written.
pub(crate) const FLAG_BEGINS_GROUP: u8 = 0b0000_0100;
const FLAGS_RESERVED: u8 = 0b1000_1000;
const CAUSE_SHIFT: u8 = 4;

const CAUSE_NODE: u8 = 0;
const CAUSE_COMMAND: u8 = 1;
const CAUSE_COMMAND_CORRELATED: u8 = 2;
const CAUSE_RECORD: u8 = 3;
const CAUSE_TIMER: u8 = 4;
const CAUSE_OBSERVATION: u8 = 5;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than the length in front announces, or than any frame has.
    #[error("frame is cut short: {len} bytes, {announced} announced")]
    CutShort {
        /// Bytes there.
        len: usize,
        /// Bytes that should be there.
        announced: usize,
    },
    /// The announced length is none that a frame can have.
    #[error("frame announces {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Bytes announced.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Bytes follow where the frame should have ended.
    #[error("{len} bytes follow the end of the frame")]
    Trailing {
        /// Bytes that follow.
        len: usize,
    },
    /// The bytes are not those that were written.
    #[error("checksum is {found:08x}, the bytes give {computed:08x}")]
    Checksum {
        /// The checksum stored.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A newer release wrote it.
    #[error("frame version {version} is not known to this release")]
    NewerVersion {
        /// The version found.
        version: u8,
    },
    /// A newer release wrote it, about a kind of entity that this one does not know.
    #[error("stream kind {number} is not known to this release")]
    UnknownStreamKind {
        /// The number found.
        number: u8,
    },
    /// The checksum holds but a field does not: it was written wrongly.
    #[error("field `{field}` is malformed")]
    Malformed {
        /// The first such field.
        field: &'static str,
    },
    /// The compressed block of a segment that holds it is damaged.
    #[error("compressed block {number} is damaged")]
    Block {
        /// Which, from 0.
        number: u64,
    },
}

impl FrameError {
    /// Whether a newer release may be able to read it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, FrameError::NewerVersion { .. } | FrameError::UnknownStreamKind { .. })
    }
}

/// What a frame is made of.
#[derive(Debug)]
pub(crate) struct FrameParts<'a> {
    pub header: &'a Header,
    pub layout_number: u16,
    pub layout_version: u16,
    pub codec: Codec,
    /// Whether the payload is sealed with the key of its subject.
    pub sealed: bool,
    /// Whether the next record belongs to the same commit.
    pub continued: bool,
    /// Whether it is the first of what is written at once.
    pub begins_group: bool,
    pub payload: &'a [u8],
    /// SHA-256 of the payload.
    pub payload_hash: &'a Hash,
    /// Hash of the record before.
    pub previous: &'a Hash,
}

/// Appends a frame to `out`; gives the hash with which it ends.
pub(crate) fn encode_into(out: &mut Vec<u8>, parts: &FrameParts<'_>) -> Hash {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_LEN]);
    put_header(out, parts);
    let header = out.get(start + PREFIX_LEN..).unwrap_or_default();
    let hash = record_hash(parts.previous, header, parts.payload_hash);
    out.extend_from_slice(parts.payload);
    out.extend_from_slice(&hash);
    seal(&mut out[start..]);
    hash
}

fn put_header(frame: &mut Vec<u8>, parts: &FrameParts<'_>) {
    let header = parts.header;
    let origin = &header.origin;
    let correlated = |id: CommandId| id.0 == origin.correlation;
    let (cause_kind, of) = match origin.cause {
        Cause::Node => (CAUSE_NODE, None),
        Cause::Command(id) if correlated(id) => (CAUSE_COMMAND_CORRELATED, None),
        Cause::Command(_) => (CAUSE_COMMAND, None),
        Cause::Record(seq) => (CAUSE_RECORD, Some(seq)),
        Cause::Timer(seq) => (CAUSE_TIMER, Some(seq)),
        Cause::Observation(seq) => (CAUSE_OBSERVATION, Some(seq)),
    };
    let continued = if parts.continued { FLAG_CONTINUED } else { 0 };
    let begins = if parts.begins_group { FLAG_BEGINS_GROUP } else { 0 };
    let flags = continued | begins | (cause_kind << CAUSE_SHIFT);
    let sealed = if parts.sealed { CODEC_SEALED } else { 0 };
    frame.extend_from_slice(&[FRAME_VERSION, parts.codec.number() | sealed, flags]);
    frame.extend_from_slice(&parts.layout_number.to_le_bytes());
    frame.extend_from_slice(&parts.layout_version.to_le_bytes());
    frame.push(header.stream.kind as u8);
    frame.extend_from_slice(header.stream.id.as_bytes());
    frame.extend_from_slice(origin.correlation.as_bytes());
    frame.extend_from_slice(&header.time.0.to_le_bytes());
    varint::put(frame, header.seq.0);
    varint::put(frame, header.version.0);
    varint::put(frame, header.epoch);
    match (origin.cause, of) {
        (Cause::Command(id), _) if !correlated(id) => frame.extend_from_slice(id.0.as_bytes()),
        (_, Some(seq)) => varint::put(frame, seq.0),
        (_, None) => {}
    }
    let principal = origin.principal.as_str().as_bytes();
    frame.push(u8::try_from(principal.len()).expect("a principal is at most 64 bytes long"));
    frame.extend_from_slice(principal);
    varint::put(frame, parts.payload.len() as u64);
}

/// Writes length and checksum into the first eight bytes.
pub(crate) fn seal(frame: &mut [u8]) {
    let body_len = u32::try_from(frame.len() - PREFIX_LEN).expect("a frame is at most 60 KiB long");
    frame[..4].copy_from_slice(&body_len.to_le_bytes());
    let checksum = checksum(frame);
    frame[4..PREFIX_LEN].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[PREFIX_LEN..])
}

pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn record_hash(previous: &Hash, header: &[u8], payload_hash: &Hash) -> Hash {
    // In one piece: the parts are shorter than the blocks that are hashed.
    let mut hashed = [0; 2 * HASH_LEN + HEADER_LEN_MAX];
    let (first, rest) = hashed.split_at_mut(HASH_LEN);
    let (middle, rest) = rest.split_at_mut(header.len());
    first.copy_from_slice(previous);
    middle.copy_from_slice(header);
    rest[..HASH_LEN].copy_from_slice(payload_hash);
    // The flag that a redaction sets is left out, so that the chain holds after one.
    middle[FLAGS_AT] &= !FLAG_REDACTED;
    sha256(&hashed[..2 * HASH_LEN + header.len()])
}

/// A record's frame with its payload replaced by its hash; as it is if that was done before.
pub(crate) fn redact(record: &StoredRecord) -> Vec<u8> {
    let mut frame = record.as_bytes().to_vec();
    if record.redacted {
        return frame;
    }
    frame.truncate(record.payload_at);
    frame[PREFIX_LEN + FLAGS_AT] |= FLAG_REDACTED;
    frame.extend_from_slice(&sha256(record.payload()));
    frame.extend_from_slice(&record.hash);
    seal(&mut frame);
    frame
}

/// The hash that a record must have if it follows the record whose hash is `previous`.
pub(crate) fn expected_hash(record: &StoredRecord, previous: &Hash) -> Hash {
    let (header, payload) = (record.header_bytes(), record.payload());
    if record.redacted {
        let mut payload_hash = GENESIS;
        payload_hash.copy_from_slice(payload);
        record_hash(previous, header, &payload_hash)
    } else {
        record_hash(previous, header, &sha256(payload))
    }
}

/// The length of the frame that begins with these bytes, prefix included.
pub(crate) fn announced_len(prefix: [u8; 4]) -> Result<usize, FrameError> {
    let len = (u32::from_le_bytes(prefix) as usize).saturating_add(PREFIX_LEN);
    if len > FRAME_LEN_MAX {
        return Err(FrameError::TooLong { len, max: FRAME_LEN_MAX });
    }
    Ok(len)
}

/// Reads one frame, which must take all of the bytes, and checks its checksum.
pub(crate) fn parse(bytes: impl Into<FrameBytes>) -> Result<StoredRecord, FrameError> {
    let bytes = bytes.into();
    check(&bytes)?;
    let (len, least) = (bytes.len(), PREFIX_LEN + FIXED_LEN + HASH_LEN);
    if len < least {
        return Err(FrameError::CutShort { len, announced: least });
    }
    parse_body(bytes)
}

/// Checks the length and the checksum of one frame, or of another entry of a segment.
pub(crate) fn check(bytes: &[u8]) -> Result<(), FrameError> {
    let len = bytes.len();
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(FrameError::CutShort { len, announced: PREFIX_LEN });
    };
    let announced = announced_len(*prefix)?;
    if len < announced {
        return Err(FrameError::CutShort { len, announced });
    }
    if len > announced {
        return Err(FrameError::Trailing { len: len - announced });
    }
    let Some(checksum) = rest.first_chunk() else {
        return Err(FrameError::CutShort { len, announced: PREFIX_LEN });
    };
    let (found, computed) = (u32::from_le_bytes(*checksum), self::checksum(bytes));
    if found == computed { Ok(()) } else { Err(FrameError::Checksum { found, computed }) }
}

/// What the end of a segment is found by: a part of a record, read without a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glance {
    pub seq: Seq,
    pub epoch: u64,
    pub time: Timestamp,
    pub hash: Hash,
    pub continued: bool,
}

/// Reads a part of one frame, which must take all of the bytes, and checks its checksum.
pub(crate) fn glance(bytes: &[u8]) -> Result<Glance, FrameError> {
    check(bytes)?;
    let (body, hash) = bytes
        .get(PREFIX_LEN..)
        .and_then(|body| body.split_last_chunk())
        .ok_or(FrameError::CutShort { len: bytes.len(), announced: PREFIX_LEN + FIXED_LEN + HASH_LEN })?;
    let mut fields = Fields { rest: body };
    let [version, _codec, flags] = fields.array("flags")?;
    if version != FRAME_VERSION {
        return Err(FrameError::NewerVersion { version });
    }
    // Event type, layout version, stream kind and id, correlation.
    let _ = fields.array::<37>("correlation")?;
    let time = Timestamp(i64::from_le_bytes(fields.array("time")?));
    let seq = Seq(fields.number("seq")?);
    let _version = fields.number("stream version")?;
    let epoch = fields.number("epoch")?;
    Ok(Glance { seq, epoch, time, hash: *hash, continued: flags & FLAG_CONTINUED != 0 })
}

fn parse_body(bytes: FrameBytes) -> Result<StoredRecord, FrameError> {
    let frame = &*bytes;
    let body = &frame[PREFIX_LEN..frame.len() - HASH_LEN];
    let mut fields = Fields { rest: body };
    let [version, codec, flags] = fields.array("flags")?;
    if version != FRAME_VERSION {
        return Err(FrameError::NewerVersion { version });
    }
    if flags & FLAGS_RESERVED != 0 {
        return Err(FrameError::Malformed { field: "flags" });
    }
    let layout_number = u16::from_le_bytes(fields.array("event type")?);
    let layout_version = u16::from_le_bytes(fields.array("layout version")?);
    let [kind] = fields.array("stream kind")?;
    let id = Uuid::from_bytes(fields.array("stream id")?);
    let correlation = Uuid::from_bytes(fields.array("correlation")?);
    let time = Timestamp(i64::from_le_bytes(fields.array("time")?));
    let seq = Seq(fields.number("seq")?);
    let stream_version = StreamVersion(fields.number("stream version")?);
    let epoch = fields.number("epoch")?;
    let cause = fields.cause(flags >> CAUSE_SHIFT, correlation)?;
    let principal = fields.principal()?;
    let payload_len = fields.number("payload length")?;
    let redacted = flags & FLAG_REDACTED != 0;
    let stored_len = if redacted { HASH_LEN as u64 } else { payload_len };
    if fields.rest.len() as u64 != stored_len {
        return Err(FrameError::Malformed { field: "payload length" });
    }
    let Some(kind) = StreamKind::from_number(kind) else {
        return Err(FrameError::UnknownStreamKind { number: kind });
    };
    let payload_at = frame.len() - HASH_LEN - fields.rest.len();
    let hash = *frame.last_chunk().expect("shorter frames were refused above");
    Ok(StoredRecord {
        header: Header {
            seq,
            stream: StreamId { kind, id },
            version: stream_version,
            time,
            epoch,
            origin: Origin { cause, correlation, principal },
        },
        layout_number,
        layout_version,
        codec_number: codec,
        redacted,
        continued: flags & FLAG_CONTINUED != 0,
        hash,
        payload_at,
        bytes,
        opening: Opening::default(),
    })
}

/// The part of a body that is not read yet.
struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FrameError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(FrameError::Malformed { field })?;
        self.rest = rest;
        Ok(*array)
    }

    fn number(&mut self, field: &'static str) -> Result<u64, FrameError> {
        varint::take(&mut self.rest).ok_or(FrameError::Malformed { field })
    }

    fn cause(&mut self, kind: u8, correlation: Uuid) -> Result<Cause, FrameError> {
        Ok(match kind {
            CAUSE_NODE => Cause::Node,
            CAUSE_COMMAND => Cause::Command(CommandId(Uuid::from_bytes(self.array("cause")?))),
            CAUSE_COMMAND_CORRELATED => Cause::Command(CommandId(correlation)),
            CAUSE_RECORD => Cause::Record(Seq(self.number("cause")?)),
            CAUSE_TIMER => Cause::Timer(Seq(self.number("cause")?)),
            CAUSE_OBSERVATION => Cause::Observation(Seq(self.number("cause")?)),
            _ => return Err(FrameError::Malformed { field: "cause" }),
        })
    }

    fn principal(&mut self) -> Result<Principal, FrameError> {
        let malformed = FrameError::Malformed { field: "principal" };
        let [len] = self.array("principal")?;
        let Some((bytes, rest)) = self.rest.split_at_checked(usize::from(len)) else {
            return Err(malformed);
        };
        self.rest = rest;
        // Control characters would come out changed, and reach an auditor's terminal otherwise.
        std::str::from_utf8(bytes).ok().and_then(Principal::exactly).ok_or(malformed)
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
