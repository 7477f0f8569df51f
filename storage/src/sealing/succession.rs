//! The statement by which one sealing key appoints the next.
//!
//! Numbers are little-endian.
//!
//! | at | bytes | field | meaning |
//! |---|---|---|---|
//! | 0 | 18 | domain | `0xFF`, then `purser-succession`. No note begins so: a signature of one is never one of the other. |
//! | 18 | 2 | version | 1. |
//! | 20 | 8 | period | Number of the period that begins; at least 1. |
//! | 28 | 8 | time | When it begins, signed: microseconds since 1970-01-01T00:00:00Z, by the node's clock. |
//! | 36 | 8 | size | Leaves of the tree at that moment. |
//! | 44 | 32 | root | Its root. |
//! | 76 | 32 | public key | Ed25519, of the period that begins. |
//! | 108 | 1 | origin length | At least 1. |
//! | 109 | | origin | Name of the journal, UTF-8. |
//! | | 64 | signature | Ed25519, by the key of the period before, of all bytes before this field. |

use purser_events::Timestamp;

use super::PeriodStart;
use crate::checkpoint::{KEY_NAME_LEN_MAX, NoteSigner, PublicKey, SIGNATURE_LEN, Signature, VerifierKey};
use crate::frame::Hash;
use crate::merkle;

const DOMAIN: [u8; 18] = *b"\xffpurser-succession";
const VERSION: u16 = 1;

/// Bytes of the longest succession.
pub(crate) const LEN_MAX: usize = 109 + KEY_NAME_LEN_MAX + SIGNATURE_LEN;

/// Why bytes are not a succession.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuccessionError {
    /// There are fewer bytes than it takes, or more.
    #[error("succession has a wrong length: {len} bytes")]
    Length {
        /// Bytes there.
        len: usize,
    },
    /// It does not begin as a succession does.
    #[error("bytes are not a succession")]
    Foreign,
    /// A newer release wrote it.
    #[error("succession has version {version}, this release knows {VERSION}: use a newer release")]
    Newer {
        /// Its version.
        version: u16,
    },
    /// A field has a value that none can have.
    #[error("{field} of the succession cannot be what it is")]
    Field {
        /// Which field.
        field: &'static str,
    },
}

/// One key's word on who seals after it, from where on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    start: PeriodStart,
    key: VerifierKey,
    signature: Signature,
}

impl Succession {
    /// Appoints `key` with the key of the period before.
    pub(super) fn sign(start: PeriodStart, key: VerifierKey, by: &NoteSigner) -> Succession {
        let signature = by.sign(&statement(&start, &key));
        Succession { start, key, signature }
    }

    /// Where the new period begins.
    #[must_use]
    pub fn start(&self) -> &PeriodStart {
        &self.start
    }

    /// Whose signature counts in it.
    #[must_use]
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Whether this key, which must be that of the period before, made the statement.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifierKey) -> bool {
        key.has_signed(&statement(&self.start, &self.key), &self.signature)
    }

    /// Its bytes, as the table above tells.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = statement(&self.start, &self.key);
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// Reads a succession. Whose word it is has to be checked still.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly a succession.
    pub fn decode(bytes: &[u8]) -> Result<Succession, SuccessionError> {
        let length = SuccessionError::Length { len: bytes.len() };
        let mut rest = bytes;
        if take::<18>(&mut rest).ok_or_else(|| length.clone())? != DOMAIN {
            return Err(SuccessionError::Foreign);
        }
        let version = u16::from_le_bytes(take(&mut rest).ok_or_else(|| length.clone())?);
        if version != VERSION {
            return Err(SuccessionError::Newer { version });
        }
        let (start, public) = take_fields(&mut rest).ok_or_else(|| length.clone())?;
        let [origin_len] = take(&mut rest).ok_or_else(|| length.clone())?;
        let (origin, signature) =
            rest.split_at_checked(usize::from(origin_len)).ok_or_else(|| length.clone())?;
        let signature = signature.try_into().map_err(|_| length)?;
        check(start.number > 0, "period")?;
        check(start.size <= merkle::LEN_MAX, "size")?;
        let origin = std::str::from_utf8(origin).map_err(|_| SuccessionError::Field { field: "origin" })?;
        let key = VerifierKey::new(origin, &public);
        let key = key.map_err(|_| SuccessionError::Field { field: "origin or public key" })?;
        Ok(Succession { start, key, signature })
    }
}

fn check(holds: bool, field: &'static str) -> Result<(), SuccessionError> {
    if holds { Ok(()) } else { Err(SuccessionError::Field { field }) }
}

/// The fields of fixed length behind the version.
fn take_fields(rest: &mut &[u8]) -> Option<(PeriodStart, PublicKey)> {
    let start = PeriodStart {
        number: u64::from_le_bytes(take(rest)?),
        started_at: Timestamp(i64::from_le_bytes(take(rest)?)),
        size: u64::from_le_bytes(take(rest)?),
        root: take::<{ size_of::<Hash>() }>(rest)?,
    };
    Some((start, take(rest)?))
}

/// The next bytes; none if there are too few.
pub(super) fn take<const LEN: usize>(rest: &mut &[u8]) -> Option<[u8; LEN]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

/// What is signed: all but the signature.
fn statement(start: &PeriodStart, key: &VerifierKey) -> Vec<u8> {
    let origin = key.name().as_bytes();
    let mut bytes = Vec::with_capacity(LEN_MAX);
    bytes.extend_from_slice(&DOMAIN);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&start.number.to_le_bytes());
    bytes.extend_from_slice(&start.started_at.0.to_le_bytes());
    bytes.extend_from_slice(&start.size.to_le_bytes());
    bytes.extend_from_slice(&start.root);
    bytes.extend_from_slice(key.public());
    bytes.push(u8::try_from(origin.len()).expect("the name of a key has at most 255 bytes"));
    bytes.extend_from_slice(origin);
    bytes
}
