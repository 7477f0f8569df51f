//! Spans in the JSON form of OTLP, one trace a request: each line is an `ExportTraceServiceRequest`.
//!
//! Every record is a span of no length, but one that requested something, which lasts until that was completed, failed
//! or given up. A span's id is its record's number; its parent is its cause, if that is of the same request.

use std::collections::BTreeMap;
use std::io::Write;

use purser_events::gpu::GpuEvent;
use purser_events::pod::PodEvent;
use purser_events::pool::{PoolEvent, TaskResult};
use purser_events::{Event, Seq, Timestamp};
use purser_storage::{PayloadError, StoredRecord};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Shown, Sink};
use crate::failure::Failure;
use crate::graph::cause_of;
use crate::pairs::{Ended, Pending};
use crate::render;

/// Most spans in a line.
const BATCH_LEN: usize = 512;

/// Records by which the room for requests grows.
const GROWTH_LEN: usize = 1 << 20;

/// OTLP's kind of a span that is neither of a server nor of a client.
const SPAN_KIND_INTERNAL: u8 = 1;

/// OTLP's status of a span that ended as it was meant to.
const STATUS_OK: u8 = 1;

/// OTLP's status of a span that failed.
const STATUS_ERROR: u8 = 2;

/// A span that has not ended.
struct Begun {
    /// Spans of one record end together, with the last of what it requested.
    waits_for: usize,
    span: Value,
}

/// Writes batches of spans.
pub(crate) struct Otlp<'a> {
    out: &'a mut dyn Write,
    shown: Shown,
    pending: Pending,
    begun: BTreeMap<Seq, Begun>,
    batch: Vec<Value>,
    /// Position of the first record of `requests`.
    first: Option<Seq>,
    /// Of each record by which request it is known again: eight bytes a record, 0 of those that are not meant.
    requests: Vec<u64>,
    now: Timestamp,
}

impl<'a> Otlp<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, shown: Shown) -> Otlp<'a> {
        let (pending, begun, batch, first, requests, now) = <_>::default();
        Otlp { out, shown, pending, begun, batch, first, requests, now }
    }

    fn put(&mut self, span: Value) -> Result<(), Failure> {
        self.batch.push(span);
        if self.batch.len() >= BATCH_LEN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let spans = std::mem::take(&mut self.batch);
        let line = json!({ "resourceSpans": [{
            "resource": { "attributes": [text_attribute("service.name", "purser")] },
            "scopeSpans": [{
                "scope": { "name": "purser.journal", "version": env!("CARGO_PKG_VERSION") },
                "spans": spans,
            }],
        }] });
        writeln!(self.out, "{}", render::compact(&line)).map_err(Failure::Output)
    }

    /// The record that led to this one, if it is of the same request and is written.
    fn parent(&mut self, stored: &StoredRecord, wanted: bool) -> Option<Seq> {
        let header = &stored.header;
        let first = *self.first.get_or_insert(header.seq);
        let (high, low) = header.origin.correlation.as_u64_pair();
        let known_by = (high ^ low) | 1;
        let place = |seq: Seq| usize::try_from(seq.0.checked_sub(first.0)?).ok();
        if let Some(at) = place(header.seq) {
            if self.requests.len() == self.requests.capacity() {
                // Not twice as many each time: of a long journal that would be much more than there is.
                self.requests.reserve_exact(GROWTH_LEN);
            }
            self.requests.resize(at, 0);
            self.requests.push(if wanted { known_by } else { 0 });
        }
        let cause = cause_of(header.origin.cause).filter(|cause| *cause < header.seq)?;
        let of_cause = self.requests.get(place(cause)?)?;
        (*of_cause == known_by).then_some(cause)
    }

    fn span(
        &mut self,
        stored: &StoredRecord,
        event: &Result<Event, PayloadError>,
        parent: Option<Seq>,
    ) -> Value {
        let said = match event {
            Ok(event) => self.shown.payload(event).to_string(),
            Err(error) => render::payload_error(error),
        };
        let header = &self.shown.header(&stored.header);
        let attributes = [
            ("purser.stream", header.stream.to_string()),
            ("purser.principal", header.origin.principal.to_string()),
            ("purser.cause", header.origin.cause.to_string()),
            ("purser.payload", said),
        ];
        let mut attributes: Vec<Value> =
            attributes.iter().map(|(key, value)| text_attribute(key, value)).collect();
        attributes.push(json!({ "key": "purser.seq", "value": { "intValue": header.seq.to_string() } }));
        json!({
            "traceId": trace_id(header.origin.correlation).simple().to_string(),
            "spanId": span_id(header.seq),
            "parentSpanId": parent.map(span_id).unwrap_or_default(),
            "name": render::type_name(stored),
            "kind": SPAN_KIND_INTERNAL,
            "startTimeUnixNano": nanos(header.time),
            "endTimeUnixNano": nanos(header.time),
            "attributes": attributes,
            "status": {},
        })
    }

    /// Ends the span that something was requested with, unless it waits for more.
    fn end_span(
        &mut self,
        end: &Ended,
        kind: &str,
        event: Option<&Event>,
        time: Timestamp,
    ) -> Result<(), Failure> {
        let Some(begun) = self.begun.get_mut(&end.open.seq) else { return Ok(()) };
        begun.waits_for -= 1;
        let time = nanos(time.max(end.open.time));
        begun.span["endTimeUnixNano"] = time.into();
        let failed = end.is_given_up || kind.ends_with("failed") || event.is_some_and(tells_of_failure);
        begun.span["status"] = if failed {
            json!({ "code": STATUS_ERROR, "message": kind })
        } else {
            json!({ "code": STATUS_OK })
        };
        if begun.waits_for > 0 {
            return Ok(());
        }
        let begun = self.begun.remove(&end.open.seq);
        begun.map_or(Ok(()), |begun| self.put(begun.span))
    }
}

