//! Reading all segments from one end to the other.

use std::path::Path;
use std::sync::Arc;

use purser_events::Seq;

use super::HEADER_LEN;
use super::entry::Entry;
use super::footer::Footer;
use super::listing::open;
use super::open_segment::content_hash;
use super::order::Order;
use super::reader::{self, EntryReader, Reached};
use super::rows::Rows;
use super::set::{Segments, SegmentsError};
use crate::folder::FolderError;
use crate::frame::{FrameError, PREFIX_LEN};

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
            let mut next = first;
            let footer = known.sealed.map(|_| reader::footer(&known.path, &*file)).transpose()?.flatten();
            let marks = footer.as_ref().map_or(&*known.marks, |(_, footer)| &footer.marks);
            // Before it: answers without records may stand between the record before `from` and a later mark for it.
            if let Some(mark) = marks.iter().rev().find(|mark| mark.seq < from) {
                (at, next) = (mark.at, mark.seq);
            }
            walk.order = Order::before(next);
            (walk.first, walk.sealed, walk.end) = (first, known.sealed.is_some(), known.end);
            walk.reader = Some(EntryReader::new(&known.path, file, at));
        }
        Ok(walk)
    }
}

/// Entries of all segments in order.
pub(crate) struct Walk {
    segments: Arc<Segments>,
    reader: Option<EntryReader>,
    order: Order,
    /// The first record of the segment that is being read.
    first: Seq,
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
            order: Order::before(next),
            first: next,
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
        self.order.next_seq()
    }

    /// What is left of it as rows, to be looked at by several threads, and how far it has come. Nothing is left then.
    pub(crate) fn take_rows(&mut self) -> (Rows, Order) {
        let order = std::mem::replace(&mut self.order, Order::before(Seq::ZERO));
        let (segments, reader) = (Arc::clone(&self.segments), self.reader.take());
        (Rows::new(segments, reader, (self.first, self.sealed, self.end)), order)
    }

    /// Whether what stands in each sealed segment is compared with the hash in its footer.
    pub(crate) fn is_checking_content(&self) -> bool {
        self.checks_content
    }

    /// The next entry; none at the end.
    pub(crate) fn step(&mut self) -> Result<Option<Entry>, SegmentsError> {
        loop {
            let Some(reader) = &mut self.reader else { return Ok(None) };
            if reader.position() >= self.end {
                return Ok(None);
            }
            let step = reader.step()?;
            let (path, order) = (reader.path(), &mut self.order);
            match step {
                Reached::Entry { at, entry: Entry::Footer(footer) } => {
                    if self.sealed {
                        self.order.footer(self.path(), &footer, self.content_fits(at, &footer)?)?;
                    }
                    self.go_on()?;
                }
                Reached::Entry { at, entry } => {
                    match &entry {
                        Entry::Record(record) => order.record(path, at, record.header.seq)?,
                        Entry::Opened(_) => order.opened(),
                        Entry::Answer(answer) => order.answer(path, at, answer.order)?,
                        Entry::Closed | Entry::Evidence(_) | Entry::Footer(_) => {}
                    }
                    return Ok(Some(entry));
                }
                Reached::Bad { at, source } if self.sealed || source.is_unknown() => {
                    return Err(order.bad(path, at, source));
                }
                Reached::End { at } if self.sealed => {
                    return Err(order.bad(path, at, FrameError::CutShort { len: 0, announced: PREFIX_LEN }));
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
        let from = self.order.next_seq();
        let known = self
            .segments
            .find(|known| known.range(from..).next().map(|(first, known)| (*first, known.clone())))?;
        self.reader = match known {
            None => None,
            Some((first, known, file)) => {
                self.order.segment(first)?;
                (self.first, self.sealed, self.end) = (first, known.sealed.is_some(), known.end);
                Some(EntryReader::new(&known.path, file, HEADER_LEN as u64))
            }
        };
        Ok(())
    }
}
