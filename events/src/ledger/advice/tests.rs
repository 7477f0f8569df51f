//! What advice says of histories that were made up for it.

use uuid::Uuid;

use super::*;
use crate::ledger::event::{GpuUsed, Measured, NodeUse, PodUse};

/// Length of a window, in microseconds: 5 minutes.
pub(super) const WINDOW_US: i64 = 300_000_000;
/// Where histories begin: 2026-01-01T00:00:00Z.
pub(super) const BEGIN_US: i64 = 1_767_225_600_000_000;
const MIB: u64 = 1 << 20;

pub(super) fn pod(number: u128) -> PodUid {
    PodUid(Uuid::from_u128(number))
}

/// A pod that asks for nothing and has no limits.
pub(super) fn facts(number: u128) -> PodFacts {
    PodFacts {
        pod: pod(number),
        pool: None,
        requested_cpu: None,
        limit_cpu: None,
        requested_memory: None,
        limit_memory: None,
        requested_disk: None,
        limit_disk: None,
        given_gpu_share: None,
        given_gpu_memory: None,
    }
}

pub(super) fn unknown_node() -> NodeFacts {
    NodeFacts { cpu: MilliCpu(0), memory: Bytes(0), disk: Bytes(0) }
}

/// What a pod used: this much processor time, memory and disk, steadily.
pub(super) fn steady(number: u128, cpu: u64, memory: u64, disk: u64) -> PodUse {
    PodUse {
        pod: pod(number),
        samples: 60,
        cpu_mean: MilliCpu(cpu),
        cpu_max: MilliCpu(cpu),
        memory_mean: Bytes(memory),
        memory_max: Bytes(memory),
        disk: Bytes(disk),
        gpus: GpuUsed::default(),
    }
}

/// So many windows, one after the other.
pub(super) fn windows(len: u32, pods: impl Fn(u32) -> Vec<PodUse>) -> Vec<UseRecorded> {
    (0..len)
        .map(|index| {
            let from = BEGIN_US + i64::from(index) * WINDOW_US;
            UseRecorded {
                from: Timestamp(from),
                to: Timestamp(from + WINDOW_US),
                pods: pods(index),
                node: NodeUse::default(),
                gpus: GpuUsed::default(),
            }
        })
        .collect()
}

/// When the last of these ended.
pub(super) fn end(history: &[UseRecorded]) -> Timestamp {
    history.iter().map(|record| record.to).max().expect("there are windows")
}

/// Advice at the end of a history.
fn advised(history: &[UseRecorded], pods: &[PodFacts]) -> Vec<Advice> {
    advise(end(history), history, pods, unknown_node())
}

#[track_caller]
fn only(advice: Vec<Advice>) -> Advice {
    let [advice] = <[Advice; 1]>::try_from(advice).expect("one piece of advice");
    advice
}

fn predicted(advice: &Advice) -> &ExhaustionFigures {
    match &advice.finding {
        Finding::Exhaustion(figures) => figures,
        Finding::Anomaly(_) | Finding::RightSizing(_) => panic!("not a prediction: {advice:?}"),
    }
}

fn sized(advice: &Advice) -> &SizingFigures {
    match &advice.finding {
        Finding::RightSizing(figures) => figures,
        Finding::Anomaly(_) | Finding::Exhaustion(_) => panic!("not a size: {advice:?}"),
    }
}

#[test]
fn a_window_far_from_the_past_is_an_anomaly_with_its_figures() {
    let history = windows(13, |index| {
        let cpu = if index == 12 { 900 } else { 200 + u64::from(index % 3) };
        vec![steady(1, cpu, 0, 0)]
    });
    let found = only(advised(&history, &[facts(1)]));
    assert_eq!((found.subject.clone(), found.resource.clone()), (Subject::Pod(pod(1)), ResourceKind::Cpu));
    assert_eq!(
        found.sentence,
        "used 900m of cpu in its last window, far more than usual: 201m, give or take 1m"
    );
    let figures = AnomalyFigures {
        last_from: Timestamp(BEGIN_US + 12 * WINDOW_US),
        amount: 900,
        earlier: 12,
        median: 201,
        mad: 1,
        deviation: 699,
        threshold: 101,
        threshold_of_mad: 8,
        threshold_relative: 101,
        threshold_absolute: 100,
    };
    assert_eq!(found.finding, Finding::Anomaly(figures));
    assert_eq!(found.certainty.sureness, Sureness::Low);
}

