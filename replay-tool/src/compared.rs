//! Two rows of decisions of the ledger, side by side: what is in one alone, and what came otherwise or at another time.

use std::collections::{BTreeMap, VecDeque};

use purser_events::ledger::LedgerEvent;
use purser_events::{Event, Header, PodUid, Seq, Timestamp};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::spans::{Spans, signed_seconds};
use crate::{Console, render};

/// What a decision is about: its type, and whose it is.
type Key = (&'static str, String);

/// One decision.
#[derive(Debug, Clone)]
struct Made {
    seq: Seq,
    time: Timestamp,
    payload: Value,
    /// Why the other ledger refused it, if it did.
    refused: Option<String>,
}

/// A decision that came otherwise.
#[derive(Debug)]
struct Row {
    key: Key,
    recorded: Option<Made>,
    other: Option<Made>,
}

impl Row {
    /// The first record at which it shows.
    fn seq(&self) -> Seq {
        let seqs = [&self.recorded, &self.other].into_iter().flatten().map(|made| made.seq);
        seqs.min().unwrap_or(Seq::ZERO)
    }

    fn word(&self) -> &'static str {
        match (&self.recorded, &self.other) {
            (Some(_), Some(_)) => "changed",
            (None, _) => "added",
            (Some(_), None) => "removed",
        }
    }
}

/// How pods fared.
#[derive(Debug, Default)]
struct Fate {
    allocated: u64,
    preempted: u64,
    waiting: BTreeMap<PodUid, Timestamp>,
    waited: Spans,
}

impl Fate {
    fn note(&mut self, event: &LedgerEvent) {
        match event {
            LedgerEvent::Queued(it) => {
                self.waiting.insert(it.pod, it.at);
            }
            LedgerEvent::Allocated(it) => {
                self.allocated += 1;
                self.waits_no_more(it.pod, it.at);
            }
            LedgerEvent::ReservationActivated(it) => self.waits_no_more(it.pod, it.at),
            LedgerEvent::Withdrawn(it) => {
                self.waiting.remove(&it.pod);
            }
            LedgerEvent::PreemptionRequested(it) => self.preempted += it.victims.len() as u64,
            _ => {}
        }
    }

    fn waits_no_more(&mut self, pod: PodUid, at: Timestamp) {
        if let Some(since) = self.waiting.remove(&pod) {
            self.waited.note(u64::try_from(at.0.saturating_sub(since.0)).unwrap_or_default());
        }
    }

    fn words(&self) -> String {
        let Fate { allocated, preempted, waiting, waited } = self;
        let still = waiting.len();
        let mut words =
            format!("{allocated} allocations, {preempted} pods asked to leave, {still} wait at the end");
        if waited.count() > 0 {
            words.push_str(&format!(", waited {}", waited.words()));
        }
        words
    }

    fn json(&self) -> Value {
        let Fate { allocated, preempted, waiting, waited } = self;
        json!({
            "allocated": allocated, "preempted": preempted, "waitingAtEnd": waiting.len(), "waited": waited.json(),
        })
    }
}

/// The two rows, as far as they were told. What is kept grows with the differences.
#[derive(Default)]
pub(crate) struct Compared {
    recorded_alone: BTreeMap<Key, VecDeque<Made>>,
    other_alone: BTreeMap<Key, VecDeque<Made>>,
    rows: Vec<Row>,
    same: u64,
    recorded: Fate,
    other: Fate,
}

impl Compared {
    /// Takes notice of what one question led to here and there.
    pub(crate) fn note(
        &mut self,
        header: &Header,
        recorded: &[LedgerEvent],
        other: &[LedgerEvent],
        refused: Option<String>,
    ) {
        recorded.iter().for_each(|event| self.recorded.note(event));
        other.iter().for_each(|event| self.other.note(event));
        let made = |event: &LedgerEvent, refused: Option<String>| {
            let key = key_of(event)?;
            let payload = Event::from(event.clone()).payload_json();
            Some((key, Made { seq: header.seq, time: header.time, payload, refused }))
        };
        let mut there: Vec<(Key, Made)> = other.iter().filter_map(|event| made(event, None)).collect();
        for (key, here) in recorded.iter().filter_map(|event| made(event, refused.clone())) {
            match there.iter().position(|(other, _)| *other == key) {
                Some(at) => {
                    let (_, made) = there.remove(at);
                    if made.payload == here.payload {
                        self.same += 1;
                    } else {
                        self.rows.push(Row { key, recorded: Some(here), other: Some(made) });
                    }
                }
                // It may have come earlier there, or come later.
                None => match take(&mut self.other_alone, &key) {
                    Some(made) => self.rows.push(Row { key, recorded: Some(here), other: Some(made) }),
                    None => self.recorded_alone.entry(key).or_default().push_back(here),
                },
            }
        }
        for (key, made) in there {
            match take(&mut self.recorded_alone, &key) {
                Some(here) => self.rows.push(Row { key, recorded: Some(here), other: Some(made) }),
                None => self.other_alone.entry(key).or_default().push_back(made),
            }
        }
    }

