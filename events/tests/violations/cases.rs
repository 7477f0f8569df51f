//! Scenarios: what each kind of violation is raised and cleared by.

use purser_events::ledger::Qos;
use purser_events::violation::detector::{GpuSample, Holder, Owner, Soundness};
use purser_events::violation::event::{Outcome, ViolationEvent};
use purser_events::violation::{Level, MonitorPolicy, ViolationKind};
use purser_events::{Bytes, PodUid};

use super::scene::{GIB, Scene, holder, idle, pod, process};

/// Two pods with half of the GPU each, of which the first uses so much.
fn two(first_percent: u32, first_gib: u64, device_percent: u32) -> GpuSample {
    GpuSample {
        utilization: Some(device_percent),
        processes: Some(vec![
            process(11, Owner::Pod(pod(1)), first_gib, first_percent),
            process(12, Owner::Pod(pod(2)), 10, device_percent.saturating_sub(first_percent)),
        ]),
        holders: [(pod(1), holder(50, 40, 0)), (pod(2), holder(50, 40, 0))].into(),
        ..idle()
    }
}

#[test]
fn only_who_takes_more_than_its_share_from_others_is_told_of() {
    let mut scene = Scene::new();
    scene.policy.gpu_percent = 95;
    scene.seconds(9, &two(70, 10, 98));
    assert_eq!(scene.told(), ["gpu_device_saturated of nobody at record"]);
    scene.events.clear();
    scene.seconds(3, &two(70, 10, 98));
    assert_eq!(scene.told(), ["gpu_over_quota of 1 at record"]);
    scene.seconds(40, &two(50, 10, 80));
    assert!(scene.violations.open.is_empty(), "{:?}", scene.told());
}

#[test]
fn what_nobody_else_wants_may_be_borrowed_and_is_only_put_on_record() {
    let mut scene = Scene::new();
    scene.seconds(300, &two(80, 10, 90));
    assert_eq!(scene.told(), ["gpu_over_quota_idle of 1 at record"]);
}

#[test]
fn a_pod_that_is_barely_over_its_share_neither_begins_a_violation_nor_ends_one() {
    let mut scene = Scene::new();
    let over = |scene: &Scene| scene.violations.find(ViolationKind::GpuOverQuota, Some(pod(1))).is_some();
    scene.seconds(120, &two(54, 10, 98));
    assert!(!over(&scene), "4 points are within what is measured: {:?}", scene.told());
    scene.seconds(60, &two(70, 10, 98));
    assert!(over(&scene), "{:?}", scene.told());
    scene.enforce(|_| Outcome::Completed);
    scene.seconds(120, &two(53, 10, 98));
    assert!(over(&scene), "3 points over are not within: {:?}", scene.told());
    scene.seconds(60, &two(51, 10, 98));
    assert!(!over(&scene), "{:?}", scene.told());
}

#[test]
fn flapping_around_a_threshold_is_no_event() {
    let mut scene = Scene::new();
    for _ in 0..100 {
        scene.seconds(6, &two(60, 40, 90)).seconds(3, &two(40, 10, 80));
    }
    assert_eq!(scene.told(), Vec::<String>::new());
}

#[test]
fn memory_over_the_limit_climbs_rung_by_rung_to_the_eviction() {
    let mut scene = Scene::new();
    for _ in 0..70 {
        scene.seconds(1, &two(10, 50, 40));
        scene.enforce(|level| match level {
            Level::Throttle => Outcome::Skipped,
            _ => Outcome::Completed,
        });
    }
    let climbed = [
        "gpu_memory_over_quota of 1 at record",
        "record to warn",
        "warn to throttle",
        "do throttle",
        "throttle skipped",
        "throttle to evict",
        "do evict",
        "evict completed",
    ];
    assert_eq!(scene.told(), climbed);
    let gone = GpuSample { holders: [(pod(2), holder(50, 40, 0))].into(), ..two(0, 0, 10) };
    let gone = GpuSample { processes: gone.processes.map(|mut all| all.split_off(1)), ..gone };
    scene.seconds(1, &gone);
    let Some((_, ViolationEvent::Resolved(resolved))) = scene.events.last() else {
        panic!("{:?}", scene.told())
    };
    // 10 GiB over its limit for as long as it was looked at.
    assert!(Some(30 * (10 << 30)) <= resolved.area, "{resolved:?}");
    assert_eq!(resolved.peak, 50 << 30);
}

