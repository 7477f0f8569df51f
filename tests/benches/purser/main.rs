//! Benchmarks of the node against what it stands on. They print and never fail on a time: machines differ. Each
//! compares with its reference in the same run, turn by turn.
//!
//! `make bench` runs all; `make bench ONLY=restart` one of `start`, `memory`, `restart`, `gpus`, `pools`.

mod gpus;
mod memory;
mod pools;
mod restart;
mod start;

use purser_tests::bench::wanted;

fn main() {
    if wanted("start") {
        start::run();
    }
    if wanted("memory") {
        memory::run();
    }
    if wanted("restart") {
        restart::run();
    }
    if wanted("pools") {
        pools::run();
    }
    if wanted("gpus") {
        gpus::run();
    }
}
