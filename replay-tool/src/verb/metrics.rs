//! `metrics`: what Prometheus would have shown over a past range, as OpenMetrics text with times.

use purser_events::Timestamp;

use crate::Console;
use crate::cli::MetricsArgs;
use crate::failure::{Exit, Failure};
use crate::fold::Folded;
use crate::gauges::{METRICS, Measured, Metric, tell};
use crate::reading::Reading;
use crate::series::Series;
use crate::source::Place;

/// Most samples of one series.
const STEPS_MAX: i64 = 1_000_000;

/// The moments at which samples are taken.
struct Steps {
    /// The next one, unknown until the first record if no beginning is given.
    next: Option<i64>,
    until: Option<i64>,
    step: i64,
    /// The latest time of a record so far.
    now: i64,
    taken: i64,
}

pub(crate) fn run(
    args: &MetricsArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    // Series that are not gathered at once need another reading.
    place.again()?;
    let mut series = Series::first();
    let (mut written, mut found) = (None, Exit::NothingMatched);
    loop {
        let (exit, damage) = gather(args, place, now, &mut series, console)?;
        for ((metric, labels), samples) in series.all() {
            let Some(of) = METRICS.get(*metric) else { continue };
            if written.replace(*metric) != Some(*metric) {
                head(of, console)?;
            }
            found = exit;
            let suffix = if of.is_counter { "_total" } else { "" };
            for (time, value) in samples {
                let time = seconds(*time);
                let value = of.shown(*value);
                console.line(format_args!("{}{suffix}{labels} {value} {time}", of.name))?;
            }
        }
        if let Some(failure) = damage {
            // Without its last line a file is known to be a part.
            return Err(failure);
        }
        match series.next() {
            Some(next) => series = next,
            None => break,
        }
    }
    console.line(format_args!("# EOF"))?;
    Ok(found)
}

/// Folds the journal and takes samples on the way. Damage is given beside how it went before.
fn gather(
    args: &MetricsArgs,
    place: &Place,
    now: Timestamp,
    series: &mut Series,
    console: &mut Console<'_>,
) -> Result<(Exit, Option<Failure>), Failure> {
    let mut reading = Reading::whole(place)?;
    let step = i64::try_from(args.step.0).unwrap_or(i64::MAX);
    if step == 0 {
        return Err(Failure::NoStep);
    }
    let (mut folded, mut measured) = (Folded::default(), Measured::default());
    let mut steps = Steps {
        next: args.since.map(|since| up(since.seen_from(now).0, step)),
        until: args.until.map(|until| until.seen_from(now).0),
        step,
        now: i64::MIN,
        taken: 0,
    };
    while let Some(stored) = reading.next() {
        steps.now = steps.now.max(stored.header.time.0);
        steps.next.get_or_insert(up(steps.now, step));
        // What is recorded at a moment is known at it: samples are of the moments before this record.
        steps.take(steps.now.saturating_sub(1), series, &folded, &measured)?;
        if let Ok(event) = stored.event() {
            measured.note(&event);
        }
        folded.apply(stored, console);
    }
    let last = steps.now;
    if folded.time.is_some() {
        steps.take(last, series, &folded, &measured)?;
    }
    Ok((folded.exit, reading.into_failure().map(Failure::from)))
}

impl Steps {
    /// Takes samples at all moments up to this one that were not looked at.
    fn take(
        &mut self,
        upto: i64,
        series: &mut Series,
        folded: &Folded,
        measured: &Measured,
    ) -> Result<(), Failure> {
        let upto = self.until.map_or(upto, |until| until.min(upto));
        while let Some(next) = self.next.filter(|next| *next <= upto) {
            if self.taken == STEPS_MAX {
                return Err(Failure::ManySteps { most: STEPS_MAX });
            }
            self.taken += 1;
            if folded.time.is_some() {
                tell(&folded.world, measured, Timestamp(next), &mut |metric, labels, value| {
                    series.note((metric, label_text(labels)), next, value);
                });
            }
            self.next = next.checked_add(self.step);
        }
        Ok(())
    }
}

/// The first moment from one on that is a whole number of steps after 1970.
fn up(us: i64, step: i64) -> i64 {
    us.checked_add(us.wrapping_neg().rem_euclid(step)).unwrap_or(i64::MAX)
}

fn head(metric: &Metric, console: &mut Console<'_>) -> Result<(), Failure> {
    let (name, kind) = (metric.name, if metric.is_counter { "counter" } else { "gauge" });
    console.line(format_args!("# TYPE {name} {kind}\n# HELP {name} {}", metric.help))
}

/// Labels as the text form has them.
fn label_text(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let all: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", all.join(","))
}

/// A time in seconds, exactly.
fn seconds(us: i64) -> String {
    let (sign, us) = (if us < 0 { "-" } else { "" }, us.unsigned_abs());
    match us % 1_000_000 {
        0 => format!("{sign}{}", us / 1_000_000),
        part => format!("{sign}{}.{part:06}", us / 1_000_000),
    }
}
