//! What becomes of sealed segments: they are compressed, archived, read again now and then, and go once nothing needs
//! them any more.
//!
//! Each step is begun by whoever keeps the journal's house, at most one at a time, and blocks on the disk. A crash
//! at any point leaves every record readable that was not given up before.

mod archive;
mod check;
mod compress;
mod hold;
mod policy;
mod proof;
mod trim;

use std::path::PathBuf;

use purser_events::{Seq, Timestamp};
use tokio::sync::watch;

pub use archive::{ArchiveError, copy_to_folder};
pub(crate) use archive::{ArchivedList, from_hex, to_hex};
pub(crate) use compress::{check_compressed, write_compressed};
pub(crate) use hold::Holds;
pub use policy::{Retention, plan};
pub(crate) use proof::prove;
pub use trim::Trimmed;

use crate::frame::Hash;
use crate::journal::Journal;
use crate::segment::is_compressed;
use crate::segment::set::{Known, SealedInfo};
use crate::verify::Head;

/// A sealed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its first record.
    pub first: Seq,
    /// Its last record.
    pub last: Head,
    /// SHA-256 of what is in it, before its footer; the same whether it is compressed or not.
    pub content: Hash,
    /// Bytes that it takes on disk.
    pub bytes: u64,
    /// Time of its first record.
    pub first_time: Timestamp,
    /// Time of its last record.
    pub last_time: Timestamp,
    /// Whether it is compressed.
    pub compressed: bool,
    /// Whether the archive has it.
    pub archived: bool,
    /// Its file.
    pub path: PathBuf,
}

impl Journal {
    /// The sealed segments in order.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let archived = self.segment_set().archived();
        let info = |(first, known): (Seq, Known)| {
            let Known { path, sealed, .. } = known;
            let SealedInfo { last, bytes, content, first_time, last_time } = sealed?;
            let (compressed, archived) = (is_compressed(&path), archived.has(first, &content));
            Some(SegmentInfo {
                first,
                last,
                content,
                bytes,
                first_time,
                last_time,
                compressed,
                archived,
                path,
            })
        };
        self.segment_set().all().into_iter().filter_map(info).collect()
    }

    /// Tells of every segment that is sealed from now on, by its last record.
    #[must_use]
    pub fn seals(&self) -> watch::Receiver<Seq> {
        self.segment_set().seals()
    }

    /// The record before the first that the journal still has; [`Head::GENESIS`] unless it was trimmed.
    #[must_use]
    pub fn before(&self) -> Head {
        self.segment_set().before()
    }
}