#[test]
fn too_short_a_past_an_old_one_and_noise_are_no_anomaly() {
    let jump = |at: u32| move |index: u32| vec![steady(1, if index == at { 900 } else { 200 }, 0, 0)];
    assert_eq!(advised(&windows(12, jump(11)), &[facts(1)]), []);
    let history = windows(13, jump(12));
    let later = end(&history).plus_ms(3_600_001);
    assert_eq!(advise(later, &history, &[facts(1)], unknown_node()), []);
    // A flat line: the distance is many times the usual one, which is nothing, and still no news.
    let noise = windows(60, |index| vec![steady(1, if index == 59 { 280 } else { 200 }, 0, 0)]);
    let near = PodFacts { requested_cpu: Some(MilliCpu(250)), ..facts(1) };
    assert_eq!(advised(&noise, &[near]), []);
}

#[test]
fn memory_that_rises_is_predicted_with_a_range() {
    // 1 MiB a window with a bit of noise: 924 MiB are missing after the last window, give or take.
    let noise = |index: u32| u64::from(index * 7 % 5) * MIB / 4;
    let history = windows(100, |index| vec![steady(1, 10, u64::from(index) * MIB + noise(index), 0)]);
    let limited = PodFacts { limit_memory: Some(Bytes(1_024 * MIB)), ..facts(1) };
    let found = only(advised(&history, &[limited]));
    let figures = predicted(&found);
    let expected = BEGIN_US + 1_024 * WINDOW_US;
    assert!((figures.at.0 - expected).abs() < 5 * WINDOW_US, "{figures:?}");
    let latest = figures.latest.expect("within a year");
    assert!(figures.earliest < figures.at && figures.at < latest, "{figures:?}");
    assert!(figures.slope_low <= figures.slope && figures.slope <= figures.slope_high, "{figures:?}");
    assert_eq!(figures.slopes, 4_950);
    assert_eq!(found.looked.windows, 100);
    assert!(
        found.sentence.starts_with("memory reaches its limit of 1Gi in about 3 d ("),
        "{}",
        found.sentence
    );
}

#[test]
fn the_node_is_advised_as_its_pods_are() {
    let mut history = windows(24, |_| Vec::new());
    for (record, filled) in history.iter_mut().zip(1..) {
        record.node.disk = Bytes(filled * 1_024 * MIB);
    }
    let node = NodeFacts { disk: Bytes(24 * 1_024 * MIB), ..unknown_node() };
    let found = only(advise(end(&history), &history, &[], node));
    assert_eq!(found.subject, Subject::Node);
    assert_eq!(found.sentence, "disk has reached what the node has of 24Gi and rises by 12Gi an hour");
    assert_eq!(predicted(&found).at, end(&history));
}

#[test]
fn what_lies_beyond_a_week_is_not_predicted() {
    let history = windows(100, |index| vec![steady(1, 10, u64::from(index) * MIB, 0)]);
    let limit = |mib: u64| PodFacts { limit_memory: Some(Bytes(mib * MIB)), ..facts(1) };
    let of_kind = |found: Vec<Advice>| {
        found.into_iter().filter(|it| matches!(it.finding, Finding::Exhaustion(_))).count()
    };
    assert_eq!(of_kind(advised(&history, &[limit(99 + 2_000)])), 1);
    assert_eq!(of_kind(advised(&history, &[limit(99 + 2_030)])), 0);
}

