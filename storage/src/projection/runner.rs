//! The thread of one projection: keeps the rows that answer up to date, builds new ones beside them, switches, and
//! removes what is left of old ones, a batch of each in turn.

use std::sync::Arc;

use purser_events::Seq;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::generation::{Generation, Trouble};
use super::keys::{self, Standing};
use super::reader::ProjectionReader;
use super::status::ProjectionStatus;
use super::{Projection, RowsError};
use crate::error::JournalError;
use crate::read::Reader;
use crate::retention::Holds;
use crate::store::{Batch, Store};
use crate::verify::Head;

/// Rows that are removed at once.
const REMOVED_MAX: usize = 1_024;

pub(super) struct Runner {
    projection: Arc<dyn Projection>,
    reader: Reader,
    holds: Arc<Holds>,
    /// What it is called among those who hold records.
    hold: String,
    told: watch::Sender<ProjectionStatus>,
    requests: watch::Receiver<u64>,
    requests_taken: u64,
    standing: Standing,
    /// What answers; none if there is nothing yet, or this release cannot read it.
    answering: Option<Generation>,
    building: Option<Generation>,
    /// The record that the first rows must come to before they answer.
    goal: Seq,
    /// Whether what is left of old generations was removed.
    swept: bool,
    /// The journal's first record when the rows were last asked to forget what is before it.
    forgotten: Seq,
}

impl Runner {
    pub(super) fn new(
        projection: Arc<dyn Projection>,
        reader: Reader,
        holds: Arc<Holds>,
    ) -> (Runner, ProjectionReader) {
        let name = projection.name();
        let status = ProjectionStatus { name: name.to_owned(), ..ProjectionStatus::default() };
        let (told, telling) = watch::channel(status);
        let (requests, asked) = watch::channel(0);
        let asks =
            ProjectionReader { name, reader: reader.clone(), told: telling, requests: Arc::new(requests) };
        let hold = format!("projection/{name}");
        // Everything, until it is known what is needed.
        holds.set(&hold, Seq::ZERO);
        let runner = Runner {
            projection,
            reader,
            holds,
            hold,
            told,
            requests: asked,
            requests_taken: 0,
            standing: Standing::default(),
            answering: None,
            building: None,
            goal: Seq::ZERO,
            swept: false,
            forgotten: Seq::ZERO,
        };
        (runner, asks)
    }

    /// Runs until the journal is being closed.
    pub(super) fn run(mut self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().build() {
            Ok(runtime) => runtime,
            Err(error) => return self.pause(&Trouble::Store(JournalError::Thread(error))),
        };
        let mut ended = self.reader.published.ended.subscribe();
        let mut loaded = false;
        while !*ended.borrow() {
            let done = if loaded { self.turn() } else { self.load().map(|()| true) };
            let done = done.and_then(|worked| {
                loaded = true;
                self.tell(None);
                if worked { Ok(()) } else { self.rest(&runtime) }
            });
            match done {
                Ok(()) => {}
                Err(Trouble::Closed) => break,
                Err(Trouble::Gap(gap)) => {
                    let error = &gap as &dyn std::error::Error;
                    tracing::warn!(projection = self.name(), error, "the rows are built again");
                    loaded = self.discard();
                }
                Err(trouble) => {
                    self.pause(&trouble);
                    runtime.block_on(async {
                        tokio::select! {
                            _ = ended.wait_for(|ended| *ended) => {}
                            _ = self.requests.changed() => {}
                        }
                    });
                    loaded = self.discard();
                    self.requests_taken = *self.requests.borrow_and_update();
                }
            }
        }
    }

    /// Does what there is to do, a batch of each kind; says whether there was anything.
    fn turn(&mut self) -> Result<bool, Trouble> {
        let store = self.store()?;
        let asked = *self.requests.borrow_and_update();
        if asked > self.requests_taken {
            tracing::info!(projection = self.name(), "the rows are built again on demand");
            // Seen to even if it fails: whoever asked is then told of the pause.
            self.requests_taken = asked;
            self.begin_build(&store)?;
        }
        let mut worked = false;
        for generation in [&mut self.answering, &mut self.building].into_iter().flatten() {
            worked |= generation.advance(&*self.projection, &store)?;
        }
        if self.has_caught_up() {
            self.switch(&store)?;
            worked = true;
        }
        worked |= self.sweep(&*store)?;
        worked |= self.forget(&store)?;
        self.hold();
        Ok(worked)
    }

