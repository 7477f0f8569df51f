//! What a report is made of: gathered while the records pass, bounded whatever the journal's length.

pub(crate) mod charts;
mod lists;
pub(crate) mod page;
mod pods;
mod slots;
mod watched;

use std::collections::BTreeMap;

use purser_events::ledger::grant::HolderId;
use purser_events::ledger::{LedgerEvent, ResourceKind};
use purser_events::node::NodeEvent;
use purser_events::{Event, PodUid, Seq, StreamId, Timestamp};
use purser_storage::StoredRecord;

use self::lists::Lists;
use self::pods::Pods;
use self::slots::SlotBars;
use self::watched::Watched;
use crate::Console;
use crate::fold::Folded;
use crate::render;

/// Points of a chart over time.
pub(crate) const POINTS: usize = 400;

/// Most GPUs that are drawn.
const GPUS_MAX: usize = 32;

/// Most resources that are drawn: operators count what they like.
const USES_MAX: usize = 32;

/// Most bars of one row.
const BARS_MAX: usize = 300;

/// Longest text of an event that is shown, in characters.
const TEXT_LEN_MAX: usize = 240;

/// The time that a report is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

impl Range {
    /// Which point of a chart a moment belongs to.
    pub(crate) fn point(self, time: i64) -> usize {
        let len = i128::from(self.last.0) - i128::from(self.first.0);
        let at = i128::from(time) - i128::from(self.first.0);
        let point = at * POINTS as i128 / len.max(1);
        usize::try_from(point).unwrap_or(0).min(POINTS - 1)
    }
}

/// Something that lasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) from: i64,
    /// None while it lasts.
    pub(crate) to: Option<i64>,
    pub(crate) what: String,
}

/// Ends the last bar of a row and begins the next, unless it is the same.
fn next_bar(bars: &mut Vec<Bar>, time: i64, what: Option<&str>) {
    match (bars.last_mut(), what) {
        (Some(last), Some(what)) if last.to.is_none() && last.what == what => return,
        (Some(last), _) => last.to = last.to.or(Some(time)),
        (None, _) => {}
    }
    let Some(what) = what else { return };
    if bars.len() == BARS_MAX {
        // The oldest make room: what was last matters most.
        bars.remove(0);
    }
    bars.push(Bar { from: time, to: None, what: what.to_owned() });
}

/// How much of a resource there was and how much was given out, at each point the most.
#[derive(Debug, Clone, Default)]
pub(crate) struct Use {
    pub(crate) capacity: Vec<u64>,
    pub(crate) allocated: Vec<u64>,
}

/// What a report says.
pub(crate) struct Report {
    pub(crate) range: Range,
    pub(crate) folded: Folded,
    pub(crate) records: u64,
    pub(crate) types: BTreeMap<String, u64>,
    pub(crate) withheld: u64,
    pub(crate) unread: u64,
    pub(crate) starts: u64,
    pub(crate) unclean_starts: u64,
    pub(crate) host: String,
    pub(crate) pods: Pods,
    pub(crate) lists: Lists,
    /// Who holds each GPU.
    pub(crate) gpus: BTreeMap<String, Vec<(HolderId, Bar)>>,
    pub(crate) uses: BTreeMap<ResourceKind, Use>,
    /// GPUs and resources beyond those that are drawn, the most at a time.
    pub(crate) gpus_more: usize,
    pub(crate) uses_more: usize,
    watched: Watched,
    slots: SlotBars,
    /// The latest time so far: a clock that went back is held.
    now: i64,
}

impl Report {
    /// Nothing yet.
    pub(crate) fn new(range: Range) -> Report {
        Report {
            range,
            folded: Folded::default(),
            records: 0,
            types: BTreeMap::new(),
            withheld: 0,
            unread: 0,
            starts: 0,
            unclean_starts: 0,
            host: String::new(),
            pods: Pods::default(),
            lists: Lists::default(),
            gpus: BTreeMap::new(),
            uses: BTreeMap::new(),
            gpus_more: 0,
            uses_more: 0,
            watched: Watched::default(),
            slots: SlotBars::default(),
            now: i64::MIN,
        }
    }

    /// Takes the next record.
    pub(crate) fn note(&mut self, stored: StoredRecord, console: &mut Console<'_>) {
        self.records += 1;
        *self.types.entry(render::type_name(&stored)).or_default() += 1;
        self.now = self.now.max(stored.header.time.0);
        let (seq, stream, time) = (stored.header.seq, stored.header.stream, stored.header.time);
        let event = stored.event();
        if let Ok(event) = &event {
            self.slots.note(&stored.header, event, self.now, self.range);
        }
        match &event {
            Ok(event) => self.before(seq, stream, time, event),
            Err(error) if error.is_withheld() => self.withheld += 1,
            Err(_) => self.unread += 1,
        }
        self.folded.apply(stored, console);
        if let Ok(event) = &event {
            self.after(stream, event);
        }
    }

