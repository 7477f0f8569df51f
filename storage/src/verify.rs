//! The checks that make a row of frames a journal: no gap, an unbroken chain, streams in step.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use purser_events::{Seq, StreamId, StreamVersion};

use crate::frame::{self, FrameError, GENESIS, Hash};
use crate::record::StoredRecord;
use crate::segment::HeaderError;

/// The last record of a journal, or of a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its position; 0 if there is none.
    pub seq: Seq,
    /// Its hash; zeros if there is none.
    pub hash: Hash,
}

impl Head {
    /// Before the first record.
    pub const GENESIS: Head = Head { seq: Seq::ZERO, hash: GENESIS };

    /// The earlier of two.
    pub(crate) fn earlier(self, other: Head) -> Head {
        if other.seq < self.seq { other } else { self }
    }
}

/// What is wrong with a journal at its first bad record; all before it is sound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The frame itself is damaged.
    #[error("record {seq} is damaged")]
    Damaged {
        /// Where it should be.
        seq: Seq,
        /// What is wrong with it.
        source: FrameError,
    },
    /// A record is missing, repeated or in a place that is not its own.
    #[error("record {expected} is missing: record {found} stands in its place")]
    Gap {
        /// The position that comes next.
        expected: Seq,
        /// The position found.
        found: Seq,
    },
    /// The record is not the one that was written after the record before it.
    #[error("record {seq} breaks the chain of hashes")]
    BrokenChain {
        /// Which record.
        seq: Seq,
    },
    /// A record of its stream is missing or repeated.
    #[error("record {seq} has version {found} of stream {stream}, where version {expected} comes next")]
    StreamGap {
        /// Which record.
        seq: Seq,
        /// Its stream.
        stream: StreamId,
        /// The version that comes next.
        expected: StreamVersion,
        /// The version found.
        found: StreamVersion,
    },
    /// An older opening of the journal wrote after a newer one: there were two writers.
    #[error("record {seq} is of epoch {found}, after a record of epoch {newest}: two writers were at work")]
    EpochWentBack {
        /// Which record.
        seq: Seq,
        /// Its epoch.
        found: u64,
        /// The newest epoch before it.
        newest: u64,
    },
    /// The journal ends before a record that it is known to have had.
    #[error("the journal ends at record {found}, but record {expected} was acknowledged")]
    Shortened {
        /// The last record there.
        found: Seq,
        /// The last record known to have been there.
        expected: Seq,
    },
    /// A record is not the one that is known to have stood there.
    #[error("record {seq} is not the one that was acknowledged")]
    Replaced {
        /// Which record.
        seq: Seq,
    },
    /// A fault in a segment, with its place.
    #[error("segment `{file}` is damaged at byte {at}")]
    InSegment {
        /// The file's name.
        file: String,
        /// Bytes from the beginning of the file.
        at: u64,
        /// What is wrong there.
        source: Box<Fault>,
    },
    /// A segment's first bytes are not what was written.
    #[error("segment `{file}` cannot be read")]
    SegmentHeader {
        /// The file's name.
        file: String,
        /// What is wrong with them.
        source: HeaderError,
    },
    /// A segment that others follow has no sound footer.
    #[error("the end of segment `{file}` is missing or damaged")]
    SegmentFooter {
        /// The file's name.
        file: String,
    },
    /// A segment's footer says something else than what stands in it.
    #[error("the footer of segment `{file}` does not fit what is in it")]
    SegmentContent {
        /// The file's name.
        file: String,
    },
    /// A segment between two others is not there.
    #[error("the segment with record {expected} is missing: the next one begins with record {found}")]
    SegmentMissing {
        /// The first record that is missing.
        expected: Seq,
        /// The first record after it that is there.
        found: Seq,
    },
}