#[test]
fn requests_are_sized_from_what_was_seen() {
    let history = windows(40, |index| {
        let mut used = steady(1, 300, 1_000 * MIB, 0);
        // Two of forty windows are beyond the 95th percentile.
        used.cpu_max = MilliCpu(if index < 2 { 3_000 } else { 604 });
        vec![used]
    });
    let asks = PodFacts {
        requested_cpu: Some(MilliCpu(4_000)),
        requested_memory: Some(Bytes(500 * MIB)),
        limit_memory: Some(Bytes(1_024 * MIB)),
        ..facts(1)
    };
    let found = advised(&history, &[asks]);
    let [cpu, memory] = <[Advice; 2]>::try_from(found).expect("two sizes");
    assert_eq!(
        cpu.sentence,
        "asks for 4 of cpu; 95 % of the windows stayed at or below 604m, so 610m would do"
    );
    assert_eq!((sized(&cpu).suggested, sized(&cpu).most), (610, 3_000));
    assert_eq!(sized(&memory).suggested, 1_150 * MIB);
    assert!(memory.sentence.ends_with("; its limit of 1Gi is less than that"), "{}", memory.sentence);
}

#[test]
fn requests_that_are_near_enough_stay() {
    let history = windows(24, |_| vec![steady(1, 100, 100 * MIB, 0)]);
    let asks = |cpu: u64, mib: u64| PodFacts {
        requested_cpu: Some(MilliCpu(cpu)),
        requested_memory: Some(Bytes(mib * MIB)),
        ..facts(1)
    };
    assert_eq!(advised(&history, &[asks(150, 147)]), []);
    assert_eq!(advised(&history, &[asks(151, 148)]).len(), 2);
    assert_eq!(advised(&windows(23, |_| vec![steady(1, 100, 100 * MIB, 0)]), &[asks(4_000, 4_000)]), []);
}

#[test]
fn pools_say_which_pods_were_left_out() {
    let history = windows(30, |index| {
        let mut pods = vec![steady(1, 100, 0, 0), steady(2, 200, 0, 0)];
        pods.extend((index < 5).then(|| steady(3, 4_000, 0, 0)));
        pods
    });
    let in_pool = |number| PodFacts {
        pool: Some("train".to_owned()),
        requested_cpu: Some(MilliCpu(1_000)),
        ..facts(number)
    };
    let found = advised(&history, &[in_pool(1), in_pool(2), in_pool(3)]);
    assert_eq!(found.len(), 3, "a pool and two pods: {found:?}");
    let pool = &found[0];
    assert_eq!(pool.subject, Subject::Pool("train".to_owned()));
    let figures = sized(pool);
    assert_eq!((figures.pods, figures.pods_left_out), (2, 1));
    assert_eq!((figures.requested, figures.suggested, figures.suggested_each), (2_000, 400, 200));
    assert!(pool.certainty.why.contains("ran too short a time: 1"), "{}", pool.certainty.why);
}

#[test]
fn nobody_is_told_to_ask_for_less_of_what_runs_out() {
    let asks = |number| PodFacts {
        requested_memory: Some(Bytes(1_024 * MIB)),
        limit_memory: Some(Bytes(1_024 * MIB)),
        ..facts(number)
    };
    let history =
        windows(100, |index| vec![steady(1, 0, u64::from(index) * MIB, 0), steady(2, 0, 99 * MIB, 0)]);
    let found = advised(&history, &[asks(1), asks(2)]);
    let subjects: Vec<_> = found.iter().map(|it| it.subject.clone()).collect();
    assert_eq!(subjects, [Subject::Pod(pod(1)), Subject::Pod(pod(2))]);
    assert!(matches!(found[0].finding, Finding::Exhaustion(_)));
    assert!(matches!(found[1].finding, Finding::RightSizing(_)));
}

#[test]
fn windows_that_overlap_or_are_later_than_now_are_dropped_and_counted() {
    let mut history = windows(60, |index| vec![steady(1, 0, u64::from(index) * MIB, 0)]);
    let now = end(&history);
    // The clock was set back for a while, ahead for a while, and a window without a sample and one without a length.
    for (index, (from, to)) in [(10, (5, 6)), (20, (900, 901)), (40, (40, 40))] {
        history[index].from = Timestamp(BEGIN_US + from * WINDOW_US + 1);
        history[index].to = Timestamp(BEGIN_US + to * WINDOW_US + 1);
    }
    history[30].pods[0].samples = 0;
    let limited = PodFacts { limit_memory: Some(Bytes(100 * MIB)), ..facts(1) };
    let found = advise(now, &history, &[limited], unknown_node());
    let prediction = found.iter().find(|it| matches!(it.finding, Finding::Exhaustion(_))).expect("it rises");
    assert_eq!((prediction.looked.windows, prediction.looked.left_out), (56, 4));
    // As if nothing had happened: the 100th window would have 100 MiB as its mean.
    assert_eq!(predicted(prediction).at, Timestamp(BEGIN_US + 100 * WINDOW_US + WINDOW_US / 2));
}

