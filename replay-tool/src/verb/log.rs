//! `log`: the records that match, in order.

use std::collections::VecDeque;

use purser_events::{Event, Seq, Timestamp};
use purser_storage::{Head, PayloadError, StoredRecord};
use serde_json::Value;

use crate::cli::{LogArgs, LogOutput};
use crate::cursor::{self, Cursor};
use crate::expr::RecordField;
use crate::failure::{Exit, Failure};
use crate::filter::Filter;
use crate::graph::Graph;
use crate::reading::Reading;
use crate::source::Place;
use crate::{Console, render};

pub(crate) fn run(
    args: &LogArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let mut graph = if args.graph { Some(plan(args, place, now)?) } else { None };
    let mut matches = Matches::new(args, place, now)?;
    let mut listing = Listing::of(args)?;
    let mut held: VecDeque<StoredRecord> = VecDeque::new();
    let holds = graph.is_none() && (args.reverse || args.lines.is_some());
    let lines_max = args.lines.unwrap_or(usize::MAX);
    while let Some((stored, event)) = matches.next()? {
        if let Some(graph) = &mut graph {
            let Some(lanes) = graph.lanes(&stored.header) else { continue };
            console.line(format_args!("{lanes}{}", render::brief(&stored)))?;
            listing.count(&event);
        } else if !holds {
            listing.show(None, &stored, &event, console)?;
        } else if lines_max > 0 {
            if held.len() == lines_max {
                held.pop_front();
            }
            held.push_back(stored);
        }
    }
    if args.reverse {
        held.make_contiguous().reverse();
    }
    for stored in held {
        listing.show(None, &stored, &stored.event(), console)?;
    }
    listing.end(console)?;
    matches.keep(args, console)?;
    let found = matches.tell(args, listing.exit(), console);
    matches.reading.end(found, console)
}

/// Looks through what will be shown, so that the graph knows which of it led to something.
fn plan(args: &LogArgs, place: &Place, now: Timestamp) -> Result<Graph, Failure> {
    place.again()?;
    let mut matches = Matches::new(args, place, now)?;
    let mut graph = Graph::new(args.lines.unwrap_or(usize::MAX));
    while let Some((stored, _)) = matches.next()? {
        graph.plan(&stored.header);
    }
    Ok(graph)
}

/// A record that matches, and what it says.
type Match = (StoredRecord, Result<Event, PayloadError>);

/// The records that match, one after the other.
struct Matches<'a> {
    filter: Filter<'a>,
    after: Option<Cursor>,
    reading: Reading,
    /// The last record that was looked at.
    last: Option<Head>,
}

impl<'a> Matches<'a> {
    fn new(args: &'a LogArgs, place: &Place, now: Timestamp) -> Result<Matches<'a>, Failure> {
        let filter = Filter::new(&args.filter, place, now)?;
        let after = match &args.cursor_file {
            Some(path) => cursor::read(path)?,
            None => args.after_cursor.clone(),
        };
        let from = filter.from();
        // The record of the cursor is read too: it must be the one that is meant.
        let from =
            if from == Seq(1) { from } else { after.as_ref().map_or(from, |cursor| cursor.seq.min(from)) };
        Ok(Matches { filter, after, reading: Reading::from(place, from)?, last: None })
    }

    fn next(&mut self) -> Result<Option<Match>, Failure> {
        while let Some(stored) = self.reading.next() {
            let seq = stored.header.seq;
            let event = stored.event();
            let wanted = self.filter.wants(&stored, &event);
            if self.filter.is_past(seq) {
                return Ok(None);
            }
            self.last = Some(Head { seq, hash: stored.hash });
            match &self.after {
                Some(cursor) if cursor.seq == seq && !cursor.is_of(&stored) => {
                    return Err(Failure::OtherJournal { seq });
                }
                Some(cursor) if seq <= cursor.seq => {}
                Some(_) | None if wanted => return Ok(Some((stored, event))),
                Some(_) | None => {}
            }
        }
        self.reading.reached(self.after.as_ref().map(|cursor| cursor.seq))?;
        Ok(None)
    }

    /// Notes up to which record was read, once all that was to be shown is out.
    fn keep(&self, args: &LogArgs, console: &mut Console<'_>) -> Result<(), Failure> {
        let (Some(path), Some(last)) = (&args.cursor_file, &self.last) else { return Ok(()) };
        console.out.flush().map_err(Failure::Output)?;
        // What was shown once is not shown again: a look at earlier records does not take the place back.
        match &self.after {
            Some(cursor) if last.seq <= cursor.seq => Ok(()),
            Some(_) | None => cursor::write(&Cursor::of(last.seq, &last.hash), path),
        }
    }

    /// Says what must be known beside what was shown, and how the verb ends then.
    fn tell(&self, args: &LogArgs, found: Exit, console: &mut Console<'_>) -> Exit {
        if let (true, Some(pod)) = (self.reading.is_sound(), self.filter.unknown_pod()) {
            let before =
                args.filter.seq.map_or(String::new(), |range| format!(" up to record {}", range.last));
            console.note(format_args!("purser-replay: there is no pod `{pod}` in the journal{before}"));
        }
        match (args.show_cursor, &self.last) {
            (true, Some(last)) => {
                console.note(format_args!("cursor {}", Cursor::of(last.seq, &last.hash)));
            }
            (true, None) => console.note(format_args!("cursor none: no record was read")),
            (false, _) => {}
        }
        let unmet = if self.reading.is_sound() { self.filter.unmet_fields() } else { Vec::new() };
        for field in &unmet {
            console.note(format_args!(
                "purser-replay: no record that --where was asked about has the field `{field}`"
            ));
        }
        if unmet.is_empty() { found } else { found.or_worse(Exit::NothingMatched) }
    }
}

/// Records as they are shown.
pub(crate) struct Listing {
    output: LogOutput,
    /// What is shown of each; all of it if empty.
    fields: Vec<RecordField>,
    shown: u64,
    worst: Exit,
}

impl Listing {
    /// Nothing yet.
    pub(crate) fn new(output: LogOutput) -> Listing {
        Listing { output, fields: Vec::new(), shown: 0, worst: Exit::Ok }
    }