impl Fault {
    /// Whether nothing is broken, but a newer release is needed to read on.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        match self {
            Fault::Damaged { source, .. } => source.is_unknown(),
            Fault::InSegment { source, .. } => source.is_unknown(),
            Fault::SegmentHeader { source, .. } => matches!(source, HeaderError::Newer { .. }),
            Fault::Gap { .. }
            | Fault::BrokenChain { .. }
            | Fault::StreamGap { .. }
            | Fault::EpochWentBack { .. }
            | Fault::Shortened { .. }
            | Fault::Replaced { .. }
            | Fault::SegmentFooter { .. }
            | Fault::SegmentContent { .. }
            | Fault::SegmentMissing { .. } => false,
        }
    }
}

/// What of a record says where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Its place in the journal.
    pub seq: Seq,
    /// Its stream.
    pub stream: StreamId,
    /// Its place there.
    pub version: StreamVersion,
    /// Which opening of the journal wrote it.
    pub epoch: u64,
    /// Its hash in the chain.
    pub hash: Hash,
    /// Whether its payload was taken out.
    pub redacted: bool,
}

impl Position {
    pub(crate) fn of(record: &StoredRecord) -> Position {
        let header = &record.header;
        let (seq, stream, version, epoch) = (header.seq, header.stream, header.version, header.epoch);
        Position { seq, stream, version, epoch, hash: record.hash, redacted: record.redacted }
    }
}

/// Checks records one after the other. Its memory grows with the number of streams, not of records.
#[derive(Debug)]
pub struct Verifier {
    head: Head,
    epoch: u64,
    streams: BTreeMap<StreamId, StreamVersion>,
    /// Whether every stream has been seen from its first record on.
    from_genesis: bool,
}

impl Default for Verifier {
    fn default() -> Verifier {
        Verifier::after(Head::GENESIS)
    }
}

impl Verifier {
    /// Checks what follows `head`, which is taken on trust.
    #[must_use]
    pub fn after(head: Head) -> Verifier {
        let from_genesis = head.seq == Seq::ZERO;
        Verifier { head, epoch: 0, streams: BTreeMap::new(), from_genesis }
    }

    /// The last record that was found sound.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The newest epoch among the records found sound; 0 if there is none.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last version of every stream seen.
    #[must_use]
    pub(crate) fn into_streams(self) -> BTreeMap<StreamId, StreamVersion> {
        self.streams
    }

    /// Checks the next record.
    ///
    /// # Errors
    /// The record cannot follow those before it; it is then left out and the checks may not go on.
    pub fn check(&mut self, record: &StoredRecord) -> Result<(), Fault> {
        self.check_position(&Position::of(record), |previous| {
            record.hash == frame::expected_hash(record, previous)
        })
    }

    /// As [`Verifier::check`]; `is_chained` says whether its hash is the one that follows from the hash before it.
    pub(crate) fn check_position(
        &mut self,
        position: &Position,
        is_chained: impl FnOnce(&Hash) -> bool,
    ) -> Result<(), Fault> {
        let Position { seq, stream, version, epoch, hash, redacted: _ } = *position;
        let expected = Seq(self.head.seq.0.saturating_add(1));
        if seq != expected {
            return Err(Fault::Gap { expected, found: seq });
        }
        if !is_chained(&self.head.hash) {
            return Err(Fault::BrokenChain { seq });
        }
        if epoch < self.epoch {
            return Err(Fault::EpochWentBack { seq, found: epoch, newest: self.epoch });
        }
        match self.streams.entry(stream) {
            Entry::Vacant(unmet) => {
                let expected = StreamVersion(StreamVersion::NONE.0.saturating_add(1));
                if self.from_genesis && version != expected {
                    return Err(Fault::StreamGap { seq, stream, expected, found: version });
                }
                unmet.insert(version);
            }
            Entry::Occupied(mut met) => {
                let expected = StreamVersion(met.get().0.saturating_add(1));
                if version != expected {
                    return Err(Fault::StreamGap { seq, stream, expected, found: version });
                }
                met.insert(version);
            }
        }
        self.epoch = epoch;
        self.head = Head { seq, hash };
        Ok(())
    }
}
