//! Reading all segments from one end to the other.

use std::path::Path;
use std::sync::Arc;

use purser_events::Seq;

use super::entry::Entry;
use super::footer::Footer;
use super::listing::open;
use super::open_segment::content_hash;
use super::reader::{self, EntryReader, Reached};
use super::set::{Segments, SegmentsError};
use super::{HEADER_LEN, name_of};
use crate::folder::FolderError;
use crate::frame::{FrameError, PREFIX_LEN};
use crate::verify::Fault;

impl Segments {
    /// Entries in order, from one that stands before record `from` or is it.
    pub(crate) fn walk(self: &Arc<Self>, from: Seq) -> Result<Walk, FolderError> {
        let mut walk = Walk::new(Arc::clone(self), from);
        let start = self.find(|known| {
            let found = known.range(..=from).next_back().or_else(|| known.first_key_value());
            found.map(|(first, known)| (*first, known.clone()))
        })?;
        if let Some((first, known, file)) = start {
            let mut at = HEADER_LEN as u64;
            walk.next = first;
            let footer = known.sealed.map(|_| reader::footer(&known.path, &*file)).transpose()?.flatten();
            let marks = footer.as_ref().map_or(&*known.marks, |(_, footer)| &footer.marks);
            // Before it: answers without records may stand between the record before `from` and a later mark for it.
            if let Some(mark) = marks.iter().rev().find(|mark| mark.seq < from) {
                (at, walk.next) = (mark.at, mark.seq);
            }
            (walk.sealed, walk.end) = (known.sealed.is_some(), known.end);
            walk.reader = Some(EntryReader::new(&known.path, file, at));
        }
        Ok(walk)
    }
}

/// Entries of all segments in order.
pub(crate) struct Walk {
    segments: Arc<Segments>,
    reader: Option<EntryReader>,
    /// The next record.
    next: Seq,
    /// The place in order of the last answer.
    answered: Option<u64>,
    /// Whether the segment that is being read is sealed.
    sealed: bool,
    /// Where reading ends in it.
    end: u64,
    /// Whether each sealed segment's bytes are compared with the hash in its footer.
    checks_content: bool,
}

impl Walk {
    fn new(segments: Arc<Segments>, next: Seq) -> Walk {
        Walk {
            segments,
            reader: None,
            next,
            answered: None,
            sealed: false,
            end: u64::MAX,
            checks_content: false,
        }
    }

    /// Has each sealed segment compared as a whole with the hash in its footer, which is to read it twice.
    pub(crate) fn checking_content(mut self) -> Walk {
        self.checks_content = true;
        self
    }

    /// The next record's position.
    pub(crate) fn next_seq(&self) -> Seq {
        self.next
    }

    /// The next entry; none at the end.
    pub(crate) fn step(&mut self) -> Result<Option<Entry>, SegmentsError> {
        loop {
            let Some(reader) = &mut self.reader else { return Ok(None) };
            if reader.position() >= self.end {
                return Ok(None);
            }
            let sound = Seq(self.next.0.saturating_sub(1));
            let step = reader.step()?;
            let path = reader.path();
            let fault = |at, fault| SegmentsError::Fault { sound, source: super::at(path, at, fault) };
            match step {
                Reached::Entry { at, entry: Entry::Footer(footer) } => {
                    if self.sealed && (footer.last.seq != sound || !self.content_fits(at, &footer)?) {
                        let source = Fault::SegmentContent { file: name_of(self.path()) };
                        return Err(SegmentsError::Fault { sound, source });
                    }
                    self.go_on()?;
                }
                Reached::Entry { at, entry } => {
                    if let Entry::Record(record) = &entry {
                        let (expected, found) = (self.next, record.header.seq);
                        if found != expected {
                            return Err(fault(at, Fault::Gap { expected, found }));
                        }
                        self.next = expected.next();
                    }
                    if matches!(entry, Entry::Opened(_)) {
                        // A store that is made again, once the answers were trimmed, counts them anew.
                        self.answered = None;
                    }
                    if let Entry::Answer(answer) = &entry
                        && self.answered.replace(answer.order).is_some_and(|last| last >= answer.order)
                    {
                        let source = FrameError::Malformed { field: "answer order" };
                        return Err(fault(at, Fault::Damaged { seq: self.next, source }));
                    }
                    return Ok(Some(entry));
                }
                Reached::Bad { at, source } if self.sealed || source.is_unknown() => {
                    return Err(fault(at, Fault::Damaged { seq: self.next, source }));
                }
                Reached::End { at } if self.sealed => {
                    let source = FrameError::CutShort { len: 0, announced: PREFIX_LEN };
                    return Err(fault(at, Fault::Damaged { seq: self.next, source }));
                }
                // The open segment's end, or what a stop tore off there: `recover` has looked at it.
                Reached::Bad { .. } | Reached::End { .. } => return Ok(None),
            }
        }
    }

    fn path(&self) -> &Path {
        self.reader.as_ref().map_or(Path::new(""), EntryReader::path)
    }

    fn content_fits(&self, end: u64, footer: &Footer) -> Result<bool, FolderError> {
        let path = self.path();
        Ok(!self.checks_content || {
            let file = open(&**self.segments.disk(), path, false)?;
            content_hash(path, &*file, end)? == footer.content
        })
    }

    fn go_on(&mut self) -> Result<(), SegmentsError> {
        let from = self.next;
        let known = self
            .segments
            .find(|known| known.range(from..).next().map(|(first, known)| (*first, known.clone())))?;
        let sound = Seq(self.next.0.saturating_sub(1));
        self.reader = match known {
            None => None,
            Some((first, _, _)) if first != self.next => {
                let source = Fault::SegmentMissing { expected: self.next, found: first };
                return Err(SegmentsError::Fault { sound, source });
            }
            Some((_, known, file)) => {
                (self.sealed, self.end) = (known.sealed.is_some(), known.end);
                Some(EntryReader::new(&known.path, file, HEADER_LEN as u64))
            }
        };
        Ok(())
    }
}
