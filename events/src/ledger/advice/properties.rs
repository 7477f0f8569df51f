//! What holds of advice for every history.

use proptest::prelude::*;

use super::tests::{BEGIN_US, WINDOW_US, end, facts, pod, steady, unknown_node, windows};
use super::*;
use crate::ledger::event::{GpuUsed, Measured, NodeUse, PodUse};

/// Any number, the largest and smallest among them more often than by chance.
fn any_amount() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..5_u64, Just(u64::MAX), Just(u64::MAX / 2), 0..1_u64 << 34, 0..1_u64 << 40]
}

/// Any moment, most of them near each other, so that windows overlap and touch.
fn any_moment() -> impl Strategy<Value = Timestamp> {
    let near = (-5..60_i64).prop_map(|index| BEGIN_US + index * WINDOW_US);
    prop_oneof![8 => near, 1 => any::<i64>(), 1 => Just(i64::MAX), 1 => Just(i64::MIN)].prop_map(Timestamp)
}

fn any_use() -> impl Strategy<Value = PodUse> {
    (1..4_u128, 0..3_u32, any_amount(), any_amount(), any_amount(), any_amount(), any_amount()).prop_map(
        |(number, samples, cpu_mean, cpu_max, memory_mean, memory_max, disk)| PodUse {
            pod: pod(number),
            samples,
            cpu_mean: MilliCpu(cpu_mean),
            cpu_max: MilliCpu(cpu_max),
            memory_mean: Bytes(memory_mean),
            memory_max: Bytes(memory_max),
            disk: Bytes(disk),
            gpus: gpus(cpu_mean, memory_max),
        },
    )
}

/// Use of GPUs, half of which is not told.
fn gpus(share: u64, memory: u64) -> GpuUsed {
    let measured = |mean: u64| Measured { samples: 2, mean, max: mean.saturating_add(1) };
    let told = |mean: u64| mean.is_multiple_of(2).then(|| measured(mean));
    GpuUsed { share: told(share), memory: told(memory) }
}

/// A record; half of them last from one moment of a grid to the next.
fn any_record() -> impl Strategy<Value = UseRecorded> {
    let node = (any_amount(), any_amount(), any_amount()).prop_map(|(cpu, memory, disk)| NodeUse {
        cpu_mean: MilliCpu(cpu),
        memory_mean: Bytes(memory),
        disk: Bytes(disk),
    });
    let times = (any_moment(), any_moment(), any::<bool>()).prop_map(|(from, other, on_grid)| {
        let next = Timestamp(from.0.saturating_add(WINDOW_US));
        (from, if on_grid { next } else { other })
    });
    (times, proptest::collection::vec(any_use(), 0..4), node)
        .prop_map(|((from, to), pods, node)| UseRecorded { from, to, pods, node, gpus: GpuUsed::default() })
}

fn any_facts() -> impl Strategy<Value = PodFacts> {
    let amounts = proptest::array::uniform6(proptest::option::of(any_amount()));
    (1..4_u128, any::<bool>(), amounts).prop_map(|(number, in_pool, [a, b, c, d, e, f])| PodFacts {
        pool: in_pool.then(|| "pool".to_owned()),
        requested_cpu: a.map(MilliCpu),
        limit_cpu: b.map(MilliCpu),
        requested_memory: c.map(Bytes),
        limit_memory: d.map(Bytes),
        requested_disk: e.map(Bytes),
        limit_disk: f.map(Bytes),
        given_gpu_share: a,
        given_gpu_memory: f.map(Bytes),
        ..facts(number)
    })
}

fn any_node() -> impl Strategy<Value = NodeFacts> {
    (any_amount(), any_amount(), any_amount()).prop_map(|(cpu, memory, disk)| NodeFacts {
        cpu: MilliCpu(cpu),
        memory: Bytes(memory),
        disk: Bytes(disk),
    })
}