impl Sink for Otlp<'_> {
    fn record(
        &mut self,
        stored: &StoredRecord,
        event: &Result<Event, PayloadError>,
        wanted: bool,
    ) -> Result<(), Failure> {
        let header = &stored.header;
        let parent = self.parent(stored, wanted);
        if !wanted {
            return Ok(());
        }
        self.now = self.now.max(header.time);
        let kind = render::type_name(stored);
        for end in self.pending.note(header, &kind, event.as_ref().ok()) {
            self.end_span(&end, &kind, event.as_ref().ok(), header.time)?;
        }
        let span = self.span(stored, event, parent);
        match self.pending.begun_by(header, &kind).len() {
            0 => self.put(span),
            waits_for => {
                self.begun.insert(header.seq, Begun { waits_for, span });
                Ok(())
            }
        }
    }

    fn end(&mut self) -> Result<(), Failure> {
        for (_, mut begun) in std::mem::take(&mut self.begun) {
            // It lasts until the end of what is known.
            begun.span["endTimeUnixNano"] = nanos(self.now).into();
            if let Some(attributes) = begun.span["attributes"].as_array_mut() {
                attributes.push(json!({ "key": "purser.open", "value": { "boolValue": true } }));
            }
            self.put(begun.span)?;
        }
        self.flush()
    }
}

/// Whether what ended did not end as it was meant to, which the type does not say.
fn tells_of_failure(event: &Event) -> bool {
    use purser_events::violation::{ViolationEvent, event::Outcome};
    match event {
        Event::Pool(PoolEvent::TaskEnded(it)) => it.result == TaskResult::Failed,
        Event::Gpu(GpuEvent::Violation(ViolationEvent::EnforcementEnded(it)))
        | Event::Pod(PodEvent::Violation(ViolationEvent::EnforcementEnded(it))) => {
            it.outcome == Outcome::Failed
        }
        _ => false,
    }
}

fn text_attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// A trace's id: that of the request, for which the nil uuid must not stand.
fn trace_id(correlation: Uuid) -> Uuid {
    if correlation.is_nil() { Uuid::max() } else { correlation }
}

fn span_id(seq: Seq) -> String {
    format!("{:016x}", seq.0)
}

/// Nanoseconds since 1970, as text; 0 for what is before.
fn nanos(time: Timestamp) -> String {
    (i128::from(time.0.max(0)) * 1_000).to_string()
}
