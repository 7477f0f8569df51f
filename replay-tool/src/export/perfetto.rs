//! A trace for Perfetto, in the JSON form of Chrome's trace events.
//!
//! Each pod, worker, ledger and node is a track, on which its phases are slices and its records are marks; what was
//! requested and completed lies above it as asynchronous slices. Each GPU is a group of its own, with whoever holds
//! it; its own track says how it is. Each pool is a group with a track for each slot. Violations are a group, too. Arrows
//! lead from causes to effects, and from tasks that wait to the slots that they get. A clock that went back is held: on
//! every track time goes forward.

mod offences;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use purser_events::ledger::grant::HolderId;
use purser_events::ledger::{Ledger, LedgerEvent};
use purser_events::node::NodeEvent;
use purser_events::pod::{Pod, PodEvent};
use purser_events::worker::WorkerEvent;
use purser_events::{Decider, Event, Header, PodUid, Seq, StreamId, StreamKind};
use purser_storage::{PayloadError, StoredRecord};
use serde_json::{Value, json};
use uuid::Uuid;

use super::arrows::Arrows;
use super::{Shown, Sink};
use crate::failure::Failure;
use crate::holdings::{self, Change};
use crate::offences::{Offences, Turn};
use crate::pairs::{Pair, Pending};
use crate::render;
use crate::slots::Slots;

/// Group numbers of GPUs begin here; those before it are of kinds of streams.
const FIRST_GPU: u64 = 100;

/// Where a stream is drawn.
struct Track {
    pid: u64,
    tid: u64,
    /// What it is called.
    name: String,
    /// The slice that goes on.
    open: Option<String>,
}

/// Writes a trace.
pub(crate) struct Perfetto<'a> {
    out: &'a mut dyn Write,
    shown: Shown,
    arrows: Arrows,
    is_first: bool,
    /// The latest time so far, in microseconds since 1970.
    now: i64,
    /// Tracks that are not over.
    tracks: BTreeMap<StreamId, Track>,
    tracks_made: u64,
    /// Groups that have been named.
    groups: Vec<u64>,
    pods: BTreeMap<StreamId, Pod>,
    pending: Pending,
    /// What is drawn as requested and not completed, by its id: where, and what it is.
    requests: BTreeMap<String, (u64, u64, &'static str)>,
    ledger: Ledger,
    /// The group of each GPU.
    gpus: BTreeMap<String, u64>,
    /// Who is drawn as the holder of which GPU, and under which name.
    held: BTreeMap<(u64, HolderId), String>,
    offences: Offences,
    /// Violations that are drawn as open, under which names.
    violations: BTreeMap<Uuid, String>,
    slots: Slots,
    /// The group of each pool.
    pools: BTreeMap<StreamId, u64>,
    /// Tracks of slots that have been named.
    slot_tracks: BTreeSet<(u64, u64)>,
    /// The slice that goes on in each slot, by its track.
    filled: BTreeMap<(u64, u64), String>,
}

impl<'a> Perfetto<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, shown: Shown, arrows: Arrows) -> Result<Perfetto<'a>, Failure> {
        out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[").map_err(Failure::Output)?;
        let (tracks, groups, pods, pending, requests, ledger, gpus, held) = <_>::default();
        let (offences, violations) = <_>::default();
        let (slots, pools, slot_tracks, filled) = <_>::default();
        Ok(Perfetto {
            out,
            shown,
            arrows,
            is_first: true,
            now: i64::MIN,
            tracks,
            tracks_made: 0,
            groups,
            pods,
            pending,
            requests,
            ledger,
            gpus,
            held,
            offences,
            violations,
            slots,
            pools,
            slot_tracks,
            filled,
        })
    }

    fn put(&mut self, event: &Value) -> Result<(), Failure> {
        let before = if self.is_first { "\n" } else { ",\n" };
        self.is_first = false;
        write!(self.out, "{before}{}", render::compact(event)).map_err(Failure::Output)
    }

