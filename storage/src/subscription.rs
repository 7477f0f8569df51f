//! Following the journal: its durable records in order from one on, from disk, and then as they come.
//!
//! A subscription holds a place and the batch that it hands out, nothing else. It waits for the head to move and then
//! reads, so a slow one reads from disk what it missed, and the writer knows of none. It keeps neither records nor the
//! journal: whoever wants records to stay sets a cursor with [`Journal::set_cursor`].

use std::sync::Arc;

use purser_events::Seq;
use tokio::sync::watch;

use crate::error::JournalError;
use crate::journal::Journal;
use crate::read::{Reader, Records};
use crate::record::StoredRecord;

/// Most records of one batch; about 1 MiB of them ends it as well.
pub const BATCH_LEN_MAX: usize = 256;

/// Why a subscription cannot begin or go on where it is.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    /// The record is no longer here.
    #[error("record {from} was trimmed; the journal begins with record {first}")]
    Trimmed {
        /// The record that was to come next.
        from: Seq,
        /// The first record that is here.
        first: Seq,
    },
    /// There is a gap between the record and the last one.
    #[error("record {from} is beyond the journal's head, record {head}, and the one after it")]
    Ahead {
        /// The record that was to come first.
        from: Seq,
        /// The last durable record.
        head: Seq,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// The journal failed, or a record cannot be read.
    #[error("failed to follow the journal")]
    Journal(#[from] Arc<JournalError>),
}

/// A place in the journal.
pub struct Subscription {
    reader: Reader,
    heads: watch::Receiver<Seq>,
    ended: watch::Receiver<bool>,
    fatal: watch::Receiver<Option<Arc<JournalError>>>,
    next: Seq,
}

impl Journal {
    /// Follows the journal from record `from` on. The record after the last one may be asked for: it comes once it is
    /// written.
    ///
    /// # Errors
    /// `from` was trimmed, or is further beyond the head, or the journal is closed.
    pub fn subscribe(&self, from: Seq) -> Result<Subscription, SubscriptionError> {
        Subscription::new(self.reader().clone(), from)
    }
}

impl Subscription {
    pub(crate) fn new(reader: Reader, from: Seq) -> Result<Subscription, SubscriptionError> {
        let from = from.max(Seq(1));
        let published = &reader.published;
        let (heads, ended) = (published.heads.subscribe(), published.ended.subscribe());
        let fatal = published.fatal.subscribe();
        let head = published.state().head.seq;
        if from > head.next() {
            return Err(SubscriptionError::Ahead { from, head });
        }
        check_first(&reader, from)?;
        if *ended.borrow() {
            return Err(SubscriptionError::Closed);
        }
        Ok(Subscription { reader, heads, ended, fatal, next: from })
    }

    /// The record that comes next.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.next
    }

    /// The next records, at least one and at most [`BATCH_LEN_MAX`]; waits for one if there is none. Nothing is lost if
    /// it is dropped while it waits.
    ///
    /// # Errors
    /// The record that comes next was trimmed, the journal was closed or failed, or a record cannot be read.
    pub async fn next(&mut self) -> Result<Vec<StoredRecord>, SubscriptionError> {
        self.ready().await?;
        let (reader, next) = (self.reader.clone(), self.next);
        let read = tokio::task::spawn_blocking(move || read(&reader, next)).await;
        // It is cut off only when its runtime ends.
        let batch = read.map_err(|_| SubscriptionError::Closed)??;
        if let Some(last) = batch.last() {
            self.pass(last.header.seq);
        }
        Ok(batch)
    }

    /// The records that there are now, one after the other; none if there is none. Blocks on the disk. What was seen to
    /// is told by [`Subscription::pass`], and of an error [`Subscription::failed`] knows more.
    pub(crate) fn records_now(&self) -> Result<Records, SubscriptionError> {
        if *self.ended.borrow() {
            return Err(SubscriptionError::Closed);
        }
        check_first(&self.reader, self.next)?;
        let records = self.reader.records(self.next).map_err(|error| self.failed(error))?;
        // A trim may have come in between: what it took must not pass for read.
        check_first(&self.reader, self.next)?;
        Ok(records)
    }

    /// Why records could not be read: what a trim took is not damage.
    pub(crate) fn failed(&self, error: JournalError) -> SubscriptionError {
        check_first(&self.reader, self.next).err().unwrap_or_else(|| unread(error))
    }

    /// Waits until there is a record to read.
    pub(crate) async fn ready(&mut self) -> Result<(), SubscriptionError> {
        let next = self.next;
        // First, as with one who has a lot to read: the others end the wait only.
        if *self.ended.borrow() {
            return Err(SubscriptionError::Closed);
        }
        tokio::select! {
            biased;
            head = self.heads.wait_for(|head| next <= *head) => {
                head.map(|_| ()).map_err(|_| SubscriptionError::Closed)
            }
            _ = self.ended.wait_for(|ended| *ended) => Err(SubscriptionError::Closed),
            failed = self.fatal.wait_for(Option::is_some) => {
                let failed = failed.ok().and_then(|failed| failed.clone());
                Err(failed.map_or(SubscriptionError::Closed, SubscriptionError::Journal))
            }
        }
    }

    /// Goes on after a record.
    pub(crate) fn pass(&mut self, seq: Seq) {
        self.next = seq.next();
    }
}

/// The records from `next` on; none if there is none yet.
fn read(reader: &Reader, next: Seq) -> Result<Vec<StoredRecord>, SubscriptionError> {
    check_first(reader, next)?;
    let batch = reader.read(next, BATCH_LEN_MAX).map_err(unread);
    // A trim may have come in between: what it took must not pass for read.
    check_first(reader, next)?;
    batch
}

fn unread(error: JournalError) -> SubscriptionError {
    match error {
        JournalError::Closed => SubscriptionError::Closed,
        error => SubscriptionError::Journal(Arc::new(error)),
    }
}

fn check_first(reader: &Reader, from: Seq) -> Result<(), SubscriptionError> {
    let first = reader.segments.before().seq.next();
    if from < first { Err(SubscriptionError::Trimmed { from, first }) } else { Ok(()) }
}
