//! The codecs that turn payloads into bytes. No other file names them, so either can be replaced.

use std::cell::RefCell;

use purser_events::layout::{Decode, Encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::frame::FRAME_LEN_MAX;

/// How a payload's bytes were made. The numbers are on disk for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Codec {
    /// bincode 2, standard configuration: little-endian, integers of variable length.
    #[default]
    Bincode = 1,
    /// postcard 1.
    Postcard = 2,
}

impl Codec {
    /// Every codec, in the order of its number.
    pub const ALL: [Codec; 2] = [Codec::Bincode, Codec::Postcard];

    /// The number in frames.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The codec that this number stands for in frames.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.number() == number)
    }

    /// The word in configurations, file names and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Codec::Bincode => "bincode",
            Codec::Postcard => "postcard",
        }
    }
}

/// Why a payload could not be turned into bytes or back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// bincode refused to encode.
    #[error("payload could not be encoded")]
    BincodeEncode(#[source] bincode::error::EncodeError),
    /// bincode refused the bytes.
    #[error("bytes are not such a payload")]
    BincodeDecode(#[source] bincode::error::DecodeError),
    /// postcard refused to encode, or refused the bytes.
    #[error("bytes and payload do not match")]
    Postcard(#[source] postcard::Error),
    /// The payload ended before its bytes did.
    #[error("payload is {used} bytes long, {len} were given")]
    Trailing {
        /// Bytes that the payload took.
        used: usize,
        /// Bytes given.
        len: usize,
    },
    /// More bytes than any payload may have.
    #[error("{len} bytes given, at most {max} are allowed")]
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
}

/// Memory that one payload may claim while it is decoded, in bytes: a little more than a frame holds, because
/// the limit counts what lengths announce before a single element is read.
const DECODE_LIMIT: usize = 65_536;

/// Bytes that most payloads fit into.
pub(crate) const PAYLOAD_LEN: usize = 256;

const BINCODE: bincode::config::Configuration = bincode::config::standard();
const BINCODE_BOUNDED: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<DECODE_LIMIT>,
> = BINCODE.with_limit::<DECODE_LIMIT>();

impl Encode for Codec {
    type Output = Result<Vec<u8>, CodecError>;

    fn encode<T: Serialize>(&self, payload: &T) -> Self::Output {
        let out = RefCell::new(Vec::with_capacity(PAYLOAD_LEN));
        self.appending(&out).encode(payload)?;
        Ok(out.into_inner())
    }
}

impl Codec {
    /// An encoder that adds each payload to the end of `out`.
    pub(crate) fn appending(self, out: &RefCell<Vec<u8>>) -> Appending<'_> {
        Appending { codec: self, out }
    }
}

/// Encodes one payload after the other into the same memory. After an error some bytes more are there.
pub(crate) struct Appending<'a> {
    codec: Codec,
    out: &'a RefCell<Vec<u8>>,
}

impl Encode for Appending<'_> {
    type Output = Result<(), CodecError>;

    fn encode<T: Serialize>(&self, payload: &T) -> Self::Output {
        let mut out = self.out.borrow_mut();
        match self.codec {
            Codec::Bincode => {
                // To a vector of bincode's own everything is encoded twice, the first time for its length.
                bincode::serde::encode_into_std_write(payload, &mut *out, BINCODE)
                    .map_err(CodecError::BincodeEncode)?;
            }
            Codec::Postcard => {
                *out =
                    postcard::to_extend(payload, std::mem::take(&mut *out)).map_err(CodecError::Postcard)?;
            }
        }
        Ok(())
    }
}

impl Decode for Codec {
    type Error = CodecError;

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let len = bytes.len();
        if len > FRAME_LEN_MAX {
            return Err(CodecError::TooLong { len, max: FRAME_LEN_MAX });
        }
        let (payload, used) = match self {
            Codec::Bincode => bincode::serde::decode_from_slice(bytes, BINCODE_BOUNDED)
                .map_err(CodecError::BincodeDecode)?,
            Codec::Postcard => {
                let (payload, rest) = postcard::take_from_bytes(bytes).map_err(CodecError::Postcard)?;
                (payload, len - rest.len())
            }
        };
        // Neither codec minds bytes that are left over: a longer layout would pass for a shorter one.
        if used != len {
            return Err(CodecError::Trailing { used, len });
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length that announces far more than follows must be refused before memory is claimed for it.
    #[test]
    fn announced_lengths_do_not_claim_memory() {
        let bincode_bomb = [&[253][..], &(1_u64 << 40).to_le_bytes()].concat();
        let postcard_bomb = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
        for bomb in [&bincode_bomb[..], &postcard_bomb[..]] {
            for codec in Codec::ALL {
                assert!(codec.decode::<Vec<u64>>(bomb).is_err(), "{codec:?} accepted {bomb:?}");
                assert!(codec.decode::<String>(bomb).is_err(), "{codec:?} accepted {bomb:?}");
                assert!(codec.decode::<Vec<Vec<String>>>(bomb).is_err(), "{codec:?} accepted {bomb:?}");
            }
        }
    }

    #[test]
    fn bytes_left_over_are_refused() {
        for codec in Codec::ALL {
            let mut bytes = codec.encode(&7_u32).unwrap();
            bytes.push(0);
            assert!(matches!(codec.decode::<u32>(&bytes), Err(CodecError::Trailing { used: 1, len: 2 })));
        }
    }

    #[test]
    fn payloads_longer_than_a_frame_are_refused_unread() {
        let bytes = vec![0; FRAME_LEN_MAX + 1];
        for codec in Codec::ALL {
            assert!(matches!(codec.decode::<u8>(&bytes), Err(CodecError::TooLong { .. })));
        }
    }

    #[test]
    fn numbers_and_codecs_match() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_number(codec.number()), Some(codec));
        }
        assert_eq!(Codec::from_number(0), None);
        assert_eq!(Codec::from_number(3), None);
    }
}
