//! Reading a sealed segment again, as an auditor would.

use std::collections::BTreeMap;
use std::path::Path;

use purser_events::{Seq, StreamId, StreamVersion};

use crate::disk::{Disk, DiskFile};
use crate::folder::{FolderError, io_error};
use crate::segment::entry::Entry;
use crate::segment::listing::open;
use crate::segment::open_segment::content_hash;
use crate::segment::reader::{self, EntryReader, Reached};
use crate::segment::set::SealedInfo;
use crate::segment::{HEADER_LEN, at, name_of};
use crate::verify::{Fault, Head, Verifier};

/// Bytes that are compared at a time.
const COMPARE_LEN: usize = 256 << 10;

/// What a sealed segment was found to hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub last: Head,
    /// The last version of each stream in it.
    pub streams: BTreeMap<StreamId, StreamVersion>,
}

/// Reads every entry and checks it: the chain from the record before, the count, and the hash of the whole. It must be
/// the segment that is known as `expected`.
pub(crate) fn prove(
    disk: &dyn Disk,
    path: &Path,
    first: Seq,
    expected: &SealedInfo,
) -> Result<Result<Proof, Fault>, FolderError> {
    let file = open(disk, path, false)?;
    let header = match reader::header(path, &*file)? {
        Ok(header) => header,
        Err(source) => return Ok(Err(Fault::SegmentHeader { file: name_of(path), source })),
    };
    let Some((footer_at, footer)) = reader::footer(path, &*file)? else {
        return Ok(Err(Fault::SegmentFooter { file: name_of(path) }));
    };
    let mut verifier = Verifier::after(header.before);
    if let Err(fault) = check_entries(path, open(disk, path, false)?, footer_at, &mut verifier)? {
        return Ok(Err(fault));
    }
    let last = verifier.head();
    let whole = header.first() == first
        && last == footer.last
        && last == expected.last
        && footer.content == expected.content
        && content_hash(path, &*file, footer_at)? == footer.content;
    if whole {
        Ok(Ok(Proof { last, streams: verifier.into_streams() }))
    } else {
        Ok(Err(Fault::SegmentContent { file: name_of(path) }))
    }
}

fn check_entries(
    path: &Path,
    file: Box<dyn DiskFile>,
    footer_at: u64,
    verifier: &mut Verifier,
) -> Result<Result<(), Fault>, FolderError> {
    let mut reader = EntryReader::new(path, file, HEADER_LEN as u64);
    loop {
        match reader.step()? {
            Reached::Entry { entry: Entry::Footer(_), at: place } if place == footer_at => return Ok(Ok(())),
            Reached::Entry { entry: Entry::Record(record), at: place } => {
                if let Err(fault) = verifier.check(&record) {
                    return Ok(Err(at(path, place, fault)));
                }
            }
            Reached::Entry {
                entry: Entry::Answer(_) | Entry::Opened(_) | Entry::Closed | Entry::Evidence(_),
                ..
            } => {}
            Reached::Entry { entry: Entry::Footer(_), .. } | Reached::End { .. } => {
                return Ok(Err(Fault::SegmentFooter { file: name_of(path) }));
            }
            Reached::Bad { at: place, source } => {
                let seq = verifier.head().seq.next();
                return Ok(Err(at(path, place, Fault::Damaged { seq, source })));
            }
        }
    }
}

/// Whether two files have the same bytes. Either may be a compressed segment: then its plain bytes count.
pub(super) fn are_same(
    one_path: &Path,
    one: &dyn DiskFile,
    other_path: &Path,
    other: &dyn DiskFile,
) -> Result<bool, FolderError> {
    let len = |path, file: &dyn DiskFile| file.len().map_err(|error| io_error("measure", path, error));
    if len(one_path, one)? != len(other_path, other)? {
        return Ok(false);
    }
    let (mut one_bytes, mut other_bytes) = (vec![0; COMPARE_LEN], vec![0; COMPARE_LEN]);
    let mut from = 0;
    loop {
        let read = one.read_up_to(&mut one_bytes, from).map_err(|error| io_error("read", one_path, error))?;
        let other_read =
            other.read_up_to(&mut other_bytes, from).map_err(|error| io_error("read", other_path, error))?;
        if read != other_read || one_bytes.get(..read) != other_bytes.get(..other_read) {
            return Ok(false);
        }
        if read < COMPARE_LEN {
            return Ok(true);
        }
        from += read as u64;
    }
}
