//! `stats`: how many records of what there are, how large they are, how often they came, and how long things took.

use std::collections::BTreeMap;

use purser_events::{Event, Header, Seq, StreamId, StreamKind, Timestamp};
use purser_storage::StoredRecord;
use serde_json::{Value, json};

use crate::cli::{Output, StatsArgs};
use crate::failure::{Exit, Failure};
use crate::filter::Filter;
use crate::pairs::{Ended, Pending};
use crate::reading::Reading;
use crate::slot_use::SlotUse;
use crate::source::Place;
use crate::spans::Spans;
use crate::tally::Tally;
use crate::{Console, render};

const MINUTE_US: i64 = 60_000_000;

/// Records of one sort.
#[derive(Default)]
struct Count {
    records: u64,
    bytes: u64,
    bytes_max: u64,
}

#[derive(Default)]
pub(crate) struct Stats {
    all: Count,
    kinds: BTreeMap<StreamKind, Count>,
    types: BTreeMap<u16, Count>,
    took: BTreeMap<&'static str, Spans>,
    given_up: BTreeMap<&'static str, u64>,
    violations: Tally,
    slots: SlotUse,
    /// The earliest and the latest time.
    times: Option<(Timestamp, Timestamp)>,
    /// The minute that is counted, and its records.
    minute: (i64, u64),
    /// The minute with the most records.
    busiest: (i64, u64),
}

pub(crate) fn run(
    args: &StatsArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let mut filter = Filter::new(&args.filter, place, now)?;
    let (mut stats, mut pending) = (Stats::default(), Pending::default());
    let mut reading = Reading::from(place, Seq(1))?;
    while let Some(stored) = reading.next() {
        let event = stored.event();
        let wanted = filter.wants(&stored, &event);
        if filter.is_past(stored.header.seq) {
            break;
        }
        // What ends among the records that are meant may have begun before them.
        let ended = pending.note(&stored.header, &render::type_name(&stored), event.as_ref().ok());
        stats.watch(stored.header.stream, event.as_ref().ok(), wanted);
        stats.watch_slots(&stored.header, event.as_ref().ok(), wanted);
        if !wanted {
            continue;
        }
        reading.note(&stored, &event);
        stats.note(&stored, &ended);
    }
    match args.output {
        Output::Text => stats.tell(console)?,
        Output::Json => console.line(format_args!("{}", render::pretty(&stats.json())))?,
    }
    let found = if stats.all.records == 0 { Exit::NothingMatched } else { Exit::Ok };
    reading.end(found, console)
}

impl Count {
    fn note(&mut self, len: u64) {
        self.records += 1;
        self.bytes += len;
        self.bytes_max = self.bytes_max.max(len);
    }

    fn words(&self) -> String {
        let mean = self.bytes / self.records.max(1);
        let Count { records, bytes, bytes_max } = self;
        format!("{records} records, {bytes} bytes, {mean} in the mean, {bytes_max} at most")
    }

    fn json(&self) -> Value {
        json!({ "records": self.records, "bytes": self.bytes, "bytesMax": self.bytes_max })
    }
}

impl Stats {
    /// Counts a record, and what it ended.
    pub(crate) fn note(&mut self, stored: &StoredRecord, ended: &[Ended]) {
        let (header, len) = (&stored.header, stored.as_bytes().len() as u64);
        self.all.note(len);
        self.kinds.entry(header.stream.kind).or_default().note(len);
        self.types.entry(stored.layout_number).or_default().note(len);
        self.note_time(header.time);
        for end in ended {
            if end.is_given_up {
                *self.given_up.entry(end.pair.begins).or_default() += 1;
            } else {
                self.took.entry(end.pair.begins).or_default().note(end.open.us_until(header.time));
            }
        }
    }

    /// Takes notice of what a record says of violations; those of records that are not meant are not counted.
    pub(crate) fn watch(&mut self, stream: StreamId, event: Option<&Event>, wanted: bool) {
        if let Some(event) = event {
            self.violations.note(stream, event, wanted);
        }
    }

    /// Takes notice of what a record says of slots, in the same way: of one node alone, for pools of several may have the
    /// same name.
    pub(crate) fn watch_slots(&mut self, header: &Header, event: Option<&Event>, wanted: bool) {
        self.slots.note(header, event, wanted);
    }

    /// How slots were used, in lines.
    pub(crate) fn slot_lines(&self) -> Vec<String> {
        self.slots.lines()
    }

    /// Whether nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.records == 0
    }

    /// How much there is, in one line.
    pub(crate) fn words(&self) -> String {
        self.all.words()
    }

    fn note_time(&mut self, time: Timestamp) {
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
        let minute = time.0.div_euclid(MINUTE_US);
        if self.minute.0 != minute {
            self.minute = (minute, 0);
        }
        self.minute.1 += 1;
        if self.busiest.1 < self.minute.1 {
            self.busiest = self.minute;
        }
    }

    /// Records in a thousand seconds, rounded down; none without a span.
    fn per_1000_s(&self) -> Option<u64> {
        let (first, last) = self.times?;
        let us = u128::try_from(last.0.saturating_sub(first.0)).ok().filter(|us| *us > 0)?;
        u64::try_from(u128::from(self.all.records) * 1_000_000_000 / us).ok()
    }

    fn busiest_minute(&self) -> Timestamp {
        Timestamp(self.busiest.0.saturating_mul(MINUTE_US))
    }

    pub(crate) fn tell(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        console.line(format_args!("all  {}", self.all.words()))?;
        if let (Some((first, last)), Some(rate)) = (self.times, self.per_1000_s()) {
            let (whole, part) = (rate / 1_000, rate % 1_000);
            console.line(format_args!("rate  {whole}.{part:03} records a second from {first} to {last}"))?;
            let (minute, count) = (self.busiest_minute(), self.busiest.1);
            console.line(format_args!("busiest  {count} records in the minute of {minute}"))?;
        }
        for (kind, count) in &self.kinds {
            console.line(format_args!("kind {}  {}", kind.word(), count.words()))?;
        }
        for (number, count) in &self.types {
            console.line(format_args!("type {}  {}", render::layout_name(*number), count.words()))?;
        }
        for (begins, spans) in &self.took {
            console.line(format_args!("took {begins}  {}", spans.words()))?;
        }
        for (begins, count) in &self.given_up {
            console.line(format_args!("given up {begins}  {count} times"))?;
        }
        let lines = self.violations.lines().into_iter().chain(self.slots.lines());
        lines.into_iter().try_for_each(|line| console.line(format_args!("{line}")))
    }

    pub(crate) fn json(&self) -> Value {
        let kinds: BTreeMap<&str, Value> =
            self.kinds.iter().map(|(kind, count)| (kind.word(), count.json())).collect();
        let types: BTreeMap<String, Value> =
            self.types.iter().map(|(number, count)| (render::layout_name(*number), count.json())).collect();
        let took: BTreeMap<&str, Value> =
            self.took.iter().map(|(begins, spans)| (*begins, spans.json())).collect();
        json!({
            "all": self.all.json(), "first": self.times.map(|times| times.0), "last": self.times.map(|times| times.1),
            "recordsPer1000S": self.per_1000_s(),
            "busiest": { "minute": self.busiest_minute(), "records": self.busiest.1 },
            "kinds": kinds, "types": types, "took": took, "givenUp": self.given_up,
            "violations": self.violations.json(), "slots": self.slots.json(),
        })
    }
}
