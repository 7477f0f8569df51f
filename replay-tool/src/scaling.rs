//! Pools by other rules of scaling, slots and tasks: what is on record of a pool is lived through again by its own decider.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::pool::event::Scaled;
use purser_events::pool::simulate::{
    Difference, Figures, Happened, SimulateError, Simulated, simulate_instead,
};
use purser_events::pool::{LocalTime, PoolEvent, PoolName, PoolSpec, Weekday};
use purser_events::{Event, Header, StreamId, Timestamp};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::overlay::{Overlay, OverlayError};
use crate::{Console, render};

/// Most records of pools that are held.
const RECORDS_MAX: usize = 200_000;

const CLOSED_LOOP: &str = "closed loop: which task gets which slot when, and how many pods there are, is decided anew; when \
                           tasks came, how long they ran and what was said to plans is as recorded";

/// What is on record of the pools that a policy file names.
#[derive(Default)]
pub(crate) struct Pools {
    of: BTreeMap<StreamId, Past>,
    /// Every pool that there is a record of.
    known: BTreeSet<PoolName>,
    records: usize,
    /// The time of the journal's last record.
    until: Option<Timestamp>,
}

/// What is on record of one pool.
struct Past {
    name: PoolName,
    happened: Vec<Happened>,
    /// How it was to be last.
    spec: Option<PoolSpec>,
    /// Whether a record of it cannot be read.
    has_gap: bool,
    /// What the clock on the wall was ahead of UTC in the pool's zone, in seconds, when something was decided.
    offsets: Vec<(Timestamp, String, i32)>,
}

/// What would have come of one pool.
pub(crate) struct Outcome {
    name: PoolName,
    came: Result<Simulated, String>,
}

impl Pools {
    pub(crate) fn of(overlay: &Overlay) -> Pools {
        let past = |name: &PoolName| Past {
            name: name.clone(),
            happened: Vec::new(),
            spec: None,
            has_gap: false,
            offsets: Vec::new(),
        };
        let of = overlay.pools.keys().map(|name| (name.stream(), past(name))).collect();
        Pools { of, ..Pools::default() }
    }

    /// Takes notice of a record, and of what it says if that can be read.
    pub(crate) fn note(&mut self, header: &Header, event: Option<&Event>) -> Result<(), Failure> {
        self.until = self.until.max(Some(header.time));
        if let Some(Event::Pool(PoolEvent::SpecSet(set))) = event {
            self.known.insert(set.name.clone());
        }
        let Some(past) = self.of.get_mut(&header.stream) else { return Ok(()) };
        let Some(Event::Pool(event)) = event else {
            past.has_gap = true;
            return Ok(());
        };
        if self.records == RECORDS_MAX {
            return Err(Failure::PoolTooLong { pool: past.name.to_string(), max: RECORDS_MAX });
        }
        self.records += 1;
        past.note(header.time, event);
        Ok(())
    }

    /// Lives through it all again.
    pub(crate) fn decide_again(&self, overlay: &Overlay) -> Result<Vec<Outcome>, OverlayError> {
        let until = self.until.unwrap_or(Timestamp(0));
        self.of.values().map(|past| past.decide_again(overlay, until, &self.known)).collect()
    }
}

impl Past {
    fn note(&mut self, at: Timestamp, event: &PoolEvent) {
        match event {
            PoolEvent::SpecSet(set) => self.spec = Some(PoolSpec::clone(&set.spec)),
            PoolEvent::Scaled(scaled) => {
                let zone = self.spec.as_ref().map(|spec| spec.scaling.time_zone.clone()).unwrap_or_default();
                let offset = scaled.verdict.inputs.local.offset_s;
                let is_known =
                    self.offsets.last().is_some_and(|(_, of, last)| (of, *last) == (&zone, offset));
                if !is_known {
                    self.offsets.push((at, zone, offset));
                }
            }
            _ => {}
        }
        self.happened.push(Happened { at, event: event.clone() });
    }

    fn decide_again(
        &self,
        overlay: &Overlay,
        until: Timestamp,
        known: &BTreeSet<PoolName>,
    ) -> Result<Outcome, OverlayError> {
        let name = self.name.clone();
        let Some(spec) = &self.spec else {
            let known = known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(OverlayError::NoPool { name: name.to_string(), known });
        };
        let other = overlay.pool(&name, spec)?;
        if self.has_gap {
            let came = Err("some of its records cannot be read: it cannot be told how it stood".to_owned());
            return Ok(Outcome { name, came });
        }
        let since = self.happened.first().map_or(until, |first| first.at);
        let clock = |zone: &str, at: Timestamp| self.local_time(zone, at);
        let came = simulate_instead(&self.happened, &other, since, until, &clock);
        let came = came.map_err(|error| match error {
            SimulateError::Zone { zone } => {
                format!("no decision on record says what the clock shows in the zone {zone}")
            }
            error => purser_events::causes::told(&error),
        });
        Ok(Outcome { name, came })
    }

