//! Rounds of load under which the service is killed, and the journal as an auditor folds it, a piece after each round.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_events::ledger::HolderId;
use purser_events::pod::Pod;
use purser_events::{PodUid, Record, Seq, World};
use purser_tests::bounded::PATIENCE;
use purser_tests::feed::Feed;
use purser_tests::purserd::Purserd;
use purser_tests::random::Random;
use purser_tests::{http, journal};

/// One request: method, path and body.
pub(super) type Request = (&'static str, String, String);

/// What is asked for under load, and for how long.
pub(super) struct Load {
    /// Callers at once.
    pub(super) callers: u64,
    /// Most answers that are awaited before the service is killed.
    pub(super) answers_max: u64,
    /// Longest that it goes on after these, in microseconds.
    pub(super) us_max: u64,
    /// Chooses the next request.
    pub(super) choose: fn(&mut Random) -> Request,
}

impl Load {
    /// Asks until the service is killed, which is at a random moment; then starts it again.
    pub(super) fn kill_amid(&self, purserd: &mut Purserd, random: &mut Random) {
        let over = AtomicBool::new(false);
        let (sender, answers) = mpsc::channel();
        let awaited = random.below(self.answers_max + 1);
        let then = Duration::from_micros(random.below(self.us_max) + 1);
        let seeds: Vec<u64> = (0..self.callers).map(|_| random.number()).collect();
        let pid = Pid::from_raw(i32::try_from(purserd.pid()).unwrap());
        std::thread::scope(|scope| {
            for seed in seeds {
                let (purserd, over, sender) = (&*purserd, &over, sender.clone());
                scope.spawn(move || self.ask(purserd, Random(seed), over, &sender));
            }
            // Only callers hold the channel open from here on.
            drop(sender);
            for _ in 0..awaited {
                answers.recv_timeout(PATIENCE).expect("callers get answers");
            }
            let moment = Instant::now() + then;
            let mut left = then;
            while !left.is_zero() {
                let heard = answers.recv_timeout(left);
                assert_ne!(
                    heard,
                    Err(RecvTimeoutError::Disconnected),
                    "the callers gave up while the service ran"
                );
                left = moment.saturating_duration_since(Instant::now());
            }
            kill(pid, Signal::SIGKILL).unwrap();
            over.store(true, Ordering::Release);
        });
        purserd.kill9();
        purserd.restart();
    }

    /// Asks until the service goes away.
    fn ask(&self, purserd: &Purserd, mut random: Random, over: &AtomicBool, answered: &mpsc::Sender<()>) {
        while !over.load(Ordering::Acquire) {
            let (method, path, body) = (self.choose)(&mut random);
            let Ok(answer) = http::request(&purserd.socket(), method, &path, None, &body) else { return };
            let known = [200, 201, 202, 404, 409, 410, 429, 503].contains(&answer.status);
            assert!(known, "{method} {path}: {} {}", answer.status, answer.body);
            // Nobody counts any more once the service is to be killed.
            let _ = answered.send(());
        }
    }
}

/// The world as an auditor folds it who fetches from time to time what is new.
#[derive(Default)]
pub(super) struct Folded {
    pub(super) world: World,
}

impl Folded {
    /// Folds in what is new, and looks at the world after each record of it.
    pub(super) fn follow(&mut self, purserd: &Purserd, mut look: impl FnMut(&World, &Record)) {
        for record in journal::records_from(purserd, Seq(self.world.head.0 + 1)) {
            assert_eq!(record.header.seq.0, self.world.head.0 + 1, "no record is missing");
            self.world.apply(&record).expect("what was decided can be folded");
            look(&self.world, &record);
        }
    }

    /// Folds until ledger and pods agree and the world is as wanted; looks at the world after each record.
    pub(super) fn until_agreed(
        &mut self,
        purserd: &Purserd,
        wanted: impl Fn(&World) -> bool,
        mut look: impl FnMut(&World, &Record),
    ) {
        let mut feed = Feed::live(purserd);
        loop {
            self.follow(purserd, &mut look);
            let [ledger, pods] = both(&self.world);
            if ledger == pods && wanted(&self.world) {
                return;
            }
            feed.next_event();
        }
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
