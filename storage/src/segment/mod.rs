//! Segment files: where a record is first and for good. `docs/journal-format.md` tells them byte by byte.
//!
//! One segment is open and takes what is written; it has its room on the disk from the start, so a commit is one
//! write and one sync. The others are sealed: a footer says what is in them, and nothing is added.

mod again;
pub(crate) mod compressed;
pub(crate) mod entry;
pub(crate) mod footer;
pub(crate) mod listing;
pub(crate) mod open_segment;
pub(crate) mod order;
pub(crate) mod reader;
pub(crate) mod recover;
pub(crate) mod rows;
pub(crate) mod set;
pub(crate) mod walk;

use std::path::{Path, PathBuf};

use purser_events::{Seq, Timestamp};

use crate::frame::Hash;
use crate::verify::{Fault, Head};

/// Smallest segment that can be asked for, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 256 << 10;

/// Largest segment that can be asked for, in bytes: what is read again at the start after a kill.
pub const SEGMENT_BYTES_MAX: u64 = 128 << 20;

/// Number of the segment format that this release writes.
pub(crate) const SEGMENT_FORMAT: u16 = 1;

pub(crate) const HEADER_LEN: usize = 72;

const MAGIC: [u8; 8] = *b"PURSERS\n";
const EXTENSION: &str = "seg";
const COMPRESSED_EXTENSION: &str = "seg.zst";
/// The end of the name of a file that is still being written.
const UNFINISHED_EXTENSION: &str = "new";
/// Digits of the largest position.
const NAME_DIGITS: usize = 20;

/// What the first bytes of a segment say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The record before the segment's first.
    pub before: Head,
    /// Which opening of the journal made it.
    pub epoch: u64,
    /// When.
    pub created: Timestamp,
}

impl SegmentHeader {
    /// The position of the first record that belongs in the segment.
    pub(crate) fn first(&self) -> Seq {
        Seq(self.before.seq.0.saturating_add(1))
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&SEGMENT_FORMAT.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.first().0.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[28..60].copy_from_slice(&self.before.hash);
        bytes[60..68].copy_from_slice(&self.created.0.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..HEADER_LEN - 4]);
        bytes[HEADER_LEN - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<SegmentHeader, HeaderError> {
        if bytes[..8] != MAGIC {
            return Err(HeaderError::Foreign);
        }
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        if format > SEGMENT_FORMAT {
            return Err(HeaderError::Newer { format });
        }
        let (body, checksum) = bytes.split_at(HEADER_LEN - 4);
        let first = number(12);
        if crc32c::crc32c(body).to_le_bytes() != checksum || first == 0 {
            return Err(HeaderError::Damaged);
        }
        let hash: Hash = std::array::from_fn(|byte| bytes[28 + byte]);
        let created = Timestamp(number(60).cast_signed());
        Ok(SegmentHeader { before: Head { seq: Seq(first - 1), hash }, epoch: number(20), created })
    }
}

/// Why a file's first bytes are not a segment's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// They are another kind of file's.
    #[error("it is not a segment")]
    Foreign,
    /// A newer release wrote it.
    #[error("it has format {format}, this release knows up to {}", SEGMENT_FORMAT)]
    Newer {
        /// The format found.
        format: u16,
    },
    /// They are not those that were written, or the file is shorter than they are.
    #[error("its header is damaged")]
    Damaged,
    /// The file's name says another first record than its header.
    #[error("its header says that it begins with record {first}")]
    Misnamed {
        /// What the header says.
        first: Seq,
    },
}

/// Where the segments of a journal in `dir` are.
pub(crate) fn folder(dir: &Path) -> PathBuf {
    dir.join("segments")
}

/// The name of the segment whose first record is at this position.
pub(crate) fn file_name(first: Seq) -> String {
    format!("{:0width$}.{EXTENSION}", first.0, width = NAME_DIGITS)
}

/// The name of the same segment compressed.
pub(crate) fn compressed_name(first: Seq) -> String {
    format!("{:0width$}.{COMPRESSED_EXTENSION}", first.0, width = NAME_DIGITS)
}

/// Where a file is written before it gets its name.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(UNFINISHED_EXTENSION);
    PathBuf::from(name)
}

/// Whether a file is a compressed segment by its name.
pub(crate) fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

/// The first record of the segment that has this name; none if it is no segment's name.
pub(crate) fn first_of_name(name: &str) -> Option<Seq> {
    let (digits, extension) = name.split_once('.')?;
    let is_ours = (extension == EXTENSION || extension == COMPRESSED_EXTENSION)
        && digits.len() == NAME_DIGITS
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_ours).map(Seq)
}

/// Whether a segment was being written under this name.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(name, end)| end == UNFINISHED_EXTENSION && first_of_name(name).is_some())
}

/// Names the place of a fault.
pub(crate) fn at(path: &Path, at: u64, fault: Fault) -> Fault {
    Fault::InSegment { file: name_of(path), at, source: Box::new(fault) }
}

pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
