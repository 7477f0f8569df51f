//! One sealed segment written anew without the payloads of a subject, and compared with the old one entry by entry.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use purser_events::{Seq, StreamId};
use sha2::{Digest, Sha256};

use super::{RedactionError, Subject};
use crate::disk::{Disk, DiskFile};
use crate::folder::{FolderError, io_error};
use crate::frame::{self, FLAG_BEGINS_GROUP, FrameError, Hash, PREFIX_LEN};
use crate::retention::{check_compressed, prove, write_compressed};
use crate::segment::entry::{self, AnswerEntry, Entry};
use crate::segment::footer::{self, Footer};
use crate::segment::listing::open;
use crate::segment::open_segment::Contents;
use crate::segment::reader::{self, EntryReader, Reached};
use crate::segment::set::SealedInfo;
use crate::segment::{HEADER_LEN, SegmentHeader, at, file_name, is_compressed, name_of, unfinished};
use crate::verify::{Fault, Head};

/// Bytes that are written at a time.
const WRITE_LEN: usize = 1 << 20;

/// What a segment holds of a subject.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Payloads.
    pub payloads: u64,
    /// Answers that tell of it.
    pub answers: u64,
    /// Streams of it with a payload that is, or was, sealed with a key.
    pub sealed: BTreeSet<StreamId>,
}

impl Census {
    /// Whether there is something to take out.
    pub(super) fn is_touched(&self) -> bool {
        self.payloads > 0 || self.answers > 0
    }
}

/// An entry with its bytes.
struct Copied {
    bytes: Vec<u8>,
    entry: Entry,
}

impl Copied {
    fn parse(bytes: &[u8]) -> Result<Copied, FrameError> {
        Ok(Copied { entry: Entry::parse(bytes)?, bytes: bytes.to_vec() })
    }

    /// What takes its place; none if it stays as it is.
    fn replaced(&self, subject: &Subject<'_>) -> Option<Vec<u8>> {
        match &self.entry {
            Entry::Record(record) if subject.streams.contains(&record.header.stream) && !record.redacted => {
                Some(frame::redact(record))
            }
            Entry::Answer(answer) => {
                let replaced = (subject.answer)(&answer.answer.answer)?;
                if replaced == answer.answer.answer {
                    return None;
                }
                let mut answer: AnswerEntry = answer.clone();
                answer.answer.answer = replaced;
                let flags = self.bytes.get(PREFIX_LEN + 2).copied().unwrap_or_default();
                let mut bytes = Vec::new();
                entry::put_answer(&mut bytes, flags & FLAG_BEGINS_GROUP != 0, &answer);
                Some(bytes)
            }
            Entry::Record(_) | Entry::Opened(_) | Entry::Closed | Entry::Evidence(_) | Entry::Footer(_) => {
                None
            }
        }
    }
}

/// Entries of one file in order, to its footer.
struct Entries {
    reader: EntryReader,
    next: Seq,
}

impl Entries {
    fn open(disk: &dyn Disk, path: &Path) -> Result<Entries, RedactionError> {
        let file = open(disk, path, false)?;
        let header = header_of(path, &*file)?;
        Ok(Entries { reader: EntryReader::new(path, file, HEADER_LEN as u64), next: header.first() })
    }

    /// The next entry; none where nothing more was written.
    fn next(&mut self) -> Result<Option<Copied>, RedactionError> {
        match self.reader.step_by(Copied::parse)? {
            Reached::Entry { entry, .. } => {
                if let Entry::Record(record) = &entry.entry {
                    self.next = record.header.seq.next();
                }
                Ok(Some(entry))
            }
            Reached::End { .. } => Ok(None),
            Reached::Bad { at: place, source } => {
                let fault = Fault::Damaged { seq: self.next, source };
                Err(RedactionError::Damaged(at(self.reader.path(), place, fault)))
            }
        }
    }
}

fn header_of(path: &Path, file: &dyn DiskFile) -> Result<SegmentHeader, RedactionError> {
    let header = reader::header(path, file)?;
    header.map_err(|source| RedactionError::Damaged(Fault::SegmentHeader { file: name_of(path), source }))
}

/// Counts what a segment holds of a subject.
pub(super) fn census(disk: &dyn Disk, path: &Path, subject: &Subject<'_>) -> Result<Census, RedactionError> {
    let mut entries = Entries::open(disk, path)?;
    let mut census = Census::default();
    while let Some(copied) = entries.next()? {
        if let Entry::Record(record) = &copied.entry
            && record.is_sealed()
            && subject.streams.contains(&record.header.stream)
        {
            census.sealed.insert(record.header.stream);
        }
        match (&copied.entry, copied.replaced(subject)) {
            (Entry::Footer(_), _) => break,
            (Entry::Record(_), Some(_)) => census.payloads += 1,
            (_, Some(_)) => census.answers += 1,
            (_, None) => {}
        }
    }
    Ok(census)
}

/// A new file, durable and checked, that is not in place yet.
pub(super) struct Made {
    /// SHA-256 of what is in it.
    pub content: Hash,
    plain: PathBuf,
    /// The same compressed, if the old one was.
    compressed: Option<PathBuf>,
}

