//! Exports: records in a file or stream, as they are stored, from one position to another, and the evidence that
//! stands between them.
//!
//! A header names the record before the first, so the chain of hashes can be checked from there on; an end mark
//! names the last, so a file that was cut short is never taken for a shorter journal. The layout is told byte by
//! byte in `docs/journal-format.md`.

use std::io::{self, Read, Write};

use purser_events::Seq;

use crate::error::JournalError;
use crate::evidence::Evidence;
use crate::frame::{self, FRAME_VERSION, FrameError, Hash, PREFIX_LEN};
use crate::offline::Item;
use crate::record::StoredRecord;
use crate::segment::entry::{self, Entry};
use crate::verify::{Fault, Head, Verifier};

/// Number of the export format that this release writes.
pub const EXPORT_FORMAT: u16 = 2;

/// The first format that has evidence between the records.
const FORMAT_WITH_EVIDENCE: u16 = 2;

const MAGIC: [u8; 8] = *b"PURSERX\n";
const HEADER_LEN: usize = 56;
const END_LEN: usize = 48;
const CRC_LEN: usize = 4;

/// Set in the header of an export in which payloads were left out when it was made.
const FLAG_EXCERPT: u16 = 1;

/// Why an export could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file or stream failed.
    #[error("failed to {action} the export")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The journal that is exported could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The first bytes are not an export's.
    #[error("this is not an export of a journal")]
    NotAnExport,
    /// A newer release wrote it.
    #[error("export has format {found}, this release knows up to {}", EXPORT_FORMAT)]
    NewerFormat {
        /// The format found.
        found: u16,
    },
    /// The header is damaged.
    #[error("the export's header is damaged")]
    DamagedHeader,
    /// It ends without an end mark.
    #[error("the export is cut short after record {last}")]
    CutShort {
        /// The last whole record.
        last: Seq,
    },
    /// The end mark is damaged, names another record than the last, or is not the end.
    #[error("the export's end mark does not fit record {last}, after which it stands")]
    WrongEnd {
        /// The last record.
        last: Seq,
    },
    /// A record is not the one that was written.
    #[error("the export is damaged after record {last}")]
    Fault {
        /// The last sound record.
        last: Seq,
        /// What is wrong with the one after it.
        source: Fault,
    },
}

fn io_error(action: &'static str) -> impl FnOnce(io::Error) -> ExportError {
    move |source| ExportError::Io { action, source }
}

/// Writes an export.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    head: Head,
}

impl<W: Write> Writer<W> {
    /// Begins an export of what follows `before`; [`Head::GENESIS`] for a whole journal.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn new(out: W, before: Head) -> Result<Writer<W>, ExportError> {
        Writer::begin(out, before, 0)
    }

    /// Begins an export from which payloads are left out, see [`Writer::write_without_payload`].
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn excerpt(out: W, before: Head) -> Result<Writer<W>, ExportError> {
        Writer::begin(out, before, FLAG_EXCERPT)
    }

    fn begin(mut out: W, before: Head, flags: u16) -> Result<Writer<W>, ExportError> {
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&EXPORT_FORMAT.to_le_bytes());
        header.extend_from_slice(&flags.to_le_bytes());
        put_head(&mut header, before);
        out.write_all(&header).map_err(io_error("write"))?;
        Ok(Writer { out, head: before })
    }

    /// Adds a record, which must be the next one.
    ///
    /// # Errors
    /// `out` cannot be written, or another record comes next.
    pub fn write(&mut self, record: &StoredRecord) -> Result<(), ExportError> {
        self.write_frame(record, record.as_bytes())
    }

    /// Adds a record, which must be the next one, with its payload's hash in place of its payload, as a redaction leaves
    /// it: the chain of hashes holds.
    ///
    /// # Errors
    /// `out` cannot be written, or another record comes next.
    pub fn write_without_payload(&mut self, record: &StoredRecord) -> Result<(), ExportError> {
        self.write_frame(record, &frame::redact(record))
    }

    fn write_frame(&mut self, record: &StoredRecord, bytes: &[u8]) -> Result<(), ExportError> {
        let (last, expected, found) = (self.head.seq, self.head.seq.next(), record.header.seq);
        if found != expected {
            return Err(ExportError::Fault { last, source: Fault::Gap { expected, found } });
        }
        self.out.write_all(bytes).map_err(io_error("write"))?;
        self.head = Head { seq: found, hash: record.hash };
        Ok(())
    }

    /// Adds evidence for records before it.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn write_evidence(&mut self, evidence: &Evidence) -> Result<(), ExportError> {
        let mut bytes = Vec::new();
        entry::put_evidence(&mut bytes, false, evidence);
        self.out.write_all(&bytes).map_err(io_error("write"))
    }

    /// The last record written.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Ends the export and gives `out` back, flushed.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn finish(mut self) -> Result<W, ExportError> {
        let mut end = vec![0; 4];
        put_head(&mut end, self.head);
        self.out.write_all(&end).and_then(|()| self.out.flush()).map_err(io_error("write"))?;
        Ok(self.out)
    }
}

/// Appends position and hash, then the checksum of all there is.
fn put_head(out: &mut Vec<u8>, head: Head) {
    out.extend_from_slice(&head.seq.0.to_le_bytes());
    out.extend_from_slice(&head.hash);
    let checksum = crc32c::crc32c(out);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// The position and hash that end such bytes, if their checksum holds.
fn take_head(bytes: &[u8]) -> Option<Head> {
    let (rest, checksum) = bytes.split_last_chunk::<CRC_LEN>()?;
    let (rest, hash) = rest.split_last_chunk::<{ size_of::<Hash>() }>()?;
    let (_, seq) = rest.split_last_chunk::<8>()?;
    let sound = crc32c::crc32c(&bytes[..bytes.len() - CRC_LEN]).to_le_bytes() == *checksum;
    sound.then(|| Head { seq: Seq(u64::from_le_bytes(*seq)), hash: *hash })
}

/// A place in an export, to read on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// Bytes before it.
    pub at: u64,
    before: Head,
    format: u16,
    is_excerpt: bool,
}

