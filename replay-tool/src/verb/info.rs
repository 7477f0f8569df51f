//! `info`: what a journal is, from when to when, of which node, and what is in it.

use std::collections::{BTreeMap, VecDeque};

use purser_events::node::NodeEvent;
use purser_events::node::event::Started;
use purser_events::{Event, NodeUid, Seq, StreamId, StreamKind, Timestamp};
use purser_storage::offline::Item;
use purser_storage::{Evidence, StoredRecord};
use serde_json::{Value, json};

use crate::cli::{InfoArgs, Output};
use crate::failure::{Exit, Failure};
use crate::reading::Reading;
use crate::source::Place;
use crate::{Console, render};

/// Starts of the node that are kept; of more only the last are told.
const BOOTS_MAX: usize = 10_000;

/// One start of the node.
struct Boot {
    number: u64,
    seq: Seq,
    time: Timestamp,
    facts: Started,
    /// Why and when it stopped in order, if it did.
    stopped: Option<(Timestamp, String)>,
    /// Its last record, and when that was written.
    last: (Seq, Timestamp),
}

/// What was counted.
#[derive(Default)]
struct Found {
    records: u64,
    bytes: u64,
    first: Option<(Seq, Timestamp)>,
    last: Option<(Seq, Timestamp)>,
    /// Records that were written earlier than one before them.
    clock_back: u64,
    newest: Option<Timestamp>,
    kinds: BTreeMap<StreamKind, u64>,
    nodes: BTreeMap<NodeUid, String>,
    boots: VecDeque<Boot>,
    starts: u64,
    sealed_segments: u64,
    checkpoints: u64,
    /// Records under the last checkpoint.
    sealed: u64,
    trimmed: Seq,
    redacted: u64,
}

pub(crate) fn run(args: &InfoArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut reading = Reading::from(place, Seq(1))?;
    let mut found = Found::default();
    while let Some(item) = reading.next_item() {
        match item {
            Item::Record(stored) => {
                let event = reading.event(&stored);
                found.note(&stored, event.as_ref());
            }
            Item::Evidence(Evidence::Checkpoint(sealed)) => {
                found.checkpoints += 1;
                found.sealed = found.sealed.max(sealed.checkpoint().size());
            }
            Item::Evidence(Evidence::Succession(_)) => {}
        }
    }
    match args.output {
        Output::Text => tell(&found, place, &reading, console)?,
        Output::Json => {
            let value = found.json(place, &reading);
            console.line(format_args!("{}", render::pretty(&value)))?;
        }
    }
    let exit = if found.records == 0 { Exit::NothingMatched } else { Exit::Ok };
    reading.end(exit, console)
}

impl Found {
    fn note(&mut self, stored: &StoredRecord, event: Option<&Event>) {
        let header = &stored.header;
        let place = (header.seq, header.time);
        self.records += 1;
        self.bytes += stored.as_bytes().len() as u64;
        self.first.get_or_insert(place);
        self.last = Some(place);
        self.clock_back += u64::from(self.newest.is_some_and(|newest| header.time < newest));
        self.newest = self.newest.max(Some(header.time));
        *self.kinds.entry(header.stream.kind).or_default() += 1;
        self.redacted += u64::from(stored.redacted);
        match event {
            Some(Event::Node(NodeEvent::Started(facts))) => {
                self.starts += 1;
                self.nodes.insert(facts.node, facts.hostname.clone());
                if self.boots.len() == BOOTS_MAX {
                    self.boots.pop_front();
                }
                let (seq, time) = place;
                let facts = facts.clone();
                self.boots.push_back(Boot {
                    number: self.starts,
                    seq,
                    time,
                    facts,
                    stopped: None,
                    last: place,
                });
            }
            Some(Event::Node(NodeEvent::Stopped(stopped))) => {
                if let Some(boot) = self.boots.back_mut() {
                    boot.stopped = Some((header.time, stopped.reason.clone()));
                }
            }
            Some(Event::Node(NodeEvent::SegmentSealed(_))) => self.sealed_segments += 1,
            Some(Event::Node(NodeEvent::JournalTrimmed(trimmed))) => self.trimmed = trimmed.upto,
            Some(_) | None => {}
        }
        if let StreamId { kind: StreamKind::Node, id } = header.stream {
            self.nodes.entry(NodeUid(id)).or_default();
        }
        if let Some(boot) = self.boots.back_mut() {
            boot.last = place;
        }
    }

