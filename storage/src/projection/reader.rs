//! A projection as those who ask it see it.

use std::sync::Arc;

use purser_events::Seq;
use tokio::sync::watch;

use super::rows::{Rows, RowsError, StoredRows};
use super::status::{GenerationStatus, ProjectionStatus};
use crate::error::JournalError;
use crate::read::Reader;

/// Times that a question is asked again because other rows answer now.
const RETRIES: usize = 8;

/// Asks one projection; clones ask the same. It does not keep the journal open.
#[derive(Clone)]
pub struct ProjectionReader {
    pub(super) name: &'static str,
    pub(super) reader: Reader,
    pub(super) told: watch::Receiver<ProjectionStatus>,
    /// Requests to build it again so far.
    pub(super) requests: Arc<watch::Sender<u64>>,
}

/// Why a projection gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No generation answers yet.
    #[error("projection `{name}` is being built, at record {at} of {of}")]
    BeingBuilt {
        /// Its name.
        name: &'static str,
        /// The last record that is folded in.
        at: Seq,
        /// The record that it must come to.
        of: Seq,
    },
    /// It does not go on, so what is asked for does not come.
    #[error("projection `{name}` is paused: {reason}")]
    Paused {
        /// Its name.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// The rows cannot be read.
    #[error(transparent)]
    Rows(RowsError),
}

impl ProjectionReader {
    /// How it stands.
    #[must_use]
    pub fn status(&self) -> ProjectionStatus {
        self.told.borrow().clone()
    }

    /// Tells whenever that changes.
    #[must_use]
    pub fn statuses(&self) -> watch::Receiver<ProjectionStatus> {
        self.told.clone()
    }

    /// Reads rows that answer now; `read` gets them with the number of their layout. Gives the generation as well:
    /// each row is at least as new as its cursor. Blocks on the disk; `read` may be called again.
    ///
    /// # Errors
    /// Nothing answers yet, the journal is closed, or the rows cannot be read.
    pub fn read<T>(
        &self,
        mut read: impl FnMut(u32, &dyn Rows) -> Result<T, RowsError>,
    ) -> Result<(T, GenerationStatus), ReadError> {
        let answering = |status: &ProjectionStatus| status.answering;
        for _ in 0..RETRIES {
            let Some(generation) = answering(&self.told.borrow()) else { break };
            let store = self.reader.store().map_err(|_| ReadError::Closed)?;
            let rows = StoredRows::new(store, self.name, generation.number);
            let answer = read(generation.layout, &rows);
            // Rows go once others answer: what was read may then lack some.
            let now = answering(&self.told.borrow());
            if now.is_some_and(|now| now.number == generation.number) {
                let answer = answer.inspect_err(|error| self.note(error)).map_err(ReadError::Rows)?;
                return Ok((answer, generation));
            }
        }
        Err(self.no_answer())
    }

    /// Waits until answers hold record `seq`.
    ///
    /// # Errors
    /// It is paused, or the journal is closed.
    pub async fn at_least(&self, seq: Seq) -> Result<(), ReadError> {
        let mut told = self.statuses();
        let holds = |status: &ProjectionStatus| {
            status.paused.is_some() || status.answering.is_some_and(|generation| generation.cursor >= seq)
        };
        let status = told.wait_for(holds).await.map_err(|_| ReadError::Closed)?;
        let holds = status.answering.is_some_and(|generation| generation.cursor >= seq);
        match &status.paused {
            Some(reason) if !holds => Err(ReadError::Paused { name: self.name, reason: reason.clone() }),
            Some(_) | None => Ok(()),
        }
    }

    /// Has new rows built from the journal's first record, and gives how it stands once that has begun. A build that
    /// is under way begins again; one that was paused goes on, with nothing to ask until the new rows are there.
    ///
    /// # Errors
    /// The journal is closed.
    pub async fn rebuild(&self) -> Result<ProjectionStatus, ReadError> {
        let mut asked = 0;
        self.requests.send_modify(|requests| {
            *requests += 1;
            asked = *requests;
        });
        let mut told = self.statuses();
        let status = told.wait_for(|status| asked <= status.requests_taken).await;
        status.map(|status| status.clone()).map_err(|_| ReadError::Closed)
    }

    fn no_answer(&self) -> ReadError {
        let (name, status) = (self.name, self.status());
        match status.paused {
            Some(reason) => ReadError::Paused { name, reason },
            None => ReadError::BeingBuilt {
                name,
                at: status.building.map_or(Seq::ZERO, |generation| generation.cursor),
                of: status.goal,
            },
        }
    }

    /// Has the next start make the store again, if a row in it is damaged.
    fn note(&self, error: &RowsError) {
        if let RowsError::Store(error @ JournalError::Value { .. }) = error {
            error.note(self.reader.segments.dir());
        }
    }
}