#[test]
fn only_evaluations_in_a_row_lead_to_the_next_rung() {
    let mut scene = Scene::new();
    // Between the limit and what its margin allows: neither over nor within.
    let mut between = two(10, 40, 40);
    let first = between.processes.iter_mut().flatten().next().expect("a process");
    first.memory = Some(Bytes(40 * GIB + (1 << 20)));
    for _ in 0..12 {
        // Two evaluations at most.
        scene.seconds(9, &two(10, 50, 40)).seconds(1, &between);
    }
    assert_eq!(scene.told(), ["gpu_memory_over_quota of 1 at record"]);
    scene.seconds(16, &two(10, 50, 40));
    assert_eq!(scene.told()[1..], ["record to warn".to_owned()]);
}

#[test]
fn what_the_margin_allows_is_no_violation_and_one_look_is_not_enough() {
    let mut scene = Scene::new();
    let mut sample = two(10, 40, 40);
    let memory_of = |sample: &mut GpuSample, bytes| {
        sample.processes.iter_mut().flatten().next().expect("a process").memory = Some(Bytes(bytes));
    };
    memory_of(&mut sample, 40 * GIB + 40 * GIB / 100);
    scene.seconds(60, &sample);
    memory_of(&mut sample, 50 * GIB);
    scene.seconds(1, &sample).seconds(1, &two(10, 30, 40));
    assert_eq!(scene.told(), Vec::<String>::new());
}

#[test]
fn a_process_whose_memory_cannot_be_told_accuses_nobody_and_clears_nobody() {
    let mut scene = Scene::new();
    scene.seconds(2, &two(10, 50, 40));
    let mut unknown = two(10, 50, 40);
    for process in unknown.processes.iter_mut().flatten() {
        process.memory = None;
    }
    scene.seconds(120, &unknown);
    assert_eq!(scene.told(), ["gpu_memory_over_quota of 1 at record", "gap: no_figures"]);
    scene.seconds(120, &GpuSample { processes: None, ..unknown });
    assert_eq!(scene.told().len(), 2, "it is one gap");
    scene.seconds(3, &two(10, 30, 40));
    assert_eq!(scene.told()[2..], ["gap over".to_owned(), "resolved".to_owned()]);
}

#[test]
fn a_driver_that_is_away_for_ten_seconds_freezes_timers() {
    let mut scene = Scene::new();
    scene.seconds(8, &two(80, 10, 90));
    let away = GpuSample {
        soundness: Soundness::Faulty("lost".to_owned()),
        utilization: None,
        memory_used: None,
        slowed: None,
        processes: None,
        ..two(80, 10, 90)
    };
    scene.seconds(10, &away);
    assert_eq!(scene.told(), ["device_health of nobody at record"]);
    // One look only takes up the time again, and a second more is not enough yet.
    scene.seconds(2, &two(80, 10, 90));
    assert_eq!(scene.told().len(), 1, "{:?}", scene.told());
    scene.seconds(3, &two(80, 10, 90));
    assert_eq!(scene.told()[1], "gpu_over_quota_idle of 1 at record");
}

#[test]
fn a_process_that_may_be_anybodys_accuses_nobody_and_clears_nobody() {
    let mut scene = Scene::new();
    let hidden = |mut sample: GpuSample| {
        sample.processes.as_mut().expect("they are told").push(process(99, Owner::Untold, 5, 5));
        sample
    };
    let kinds = [process(66, Owner::GonePod(pod(3)), 1, 0), process(77, Owner::Unknown(None), 1, 0)];
    let mut bad = two(10, 50, 40);
    bad.processes.as_mut().expect("they are told").extend(kinds);
    scene.seconds(9, &hidden(two(10, 10, 40)));
    assert_eq!(scene.told(), Vec::<String>::new());
    // What is seen for certain counts beside it.
    scene.seconds(31, &hidden(bad));
    let told = [
        "unknown_process of nobody at record",
        "gpu_memory_over_quota of 1 at record",
        "gap: no_figures",
        "record to warn",
        "record to warn",
        "warn to throttle",
        "do throttle",
        "zombie_gpu_process of 3 at record",
    ];
    let mut sorted = (scene.told(), told.map(str::to_owned));
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1);
    scene.enforce(|_| Outcome::Completed);
    scene.events.clear();
    scene.seconds(120, &hidden(two(10, 10, 40)));
    assert_eq!(scene.told(), Vec::<String>::new(), "it may be what they are told of");
    scene.seconds(2, &two(10, 10, 40));
    assert_eq!(scene.told(), ["resolved", "resolved", "gap over", "resolved"]);
}

