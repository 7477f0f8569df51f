//! Short forms for stores, batches and what is in them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use purser_storage::Store;
use purser_storage::store::{Backend, Batch};

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

/// SplitMix64: numbers that a seed repeats.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Enough bytes to seed another source.
    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for eight in bytes.chunks_exact_mut(8) {
            eight.copy_from_slice(&self.next().to_le_bytes());
        }
        bytes
    }
}

/// Where random numbers come from; tells how to repeat a run that fails.
pub(crate) struct Seed(u64);

impl Seed {
    const VARIABLE: &str = "PURSER_STORE_SEED";

    /// The one asked for in the environment, or a new one.
    pub(crate) fn chosen() -> Seed {
        let asked = std::env::var(Seed::VARIABLE).ok();
        let seed = asked.map(|text| text.parse().expect("a seed is a number"));
        Seed(seed.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed_0000_0000))
    }

    pub(crate) fn random(&self) -> Random {
        Random(self.0)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with {}={}", Seed::VARIABLE, self.0);
        }
    }
}
