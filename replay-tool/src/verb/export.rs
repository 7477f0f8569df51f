//! `export`: a file that can be read anywhere, checked while it is written.

use std::io::Write;
use std::path::Path;

use clap::ValueEnum;
use purser_events::{Seq, Timestamp};
use purser_storage::export::Writer;
use purser_storage::offline::Item;
use purser_storage::{Head, StoredRecord};
use serde_json::json;

use crate::cli::{ExportArgs, ExportFormat, Output};
use crate::export::arrows::Arrows;
use crate::export::csv::Csv;
use crate::export::jsonl::Jsonl;
use crate::export::otlp::Otlp;
use crate::export::parquet::Parquet;
use crate::export::perfetto::Perfetto;
use crate::export::{Shown, Sink};
use crate::failure::{Exit, Failure};
use crate::filter::Filter;
use crate::out_file::write_new;
use crate::reading::Reading;
use crate::source::Place;
use crate::{Console, render};

pub(crate) fn run(
    args: &ExportArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let not_with = |option, format| Err(Failure::NotWith { option, format });
    if args.format == ExportFormat::Journal {
        if args.redact {
            return not_with("--redact", "journal: its hashes are of what was recorded");
        }
        if !args.filter.is_empty() {
            return not_with("a filter", "journal: it has no gaps; see also `purser-replay blackbox`");
        }
    } else if args.from != 1 {
        return not_with("--from", "other than journal: use --seq FROM..");
    }
    if args.format != ExportFormat::Csv && !args.fields.is_empty() {
        return not_with("--fields", "other than csv");
    }
    if args.output == Output::Json && args.to == Path::new("-") {
        return Err(Failure::SaidInBetween);
    }
    if args.format == ExportFormat::Journal {
        let (head, count) = write_new(&args.to, console, |out| copy(args, place, out))?;
        let hash = render::hex(&head.hash);
        match args.output {
            Output::Text => console
                .note(format_args!("{count} records exported, the last is {} with hash {hash}", head.seq)),
            Output::Json => tell(args, count, Some((head.seq, hash)), console)?,
        }
        return Ok(Exit::Ok);
    }
    let mut reading = Reading::from(place, Seq(1))?;
    let count = write_new(&args.to, console, |out| {
        let mut sink = sink(args, place, now, out)?;
        pour(args, place, now, &mut reading, &mut *sink)
    })?;
    match args.output {
        Output::Text => console.note(format_args!("{count} records exported")),
        Output::Json => tell(args, count, None, console)?,
    }
    let found = if count == 0 { Exit::NothingMatched } else { Exit::Ok };
    reading.end(found, console)
}

/// Says for programs what was written; a format that keeps records as they are has a last one, with its hash.
fn tell(
    args: &ExportArgs,
    count: u64,
    last: Option<(Seq, String)>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (last, hash) = last.unzip();
    let format = args.format.to_possible_value().map(|value| value.get_name().to_owned());
    let told = json!({ "file": args.to, "format": format, "records": count, "last": last, "hash": hash });
    console.line(format_args!("{}", render::pretty(&told)))
}

/// What makes the format that is asked for.
fn sink<'a>(
    args: &'a ExportArgs,
    place: &Place,
    now: Timestamp,
    out: &'a mut dyn Write,
) -> Result<Box<dyn Sink + 'a>, Failure> {
    let shown = Shown::new(args.redact);
    Ok(match args.format {
        ExportFormat::Journal | ExportFormat::Jsonl => Box::new(Jsonl::new(out, shown)),
        ExportFormat::Csv => Box::new(Csv::new(out, shown, &args.fields)?),
        ExportFormat::Perfetto => {
            let arrows = Arrows::read(&args.filter, place, now)?;
            Box::new(Perfetto::new(out, shown, arrows)?)
        }
        ExportFormat::Otlp => Box::new(Otlp::new(out, shown)),
        ExportFormat::Parquet => Box::new(Parquet::new(out, shown)?),
    })
}

/// Gives every record to the sink, and says how many were meant. What is before a damage is written, and the damage is
/// told at the end.
fn pour(
    args: &ExportArgs,
    place: &Place,
    now: Timestamp,
    reading: &mut Reading,
    sink: &mut dyn Sink,
) -> Result<u64, Failure> {
    let mut filter = Filter::new(&args.filter, place, now)?;
    let mut count = 0;
    while let Some(stored) = reading.next() {
        let event = stored.event();
        let wanted = filter.wants(&stored, &event);
        if filter.is_past(stored.header.seq) {
            break;
        }
        if wanted {
            reading.note(&stored, &event);
            count += 1;
        }
        sink.record(&stored, &event, wanted)?;
    }
    sink.end()?;
    Ok(count)
}

/// Copies the records that are asked for; gives the last and how many there were.
fn copy(args: &ExportArgs, place: &Place, out: &mut dyn Write) -> Result<(Head, u64), Failure> {
    let from = Seq(args.from.max(1));
    let mut source = place.open(from)?;
    let mut before = source.before();
    let start = before.seq;
    let mut first: Option<StoredRecord> = None;
    for stored in source.by_ref() {
        let stored = stored?;
        if stored.header.seq >= from {
            first = Some(stored);
            break;
        }
        before = Head { seq: stored.header.seq, hash: stored.hash };
    }
    let Some(first) = first else {
        return Err(Failure::NoRecord { first: start.next(), last: source.head().seq, asked: from });
    };
    let begin = if source.is_excerpt() { Writer::excerpt } else { Writer::new };
    let mut writer = begin(out, before)?;
    writer.write(&first)?;
    let mut count = 1;
    while let Some(item) = source.next_item() {
        match item? {
            Item::Record(record) => {
                writer.write(&record)?;
                count += 1;
            }
            Item::Evidence(evidence) => writer.write_evidence(&evidence)?,
        }
    }
    writer.finish()?;
    Ok((source.head(), count))
}
