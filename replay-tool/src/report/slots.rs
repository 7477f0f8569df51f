//! Slots of pools in a report: who had which when, how many were taken, and how long tasks waited.

use std::collections::BTreeMap;

use purser_events::pool::SlotKey;
use purser_events::{Event, Header, StreamId};
use serde_json::{Value, json};

use super::page::{cell, number, section, table};
use super::{BARS_MAX, Bar, Range, Use, charts, reach};
use crate::slot_use::SlotUse;
use crate::slots::{Doing, Had, Turn};
use crate::spans::{Spans, seconds};

/// Most slots that are drawn, and most pools.
const ROWS_MAX: usize = 100;

/// What slots were used for.
#[derive(Default)]
pub(super) struct SlotBars {
    used: SlotUse,
    /// What was in each slot.
    bars: BTreeMap<(StreamId, SlotKey), Vec<Bar>>,
    /// How many slots of each pool there were, and how many were taken.
    taken: BTreeMap<StreamId, Use>,
    /// Slots for which there was no row.
    left_out: u64,
    /// Tasks that ended, in all.
    pub(super) ended: u64,
}

impl SlotBars {
    /// Takes notice of a record.
    pub(super) fn note(&mut self, header: &Header, event: &Event, now: i64, range: Range) {
        let turn = self.used.note(header, Some(event), true);
        let stream = header.stream;
        match turn {
            Some(Turn::Taken { had, .. } | Turn::Goes(had)) => self.fill(stream, had, now),
            Some(Turn::Lost { had, .. }) => self.empty(stream, had, now),
            Some(Turn::Over { had, .. }) => {
                self.ended += 1;
                if let Some(had) = had {
                    self.empty(stream, had, now);
                }
            }
            Some(Turn::Room) => {}
            None => return,
        }
        let is_known = self.taken.contains_key(&stream) || self.taken.len() < ROWS_MAX;
        if let Some(pool) = self.used.slots().pool(stream).filter(|_| is_known) {
            let of = self.taken.entry(stream).or_default();
            let point = range.point(now);
            reach(&mut of.capacity, point, pool.slots);
            reach(&mut of.allocated, point, pool.taken);
        }
    }

    fn fill(&mut self, stream: StreamId, had: Had, now: i64) {
        self.empty(stream, had, now);
        let key = (stream, had.slot);
        if self.bars.len() >= ROWS_MAX && !self.bars.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        let bars = self.bars.entry(key).or_default();
        if bars.len() == BARS_MAX {
            bars.remove(0);
        }
        let what = format!("{} {} {}", had.doing.word(), had.kind, had.task);
        bars.push(Bar { from: now, to: None, what });
    }

    fn empty(&mut self, stream: StreamId, had: Had, now: i64) {
        let bar = self.bars.get_mut(&(stream, had.slot)).and_then(|bars| bars.last_mut());
        if let Some(bar) = bar {
            bar.to = bar.to.or(Some(now));
        }
    }

    /// What a pool is called.
    pub(super) fn name(&self, stream: StreamId) -> String {
        self.used
            .slots()
            .pool(stream)
            .map_or_else(|| stream.to_string(), |pool| format!("pool/{}", pool.name))
    }

    /// The section about slots.
    pub(super) fn section(&self, range: Range) -> String {
        let title = "Who had which slot";
        let rows = self.used.rows();
        if rows.is_empty() {
            return section("slots", title, "<p>The node has no pools.</p>");
        }
        let drawn: Vec<(String, Vec<Bar>)> = self
            .bars
            .iter()
            .map(|((stream, slot), bars)| (format!("{} {slot}", self.name(*stream)), bars.clone()))
            .collect();
        let bars = charts::rows("slots-chart", range, &drawn, |bar| {
            let is_kept = bar.what.starts_with(Doing::Kept.word());
            if is_kept { "kept" } else { "running" }.to_owned()
        });
        let uses: String = self
            .taken
            .iter()
            .enumerate()
            .map(|(pool, (stream, of))| {
                let chart =
                    charts::steps(&format!("pool-{pool}"), range, of, &|slots| format!("{slots} slots"));
                format!("<h3>{}</h3>{chart}", super::page::escaped(&self.name(*stream)))
            })
            .collect();
        let lines: Vec<Vec<String>> = rows
            .iter()
            .take(ROWS_MAX)
            .map(|row| {
                let ((slots, most), (taken, kept)) = (row.most(), row.share());
                let times = [&row.waited, &row.had]
                    .into_iter()
                    .flat_map(|spans| [times(spans, 50), times(spans, 99)]);
                let first = [cell(&row.name), number(&slots.to_string()), number(&most.to_string())];
                let shares = [number(&taken), number(&kept)];
                first.into_iter().chain(shares).chain(times).chain([cell(&row.ends())]).collect()
            })
            .collect();
        let names = [
            "pool",
            "#slots",
            "#taken at most",
            "#taken",
            "#kept for plans",
            "#waited, p50",
            "#p99",
            "#had a slot, p50",
            "#p99",
            "tasks that ended",
        ];
        let note = match self.left_out {
            0 => String::new(),
            left_out => format!("<p>Of slots that are not drawn, {left_out} uses.</p>"),
        };
        let told =
            "<p>How many were taken, the most in each part of the time; dashed: how many there were.</p>";
        let more = super::page::more(rows.len().saturating_sub(ROWS_MAX), "pools");
        let table = table("slots", &names, &lines);
        section("slots", title, &format!("{table}{more}{bars}{note}{told}{uses}"))
    }

    /// How slots were used, for programs.
    pub(super) fn json(&self) -> Value {
        json!(self.used.json())
    }
}

/// A quantile of some times.
fn times(spans: &Spans, percent: u64) -> String {
    let text = if spans.count() == 0 { "–".to_owned() } else { seconds(spans.quantile_us(percent)) };
    number(&text)
}
