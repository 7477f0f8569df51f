//! The service is killed amid admissions: ledger and pods agree afterwards, and nothing is given twice.
//!
//! A failing run prints its seed; `PURSER_LEDGER_SEED` repeats it and `PURSER_LEDGER_ROUNDS` makes it longer.

use purser_events::{World, invariant};
use purser_tests::random::{Random, Seed, number_from};

use super::rounds::{Folded, Load, Request};
use super::{get, manifest, node, resource};

/// Times that the service is killed.
const ROUNDS: u64 = 20;
/// Longest that a round goes on before the service is killed, in microseconds.
const LOAD_US_MAX: u64 = 150_000;

/// Pods that need a third of the node are run, stopped, started and deleted.
fn choose(random: &mut Random) -> Request {
    let name = format!("pod-{}", random.below(6));
    let path = format!("/v1/namespaces/default/pods/{name}");
    match random.below(10) {
        0..=4 => ("POST", "/v1/pods".to_owned(), manifest("default", &name, "1m", "80Mi")),
        5 => ("POST", format!("{path}/stop"), "{}".to_owned()),
        6 => ("POST", format!("{path}/start"), "{}".to_owned()),
        _ => ("DELETE", format!("{path}?gracePeriodSeconds=1"), String::new()),
    }
}

#[test]
fn ledger_and_pods_agree_after_kills_amid_admissions() {
    let seed = Seed::chosen("PURSER_LEDGER_SEED");
    let rounds = number_from("PURSER_LEDGER_ROUNDS").unwrap_or(ROUNDS);
    println!("{rounds} rounds from seed {}", seed.number);
    let mut random = seed.random();
    let mut purserd = node("256Mi", "wait");
    let load = Load { callers: 3, answers_max: 0, us_max: LOAD_US_MAX, choose };
    let mut folded = Folded::default();
    for round in 1..=rounds {
        load.kill_amid(&mut purserd, &mut random);
        folded.until_agreed(&purserd, |_| true, |_, _| {});
        assert_eq!(invariant::check(&folded.world), vec![], "round {round}");
        let memory = resource(&purserd, "memory");
        let given = memory["allocated"].as_u64().unwrap();
        assert!(given <= 256 << 20, "round {round}: {memory}");
    }
    let pods = get(&purserd, "/v1/pods")["items"].as_array().map_or(0, Vec::len);
    println!("{pods} pods at the end");
    // One that was being deleted when the service was killed may be gone before it is its turn: that is told, and fine.
    drop(purserd.purser(["delete", "--all", "--wait", "--timeout", "170s"]));
    let is_empty = |world: &World| world.ledger.holdings.is_empty() && world.ledger.waiting.is_empty();
    folded.until_agreed(&purserd, is_empty, |_, _| {});
    assert_eq!(resource(&purserd, "memory")["allocated"], 0);
}
