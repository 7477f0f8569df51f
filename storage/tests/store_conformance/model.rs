//! Random batches, removals, syncs and openings, beside a map that does the same.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use purser_storage::Store;
use purser_storage::store::{Backend, Batch};

use crate::support::*;

#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    RemoveRange(Vec<u8>, Vec<u8>, usize),
    Look(Vec<u8>, Vec<u8>, usize),
    Sync,
    OpenAgain,
}

/// Few and short, so that keys meet again, and with the bytes at the ends.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(select(vec![0, 1, b'a', b'b', 0xfe, 0xff]), 0..4)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 0..60), 1 => (0..6_000_usize).prop_map(|len| vec![0x5a; len])]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => vec((key(), proptest::option::weighted(0.7, value())), 0..24).prop_map(Step::Apply),
        2 => (key(), key(), 0..12_usize).prop_map(|(from, to, max)| Step::RemoveRange(from, to, max)),
        4 => (key(), key(), 1..12_usize).prop_map(|(from, to, max)| Step::Look(from, to, max)),
        1 => Just(Step::Sync),
        1 => Just(Step::OpenAgain),
    ]
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn in_range(map: &Map, from: &[u8], to: &[u8]) -> Pairs {
    let within = map.iter().filter(|(key, _)| from <= key.as_slice() && key.as_slice() < to);
    within.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn look(store: &dyn Store, map: &Map, from: &[u8], to: &[u8], pairs_max: usize) -> Result<(), TestCaseError> {
    let mut expected = in_range(map, from, to);
    prop_assert_eq!(store.last_key(from, to).unwrap(), expected.last().map(|(key, _)| key.clone()));
    expected.truncate(pairs_max);
    prop_assert_eq!(scanned_up_to(store, from, to, pairs_max), expected);
    for key in [from, to] {
        prop_assert_eq!(store.get(key).unwrap(), map.get(key).cloned());
    }
    Ok(())
}

fn run(backend: Backend, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(backend, dir.path());
    let mut map = Map::new();
    for step in steps {
        match step {
            Step::Apply(writes) => {
                for (key, value) in writes.clone() {
                    match value {
                        Some(value) => map.insert(key, value),
                        None => map.remove(&key),
                    };
                }
                store.apply(Batch { writes }).unwrap();
            }
            Step::RemoveRange(from, to, keys_max) => {
                let mut removed = in_range(&map, &from, &to);
                removed.truncate(keys_max);
                prop_assert_eq!(store.remove_range(&from, &to, keys_max).unwrap(), removed.len());
                for (key, _) in removed {
                    map.remove(&key);
                }
            }
            Step::Look(from, to, pairs_max) => look(&*store, &map, &from, &to, pairs_max)?,
            Step::Sync => store.sync().unwrap(),
            Step::OpenAgain => {
                drop(store);
                store = open(backend, dir.path());
            }
        }
        prop_assert_eq!(&everything(&*store), &map);
    }
    Ok(())
}

pub(crate) fn random_batches_do_as_in_a_map(backend: Backend) {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let seed = Seed::chosen("PURSER_STORE_SEED");
    let rng = proptest::test_runner::TestRng::from_seed(
        proptest::test_runner::RngAlgorithm::ChaCha,
        &seed.random().bytes(),
    );
    let mut runner = TestRunner::new_with_rng(config, rng);
    let done = runner.run(&vec(step(), 1..24), |steps| run(backend, steps));
    if let Err(error) = done {
        panic!("{error}");
    }
}