    fn name_group(&mut self, pid: u64, name: &str) -> Result<(), Failure> {
        self.put(
            &json!({ "ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": { "name": name } }),
        )
    }

    /// The track of a stream; it is made and named when it is first needed.
    fn track(&mut self, header: &Header, event: Option<&Event>) -> Result<(u64, u64), Failure> {
        let stream = header.stream;
        if let Some(track) = self.tracks.get(&stream) {
            return Ok((track.pid, track.tid));
        }
        let (pid, group) = (u64::from(stream.kind as u8), stream.kind.word());
        if !self.groups.contains(&pid) {
            self.groups.push(pid);
            self.name_group(pid, group)?;
        }
        let said = match event {
            Some(Event::Pod(PodEvent::Admitted(admitted))) => {
                let id = &admitted.spec.id;
                Some(format!("{}/{}", self.shown.text(id.namespace()), self.shown.text(id.name())))
            }
            Some(Event::Worker(WorkerEvent::Registered(worker))) => {
                let pod = self.pod_name(worker.pod);
                Some(format!("{} of {pod}", self.shown.text(worker.container.as_str())))
            }
            Some(Event::Pool(_)) => Some(self.pool_name(stream)),
            Some(Event::Gpu(_)) => {
                let name = self.offences.gpu_name(stream);
                name.map(|name| self.shown.text(name))
            }
            _ => None,
        };
        let name = said.unwrap_or_else(|| self.shown.header(header).stream.to_string());
        self.tracks_made += 1;
        let tid = self.tracks_made;
        self.put(&json!({
            "ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": { "name": name.as_str() },
        }))?;
        self.tracks.insert(stream, Track { pid, tid, name, open: None });
        Ok((pid, tid))
    }

    fn pod_name(&self, pod: PodUid) -> String {
        self.tracks.get(&pod.stream()).map_or_else(|| pod.to_string(), |track| track.name.clone())
    }

    /// Ends the slice of a track, and begins the next if there is one.
    fn slice(&mut self, stream: StreamId, next: Option<String>) -> Result<(), Failure> {
        let now = self.now;
        let Some(track) = self.tracks.get_mut(&stream) else { return Ok(()) };
        if track.open == next {
            return Ok(());
        }
        let (pid, tid) = (track.pid, track.tid);
        let was = std::mem::replace(&mut track.open, next.clone());
        if let Some(name) = was {
            self.put(&json!({ "ph": "E", "pid": pid, "tid": tid, "ts": now, "name": name }))?;
        }
        if let Some(name) = next {
            let cat = stream.kind.word();
            self.put(&json!({ "ph": "B", "pid": pid, "tid": tid, "ts": now, "cat": cat, "name": name }))?;
        }
        Ok(())
    }

    /// The slice in which a stream is after a record; none if it is over.
    fn slice_after(&mut self, stored: &StoredRecord, event: Option<&Event>) -> Option<String> {
        let stream = stored.header.stream;
        match event {
            Some(Event::Pod(_)) => {
                let pod = self.pods.get(&stream).unwrap_or(&Pod::Unknown);
                (!pod.is_terminal()).then(|| pod.word().to_owned())
            }
            Some(Event::Worker(WorkerEvent::Registered(worker))) => {
                Some(format!("attempt {}", worker.attempt))
            }
            Some(Event::Worker(WorkerEvent::Exited(_)) | Event::Node(NodeEvent::Stopped(_))) => None,
            Some(Event::Node(NodeEvent::Started(started))) => Some(format!("runs {}", started.version)),
            _ if stream.kind == StreamKind::Pod && render::type_name(stored) == "pod.terminated" => None,
            _ => {
                let open = self.tracks.get(&stream).and_then(|track| track.open.clone());
                Some(open.unwrap_or_else(|| stream.kind.word().to_owned()))
            }
        }
    }