    /// As `log` is asked to show records.
    pub(crate) fn of(args: &LogArgs) -> Result<Listing, Failure> {
        let output = args.shown();
        let is_text = matches!(output, LogOutput::Text | LogOutput::Oneline);
        if is_text && !args.output_fields.is_empty() {
            return Err(Failure::NotWith {
                option: "--output-fields",
                format: "text: give -o json or jsonl",
            });
        }
        Ok(Listing { fields: args.output_fields.clone(), ..Listing::new(output) })
    }

    /// A record for programs.
    fn json(&self, stored: &StoredRecord, event: &Result<Event, PayloadError>) -> Value {
        if self.fields.is_empty() {
            return render::record_json(stored, event);
        }
        let kind = render::type_name(stored);
        let payload = event.as_ref().map(Event::payload_json).unwrap_or_default();
        let value =
            |field: &RecordField| (field.text().to_owned(), field.value(&stored.header, &kind, &payload));
        Value::Object(self.fields.iter().map(value).collect())
    }

    fn count(&mut self, event: &Result<Event, PayloadError>) {
        if let Err(error) = event {
            self.worst = self.worst.or_worse(Exit::of_payload(error));
        }
        self.shown += 1;
    }

    /// Shows a record, of a node if there are several.
    pub(crate) fn show(
        &mut self,
        node: Option<&str>,
        stored: &StoredRecord,
        event: &Result<Event, PayloadError>,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        self.count(event);
        let first = self.shown == 1;
        let whose = node.map_or_else(String::new, |node| format!("{node} "));
        let json = || {
            let mut value = self.json(stored, event);
            if let Some(node) = node {
                value["node"] = node.into();
            }
            render::compact(&value)
        };
        match self.output {
            LogOutput::Text if first => write!(console.out, "{whose}{}", render::text(stored, event)),
            LogOutput::Text => write!(console.out, "\n{whose}{}", render::text(stored, event)),
            LogOutput::Oneline => writeln!(console.out, "{whose}{}", render::oneline(stored, event)),
            LogOutput::Json => {
                write!(console.out, "{}{}", if first { "[\n" } else { ",\n" }, json())
            }
            LogOutput::Jsonl => writeln!(console.out, "{}", json()),
        }
        .map_err(Failure::Output)
    }

    pub(crate) fn end(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        match (self.output, self.shown) {
            (LogOutput::Json, 0) => console.line(format_args!("[]")),
            (LogOutput::Json, _) => console.line(format_args!("\n]")),
            (LogOutput::Text | LogOutput::Oneline | LogOutput::Jsonl, _) => Ok(()),
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        if self.shown == 0 { Exit::NothingMatched } else { self.worst }
    }
}
