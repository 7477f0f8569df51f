//! The thread that gives the store what is in the segment, a little behind it: nobody who appends waits for the store,
//! and whoever reads it waits until it has what was acknowledged.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::JournalError;
use crate::index::{IndexBatch, Place};
use crate::journal::JournalConfig;
use crate::published::Published;
use crate::store::{Batch, Store};
use crate::verify::Head;

/// Bytes that may wait for the store. Beyond that, writing waits for it: memory stays bounded, and so does what a start
/// after a kill has to give to the store again.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// Bytes that the store is called for at once. The more it takes at a time, the fewer keys there are for a stream; and
/// sled writes to the disk, and waits for it, at every call.
const TAKEN_BYTES: usize = 1 << 20;

/// What a group adds to the store.
#[derive(Debug)]
pub(crate) struct StoreGroup {
    pub records: Vec<Place>,
    pub answers: Batch,
    /// How far the store has come when it holds the group.
    pub head: Head,
}

impl StoreGroup {
    /// About so many bytes it takes.
    fn len(&self) -> usize {
        let of = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
        self.records.len() * size_of::<Place>() + self.answers.writes.iter().map(of).sum::<usize>()
    }
}

/// What waits for the thread.
enum Work {
    Group(StoreGroup),
    /// Something that the thread that writes has no time for.
    Task(Box<dyn FnOnce() + Send>),
}

/// How far the store is behind.
#[derive(Default)]
pub(crate) struct Lag {
    state: Mutex<LagState>,
    /// There is something to do, or it has become urgent.
    came: Condvar,
    moved: Condvar,
}

#[derive(Default)]
struct LagState {
    queue: VecDeque<Work>,
    /// Bytes of the groups in it.
    queued: usize,
    /// Bytes of all groups that the store does not have.
    waiting: usize,
    /// Groups that were handed over, and of them those that the store has.
    begun: u64,
    applied: u64,
    /// Who waits for the store: to wake nobody is a call to the kernel too.
    waiters: usize,
    /// Whether the thread waits for something to do.
    idle: bool,
    /// Nothing more comes into the store.
    failed: bool,
    /// Nothing more is handed over.
    closed: bool,
}

impl LagState {
    fn is_over(&self) -> bool {
        self.closed || self.failed
    }
}

/// The store will never have what was acknowledged.
#[derive(Debug)]
pub(crate) struct StoreFailed;

impl Lag {
    /// Waits until the store has all that was handed over so far.
    pub(crate) fn settle(&self) -> Result<(), StoreFailed> {
        let state = self.lock();
        let begun = state.begun;
        self.wait(state, |state| state.applied >= begun).map(drop)
    }

