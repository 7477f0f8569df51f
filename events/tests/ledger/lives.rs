//! The ledger under arbitrary operations, beside the reference.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use super::model::Life;
use super::operations::{Operation, operation};
use super::reference::word;

/// Operations of one life, in the mean; fewer show a failure better.
const LENGTH: usize = 200;
/// Lives of one seed.
const LIVES: u32 = 10;
/// Seeds of one run: 120,000 operations with the lives and their length.
const SEEDS: u64 = 60;

fn live(operations: &[Operation], seen: &RefCell<BTreeMap<&'static str, u64>>) {
    let mut life = Life::begin();
    for (index, operation) in operations.iter().enumerate() {
        life.carry_out(operation);
        if index % 50 == 49 {
            life.is_the_same_again();
        }
    }
    life.is_the_same_again();
    for event in &life.events {
        *seen.borrow_mut().entry(word(event)).or_default() += 1;
    }
}

/// The lives of one seed; a failure says the seed and the fewest operations that show it.
fn lives(seed: u64, seen: &RefCell<BTreeMap<&'static str, u64>>) -> Result<(), String> {
    let config =
        Config { cases: LIVES, failure_persistence: None, max_shrink_iters: 3_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let operations = prop::collection::vec(operation(), 1..2 * LENGTH);
    let result = TestRunner::new_with_rng(config, rng).run(&operations, |operations| {
        live(&operations, seen);
        Ok::<(), TestCaseError>(())
    });
    result.map_err(|failure| {
        let mut text = format!("PURSER_LEDGER_SEEDS={seed}: ");
        let _ = match failure {
            proptest::test_runner::TestError::Fail(reason, operations) => {
                write!(text, "{reason}\nof {operations:#?}")
            }
            other @ proptest::test_runner::TestError::Abort(_) => write!(text, "{other}"),
        };
        text
    })
}

/// `PURSER_LEDGER_SEEDS=7` lives through one seed, `PURSER_LEDGER_SEEDS=100..900` through a range.
#[test]
fn whatever_is_done_the_ledger_is_what_the_reference_is() {
    let wanted = std::env::var("PURSER_LEDGER_SEEDS").unwrap_or_else(|_| format!("0..{SEEDS}"));
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("no seed: `{text}`"));
    let seeds = match wanted.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&wanted)..number(&wanted) + 1,
    };
    let (count, seen) = (seeds.end - seeds.start, RefCell::default());
    for seed in seeds {
        lives(seed, &seen).unwrap_or_else(|failure| panic!("{failure}"));
    }
    println!("events: {:?}", seen.borrow());
    // All that can happen did: a run of many seeds that saw less tried too little.
    assert!(
        count < SEEDS
            || (seen.borrow().len() == 24
                && 50 < *seen.borrow().values().min().expect("what the test is made of"))
    );
}
