//! `log`: the records that match, in order.

use std::collections::VecDeque;

use purser_events::Event;
use purser_storage::{PayloadError, StoredRecord};

use crate::cli::{LogArgs, LogOutput};
use crate::failure::{Exit, Failure};
use crate::filter::Filter;
use crate::source::Place;
use crate::{Console, render};

pub(crate) fn run(args: &LogArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut filter = Filter::new(args);
    let mut listing = Listing { output: args.output, shown: 0, worst: Exit::Ok };
    let mut held: VecDeque<StoredRecord> = VecDeque::new();
    let holds = args.reverse || args.lines.is_some();
    let lines_max = args.lines.unwrap_or(usize::MAX);
    let mut failure = None;
    for stored in place.open(filter.from())? {
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        if filter.is_past(stored.header.seq) {
            break;
        }
        let event = stored.event();
        if !filter.wants(&stored, &render::type_name(&stored), event.as_ref().ok()) {
            continue;
        }
        if !holds {
            listing.show(&stored, &event, console)?;
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
        listing.show(&stored, &stored.event(), console)?;
    }
    listing.end(console)?;
    if let (None, Some(pod)) = (&failure, filter.unknown_pod()) {
        let before = args.seq.map_or(String::new(), |range| format!(" up to record {}", range.last));
        console.note(format_args!("purser-replay: there is no pod `{pod}` in the journal{before}"));
    }
    // What is sound was shown; that it is not all must be told.
    failure.map_or(Ok(listing.exit()), |error| Err(error.into()))
}

struct Listing {
    output: LogOutput,
    shown: u64,
    worst: Exit,
}

impl Listing {
    fn show(
        &mut self,
        stored: &StoredRecord,
        event: &Result<Event, PayloadError>,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        if let Err(error) = event {
            self.worst = self.worst.or_worse(Exit::of_payload(error));
        }
        self.shown += 1;
        let first = self.shown == 1;
        match self.output {
            LogOutput::Text if first => console.out.write_all(render::text(stored, event).as_bytes()),
            LogOutput::Text => write!(console.out, "\n{}", render::text(stored, event)),
            LogOutput::Oneline => writeln!(console.out, "{}", render::oneline(stored, event)),
            LogOutput::Json => {
                let json = render::compact(&render::record_json(stored, event));
                write!(console.out, "{}{json}", if first { "[\n" } else { ",\n" })
            }
            LogOutput::Jsonl => {
                writeln!(console.out, "{}", render::compact(&render::record_json(stored, event)))
            }
        }
        .map_err(Failure::Output)
    }

    fn end(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        match (self.output, self.shown) {
            (LogOutput::Json, 0) => console.line(format_args!("[]")),
            (LogOutput::Json, _) => console.line(format_args!("\n]")),
            (LogOutput::Text | LogOutput::Oneline | LogOutput::Jsonl, _) => Ok(()),
        }
    }

    fn exit(&self) -> Exit {
        if self.shown == 0 { Exit::NothingMatched } else { self.worst }
    }
}
