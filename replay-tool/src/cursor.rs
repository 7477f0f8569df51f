//! A place in a journal that a later call goes on from: a record's number and the beginning of its hash, so that the
//! place of another journal is noticed.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

use purser_events::Seq;
use purser_storage::{Hash, StoredRecord};

use crate::failure::Failure;
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

/// The place that a file names; none if there is no such file yet.
pub(crate) fn read(path: &Path) -> Result<Option<Cursor>, Failure> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Failure::CursorFile {
        verb: "read",
        path: path.to_owned(),
        source,
    };
    match fs::read_to_string(path) {
        Ok(text) => text.trim_end().parse().map(Some).map_err(|error: NotACursor| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}

/// Puts a place into a file: whole, or the file stays as it is.
pub(crate) fn write(cursor: &Cursor, path: &Path) -> Result<(), Failure> {
    let mut beside = OsString::from(path);
    beside.push(".new");
    let written = File::create(&beside).and_then(|mut file| {
        writeln!(file, "{cursor}")?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    written.map_err(|error| Failure::CursorFile {
        verb: "write",
        path: path.to_owned(),
        source: error.into(),
    })
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
