//! Asynchronous projections: rows that are folded from the journal behind the writer's back, for questions that nobody
//! needs an answer to before the next commit.
//!
//! Each has a thread that follows the journal with a subscription. Rows, and how far they have come, are written to
//! the store in one batch, so that each record counts once whatever happens in between. The store is a cache, and so
//! are the rows: if they are lost, they are folded again from the journal's first record.
//!
//! A projection that lags keeps the records that it lacks from being trimmed. One that is paused keeps none: a cache must
//! not fill the disk.
//!
//! Rows belong to a generation. A new one is built beside the one that answers, when the layout changed or on demand;
//! once it has come as far, one write makes it the one that answers, and the old rows are removed. The store says which
//! generation answers and which is being built, so a kill at any moment in it is gone on from.

mod generation;
mod keys;
mod reader;
mod rows;
mod runner;
mod status;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use purser_events::Seq;

pub use reader::{ProjectionReader, ReadError};
pub use rows::{Pair, ROW_KEY_LEN_MAX, ROW_LEN_MAX, Rows, RowsError};
pub use status::{GenerationStatus, ProjectionState, ProjectionStatus};

use crate::error::JournalError;
use crate::journal::Journal;
use crate::open::Replayed;
use runner::Runner;

/// Longest name of a projection, in bytes.
pub const NAME_LEN_MAX: usize = 32;

/// A fold of the journal into rows.
pub trait Projection: Send + Sync + 'static {
    /// Its name: of rows in the store, of metrics and for people; at most [`NAME_LEN_MAX`] bytes. Another name is
    /// another projection.
    fn name(&self) -> &'static str;

    /// Version of the layout of its rows, and of what they say: another one has them built again.
    fn layout(&self) -> u32;

    /// Whether rows of a layout can still be read and kept up to date. Those that cannot are not shown.
    fn reads(&self, layout: u32) -> bool {
        layout == self.layout()
    }

    /// Folds one record into rows of a layout that [`Projection::reads`] knows. Records come in order and each once,
    /// as far as the rows can tell.
    ///
    /// # Errors
    /// A row cannot be read, or is too long: the projection pauses.
    fn fold(&self, layout: u32, record: &Replayed, rows: &mut dyn Rows) -> Result<Folded, RowsError>;

    /// Removes rows that speak only of records before `first`, which were trimmed; about `rows_max` of them. Says
    /// whether there may be more. A projection that keeps such rows leaves this as it is, and loses them whenever it is
    /// built again.
    ///
    /// # Errors
    /// A row cannot be read: the projection pauses.
    fn forget(
        &self,
        layout: u32,
        first: Seq,
        rows_max: usize,
        rows: &mut dyn Rows,
    ) -> Result<bool, RowsError> {
        let _ = (layout, first, rows_max, rows);
        Ok(false)
    }
}

/// What came of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folded {
    /// It is in the rows as far as it concerns them.
    In,
    /// It concerns them and cannot be read: it is counted and left out.
    PassedOver,
}

/// The projections of a journal.
#[derive(Default)]
pub(crate) struct Projections(Mutex<BTreeMap<&'static str, Running>>);

struct Running {
    reader: ProjectionReader,
    /// None once it was joined.
    thread: Option<JoinHandle<()>>,
}

impl Projections {
    /// Waits until every thread has ended; they end once the journal is being closed.
    pub(crate) fn join(&self) {
        let take = |running: &mut Running| running.thread.take();
        let threads: Vec<_> = self.lock().values_mut().filter_map(take).collect();
        for thread in threads {
            // A panic is a pause without a reason: the rows are as the last batch left them.
            let _ = thread.join();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    /// Keeps a projection up to date from now on, on a thread of its own, until the journal is closed. Trouble with
    /// it never reaches the journal: it pauses and says why, see [`Journal::projections`].
    ///
    /// # Panics
    /// Its name is too long, or one of that name runs already.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn project(&self, projection: Arc<dyn Projection>) -> Result<(), JournalError> {
        let name = projection.name();
        assert!(
            (1..=NAME_LEN_MAX).contains(&name.len()),
            "a projection's name has 1 to {NAME_LEN_MAX} bytes"
        );
        let mut running = self.projection_set().lock();
        assert!(!running.contains_key(name), "a projection runs once");
        let (runner, reader) = Runner::new(projection, self.reader().clone(), Arc::clone(self.holds()));
        let thread = thread::Builder::new().name(format!("rows-{name}")).spawn(move || runner.run());
        let thread = Some(thread.map_err(JournalError::Thread)?);
        running.insert(name, Running { reader, thread });
        Ok(())
    }

    /// A projection that is kept up to date; none if there is none of that name.
    #[must_use]
    pub fn projection(&self, name: &str) -> Option<ProjectionReader> {
        self.projection_set().lock().get(name).map(|running| running.reader.clone())
    }

    /// How every projection stands, by name.
    #[must_use]
    pub fn projections(&self) -> Vec<ProjectionStatus> {
        self.projection_set().lock().values().map(|running| running.reader.status()).collect()
    }
}
