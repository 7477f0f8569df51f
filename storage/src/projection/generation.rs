//! One generation of rows: where it is in the journal, and the folding of what comes next.

use std::sync::Arc;

use purser_events::Seq;

use super::keys::{self, Place};
use super::rows::{RowsError, StoredRows};
use super::status::GenerationStatus;
use super::{Folded, Projection};
use crate::error::JournalError;
use crate::open::replayed;
use crate::read::Reader;
use crate::store::Store;
use crate::subscription::{BATCH_LEN_MAX, Subscription, SubscriptionError};
use crate::verify::Head;

/// Why a projection cannot go on as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
    /// The records that come next are not there: the rows must be built again.
    #[error("records that the rows lack are gone")]
    Gap(#[source] SubscriptionError),
    /// The journal cannot be read.
    #[error("failed to read the journal")]
    Journal(#[source] SubscriptionError),
    /// Rows cannot be read or written.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The store failed, or what it says of the projection is damaged.
    #[error(transparent)]
    Store(#[from] JournalError),
}

impl From<SubscriptionError> for Trouble {
    fn from(error: SubscriptionError) -> Trouble {
        match error {
            SubscriptionError::Closed => Trouble::Closed,
            gap @ (SubscriptionError::Trimmed { .. } | SubscriptionError::Ahead { .. }) => Trouble::Gap(gap),
            error @ SubscriptionError::Journal(_) => Trouble::Journal(error),
        }
    }
}

/// A generation that is kept up to date.
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) place: Place,
    subscription: Subscription,
}

impl Generation {
    /// One that begins with the journal's first record.
    pub(super) fn new(reader: &Reader, number: u32, layout: u32) -> Result<Generation, Trouble> {
        let cursor = reader.segments.before();
        let place = Place { layout, first: cursor.seq.next(), cursor, passed_over: 0 };
        Generation::at(reader, number, place)
    }

    /// Goes on with one of which the store says how far it came; none if it is not of this journal, or the journal
    /// lacks what comes next.
    pub(super) fn resume(reader: &Reader, number: u32, place: Place) -> Result<Option<Generation>, Trouble> {
        if hash_at(reader, place.cursor.seq)? != Some(place.cursor) {
            return Ok(None);
        }
        match Generation::at(reader, number, place) {
            Ok(generation) => Ok(Some(generation)),
            Err(Trouble::Gap(_)) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    fn at(reader: &Reader, number: u32, place: Place) -> Result<Generation, Trouble> {
        let subscription = Subscription::new(reader.clone(), place.cursor.seq.next())?;
        Ok(Generation { number, place, subscription })
    }

    pub(super) fn status(&self) -> GenerationStatus {
        let Place { layout, first, cursor, passed_over } = self.place;
        GenerationStatus { number: self.number, layout, first, cursor: cursor.seq, passed_over }
    }

    /// Waits until there is a record to fold.
    pub(super) async fn ready(&mut self) -> Result<(), Trouble> {
        Ok(self.subscription.ready().await?)
    }

    /// Folds the next records, a batch at most, and says whether there were any. Rows and place are written together.
    pub(super) fn advance(
        &mut self,
        projection: &dyn Projection,
        store: &Arc<dyn Store>,
    ) -> Result<bool, Trouble> {
        let records = self.subscription.records_now()?;
        let (mut rows, mut place) = (self.rows(projection, store), self.place);
        let mut any = false;
        for record in records.take(BATCH_LEN_MAX) {
            let record = record.map_err(|error| self.subscription.failed(error))?;
            any = true;
            self.subscription.pass(record.header.seq);
            place.cursor = Head { seq: record.header.seq, hash: record.hash };
            let folded = projection.fold(place.layout, &replayed(&record), &mut rows)?;
            place.passed_over += u64::from(folded == Folded::PassedOver);
            if rows.is_full() {
                self.write(projection, &**store, &mut rows, place)?;
            }
        }
        if place != self.place {
            self.write(projection, &**store, &mut rows, place)?;
        }
        Ok(any)
    }

    /// Removes some of the rows that speak of records before `first`; says whether there may be more.
    pub(super) fn forget(
        &mut self,
        projection: &dyn Projection,
        store: &Arc<dyn Store>,
        first: Seq,
        rows_max: usize,
    ) -> Result<bool, Trouble> {
        let mut rows = self.rows(projection, store);
        let more = projection.forget(self.place.layout, first, rows_max, &mut rows)?;
        if !rows.is_unchanged() {
            self.write(projection, &**store, &mut rows, self.place)?;
        }
        Ok(more)
    }

    fn rows<'a>(&self, projection: &'a dyn Projection, store: &Arc<dyn Store>) -> StoredRows<'a> {
        StoredRows::new(Arc::clone(store), projection.name(), self.number)
    }

    fn write(
        &mut self,
        projection: &dyn Projection,
        store: &dyn Store,
        rows: &mut StoredRows<'_>,
        place: Place,
    ) -> Result<(), JournalError> {
        let mut batch = rows.take_batch();
        keys::put_place(&mut batch, projection.name(), self.number, &place);
        store.apply(batch)?;
        // Only now: what is told must be in the rows.
        self.place = place;
        Ok(())
    }
}

/// A record with the hash that the journal has for it; none if it does not have the record.
fn hash_at(reader: &Reader, seq: Seq) -> Result<Option<Head>, JournalError> {
    let before = reader.segments.before();
    if seq <= before.seq {
        return Ok((seq == before.seq).then_some(before));
    }
    let found = reader.read(seq, 1)?;
    Ok(found.first().map(|record| Head { seq: record.header.seq, hash: record.hash }))
}
