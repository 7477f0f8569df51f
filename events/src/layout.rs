//! The bridge between events and their bytes: which layout an event has, without naming a codec.
//!
//! Every event's payload is a struct of its own. Its type number and version are in the table of
//! [`crate::event`] and in `layouts.tsv`; the enums around the payloads are never stored.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Stable name of one persisted layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Layout {
    /// Number of the event type, on disk for ever.
    pub number: u16,
    /// Version of its payload's layout, from 1.
    pub version: u16,
    /// Name shown to people and used in filters, as in `pod.admitted`.
    pub name: &'static str,
}

/// Turns a payload into bytes, or into whatever else a caller makes of one.
pub trait Encode {
    /// What comes out.
    type Output;

    /// Encodes one payload.
    fn encode<T: Serialize>(&self, payload: &T) -> Self::Output;
}

/// Turns bytes into a payload.
pub trait Decode {
    /// Why bytes could not be read.
    type Error;

    /// Decodes one payload, which must take all of the bytes.
    ///
    /// # Errors
    /// The bytes are not such a payload.
    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Self::Error>;
}

/// Why stored bytes are not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownLayout {
    /// No event has this number: a newer release wrote it, or it is damaged.
    #[error("event type {number} is not known to this release")]
    Type {
        /// The number found.
        number: u16,
    },
    /// The event is known but not in this version.
    #[error("version {version} of event `{name}` is not known to this release")]
    Version {
        /// The event's name.
        name: &'static str,
        /// The version found.
        version: u16,
    },
}
