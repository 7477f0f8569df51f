//! The service is killed at random moments under load, hundreds of times: whatever it acknowledged is there
//! afterwards, the world that it shows is the fold of its journal, and no container is lost, doubled or orphaned.
//!
//! A failing run prints its seed; `PURSER_CRASH_SEED` repeats it and `PURSER_CRASH_ROUNDS` makes it longer.

mod check;
mod load;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use purser_tests::containerd::{Containerd, mounts_below};
use purser_tests::images::Images;
use purser_tests::purserd::{Purserd, Setup};
use purser_tests::random::{Seed, number_from};

use self::load::{Load, Manifests};

/// Rounds between two looks at every process and the whole journal.
const LOOK_EVERY: u32 = 20;
/// Every so many rounds, starts are killed too.
const KILL_STARTS_EVERY: u32 = 4;
/// Longest that such a start goes on.
const START_MS_MAX: u64 = 60;
/// Most acknowledgements that a round awaits before the service is killed.
const ACKS_MAX: u64 = 3;
/// Longest that a round loads the service after these.
const LOAD_MS_MAX: u64 = 160;

fn survive(setup: &Setup, manifests: &Manifests, rounds: u32) {
    let seed = Seed::chosen("PURSER_CRASH_SEED");
    let rounds =
        number_from("PURSER_CRASH_ROUNDS").map_or(rounds, |rounds| rounds.try_into().expect("few rounds"));
    println!("{rounds} rounds from seed {}", seed.number);
    let mut random = seed.random();
    let mut purserd = Purserd::start(setup);
    let mut acknowledged = Vec::new();
    for round in 1..=rounds {
        let load = Load::begin(purserd.socket(), manifests.clone(), round, random.number());
        let awaited = random.below(ACKS_MAX + 1);
        load.wait(awaited, Duration::from_micros(random.below(LOAD_MS_MAX * 1_000)));
        purserd.kill9();
        let acks = load.end();
        if round % KILL_STARTS_EVERY == 0 {
            // While it reads its journal, and while it looks after what it finds.
            for _ in 0..random.below(3) {
                purserd.restart_and_kill9(Duration::from_micros(random.below(START_MS_MAX * 1_000)));
            }
        }
        purserd.restart();
        check::acknowledged(&purserd, &acks, round);
        acknowledged.extend(acks);
        if round % LOOK_EVERY == 0 || round == rounds {
            let since = Instant::now();
            check::settled(&purserd, manifests);
            check::on_record(&purserd, &acknowledged);
            println!(
                "round {round}: {} acknowledged, settled in {} ms",
                acknowledged.len(),
                since.elapsed().as_millis()
            );
        }
    }
    assert!(
        usize::try_from(rounds).expect("few rounds") < acknowledged.len(),
        "the load was too small to show anything"
    );
    check::clean_up(&purserd, manifests);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_service_is_killed_200_times_under_load() {
    survive(&Setup::default(), &Manifests::processes("crash-process"), 200);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_service_is_killed_200_times_with_containers() {
    const IMAGE: &str = "test.invalid/plain:1";
    let images = Images::folder();
    let containerd = Containerd::start();
    let setup = Setup::with_containerd(&containerd, images.path());
    survive(&setup, &Manifests::containers("crash-container", IMAGE), 200);
    // Not leases: that of a setup which was cut off ends by itself, hours later.
    for kind in ["tasks", "containers"] {
        assert_eq!(containerd.ctr(&[kind, "ls", "-q"]), "", "{kind} are left");
    }
    assert_eq!(mounts_below(containerd.folder()), Vec::<PathBuf>::new());
}
