//! `report`: one page for people who ask what happened.

use std::path::Path;

use purser_events::{Seq, Timestamp};
use serde_json::json;

use crate::cli::{Output, ReportArgs};
use crate::failure::{Exit, Failure};
use crate::out_file::write_new;
use crate::reading::Reading;
use crate::report::{Range, Report, page};
use crate::source::Place;
use crate::{Console, render};

pub(crate) fn run(args: &ReportArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    if args.output == Output::Json && args.to == Path::new("-") {
        return Err(Failure::SaidInBetween);
    }
    place.again()?;
    // The time that the charts are of comes first.
    let mut reading = Reading::from(place, Seq(1))?;
    let mut range: Option<Range> = None;
    while let Some(stored) = reading.next() {
        let time = stored.header.time;
        let known = range.get_or_insert(Range { first: time, last: time });
        known.last = known.last.max(time);
    }
    let range = range.unwrap_or(Range { first: Timestamp(0), last: Timestamp(0) });
    let mut reading = Reading::whole(place)?;
    let mut report = Report::new(range);
    while let Some(stored) = reading.next() {
        report.note(stored, console);
    }
    let hash = render::hex(&reading.head().hash);
    let (exit, failure) = (report.folded.exit, reading.into_failure().map(Failure::from));
    let reason = failure.as_ref().map(Failure::told);
    let verdict = reason.as_deref().map_or(Ok(()), Err);
    let text = page::page(&report, &place.words(), verdict, &hash);
    write_new(&args.to, console, |out| out.write_all(text.as_bytes()).map_err(Failure::Output))?;
    if args.output == Output::Json {
        let told = json!({
            "file": args.to, "records": report.records, "last": report.folded.world.head, "hash": hash,
            "damage": reason, "answers": page::answered(&report),
        });
        console.line(format_args!("{}", render::pretty(&told)))?;
    }
    // What is sound was shown; that it is not all must be told.
    failure.map_or(Ok(exit), Err)
}
