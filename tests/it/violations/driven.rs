//! Violations as the real wrapper of a driver's library shows them, with a stand-in behind it: whose they are, and that the
//! time of day has no part in how long something lasts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use purser_events::PodUid;
use purser_events::violation::{Level, ViolationKind};
use purser_fake_nvml::script::{Device, Script};
use purser_node::adapter::clock::SystemClock;
use purser_node::adapter::gpu::{Models, Pace, Sensor};
use purser_tests::bounded::PATIENCE;
use purser_tests::gpus::{FakeDriver, FakeProc};

use super::scene::{GIB, Ground, Node, gpu, tell};

const HOUR_MS: i64 = 3_600_000;

/// A driver, the processes that the kernel tells of, and the machine under the node.
struct Driven {
    driver: FakeDriver,
    proc: FakeProc,
    ground: Ground,
}

impl Driven {
    fn new() -> Driven {
        let device = Device { uuid: gpu().to_string(), ..Device::default() };
        let driver = FakeDriver::new(&Script { devices: vec![device], ..Script::default() });
        let proc = FakeProc::new();
        let ms = Duration::from_millis;
        let pace = Pace { sample: ms(2), scan: ms(4), patience: PATIENCE };
        let library = driver.library().into_os_string();
        let (models, clock) = (Models::default(), Arc::new(SystemClock));
        let sensor =
            Sensor::begin(library, PathBuf::new(), vec![], models, proc.owners(), clock, pace).unwrap();
        let is_read = |seen: &purser_actors::port::SeenGpus| seen.gpus.iter().any(|it| it.readings.is_some());
        assert!(sensor.wait_until(PATIENCE, is_read), "the driver is not asked");
        let ground = Ground::with(Some(Arc::new(sensor)));
        Driven { driver, proc, ground }
    }

    /// Has a process be a pod's from this time of its start on.
    fn of_pod(&self, pid: u32, started: u64, pod: PodUid) {
        self.proc.put(pid, started, &format!("/purser/{pod}/main-1"));
    }

    /// Has the driver tell of these processes: pid, percent of its time and GiB.
    fn say(&self, busy: u32, processes: &[(u32, u32, u64)]) {
        tell(&self.driver, busy, processes);
    }
}

fn kinds(node: &Node<'_>) -> Vec<(ViolationKind, Option<PodUid>)> {
    node.history().iter().map(|it| (it.kind, it.pod)).collect()
}

#[test]
fn only_the_pod_that_holds_too_much_is_blamed_and_a_stranger_is_nobodys() {
    let scene = Driven::new();
    actix::System::new().block_on(async {
        let node = scene.ground.node().await;
        let (greedy, fair) = (node.run("greedy").await, node.run("fair").await);
        scene.of_pod(901, 5, greedy);
        scene.of_pod(902, 5, fair);
        scene.proc.put(903, 5, "/system.slice/other");
        // Two processes of one pod count together.
        scene.of_pod(904, 5, greedy);
        scene.say(40, &[(901, 20, 30), (902, 10, 39), (903, 1, 2), (904, 5, 11)]);
        node.until("both are on record", |node| 2 <= node.history().len()).await;
        let mut seen = kinds(&node);
        seen.sort();
        let expected =
            [(ViolationKind::GpuMemoryOverQuota, Some(greedy)), (ViolationKind::UnknownProcess, None)];
        assert_eq!(seen, expected);
        let of = |kind| node.history().into_iter().find(|it| it.kind == kind).unwrap();
        let memory = of(ViolationKind::GpuMemoryOverQuota);
        assert_eq!((memory.peak, memory.limit), (41 * GIB, 40 * GIB));
        assert_eq!(of(ViolationKind::UnknownProcess).evidence, "processes 903 (train)");
        assert_eq!(node.phase(fair), "Running");
        node.end().await;
    });
}

#[test]
fn what_a_process_does_that_has_taken_the_id_of_a_pods_is_not_the_pods() {
    let scene = Driven::new();
    actix::System::new().block_on(async {
        let node = scene.ground.node().await;
        let pod = node.run("pod").await;
        scene.of_pod(901, 5, pod);
        scene.say(40, &[(901, 30, 10)]);
        node.seconds(40).await;
        assert_eq!(kinds(&node), []);
        // It ends, and its id goes to a stranger, who takes all that there is.
        scene.proc.put(901, 99, "/system.slice/other");
        scene.say(99, &[(901, 99, 70)]);
        let is_known = |node: &Node<'_>| {
            node.history()
                .iter()
                .any(|it| it.kind == ViolationKind::UnknownProcess && it.level == Level::Warn)
        };
        node.until("the stranger is told of", is_known).await;
        node.seconds(30).await;
        let of_pod: Vec<_> = kinds(&node).into_iter().filter(|(_, of)| of.is_some()).collect();
        assert_eq!(of_pod, [], "{:#?}", node.history());
        node.end().await;
    });
}

#[test]
fn a_clock_that_is_set_anew_neither_begins_a_violation_nor_holds_it_up() {
    let scene = Driven::new();
    actix::System::new().block_on(async {
        let node = scene.ground.node().await;
        let pod = node.run("pod").await;
        scene.of_pod(901, 5, pod);
        scene.say(99, &[(901, 20, 10)]);
        // Past the time in which nothing is judged.
        node.seconds(40).await;
        let before = kinds(&node);
        let over =
            |node: &Node<'_>| node.history().into_iter().find(|it| it.kind == ViolationKind::GpuOverQuota);
        scene.say(99, &[(901, 90, 10)]);
        node.seconds(3).await;
        scene.ground.off_ms.send_replace(HOUR_MS);
        node.seconds(3).await;
        assert!(over(&node).is_none(), "an hour has not passed: {:#?}", node.history());
        scene.ground.off_ms.send_replace(-HOUR_MS);
        let began = scene.ground.passed_s();
        node.until("it begins", |node| over(node).is_some()).await;
        scene.ground.off_ms.send_replace(HOUR_MS);
        node.seconds(2).await;
        assert_eq!(over(&node).map(|it| it.level), Some(Level::Record), "a rung takes three evaluations");
        scene.ground.off_ms.send_replace(-2 * HOUR_MS);
        node.until("it climbs", |node| over(node).is_some_and(|it| Level::Throttle <= it.level)).await;
        let took_s = scene.ground.passed_s() - began;
        assert!(took_s < 600, "it took {took_s} s, {before:?} before");
        node.end().await;
    });
}
