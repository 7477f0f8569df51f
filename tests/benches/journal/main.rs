//! Benchmarks of the journal against what a machine can do at best and against other stores. They print and never
//! fail on a time: machines differ. Each compares with its references in the same run, turn by turn.
//!
//! `make bench` runs all; `make bench ONLY=append` one of `append`, `hashing`, `replay`, `disk`, `reopen`.
//! `PURSER_BENCH_EVENTS` sets how many events the journal holds that is replayed, measured and opened again,
//! `PURSER_BENCH_ROUNDS` the rounds of `append` and `hashing`.

mod append;
mod child;
mod disk;
mod event;
mod group;
mod hashing;
mod ours;
mod place;
mod reference;
mod reopen;
mod replay;
#[path = "../../../storage/tests/versions/mod.rs"]
mod versions;

use purser_tests::bench::{number_from, wanted};

/// A benchmark's name and what runs it.
type Bench = (&'static str, fn(&place::Place));

/// All of them, in the order in which they run: the last one leaves a journal behind
/// that was killed, and nothing after it could use that.
const BENCHES: [Bench; 5] = [
    ("append", append::run),
    ("hashing", hashing::run),
    ("replay", replay::run),
    ("disk", disk::run),
    ("reopen", reopen::run),
];

fn main() {
    if let Some(task) = child::asked_for() {
        return child::run(&task);
    }
    let wanted: Vec<_> = BENCHES.into_iter().filter(|(name, _)| wanted(name)).collect();
    if wanted.is_empty() {
        return;
    }
    let place = place::Place::new();
    for (_, run) in wanted {
        run(&place);
    }
}

/// Rounds in which the contenders of one comparison take turns.
fn rounds() -> u64 {
    number_from("PURSER_BENCH_ROUNDS", 5).max(1)
}