    fn marks(&mut self, stored: &StoredRecord, event: &Result<Event, PayloadError>) -> Result<(), Failure> {
        let header = &stored.header;
        let (pid, tid) = self.track(header, event.as_ref().ok())?;
        let said = match event {
            Ok(event) => self.shown.payload(event),
            Err(error) => render::payload_error(error).into(),
        };
        let kind = render::type_name(stored);
        let shown = self.shown.header(header);
        let args = json!({
            "seq": shown.seq, "stream": shown.stream.to_string(), "time": shown.time,
            "cause": shown.origin.cause.to_string(), "principal": shown.origin.principal,
            "correlation": shown.origin.correlation, "payload": said,
        });
        let ts = self.now;
        self.put(&json!({
            "ph": "i", "s": "t", "pid": pid, "tid": tid, "ts": ts, "cat": "record", "name": kind, "args": args,
        }))?;
        let arrow = |ph, id: String| json!({ "ph": ph, "bp": "e", "pid": pid, "tid": tid, "ts": ts, "cat": "cause", "name": "leads to", "id": id });
        if let Some(id) = self.arrows.to(header) {
            self.put(&arrow("f", id))?;
        }
        for id in self.arrows.from(header.seq) {
            self.put(&arrow("s", id))?;
        }
        if let Some(id) = self.arrows.wait_of(header.seq) {
            self.put(&json!({
                "ph": "s", "bp": "e", "pid": pid, "tid": tid, "ts": ts, "cat": "slot", "name": "gets a slot", "id": id,
            }))?;
        }
        Ok(())
    }

    /// What a record began and ended of what is requested and completed.
    fn pairs(&mut self, stored: &StoredRecord, event: Option<&Event>) -> Result<(), Failure> {
        let (header, kind) = (&stored.header, render::type_name(stored));
        let (pid, tid) = self.track(header, event)?;
        for end in self.pending.note(header, &kind, event) {
            let id = request_id(end.open.seq, end.pair);
            let args = json!({ "by": header.seq, "givenUp": end.is_given_up });
            self.end_request(&id, &args)?;
        }
        for pair in self.pending.begun_by(header, &kind) {
            let id = request_id(header.seq, pair);
            self.put(&json!({
                "ph": "b", "pid": pid, "tid": tid, "ts": self.now, "cat": "request", "name": pair.begins,
                "id": id.as_str(), "args": { "seq": header.seq },
            }))?;
            self.requests.insert(id, (pid, tid, pair.begins));
        }
        Ok(())
    }

    fn end_request(&mut self, id: &str, args: &Value) -> Result<(), Failure> {
        let Some((pid, tid, name)) = self.requests.remove(id) else { return Ok(()) };
        self.put(&json!({
            "ph": "e", "pid": pid, "tid": tid, "ts": self.now, "cat": "request", "name": name, "id": id, "args": args,
        }))
    }

