//! `streams`: every stream of a journal, from when to when, and how far it came.

use std::collections::BTreeMap;

use purser_events::gpu::GpuEvent;
use purser_events::pod::PodEvent;
use purser_events::pool::PoolEvent;
use purser_events::{Event, Seq, StreamId, Timestamp};
use purser_storage::StoredRecord;
use serde_json::{Value, json};

use crate::cli::{Output, StreamOrder, StreamsArgs};
use crate::failure::{Exit, Failure};
use crate::reading::Reading;
use crate::source::Place;
use crate::{Console, render};

/// What is known of one stream.
struct Standing {
    /// What a pod, a pool or a GPU is called.
    name: Option<String>,
    first: (Seq, Timestamp),
    last: (Seq, Timestamp),
    /// Its version after the last record.
    version: u64,
    bytes: u64,
    last_type: u16,
}

pub(crate) fn run(args: &StreamsArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut reading = Reading::from(place, Seq(1))?;
    let mut streams: BTreeMap<StreamId, Standing> = BTreeMap::new();
    while let Some(stored) = reading.next() {
        let event = reading.event(&stored);
        note(&mut streams, &stored, event.as_ref());
    }
    let mut shown: Vec<(&StreamId, &Standing)> = streams
        .iter()
        .filter(|(stream, _)| args.kind.as_ref().is_none_or(|kind| kind == stream.kind.word()))
        .filter(|(_, standing)| !(args.open && standing.is_over()))
        .collect();
    match args.sort {
        StreamOrder::Name => {}
        StreamOrder::Age => shown.sort_by_key(|(_, standing)| standing.first.0),
        StreamOrder::Size => shown.sort_by_key(|(_, standing)| std::cmp::Reverse(standing.bytes)),
    }
    match args.output {
        Output::Text => {
            for (stream, standing) in &shown {
                console.line(format_args!("{}", standing.line(**stream)))?;
            }
        }
        Output::Json => {
            let values: Vec<Value> = shown.iter().map(|(stream, standing)| standing.json(**stream)).collect();
            console.line(format_args!("{}", render::pretty(&Value::Array(values))))?;
        }
    }
    let exit = if shown.is_empty() { Exit::NothingMatched } else { Exit::Ok };
    reading.end(exit, console)
}

fn note(streams: &mut BTreeMap<StreamId, Standing>, stored: &StoredRecord, event: Option<&Event>) {
    let header = &stored.header;
    let last = (header.seq, header.time);
    let standing = streams.entry(header.stream).or_insert(Standing {
        name: None,
        first: last,
        last,
        version: 0,
        bytes: 0,
        last_type: 0,
    });
    match event {
        Some(Event::Pod(PodEvent::Admitted(it))) => standing.name = Some(it.spec.id.to_string()),
        Some(Event::Pool(PoolEvent::SpecSet(it))) => standing.name = Some(it.name.to_string()),
        Some(Event::Gpu(GpuEvent::Found(it))) => standing.name = Some(render::safe(it.facts.uuid.as_str())),
        Some(_) | None => {}
    }
    standing.last = last;
    standing.version = header.version.0;
    standing.bytes += stored.as_bytes().len() as u64;
    standing.last_type = stored.layout_number;
}

impl Standing {
    /// Whether what it tells of is over. Of a pool that is made again, or a GPU that comes back, it goes on.
    fn is_over(&self) -> bool {
        let last = render::layout_name(self.last_type);
        matches!(last.as_str(), "pod.terminated" | "worker.exited" | "pool.removed" | "gpu.forgotten")
    }

    fn line(&self, stream: StreamId) -> String {
        let name = self.name.as_ref().map_or(String::new(), |name| format!(" {name}"));
        let over = if self.is_over() { "over" } else { "open" };
        let Standing { first, last, version, bytes, .. } = self;
        format!(
            "{stream}{name}: version {version}, {bytes} bytes, records {} to {}, {} to {}, {over}, last {}",
            first.0,
            last.0,
            first.1,
            last.1,
            render::layout_name(self.last_type)
        )
    }

    fn json(&self, stream: StreamId) -> Value {
        json!({
            "stream": stream.to_string(),
            "kind": stream.kind.word(),
            "name": self.name,
            "version": self.version,
            "bytes": self.bytes,
            "first": { "seq": self.first.0, "time": self.first.1 },
            "last": { "seq": self.last.0, "time": self.last.1, "type": render::layout_name(self.last_type) },
            "over": self.is_over(),
        })
    }
}
