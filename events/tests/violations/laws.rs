//! What must hold of violations whatever a GPU and its pods do: 1,000 random scripts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use purser_events::violation::detector::{GpuSample, Owner};
use purser_events::violation::event::{Outcome, ViolationEvent};
use purser_events::violation::{Level, ViolationKind};
use purser_events::{Bytes, PodUid};
use uuid::Uuid;

use super::scene::{GIB, Scene, holder, idle, pod, process};

/// What happens for some seconds.
#[derive(Debug, Clone)]
enum Step {
    /// Pods use so much of the processors, in percent, and of memory, in GiB; the GPU is slowed or not.
    Use { seconds: u64, pods: [(u32, u64); 2], slowed: bool },
    /// The driver is away.
    Away { seconds: u64 },
    /// The first pod's share is another.
    Quota(u32),
    /// The clock on the wall is set.
    Clock(i64),
    /// The service is started again.
    Restart,
    /// What is to be done comes to this.
    Enforce(Outcome),
}

fn step() -> impl Strategy<Value = Step> {
    let pods = || (prop_oneof![0_u32..=100, 46_u32..=58], prop_oneof![0_u64..60, 39_u64..43]);
    let used = (1_u64..25, pods(), pods(), any::<bool>());
    prop_oneof![
        12 => used.prop_map(|(seconds, one, two, slowed)| Step::Use { seconds, pods: [one, two], slowed }),
        3 => (1_u64..25).prop_map(|seconds| Step::Away { seconds }),
        1 => (30_u32..70).prop_map(Step::Quota),
        1 => (-100_000_i64..100_000).prop_map(Step::Clock),
        1 => Just(Step::Restart),
        4 => prop_oneof![Just(Outcome::Completed), Just(Outcome::Failed), Just(Outcome::Skipped)]
            .prop_map(Step::Enforce),
    ]
}

fn used(pods: [(u32, u64); 2], slowed: bool, share: u32) -> GpuSample {
    let processes = pods.into_iter().zip(1_u64..).map(|((percent, gib), number)| {
        process(u32::try_from(number).expect("a few"), Owner::Pod(pod(number)), gib, percent)
    });
    GpuSample {
        utilization: Some((pods[0].0 + pods[1].0).min(100)),
        memory_used: Some(Bytes((pods[0].1 + pods[1].1) * GIB)),
        slowed: Some(slowed),
        processes: Some(processes.collect()),
        holders: [(pod(1), holder(share, 40, 0)), (pod(2), holder(50, 40, 1))].into(),
        ..idle()
    }
}

/// One condition, followed without any of the code that is tested.
#[derive(Default)]
struct Reference {
    /// Milliseconds and looks that it has held; time without evidence does not count.
    held: Option<(u64, u64)>,
    /// Whether the last second had evidence.
    is_fresh: bool,
    /// Times that it held for as long as it must.
    runs: usize,
    has_counted: bool,
}

impl Reference {
    fn look(&mut self, over: Option<bool>, ms: u64, looks: u64) {
        let Some(over) = over else {
            self.is_fresh = false;
            return;
        };
        if !over {
            (self.held, self.has_counted, self.is_fresh) = (None, false, true);
            return;
        }
        let (lasted, seen) = self.held.unwrap_or((0, 0));
        let lasted = if seen > 0 && self.is_fresh { lasted + 1_000 } else { lasted };
        (self.held, self.is_fresh) = (Some((lasted, seen + 1)), true);
        if self.holds(ms, looks) && !self.has_counted {
            (self.runs, self.has_counted) = (self.runs + 1, true);
        }
    }

    fn holds(&self, ms: u64, looks: u64) -> bool {
        self.held.is_some_and(|(lasted, seen)| ms <= lasted && looks <= seen)
    }

    fn begin_anew(&mut self) {
        (self.held, self.has_counted, self.is_fresh) = (None, false, false);
    }
}

/// The conditions that are followed, with how long each must hold.
const FOLLOWED: [(ViolationKind, Option<u64>, u64, u64); 4] = [
    (ViolationKind::GpuMemoryOverQuota, Some(1), 0, 2),
    (ViolationKind::GpuMemoryOverQuota, Some(2), 0, 2),
    (ViolationKind::GpuDeviceSaturated, None, 0, 3),
    (ViolationKind::ThermalThrottle, None, 30_000, 1),
];

fn is_over(sample: &GpuSample, kind: ViolationKind, of: Option<u64>) -> Option<bool> {
    let memory = |number: u64| {
        let mine = |owner: &Owner| *owner == Owner::Pod(pod(number));
        let processes = sample.processes.as_ref()?.iter().filter(|it| mine(&it.owner));
        Some(processes.map(|it| it.memory.map_or(0, |bytes| bytes.0)).sum::<u64>())
    };
    match (kind, of) {
        (ViolationKind::GpuMemoryOverQuota, Some(number)) => {
            memory(number).map(|used| used > 40 * GIB + 40 * GIB / 100)
        }
        (ViolationKind::GpuDeviceSaturated, _) => sample.utilization.map(|percent| percent > 95),
        (ViolationKind::ThermalThrottle, _) => sample.slowed,
        (kind, of) => panic!("{kind} of {of:?} is not followed"),
    }
}