/// Use that rises or stays, with noise; the last window may be far off.
fn ordinary_history() -> impl Strategy<Value = Vec<UseRecorded>> {
    let noise = proptest::collection::vec(0..1_u64 << 26, 1..20);
    let last = prop_oneof![Just(0_u64), 0..1_u64 << 36];
    (0..120_u32, 0..1_u64 << 33, 0..1_u64 << 27, noise, last).prop_map(|(len, base, rise, noise, last)| {
        let amount = move |index: u32| {
            let odd = noise.iter().cycle().nth(usize::try_from(index).unwrap_or(0)).copied().unwrap_or(0);
            let jump = if index + 1 == len { last } else { 0 };
            base + u64::from(index) * rise + odd + jump
        };
        windows(len, |index| {
            let amount = amount(index);
            (1..4).map(|number| steady(number, amount >> 20, amount, amount)).collect()
        })
    })
}

/// Ordinary use, and records of any kind among it.
fn any_history() -> impl Strategy<Value = Vec<UseRecorded>> {
    let odd = prop_oneof![Just(0..1_usize), Just(0..8), Just(0..80)]
        .prop_flat_map(|len| proptest::collection::vec(any_record(), len));
    (ordinary_history(), odd).prop_map(|(mut history, odd)| {
        history.extend(odd);
        history
    })
}

/// A moment soon after the end of an ordinary history, or any.
fn any_now() -> impl Strategy<Value = Timestamp> {
    let soon = (0..150_i64).prop_map(|index| Timestamp(BEGIN_US + index * WINDOW_US));
    prop_oneof![4 => soon, 1 => any_moment()]
}

/// A pod that asks for little and may have a lot.
fn ambitious(limit: u64) -> PodFacts {
    PodFacts {
        requested_cpu: Some(MilliCpu(1)),
        requested_memory: Some(Bytes(1)),
        requested_disk: Some(Bytes(1)),
        limit_memory: Some(Bytes(limit)),
        limit_disk: Some(Bytes(limit)),
        ..facts(1)
    }
}

fn times(factor: u64, history: &[UseRecorded]) -> Vec<UseRecorded> {
    let mut scaled = history.to_vec();
    for used in scaled.iter_mut().flat_map(|record| &mut record.pods) {
        for cpu in [&mut used.cpu_mean, &mut used.cpu_max] {
            cpu.0 *= factor;
        }
        for bytes in [&mut used.memory_mean, &mut used.memory_max, &mut used.disk] {
            bytes.0 *= factor;
        }
    }
    scaled
}

/// The advice of a list that speaks of the same as this.
fn same<'a>(list: &'a [Advice], it: &Advice) -> Option<&'a Advice> {
    let kind = std::mem::discriminant(&it.finding);
    list.iter().find(|other| {
        std::mem::discriminant(&other.finding) == kind
            && other.subject == it.subject
            && other.resource == it.resource
    })
}