    fn json(&self, place: &Place, reading: &Reading) -> Value {
        let at =
            |place: Option<(Seq, Timestamp)>| place.map(|(seq, time)| json!({ "seq": seq, "time": time }));
        let kinds: BTreeMap<&str, u64> =
            self.kinds.iter().map(|(kind, count)| (kind.word(), *count)).collect();
        let head = reading.head();
        json!({
            "source": place.words(),
            "sound": reading.is_sound(),
            "before": reading.before(),
            "first": at(self.first),
            "last": at(self.last),
            "head": { "seq": head.seq, "hash": render::hex(&head.hash) },
            "records": self.records,
            "bytes": self.bytes,
            "clockBack": self.clock_back,
            "kinds": kinds,
            "nodes": self.nodes.iter().map(|(uid, host)| json!({ "uid": uid, "hostname": host })).collect::<Vec<_>>(),
            "starts": self.starts,
            "boots": self.boots.iter().map(Boot::json).collect::<Vec<_>>(),
            "segmentsSealed": self.sealed_segments,
            "checkpoints": self.checkpoints,
            "sealed": self.sealed,
            "trimmedUpto": self.trimmed,
            "redacted": self.redacted,
            "excerpt": reading.is_excerpt(),
        })
    }
}

impl Boot {
    fn json(&self) -> Value {
        json!({
            "number": self.number, "seq": self.seq, "time": self.time, "last": self.last.0, "lastTime": self.last.1,
            "version": self.facts.version, "bootId": self.facts.boot_id, "hostname": self.facts.hostname,
            "recovery": self.facts.recovery,
            "stopped": self.stopped.as_ref().map(|(time, reason)| json!({ "time": time, "reason": reason })),
        })
    }

    fn line(&self) -> String {
        let end = match &self.stopped {
            Some((time, reason)) => format!("stopped {time} ({})", render::safe(reason)),
            None => format!("no stop on record, last seen {}", self.last.1),
        };
        let found = match &self.facts.recovery {
            Some(recovery) if !recovery.closed => ", found a journal that was not closed",
            Some(_) | None => "",
        };
        let version = render::safe(&self.facts.version);
        format!(
            "  {:>4}  {} record {} to {}, version {version}{found}, {end}",
            self.number, self.time, self.seq, self.last.0
        )
    }
}

fn tell(found: &Found, place: &Place, reading: &Reading, console: &mut Console<'_>) -> Result<(), Failure> {
    console.line(format_args!("source    {}", render::safe(&place.words())))?;
    match (found.first, found.last) {
        (Some(first), Some(last)) => {
            console.line(format_args!("records   {} to {}, {} in all", first.0, last.0, found.records))?;
            console.line(format_args!("bytes     {} in records", found.bytes))?;
            console.line(format_args!("times     {} to {}", first.1, last.1))?;
        }
        _ => console.line(format_args!("records   none"))?,
    }
    if found.clock_back > 0 {
        console
            .line(format_args!("clock     {} records are earlier than one before them", found.clock_back))?;
    }
    console.line(format_args!("hash      {}", render::hex(&reading.head().hash)))?;
    for (uid, hostname) in &found.nodes {
        console.line(format_args!("node      {uid} {}", render::safe(hostname)))?;
    }
    for (kind, count) in &found.kinds {
        console.line(format_args!("kind      {:8} {count} records", kind.word()))?;
    }
    if reading.before() > Seq::ZERO {
        console.line(format_args!(
            "begins    after record {}: what was before is not in the source",
            reading.before()
        ))?;
    }
    if found.trimmed > Seq::ZERO {
        console.line(format_args!("trimmed   up to record {}", found.trimmed))?;
    }
    console.line(format_args!("sealed    {} segments", found.sealed_segments))?;
    match found.checkpoints {
        0 => console.line(format_args!("signed    no checkpoint"))?,
        count => console.line(format_args!(
            "signed    {count} checkpoints, the last of {} records; see verify --key",
            found.sealed
        ))?,
    }
    if reading.is_excerpt() {
        console.line(format_args!(
            "excerpt   payloads were left out when this was made: they count as redacted"
        ))?;
    }
    console.line(format_args!("redacted  {} payloads", found.redacted))?;
    console.line(format_args!("starts    {}", found.starts))?;
    found.boots.iter().try_for_each(|boot| console.line(format_args!("{}", boot.line())))
}