/// Plays a script, and checks each second what may have happened.
fn play(script: &[Step]) -> Scene {
    let mut scene = Scene::new();
    let mut share = 50;
    let mut references: BTreeMap<usize, Reference> = BTreeMap::new();
    let mut last = used([(0, 0), (0, 0)], false, share);
    for step in script {
        let (seconds, sample) = match step {
            Step::Use { seconds, pods, slowed } => (*seconds, used(*pods, *slowed, share)),
            Step::Away { seconds } => {
                let away = GpuSample { fault: Some("away".to_owned()), utilization: None, ..last.clone() };
                (*seconds, GpuSample { memory_used: None, slowed: None, processes: None, ..away })
            }
            Step::Quota(percent) => {
                share = *percent;
                continue;
            }
            Step::Clock(ahead_s) => {
                scene.wall_ahead_s = 1_750_000_000 + ahead_s;
                continue;
            }
            Step::Restart => {
                scene.restart();
                references.values_mut().for_each(Reference::begin_anew);
                continue;
            }
            Step::Enforce(outcome) => {
                scene.enforce(|_| *outcome);
                continue;
            }
        };
        for _ in 0..seconds {
            let before = scene.events.len();
            scene.seconds(1, &sample);
            for (number, (kind, of, ms, looks)) in FOLLOWED.into_iter().enumerate() {
                let reference = references.entry(number).or_default();
                reference.look(is_over(&sample, kind, of), ms, looks);
                let is_it = |event: &ViolationEvent| match event {
                    ViolationEvent::Detected(it) => (it.kind, it.pod) == (kind, of.map(pod)),
                    _ => false,
                };
                let raised = scene.events[before..].iter().any(|(_, event)| is_it(event));
                assert!(!raised || reference.holds(ms, looks), "{kind} was raised too early");
            }
        }
        last = sample;
    }
    for (number, (kind, of, ..)) in FOLLOWED.into_iter().enumerate() {
        let detected = scene.events.iter().filter(|(_, event)| match event {
            ViolationEvent::Detected(it) => (it.kind, it.pod) == (kind, of.map(pod)),
            _ => false,
        });
        let (detected, runs) = (detected.count(), references.get(&number).map_or(0, |it| it.runs));
        assert!(detected <= runs, "{kind}: {detected} episodes of {runs} times that it held long enough");
    }
    scene
}

/// No rung is left out, and nothing is done twice for one rung.
fn ladder(scene: &Scene) {
    let mut levels: BTreeMap<Uuid, (Level, Option<PodUid>)> = BTreeMap::new();
    let mut done: BTreeMap<(Uuid, Level), usize> = BTreeMap::new();
    for (second, event) in &scene.events {
        match event {
            ViolationEvent::Detected(it) => {
                assert_eq!(it.level != Level::Record, it.repeats.is_some(), "{it:?}");
                levels.insert(it.id, (it.level, it.pod));
            }
            ViolationEvent::Escalated(it) => {
                let (level, _) = levels.get_mut(&it.id).expect("an episode");
                assert_eq!((it.from, Some(it.to)), (*level, it.from.next()), "at {second}");
                assert!(!it.reason.is_empty());
                *level = it.to;
            }
            ViolationEvent::EnforcementRequested(it) => {
                *done.entry((it.id, it.level)).or_default() += 1;
            }
            _ => {}
        }
    }
    assert!(done.values().all(|times| *times == 1), "{done:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn violations_are_true_bounded_and_end(script in prop::collection::vec(step(), 1..40)) {
        let mut scene = play(&script);
        ladder(&scene);
        // Once all is well, and what was to be done is over, nothing stays open.
        scene.enforce(|_| Outcome::Completed);
        scene.seconds(120, &used([(0, 0), (0, 0)], false, 50));
        prop_assert!(scene.violations.open.is_empty() && scene.violations.gap.is_none(), "{:?}", scene.violations);
        let told = scene.events.len();
        scene.seconds(600, &used([(50, 40), (20, 10)], false, 50));
        prop_assert_eq!(scene.events.len(), told, "nothing changes, and something is told");
    }

    #[test]
    fn what_happened_folded_again_is_what_was_lived(script in prop::collection::vec(step(), 1..40)) {
        let scene = play(&script);
        let mut folded = purser_events::violation::Violations::default();
        for (_, event) in &scene.events {
            prop_assert!(folded.follow(event).is_some());
        }
        prop_assert_eq!(folded, scene.violations);
    }
}
