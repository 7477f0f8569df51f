//! Who violated what, how often and for how long.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::pod::PodEvent;
use purser_events::violation::{Level, ViolationKind};
use purser_events::{Event, PodUid, StreamId};
use serde_json::{Value, json};

use crate::offences::{Offence, Offences, Turn};
use crate::render;
use crate::spans::seconds;

/// Most rows: of later offenders, no more is said than how many of their violations there were.
const ROWS_MAX: usize = 10_000;

/// Who did it and on what: a pod, else a GPU.
type Whose = (Option<PodUid>, Option<String>, ViolationKind);

/// The violations of one kind by one pod on one GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) count: u64,
    pub(crate) climbs: u64,
    pub(crate) highest: Level,
    /// How long those that ended took, in milliseconds by the clock.
    pub(crate) ms: u64,
    /// Those that have not ended.
    pub(crate) open: u64,
}

/// A row with who it was.
pub(crate) struct Told<'a> {
    /// What the pod is called; none if no pod did it.
    pub(crate) pod: Option<String>,
    uid: Option<PodUid>,
    gpu: Option<String>,
    pub(crate) kind: ViolationKind,
    pub(crate) row: &'a Row,
}

/// Counts violations.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    offences: Offences,
    /// Pods that are not gone, or that violated something, by what they are called.
    names: BTreeMap<PodUid, String>,
    rows: BTreeMap<Whose, Row>,
    /// The pods among them.
    offenders: BTreeSet<PodUid>,
    /// Violations of those for whom there was no row.
    pub(crate) uncounted: u64,
}

impl Tally {
    /// Takes notice of an event; only what is `wanted` counts, but names are learnt from all.
    pub(crate) fn note(&mut self, stream: StreamId, event: &Event, wanted: bool) -> Option<Turn> {
        match event {
            Event::Pod(PodEvent::Admitted(admitted)) => {
                self.names.insert(admitted.uid, admitted.spec.id.to_string());
            }
            Event::Pod(PodEvent::Terminated(_)) => {
                let uid = PodUid(stream.id);
                if !self.offenders.contains(&uid) {
                    self.names.remove(&uid);
                }
            }
            _ => {}
        }
        let turn = self.offences.note(stream, event)?;
        if wanted {
            self.count(&turn);
        }
        Some(turn)
    }

    fn count(&mut self, turn: &Turn) {
        match turn {
            Turn::Began(offence) => {
                let Some(row) = self.row(offence) else { return };
                row.count += 1;
                row.open += 1;
                row.highest = row.highest.max(offence.level);
            }
            Turn::Climbed(offence) => {
                let Some(row) = self.row(offence) else { return };
                row.climbs += 1;
                row.highest = row.highest.max(offence.level);
            }
            Turn::Ended(offence, ms) => {
                let Some(row) = self.row(offence) else { return };
                row.open = row.open.saturating_sub(1);
                row.ms = row.ms.saturating_add(*ms);
            }
            Turn::Health { .. } => {}
        }
    }

    fn row(&mut self, offence: &Offence) -> Option<&mut Row> {
        let whose = (offence.pod, offence.gpu.clone(), offence.kind);
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&whose) {
            self.uncounted += 1;
            return None;
        }
        self.offenders.extend(offence.pod);
        Some(self.rows.entry(whose).or_default())
    }

    /// What a pod is called, or its uid if that is not known.
    pub(crate) fn pod_name(&self, uid: PodUid) -> String {
        self.names.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// Each row with who it was: pods by their names, then what no pod did.
    pub(crate) fn rows(&self) -> Vec<Told<'_>> {
        let told = |(whose, row)| {
            let (pod, gpu, kind): &Whose = whose;
            Told {
                pod: pod.map(|uid| self.pod_name(uid)),
                uid: *pod,
                gpu: gpu.as_deref().map(render::safe),
                kind: *kind,
                row,
            }
        };
        let mut rows: Vec<Told<'_>> = self.rows.iter().map(told).collect();
        rows.sort_by(|a, b| {
            let key = |told: &Told<'_>| (told.pod.is_none(), told.pod.clone(), told.gpu.clone(), told.kind);
            key(a).cmp(&key(b))
        });
        rows
    }

    /// A line a row.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line =
            |told: &Told<'_>| format!("violations {}  {}: {}", told.who(), told.kind, told.row.words());
        let mut lines: Vec<String> = self.rows().iter().map(line).collect();
        if self.uncounted > 0 {
            lines.push(format!("violations of others  {} records", self.uncounted));
        }
        lines
    }

    /// The rows, for programs.
    pub(crate) fn json(&self) -> Value {
        let json = |told: &Told<'_>| {
            let Row { count, climbs, highest, ms, open } = told.row;
            json!({
                "pod": told.pod, "uid": told.uid, "gpu": told.gpu, "kind": told.kind, "count": count,
                "escalations": climbs, "highest": highest, "durationMs": ms, "open": open,
            })
        };
        self.rows().iter().map(json).collect()
    }
}

impl Told<'_> {
    /// Who it was and where, in words.
    pub(crate) fn who(&self) -> String {
        match (&self.pod, &self.gpu) {
            (Some(pod), Some(gpu)) => format!("{pod} on {gpu}"),
            (Some(pod), None) => pod.clone(),
            (None, Some(gpu)) => format!("nobody on {gpu}"),
            (None, None) => "nobody".to_owned(),
        }
    }
}

impl Row {
    fn words(&self) -> String {
        let Row { count, climbs, highest, ms, open } = self;
        let took = seconds(ms.saturating_mul(1_000));
        format!("{count} times, {climbs} escalations, {highest} at most, {took} until the end, {open} open")
    }
}
