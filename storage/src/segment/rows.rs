//! Segments cut into rows of entries that nobody has looked at yet, for several threads to look at.

use std::ops::Bound::{Excluded, Unbounded};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use purser_events::Seq;

use super::HEADER_LEN;
use super::reader::EntryReader;
use super::set::Segments;
use crate::block::FrameBytes;
use crate::disk::DiskFile;
use crate::folder::FolderError;
use crate::frame::FrameError;

/// The segment that a row is from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub path: PathBuf,
    /// Its first record, as its name has it.
    pub first: Seq,
    pub sealed: bool,
    /// Its first bytes, as far as they can be read.
    pub header: [u8; HEADER_LEN],
    /// Whether it was read from its first entry on.
    pub is_whole: bool,
    /// Where reading ends in it.
    end: u64,
}

/// Entries that lie side by side, cut apart by the lengths that they announce. Nothing of them is checked.
#[derive(Debug, Clone)]
pub(crate) struct Cuts {
    /// Where the first begins in the file.
    pub at: u64,
    pub(super) block: Arc<Vec<u8>>,
    /// Where the first begins in the block.
    pub(super) from: usize,
    pub(super) lens: Vec<usize>,
    /// Whether the last of them says that it is a footer.
    pub ends_with_footer: bool,
}

impl Cuts {
    /// Each with its place in the file.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, FrameBytes)> {
        let (mut at, mut from) = (self.at, self.from);
        self.lens.iter().map_while(move |len| {
            let bytes = FrameBytes::of(&self.block, from..from + len)?;
            let begins = at;
            (at, from) = (at + *len as u64, from + len);
            Some((begins, bytes))
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lens.len()
    }

    /// Their bytes without those of a footer.
    pub(crate) fn content(&self) -> &[u8] {
        let count = self.lens.len() - usize::from(self.ends_with_footer && !self.lens.is_empty());
        let len: usize = self.lens.iter().take(count).sum();
        self.block.get(self.from..self.from + len).unwrap_or_default()
    }
}

/// Why a segment is not read any further.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nothing was written from here on, or the file ends.
    End { at: u64 },
    /// What comes is no entry.
    Bad { at: u64, source: FrameError },
    /// What comes does not count.
    Limit,
    /// The system does not let it be read.
    Failed(FolderError),
}

/// Entries of one segment.
#[derive(Debug)]
pub(crate) struct Row {
    pub of: Arc<Origin>,
    pub cuts: Cuts,
    /// What is behind them; none if there are more, in this segment or in the next.
    pub stop: Option<Stop>,
}

/// The rows of all segments from one place on, in order. After a stop there are none.
pub(crate) struct Rows {
    segments: Arc<Segments>,
    reader: Option<(EntryReader, Arc<Origin>)>,
}

impl Rows {
    /// Goes on from where a reader is; `of` is the first record of its segment, whether that is sealed, and its end.
    pub(super) fn new(segments: Arc<Segments>, reader: Option<EntryReader>, of: (Seq, bool, u64)) -> Rows {
        let (first, sealed, end) = of;
        let reader = reader.map(|reader| {
            let is_whole = reader.position() == HEADER_LEN as u64;
            let (path, header) = (reader.path().to_owned(), beginning(reader.file()));
            (reader, Arc::new(Origin { path, first, sealed, header, is_whole, end }))
        });
        Rows { segments, reader }
    }

    /// The journal's folder.
    pub(crate) fn dir(&self) -> &Path {
        self.segments.dir()
    }

    /// Goes on to the segment behind one. Whether it is the next is for others to say.
    fn go_on(&mut self, behind: Seq) -> Result<(), FolderError> {
        let found = self.segments.find(|known| {
            known.range((Excluded(behind), Unbounded)).next().map(|(first, known)| (*first, known.clone()))
        })?;
        self.reader = found.map(|(first, known, file)| {
            let (sealed, end, path) = (known.sealed.is_some(), known.end, known.path);
            let header = beginning(&*file);
            let reader = EntryReader::new(&path, file, HEADER_LEN as u64);
            (reader, Arc::new(Origin { path, first, sealed, header, is_whole: true, end }))
        });
        Ok(())
    }
}

/// A segment's first bytes. What cannot be read is not what was hashed, nor can the entries behind it be read.
fn beginning(file: &dyn DiskFile) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let _ = file.read_up_to(&mut header, 0);
    header
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let (reader, of) = self.reader.as_mut()?;
        let of = Arc::clone(of);
        let (cuts, mut stop) = reader.row(of.end);
        if stop.is_some() {
            self.reader = None;
        } else if cuts.ends_with_footer {
            stop = self.go_on(of.first).err().map(Stop::Failed);
            if stop.is_some() {
                self.reader = None;
            }
        }
        Some(Row { of, cuts, stop })
    }
}