/// Reads an export and checks every record; ends at the first that is not sound.
#[derive(Debug)]
pub struct Reader<R> {
    /// Bytes that were read.
    at: u64,
    input: R,
    before: Head,
    format: u16,
    is_excerpt: bool,
    verifier: Verifier,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Begins to read an export.
    ///
    /// # Errors
    /// `input` cannot be read, or is not an export that this release knows.
    pub fn new(mut input: R) -> Result<Reader<R>, ExportError> {
        let mut header = [0; HEADER_LEN];
        let len = read_up_to(&mut input, &mut header)?;
        if len < MAGIC.len() || header[..MAGIC.len()] != MAGIC {
            return Err(ExportError::NotAnExport);
        }
        if len < MAGIC.len() + 2 {
            return Err(ExportError::DamagedHeader);
        }
        let found = u16::from_le_bytes([header[8], header[9]]);
        if found > EXPORT_FORMAT {
            return Err(ExportError::NewerFormat { found });
        }
        let before = take_head(&header[..len]).filter(|_| len == HEADER_LEN && found > 0);
        let before = before.ok_or(ExportError::DamagedHeader)?;
        let flags = u16::from_le_bytes([header[10], header[11]]);
        if flags & !FLAG_EXCERPT != 0 {
            return Err(ExportError::DamagedHeader);
        }
        let is_excerpt = flags & FLAG_EXCERPT != 0;
        Ok(Reader {
            at: HEADER_LEN as u64,
            input,
            before,
            format: found,
            is_excerpt,
            verifier: Verifier::after(before),
            ended: false,
        })
    }

    /// Reads on after a record that was read before; `input` must begin at the offset.
    pub(crate) fn resume(input: R, head: Head, offset: Offset) -> Reader<R> {
        let Offset { at, before, format, is_excerpt } = offset;
        Reader { at, input, before, format, is_excerpt, verifier: Verifier::after(head), ended: false }
    }

    /// The place that was read up to.
    pub(crate) fn offset(&self) -> Offset {
        Offset { at: self.at, before: self.before, format: self.format, is_excerpt: self.is_excerpt }
    }

    /// The record before the first, as the export names it.
    #[must_use]
    pub fn before(&self) -> Head {
        self.before
    }

    /// Whether payloads were left out when it was made.
    #[must_use]
    pub fn is_excerpt(&self) -> bool {
        self.is_excerpt
    }

    /// The last record that was found sound.
    #[must_use]
    pub fn head(&self) -> Head {
        self.verifier.head()
    }

    /// The next record or piece of evidence; none at the end, and after an error.
    pub fn next_item(&mut self) -> Option<Result<Item, ExportError>> {
        if self.ended {
            return None;
        }
        let next = self.read_item().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }

    fn read_item(&mut self) -> Result<Option<Item>, ExportError> {
        let last = self.head().seq;
        let fault = |source| ExportError::Fault { last, source };
        let damaged = |source| fault(Fault::Damaged { seq: Seq(last.0.saturating_add(1)), source });
        let mut prefix = [0; 4];
        if read_up_to(&mut self.input, &mut prefix)? < prefix.len() {
            return Err(ExportError::CutShort { last });
        }
        if prefix == [0; 4] {
            return self.check_end().map(|()| None);
        }
        let len = frame::announced_len(prefix).map_err(damaged)?;
        let mut bytes = vec![0; len.max(PREFIX_LEN)];
        bytes[..prefix.len()].copy_from_slice(&prefix);
        let rest = &mut bytes[prefix.len()..];
        if read_up_to(&mut self.input, rest)? < rest.len() {
            return Err(ExportError::CutShort { last });
        }
        self.at += bytes.len() as u64;
        match bytes.get(PREFIX_LEN) {
            Some(&version) if version != FRAME_VERSION => match Entry::parse(&bytes).map_err(damaged)? {
                Entry::Evidence(evidence) if self.format >= FORMAT_WITH_EVIDENCE => {
                    Ok(Some(Item::Evidence(evidence)))
                }
                _ => Err(damaged(FrameError::NewerVersion { version })),
            },
            Some(_) | None => {
                let record = StoredRecord::parse(bytes).map_err(damaged)?;
                self.verifier.check(&record).map_err(fault)?;
                Ok(Some(Item::Record(Box::new(record))))
            }
        }
    }

    fn check_end(&mut self) -> Result<(), ExportError> {
        let head = self.head();
        let last = head.seq;
        let mut end = [0; END_LEN];
        if read_up_to(&mut self.input, &mut end[4..])? < END_LEN - 4 {
            return Err(ExportError::CutShort { last });
        }
        let fits = take_head(&end) == Some(head);
        let at_end = read_up_to(&mut self.input, &mut [0])? == 0;
        if fits && at_end { Ok(()) } else { Err(ExportError::WrongEnd { last }) }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<StoredRecord, ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_item()? {
                Ok(Item::Record(record)) => return Some(Ok(*record)),
                Ok(Item::Evidence(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Fills as much of the buffer as there is to read.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ExportError> {
    let mut len = 0;
    while len < buffer.len() {
        match input.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error("read")(error)),
        }
    }
    Ok(len)
}