#[test]
fn advice_is_read_as_it_was_written() {
    let history = windows(100, |index| vec![steady(1, 10, u64::from(index) * MIB, 0)]);
    let limited =
        PodFacts { limit_memory: Some(Bytes(1_024 * MIB)), requested_cpu: Some(MilliCpu(1_000)), ..facts(1) };
    let found = advised(&history, &[limited]);
    assert_eq!(found.len(), 2);
    let json = serde_json::to_value(&found).expect("advice is JSON");
    assert_eq!(json[0]["kind"], "exhaustion");
    assert_eq!(json[0]["figures"]["bound"], 1_024 * MIB);
    assert_eq!(json[0]["subject"]["kind"], "pod");
    assert_eq!(json[1]["kind"], "right-sizing");
    assert_eq!(serde_json::from_value::<Vec<Advice>>(json).expect("the same"), found);
}

/// What a pod used of GPUs alone: percent of the time, GiB.
fn on_gpus(share: u64, gib: u64) -> PodUse {
    let measured = |mean| Some(Measured { samples: 30, mean, max: mean });
    PodUse { gpus: GpuUsed { share: measured(share), memory: measured(gib << 30) }, ..steady(1, 0, 0, 0) }
}

/// The pod with this much of GPUs.
fn given(share: u64, gib: u64) -> PodFacts {
    PodFacts { given_gpu_share: Some(share), given_gpu_memory: Some(Bytes(gib << 30)), ..facts(1) }
}

#[test]
fn who_uses_little_of_its_gpus_is_told_what_would_do() {
    let history = windows(24, |_| vec![on_gpus(30, 20)]);
    let advice = advised(&history, &[given(100, 80)]);
    let told: Vec<(ResourceKind, &str)> =
        advice.iter().map(|it| (it.resource.clone(), it.sentence.as_str())).collect();
    let share = "asks for 100% of gpu-share; 95 % of the windows stayed at or below 30%, so 30% would do";
    let memory = "asks for 80Gi of gpu-memory; the most that was seen is 20Gi, so 23Gi would do";
    assert_eq!(told, [(ResourceKind::GpuShare, share), (ResourceKind::GpuMemory, memory)]);
    assert_eq!(advised(&history, &[given(33, 23)]), [], "it is close to its use");
    assert_eq!(advised(&history, &[facts(1)]), [], "it has nothing of a GPU now");
}

#[test]
fn windows_that_say_nothing_of_gpus_count_neither_as_use_nor_as_idleness() {
    // As recorded by a release that did not say, or while the driver was away.
    let silent = |index: u32| if index < 20 { steady(1, 0, 0, 0) } else { on_gpus(30, 20) };
    assert_eq!(advised(&windows(43, |index| vec![silent(index)]), &[given(100, 80)]), [], "23 are too few");
    let advice = advised(&windows(44, |index| vec![silent(index)]), &[given(100, 80)]);
    assert_eq!(advice.iter().map(|it| it.looked.windows).collect::<Vec<_>>(), [24, 24]);
}

#[test]
fn use_of_gpus_that_is_unlike_before_is_an_anomaly() {
    let used = |index: u32| if index == 12 { on_gpus(90, 2) } else { on_gpus(20 + u64::from(index % 2), 2) };
    let found = only(advised(&windows(13, |index| vec![used(index)]), &[facts(1)]));
    assert_eq!(found.resource, ResourceKind::GpuShare);
    assert!(found.sentence.starts_with("used 90% of gpu-share in its last window, far more"), "{found:?}");
}
