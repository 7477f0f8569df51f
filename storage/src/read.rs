//! Reading an open journal: bounded, from disk, and never more than was acknowledged.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};

use purser_events::{Seq, StreamId, StreamVersion};

use crate::error::JournalError;
use crate::export::{self, ExportError};
use crate::index;
use crate::journal::Journal;
use crate::open::unread;
use crate::published::Published;
use crate::record::StoredRecord;
use crate::segment::entry::Entry;
use crate::segment::set::Segments;
use crate::segment::walk::Walk;
use crate::store::Store;
use crate::store_thread::Lag;
use crate::subjects::SubjectKeys;
use crate::verify::Head;

/// Frame bytes after which one reading ends.
pub(crate) const READ_BYTES_MAX: usize = 1 << 20;

/// Records of a page, as a rule.
const PAGE_LEN: usize = READ_BYTES_MAX / 256;

/// No frame is shorter, in bytes.
const FRAME_LEN_MIN: usize = 88;

/// What reading an open journal takes. It keeps the journal neither open nor locked.
#[derive(Clone)]
pub(crate) struct Reader {
    /// None once the journal is closed.
    store: Arc<RwLock<Option<Arc<dyn Store>>>>,
    lag: Arc<Lag>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) published: Arc<Published>,
    keys: Option<Arc<SubjectKeys>>,
}

impl Reader {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        lag: Arc<Lag>,
        segments: Arc<Segments>,
        published: Arc<Published>,
        keys: Option<Arc<SubjectKeys>>,
    ) -> Reader {
        Reader { store: Arc::new(RwLock::new(Some(store))), lag, segments, published, keys }
    }

    /// The store, once it has all that was acknowledged up to now.
    pub(crate) fn store(&self) -> Result<Arc<dyn Store>, JournalError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner).clone();
        let store = store.ok_or(JournalError::Closed)?;
        self.lag.settle().map_err(|failed| self.published.why(failed))?;
        Ok(store)
    }

    fn check_open(&self) -> Result<(), JournalError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        if store.is_some() { Ok(()) } else { Err(JournalError::Closed) }
    }

    /// Lets go of the store: nothing is read any more.
    pub(crate) fn close(&self) {
        self.store.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// A reading's result; damage to the store has the next start make it again.
    pub(crate) fn noted<T>(&self, read: Result<T, JournalError>) -> Result<T, JournalError> {
        read.inspect_err(|error| error.note(self.segments.dir()))
    }

    /// Opens what is sealed among records that were read.
    fn opened(&self, mut records: Vec<StoredRecord>) -> Result<Vec<StoredRecord>, JournalError> {
        if let Some(keys) = &self.keys {
            records.iter_mut().try_for_each(|record| keys.open(record))?;
        }
        Ok(records)
    }

    /// As [`Journal::read`].
    pub(crate) fn read(&self, from: Seq, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        self.opened(self.read_page(from, limit)?)
    }

    /// As [`Journal::records`].
    pub(crate) fn records(&self, from: Seq) -> Result<Records, JournalError> {
        self.check_open()?;
        let head = self.published.state().head.seq;
        let next = from.max(self.segments.before().seq.next());
        let walk = (next <= head).then(|| self.segments.walk(next)).transpose()?;
        Ok(Records { walk, next, head, keys: self.keys.clone() })
    }

    fn read_page(&self, from: Seq, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        self.check_open()?;
        let head = self.published.state().head.seq;
        loop {
            let before = self.segments.before().seq;
            let from = from.max(before.next());
            if limit == 0 || from > head {
                return Ok(Vec::new());
            }
            let there = usize::try_from(head.0 - from.0 + 1).unwrap_or(usize::MAX);
            // A page that grows is copied again and again.
            let records = Vec::with_capacity(there.min(limit).min(PAGE_LEN));
            let mut page = Page { records, bytes: 0, limit };
            match self.read_segments(from, head, &mut page) {
                // What was to be read next was trimmed meanwhile.
                Err(_) if self.segments.before().seq != before => {}
                Err(error) => return Err(error),
                // A reading that finds less than the head promises must not pass for the end of the journal.
                Ok(()) if page.records.is_empty() => return Err(JournalError::Missing { seq: from }),
                Ok(()) => return Ok(page.records),
            }
        }
    }

    fn read_segments(&self, from: Seq, head: Seq, page: &mut Page) -> Result<(), JournalError> {
        let mut walk = self.segments.walk(from)?;
        while let Some(entry) = walk.step().map_err(unread)? {
            let Entry::Record(record) = entry else { continue };
            let seq = record.header.seq;
            if seq > head || seq >= from && page.add(record).is_break() || seq == head {
                break;
            }
        }
        Ok(())
    }
}

/// Records one after the other, see [`Journal::records`].
pub struct Records {
    /// None at the end.
    walk: Option<Walk>,
    next: Seq,
    head: Seq,
    keys: Option<Arc<SubjectKeys>>,
}

