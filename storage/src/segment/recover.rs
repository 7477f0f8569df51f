//! The end of the open segment after a stop that may have come at any moment.
//!
//! What is written between two syncs is durable at once, or nobody was promised that it would last. Its first entry
//! alone says that a group begins. So bytes that make no sense are either part of what was written last, torn by the
//! stop, or damage to something older; then another group follows.

use std::path::Path;

use purser_events::Timestamp;

use super::entry::{Entry, Opened, claims_to_begin_a_group};
use super::open_segment::Contents;
use super::reader::{EntryReader, Reached};
use super::{HEADER_LEN, MAGIC, SegmentHeader};
use crate::disk::DiskFile;
use crate::evidence::Newest;
use crate::folder::{FolderError, io_error};
use crate::frame::{self, FRAME_LEN_MAX, FRAME_VERSION, FrameError, Glance, PREFIX_LEN};
use crate::verify::{Fault, Head};

/// Bytes that are searched at a time.
const SEARCH_LEN: usize = 1 << 20;

/// What an open segment holds.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub contents: Contents,
    /// Where the next entry goes.
    pub end: u64,
    /// Bytes after it that were never acknowledged.
    pub torn: u64,
    /// The last opening of the journal in it.
    pub opened: Option<Opened>,
    /// Whether its very last entry says that the journal was closed in order.
    pub closed: bool,
    /// The newest evidence in it.
    pub newest: Newest,
}

/// Reads an open segment up to its end. A fault is damage to what was acknowledged.
pub(crate) fn recover(
    path: &Path,
    open: &dyn Fn() -> Result<Box<dyn DiskFile>, FolderError>,
    header: &SegmentHeader,
) -> Result<Result<Recovered, Fault>, FolderError> {
    let mut reader = EntryReader::new(path, open()?, HEADER_LEN as u64);
    let mut scan = Scan::new(header);
    let (stopped_at, reason) = loop {
        match reader.step_by(Glimpse::parse)? {
            Reached::Entry { at, entry: Glimpse::Other(Entry::Footer(_)) } => {
                // The sealing was cut short; it is done again when it is due again.
                let torn = file_len(path, &*open()?)?.saturating_sub(at);
                return Ok(Ok(scan.ended(torn)));
            }
            Reached::Entry { at, entry } => {
                if let Err(fault) = scan.note(at, reader.position(), &entry) {
                    return Ok(Err(super::at(path, at, fault)));
                }
            }
            Reached::Bad { at, source } => break (at, source),
            Reached::End { at } => break (at, FrameError::CutShort { len: 0, announced: PREFIX_LEN }),
        }
    };
    let rest = search(path, &*open()?, stopped_at)?;
    if rest.later_group || reason.is_unknown() {
        let seq = scan.pending_last.seq.next();
        return Ok(Err(super::at(path, stopped_at, Fault::Damaged { seq, source: reason })));
    }
    let torn = rest.used_end.max(stopped_at).saturating_sub(scan.end);
    Ok(Ok(scan.ended(torn)))
}

/// An entry, of which a record is only glanced at.
enum Glimpse {
    Record(Glance),
    Other(Entry),
}

impl Glimpse {
    fn parse(bytes: &[u8]) -> Result<Glimpse, FrameError> {
        match bytes.get(PREFIX_LEN) {
            Some(&FRAME_VERSION) => frame::glance(bytes).map(Glimpse::Record),
            Some(_) | None => Entry::parse(bytes).map(Glimpse::Other),
        }
    }
}

struct Scan {
    /// With whole commits only.
    whole: Contents,
    /// Where the last whole commit ends.
    end: u64,
    /// Records of a commit that is not whole yet.
    pending: Vec<(Head, Timestamp)>,
    pending_last: Head,
    in_commit: bool,
    opened: Option<Opened>,
    closed: bool,
    newest: Newest,
}

impl Scan {
    fn new(header: &SegmentHeader) -> Scan {
        Scan {
            whole: Contents::new(header),
            end: HEADER_LEN as u64,
            pending: Vec::new(),
            pending_last: header.before,
            in_commit: false,
            opened: None,
            closed: false,
            newest: Newest::default(),
        }
    }

    fn note(&mut self, at: u64, next: u64, entry: &Glimpse) -> Result<(), Fault> {
        if !self.in_commit {
            self.whole.note_group(at);
        }
        self.closed = matches!(entry, Glimpse::Other(Entry::Closed));
        self.in_commit = match entry {
            Glimpse::Record(record) => {
                let (expected, found) = (self.pending_last.seq.next(), record.seq);
                if found != expected {
                    return Err(Fault::Gap { expected, found });
                }
                self.pending_last = Head { seq: found, hash: record.hash };
                self.pending.push((self.pending_last, record.time));
                self.whole.note_epoch(record.epoch);
                record.continued
            }
            Glimpse::Other(entry) => {
                self.note_other(entry);
                entry.is_continued()
            }
        };
        if !self.in_commit {
            for (head, time) in self.pending.drain(..) {
                self.whole.note_record(head, time);
            }
            self.end = next;
        }
        Ok(())
    }

    fn note_other(&mut self, entry: &Entry) {
        match entry {
            Entry::Opened(opened) => {
                self.opened = Some(*opened);
                self.whole.note_epoch(opened.epoch);
            }
            Entry::Evidence(evidence) => self.newest.note(evidence.clone()),
            Entry::Record(_) | Entry::Answer(_) | Entry::Closed | Entry::Footer(_) => {}
        }
    }