    /// Draws who holds which GPU, and how much of each resource is given out.
    fn holders(&mut self, changes: &[Change], header: &Header) -> Result<(), Failure> {
        for Change { holder, was, is } in changes {
            for grant in was.iter().flat_map(|holding| &holding.grant.gpus) {
                let pid = self.gpu(grant.uuid.as_str())?;
                if let Some(name) = self.held.remove(&(pid, *holder)) {
                    self.hold("e", pid, *holder, &name)?;
                }
            }
            for grant in is.iter().flat_map(|holding| &holding.grant.gpus) {
                let pid = self.gpu(grant.uuid.as_str())?;
                let name = match holder {
                    HolderId::Pod(pod) => self.pod_name(*pod),
                    HolderId::Reservation(_) => holder.to_string(),
                };
                self.hold("b", pid, *holder, &name)?;
                self.held.insert((pid, *holder), name);
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let (pid, _) = self.track(header, None)?;
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for used in self.ledger.used.values() {
            for (kind, amount) in used.iter() {
                let sum = sums.entry(kind.word().to_owned()).or_default();
                *sum = sum.saturating_add(amount);
            }
        }
        for (kind, sum) in sums {
            let (ts, name) = (self.now, format!("{} given out", self.custom(&kind)));
            self.put(&json!({ "ph": "C", "pid": pid, "tid": 0, "ts": ts, "name": name, "args": { "amount": sum } }))?;
        }
        Ok(())
    }

    /// A resource's name: the node's own stay, others are what somebody chose.
    fn custom(&mut self, kind: &str) -> String {
        if kind.contains('/') { self.shown.text(kind) } else { kind.to_owned() }
    }

    fn gpu(&mut self, uuid: &str) -> Result<u64, Failure> {
        if let Some(pid) = self.gpus.get(uuid) {
            return Ok(*pid);
        }
        let pid = FIRST_GPU + self.gpus.len() as u64;
        self.gpus.insert(uuid.to_owned(), pid);
        let name = format!("GPU {}", self.shown.text(uuid));
        self.name_group(pid, &name)?;
        Ok(pid)
    }

    fn hold(&mut self, ph: &str, pid: u64, holder: HolderId, name: &str) -> Result<(), Failure> {
        let (ts, id) = (self.now, format!("{holder} on {pid}"));
        self.put(&json!({ "ph": ph, "pid": pid, "tid": 0, "ts": ts, "cat": "gpu", "name": name, "id": id }))
    }

    /// Folds a record in; gives what it changed of who holds what.
    fn fold(&mut self, stream: StreamId, event: Option<&Event>) -> Vec<Change> {
        match event {
            Some(Event::Pod(event)) => {
                // What does not fit is told by other verbs: what was before stays.
                let _ = self.pods.entry(stream).or_insert(Pod::Unknown).follow(event);
                Vec::new()
            }
            Some(Event::Ledger(event)) => self.fold_ledger(event),
            _ => Vec::new(),
        }
    }

    fn fold_ledger(&mut self, event: &LedgerEvent) -> Vec<Change> {
        holdings::follow(&mut self.ledger, event).unwrap_or_default()
    }
}

/// The id of the slice of something that was requested.
fn request_id(seq: Seq, pair: &Pair) -> String {
    format!("{seq}.{}", pair.begins)
}

impl Sink for Perfetto<'_> {
    fn record(
        &mut self,
        stored: &StoredRecord,
        event: &Result<Event, PayloadError>,
        wanted: bool,
    ) -> Result<(), Failure> {
        let (header, said) = (&stored.header, event.as_ref().ok());
        let stream = header.stream;
        let changes = self.fold(stream, said);
        let turn = said.and_then(|event| self.offences.note(stream, event));
        let slot = said.and_then(|event| self.slots.note(header, event));
        if wanted {
            self.now = self.now.max(header.time.0);
            self.track(header, said)?;
            let after = match &turn {
                Some(Turn::Health { word, .. }) => Some((*word).to_owned()),
                _ => self.slice_after(stored, said),
            };
            // An arrow needs a slice that it begins or ends at.
            let open = self.tracks.get(&stream).and_then(|track| track.open.clone());
            let during = after.clone().or(open).unwrap_or_else(|| stream.kind.word().to_owned());
            self.slice(stream, Some(during))?;
            self.marks(stored, event)?;
            self.pairs(stored, said)?;
            self.holders(&changes, header)?;
            self.offence(turn.as_ref())?;
            self.slot(header, slot)?;
            self.slice(stream, after)?;
        }
        let pod_is_over = self.pods.get(&stream).is_some_and(Pod::is_terminal);
        if pod_is_over || matches!(said, Some(Event::Worker(WorkerEvent::Exited(_)))) {
            self.slice(stream, None)?;
            self.pods.remove(&stream);
            self.tracks.remove(&stream);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let streams: Vec<StreamId> = self.tracks.keys().copied().collect();
        streams.into_iter().try_for_each(|stream| self.slice(stream, None))?;
        for ((pid, holder), name) in std::mem::take(&mut self.held) {
            self.hold("e", pid, holder, &name)?;
        }
        self.end_offences()?;
        self.end_slots()?;
        let open: Vec<String> = self.requests.keys().cloned().collect();
        open.iter().try_for_each(|id| self.end_request(id, &json!({ "open": true })))?;
        writeln!(self.out, "\n]}}").map_err(Failure::Output)
    }
}
