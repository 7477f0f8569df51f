//! What the service takes while a hundred pods run and nothing happens.

use std::time::Duration;

use purser_tests::bench::Bound;
use purser_tests::purserd::{Purserd, Setup};

use crate::restart::run_pods;

/// Pods that run.
const PODS: u32 = 100;
/// How long nothing is asked before memory is read: what the starts had used is given back by then.
const IDLE: Duration = Duration::from_secs(10);
/// In MiB.
const WANTED: Bound = Bound::AtMost(80.0);

pub(crate) fn run() {
    let purserd = Purserd::start(&Setup::default());
    run_pods(&purserd, PODS);
    std::thread::sleep(IDLE);
    let status = std::fs::read_to_string(format!("/proc/{}/status", purserd.pid())).expect("purserd runs");
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
        line.trim_start_matches(':').split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok())
    };
    let mib = |name: &str| kib(name).expect("it is a number") / 1_024.0;
    println!("memory: {PODS} pods run as processes, {} s without a request", IDLE.as_secs());
    let (rss, peak) = (mib("VmRSS"), mib("VmHWM"));
    println!("  RSS of purserd        {rss:6.1} MiB (peak {peak:.1})   {}", WANTED.verdict(rss, " MiB"));
}
