//! A store in memory that outlives the journals on it, one call of which fails, or all from one on.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use purser_storage::store::{Batch, Stores, Visit};
use purser_storage::{FolderError, JournalError, Store, StoreError};

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StoreCall {
    Open,
    Apply,
    Sync,
    Get,
    Scan,
    LastKey,
}

impl StoreCall {
    pub(crate) const ALL: [StoreCall; 6] = [
        StoreCall::Open,
        StoreCall::Apply,
        StoreCall::Sync,
        StoreCall::Get,
        StoreCall::Scan,
        StoreCall::LastKey,
    ];

    pub(crate) fn action(self) -> &'static str {
        match self {
            StoreCall::Open => "open",
            StoreCall::Apply => "write to",
            StoreCall::Sync => "sync",
            StoreCall::Get | StoreCall::Scan | StoreCall::LastKey => "read",
        }
    }
}

/// Which call of a store fails, and with which error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StorePlan {
    pub(crate) call: StoreCall,
    /// Of the calls of this kind, from 1.
    pub(crate) number: u64,
    pub(crate) errno: i32,
    /// Whether a batch that fails is in the store all the same.
    pub(crate) done: bool,
}

#[derive(Default)]
struct State {
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    plan: Option<StorePlan>,
    calls: BTreeMap<StoreCall, u64>,
    failed: bool,
    writes_after: u64,
    set_aside: u64,
}

/// A store in memory; clones are the same store.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

impl Memory {
    /// The same store, one call of which will fail.
    pub(crate) fn with(self, plan: StorePlan) -> Memory {
        self.lock().plan = Some(plan);
        self
    }

    /// The same contents in a store that does not fail.
    pub(crate) fn repaired(&self) -> Memory {
        let memory = Memory::default();
        memory.lock().map = self.lock().map.clone();
        memory
    }

    pub(crate) fn failed(&self) -> bool {
        self.lock().failed
    }

    /// Batches and syncs that were asked for after the failure.
    pub(crate) fn writes_after(&self) -> u64 {
        self.lock().writes_after
    }

    /// How often it was found not to be trusted.
    pub(crate) fn set_aside_count(&self) -> u64 {
        self.lock().set_aside
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>) -> T) -> T {
        change(&mut self.lock().map)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; gives how it is to fail.
    fn ask(&self, call: StoreCall) -> Result<(), (StoreError, bool)> {
        let mut state = self.lock();
        let number = state.calls.entry(call).or_default();
        *number += 1;
        let number = *number;
        match state.plan {
            Some(plan) if (plan.call, plan.number) == (call, number) => {
                state.failed = true;
                let source = io::Error::from_raw_os_error(plan.errno).into();
                let (action, path) = (call.action(), PathBuf::from("memory"));
                Err((StoreError { action, path, source }, plan.done))
            }
            Some(_) | None => {
                let writes = matches!(call, StoreCall::Apply | StoreCall::Sync);
                state.writes_after += u64::from(state.failed && writes);
                Ok(())
            }
        }
    }

    fn ask_to_read(&self, call: StoreCall) -> Result<(), StoreError> {
        self.ask(call).map_err(|(error, _)| error)
    }
}

impl Stores for Memory {
    fn open(&self) -> Result<Arc<dyn Store>, JournalError> {
        self.ask_to_read(StoreCall::Open)?;
        Ok(Arc::new(self.clone()))
    }

    fn set_aside(&self) -> Result<(), FolderError> {
        let mut state = self.lock();
        state.map.clear();
        state.set_aside += 1;
        Ok(())
    }
}

impl Store for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let asked = self.ask(StoreCall::Apply);
        if let Err((error, false)) = asked {
            return Err(error);
        }
        let mut state = self.lock();
        for (key, value) in batch.writes {
            match value {
                Some(value) => state.map.insert(key, value),
                None => state.map.remove(&key),
            };
        }
        asked.map_err(|(error, _)| error)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.ask_to_read(StoreCall::Sync)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask_to_read(StoreCall::Get)?;
        Ok(self.lock().map.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        self.ask_to_read(StoreCall::Scan)?;
        for (key, value) in self.lock().map.range(from.to_vec()..to.to_vec()) {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask_to_read(StoreCall::LastKey)?;
        let state = self.lock();
        Ok(state.map.range(from.to_vec()..to.to_vec()).next_back().map(|(key, _)| key.clone()))
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        Ok(self.lock().map.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }
}
