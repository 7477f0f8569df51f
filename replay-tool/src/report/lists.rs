//! Lists of a report: what failed, who waited, what was denied and what was odd, each with its last or longest.

use std::collections::{BTreeMap, VecDeque};

use purser_events::ledger::LedgerEvent;
use purser_events::node::NodeEvent;
use purser_events::{Event, PodUid, Seq, Timestamp};

use super::short;
use crate::notable::failure;
use crate::render;

/// Most lines of a list.
const LINES_MAX: usize = 100;

/// Most pods that are followed while they wait.
const WAITING_MAX: usize = 10_000;

/// A line of a list.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) seq: Seq,
    pub(crate) time: Timestamp,
    pub(crate) kind: &'static str,
    /// To what it happened.
    pub(crate) of: String,
    pub(crate) text: String,
}

/// The last of what happened, and how often it did.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) count: u64,
    pub(crate) last: VecDeque<Line>,
}

impl List {
    fn push(&mut self, line: Line) {
        self.count += 1;
        if self.last.len() == LINES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// A pod that waited for resources.
#[derive(Debug, Clone)]
pub(crate) struct Wait {
    pub(crate) pod: String,
    pub(crate) tenant: String,
    pub(crate) since: i64,
    /// None while it waits.
    pub(crate) until: Option<i64>,
    pub(crate) end: &'static str,
    pub(crate) reasons: String,
}

impl Wait {
    /// How long it took, until `now` if it is not over.
    pub(crate) fn us(&self, now: i64) -> u64 {
        u64::try_from(self.until.unwrap_or(now).saturating_sub(self.since)).unwrap_or_default()
    }
}

/// Every list.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub(crate) failures: List,
    pub(crate) denials: List,
    pub(crate) oddities: List,
    /// Why things failed, and how often.
    pub(crate) reasons: BTreeMap<String, u64>,
    waiting: BTreeMap<PodUid, Wait>,
    over: Vec<Wait>,
    pub(crate) waited: u64,
}

impl Lists {
    /// Takes notice of an event.
    pub(super) fn note(&mut self, seq: Seq, time: Timestamp, of: &str, event: &Event) {
        let list = match event {
            Event::Pod(_) | Event::Pool(_) => {
                let Some(reason) = failure(event) else { return };
                // Containers have names of others' choice: as many reasons as a list has lines.
                if self.reasons.len() < LINES_MAX || self.reasons.contains_key(&reason) {
                    *self.reasons.entry(reason).or_default() += 1;
                }
                &mut self.failures
            }
            Event::Ledger(
                LedgerEvent::PreemptionRequested(_)
                | LedgerEvent::StaleTokenRefused(_)
                | LedgerEvent::ReservationExpired(_)
                | LedgerEvent::ManagerStopped(_)
                | LedgerEvent::AlertRaised(_),
            )
            | Event::Node(NodeEvent::Cordoned(_) | NodeEvent::DiskPressureChanged(_)) => &mut self.denials,
            Event::Ledger(LedgerEvent::DriftFound(_))
            | Event::Node(
                NodeEvent::RuntimeLost(_)
                | NodeEvent::OrphanRemoved(_)
                | NodeEvent::JournalTrimmed(_)
                | NodeEvent::RedactionRequested(_),
            ) => &mut self.oddities,
            _ => return,
        };
        let text = short(&render::compact(&event.payload_json()));
        list.push(Line { seq, time, kind: event.layout().name, of: of.to_owned(), text });
    }

    /// A pod begins to wait, or is found to wait still.
    pub(super) fn waits(&mut self, uid: PodUid, pod: String, tenant: &str, since: i64, reasons: String) {
        if self.waiting.contains_key(&uid) || self.waiting.len() == WAITING_MAX {
            return;
        }
        self.waited += 1;
        let (tenant, reasons) = (tenant.to_owned(), short(&render::safe(&reasons)));
        self.waiting.insert(uid, Wait { pod, tenant, since, until: None, end: "waits", reasons });
    }

    /// A pod waits no longer, if it did.
    pub(super) fn waits_no_more(&mut self, uid: PodUid, now: i64, end: &'static str) {
        let Some(wait) = self.waiting.remove(&uid) else { return };
        self.over.push(Wait { until: Some(now), end, ..wait });
        if self.over.len() >= 2 * LINES_MAX {
            self.over.sort_by_key(|wait| std::cmp::Reverse(wait.us(now)));
            self.over.truncate(LINES_MAX);
        }
    }

    /// The longest waits, the longest first.
    pub(crate) fn longest(&self, now: i64) -> Vec<&Wait> {
        let mut waits: Vec<&Wait> = self.over.iter().chain(self.waiting.values()).collect();
        waits.sort_by_key(|wait| std::cmp::Reverse(wait.us(now)));
        waits.truncate(LINES_MAX);
        waits
    }
}