/// Whether advice on use that is `factor` times as much is that of the use itself, so many times as much.
fn is_scaled(small: &Advice, large: &Advice, factor: u64) -> bool {
    match (&small.finding, &large.finding) {
        (Finding::Anomaly(small), Finding::Anomaly(large)) => {
            (large.amount, large.median, large.mad, large.deviation)
                == (
                    small.amount * factor,
                    small.median * factor,
                    small.mad * factor,
                    small.deviation * factor,
                )
                && large.threshold <= small.threshold * factor
        }
        (Finding::Exhaustion(small), Finding::Exhaustion(large)) => {
            (large.at, large.earliest, large.latest, large.slopes)
                == (small.at, small.earliest, small.latest, small.slopes)
                && large.level.abs_diff(small.level * factor) <= factor
                && large.slope.abs_diff(small.slope * factor) <= factor
        }
        (Finding::RightSizing(small), Finding::RightSizing(large)) => {
            let most = small.suggested_each * factor;
            large.measured == small.measured * factor
                && large.suggested_each <= most
                && large.suggested_each >= most.saturating_sub((small.step + 1) * factor)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn no_history_is_too_odd_and_no_order_matters(
        (history, shuffled) in any_history().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
        (pods, mixed) in proptest::collection::vec(any_facts(), 0..5)
            .prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
        node in any_node(),
        now in any_now(),
    ) {
        let found = advise(now, &history, &pods, node);
        prop_assert_eq!(&found, &advise(now, &shuffled, &mixed, node));
        for advice in &found {
            prop_assert!(advice.looked.to <= now && advice.looked.from < advice.looked.to);
            if let Finding::RightSizing(figures) = &advice.finding {
                prop_assert!(figures.suggested_each >= figures.mean_most.max(figures.measured));
                let by_most = figures.basis == SizingBasis::Maximum;
                prop_assert!(!by_most || figures.suggested_each >= figures.most, "{:?}", advice);
            }
            if let Finding::Exhaustion(figures) = &advice.finding {
                prop_assert!(now <= figures.earliest && figures.earliest <= figures.at);
                prop_assert!(figures.latest.is_none_or(|latest| figures.at <= latest));
            }
        }
    }

    #[test]
    fn a_constant_history_gives_neither_anomaly_nor_prediction(
        amount in any_amount(), limit in any_amount(), len in 1..700_u32,
    ) {
        let mut history = windows(len, |_| vec![steady(1, amount, amount, amount)]);
        for record in &mut history {
            record.node = NodeUse { cpu_mean: MilliCpu(amount), memory_mean: Bytes(amount), disk: Bytes(amount) };
        }
        let node = NodeFacts { cpu: MilliCpu(limit), memory: Bytes(limit), disk: Bytes(limit) };
        let found = advise(end(&history), &history, &[ambitious(limit)], node);
        prop_assert!(found.iter().all(|it| matches!(it.finding, Finding::RightSizing(_))), "{:?}", found);
    }

    #[test]
    fn a_line_is_predicted_within_a_window(
        start in 0..1_u64 << 40, step in 1_000..1_u64 << 30, len in 12..700_u32, ahead in 1..1_900_u64,
        gaps in proptest::collection::btree_set(0..700_u32, 0..100),
    ) {
        let amount = |index: u32| start + u64::from(index) * step;
        let mut history = windows(len, |index| vec![steady(1, 0, amount(index), amount(index))]);
        let now = end(&history);
        // Some windows are missing, but not so many that nothing may be said.
        let mut index = 0;
        history.retain(|_| { index += 1; !(gaps.contains(&(index - 1)) && len > 150 && index != len) });
        let limit = amount(len - 1) + ahead * step;
        let found = advise(now, &history, &[ambitious(limit)], unknown_node());
        for (kind, moment) in [(ResourceKind::Memory, WINDOW_US / 2), (ResourceKind::Disk, WINDOW_US)] {
            let mut predictions = found.iter().filter_map(|it| match &it.finding {
                Finding::Exhaustion(figures) if it.resource == kind => Some(figures),
                _ => None,
            });
            let Some(figures) = predictions.next() else {
                return Err(TestCaseError::fail(format!("{kind} is not predicted")));
            };
            let windows = i64::from(len - 1) + i64::try_from(ahead).expect("few windows");
            let expected = (BEGIN_US + windows * WINDOW_US + moment).max(now.0);
            prop_assert!((figures.at.0 - expected).abs() <= WINDOW_US, "{:?}", figures);
        }
    }

    #[test]
    fn advice_grows_with_what_was_used(
        amounts in proptest::collection::vec((0..5_000_u64, 0..1_u64 << 38, 0..1_u64 << 38), 13..80),
        rise in 0..1_u64 << 34, limit in 1..1_u64 << 42, exponent in 0..6_u32,
    ) {
        let factor = 1 << exponent;
        let len = u32::try_from(amounts.len()).expect("few windows");
        let history = windows(len, |index| {
            let (cpu, memory, disk) = amounts[usize::try_from(index).expect("few windows")];
            let risen = u64::from(index) * rise;
            vec![steady(1, cpu, memory + risen, disk / 64 + risen)]
        });
        let now = end(&history);
        let small = advise(now, &history, &[ambitious(limit)], unknown_node());
        let large = advise(now, times(factor, &history), &[ambitious(limit * factor)], unknown_node());
        for advice in &small {
            let Some(scaled) = same(&large, advice) else {
                return Err(TestCaseError::fail(format!("{advice:?} has no like in {large:?}")));
            };
            prop_assert!(is_scaled(advice, scaled, factor), "{:?}\n{:?}", advice, scaled);
        }
    }
}
