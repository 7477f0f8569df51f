//! A store in memory that may lose whatever was not synced.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use purser_storage::store::{Batch, Stores, Visit};
use purser_storage::{FolderError, JournalError, Store, StoreError};

use crate::random::Random;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
struct State {
    synced: Map,
    now: Map,
    /// Batches since the last sync.
    batches: Vec<Batch>,
    set_aside: u64,
    /// Whether nothing reaches it any more.
    off: bool,
}

/// The store's place, which outlives the node. Clones are the same place.
#[derive(Debug, Clone, Default)]
pub(super) struct SimStores(Arc<Mutex<State>>);

fn apply(map: &mut Map, batch: &Batch) {
    for (key, value) in &batch.writes {
        match value {
            Some(value) => drop(map.insert(key.clone(), value.clone())),
            None => drop(map.remove(key)),
        }
    }
}

/// Whether a batch is of a projection: their keys begin with a letter of their own.
fn is_of_rows(batch: &Batch) -> bool {
    batch.writes.iter().all(|(key, _)| key.first() == Some(&b'p'))
}

impl SimStores {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the store had to be made again.
    pub(super) fn set_aside_count(&self) -> u64 {
        self.state().set_aside
    }

    /// From now on nothing reaches it: the node's process is about to be gone.
    pub(super) fn stop(&self) {
        self.state().off = true;
    }

    /// The node's process is gone: a store may lose its last batches with it. With the power gone too, any of those
    /// that were not synced may be missing, not only the last.
    pub(super) fn crash(&self, lost_power: bool, random: &mut Random) {
        let mut state = self.state();
        state.off = false;
        let batches = std::mem::take(&mut state.batches);
        // Into how many batches rows are divided depends on how fast threads are: nothing else may depend on it.
        let mut of_rows = Random(random.number());
        let (rows, batches): (Vec<Batch>, Vec<Batch>) = batches.into_iter().partition(is_of_rows);
        for (batches, random) in [(rows, &mut of_rows), (batches, random)] {
            let kept = random.index(batches.len() + 1);
            for (number, batch) in batches.iter().enumerate() {
                let is_kept = if lost_power { random.percent(60) } else { number < kept };
                if is_kept {
                    apply(&mut state.synced, batch);
                }
            }
        }
        state.now = state.synced.clone();
    }
}

impl Stores for SimStores {
    fn open(&self) -> Result<Arc<dyn Store>, JournalError> {
        Ok(Arc::new(self.clone()))
    }

    fn set_aside(&self) -> Result<(), FolderError> {
        let set_aside = self.state().set_aside + 1;
        *self.state() = State { set_aside, ..State::default() };
        Ok(())
    }
}

impl Store for SimStores {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let mut state = self.state();
        if !state.off {
            apply(&mut state.now, &batch);
            state.batches.push(batch);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        if !state.off {
            state.batches.clear();
            state.synced = state.now.clone();
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().now.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        let pairs: Vec<_> = if from < to {
            let state = self.state();
            state
                .now
                .range(from.to_vec()..to.to_vec())
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        } else {
            Vec::new()
        };
        // Not under the lock: a visitor may read as well.
        for (key, value) in pairs {
            if let ControlFlow::Break(()) = visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let state = self.state();
        let last = (from < to).then(|| state.now.range(from.to_vec()..to.to_vec()).next_back());
        Ok(last.flatten().map(|(key, _)| key.clone()))
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        Ok(self.state().now.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }
}
