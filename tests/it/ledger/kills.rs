//! The service is killed amid admissions: ledger and pods agree afterwards, and nothing is given twice.
//!
//! A failing run prints its seed; `PURSER_LEDGER_SEED` repeats it and `PURSER_LEDGER_ROUNDS` makes it longer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use purser_events::ledger::HolderId;
use purser_events::pod::Pod;
use purser_events::{PodUid, World, invariant};
use purser_tests::feed::Feed;
use purser_tests::purserd::Purserd;
use purser_tests::random::{Random, Seed, number_from};
use purser_tests::{http, journal};

use super::{get, manifest, node, resource};

/// Times that the service is killed.
const ROUNDS: u64 = 20;
/// Callers at once.
const CALLERS: u64 = 3;
/// Longest that a round goes on before the service is killed.
const LOAD_MS_MAX: u64 = 150;

/// Asks for pods that need a third of the node, stops and deletes them, until the service goes away.
fn load(purserd: &Purserd, mut random: Random, over: &AtomicBool, _alive: mpsc::Sender<()>) {
    while !over.load(Ordering::Acquire) {
        let name = format!("pod-{}", random.below(6));
        let path = format!("/v1/namespaces/default/pods/{name}");
        let (method, path, body) = match random.below(10) {
            0..=4 => ("POST", "/v1/pods".to_owned(), manifest("default", &name, "1m", "80Mi")),
            5 => ("POST", format!("{path}/stop"), "{}".to_owned()),
            6 => ("POST", format!("{path}/start"), "{}".to_owned()),
            _ => ("DELETE", format!("{path}?gracePeriodSeconds=1"), String::new()),
        };
        let Ok(answer) = http::request(&purserd.socket(), method, &path, None, &body) else { return };
        let known = [200, 201, 202, 404, 409, 410, 429, 503].contains(&answer.status);
        assert!(known, "{method} {path}: {} {}", answer.status, answer.body);
    }
}

/// Who has something or waits by the ledger, and by the pods themselves.
fn both(world: &World) -> [(BTreeSet<PodUid>, BTreeSet<PodUid>); 2] {
    let holders = world.ledger.holdings.keys().filter_map(|holder| match holder {
        HolderId::Pod(pod) => Some(*pod),
        HolderId::Reservation(_) => None,
    });
    let waiting = world.ledger.waiting.values().map(|waiting| waiting.pod);
    let live = || world.pods.values().filter_map(Pod::live);
    let holding = live().filter(|pod| pod.holds_resources()).map(|pod| pod.uid);
    let awaiting = live().filter(|pod| pod.awaits_resources).map(|pod| pod.uid);
    [(holders.collect(), waiting.collect()), (holding.collect(), awaiting.collect())]
}

/// Waits until ledger and pods agree, in the journal as an auditor folds it, and the world is as wanted.
fn agreed(purserd: &Purserd, wanted: impl Fn(&World) -> bool) -> World {
    let mut feed = Feed::live(purserd);
    loop {
        let mut world = World::default();
        for record in journal::records(purserd) {
            world.apply(&record).expect("what was decided can be folded");
        }
        let [ledger, pods] = both(&world);
        if ledger == pods && wanted(&world) {
            return world;
        }
        feed.next_event();
    }
}

#[test]
fn ledger_and_pods_agree_after_kills_amid_admissions() {
    let seed = Seed::chosen("PURSER_LEDGER_SEED");
    let rounds = number_from("PURSER_LEDGER_ROUNDS").unwrap_or(ROUNDS);
    println!("{rounds} rounds from seed {}", seed.number);
    let mut random = seed.random();
    let mut purserd = node("256Mi", "wait");
    for round in 1..=rounds {
        let over = AtomicBool::new(false);
        let (sender, gone) = mpsc::channel();
        let load_ms = random.below(LOAD_MS_MAX) + 1;
        let seeds: Vec<u64> = (0..CALLERS).map(|_| random.number()).collect();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(purserd.pid()).unwrap());
        std::thread::scope(|scope| {
            for seed in seeds {
                let (purserd, over, sender) = (&purserd, &over, sender.clone());
                scope.spawn(move || load(purserd, Random(seed), over, sender));
            }
            // Only callers hold the channel open from here on.
            drop(sender);
            let ended = gone.recv_timeout(Duration::from_millis(load_ms));
            assert_eq!(ended, Err(mpsc::RecvTimeoutError::Timeout), "a caller gave up while the service ran");
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            over.store(true, Ordering::Release);
        });
        purserd.kill9();
        purserd.restart();
        let world = agreed(&purserd, |_| true);
        assert_eq!(invariant::check(&world), vec![], "round {round}");
        let memory = resource(&purserd, "memory");
        let given = memory["allocated"].as_u64().unwrap();
        assert!(given <= 256 << 20, "round {round}: {memory}");
    }
    let pods = get(&purserd, "/v1/pods")["items"].as_array().map_or(0, Vec::len);
    println!("{pods} pods at the end");
    // One that was being deleted when the service was killed may be gone before it is its turn: that is told, and fine.
    drop(purserd.purser(["delete", "--all", "--wait", "--timeout", "60s"]));
    agreed(&purserd, |world| world.ledger.holdings.is_empty() && world.ledger.waiting.is_empty());
    assert_eq!(resource(&purserd, "memory")["allocated"], 0);
}