#[test]
fn a_gpu_that_has_not_answered_yet_is_neither_sound_nor_faulty() {
    let mut scene = Scene::new();
    let away = |soundness| GpuSample {
        soundness,
        utilization: None,
        memory_used: None,
        slowed: None,
        processes: None,
        ..two(10, 10, 40)
    };
    scene.seconds(120, &away(Soundness::Untold));
    assert_eq!(scene.told(), ["gap: no_figures"]);
    scene.seconds(1, &away(Soundness::Faulty("lost".to_owned()))).seconds(120, &away(Soundness::Untold));
    assert_eq!(scene.told()[1..], ["device_health of nobody at record".to_owned()]);
    scene.seconds(60, &two(10, 10, 40));
    assert_eq!(scene.told()[2..], ["gap over".to_owned()]);
    scene.seconds(1, &two(10, 10, 40));
    assert_eq!(scene.told()[3..], ["resolved".to_owned()]);
}

#[test]
fn a_process_of_a_pod_that_is_gone_is_told_of_after_half_a_minute() {
    let mut scene = Scene::new();
    let zombie = GpuSample { processes: Some(vec![process(66, Owner::GonePod(pod(3)), 1, 0)]), ..idle() };
    scene.seconds(29, &zombie);
    assert_eq!(scene.told(), Vec::<String>::new());
    scene.seconds(2, &zombie);
    assert_eq!(scene.told(), ["zombie_gpu_process of 3 at record"]);
    let ViolationEvent::Detected(detected) = &scene.events[0].1 else { panic!("{:?}", scene.events) };
    assert_eq!(detected.evidence, "processes 66");
    // Its id is another's now.
    scene.seconds(1, &GpuSample { processes: Some(vec![process(66, Owner::Ended, 1, 0)]), ..idle() });
    assert_eq!(scene.told()[1..], ["resolved".to_owned()]);
}

#[test]
fn what_was_left_behind_is_not_gone_while_processes_cannot_be_told() {
    let mut scene = Scene::new();
    let zombie = GpuSample { processes: Some(vec![process(66, Owner::GonePod(pod(3)), 1, 0)]), ..idle() };
    scene.seconds(20, &zombie).seconds(5, &GpuSample { processes: None, ..idle() }).seconds(11, &zombie);
    assert_eq!(scene.told(), Vec::<String>::new(), "what could not be seen does not count");
    scene.seconds(1, &zombie);
    assert_eq!(scene.told(), ["zombie_gpu_process of 3 at record"]);
}

#[test]
fn a_pod_that_comes_back_is_judged_by_what_it_does_then() {
    let mut scene = Scene::new();
    let gone = || {
        let mut sample = two(0, 0, 10);
        sample.holders.remove(&pod(1));
        sample.processes.as_mut().expect("they are told").retain(|it| it.owner != Owner::Pod(pod(1)));
        sample
    };
    scene.seconds(3, &two(10, 50, 40)).seconds(1, &gone());
    assert_eq!(scene.told(), ["gpu_memory_over_quota of 1 at record", "resolved"]);
    scene.seconds(1, &two(10, 50, 40));
    assert_eq!(scene.told().len(), 2, "one look is not enough: {:?}", scene.told());
    scene.seconds(1, &two(10, 50, 40));
    assert_eq!(scene.told()[2], "gpu_memory_over_quota of 1 at record");
}

#[test]
fn a_stranger_is_warned_of_unless_he_is_known_to_be_welcome() {
    let with = |name: &str| {
        let owner = Owner::Unknown(Some(name.to_owned()));
        GpuSample { processes: Some(vec![process(77, owner, 1, 5)]), ..idle() }
    };
    let mut scene = Scene::new();
    scene.seconds(60, &with("nvidia-persistenced"));
    assert_eq!(scene.told(), Vec::<String>::new());
    scene.seconds(60, &with("miner"));
    assert_eq!(scene.told(), ["unknown_process of nobody at record", "record to warn"]);
}

#[test]
fn memory_that_no_process_has_is_orphaned_after_a_minute() {
    let mut scene = Scene::new();
    let orphaned = |mib: u64| GpuSample { memory_used: Some(Bytes(mib << 20)), ..idle() };
    scene.seconds(120, &orphaned(512)).seconds(60, &orphaned(600));
    assert_eq!(scene.told(), Vec::<String>::new());
    scene.seconds(1, &orphaned(600));
    assert_eq!(scene.told(), ["orphan_memory of nobody at record"]);
    scene.seconds(2, &orphaned(255));
    assert_eq!(scene.told()[1..], ["resolved".to_owned()]);
}

#[test]
fn a_slow_gpu_is_told_of_after_half_a_minute() {
    let mut scene = Scene::new();
    let hot = GpuSample { slowed: Some(true), ..idle() };
    scene.seconds(30, &hot).seconds(1, &idle()).seconds(31, &hot).seconds(31, &idle());
    assert_eq!(scene.told(), ["thermal_throttle of nobody at record", "resolved"]);
}