    /// Finds out what there is in the store, and what has to be built.
    fn load(&mut self) -> Result<(), Trouble> {
        let store = self.store()?;
        let standing = match keys::standing(&*store, self.name()) {
            Ok(standing) => standing.unwrap_or_default(),
            Err(error @ JournalError::Value { .. }) => {
                error.note(self.reader.segments.dir());
                Standing::default()
            }
            Err(error) => return Err(error.into()),
        };
        self.standing = standing;
        self.goal = self.head();
        if standing == Standing::default() {
            // Rows that nothing speaks of would be taken for those of a number that is given anew.
            while self.remove_others(&*store)? {
                if *self.reader.published.ended.borrow() {
                    return Err(Trouble::Closed);
                }
            }
        }
        let found = self.resume(&store, standing.answering)?;
        let (layout, reads) = (self.projection.layout(), |layout| self.projection.reads(layout));
        // What a newer release left is kept until there is something to show in its place.
        let known = found.is_some();
        self.answering = found.filter(|generation| reads(generation.place.layout));
        if !known {
            self.standing.answering = None;
        }
        let found = self.resume(&store, standing.building)?;
        self.building = found.filter(|generation| generation.place.layout == layout);
        let is_current = self.answering.as_ref().is_some_and(|answering| answering.place.layout == layout);
        if self.building.is_none() && !is_current {
            self.begin_build(&store)?;
        }
        self.swept = false;
        self.hold();
        Ok(())
    }

