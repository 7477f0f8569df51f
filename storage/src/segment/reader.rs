//! Reading one segment from front to back.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compressed::{Damage, damage_of};
use super::entry::{self, Entry};
use super::footer::{self, Footer, TRAILER_LEN};
use super::rows::{Cuts, Stop};
use super::{HEADER_LEN, HeaderError, SegmentHeader};
use crate::block::{Blocks, FrameBytes};
use crate::disk::DiskFile;
use crate::folder::{FolderError, io_error};
use crate::frame::{self, FRAME_LEN_MAX, FrameError, PREFIX_LEN};

/// Bytes that are read from the file at a time: a reader of few entries does not need more, and they stay in the
/// processor's cache.
const READ_LEN: usize = 128 << 10;

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum Reached<T> {
    /// An entry, and where it begins.
    Entry { at: u64, entry: T },
    /// Bytes that are no entry.
    Bad { at: u64, source: FrameError },
    /// Nothing was written from here on, or the file ends.
    End { at: u64 },
}

/// Reads entries in order.
pub(crate) struct EntryReader {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Where the unread part of what was read begins in the file.
    at: u64,
    blocks: Blocks,
    /// Where the unread part begins in the present block.
    start: usize,
    /// Where what was read into it ends.
    end: usize,
}

impl EntryReader {
    /// Reads from a place on where an entry begins.
    pub(crate) fn new(path: &Path, file: Box<dyn DiskFile>, at: u64) -> EntryReader {
        let blocks = Blocks::new(READ_LEN.max(FRAME_LEN_MAX));
        EntryReader { path: path.to_owned(), file, at, blocks, start: 0, end: 0 }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &dyn DiskFile {
        &*self.file
    }

    /// Where the next entry begins.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// The next entry. After anything but an entry, the same again.
    pub(crate) fn step(&mut self) -> Result<Reached<Entry>, FolderError> {
        self.step_within(|block, range| match FrameBytes::of(block, range) {
            Some(bytes) => Entry::parse_shared(bytes),
            None => Err(FrameError::CutShort { len: 0, announced: PREFIX_LEN }),
        })
    }

    /// As many of the next entries as lie in one block, up to a footer or to a place in the file, and what is behind
    /// them if it is no entry. They are cut apart by the lengths that they announce, and not looked at.
    pub(super) fn row(&mut self, end: u64) -> (Cuts, Option<Stop>) {
        let mut cuts =
            Cuts { at: self.at, block: Arc::default(), from: 0, lens: Vec::new(), ends_with_footer: false };
        let stop = loop {
            if self.at >= end {
                break Some(Stop::Limit);
            }
            let is_there = self.announced().is_some_and(|len| self.unread().len() >= len);
            if !is_there && !cuts.lens.is_empty() {
                break None;
            }
            match self.step_by(whole) {
                Ok(Reached::Entry { entry: (len, is_footer), .. }) => {
                    cuts.lens.push(len);
                    cuts.ends_with_footer = is_footer;
                }
                Ok(Reached::Bad { at, source }) => break Some(Stop::Bad { at, source }),
                Ok(Reached::End { at }) => break Some(Stop::End { at }),
                Err(error) => break Some(Stop::Failed(error)),
            }
            if cuts.ends_with_footer {
                break None;
            }
        };
        cuts.block = Arc::clone(self.blocks.present());
        cuts.from = self.start - cuts.lens.iter().sum::<usize>();
        (cuts, stop)
    }

    /// The length that the next entry announces, if that much was read and it is one that an entry can have.
    fn announced(&self) -> Option<usize> {
        let prefix = self.unread().first_chunk::<4>().filter(|prefix| **prefix != [0; 4])?;
        frame::announced_len(*prefix).ok()
    }

    /// As [`EntryReader::step`], with another way to make sense of an entry's bytes.
    pub(crate) fn step_by<T>(
        &mut self,
        parse: impl FnOnce(&[u8]) -> Result<T, FrameError>,
    ) -> Result<Reached<T>, FolderError> {
        self.step_within(|block, range| parse(block.get(range).unwrap_or_default()))
    }

    fn step_within<T>(
        &mut self,
        parse: impl FnOnce(&Arc<Vec<u8>>, Range<usize>) -> Result<T, FrameError>,
    ) -> Result<Reached<T>, FolderError> {
        let at = self.at;
        if let Some(source) = self.fill(PREFIX_LEN)? {
            return Ok(Reached::Bad { at, source });
        }
        let unread = self.unread();
        let Some(prefix) = unread.first_chunk::<4>() else {
            let is_end = unread.iter().all(|&byte| byte == 0);
            let source = FrameError::CutShort { len: unread.len(), announced: PREFIX_LEN };
            return Ok(if is_end { Reached::End { at } } else { Reached::Bad { at, source } });
        };
        if *prefix == [0; 4] {
            return Ok(Reached::End { at });
        }
        let len = match frame::announced_len(*prefix) {
            Ok(len) => len,
            Err(source) => return Ok(Reached::Bad { at, source }),
        };
        if let Some(source) = self.fill(len)? {
            return Ok(Reached::Bad { at, source });
        }
        // What is cut short goes as far as the file does.
        let range = self.start..(self.start + len).min(self.end);
        match parse(self.blocks.present(), range) {
            Ok(entry) => {
                self.start += len;
                self.at += len as u64;
                Ok(Reached::Entry { at, entry })
            }
            Err(source) => Ok(Reached::Bad { at, source }),
        }
    }

    fn unread(&self) -> &[u8] {
        self.blocks.present().get(self.start..self.end).unwrap_or_default()
    }

    /// Has that many unread bytes in the buffer, or all that there are; or says what damage is in the way.
    fn fill(&mut self, len: usize) -> Result<Option<FrameError>, FolderError> {
        if self.unread().len() >= len {
            return Ok(None);
        }
        let block = self.blocks.next(self.start..self.end);
        (self.start, self.end) = (0, self.end - self.start);
        // Not more than is needed: what is sound before a damaged block is read.
        while self.end < len {
            let free = block.get_mut(self.end..).unwrap_or_default();
            match self.file.read_at(free, self.at + self.end as u64) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let damage = damage_of(&error).map(frame_error);
                    return damage.map(Some).ok_or_else(|| io_error("read", &self.path, error));
                }
            }
        }
        Ok(None)
    }
}

