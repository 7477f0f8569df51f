//! `timeline`: what happened to a pod, one line a record, with how long things took.

use std::collections::BTreeMap;

use purser_events::pod::Pod;
use purser_events::worker::WorkerEvent;
use purser_events::{Decider, Event, PodUid, Seq, StreamId, StreamKind, Timestamp};
use purser_storage::StoredRecord;
use serde_json::{Value, json};

use crate::cli::{Output, PodName, TimelineArgs};
use crate::failure::{Exit, Failure};
use crate::members::{OnGpus, incarnations};
use crate::pairs::{Ended, Pending};
use crate::reading::Reading;
use crate::rows::Rows;
use crate::source::Place;
use crate::spans::{Spans, seconds, signed_seconds};
use crate::{Console, render};

/// One incarnation of the pod.
struct Life {
    pod: Pod,
    first: Timestamp,
    last: Timestamp,
    /// Whether every record of its stream could be read so far.
    is_followed: bool,
}

/// What is kept while the records pass.
pub(crate) struct Timeline {
    pods: Vec<PodUid>,
    lives: BTreeMap<PodUid, Life>,
    /// The pod of each worker.
    workers: BTreeMap<StreamId, PodUid>,
    on_gpus: OnGpus,
    pending: Pending,
    took: BTreeMap<&'static str, Spans>,
    /// What the pod is called, if that was said.
    name: String,
    /// The node, if there are several.
    node: Option<String>,
    /// The incarnation that the last line is of.
    shown: Option<PodUid>,
    /// How it ends: a pod's records that do not follow from each other are no history.
    pub(crate) exit: Exit,
}

pub(crate) fn run(args: &TimelineArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut timeline = Timeline::of(&args.pod, place, None)?;
    let mut reading = Reading::from(place, Seq(1))?;
    let mut rows = Rows::new(args.output);
    while let Some(stored) = reading.next() {
        let event = stored.event();
        let Some(pod) = timeline.pod_of(&stored, event.as_ref().ok()) else { continue };
        // Of other pods' records nothing is told, so neither that they cannot be read.
        reading.note(&stored, &event);
        timeline.show(pod, &stored, event.as_ref().ok(), &mut rows, console)?;
    }
    rows.end(console)?;
    if args.output == Output::Text {
        timeline.tell_spans(console)?;
    }
    if rows.is_empty() && reading.is_sound() {
        console.note(format_args!("purser-replay: there is no pod `{}` in the journal", args.pod));
    }
    let found = if rows.is_empty() { Exit::NothingMatched } else { Exit::Ok };
    reading.end(found.or_worse(timeline.exit), console)
}

impl Timeline {
    /// Nothing yet of a pod, of a node if there are several.
    pub(crate) fn of(pod: &PodName, place: &Place, node: Option<String>) -> Result<Timeline, Failure> {
        let pods = incarnations(pod, None, place)?;
        let (lives, workers, on_gpus, pending, took, shown) = <_>::default();
        let name = match pod {
            PodName::Name(id) => format!(" {id}"),
            PodName::Incarnation(_) => String::new(),
        };
        Ok(Timeline { pods, lives, workers, on_gpus, pending, took, name, node, shown, exit: Exit::Ok })
    }

    /// Has the next line say whose it is.
    pub(crate) fn begins_anew(&mut self) {
        self.shown = None;
    }

    /// Says how long what was requested took.
    pub(crate) fn tell_spans(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        if !self.took.is_empty() {
            console.line(format_args!(""))?;
        }
        let of = self.node.as_ref().map_or_else(String::new, |node| format!("{node} "));
        for (begins, spans) in &self.took {
            console.line(format_args!("{of}{begins}: {}", spans.words()))?;
        }
        Ok(())
    }

    /// The incarnation that a record is about, if it is one of those that are meant.
    pub(crate) fn pod_of(&mut self, stored: &StoredRecord, event: Option<&Event>) -> Option<PodUid> {
        let stream = stored.header.stream;
        let meant = |pod: &PodUid| self.pods.contains(pod);
        match (stream.kind, event) {
            (StreamKind::Pod, _) => Some(PodUid(stream.id)).filter(meant),
            (_, Some(Event::Worker(WorkerEvent::Registered(worker)))) if meant(&worker.pod) => {
                self.workers.insert(stream, worker.pod);
                Some(worker.pod)
            }
            (_, Some(Event::Ledger(event))) => event.pods().into_iter().find(meant),
            (StreamKind::Gpu, Some(event)) => self.on_gpus.pod_of(stream, event, meant),
            _ => self.workers.get(&stream).copied(),
        }
    }

    pub(crate) fn show(
        &mut self,
        uid: PodUid,
        stored: &StoredRecord,
        event: Option<&Event>,
        rows: &mut Rows,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let (header, kind) = (&stored.header, render::type_name(stored));
        let life = self.lives.entry(uid).or_insert_with(|| Life {
            pod: Pod::Unknown,
            first: header.time,
            last: header.time,
            is_followed: true,
        });
        match event {
            // What comes after it may well follow from what cannot be read.
            None if header.stream == uid.stream() => life.is_followed = false,
            Some(Event::Pod(event)) if life.is_followed => {
                if let Err(illegal) = life.pod.follow(event) {
                    self.exit = Exit::Integrity;
                    console.note(format_args!("record {}: {illegal}", header.seq));
                }
            }
            Some(_) | None => {}
        }
        let (offset, delta) =
            (header.time.0.saturating_sub(life.first.0), header.time.0.saturating_sub(life.last.0));
        life.last = header.time;
        let phase = life.pod.word();
        let ended = self.pending.note(header, &kind, event);
        let took: Vec<(u64, Ended)> =
            ended.into_iter().map(|end| (end.open.us_until(header.time), end)).collect();
        for (us, end) in took.iter().filter(|(_, end)| !end.is_given_up) {
            self.took.entry(end.pair.begins).or_default().note(*us);
        }
        let mut row = json!({
            "seq": header.seq, "time": header.time, "offsetUs": offset, "deltaUs": delta, "type": kind,
            "stream": header.stream.to_string(), "incarnation": uid, "phase": phase,
            "took": took.iter().map(|(us, end)| took_json(end, *us)).collect::<Vec<_>>(),
        });
        if let Some(node) = &self.node {
            row["node"] = json!(node);
        }
        let took: String = took.iter().map(|(us, end)| took_words(end, *us)).collect();
        let line = format!("{:>12}  {} {kind}  {phase}{took}", signed_seconds(offset), header.seq);
        if self.shown.replace(uid) != Some(uid) && !rows.is_json() {
            let on = self.node.as_ref().map_or_else(String::new, |node| format!(" on {node}"));
            console.line(format_args!("pod/{uid}{}{on} from {}", self.name, header.time))?;
        }
        rows.show(&line, &row, console)
    }
}

fn took_json(end: &Ended, us: u64) -> Value {
    json!({ "begins": end.pair.begins, "seq": end.open.seq, "us": us, "givenUp": end.is_given_up })
}

fn took_words(end: &Ended, us: u64) -> String {
    let verb = if end.is_given_up { "given up" } else { "done" };
    format!(", {} of record {} {verb} after {}", end.pair.begins, end.open.seq, seconds(us))
}
