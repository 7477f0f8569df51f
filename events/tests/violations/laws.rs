//! What must hold of violations whatever a GPU and its pods do: 1,000 random scripts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use purser_events::violation::detector::{GpuSample, Owner, Soundness};
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
    /// A pod is there, or is not, from here on.
    Pod(usize, Presence),
    /// The clock on the wall is set.
    Clock(i64),
    /// The service is started again.
    Restart,
    /// What is to be done comes to this.
    Enforce(Outcome),
}

/// Whether a pod is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It runs.
    Runs,
    /// It is gone, and nothing of it is left.
    Gone,
    /// It is gone, and its process is not.
    LeftBehind,
}

fn step() -> impl Strategy<Value = Step> {
    let pods = || (prop_oneof![0_u32..=100, 46_u32..=58], prop_oneof![0_u64..60, 39_u64..43]);
    // A second alone is often where it goes wrong.
    let seconds = || prop_oneof![2 => 1_u64..3, 3 => 1_u64..25];
    let used = (seconds(), pods(), pods(), any::<bool>());
    let presence = prop_oneof![
        3 => Just(Presence::Runs),
        2 => Just(Presence::Gone),
        2 => Just(Presence::LeftBehind),
    ];
    prop_oneof![
        12 => used.prop_map(|(seconds, one, two, slowed)| Step::Use { seconds, pods: [one, two], slowed }),
        3 => seconds().prop_map(|seconds| Step::Away { seconds }),
        1 => (30_u32..70).prop_map(Step::Quota),
        3 => (0_usize..2, presence).prop_map(|(pod, presence)| Step::Pod(pod, presence)),
        1 => (-100_000_i64..100_000).prop_map(Step::Clock),
        1 => Just(Step::Restart),
        4 => prop_oneof![Just(Outcome::Completed), Just(Outcome::Failed), Just(Outcome::Skipped)]
            .prop_map(Step::Enforce),
    ]
}

fn used(pods: [(u32, u64); 2], slowed: bool, share: u32) -> GpuSample {
    there(pods, slowed, share, [Presence::Runs; 2])
}

