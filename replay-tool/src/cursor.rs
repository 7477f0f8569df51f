//! A place in a journal that a later call goes on from: a record's number and the beginning of its hash, so that the
//! place of another journal is noticed.

use std::fmt;
use std::str::FromStr;

use purser_events::Seq;
use purser_storage::{Hash, StoredRecord};

use crate::render;

/// Hex digits of the hash that are kept.
const HASH_LEN: usize = 16;

/// A place in a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The record.
    pub seq: Seq,
    /// The beginning of its hash, in hex.
    hash: String,
}

/// Text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected what --show-cursor told, as in 11:7fcc9176e59188fb")]
pub struct NotACursor;

impl Cursor {
    /// The place of a record.
    #[must_use]
    pub fn of(seq: Seq, hash: &Hash) -> Cursor {
        let mut hash = render::hex(hash);
        hash.truncate(HASH_LEN);
        Cursor { seq, hash }
    }

    /// Whether this is the record that is meant.
    #[must_use]
    pub fn is_of(&self, stored: &StoredRecord) -> bool {
        *self == Cursor::of(stored.header.seq, &stored.hash)
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Cursor, NotACursor> {
        let (seq, hash) = text.split_once(':').ok_or(NotACursor)?;
        let is_hex = |char: char| matches!(char, '0'..='9' | 'a'..='f');
        if hash.len() != HASH_LEN || !hash.chars().all(is_hex) {
            return Err(NotACursor);
        }
        let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or(NotACursor)?;
        Ok(Cursor { seq: Seq(seq), hash: hash.to_owned() })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}
