//! A pod's last window against its earlier ones: the median is what it usually uses, and the median of the distances
//! from that how much it usually differs. Neither is moved by a few windows that were odd before.

use super::Known;
use super::finding::{Advice, AnomalyFigures, Certainty, Finding, Subject, Sureness, about, count};
use super::statistics::{median_and_mad, percent_of};
use super::windows::Window;
use crate::ledger::resource::ResourceKind;
use crate::units::Timestamp;

/// Fewest windows before the last one.
const EARLIER_MIN: usize = 12;

/// How many times the median of the distances a distance must be: about 5.4 standard deviations if they are normal.
const MADS: u64 = 8;

/// How much of the median a distance must be, in percent.
const RELATIVE_PERCENT: u32 = 50;

/// Windows from which on the advice is fairly sure, and from which on it is as sure as it can be: 4 hours and a day of 5
/// minutes each.
const SURE_FROM: (u32, u32) = (48, 288);

/// Distance that counts at all.
fn absolute(kind: &ResourceKind) -> u64 {
    match kind {
        ResourceKind::Cpu => 100,
        ResourceKind::Memory => 64 << 20,
        ResourceKind::GpuShare => 10,
        _ => 256 << 20,
    }
}

/// The resources of which a pod's last window is far from its past.
pub(super) fn of(pod: &Known<'_>, now: Timestamp) -> Vec<Advice> {
    use ResourceKind as K;
    let kinds = [K::Cpu, K::Memory, K::Disk, K::GpuShare, K::GpuMemory];
    if !pod.past.is_fresh(now) {
        return Vec::new();
    }
    kinds.into_iter().filter_map(|kind| far(pod, kind)).collect()
}

fn far(pod: &Known<'_>, resource: ResourceKind) -> Option<Advice> {
    pod.past.windows.last().filter(|last| last.knows(&resource))?;
    let windows = pod.past.knowing(&resource);
    let (last, earlier) = windows.split_last()?;
    if earlier.len() < EARLIER_MIN {
        return None;
    }
    let figures = figures(last, earlier, &resource)?;
    if figures.deviation <= figures.threshold {
        return None;
    }
    Some(Advice {
        subject: Subject::Pod(pod.facts.pod),
        sentence: sentence(&figures, &resource),
        looked: pod.past.looked(&windows)?,
        certainty: certainty(&figures),
        finding: Finding::Anomaly(figures),
        resource,
    })
}

fn figures(last: &Window, earlier: &[Window], kind: &ResourceKind) -> Option<AnomalyFigures> {
    let (median, mad) = median_and_mad(earlier.iter().map(|window| window.level(kind)).collect())?;
    let amount = last.level(kind);
    let of_mad = mad.saturating_mul(MADS);
    let relative = percent_of(median, RELATIVE_PERCENT);
    let absolute = absolute(kind);
    Some(AnomalyFigures {
        last_from: last.from,
        amount,
        earlier: count(earlier.len()),
        median,
        mad,
        deviation: amount.abs_diff(median),
        threshold: of_mad.max(relative).max(absolute),
        threshold_of_mad: of_mad,
        threshold_relative: relative,
        threshold_absolute: absolute,
    })
}

fn sentence(figures: &AnomalyFigures, kind: &ResourceKind) -> String {
    let AnomalyFigures { amount, median, mad, .. } = figures;
    let word = if amount > median { "more" } else { "less" };
    format!(
        "used {} of {kind} in its last window, far {word} than usual: {}, give or take {}",
        about(kind, *amount),
        about(kind, *median),
        about(kind, *mad),
    )
}

fn certainty(figures: &AnomalyFigures) -> Certainty {
    let earlier = figures.earlier;
    Certainty {
        sureness: Sureness::of_count(earlier, SURE_FROM.0, SURE_FROM.1),
        why: format!(
            "one window against {earlier} earlier ones; whether the pod was given other work is not known"
        ),
    }
}