fn there(pods: [(u32, u64); 2], slowed: bool, share: u32, presence: [Presence; 2]) -> GpuSample {
    let processes =
        pods.into_iter().zip(presence).zip(1_u64..).filter_map(|(((percent, gib), is), number)| {
            let owner = match is {
                Presence::Runs => Owner::Pod(pod(number)),
                Presence::Gone => return None,
                Presence::LeftBehind => Owner::GonePod(pod(number)),
            };
            Some(process(u32::try_from(number).expect("a few"), owner, gib, percent))
        });
    let holders = [(pod(1), holder(share, 40, 0)), (pod(2), holder(50, 40, 1))];
    let holders = holders.into_iter().zip(presence).filter(|(_, is)| *is == Presence::Runs);
    GpuSample {
        utilization: Some((pods[0].0 + pods[1].0).min(100)),
        memory_used: Some(Bytes((pods[0].1 + pods[1].1) * GIB)),
        slowed: Some(slowed),
        processes: Some(processes.collect()),
        holders: holders.map(|(holder, _)| holder).collect(),
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

/// A condition that is followed, with how long it must hold, and how long it must not to be over: milliseconds and looks.
struct Followed {
    kind: ViolationKind,
    of: Option<u64>,
    raise: (u64, u64),
    clear: (u64, u64),
}

const fn followed(kind: ViolationKind, of: Option<u64>, raise: (u64, u64), clear: (u64, u64)) -> Followed {
    Followed { kind, of, raise, clear }
}

const FOLLOWED: [Followed; 6] = [
    followed(ViolationKind::GpuMemoryOverQuota, Some(1), (0, 2), (0, 2)),
    followed(ViolationKind::GpuMemoryOverQuota, Some(2), (0, 2), (0, 2)),
    followed(ViolationKind::ZombieGpuProcess, Some(1), (30_000, 1), (0, 1)),
    followed(ViolationKind::ZombieGpuProcess, Some(2), (30_000, 1), (0, 1)),
    followed(ViolationKind::GpuDeviceSaturated, None, (0, 3), (0, 3)),
    followed(ViolationKind::ThermalThrottle, None, (30_000, 1), (30_000, 1)),
];

/// Whether a sample says that a condition holds, and that it has ended: neither, if it is in between; none, if it cannot
/// be told.
fn says(sample: &GpuSample, it: &Followed) -> Option<(bool, bool)> {
    let held = |owner: Owner| {
        let of = sample.processes.as_ref()?.iter().filter(|process| process.owner == owner);
        Some(of.map(|process| process.memory.map_or(0, |bytes| bytes.0)).collect::<Vec<_>>())
    };
    match (it.kind, it.of) {
        (ViolationKind::GpuMemoryOverQuota, Some(number)) => {
            let used: u64 = held(Owner::Pod(pod(number)))?.iter().sum();
            Some((used > 40 * GIB + 40 * GIB / 100, used <= 40 * GIB))
        }
        (ViolationKind::ZombieGpuProcess, Some(number)) => {
            let is_left = !held(Owner::GonePod(pod(number)))?.is_empty();
            Some((is_left, !is_left))
        }
        (ViolationKind::GpuDeviceSaturated, _) => {
            sample.utilization.map(|percent| (percent > 95, percent < 90))
        }
        (ViolationKind::ThermalThrottle, _) => sample.slowed.map(|slowed| (slowed, !slowed)),
        (kind, of) => panic!("{kind} of {of:?} is not followed"),
    }
}

/// A condition as it should be seen: how long it has held, and how long it has been over.
#[derive(Default)]
struct Condition {
    over: Reference,
    under: Reference,
}

impl Condition {
    /// Looks at a second, and sees that what was told in it may have been told.
    fn look(&mut self, scene: &Scene, sample: &GpuSample, before: usize, it: &Followed) {
        let (kind, of) = (it.kind, it.of.map(pod));
        let (said, (raise, clear)) = (says(sample, it), (it.raise, it.clear));
        self.over.look(said.map(|(over, _)| over), raise.0, raise.1);
        self.under.look(said.map(|(_, under)| under), clear.0, clear.1);
        let is_gone = kind == ViolationKind::GpuMemoryOverQuota
            && of.is_some_and(|pod| !sample.holders.contains_key(&pod));
        if is_gone {
            self.begin_anew();
        }
        for (_, event) in &scene.events[before..] {
            match event {
                ViolationEvent::Detected(told) if (told.kind, told.pod) == (kind, of) => {
                    assert!(self.over.holds(raise.0, raise.1), "{kind} was raised too early");
                }
                ViolationEvent::Resolved(told) if scene.whose(told.id) == (kind, of) => {
                    assert!(is_gone || self.under.holds(clear.0, clear.1), "{kind} was over too early");
                }
                _ => {}
            }
        }
        let is_due = self.over.is_fresh && self.over.holds(raise.0, raise.1);
        assert!(!is_due || scene.violations.find(kind, of).is_some(), "{kind} is not told of");
    }

    fn begin_anew(&mut self) {
        self.over.begin_anew();
        self.under.begin_anew();
    }
}

/// Plays a script, and checks each second what may have happened.
fn play(script: &[Step]) -> Scene {
    let mut scene = Scene::new();
    let (mut share, mut presence) = (50, [Presence::Runs; 2]);
    let mut conditions: Vec<Condition> = FOLLOWED.iter().map(|_| Condition::default()).collect();
    let mut last = ([(0, 0), (0, 0)], false);
    for step in script {
        let (seconds, sample) = match step {
            Step::Use { seconds, pods, slowed } => {
                last = (*pods, *slowed);
                (*seconds, there(*pods, *slowed, share, presence))
            }
            Step::Away { seconds } => {
                let sample = there(last.0, last.1, share, presence);
                let soundness = Soundness::Faulty("away".to_owned());
                let away = GpuSample { soundness, utilization: None, ..sample };
                (*seconds, GpuSample { memory_used: None, slowed: None, processes: None, ..away })
            }
            Step::Quota(percent) => {
                share = *percent;
                continue;
            }
            Step::Pod(number, is) => {
                presence[*number] = *is;
                continue;
            }
            Step::Clock(ahead_s) => {
                scene.wall_ahead_s = 1_750_000_000 + ahead_s;
                continue;
            }
            Step::Restart => {
                scene.restart();
                conditions.iter_mut().for_each(Condition::begin_anew);
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
            for (condition, it) in conditions.iter_mut().zip(&FOLLOWED) {
                condition.look(&scene, &sample, before, it);
            }
        }
    }
    for (condition, it) in conditions.iter().zip(&FOLLOWED) {
        let (kind, of) = (it.kind, it.of.map(pod));
        let detected = scene.events.iter().filter(|(_, event)| match event {
            ViolationEvent::Detected(it) => (it.kind, it.pod) == (kind, of),
            _ => false,
        });
        let (detected, runs) = (detected.count(), condition.over.runs);
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
        // Whoever came back within the cool-down has to be good for as long.
        scene.seconds(120 + 300, &used([(0, 0), (0, 0)], false, 50));
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
