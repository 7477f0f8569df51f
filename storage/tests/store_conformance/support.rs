//! Short forms for stores, batches and what is in them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use purser_storage::Store;
use purser_storage::store::{Backend, Batch};

pub(crate) use crate::seed::{Random, Seed};

/// Memory that a store gets to keep pages in: little, so that pages are read from disk as well.
pub(crate) const CACHE_BYTES: u64 = 1 << 20;
/// Above every key of these tests but those that begin with 0xff.
pub(crate) const END: &[u8] = &[0xff];

pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The store of `backend` in the folder.
#[track_caller]
pub(crate) fn open(backend: Backend, dir: &Path) -> Arc<dyn Store> {
    let store = backend.open(dir, CACHE_BYTES).unwrap();
    assert_eq!(store.name(), backend.name());
    store
}

/// A batch of writes; one without a value removes.
pub(crate) fn batch(writes: &[(&[u8], Option<&[u8]>)]) -> Batch {
    Batch { writes: writes.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect() }
}

/// A batch that gives each key itself as its value.
pub(crate) fn keys(keys: &[&[u8]]) -> Batch {
    Batch { writes: keys.iter().map(|key| (key.to_vec(), Some(key.to_vec()))).collect() }
}

/// What a scan shows.
#[track_caller]
pub(crate) fn scanned(store: &dyn Store, from: &[u8], to: &[u8]) -> Pairs {
    scanned_up_to(store, from, to, usize::MAX)
}

/// What a scan shows that is told to stop after so many pairs, of which there is one at least.
#[track_caller]
pub(crate) fn scanned_up_to(store: &dyn Store, from: &[u8], to: &[u8], pairs_max: usize) -> Pairs {
    let mut pairs = Vec::new();
    store
        .scan(from, to, &mut |key, value| {
            assert!(pairs.len() < pairs_max, "shown a pair after telling it to stop");
            pairs.push((key.to_vec(), value.to_vec()));
            if pairs.len() < pairs_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .unwrap();
    pairs
}

/// The keys that a scan shows.
#[track_caller]
pub(crate) fn scanned_keys(store: &dyn Store, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
    scanned(store, from, to).into_iter().map(|(key, _)| key).collect()
}

/// Everything in a store, up to the longest key that these tests write.
#[track_caller]
pub(crate) fn everything(store: &dyn Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    scanned(store, &[], &[0xff; 16]).into_iter().collect()
}