/// The length of an entry's bytes, which must be all that it announces, and whether it says that it is a footer.
fn whole(bytes: &[u8]) -> Result<(usize, bool), FrameError> {
    let len = bytes.len();
    let announced = match bytes.first_chunk::<4>() {
        Some(prefix) => frame::announced_len(*prefix)?,
        None => PREFIX_LEN,
    };
    if len < announced {
        return Err(FrameError::CutShort { len, announced });
    }
    Ok((len, entry::claims_to_be_footer(bytes)))
}

fn frame_error(damage: &Damage) -> FrameError {
    match damage {
        Damage::Block { number } => FrameError::Block { number: *number },
        Damage::Front(_) => FrameError::Malformed { field: "table of compressed blocks" },
    }
}

/// Reads what a segment's first bytes say.
pub(crate) fn header(
    path: &Path,
    file: &dyn DiskFile,
) -> Result<Result<SegmentHeader, HeaderError>, FolderError> {
    let mut bytes = [0; HEADER_LEN];
    let read = match file.read_up_to(&mut bytes, 0) {
        Ok(read) => read,
        Err(error) => {
            return match damage_of(&error) {
                Some(Damage::Front(error)) => Ok(Err(error.clone())),
                Some(Damage::Block { .. }) => Ok(Err(HeaderError::Damaged)),
                None => Err(io_error("read", path, error)),
            };
        }
    };
    Ok(if read == HEADER_LEN { SegmentHeader::decode(&bytes) } else { Err(HeaderError::Damaged) })
}

/// Reads a sealed segment's footer, and where its entry begins; none if there is no sound one.
pub(crate) fn footer(path: &Path, file: &dyn DiskFile) -> Result<Option<(u64, Footer)>, FolderError> {
    match read_footer(file) {
        Ok(footer) => Ok(footer),
        Err(error) if damage_of(&error).is_some() => Ok(None),
        Err(error) => Err(io_error("read", path, error)),
    }
}

fn read_footer(file: &dyn DiskFile) -> io::Result<Option<(u64, Footer)>> {
    let len = file.len()?;
    let mut trailer = [0; TRAILER_LEN];
    let Some(trailer_at) = len.checked_sub(TRAILER_LEN as u64) else { return Ok(None) };
    file.read_up_to(&mut trailer, trailer_at)?;
    let Some(at) = footer::footer_at(&trailer) else { return Ok(None) };
    let Some(entry_len) = trailer_at.checked_sub(at).and_then(|len| usize::try_from(len).ok()) else {
        return Ok(None);
    };
    if !(PREFIX_LEN..=FRAME_LEN_MAX).contains(&entry_len) {
        return Ok(None);
    }
    let mut bytes = vec![0; entry_len];
    file.read_up_to(&mut bytes, at)?;
    Ok(match Entry::parse_shared(bytes.into()) {
        Ok(Entry::Footer(footer)) => Some((at, *footer)),
        Ok(_) | Err(_) => None,
    })
}