    fn ended(self, torn: u64) -> Recovered {
        let Scan { whole: contents, end, opened, closed, newest, .. } = self;
        Recovered { contents, end, torn, opened, closed, newest }
    }
}

/// The newest evidence in a sealed segment.
pub(crate) fn newest_evidence(path: &Path, file: Box<dyn DiskFile>) -> Result<Newest, FolderError> {
    let mut newest = Newest::default();
    // Damage is told by those who read the records.
    each_between_records(path, file, |entry| {
        if let Entry::Evidence(evidence) = entry {
            newest.note(evidence);
        }
    })?;
    Ok(newest)
}

/// The place in order of the last answer in a sealed segment, if there is one, and whether it was read to its end.
pub(crate) fn last_answer(path: &Path, file: Box<dyn DiskFile>) -> Result<(Option<u64>, bool), FolderError> {
    let mut last = None;
    let whole = each_between_records(path, file, |entry| {
        if let Entry::Answer(answer) = entry {
            last = Some(answer.order);
        }
    })?;
    Ok((last, whole))
}

/// Shows what stands between the records of a sealed segment; says whether it was read to its end.
fn each_between_records(
    path: &Path,
    file: Box<dyn DiskFile>,
    mut show: impl FnMut(Entry),
) -> Result<bool, FolderError> {
    let mut reader = EntryReader::new(path, file, HEADER_LEN as u64);
    while let Reached::Entry { entry, .. } = reader.step_by(Glimpse::parse)? {
        match entry {
            Glimpse::Record(_) => {}
            Glimpse::Other(Entry::Footer(_)) => return Ok(true),
            Glimpse::Other(entry) => show(entry),
        }
    }
    Ok(false)
}

/// What follows a place at which reading stopped.
struct Rest {
    /// Whether something sound begins there that was written later.
    later_group: bool,
    /// Where the last byte that is not zero ends.
    used_end: u64,
}

fn search(path: &Path, file: &dyn DiskFile, from: u64) -> Result<Rest, FolderError> {
    let mut rest = Rest { later_group: false, used_end: from };
    let mut buffer = vec![0; SEARCH_LEN + FRAME_LEN_MAX];
    let mut at = from;
    loop {
        let read = file.read_up_to(&mut buffer, at).map_err(|error| io_error("read", path, error))?;
        let bytes = buffer.get(..read).unwrap_or_default();
        // Nearly all of it was never written; asked like this, the processor takes many bytes at once.
        let is_zero = bytes.iter().fold(0, |all, byte| all | byte) == 0;
        if !is_zero && let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
            rest.used_end = at + last as u64 + 1;
            // What begins in the overlap is looked at again with all of its bytes.
            let starts = if read < buffer.len() { read } else { SEARCH_LEN };
            if (0..starts.min(last)).any(|start| begins_a_group(bytes.get(start..).unwrap_or_default())) {
                rest.later_group = true;
                return Ok(rest);
            }
        }
        if read < buffer.len() {
            return Ok(rest);
        }
        at += SEARCH_LEN as u64;
    }
}

/// Whether a sound entry that begins a group stands at the beginning of these bytes.
fn begins_a_group(bytes: &[u8]) -> bool {
    let Some(prefix) = bytes.first_chunk::<4>() else { return false };
    // Cheapest first: nearly every place fails here.
    claims_to_begin_a_group(bytes)
        && frame::announced_len(*prefix)
            .is_ok_and(|len| bytes.get(..len).is_some_and(|entry| Entry::parse(entry).is_ok()))
}

fn file_len(path: &Path, file: &dyn DiskFile) -> Result<u64, FolderError> {
    file.len().map_err(|error| io_error("read", path, error))
}

/// Whether nothing was ever written to a file but a part of a segment's header: so a stop during its making leaves it.
pub(crate) fn is_unmade(path: &Path, file: &dyn DiskFile) -> Result<bool, FolderError> {
    let mut magic = [0; MAGIC.len()];
    file.read_up_to(&mut magic, 0).map_err(|error| io_error("read", path, error))?;
    // Of a write that was cut short, any part may have come to the disk.
    let begun = magic.iter().zip(MAGIC).all(|(found, wanted)| *found == 0 || *found == wanted);
    let rest = search(path, file, 0)?;
    Ok(begun && !rest.later_group && rest.used_end <= HEADER_LEN as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::{Disk, SystemDisk};

    fn unmade(bytes: &[u8]) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        std::fs::write(&path, bytes).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        is_unmade(&path, &*disk.open(&path, false).unwrap()).unwrap()
    }

    #[test]
    fn whatever_part_of_a_header_was_written_the_segment_was_never_made() {
        let header = SegmentHeader { before: Head::GENESIS, epoch: 1, created: Timestamp(7) }.encode();
        for len in 0..=header.len() {
            let mut bytes = [0; 4_096];
            bytes[..len].copy_from_slice(&header[..len]);
            assert!(unmade(&bytes), "the first {len} bytes");
            bytes = [0; 4_096];
            bytes[len..header.len()].copy_from_slice(&header[len..]);
            assert!(unmade(&bytes), "all but the first {len} bytes");
        }
        let mut foreign = [0; 4_096];
        foreign[..4].copy_from_slice(b"\x7fELF");
        assert!(!unmade(&foreign));
        foreign[..header.len()].copy_from_slice(&header);
        foreign[4_000] = 1;
        assert!(!unmade(&foreign), "something was written behind the header");
    }
}
