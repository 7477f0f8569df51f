//! `trace`: all that one request set off, as a tree, with how long it took.

use std::collections::BTreeMap;

use purser_events::{Header, Seq, Timestamp};
use serde_json::{Value, json};

use crate::cli::TraceArgs;
use crate::failure::{Exit, Failure};
use crate::graph::cause_of;
use crate::pairs::{Pair, Pending};
use crate::reading::Reading;
use crate::rows::Rows;
use crate::source::Place;
use crate::spans::{seconds, signed_seconds};
use crate::{Console, render};

/// One record of the request.
struct Part {
    header: Header,
    kind: String,
    /// What it ended, and how long that took.
    ended: Vec<(Seq, u64)>,
    effects: Vec<Seq>,
}

pub(crate) fn run(args: &TraceArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let (mut parts, mut roots): (BTreeMap<Seq, Part>, Vec<Seq>) = <_>::default();
    let mut pending = Pending::default();
    let mut reading = Reading::from(place, Seq(1))?;
    while let Some(stored) = reading.next() {
        if stored.header.origin.correlation != args.correlation {
            continue;
        }
        let (header, kind) = (stored.header.clone(), render::type_name(&stored));
        let event = reading.event(&stored);
        let ended = pending.note(&header, &kind, event.as_ref());
        let ended = ended.iter().map(|end| (end.open.seq, end.open.us_until(header.time))).collect();
        match cause_of(header.origin.cause).and_then(|cause| parts.get_mut(&cause)) {
            Some(part) => part.effects.push(header.seq),
            None => roots.push(header.seq),
        }
        parts.insert(header.seq, Part { header, kind, ended, effects: Vec::new() });
    }
    let begun = parts.values().next().map_or(Timestamp(0), |part| part.header.time);
    let open: BTreeMap<Seq, &'static Pair> =
        pending.all().into_iter().map(|(_, pair, open)| (open.seq, pair)).collect();
    let mut rows = Rows::new(args.output);
    // Those that are still to be shown, the next one last, each with how deep it is.
    let mut stack: Vec<(Seq, usize)> = roots.iter().rev().map(|root| (*root, 0)).collect();
    while let Some((seq, depth)) = stack.pop() {
        let Some(part) = parts.get(&seq) else { continue };
        if args.depth.is_none_or(|most| depth < most) {
            stack.extend(part.effects.iter().rev().map(|effect| (*effect, depth + 1)));
        }
        let is_open = open.get(&seq).is_some_and(|pair| pair.is_intent);
        rows.show(&part.line(depth, begun, is_open), &part.json(depth, begun, is_open), console)?;
    }
    rows.end(console)?;
    let found = if rows.is_empty() { Exit::NothingMatched } else { Exit::Ok };
    if rows.is_empty() && reading.is_sound() {
        console.note(format_args!("purser-replay: no record has correlation {}", args.correlation));
    }
    reading.end(found, console)
}

impl Part {
    fn line(&self, depth: usize, begun: Timestamp, is_open: bool) -> String {
        let Header { seq, time, stream, version, .. } = &self.header;
        let took: String =
            self.ended.iter().map(|(seq, us)| format!(", {} after record {seq}", seconds(*us))).collect();
        let open = if is_open { ", not completed" } else { "" };
        let offset = signed_seconds(time.0.saturating_sub(begun.0));
        format!(
            "{offset:>12}  {:indent$}{seq} {} {stream}@{version}{took}{open}",
            "",
            self.kind,
            indent = 2 * depth.min(40)
        )
    }

    fn json(&self, depth: usize, begun: Timestamp, is_open: bool) -> Value {
        let Header { seq, time, stream, origin, .. } = &self.header;
        json!({
            "seq": seq, "time": time, "offsetUs": time.0.saturating_sub(begun.0), "depth": depth, "type": self.kind,
            "stream": stream.to_string(), "cause": origin.cause, "open": is_open,
            "ended": self.ended.iter().map(|(seq, us)| json!({ "seq": seq, "us": us })).collect::<Vec<_>>(),
        })
    }
}