    fn resume(&self, store: &Arc<dyn Store>, number: Option<u32>) -> Result<Option<Generation>, Trouble> {
        let Some(number) = number else { return Ok(None) };
        match keys::place(&**store, self.name(), number) {
            Ok(Some(place)) => Generation::resume(&self.reader, number, place),
            Ok(None) => Ok(None),
            Err(error @ JournalError::Value { .. }) => {
                error.note(self.reader.segments.dir());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Begins to build rows beside those that answer, in place of those that were being built.
    fn begin_build(&mut self, store: &Arc<dyn Store>) -> Result<(), Trouble> {
        let number = self.standing.newest.saturating_add(1);
        let building = Generation::new(&self.reader, number, self.projection.layout())?;
        let standing = Standing { building: Some(number), newest: number, ..self.standing };
        let mut batch = Batch::default();
        keys::put_standing(&mut batch, self.name(), standing);
        keys::put_place(&mut batch, self.name(), number, &building.place);
        store.apply(batch).map_err(JournalError::from)?;
        (self.standing, self.building) = (standing, Some(building));
        self.goal = self.head();
        self.swept = false;
        Ok(())
    }

    /// Whether what is being built can take over.
    fn has_caught_up(&self) -> bool {
        let goal = self.answering.as_ref().map_or(self.goal, |answering| answering.place.cursor.seq);
        self.building.as_ref().is_some_and(|building| building.place.cursor.seq >= goal)
    }

    /// Lets the rows that were built answer from now on.
    fn switch(&mut self, store: &Arc<dyn Store>) -> Result<(), Trouble> {
        let standing = Standing { answering: self.standing.building, building: None, ..self.standing };
        let mut batch = Batch::default();
        keys::put_standing(&mut batch, self.name(), standing);
        store.apply(batch).map_err(JournalError::from)?;
        self.standing = standing;
        self.answering = self.building.take();
        self.swept = false;
        self.hold();
        // Told before the first old row goes: whoever reads them must be able to see that.
        self.tell(None);
        tracing::info!(projection = self.name(), generation = standing.newest, "the new rows answer");
        Ok(())
    }

    /// Removes some of what is left of generations that are over.
    fn sweep(&mut self, store: &dyn Store) -> Result<bool, Trouble> {
        if !self.swept {
            self.swept = !self.remove_others(store)?;
        }
        Ok(!self.swept)
    }

    /// Removes some of what generations have that neither answer nor are being built; says whether there may be more.
    fn remove_others(&self, store: &dyn Store) -> Result<bool, JournalError> {
        let Standing { answering, building, .. } = self.standing;
        let mut kept: Vec<u32> = answering.into_iter().chain(building).collect();
        kept.sort_unstable();
        let after = std::iter::once(None).chain(kept.iter().copied().map(Some));
        let before = kept.iter().copied().map(Some).chain(std::iter::once(None));
        for (after, before) in after.zip(before) {
            for (from, to) in keys::between(self.name(), after, before) {
                if store.remove_range(&from, &to, REMOVED_MAX)? == REMOVED_MAX {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Has the rows that answer forget some of what speaks of trimmed records only.
    fn forget(&mut self, store: &Arc<dyn Store>) -> Result<bool, Trouble> {
        let first = self.reader.segments.before().seq.next();
        let Some(answering) = self.answering.as_mut().filter(|_| first > self.forgotten) else {
            return Ok(false);
        };
        let more = answering.forget(&*self.projection, store, first, REMOVED_MAX)?;
        if !more {
            self.forgotten = first;
        }
        Ok(more)
    }

    /// Waits until there is something to do.
    fn rest(&mut self, runtime: &Runtime) -> Result<(), Trouble> {
        let Runner { answering, building, requests, .. } = self;
        // While there are two, the one that answers is as far as the other or further.
        let Some(follows) = answering.as_mut().or(building.as_mut()) else { return Ok(()) };
        runtime.block_on(async {
            tokio::select! {
                biased;
                ready = follows.ready() => ready,
                _ = requests.changed() => {
                    // Looked at in the next turn.
                    requests.mark_changed();
                    Ok(())
                }
            }
        })
    }

    /// Gives up what answers and what is being built, so that all is built anew; false, which is what is to be
    /// loaded.
    fn discard(&mut self) -> bool {
        (self.answering, self.building) = (None, None);
        let dropped = self.store().and_then(|store| {
            let standing = Standing { newest: self.standing.newest, ..Standing::default() };
            let mut batch = Batch::default();
            keys::put_standing(&mut batch, self.name(), standing);
            Ok(store.apply(batch).map_err(JournalError::from)?)
        });
        if let Err(trouble) = dropped {
            self.pause(&trouble);
        }
        false
    }

    /// Keeps the records that are still needed.
    fn hold(&self) {
        let cursors = [&self.answering, &self.building].into_iter().flatten();
        let next = cursors.map(|generation| generation.place.cursor.seq.next()).min();
        match next {
            Some(next) => self.holds.set(&self.hold, next),
            None => self.holds.release(&self.hold),
        }
    }

    /// Stops until it is asked for new rows. It holds no records meanwhile: a cache must not fill the disk.
    fn pause(&self, trouble: &Trouble) {
        let mut reason = trouble.to_string();
        let mut source = std::error::Error::source(trouble);
        while let Some(error) = source {
            reason = format!("{reason}: {error}");
            source = error.source();
        }
        tracing::error!(projection = self.name(), reason, "the projection is paused; the node goes on");
        if let Trouble::Store(error) | Trouble::Rows(RowsError::Store(error)) = trouble {
            error.note(self.reader.segments.dir());
        }
        self.holds.release(&self.hold);
        self.tell(Some(reason));
    }

    fn tell(&self, paused: Option<String>) {
        let status = ProjectionStatus {
            name: self.name().to_owned(),
            answering: self.answering.as_ref().map(Generation::status),
            building: self.building.as_ref().map(Generation::status),
            goal: self.answering.as_ref().map_or(self.goal, |answering| answering.place.cursor.seq),
            paused,
            removing: !self.swept,
            requests_taken: self.requests_taken,
        };
        self.told.send_if_modified(|told| std::mem::replace(told, status.clone()) != status);
    }

    fn name(&self) -> &'static str {
        self.projection.name()
    }

    fn head(&self) -> Seq {
        let Head { seq, .. } = self.reader.published.state().head;
        seq
    }

    fn store(&self) -> Result<Arc<dyn Store>, Trouble> {
        self.reader.store().map_err(|_| Trouble::Closed)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // However it ended: nobody reads the records any more that it held.
        self.holds.release(&self.hold);
        if std::thread::panicking() {
            self.tell(Some("its thread panicked".to_owned()));
        }
    }
}
