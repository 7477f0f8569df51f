//! How the slots of pools were used: what share of them somebody had, how long tasks waited for one and had it.

use std::collections::BTreeMap;

use purser_events::{Event, Header, StreamId};
use serde_json::{Value, json};

use crate::render;
use crate::slots::{Slots, Turn};
use crate::spans::{Spans, seconds};

/// Most pools that are told of one by one.
const POOLS_MAX: usize = 1_000;

/// How the slots of one pool were used.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// The most that there were, and the most that somebody had.
    slots_max: u64,
    taken_max: u64,
    /// Slots times microseconds: of those that there were, that somebody had, and that were kept for plans.
    slots_us: u128,
    taken_us: u128,
    kept_us: u128,
    /// The same since the last record that counts: they count once another does.
    ahead: [u128; 3],
    /// How many there are of each, now.
    now: [u64; 3],
    /// From being submitted, or put back, to a slot.
    pub(crate) waited: Spans,
    /// From a slot to its end.
    pub(crate) had: Spans,
    /// From being submitted to the end.
    pub(crate) whole: Spans,
    ended: BTreeMap<&'static str, u64>,
    /// How often a task lost its slot and waited again.
    lost: u64,
}

/// How the slots of all pools were used.
#[derive(Default)]
pub(crate) struct SlotUse {
    slots: Slots,
    rows: BTreeMap<StreamId, Row>,
    /// Records of pools beyond those.
    untold: u64,
    /// Whether a record counted yet.
    has_begun: bool,
    /// The latest time so far.
    now: Option<i64>,
}

impl SlotUse {
    /// Takes notice of a record; only what is `wanted` counts, and the time between such.
    pub(crate) fn note(&mut self, header: &Header, event: Option<&Event>, wanted: bool) -> Option<Turn> {
        self.pass(header.time.0);
        let turn = event.and_then(|event| self.slots.note(header, event));
        if let (Some(Event::Pool(_)), Some(pool)) = (event, self.slots.pool(header.stream)) {
            if self.rows.len() == POOLS_MAX && !self.rows.contains_key(&header.stream) {
                self.untold += u64::from(wanted);
                return turn;
            }
            let row = self.rows.entry(header.stream).or_default();
            if row.name != pool.name {
                row.name.clone_from(&pool.name);
            }
            row.now = [pool.slots, pool.taken, pool.kept];
        }
        if wanted {
            self.count(header.stream, turn);
        }
        turn
    }

    /// The slots as they are.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Lets time go by.
    fn pass(&mut self, time: i64) {
        let before = self.now.unwrap_or(time);
        self.now = Some(before.max(time));
        let us = u128::try_from(time.saturating_sub(before)).unwrap_or_default();
        if us == 0 || !self.has_begun {
            return;
        }
        for row in self.rows.values_mut() {
            for (ahead, now) in row.ahead.iter_mut().zip(row.now) {
                *ahead = ahead.saturating_add(us.saturating_mul(now.into()));
            }
        }
    }

    fn count(&mut self, stream: StreamId, turn: Option<Turn>) {
        self.has_begun = true;
        for row in self.rows.values_mut() {
            let [slots, taken, kept] = std::mem::take(&mut row.ahead);
            row.slots_us = row.slots_us.saturating_add(slots);
            row.taken_us = row.taken_us.saturating_add(taken);
            row.kept_us = row.kept_us.saturating_add(kept);
            row.slots_max = row.slots_max.max(row.now[0]);
            row.taken_max = row.taken_max.max(row.now[1]);
        }
        let Some(row) = self.rows.get_mut(&stream) else { return };
        match turn {
            Some(Turn::Taken { waited_us, .. }) => row.waited.note(waited_us),
            Some(Turn::Lost { had_us, .. }) => {
                row.lost += 1;
                row.had.note(had_us);
            }
            Some(Turn::Over { had, had_us, whole_us, result }) => {
                *row.ended.entry(result.word()).or_default() += 1;
                row.whole.note(whole_us);
                if had.is_some() {
                    row.had.note(had_us);
                }
            }
            Some(Turn::Room | Turn::Goes(_)) | None => {}
        }
    }

    /// How each pool's were, by name.
    pub(crate) fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> =
            self.rows.values().filter(|row| row.slots_max > 0 || row.whole.count() > 0).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    /// Some lines a pool.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.rows().into_iter().flat_map(Row::lines);
        let more =
            format!("slots  … and of more than {POOLS_MAX} pools {} records are not told here", self.untold);
        lines.chain((self.untold > 0).then_some(more)).collect()
    }

    /// The rows, for programs.
    pub(crate) fn json(&self) -> Value {
        self.rows().into_iter().map(Row::json).collect()
    }
}

impl Row {
    /// The share of slots that somebody had, and of those kept for plans, in words.
    pub(crate) fn share(&self) -> (String, String) {
        (percent(self.taken_us, self.slots_us), percent(self.kept_us, self.slots_us))
    }

    /// The most slots that there were, and the most that somebody had.
    pub(crate) fn most(&self) -> (u64, u64) {
        (self.slots_max, self.taken_max)
    }

    /// How tasks ended, and how often one lost its slot, in words.
    pub(crate) fn ends(&self) -> String {
        let ends = self.ended.iter().map(|(word, count)| format!("{count} {word}"));
        let lost = (self.lost > 0).then(|| format!("{} lost a slot and waited again", self.lost));
        let all: Vec<String> = ends.chain(lost).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    }

    fn lines(&self) -> Vec<String> {
        let name = render::safe(&self.name);
        let (taken, kept) = self.share();
        let all = seconds(u64::try_from(self.slots_us).unwrap_or(u64::MAX));
        let Row { slots_max, taken_max, .. } = self;
        let mut lines = vec![format!(
            "slots {name}  {slots_max} at most, {taken_max} taken at most; of {all} of slots {taken} taken, {kept} kept for \
             plans"
        )];
        let spans =
            [("waited for a slot", &self.waited), ("had a slot", &self.had), ("took in all", &self.whole)];
        for (what, spans) in spans.into_iter().filter(|(_, spans)| spans.count() > 0) {
            lines.push(format!("tasks {name}  {what}: {}", spans.words()));
        }
        lines.push(format!("tasks {name}  ended: {}", self.ends()));
        lines
    }

    fn json(&self) -> Value {
        let us = |us: u128| u64::try_from(us).unwrap_or(u64::MAX);
        json!({
            "pool": self.name, "slotsMax": self.slots_max, "takenMax": self.taken_max, "slotsUs": us(self.slots_us),
            "takenUs": us(self.taken_us), "keptUs": us(self.kept_us), "waited": self.waited.json(),
            "had": self.had.json(), "whole": self.whole.json(), "ended": self.ended, "lost": self.lost,
        })
    }
}

/// A share in percent, to a tenth.
fn percent(part: u128, whole: u128) -> String {
    let permille = part.saturating_mul(1_000).checked_div(whole).unwrap_or_default();
    format!("{}.{}%", permille / 10, permille % 10)
}
