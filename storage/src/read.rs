//! Reading an open journal: bounded, from disk, and never more than was acknowledged.

use std::io::Write;
use std::ops::ControlFlow;

use purser_events::{Seq, StreamId, StreamVersion};

use crate::error::JournalError;
use crate::export::{self, ExportError};
use crate::frame::GENESIS;
use crate::journal::Journal;
use crate::record::StoredRecord;
use crate::store::{Store, keys};
use crate::verify::Head;

/// Frame bytes after which one reading ends.
const READ_BYTES_MAX: usize = 1 << 20;

/// No frame is shorter, in bytes.
const FRAME_LEN_MIN: usize = 88;

/// Records that an export takes from the store at a time.
const EXPORT_STEP: usize = 4_096;

impl Journal {
    /// The records from `from` on, in order, at most `limit` and about 1 MiB of them; none beyond the head.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// The journal is closed, or a record cannot be read.
    pub fn read(&self, from: Seq, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        let head = self.head().seq;
        let store = self.store()?;
        let (mut records, mut bytes, mut failed) = (Vec::new(), 0, None);
        if limit == 0 || from > head {
            return Ok(records);
        }
        let mut expected = from.max(Seq(1));
        store.scan(&keys::record(expected), &keys::record(head.next()), &mut |key, value| {
            let seq = keys::record_seq(key).unwrap_or(Seq::ZERO);
            if seq != expected {
                failed = Some(JournalError::Missing { seq: expected });
                return ControlFlow::Break(());
            }
            match StoredRecord::parse(value.to_vec()) {
                Ok(record) => records.push(record),
                Err(source) => failed = Some(JournalError::Record { seq, source }),
            }
            expected = seq.next();
            bytes += value.len();
            let enough = failed.is_some() || records.len() >= limit || bytes >= READ_BYTES_MAX;
            if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match failed {
            Some(error) => Err(error),
            // A scan that finds less than the head promises must not pass for the end of the journal.
            None if records.is_empty() => Err(JournalError::Missing { seq: expected }),
            None => Ok(records),
        }
    }

    /// The records of one stream from version `from` on, in order, at most `limit` and about 1 MiB of them.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// The journal is closed, or a record cannot be read.
    pub fn read_stream(
        &self,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, JournalError> {
        let head = self.head().seq;
        let store = self.store()?;
        let mut seqs = Vec::new();
        // No more of them can fit.
        let limit = limit.min(READ_BYTES_MAX / FRAME_LEN_MIN);
        let (from, to) = (keys::stream(stream, from), keys::stream(stream, StreamVersion(u64::MAX)));
        store.scan(&from, &to, &mut |_, value| {
            if seqs.len() < limit {
                seqs.push(<[u8; 8]>::try_from(value).map(|seq| Seq(u64::from_be_bytes(seq))));
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        let (mut records, mut bytes) = (Vec::new(), 0);
        for seq in seqs {
            let seq = seq.map_err(|_| JournalError::Value { name: "stream index" })?;
            if seq > head || bytes >= READ_BYTES_MAX {
                break;
            }
            let record = stored(&*store, seq)?;
            bytes += record.as_bytes().len();
            records.push(record);
        }
        Ok(records)
    }

    /// Writes the records from `from` up to the present head as an export, and gives that head. Blocks on the
    /// disk and on `out`.
    ///
    /// # Errors
    /// The journal is closed, a record cannot be read, or `out` cannot be written.
    pub fn export(&self, from: Seq, out: impl Write) -> Result<Head, ExportError> {
        let head = self.head();
        let mut next = from.max(Seq(1)).min(head.seq.next());
        let before = Seq(next.0 - 1);
        let hash = match before {
            Seq::ZERO => GENESIS,
            before => stored(&*self.store()?, before)?.hash,
        };
        let mut writer = export::Writer::new(out, Head { seq: before, hash })?;
        while next <= head.seq {
            for record in self.read(next, EXPORT_STEP)? {
                next = record.header.seq.next();
                if record.header.seq <= head.seq {
                    writer.write(&record)?;
                }
            }
        }
        writer.finish()?;
        Ok(head)
    }
}

/// Reads one record that is known to be there.
fn stored(store: &dyn Store, seq: Seq) -> Result<StoredRecord, JournalError> {
    let frame = store.get(&keys::record(seq))?.ok_or(JournalError::Missing { seq })?;
    StoredRecord::parse(frame).map_err(|source| JournalError::Record { seq, source })
}
