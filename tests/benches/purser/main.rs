//! Benchmarks of the node against what it stands on. They print and never fail on a time: machines differ. Each
//! compares with its reference in the same run, turn by turn.
//!
//! `make bench` runs all; `make bench ONLY=restart` one of `start`, `memory`, `restart`.

mod memory;
mod restart;
mod start;

use std::time::Duration;

fn main() {
    if let Some(journal) = std::env::var_os(restart::READ_ALONE) {
        restart::read_alone(journal.as_ref());
    }
    let only = std::env::var("ONLY").ok().filter(|only| !only.is_empty());
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wanted("start") {
        start::run();
    }
    if wanted("memory") {
        memory::run();
    }
    if wanted("restart") {
        restart::run();
    }
}

/// Times of one kind.
#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time that as many were below as above.
    fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    }

    fn line(&self) -> String {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
        format!(
            "median {:8.2} ms   least {:8.2}   most {:8.2}   of {}",
            ms(self.median()),
            ms(least),
            ms(most),
            sorted.len()
        )
    }
}

fn ratio(ours: &Times, reference: &Times) -> f64 {
    ours.median().as_secs_f64() / reference.median().as_secs_f64()
}
