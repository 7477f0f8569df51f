//! One JSON object a line, as `log -o jsonl` shows records.

use std::io::Write;

use purser_events::Event;
use purser_storage::{PayloadError, StoredRecord};
use serde_json::{Value, json};

use super::{Shown, Sink};
use crate::failure::Failure;
use crate::render;

/// Writes lines.
pub(crate) struct Jsonl<'a> {
    out: &'a mut dyn Write,
    shown: Shown,
}

impl<'a> Jsonl<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, shown: Shown) -> Jsonl<'a> {
        Jsonl { out, shown }
    }
}

impl Sink for Jsonl<'_> {
    fn record(
        &mut self,
        stored: &StoredRecord,
        event: &Result<Event, PayloadError>,
        wanted: bool,
    ) -> Result<(), Failure> {
        if !wanted {
            return Ok(());
        }
        let mut record = render::record_json(stored, event);
        if self.shown.is_redacted() {
            record["header"] = json!(self.shown.header(&stored.header));
            if let Ok(event) = event {
                record["event"]["payload"] = self.shown.payload(event);
            }
            // It is of the texts as well: whoever guesses one could see that the guess is right.
            record["hash"] = Value::Null;
        }
        writeln!(self.out, "{}", render::compact(&record)).map_err(Failure::Output)
    }

    fn end(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