    /// What the clock on the wall said in a zone, as far as decisions have it on record.
    fn local_time(&self, zone: &str, at: Timestamp) -> Option<LocalTime> {
        let of_zone = || self.offsets.iter().filter(|(_, of, _)| of == zone);
        let last = of_zone().rfind(|(since, ..)| *since <= at).or_else(|| of_zone().next());
        let offset_s = last.map(|(_, _, offset)| *offset).or((zone == "UTC").then_some(0))?;
        Some(local_time(at, offset_s))
    }
}

/// What a clock says that is so far ahead of UTC.
fn local_time(at: Timestamp, offset_s: i32) -> LocalTime {
    use Weekday::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
    const DAY_S: i64 = 86_400;
    let seconds = at.0.div_euclid(1_000_000).saturating_add(i64::from(offset_s));
    // 1970 began on a Thursday.
    let day = usize::try_from(seconds.div_euclid(DAY_S).rem_euclid(7)).unwrap_or_default();
    let weekday = [Thu, Fri, Sat, Sun, Mon, Tue, Wed][day];
    let minute = u16::try_from(seconds.rem_euclid(DAY_S) / 60).unwrap_or_default();
    LocalTime { weekday, minute, offset_s }
}

impl Outcome {
    /// Whether another number of pods would have been wanted at some time, or tasks would have fared otherwise.
    pub(crate) fn differs(&self) -> bool {
        self.came.as_ref().is_ok_and(|came| came.first_difference.is_some() || came.held != came.other)
    }

    /// For people.
    pub(crate) fn tell(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        console.line(format_args!("pool       {}: {CLOSED_LOOP}", self.name))?;
        let came = match &self.came {
            Ok(came) => came,
            Err(reason) => return console.line(format_args!("untold     {}", render::safe(reason))),
        };
        match &came.first_difference {
            None => console
                .line(format_args!("first      both policies want the same number of pods throughout"))?,
            Some(Difference { at, held, other }) => {
                let (held, other) = (wanted(held.as_ref()), wanted(other.as_ref()));
                console.line(format_args!(
                    "first      {at}: the one in force wants {held}; the other {other}"
                ))?;
            }
        }
        for (what, figures) in
            [("on record", &came.recorded), ("in force", &came.held), ("other", &came.other)]
        {
            console.line(format_args!("{what:<10} {}", told(figures)))?;
        }
        Ok(())
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let mut value = match &self.came {
            Ok(came) => json!(came),
            Err(reason) => json!({ "untold": reason }),
        };
        value["pool"] = json!(self.name);
        value["loop"] = json!("closed");
        value
    }
}

fn wanted(scaled: Option<&Scaled>) -> String {
    scaled.map_or_else(
        || "none yet".to_owned(),
        |scaled| format!("{} ({})", scaled.verdict.wanted, scaled.verdict.rule.sentence()),
    )
}

fn told(figures: &Figures) -> String {
    let Figures { pod_milli_hours, pods_max, decisions, ended, left, .. } = figures;
    let seconds = |ms: u64| format!("{}.{:03} s", ms / 1_000, ms % 1_000);
    format!(
        "{}.{:03} pod hours, at most {pods_max} pods, {decisions} decisions, {ended} tasks ended, {left} left, half waited \
         {}, 95 % {}, the longest {}",
        pod_milli_hours / 1_000,
        pod_milli_hours % 1_000,
        seconds(figures.wait_median_ms),
        seconds(figures.wait_95_ms),
        seconds(figures.wait_max_ms),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_as_far_ahead_as_it_was() {
        // 2026-03-01, a Sunday.
        let noon = Timestamp(1_772_366_400_000_000);
        let at = |offset_s| {
            let LocalTime { weekday, minute, .. } = local_time(noon, offset_s);
            (weekday, minute)
        };
        assert_eq!(at(0), (Weekday::Sun, 720));
        assert_eq!(at(3_600), (Weekday::Sun, 780));
        assert_eq!(at(14 * 3_600), (Weekday::Mon, 120));
        assert_eq!(at(-13 * 3_600), (Weekday::Sat, 1_380));
    }
}
