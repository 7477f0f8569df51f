//! A record as it is stored: its frame, taken apart but not decoded.

use purser_events::event::DecodeError;
use purser_events::{Event, Header, Record};

use crate::block::FrameBytes;
use crate::codec::{Codec, CodecError};
use crate::frame::{self, CODEC_SEALED, FrameError, Hash, PREFIX_LEN};

/// A record whose frame is sound; its payload is decoded only on demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Where it stands and why it is there.
    pub header: Header,
    /// Number of the event type.
    pub layout_number: u16,
    /// Version of the payload's layout.
    pub layout_version: u16,
    /// Number of the payload's codec, see [`Codec`], with 128 added if it is sealed.
    pub codec_number: u8,
    /// Whether the payload was taken out and only its hash is left.
    pub redacted: bool,
    /// Whether the next record belongs to the same commit.
    pub continued: bool,
    /// Hash over this record and the hash of the one before.
    pub hash: Hash,
    pub(crate) payload_at: usize,
    pub(crate) bytes: FrameBytes,
    pub(crate) opening: Opening,
}

/// What came of the try to open a sealed payload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Opening {
    /// There was none, or no key.
    #[default]
    NoKey,
    /// The key that there is does not open it.
    WrongKey,
    /// What was sealed.
    Opened(Vec<u8>),
}

/// Why a stored payload is not an event of this release.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It was taken out on purpose.
    #[error("payload was redacted")]
    Redacted,
    /// It is sealed with the key of its subject, which is not at hand: it was destroyed, or not given.
    #[error("payload is sealed")]
    Sealed,
    /// It is sealed, and the key that there is for its subject does not open it.
    #[error("payload is sealed with another key than the one given")]
    WrongKey,
    /// No codec has this number: a newer release wrote it.
    #[error("codec {number} is not known to this release")]
    UnknownCodec {
        /// The number found.
        number: u8,
    },
    /// The layout is unknown, or the bytes are not of that layout.
    #[error(transparent)]
    Decode(#[from] DecodeError<CodecError>),
}

impl PayloadError {
    /// Whether nothing is wrong with the record but that its payload is kept from the reader on purpose.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        match self {
            PayloadError::Redacted | PayloadError::Sealed => true,
            PayloadError::WrongKey | PayloadError::UnknownCodec { .. } | PayloadError::Decode(_) => false,
        }
    }

    /// Whether a newer release may be able to read it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        match self {
            PayloadError::UnknownCodec { .. } | PayloadError::Decode(DecodeError::Unknown(_)) => true,
            PayloadError::Redacted
            | PayloadError::Sealed
            | PayloadError::WrongKey
            | PayloadError::Decode(DecodeError::Malformed { .. }) => false,
        }
    }
}

impl StoredRecord {
    /// Reads one frame, which must take all of the bytes, and checks its checksum.
    ///
    /// # Errors
    /// Names what is wrong with the bytes.
    pub fn parse(bytes: Vec<u8>) -> Result<StoredRecord, FrameError> {
        frame::parse(bytes)
    }

    /// The frame, as it is in the segments and in exports.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The record with a frame of its own. One that was read lies in memory with those beside it, which stays as long as
    /// any of them does.
    pub(crate) fn on_its_own(self) -> StoredRecord {
        StoredRecord { bytes: self.bytes.on_their_own(), ..self }
    }

    /// The payload as it is stored; the 32 bytes of its hash if it was redacted.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload_at..self.bytes.len() - self.hash.len()]
    }

    /// Whether the payload is, or was before it was redacted, sealed with the key of its subject.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.codec_number & CODEC_SEALED != 0
    }

    /// What the payload says.
    ///
    /// # Errors
    /// The payload was redacted, is sealed and was not opened, is of a layout or codec that this release does not know, or malformed.
    pub fn event(&self) -> Result<Event, PayloadError> {
        if self.redacted {
            return Err(PayloadError::Redacted);
        }
        let payload = match (&self.opening, self.is_sealed()) {
            (_, false) => self.payload(),
            (Opening::Opened(payload), true) => payload,
            (Opening::NoKey, true) => return Err(PayloadError::Sealed),
            (Opening::WrongKey, true) => return Err(PayloadError::WrongKey),
        };
        let number = self.codec_number & !CODEC_SEALED;
        let codec = Codec::from_number(number).ok_or(PayloadError::UnknownCodec { number })?;
        Ok(Event::decode(self.layout_number, self.layout_version, payload, &codec)?)
    }

    /// Header and event.
    ///
    /// # Errors
    /// As for [`StoredRecord::event`].
    pub fn record(&self) -> Result<Record, PayloadError> {
        Ok(Record { header: self.header.clone(), event: self.event()? })
    }

    pub(crate) fn header_bytes(&self) -> &[u8] {
        &self.bytes[PREFIX_LEN..self.payload_at]
    }
}