    /// What an event says by itself, with what was known before it.
    fn before(&mut self, seq: Seq, stream: StreamId, time: Timestamp, event: &Event) {
        let named = match event {
            Event::Pod(_) => self.pod_name(PodUid(stream.id)),
            Event::Pool(_) => self.slots.name(stream),
            _ => stream.to_string(),
        };
        self.lists.note(seq, time, &named, event);
        self.watched.note(stream, event, self.now);
        match event {
            Event::Node(NodeEvent::Started(started)) => {
                self.starts += 1;
                self.unclean_starts +=
                    u64::from(started.recovery.as_ref().is_some_and(|found| !found.closed));
                self.host = started.hostname.clone();
            }
            Event::Ledger(LedgerEvent::Queued(part)) => {
                let reasons = part.shortages.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                let name = self.pod_name(part.pod);
                self.lists.waits(part.pod, name, part.tenant.as_str(), self.now, reasons);
            }
            Event::Ledger(LedgerEvent::Allocated(part)) => {
                self.lists.waits_no_more(part.pod, self.now, "given");
                self.pods.set_tenant(part.pod, part.tenant.as_str());
            }
            Event::Ledger(LedgerEvent::Withdrawn(part)) => {
                self.lists.waits_no_more(part.pod, self.now, "given up");
            }
            _ => {}
        }
    }

    /// What an event made of the world.
    fn after(&mut self, stream: StreamId, event: &Event) {
        match event {
            Event::Pod(event) => {
                let uid = PodUid(stream.id);
                self.pods.note(uid, event, self.folded.world.pods.get(&uid), self.now);
            }
            Event::Ledger(_) => {
                self.note_uses();
                self.note_gpus();
            }
            _ => {}
        }
    }

    /// What a pod is called, or its uid if that is not known.
    fn pod_name(&self, uid: PodUid) -> String {
        self.pods.name(uid).unwrap_or_else(|| uid.to_string())
    }

    fn note_uses(&mut self) {
        let point = self.range.point(self.now);
        let ledger = &self.folded.world.ledger;
        let mut more = 0;
        for (kind, usage) in ledger.managers.all().flat_map(|manager| manager.usage(ledger.policy.strict)) {
            if self.uses.len() == USES_MAX && !self.uses.contains_key(&kind) {
                more += 1;
                continue;
            }
            let of_kind = self.uses.entry(kind).or_default();
            reach(&mut of_kind.capacity, point, usage.capacity);
            reach(&mut of_kind.allocated, point, usage.allocated);
        }
        self.uses_more = self.uses_more.max(more);
    }

    fn note_gpus(&mut self) {
        let (world, now) = (&self.folded.world, self.now);
        let mut held: Vec<(String, HolderId, String)> = Vec::new();
        for (holder, holding) in &world.ledger.holdings {
            for grant in &holding.grant.gpus {
                let name = match holder {
                    HolderId::Pod(uid) => self.pods.name(*uid).unwrap_or_else(|| uid.to_string()),
                    HolderId::Reservation(_) => holder.to_string(),
                };
                held.push((grant.uuid.as_str().to_owned(), *holder, name));
            }
        }
        for (gpu, bars) in &mut self.gpus {
            for (holder, bar) in bars.iter_mut().filter(|(_, bar)| bar.to.is_none()) {
                if !held.iter().any(|(uuid, by, _)| uuid == gpu && by == holder) {
                    bar.to = Some(now);
                }
            }
        }
        for gpu in &world.ledger.capacity.gpus {
            if self.gpus.len() < GPUS_MAX {
                self.gpus.entry(gpu.uuid.as_str().to_owned()).or_default();
            }
        }
        let there = world.ledger.capacity.gpus.iter();
        let more = there.filter(|gpu| !self.gpus.contains_key(gpu.uuid.as_str())).count();
        self.gpus_more = self.gpus_more.max(more);
        for (gpu, holder, what) in held {
            let Some(bars) = self.gpus.get_mut(&gpu) else { continue };
            if bars.iter().any(|(by, bar)| *by == holder && bar.to.is_none()) {
                continue;
            }
            if bars.len() == BARS_MAX {
                bars.remove(0);
            }
            bars.push((holder, Bar { from: now, to: None, what }));
        }
    }
}

/// Sets a point of a series to the most that there was; what was last goes on until it.
fn reach(series: &mut Vec<u64>, point: usize, value: u64) {
    let last = series.last().copied().unwrap_or(0);
    let is_new = series.len() <= point;
    series.resize(series.len().max(point + 1), last);
    if let Some(at) = series.get_mut(point) {
        *at = if is_new { value.max(last) } else { value.max(*at) };
    }
    // What is there now goes on from the next point.
    if point + 1 < POINTS {
        series.truncate(point + 1);
        series.push(value);
    }
}

/// A text that is shown, not longer than there is room for.
fn short(text: &str) -> String {
    let mut short: String = text.chars().take(TEXT_LEN_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_has_the_most_that_there_was_and_goes_on_with_the_last() {
        let mut series = Vec::new();
        reach(&mut series, 2, 5);
        reach(&mut series, 2, 3);
        reach(&mut series, 5, 1);
        reach(&mut series, 5, 2);
        assert_eq!(series, [0, 0, 5, 3, 3, 3, 2]);
    }

    #[test]
    fn the_same_again_is_one_bar() {
        let mut bars = Vec::new();
        for (time, what) in [(0, Some("a")), (1, Some("a")), (3, Some("b")), (4, None), (6, Some("b"))] {
            next_bar(&mut bars, time, what);
        }
        let told: Vec<_> = bars.iter().map(|bar| (bar.from, bar.to, bar.what.as_str())).collect();
        assert_eq!(told, [(0, Some(3), "a"), (3, Some(4), "b"), (6, None, "b")]);
    }
}
