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

use self::load::{Load, Manifests};
use self::random::Random;

/// Rounds between two looks at every process and the whole journal.
const LOOK_EVERY: u32 = 20;
/// Longest that a round loads the service before it is killed.
const LOAD_MS_MAX: u64 = 160;

mod random {
    //! Numbers that a seed repeats.

    /// SplitMix64: small, and good enough to choose moments and actions.
    #[derive(Debug, Clone)]
    pub(super) struct Random(pub(super) u64);

    impl Random {
        /// The next number.
        pub(super) fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        /// A number below `bound`.
        pub(super) fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}")))
}

/// Prints what repeats the run if it fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with PURSER_CRASH_SEED={}", self.0);
        }
    }
}

fn survive(setup: &Setup, manifests: &Manifests, rounds: u32) {
    let fresh = || u64::from(std::process::id()) ^ 0x5eed_0000_0000;
    let seed = Seed(number_from("PURSER_CRASH_SEED").unwrap_or_else(fresh));
    let rounds =
        number_from("PURSER_CRASH_ROUNDS").map_or(rounds, |rounds| rounds.try_into().expect("few rounds"));
    println!("{rounds} rounds from seed {}", seed.0);
    let mut random = Random(seed.0);
    let mut purserd = Purserd::start(setup);
    let mut acknowledged = 0;
    for round in 1..=rounds {
        let load = Load::begin(purserd.socket(), manifests.clone(), round, random.next());
        load.wait(Duration::from_micros(random.below(LOAD_MS_MAX * 1_000)));
        purserd.kill9();
        let acks = load.end();
        purserd.restart();
        acknowledged += acks.len();
        check::acknowledged(&purserd, &acks, round);
        if round % LOOK_EVERY == 0 || round == rounds {
            let since = Instant::now();
            check::settled(&purserd, manifests);
            println!(
                "round {round}: {acknowledged} acknowledged, settled in {} ms",
                since.elapsed().as_millis()
            );
        }
    }
    assert!(
        usize::try_from(rounds).expect("few rounds") < acknowledged,
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
    let images = tempfile::tempdir().expect("a folder can be made");
    let archive = images.path().join("test.invalid_plain_1.tar");
    std::os::unix::fs::symlink(&Images::made().archive, archive).expect("a link can be made");
    let containerd = Containerd::start();
    let snapshotter = containerd.config().snapshotter;
    let setup = Setup {
        containerd_socket: Some(containerd.socket()),
        containerd_more: format!("snapshotter = {snapshotter:?}\nimages-dir = {:?}", images.path()),
        ..Setup::default()
    };
    survive(&setup, &Manifests::containers("crash-container", IMAGE), 200);
    // Not leases: that of a setup which was cut off ends by itself, hours later.
    for kind in ["tasks", "containers"] {
        assert_eq!(containerd.ctr(&[kind, "ls", "-q"]), "", "{kind} are left");
    }
    assert_eq!(mounts_below(containerd.folder()), Vec::<PathBuf>::new());
}
