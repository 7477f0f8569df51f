//! Violations and the health of GPUs in a report: who, how often, and when.

use std::collections::BTreeMap;

use purser_events::{Event, StreamId};
use uuid::Uuid;

use super::charts;
use super::page::{cell, number, section, table};
use super::{BARS_MAX, Bar, GPUS_MAX, Range, next_bar};
use crate::offences::{Offence, Turn};
use crate::spans::seconds;
use crate::tally::Tally;

/// Most rows of violations that are drawn, and most lines of their table.
const ROWS_MAX: usize = 100;

/// What was violated, and how GPUs were.
#[derive(Debug, Default)]
pub(super) struct Watched {
    tally: Tally,
    /// By whom and of what: each violation with its id.
    violations: BTreeMap<String, Vec<(Uuid, Bar)>>,
    /// How each GPU was.
    health: BTreeMap<String, Vec<Bar>>,
    /// Violations in all.
    pub(super) count: u64,
}

impl Watched {
    /// Takes notice of an event.
    pub(super) fn note(&mut self, stream: StreamId, event: &Event, now: i64) {
        match self.tally.note(stream, event, true) {
            Some(Turn::Began(offence)) => {
                self.count += 1;
                let name = self.name(&offence);
                if self.violations.len() >= ROWS_MAX && !self.violations.contains_key(&name) {
                    return;
                }
                let bars = self.violations.entry(name).or_default();
                if bars.len() == BARS_MAX {
                    bars.remove(0);
                }
                let what = format!("violated {}", offence.level);
                bars.push((offence.id, Bar { from: now, to: None, what }));
            }
            Some(Turn::Climbed(offence)) => {
                let what = format!("violated {}", offence.level);
                if let Some(bar) = self.bar(&offence) {
                    bar.what = what;
                }
            }
            Some(Turn::Ended(offence, _)) => {
                if let Some(bar) = self.bar(&offence) {
                    bar.to = Some(now);
                }
            }
            Some(Turn::Health { gpu, word })
                if self.health.len() < GPUS_MAX || self.health.contains_key(&gpu) =>
            {
                next_bar(self.health.entry(gpu).or_default(), now, Some(word));
            }
            Some(Turn::Health { .. }) | None => {}
        }
    }

    fn name(&self, offence: &Offence) -> String {
        let who = offence.pod.map(|pod| self.tally.pod_name(pod)).or_else(|| offence.gpu.clone());
        format!("{} {}", who.unwrap_or_default(), offence.kind)
    }

    fn bar(&mut self, offence: &Offence) -> Option<&mut Bar> {
        let name = self.name(offence);
        let bars = self.violations.get_mut(&name)?;
        bars.iter_mut().rev().find(|(id, _)| *id == offence.id).map(|(_, bar)| bar)
    }

    /// The section about violations.
    pub(super) fn violations(&self, range: Range) -> String {
        let title = "Who violated what";
        let rows = self.tally.rows();
        if rows.is_empty() {
            return section("violations", title, "<p>Nobody.</p>");
        }
        let bars = |bars: &Vec<(Uuid, Bar)>| bars.iter().map(|(_, bar)| bar.clone()).collect();
        let drawn: Vec<(String, Vec<Bar>)> =
            self.violations.iter().map(|(name, of)| (name.clone(), bars(of))).collect();
        let chart = charts::rows("violations-chart", range, &drawn, |bar| bar.what.clone());
        let lines: Vec<Vec<String>> = rows
            .iter()
            .take(ROWS_MAX)
            .map(|told| {
                let row = told.row;
                vec![
                    cell(&told.who()),
                    cell(told.kind.word()),
                    number(&row.count.to_string()),
                    number(&row.climbs.to_string()),
                    cell(row.highest.word()),
                    number(&seconds(row.ms.saturating_mul(1_000))),
                    number(&row.open.to_string()),
                ]
            })
            .collect();
        let names = ["who", "what", "#times", "#escalations", "highest", "#until the end", "#open"];
        let left_out = rows.len().saturating_sub(ROWS_MAX);
        let note = if left_out > 0 { format!("<p>{left_out} more.</p>") } else { String::new() };
        section("violations", title, &format!("{chart}{}{note}", table("violations", &names, &lines)))
    }

    /// How GPUs were, as a chart; nothing if none was seen.
    pub(super) fn health(&self, range: Range) -> String {
        if self.health.is_empty() {
            return String::new();
        }
        let rows: Vec<(String, Vec<Bar>)> =
            self.health.iter().map(|(gpu, bars)| (gpu.clone(), bars.clone())).collect();
        let chart =
            charts::rows("health-chart", range, &rows, |bar| format!("health {}", bar.what.to_lowercase()));
        format!("<h3>How they were</h3>{chart}")
    }
}
