//! Who comes and goes, and whose limits cannot be checked: what is told of them, and how often.

use std::collections::BTreeSet;

use proptest::prelude::*;
use purser_events::violation::ViolationEvent;
use purser_events::violation::detector::{GpuSample, Owner};
use purser_events::{Bytes, PodUid};

use super::scene::{GIB, Scene, holder, idle, pod, process};

/// The cool-down of the default policy, in seconds.
const COOL_DOWN_S: u64 = 300;

/// A GPU that two pods have, with what the first uses of it: percent, and GiB.
fn used(percent: u32, gib: u64) -> GpuSample {
    let processes = vec![process(1, Owner::Pod(pod(1)), gib, percent), process(2, Owner::Pod(pod(2)), 1, 30)];
    GpuSample {
        utilization: Some((percent + 30).min(100)),
        processes: Some(processes),
        holders: [(pod(1), holder(50, 40, 0)), (pod(2), holder(50, 40, 0))].into(),
        ..idle()
    }
}

/// A GPU on which everything is wrong that a sample can say, or nothing.
fn wrong(is_wrong: bool) -> GpuSample {
    if !is_wrong {
        return used(10, 10);
    }
    let mut sample = GpuSample { slowed: Some(true), ..used(90, 50) };
    let strangers = [process(66, Owner::GonePod(pod(3)), 1, 0), process(77, Owner::Unknown(None), 1, 0)];
    sample.processes.as_mut().expect("they are told").extend(strangers);
    sample
}

#[test]
fn who_comes_back_soon_is_told_of_once_in_the_cool_down() {
    let mut scene = Scene::new();
    for _ in 0..100 {
        scene.seconds(4, &used(10, 50)).seconds(4, &used(10, 10));
    }
    let told = scene.told();
    // The first goes at once; the next stays open, as long as it comes back, and for the cool-down after that.
    assert_eq!(told[..2], ["gpu_memory_over_quota of 1 at record", "resolved"]);
    assert_eq!(told[2..], ["gpu_memory_over_quota of 1 at record".to_owned()]);
    scene.seconds(COOL_DOWN_S - 5, &used(10, 10));
    assert_eq!(scene.told().len(), 3);
    scene.seconds(10, &used(10, 10));
    assert_eq!(scene.told().last().map(String::as_str), Some("resolved"));
    scene.seconds(2 * COOL_DOWN_S, &used(10, 10)).seconds(2, &used(10, 50)).seconds(2, &used(10, 10));
    assert_eq!(scene.told().len(), 6, "after the cool-down it begins anew: {:?}", scene.told());
}

#[test]
fn what_was_not_watched_as_a_whole_has_no_area() {
    let mut scene = Scene::new();
    scene.seconds(10, &used(10, 50));
    scene.restart();
    scene.seconds(10, &used(10, 50)).seconds(2, &used(10, 10));
    let Some((_, ViolationEvent::Resolved(resolved))) = scene.events.last() else {
        panic!("{:?}", scene.told())
    };
    assert_eq!((resolved.area, resolved.peak), (None, 50 * GIB));
}

fn gaps(scene: &Scene) -> Vec<Vec<PodUid>> {
    let gaps = scene.events.iter().filter_map(|(_, event)| match event {
        ViolationEvent::GapOpened(gap) => Some(gap.pods.clone()),
        ViolationEvent::GapClosed(_) => Some(vec![]),
        _ => None,
    });
    gaps.collect()
}

#[test]
fn limits_that_cannot_be_checked_are_said_pod_by_pod() {
    let hiding = |pods: &[u32]| {
        let mut sample = used(10, 10);
        for process in sample.processes.iter_mut().flatten().filter(|process| pods.contains(&process.pid)) {
            process.memory = None;
        }
        sample
    };
    let mut scene = Scene::new();
    scene.seconds(30, &hiding(&[1]));
    assert_eq!(gaps(&scene), [vec![pod(1)]]);
    scene.seconds(5, &hiding(&[1, 2])).seconds(1, &hiding(&[1]));
    assert_eq!(gaps(&scene).len(), 1, "not for long enough");
    scene.seconds(30, &hiding(&[1, 2]));
    assert_eq!(gaps(&scene)[1..], [vec![], vec![pod(1), pod(2)]]);
    scene.seconds(3, &hiding(&[2]));
    assert_eq!(gaps(&scene)[3..], [vec![], vec![pod(2)]]);
    // A pod that is gone lacks nothing, and one that has come lacks it from then on.
    let alone = GpuSample { holders: [(pod(1), holder(50, 40, 0))].into(), ..hiding(&[1]) };
    scene.seconds(3, &alone);
    assert_eq!(gaps(&scene)[5..], [vec![]]);
    scene.seconds(8, &alone);
    let Some((_, ViolationEvent::GapOpened(gap))) = scene.events.last() else { panic!("{:?}", scene.told()) };
    assert_eq!((gap.pods.clone(), scene.now().ms_since(gap.since)), (vec![pod(1)], 10_000));
}

#[test]
fn whoever_has_all_of_a_gpu_lacks_no_figure_of_its_use() {
    let mut sample = used(10, 10);
    sample.utilization = None;
    sample.processes.iter_mut().flatten().for_each(|process| process.sm_percent = None);
    let instance = GpuSample { holders: [(pod(1), holder(100, 40, 0))].into(), ..sample.clone() };
    let mut scene = Scene::new();
    scene.seconds(60, &instance);
    assert_eq!(gaps(&scene), Vec::<Vec<PodUid>>::new(), "an instance of a divided GPU tells of none");
    scene.seconds(60, &sample);
    assert_eq!(gaps(&scene), [vec![pod(1), pod(2)]]);
    let unknown = GpuSample {
        processes: instance.processes.clone().map(|mut all| {
            all[0].memory = None::<Bytes>;
            all
        }),
        ..instance
    };
    let mut scene = Scene::new();
    scene.seconds(60, &unknown);
    assert_eq!(gaps(&scene), [vec![pod(1)]]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// However it flaps, no more is told of one kind of one pod than one beginning and one end in the cool-down, beside
    /// the first and what climbs.
    #[test]
    fn flapping_is_no_storm(lengths in prop::collection::vec((1_u64..20, 1_u64..90), 20..60)) {
        let mut scene = Scene::new();
        for (bad, good) in &lengths {
            scene.seconds(*bad, &wrong(true)).seconds(*good, &wrong(false));
            scene.enforce(|_| purser_events::violation::event::Outcome::Completed);
        }
        let lasted_s: u64 = lengths.iter().map(|(bad, good)| bad + good).sum();
        let bound = usize::try_from(2 + lasted_s / COOL_DOWN_S).expect("a few");
        let begun: Vec<_> = scene.events.iter().filter_map(|(_, event)| match event {
            ViolationEvent::Detected(it) => Some((it.kind, it.pod)),
            _ => None,
        }).collect();
        for of in begun.iter().collect::<BTreeSet<_>>() {
            let times = begun.iter().filter(|it| *it == of).count();
            prop_assert!(times <= bound, "{of:?}: {times} times in {lasted_s} s");
        }
    }
}
