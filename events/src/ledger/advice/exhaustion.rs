//! When a pod reaches its limit of memory or disk, and the node what it has, if use rises on as it did. Nothing is said
//! where the slopes leave open whether it rises at all.

use super::finding::{
    Advice, Certainty, ExhaustionFigures, Finding, Looked, Subject, Sureness, about, count,
};
use super::trend::{BySlope, Point, Rise};
use super::windows::{Past, Window};
use super::{Known, NodeFacts};
use crate::ledger::resource::ResourceKind;
use crate::units::Timestamp;

/// Only windows of this time before now are looked at, in milliseconds: 2 days.
const LOOK_BACK_MS: u64 = 48 * HOUR_MS;

/// Fewest windows.
const WINDOWS_MIN: usize = 12;

/// Least time from the first window's beginning to the last one's end, in milliseconds: 1 hour.
const SPAN_MIN_MS: u64 = HOUR_MS;

/// How far ahead the predicted time may be, in hours: 7 days.
const HORIZON_H: u32 = 7 * 24;

/// How far ahead the late end of the range is still shown, in hours: a year.
const LATEST_MAX_H: u64 = 365 * 24;

/// Windows from which on a prediction can be as sure as it gets: 6 hours of 5 minutes each.
const GOOD_FROM: u32 = 72;

const HOUR_MS: u64 = 3_600_000;

/// The node's memory and disk, towards what there is.
pub(super) fn of_node(past: &Past, node: NodeFacts, now: Timestamp) -> Vec<Advice> {
    let bounds = [(ResourceKind::Memory, node.memory.0), (ResourceKind::Disk, node.disk.0)];
    let asked = bounds.into_iter().map(|(kind, bound)| Asked { subject: Subject::Node, kind, bound });
    asked.filter_map(|asked| predict(asked, past, now)).collect()
}

/// A pod's memory and disk, towards its limits.
pub(super) fn of_pod(pod: &Known<'_>, now: Timestamp) -> Vec<Advice> {
    let subject = Subject::Pod(pod.facts.pod);
    let asked = [ResourceKind::Memory, ResourceKind::Disk].into_iter().filter_map(|kind| {
        let bound = pod.facts.limit(&kind)?;
        Some(Asked { subject: subject.clone(), kind, bound })
    });
    asked.filter_map(|asked| predict(asked, pod.past, now)).collect()
}

/// Whose bound it is about; 0 stands for none.
struct Asked {
    subject: Subject,
    kind: ResourceKind,
    bound: u64,
}

fn predict(asked: Asked, past: &Past, now: Timestamp) -> Option<Advice> {
    let Asked { subject, kind, bound } = asked;
    let windows = recent(past, now)?;
    if bound == 0 {
        return None;
    }
    let point = |window: &Window| Point { at: window.moment(&kind), amount: window.level(&kind) };
    let rise = Rise::of(&windows.iter().map(point).collect::<Vec<_>>())?;
    let looked = past.looked(windows)?;
    let figures = figures(&rise, bound, &looked, now);
    if figures.at.ms_since(now) > u64::from(HORIZON_H) * HOUR_MS {
        return None;
    }
    Some(Advice {
        sentence: sentence(&figures, &subject, &kind, now),
        certainty: certainty(&figures, &looked, now),
        subject,
        resource: kind,
        looked,
        finding: Finding::Exhaustion(figures),
    })
}

/// The windows that lie wholly in the last two days, if they are enough and not old.
fn recent(past: &Past, now: Timestamp) -> Option<&[Window]> {
    let start = past.windows.partition_point(|window| now.ms_since(window.from) > LOOK_BACK_MS);
    let windows = past.windows.get(start..)?;
    let span_ms = windows.last()?.to.ms_since(windows.first()?.from);
    let enough = past.is_fresh(now) && windows.len() >= WINDOWS_MIN && span_ms >= SPAN_MIN_MS;
    enough.then_some(windows)
}

fn figures(rise: &Rise, bound: u64, looked: &Looked, now: Timestamp) -> ExhaustionFigures {
    let BySlope { low: slope_low, median: slope, high: slope_high } = rise.hourly();
    let BySlope { low, median, high } = rise.reaches(bound);
    let latest = low.max(now);
    ExhaustionFigures {
        bound,
        level: rise.level_at(looked.to),
        slope_low,
        slope,
        slope_high,
        slopes: count(rise.slopes),
        earliest: high.max(now),
        at: median.max(now),
        latest: (latest.ms_since(now) <= LATEST_MAX_H * HOUR_MS).then_some(latest),
        horizon_h: HORIZON_H,
    }
}

fn sentence(figures: &ExhaustionFigures, subject: &Subject, kind: &ResourceKind, now: Timestamp) -> String {
    let whose = match subject {
        Subject::Node => "what the node has",
        Subject::Pool(_) | Subject::Pod(_) => "its limit",
    };
    let (bound, slope) = (kind.show(figures.bound), about(kind, figures.slope));
    if figures.level >= figures.bound {
        return format!("{kind} has reached {whose} of {bound} and rises by {slope} an hour");
    }
    let until = |moment: Timestamp| lasting(moment.ms_since(now));
    let latest = figures.latest.map_or_else(|| "more than a year".to_owned(), until);
    format!(
        "{kind} reaches {whose} of {bound} in about {} ({} to {latest}) if it goes on to rise by {slope} an hour",
        until(figures.at),
        until(figures.earliest),
    )
}

/// Good if the range is at most half as wide as the time that is left, fair if it is at most twice as wide.
fn certainty(figures: &ExhaustionFigures, looked: &Looked, now: Timestamp) -> Certainty {
    let left_ms = figures.at.ms_since(now);
    let width_ms = figures.latest.map(|latest| latest.ms_since(figures.earliest));
    let windows = looked.windows;
    let sureness = match width_ms {
        Some(width) if width <= left_ms / 2 && windows >= GOOD_FROM => Sureness::Good,
        Some(width) if width <= left_ms.saturating_mul(2) => Sureness::Fair,
        Some(_) | None => Sureness::Low,
    };
    let width = width_ms.map_or_else(|| "more than a year".to_owned(), lasting);
    let why = format!("{windows} windows; the range is {width} wide and supposes that nothing changes");
    Certainty { sureness, why }
}

/// A time for people, in whole minutes, hours or days, so that two digits are right.
fn lasting(ms: u64) -> String {
    match ms / 60_000 {
        minutes @ 0..120 => format!("{minutes} min"),
        minutes @ 120..2_880 => format!("{} h", minutes / 60),
        minutes => format!("{} d", minutes / 1_440),
    }
}