    /// Groups that the store has.
    pub(crate) fn applied(&self) -> u64 {
        self.lock().applied
    }

    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, LagState>,
        enough: impl Fn(&LagState) -> bool,
    ) -> Result<MutexGuard<'a, LagState>, StoreFailed> {
        let waits = |state: &mut LagState| !state.failed && !enough(state);
        if waits(&mut state) {
            state.waiters += 1;
            self.came.notify_one();
            state = self.moved.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
            state.waiters -= 1;
        }
        if state.failed { Err(StoreFailed) } else { Ok(state) }
    }

    fn push(&self, mut state: MutexGuard<'_, LagState>, work: Work) {
        state.queue.push_back(work);
        let wakes = std::mem::take(&mut state.idle) || state.queued >= TAKEN_BYTES;
        drop(state);
        if wakes {
            self.came.notify_one();
        }
    }

    /// All that waits, once that is enough, somebody waits for the store, or the first of it has waited so long.
    /// Nothing at the end.
    fn take(&self, longest: Duration) -> VecDeque<Work> {
        let idles = |state: &mut LagState| {
            state.idle = state.queue.is_empty() && !state.closed;
            state.idle
        };
        let state = self.came.wait_while(self.lock(), idles).unwrap_or_else(PoisonError::into_inner);
        let gathers =
            |state: &mut LagState| state.queued < TAKEN_BYTES && state.waiters == 0 && !state.is_over();
        let (mut state, _) =
            self.came.wait_timeout_while(state, longest, gathers).unwrap_or_else(PoisonError::into_inner);
        state.queued = 0;
        std::mem::take(&mut state.queue)
    }

    fn give_up(&self) {
        self.change(|state| state.failed = true);
        self.came.notify_one();
    }

    fn change(&self, change: impl FnOnce(&mut LagState)) {
        let mut state = self.lock();
        change(&mut state);
        let waiters = state.waiters;
        drop(state);
        if waiters > 0 {
            self.moved.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, LagState> {
        // What is changed together is changed without a call in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives groups to the store, in order.
pub(crate) struct StoreThread {
    lag: Arc<Lag>,
    /// Whether the store must have each group before it is answered.
    in_step: bool,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    /// Starts it. The store is behind as long as the config allows; a failure of the store fences the journal.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        published: Arc<Published>,
        config: &JournalConfig,
    ) -> Result<StoreThread, JournalError> {
        let (dir, longest) = (config.dir.clone(), Duration::from_millis(config.store_behind_ms));
        let lag = Arc::<Lag>::default();
        let keeper = Keeper { store, published, dir, lag: Arc::clone(&lag) };
        let thread = std::thread::Builder::new().name("journal-store".to_owned());
        let thread = thread.spawn(move || keeper.run(longest)).map_err(JournalError::Thread)?;
        Ok(StoreThread { lag, in_step: longest.is_zero(), thread: Some(thread) })
    }

    /// How far the store is behind.
    pub(crate) fn lag(&self) -> &Arc<Lag> {
        &self.lag
    }

    /// Hands a group over and says which it is, from 1; waits if too much is waiting already.
    pub(crate) fn begin(&self, group: StoreGroup) -> Result<u64, StoreFailed> {
        let len = group.len();
        let mut state = self.lag.wait(self.lag.lock(), |state| state.waiting < WAITING_BYTES_MAX)?;
        state.begun += 1;
        state.waiting += len;
        state.queued += len;
        let number = state.begun;
        self.lag.push(state, Work::Group(group));
        Ok(number)
    }

    /// Waits until the store has what was handed over, if it may not be behind.
    pub(crate) fn keep_step(&self) -> Result<(), StoreFailed> {
        if self.in_step { self.lag.settle() } else { Ok(()) }
    }

    /// Leaves the store alone from now on.
    pub(crate) fn give_up(&self) {
        self.lag.give_up();
    }

    /// Has something done between two calls of the store.
    pub(crate) fn run_aside(&self, task: impl FnOnce() + Send + 'static) {
        self.lag.push(self.lag.lock(), Work::Task(Box::new(task)));
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.lag.lock().closed = true;
        self.lag.came.notify_one();
        if let Some(thread) = self.thread.take() {
            // Its panic was told by the lag.
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Keeper {
    store: Arc<dyn Store>,
    published: Arc<Published>,
    dir: PathBuf,
    lag: Arc<Lag>,
}

impl Keeper {
    fn run(self, longest: Duration) {
        loop {
            let work = self.lag.take(longest);
            if work.is_empty() {
                break;
            }
            let (mut groups, mut tasks) = (Vec::new(), Vec::new());
            for work in work {
                match work {
                    Work::Group(group) => groups.push(group),
                    Work::Task(task) => tasks.push(task),
                }
            }
            if !self.lag.lock().failed {
                self.apply(groups);
            }
            tasks.into_iter().for_each(|task| task());
        }
    }

    /// Gives groups to the store in one batch.
    fn apply(&self, groups: Vec<StoreGroup>) {
        let Some(head) = groups.last().map(|group| group.head) else { return };
        let (count, bytes) = (groups.len() as u64, groups.iter().map(StoreGroup::len).sum::<usize>());
        let mut batch = IndexBatch::default();
        groups.into_iter().for_each(|group| batch.add_group(group));
        if let Err(error) = self.store.apply(batch.finish(head)) {
            return self.fail(JournalError::Store(error));
        }
        self.lag.change(|state| {
            state.applied += count;
            state.waiting = state.waiting.saturating_sub(bytes);
        });
    }

    fn fail(&self, error: JournalError) {
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed: the journal is fenced");
        error.note(&self.dir);
        // First, so that whoever waits for the store learns why it failed.
        self.published.fence(error);
        self.lag.give_up();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail(JournalError::Panicked);
        }
    }
}
