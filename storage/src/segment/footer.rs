//! The end of a sealed segment: what is in it, and where.

use purser_events::{Seq, Timestamp};

use crate::frame::Hash;
use crate::verify::Head;

/// Bytes of entries between two marks.
pub(crate) const MARK_INTERVAL: u64 = 64 << 10;

/// The last bytes of a sealed segment: where the footer's entry begins, u64, then this.
pub(crate) const TRAILER_MAGIC: [u8; 8] = *b"PURSERF\n";

pub(crate) const TRAILER_LEN: usize = 16;

/// Where an entry begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The next record from there on.
    pub seq: Seq,
    /// Bytes from the beginning of the file.
    pub at: u64,
}

/// What is in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    /// The last record; the one before the segment's first if it has none.
    pub last: Head,
    /// Time of the first record, or of the segment's making if it has none.
    pub first_time: Timestamp,
    /// Time of the last record.
    pub last_time: Timestamp,
    /// The newest epoch in it.
    pub epoch: u64,
    /// SHA-256 of the file up to the footer's entry.
    pub content: Hash,
    /// Where to begin to read for a record, in order.
    pub marks: Vec<Mark>,
}

impl Footer {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.last.seq.0.to_le_bytes());
        out.extend_from_slice(&self.last.hash);
        out.extend_from_slice(&self.first_time.0.to_le_bytes());
        out.extend_from_slice(&self.last_time.0.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.content);
        for mark in &self.marks {
            out.extend_from_slice(&mark.seq.0.to_le_bytes());
            out.extend_from_slice(&mark.at.to_le_bytes());
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Footer> {
        let (seq, rest) = bytes.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (first_time, rest) = rest.split_first_chunk()?;
        let (last_time, rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (content, rest) = rest.split_first_chunk()?;
        let (marks, []) = rest.as_chunks::<16>() else { return None };
        let mark = |bytes: &[u8; 16]| {
            let (seq, at) = bytes.split_at(8);
            let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
            Some(Mark { seq: Seq(number(seq)?), at: number(at)? })
        };
        Some(Footer {
            last: Head { seq: Seq(u64::from_le_bytes(*seq)), hash: *hash },
            first_time: Timestamp(i64::from_le_bytes(*first_time)),
            last_time: Timestamp(i64::from_le_bytes(*last_time)),
            epoch: u64::from_le_bytes(*epoch),
            content: *content,
            marks: marks.iter().map(mark).collect::<Option<_>>()?,
        })
    }
}

/// The trailer after a footer's entry that begins at `at`.
pub(crate) fn trailer(at: u64) -> [u8; TRAILER_LEN] {
    let mut bytes = [0; TRAILER_LEN];
    bytes[..8].copy_from_slice(&at.to_le_bytes());
    bytes[8..].copy_from_slice(&TRAILER_MAGIC);
    bytes
}

/// Where a file's footer begins, if these last bytes of it are a trailer.
pub(crate) fn footer_at(trailer: &[u8; TRAILER_LEN]) -> Option<u64> {
    let (at, magic) = trailer.split_first_chunk()?;
    (*magic == TRAILER_MAGIC).then(|| u64::from_le_bytes(*at))
}
