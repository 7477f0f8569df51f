//! Violations on a node: who breaks a limit is told of, answered and remembered, and nobody else.

mod asked;
mod driven;
mod held;
mod kills;
mod scene;

use purser_actors::port::{GpuState, ProcessOwner};
use purser_events::Bytes;
use purser_events::pod::event::StopWhy;
use purser_events::view::violations::{PastEpisode, StepKind};
use purser_events::violation::event::{GapCause, Outcome};
use purser_events::violation::{Level, ViolationKind};

use self::scene::{GIB, Ground, Node, process};

/// What became of an episode, in words.
fn steps(episode: &PastEpisode) -> Vec<String> {
    let word = |what| match what {
        StepKind::Escalated => "reached",
        StepKind::Requested => "requested",
        StepKind::Ended(outcome) => outcome.word(),
        StepKind::Resolved => "resolved",
    };
    episode.steps.iter().map(|step| format!("{} {}", step.level, word(step.what))).collect()
}

fn is_eviction_asked(node: &Node<'_>) -> bool {
    node.history().iter().flat_map(steps).any(|step| step == "evict requested")
}

#[test]
fn of_two_pods_on_a_gpu_the_one_over_its_memory_is_evicted_and_the_other_goes_on() {
    let ground = Ground::new();
    actix::System::new().block_on(async {
        let node = ground.node().await;
        let (greedy, fair) = (node.run("greedy").await, node.run("fair").await);
        ground.gpu.say(|gpu| {
            gpu.busy_percent = 40;
            gpu.processes = vec![process(901, greedy, 50, 20), process(902, fair, 39, 20)];
        });
        node.until("the eviction is asked for", is_eviction_asked).await;
        // A process takes its memory with it; how long it takes to end is no matter of the test's clock.
        ground.gpu.say(|gpu| gpu.processes.retain(|it| it.pid != 901));
        node.until_by_itself("the pod is evicted", |node| node.phase(greedy) == "Stopped").await;
        node.until("all is well again", |node| node.open().open.is_empty()).await;
        let history = node.history();
        assert_eq!(history.len(), 1, "{history:#?}");
        let episode = &history[0];
        assert_eq!((episode.kind, episode.pod), (ViolationKind::GpuMemoryOverQuota, Some(greedy)));
        assert_eq!((episode.peak, episode.limit), (50 * GIB, 40 * GIB));
        let climbed = [
            "warn reached",
            "throttle reached",
            "throttle requested",
            "throttle skipped",
            "evict reached",
            "evict requested",
            "evict completed",
            "evict resolved",
        ];
        assert_eq!(steps(episode), climbed);
        assert_eq!((node.phase(fair), node.stops(fair), node.stops(greedy)), ("Running".to_owned(), 0, 1));
        let kind = ViolationKind::GpuMemoryOverQuota;
        let why = node.service.world(|world| Some(world.pod(greedy)?.live()?.stop_why.clone()));
        assert_eq!(why, Some(StopWhy::Evicted { kind, gpu: scene::gpu() }));
        node.end().await;
    });
}

#[test]
fn a_start_in_the_middle_of_the_ladder_goes_on_where_it_was_and_evicts_nobody_twice() {
    let ground = Ground::new();
    actix::System::new().block_on(async {
        let node = ground.node().await;
        let greedy = node.run("greedy").await;
        ground.gpu.say(|gpu| gpu.processes = vec![process(901, greedy, 50, 20)]);
        node.until("it is warned of", |node| node.open().open.values().any(|it| it.level == Level::Warn))
            .await;
        let before = (node.open().open, node.history());
        node.end().await;

        let node = ground.node().await;
        assert_eq!((node.open().open, node.history()), before, "the same after a start");
        // Past the time in which nothing is judged, and up to the eviction.
        node.until("the eviction is asked for", is_eviction_asked).await;
        // How long it takes to end is no matter of the test's clock.
        node.until_by_itself("the pod is evicted", |node| node.phase(greedy) == "Stopped").await;
        let at_evict = |node: &Node<'_>| node.open().open.values().any(|it| it.level == Level::Evict);
        assert!(at_evict(&node), "its memory did not come back yet: {:#?}", node.open());
        node.end().await;

        // What was asked for is not over: this start takes it up. Somebody has started the pod again.
        let node = ground.node().await;
        assert!(at_evict(&node));
        node.start("greedy").await;
        node.until("the measure is over", |node| node.open().open.values().all(|it| it.pending().is_none()))
            .await;
        assert_eq!(node.stops(greedy), 1, "{:#?}", node.history());
        let gaps = node.service.world(|world| world.violations.gaps.get(&greedy).cloned());
        assert!(gaps.is_some_and(|gaps| gaps.open.iter().all(|gap| gap.cause == GapCause::ServiceDown)));
        node.end().await;
    });
}

#[test]
fn while_the_driver_is_away_nothing_is_judged_and_that_is_on_record() {
    let ground = Ground::new();
    actix::System::new().block_on(async {
        let node = ground.node().await;
        let pod = node.run("pod").await;
        node.seconds(40).await;
        ground.gpu.say(|gpu| {
            gpu.processes = vec![process(901, pod, 50, 20)];
            gpu.state = GpuState::Unresponsive { call: "nvmlDeviceGetMemoryInfo" };
        });
        node.until("limits are not checked", |node| node.open().gap.is_some()).await;
        let kinds: Vec<ViolationKind> = node.history().iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [ViolationKind::DeviceHealth]);
        ground.gpu.say(|gpu| {
            gpu.processes = vec![process(901, pod, 10, 20)];
            gpu.state = GpuState::Ready;
        });
        node.until("limits are checked again", |node| node.open().gap.is_none()).await;
        let gaps = node.service.world(|world| world.violations.gaps.get(&pod).cloned()).unwrap();
        assert_eq!((gaps.count, gaps.recent[0].cause), (1, GapCause::DriverAway));
        assert!(10_000 <= gaps.total_ms, "{gaps:?}");
        node.end().await;
    });
}

