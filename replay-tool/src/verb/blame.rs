//! `blame`: which record last set each field of what an entity is.

use std::collections::BTreeMap;

use purser_events::{Header, Seq, StreamId, StreamKind, Timestamp};
use serde_json::{Value, json};

use crate::cli::{BlameArgs, Output, PodName, Target};
use crate::entity::Entity;
use crate::failure::{Exit, Failure};
use crate::fields::{self, Fields};
use crate::fold::{Folded, Until};
use crate::members::incarnations;
use crate::reading::Reading;
use crate::source::Place;
use crate::{Console, render};

/// The record that set something.
struct Setter {
    seq: Seq,
    time: Timestamp,
    kind: String,
}

/// The fields of an entity, as far as its records were told.
#[derive(Default)]
struct Blame {
    fields: Fields,
    setters: BTreeMap<String, Setter>,
    /// The record after which the entity was there no more.
    gone: Option<Setter>,
}

pub(crate) fn run(
    args: &BlameArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let at = args.at.map(|at| at.seen_from(now));
    let stream = match &args.target {
        Target::Stream(name) => name.0,
        Target::Pod(pod) => stream_of(pod, at, place)?,
    };
    let (mut blame, mut folded) = (Blame::default(), Folded::default());
    let mut reading = Reading::whole(place)?;
    while let Some(stored) = reading.next() {
        if at.is_some_and(|at| at.is_before(&stored.header)) {
            break;
        }
        if stored.header.stream == stream {
            let (header, kind) = (stored.header.clone(), render::type_name(&stored));
            folded.apply(stored, console);
            blame.note(Entity::of_stream(&folded.world, stream), &header, kind);
        } else if (stream.kind, stored.header.stream.kind) == (StreamKind::Ledger, StreamKind::Node) {
            // Whose the ledger is, is known from the node's records alone.
            folded.apply(stored, console);
        }
    }
    reading.holds(at)?;
    let shown: Vec<(&String, &Value, &Setter)> = blame
        .setters
        .iter()
        .filter(|(path, _)| args.field.as_ref().is_none_or(|field| is_within(path, field)))
        .filter_map(|(path, setter)| blame.fields.get(path).map(|value| (path, value, setter)))
        .collect();
    match args.output {
        Output::Text => tell(&shown, blame.gone.as_ref(), stream, console)?,
        Output::Json => {
            let fields: Vec<Value> = shown
                .iter()
                .map(|(path, value, setter)| json!({ "path": path, "value": value, "by": setter.json() }))
                .collect();
            let gone = blame.gone.as_ref().map(Setter::json);
            let value = json!({ "stream": stream.to_string(), "fields": fields, "gone": gone });
            console.line(format_args!("{}", render::pretty(&value)))?;
        }
    }
    let found = if shown.is_empty() { Exit::NothingMatched } else { Exit::Ok };
    reading.end(found.or_worse(folded.exit), console)
}

/// The stream of the incarnation that a name meant at a moment: the last that was admitted by then.
fn stream_of(pod: &PodName, at: Option<Until>, place: &Place) -> Result<StreamId, Failure> {
    let found = incarnations(pod, at, place)?;
    let last = found.last().ok_or_else(|| Failure::NoPod { pod: pod.to_string() })?;
    Ok(last.stream())
}

/// Whether a path is this one or leads on from it.
fn is_within(path: &str, field: &str) -> bool {
    path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl Blame {
    fn note(&mut self, entity: Option<Entity>, header: &Header, kind: String) {
        let setter = || Setter { seq: header.seq, time: header.time, kind: kind.clone() };
        let Some(entity) = entity else {
            // What it was before it went stays.
            if !self.fields.is_empty() {
                self.gone.get_or_insert_with(setter);
            }
            return;
        };
        let fields = fields::of(&entity.state);
        self.setters.retain(|path, _| fields.contains_key(path));
        for (path, value) in &fields {
            if self.fields.get(path) != Some(value) {
                self.setters.insert(path.clone(), setter());
            }
        }
        self.fields = fields;
    }
}

impl Setter {
    fn json(&self) -> Value {
        json!({ "seq": self.seq, "time": self.time, "type": self.kind })
    }
}

fn tell(
    shown: &[(&String, &Value, &Setter)],
    gone: Option<&Setter>,
    stream: StreamId,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if shown.is_empty() {
        console.note(format_args!("no field of {stream} is known there"));
    }
    let width = shown.iter().map(|(_, _, setter)| setter.kind.len()).max().unwrap_or_default();
    let digits = shown.iter().map(|(_, _, setter)| setter.seq.to_string().len()).max().unwrap_or_default();
    for (path, value, setter) in shown {
        let (seq, time, kind) = (setter.seq.0, setter.time, &setter.kind);
        console
            .line(format_args!("{seq:>digits$} {time} {kind:width$}  {path} = {}", render::compact(value)))?;
    }
    if let Some(Setter { seq, time, kind }) = gone {
        console.note(format_args!(
            "it is gone since record {seq} of {time} ({kind}); this is what it was before"
        ));
    }
    Ok(())
}
