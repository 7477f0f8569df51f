//! What must hold of the entries of segments, one after the other.

use std::path::Path;

use purser_events::Seq;

use super::footer::Footer;
use super::name_of;
use super::set::SegmentsError;
use crate::frame::FrameError;
use crate::verify::Fault;

/// How far entries were looked at.
#[derive(Debug)]
pub(crate) struct Order {
    /// The next record.
    next: Seq,
    /// The place in order of the last answer.
    answered: Option<u64>,
}

impl Order {
    /// Begins before a record.
    pub(crate) fn before(next: Seq) -> Order {
        Order { next, answered: None }
    }

    /// The next record's position.
    pub(crate) fn next_seq(&self) -> Seq {
        self.next
    }

    /// The last record before it.
    pub(crate) fn sound(&self) -> Seq {
        Seq(self.next.0.saturating_sub(1))
    }

    /// A fault that is at no place of a file.
    pub(crate) fn fault(&self, source: Fault) -> SegmentsError {
        SegmentsError::Fault { sound: self.sound(), source }
    }

    fn fault_at(&self, path: &Path, at: u64, source: Fault) -> SegmentsError {
        self.fault(super::at(path, at, source))
    }

    /// Another segment begins.
    pub(crate) fn segment(&self, first: Seq) -> Result<(), SegmentsError> {
        let expected = self.next;
        if first == expected {
            return Ok(());
        }
        Err(self.fault(Fault::SegmentMissing { expected, found: first }))
    }

    /// A record comes.
    pub(crate) fn record(&mut self, path: &Path, at: u64, found: Seq) -> Result<(), SegmentsError> {
        let expected = self.next;
        if found != expected {
            return Err(self.fault_at(path, at, Fault::Gap { expected, found }));
        }
        self.next = expected.next();
        Ok(())
    }

    /// The journal was opened here.
    pub(crate) fn opened(&mut self) {
        // A store that is made again, once the answers were trimmed, counts them anew.
        self.answered = None;
    }

    /// An answer comes, with its place among all of them.
    pub(crate) fn answer(&mut self, path: &Path, at: u64, order: u64) -> Result<(), SegmentsError> {
        if self.answered.replace(order).is_some_and(|last| last >= order) {
            return Err(self.bad(path, at, FrameError::Malformed { field: "answer order" }));
        }
        Ok(())
    }

    /// A sealed segment's footer comes; `content_fits` says whether what stands before it has its hash.
    pub(crate) fn footer(
        &self,
        path: &Path,
        footer: &Footer,
        content_fits: bool,
    ) -> Result<(), SegmentsError> {
        if footer.last.seq == self.sound() && content_fits {
            return Ok(());
        }
        Err(self.fault(Fault::SegmentContent { file: name_of(path) }))
    }

    /// What comes is no entry.
    pub(crate) fn bad(&self, path: &Path, at: u64, source: FrameError) -> SegmentsError {
        self.fault_at(path, at, Fault::Damaged { seq: self.next, source })
    }
}