impl Records {
    fn step(&mut self) -> Result<Option<StoredRecord>, JournalError> {
        let Some(walk) = &mut self.walk else { return Ok(None) };
        while self.next <= self.head {
            match walk.step().map_err(unread)? {
                Some(Entry::Record(record)) if record.header.seq < self.next => {}
                Some(Entry::Record(mut record)) => {
                    self.next = record.header.seq.next();
                    if let Some(keys) = &self.keys {
                        keys.open(&mut record)?;
                    }
                    return Ok(Some(record));
                }
                Some(_) => {}
                // What was to come was trimmed meanwhile, or is lost: less than was promised must not pass for the end.
                None => return Err(JournalError::Missing { seq: self.next }),
            }
        }
        Ok(None)
    }
}

impl Iterator for Records {
    type Item = Result<StoredRecord, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.walk = None;
        }
        step
    }
}

impl Journal {
    /// The records from `from` up to the present head, one after the other. Of a journal that was trimmed, those from its
    /// first on. Who goes through many does best with this: nothing is kept of a record that was handed out, while a
    /// page of them is more than a processor's cache holds. Blocks on the disk, and keeps a file open until it is dropped.
    ///
    /// # Errors
    /// The journal is closed. Of a record: it cannot be read, or was trimmed meanwhile; it is the last one then.
    pub fn records(&self, from: Seq) -> Result<Records, JournalError> {
        self.reader().records(from)
    }

    /// The records from `from` on, in order, at most `limit` and about 1 MiB of them; none beyond the head. Of a
    /// journal that was trimmed, those from its first on. Blocks on the disk.
    ///
    /// # Errors
    /// The journal is closed, or a record cannot be read.
    pub fn read(&self, from: Seq, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        self.reader().read(from, limit)
    }

    /// The records of one stream from version `from` on, in order, at most `limit` and about 1 MiB of them; none
    /// that were trimmed. Blocks on the disk.
    ///
    /// # Errors
    /// The journal is closed, or a record cannot be read.
    pub fn read_stream(
        &self,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, JournalError> {
        self.reader().opened(self.noted(self.read_stream_page(stream, from, limit))?)
    }

    fn read_stream_page(
        &self,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, JournalError> {
        let head = self.head().seq;
        let store = self.store()?;
        // No more of them can fit.
        let limit = limit.min(READ_BYTES_MAX / FRAME_LEN_MIN);
        let from = from.max(StreamVersion(1));
        let mut records = self.read_unindexed(&*store, stream, from, limit)?;
        let mut bytes: usize = records.iter().map(|record| record.as_bytes().len()).sum();
        let from = records.last().map_or(from, |last| last.header.version.next());
        let limit = limit - records.len();
        for seq in index::stream(&*store, stream, from, self.before().seq, limit)? {
            if seq > head || bytes >= READ_BYTES_MAX {
                break;
            }
            let record = self.stored(seq)?;
            let version = records.last().map_or(record.header.version, |last| last.header.version.next());
            if (record.header.stream, record.header.version) != (stream, version) {
                return Err(JournalError::Value { name: "stream index" });
            }
            bytes += record.as_bytes().len();
            records.push(record);
        }
        Ok(records)
    }

    /// Reads one record that is known to be there.
    fn stored(&self, seq: Seq) -> Result<StoredRecord, JournalError> {
        let mut page = Page { records: Vec::new(), bytes: 0, limit: 1 };
        self.reader().read_segments(seq, seq, &mut page)?;
        page.records.pop().map(StoredRecord::on_its_own).ok_or(JournalError::Missing { seq })
    }

    /// Writes the records from `from`, or from the first that is left, up to the present head as an export, and gives
    /// that head. Blocks on the disk and on `out`.
    ///
    /// # Errors
    /// The journal is closed, a record cannot be read, or `out` cannot be written.
    pub fn export(&self, from: Seq, out: impl Write) -> Result<Head, ExportError> {
        let head = self.head();
        let first = self.before();
        let mut next = from.max(first.seq.next()).min(head.seq.next());
        let before = match Seq(next.0 - 1) {
            seq if seq == first.seq => first,
            seq => Head { seq, hash: self.stored(seq)?.hash },
        };
        let mut writer = export::Writer::new(out, before)?;
        let mut walk = self.segment_set().walk(next).map_err(JournalError::from)?;
        while let Some(entry) = walk.step().map_err(unread)? {
            match entry {
                Entry::Record(record) if record.header.seq > head.seq => break,
                Entry::Record(record) if record.header.seq == next => {
                    writer.write(&record)?;
                    next = next.next();
                }
                // It may speak of records that are left out: who reads it sees that by its size.
                Entry::Evidence(evidence) if next > before.seq.next() || before == Head::GENESIS => {
                    writer.write_evidence(&evidence)?;
                }
                Entry::Record(_)
                | Entry::Answer(_)
                | Entry::Opened(_)
                | Entry::Closed
                | Entry::Evidence(_)
                | Entry::Footer(_) => {}
            }
        }
        if next <= head.seq {
            return Err(JournalError::Missing { seq: next }.into());
        }
        writer.finish()?;
        Ok(head)
    }
}

/// Records of one reading.
struct Page {
    records: Vec<StoredRecord>,
    bytes: usize,
    limit: usize,
}

impl Page {
    fn add(&mut self, record: StoredRecord) -> ControlFlow<()> {
        self.bytes += record.as_bytes().len();
        self.records.push(record);
        let enough = self.records.len() >= self.limit || self.bytes >= READ_BYTES_MAX;
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