#[test]
fn another_quota_begins_the_time_anew() {
    let mut scene = Scene::new();
    let with = |share| GpuSample { holders: [(pod(1), holder(share, 40, 0))].into(), ..two(80, 10, 90) };
    for share in [50, 49, 48, 47] {
        scene.seconds(9, &with(share));
    }
    assert_eq!(scene.told(), Vec::<String>::new());
    scene.seconds(2, &with(47));
    assert_eq!(scene.told(), ["gpu_over_quota_idle of 1 at record"]);
}

#[test]
fn nothing_is_judged_for_a_while_after_a_start() {
    let mut scene = Scene::with(MonitorPolicy::default());
    scene.seconds(29, &two(10, 50, 40));
    assert_eq!(scene.told(), Vec::<String>::new());
    scene.seconds(2, &two(10, 50, 40));
    assert_eq!(scene.told(), ["gpu_memory_over_quota of 1 at record"]);
    scene.restart();
    scene.seconds(29, &two(10, 10, 40));
    assert_eq!(scene.told().len(), 1);
    scene.seconds(2, &two(10, 10, 40));
    assert_eq!(scene.told()[1..], ["resolved".to_owned()]);
}

#[test]
fn who_does_it_again_begins_one_rung_below_and_lower_the_longer_ago_it_was() {
    let mut scene = Scene::new();
    scene.seconds(40, &two(10, 50, 40));
    assert_eq!(scene.violations.open.values().next().map(|it| it.level), Some(Level::Throttle));
    scene.enforce(|_| Outcome::Completed);
    scene.seconds(2, &two(10, 10, 40)).seconds(2, &two(10, 50, 40));
    let levels = |scene: &Scene| scene.violations.open.values().map(|it| it.level).collect::<Vec<_>>();
    assert_eq!(levels(&scene), [Level::Warn]);
    scene.seconds(302, &two(10, 10, 40)).seconds(2, &two(10, 50, 40));
    assert_eq!(levels(&scene), [Level::Record]);
}

/// Who of two pods, both over their memory on one GPU, is evicted in two minutes, and when.
fn evicted(scene: &mut Scene, holders: [Holder; 2]) -> Vec<(u64, PodUid)> {
    let sample = GpuSample {
        utilization: Some(50),
        processes: Some(vec![
            process(11, Owner::Pod(pod(1)), 30, 10),
            process(12, Owner::Pod(pod(2)), 60, 10),
        ]),
        holders: [(pod(1), holders[0]), (pod(2), holders[1])].into(),
        ..idle()
    };
    for _ in 0..120 {
        scene.seconds(1, &sample);
        scene.enforce(|_| Outcome::Completed);
    }
    let requested = scene.events.iter().filter_map(|(second, event)| match event {
        ViolationEvent::EnforcementRequested(it) if it.level == Level::Evict => {
            Some((*second, scene.violations.open.get(&it.id)?.pod?))
        }
        _ => None,
    });
    requested.collect()
}

#[test]
fn the_qos_counts_before_the_priority_and_a_critical_pod_is_never_evicted() {
    let of = |qos, priority| Holder { qos, ..holder(50, 10, priority) };
    let mut scene = Scene::new();
    let who = evicted(&mut scene, [of(Qos::Low, 9), of(Qos::High, 1)]);
    assert_eq!(who.iter().map(|(_, pod)| *pod).collect::<Vec<_>>(), [pod(1), pod(2)]);
    let mut scene = Scene::new();
    let who = evicted(&mut scene, [of(Qos::Critical, 0), of(Qos::Medium, 9)]);
    assert_eq!(who.iter().map(|(_, pod)| *pod).collect::<Vec<_>>(), [pod(2)]);
    let levels: Vec<Level> = scene.violations.open.values().map(|it| it.level).collect();
    assert!(levels.contains(&Level::Throttle), "the other is told of all the same: {levels:?}");
}

#[test]
fn of_two_that_are_to_go_the_less_important_goes_and_the_other_waits() {
    let mut scene = Scene::new();
    let who = evicted(&mut scene, [holder(50, 10, 7), holder(50, 40, 3)]);
    assert_eq!(who.iter().map(|(_, pod)| *pod).collect::<Vec<_>>(), [pod(2), pod(1)]);
    assert!(30 <= who[1].0 - who[0].0, "{who:?}");
    let kinds: Vec<_> = scene.violations.open.values().map(|it| it.kind).collect();
    assert_eq!(kinds, [ViolationKind::GpuMemoryOverQuota; 2]);
}