impl Made {
    /// Gives it the old one's name, durable.
    pub(super) fn put_in_place(self, disk: &dyn Disk, path: &Path) -> Result<(), FolderError> {
        let failed = |error| io_error("replace", path, error);
        disk.rename(self.compressed.as_deref().unwrap_or(&self.plain), path).map_err(failed)?;
        disk.sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        if self.compressed.is_some() {
            disk.remove(&self.plain).map_err(|error| io_error("remove", &self.plain, error))?;
        }
        Ok(())
    }
}

/// Writes a segment anew beside the old one, and proves both.
pub(super) fn rewrite(
    disk: &dyn Disk,
    path: &Path,
    first: Seq,
    info: &SealedInfo,
    subject: &Subject<'_>,
) -> Result<Made, RedactionError> {
    // What was damaged before must not get a new and sound look.
    prove(disk, path, first, info)?.map_err(RedactionError::Damaged)?;
    let plain = unfinished(&path.with_file_name(file_name(first)));
    let (footer, bytes) = write(disk, path, &plain, subject)?;
    let content = footer.content;
    let differs = || RedactionError::Differs { path: plain.clone() };
    prove(disk, &plain, first, &SealedInfo::new(&footer, bytes))?.map_err(|_| differs())?;
    compare(disk, path, &plain, subject)?;
    let compressed = is_compressed(path).then(|| unfinished(path));
    if let Some(compressed) = &compressed {
        write_compressed(disk, &plain, compressed)?;
        check_compressed(disk, &plain, compressed)?;
    }
    Ok(Made { content, plain, compressed })
}

/// Writes the new file, durable; gives its footer and its length.
fn write(
    disk: &dyn Disk,
    path: &Path,
    new: &Path,
    subject: &Subject<'_>,
) -> Result<(Footer, u64), RedactionError> {
    let header = header_of(path, &*open(disk, path, false)?)?;
    let mut output = Output::create(disk, new)?;
    output.put(&header.encode())?;
    let (mut contents, mut in_commit) = (Contents::new(&header), false);
    let mut entries = Entries::open(disk, path)?;
    while let Some(copied) = entries.next()? {
        if let Entry::Footer(old) = copied.entry {
            return Ok(output.seal(*old, &contents)?);
        }
        if !in_commit {
            contents.note_group(output.position());
        }
        in_commit = copied.entry.is_continued();
        if let Entry::Record(record) = &copied.entry {
            contents.note_record(Head { seq: record.header.seq, hash: record.hash }, record.header.time);
        }
        output.put(&copied.replaced(subject).unwrap_or(copied.bytes))?;
    }
    Err(RedactionError::Damaged(Fault::SegmentFooter { file: name_of(path) }))
}

/// Sees that the new file has every entry of the old one in its place, and lacks what was to go.
fn compare(disk: &dyn Disk, old: &Path, new: &Path, subject: &Subject<'_>) -> Result<(), RedactionError> {
    let differs = || RedactionError::Differs { path: new.to_owned() };
    let (mut olds, mut news) = (Entries::open(disk, old)?, Entries::open(disk, new)?);
    loop {
        let (Some(old), Some(new)) = (olds.next()?, news.next()?) else { return Err(differs()) };
        let same = match (&old.entry, &new.entry) {
            (Entry::Footer(_), Entry::Footer(_)) => return Ok(()),
            (Entry::Record(old), Entry::Record(new)) if subject.streams.contains(&old.header.stream) => {
                let same = (&old.header, old.hash, old.continued) == (&new.header, new.hash, new.continued);
                same && new.redacted
            }
            _ => old.replaced(subject).as_ref().unwrap_or(&old.bytes) == &new.bytes,
        };
        if !same {
            return Err(differs());
        }
    }
}

/// A file that is written from front to back and hashed on the way.
struct Output {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    hash: Sha256,
    /// Bytes in the file.
    written: u64,
    waiting: Vec<u8>,
}

impl Output {
    fn create(disk: &dyn Disk, path: &Path) -> Result<Output, FolderError> {
        let failed = |error| io_error("create", path, error);
        disk.remove_if_there(path).map_err(failed)?;
        let file = disk.create(path).map_err(failed)?;
        Ok(Output { path: path.to_owned(), file, hash: Sha256::new(), written: 0, waiting: Vec::new() })
    }

    fn position(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), FolderError> {
        self.hash.update(bytes);
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < WRITE_LEN { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), FolderError> {
        let written = self.file.write_all_at(&self.waiting, self.written);
        written.map_err(|error| io_error("write", &self.path, error))?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Ends with a footer that says what `old` says, with its own hash and marks; durable.
    fn seal(mut self, old: Footer, contents: &Contents) -> Result<(Footer, u64), FolderError> {
        let place = self.position();
        let content = self.hash.clone().finalize().into();
        let footer = Footer { content, marks: contents.marks().to_vec(), ..old };
        entry::put_footer(&mut self.waiting, &footer);
        self.waiting.extend_from_slice(&footer::trailer(place));
        self.flush()?;
        self.file.sync_data().map_err(|error| io_error("sync", &self.path, error))?;
        Ok((footer, self.written))
    }
}