    /// Nothing more comes: what is in one row alone stays so.
    pub(crate) fn end(&mut self) {
        for (key, all) in std::mem::take(&mut self.recorded_alone) {
            self.rows.extend(all.into_iter().map(|made| Row {
                key: key.clone(),
                recorded: Some(made),
                other: None,
            }));
        }
        for (key, all) in std::mem::take(&mut self.other_alone) {
            self.rows.extend(all.into_iter().map(|made| Row {
                key: key.clone(),
                recorded: None,
                other: Some(made),
            }));
        }
        self.rows.sort_by_key(Row::seq);
    }

    /// Whether nothing differs.
    pub(crate) fn is_same(&self) -> bool {
        self.rows.is_empty()
    }

    fn count(&self, word: &str) -> usize {
        self.rows.iter().filter(|row| row.word() == word).count()
    }

    /// For people.
    pub(crate) fn tell(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        console.line(format_args!("recorded   {}", self.recorded.words()))?;
        console.line(format_args!("other      {}", self.other.words()))?;
        console.line(format_args!(
            "outcome    {} as recorded, {} added, {} removed, {} changed",
            self.same,
            self.count("added"),
            self.count("removed"),
            self.count("changed")
        ))?;
        if let Some(first) = self.rows.first() {
            console.line(format_args!(
                "first      record {}: from here on the node may have gone another way",
                first.seq()
            ))?;
        }
        for row in &self.rows {
            let (name, subject) = &row.key;
            let mut line = format!("{:<7}  {} {name} {}", row.word(), row.seq(), render::safe(subject));
            match (&row.recorded, &row.other) {
                (Some(here), Some(there)) if here.seq != there.seq => {
                    let us = there.time.0.saturating_sub(here.time.0);
                    line.push_str(&format!(", at record {}, {}", there.seq, signed_seconds(us)));
                }
                (Some(here), Some(there)) => {
                    for (field, one, other) in differing(&here.payload, &there.payload) {
                        line.push_str(&format!(", {field} {one} is {other}"));
                    }
                }
                (Some(Made { refused: Some(refused), .. }), None) => {
                    line.push_str(&format!(", refused: {}", render::safe(refused)));
                }
                (Some(_), None) | (None, _) => {}
            }
            console.line(format_args!("{line}"))?;
        }
        Ok(())
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let made = |made: &Option<Made>| {
            made.as_ref().map(|made| json!({ "seq": made.seq, "time": made.time, "payload": made.payload }))
        };
        let rows = self.rows.iter().map(|row| {
            let refused = row.recorded.as_ref().and_then(|made| made.refused.clone());
            json!({
                "what": row.word(), "type": row.key.0, "of": row.key.1, "recorded": made(&row.recorded),
                "other": made(&row.other), "refused": refused.filter(|_| row.other.is_none()),
            })
        });
        json!({
            "recorded": self.recorded.json(), "other": self.other.json(), "same": self.same,
            "firstDivergence": self.rows.first().map(Row::seq), "differences": rows.collect::<Vec<_>>(),
        })
    }
}

fn take(alone: &mut BTreeMap<Key, VecDeque<Made>>, key: &Key) -> Option<Made> {
    let all = alone.get_mut(key)?;
    let made = all.pop_front();
    if all.is_empty() {
        alone.remove(key);
    }
    made
}

/// The fields that differ, with what they are here and there.
fn differing(here: &Value, there: &Value) -> Vec<(String, String, String)> {
    let fields = here.as_object().into_iter().flatten();
    let other = |name: &str| there.get(name).cloned().unwrap_or_default();
    let differ = fields.filter(|(name, value)| other(name) != **value);
    differ
        .map(|(name, value)| (name.clone(), render::compact(value), render::compact(&other(name))))
        .collect()
}

/// What a decision is about; none of what is no decision but a rule, a fact or a figure.
fn key_of(event: &LedgerEvent) -> Option<Key> {
    use LedgerEvent as E;
    let subject = match event {
        E::Allocated(it) => it.pod.to_string(),
        E::Queued(it) => it.pod.to_string(),
        E::Withdrawn(it) => it.pod.to_string(),
        E::Released(it) => it.pod.to_string(),
        E::ResizeGranted(it) => it.pod.to_string(),
        E::ResizeSettled(it) => it.pod.to_string(),
        E::PreemptionRequested(it) => it.pod.to_string(),
        E::Reserved(it) => it.reservation.to_string(),
        E::ReservationActivated(it) => it.reservation.to_string(),
        E::ReservationExpired(it) => it.reservation.to_string(),
        E::ReservationCancelled(it) => it.reservation.to_string(),
        E::StaleTokenRefused(it) => it.reservation.to_string(),
        E::AlertRaised(it) => format!("{} {}", it.tenant, it.kind),
        E::AlertCleared(it) => format!("{} {}", it.tenant, it.kind),
        E::CapacitySet(_)
        | E::PolicySet(_)
        | E::TenantSet(_)
        | E::TenantRemoved(_)
        | E::ManagerStopped(_)
        | E::ManagerStarted(_)
        | E::DriftFound(_)
        | E::DriftResolved(_)
        | E::UseRecorded(_)
        | E::ForeignPortsSeen(_) => return None,
    };
    Some((Event::from(event.clone()).layout().name, subject))
}