#[test]
fn a_pod_that_was_given_nothing_of_a_gpu_is_not_cleared_by_a_driver_that_is_away() {
    let ground = Ground::new();
    actix::System::new().block_on(async {
        let node = ground.node().await;
        let guest = node.run_with("guest", None).await;
        ground.gpu.say(|gpu| gpu.processes = vec![process(901, guest, 10, 5)]);
        let memory = |node: &Node<'_>| {
            node.history()
                .into_iter()
                .filter(|it| it.kind == ViolationKind::GpuMemoryOverQuota)
                .collect::<Vec<_>>()
        };
        node.until("it is told of", |node| !memory(node).is_empty()).await;
        ground.gpu.say(|gpu| gpu.state = GpuState::Unresponsive { call: "nvmlDeviceGetMemoryInfo" });
        node.until("nothing can be seen", |node| node.open().gap.is_some()).await;
        node.seconds(10).await;
        assert!(memory(&node).iter().all(|it| it.until.is_none()), "{:#?}", memory(&node));
        // Nor by a start meanwhile, which has seen nothing at all.
        node.end().await;
        let node = ground.node().await;
        node.seconds(45).await;
        assert!(memory(&node).iter().all(|it| it.until.is_none()), "{:#?}", memory(&node));
        ground.gpu.say(|gpu| (gpu.state, gpu.processes) = (GpuState::Ready, vec![]));
        node.until("it is over", |node| memory(node).iter().all(|it| it.until.is_some())).await;
        let episodes = memory(&node);
        assert_eq!((episodes.len(), episodes[0].pod, episodes[0].limit), (1, Some(guest), 0));
        node.end().await;
    });
}

#[test]
fn of_a_gpu_that_is_listed_no_more_its_guests_have_a_gap_on_record() {
    let ground = Ground::new();
    actix::System::new().block_on(async {
        let node = ground.node().await;
        let guest = node.run_with("guest", None).await;
        // It uses the GPU and breaks no limit yet: nothing of it is on record.
        ground.gpu.say(|gpu| gpu.processes = vec![process(901, guest, 0, 0)]);
        node.seconds(40).await;
        assert!(node.history().is_empty(), "{:#?}", node.history());
        ground.gpu.say(|gpu| gpu.is_listed = false);
        node.until("limits are not checked", |node| node.open().gap.is_some()).await;
        let gaps = || node.service.world(|world| world.violations.gaps.get(&guest).cloned());
        assert!(gaps().is_some_and(|gaps| gaps.open.iter().any(|gap| gap.cause == GapCause::DriverAway)));
        ground.gpu.say(|gpu| (gpu.is_listed, gpu.processes) = (true, vec![process(901, guest, 10, 5)]));
        node.until("they are again", |node| node.open().gap.is_none()).await;
        assert_eq!(gaps().map(|gaps| gaps.count), Some(1));
        let is_told = |node: &Node<'_>| {
            let kind = ViolationKind::GpuMemoryOverQuota;
            node.open().find(kind, Some(guest)).is_some()
        };
        node.until("it is told of", is_told).await;
        // Who is told of stays so, until it has gone.
        ground.gpu.say(|gpu| gpu.is_listed = false);
        node.until("limits are not checked", |node| node.open().gap.is_some()).await;
        assert!(is_told(&node), "{:#?}", node.open());
        let id = purser_events::PodId::new("default", "guest").unwrap();
        node.service.stop(&id, None, scene::request()).await.unwrap();
        node.until("it is over", |node| !is_told(node)).await;
        node.end().await;
    });
}

#[test]
fn what_is_left_of_a_pod_and_who_belongs_to_none_is_told_of() {
    let ground = Ground::new();
    actix::System::new().block_on(async {
        let node = ground.node().await;
        let gone = purser_events::PodUid(uuid::Uuid::from_u128(77));
        ground.gpu.say(|gpu| {
            let stranger = ProcessOwner::Unknown { name: Some("miner".to_owned()) };
            let stranger = purser_actors::port::GpuProcess {
                pid: 903,
                owner: stranger,
                memory: Some(Bytes(GIB)),
                sm_percent: None,
            };
            gpu.processes = vec![process(901, gone, 1, 0), stranger];
        });
        node.until("the GPU takes no pods", |node| {
            let known =
                node.service.world(|world| world.gpus.get(&scene::gpu()).and_then(|it| it.known().cloned()));
            known.is_some_and(|known| known.cordon.is_some())
        })
        .await;
        let of = |kind| node.history().into_iter().find(|it| it.kind == kind).unwrap();
        let zombie = of(ViolationKind::ZombieGpuProcess);
        assert_eq!(
            (zombie.pod, zombie.level, zombie.evidence.as_str()),
            (Some(gone), Level::Cordon, "processes 901")
        );
        let evicted = zombie
            .steps
            .iter()
            .find(|it| it.level == Level::Evict && it.what == StepKind::Ended(Outcome::Failed));
        assert!(evicted.is_some(), "{zombie:#?}");
        let stranger = of(ViolationKind::UnknownProcess);
        assert_eq!((stranger.level, stranger.evidence.as_str()), (Level::Warn, "processes 903 (miner)"));
        node.end().await;
    });
}
