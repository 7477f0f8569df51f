//! Readers beside the thread that writes.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use purser_storage::Store;
use purser_storage::store::{Backend, Batch};

use crate::support::*;

/// Keys of each batch, far enough apart to lie on several pages.
const KEYS_LEN: u64 = 24;
const READERS_LEN: usize = 2;
const BATCHES_LEN: u64 = 500;

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// A batch that gives every key the same number.
fn numbered(number: u64) -> Batch {
    let mut value = vec![0x5a; 600];
    value[..8].copy_from_slice(&number.to_be_bytes());
    Batch { writes: (0..KEYS_LEN).map(|of| (key(of).to_vec(), Some(value.clone()))).collect() }
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(*value.first_chunk().unwrap())
}

fn look(store: &dyn Store, random: &mut Random) {
    let shown: Vec<u64> =
        scanned(store, &key(0), &key(KEYS_LEN)).iter().map(|(_, value)| number(value)).collect();
    assert_eq!(shown.len() as u64, KEYS_LEN);
    assert!(shown.is_sorted(), "a scan went back in time: {shown:?}");
    let [first, second] = [0; 2].map(|_| random.below(KEYS_LEN));
    let [first, second] = [first, second].map(|of| number(&store.get(&key(of)).unwrap().unwrap()));
    assert!(shown.iter().all(|shown| *shown <= first), "{shown:?} and then {first}");
    assert!(first <= second, "{second} after {first}: a part of a batch");
}

pub(crate) fn readers_see_whole_batches(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::chosen("PURSER_STORE_SEED");
    let store = open(backend, dir.path());
    store.apply(numbered(0)).unwrap();
    let ended = AtomicBool::new(false);
    let begun = Barrier::new(READERS_LEN + 1);
    std::thread::scope(|scope| {
        let _end = Ended(&ended);
        let mut random = seed.random();
        for _ in 0..READERS_LEN {
            let (store, ended, begun) = (&*store, &ended, &begun);
            let mut random = Random(random.below(u64::MAX));
            scope.spawn(move || {
                begun.wait();
                look(store, &mut random);
                while !ended.load(Ordering::SeqCst) {
                    look(store, &mut random);
                }
            });
        }
        begun.wait();
        for written in 1..=BATCHES_LEN {
            store.apply(numbered(written)).unwrap();
            if written.is_multiple_of(64) {
                store.sync().unwrap();
            }
        }
    });
    assert!(everything(&*store).values().all(|value| number(value) == BATCHES_LEN));
}

/// Lets the readers end, also when the writer fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// redb promises more than the trait: a scan shows one moment.
#[test]
fn a_scan_of_redb_shows_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Backend::Redb, dir.path());
    store.apply(numbered(0)).unwrap();
    let mut shown = 0;
    store
        .scan(&key(0), &key(KEYS_LEN), &mut |_, value| {
            assert_eq!(number(value), 0);
            shown += 1;
            store.apply(numbered(shown)).unwrap();
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(shown, KEYS_LEN);
    assert_eq!(number(&store.get(&key(0)).unwrap().unwrap()), KEYS_LEN);
}
