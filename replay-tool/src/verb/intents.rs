//! `intents`: what was requested and not completed at a moment.

use purser_events::{Seq, Timestamp};
use serde_json::json;

use crate::cli::IntentsArgs;
use crate::failure::{Exit, Failure};
use crate::fold::Until;
use crate::pairs::Pending;
use crate::reading::Reading;
use crate::rows::Rows;
use crate::source::Place;
use crate::spans::seconds;
use crate::{Console, render};

pub(crate) fn run(
    args: &IntentsArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let at = args.at.map(|at| at.seen_from(now));
    let (mut pending, mut last) = (Pending::default(), None);
    let mut reading = Reading::from(place, Seq(1))?;
    while let Some(stored) = reading.next() {
        if at.is_some_and(|at| at.is_before(&stored.header)) {
            break;
        }
        let event = reading.event(&stored);
        pending.note(&stored.header, &render::type_name(&stored), event.as_ref());
        last = Some(stored.header.time);
    }
    reading.holds(at)?;
    // A node that hangs records nothing: how long something is open is told as of the moment that was asked for.
    let asked = match at {
        Some(Until::Time(at)) => Some(at),
        Some(Until::Seq(_)) => None,
        None => place.is_live().then_some(now),
    };
    let seen_at = asked.max(last);
    let mut rows = Rows::new(args.output);
    let older_than_us = args.older_than.map_or(0, |span| span.0);
    for (stream, pair, open) in pending.all() {
        let us = seen_at.map_or(0, |moment| open.us_until(moment));
        if !(pair.is_intent || args.all) || us < older_than_us {
            continue;
        }
        let of = if open.of.is_empty() { String::new() } else { format!(" ({})", open.of) };
        let line = format!(
            "{} {} {}{of} {stream}, open for {}, waits for {}",
            open.seq,
            open.time,
            pair.begins,
            seconds(us),
            pair.ends.join(" or ")
        );
        let row = json!({
            "seq": open.seq, "time": open.time, "type": pair.begins, "of": open.of, "stream": stream.to_string(),
            "openUs": us, "waitsFor": pair.ends, "intent": pair.is_intent,
        });
        rows.show(&line, &row, console)?;
    }
    rows.end(console)?;
    let found = if rows.is_empty() { Exit::NothingMatched } else { Exit::Ok };
    reading.end(found, console)
}
