//! Formats that other programs read: each is a sink, to which records come in order.

pub(crate) mod arrows;
pub(crate) mod csv;
pub(crate) mod jsonl;
pub(crate) mod otlp;
pub(crate) mod parquet;
pub(crate) mod perfetto;
mod redactor;
mod thrift;

use purser_events::{Event, Header};
use purser_storage::{PayloadError, StoredRecord};
use serde_json::Value;

use self::redactor::Redactor;
use crate::failure::Failure;

/// What makes a format of records.
pub(crate) trait Sink {
    /// Takes the next record. All come, so that what they set off is known; `wanted` ones are to be written.
    fn record(
        &mut self,
        stored: &StoredRecord,
        event: &Result<Event, PayloadError>,
        wanted: bool,
    ) -> Result<(), Failure>;

    /// Writes what is left.
    fn end(&mut self) -> Result<(), Failure>;
}

/// Texts as they are shown: as recorded, or each replaced by a number of its own.
pub(crate) struct Shown {
    redactor: Option<Redactor>,
}

impl Shown {
    /// As they are, or not.
    pub(crate) fn new(redact: bool) -> Shown {
        Shown { redactor: redact.then(Redactor::default) }
    }

    /// Whether texts are replaced.
    pub(crate) fn is_redacted(&self) -> bool {
        self.redactor.is_some()
    }

    /// A text that somebody chose.
    pub(crate) fn text(&mut self, text: &str) -> String {
        self.redactor.as_mut().map_or_else(|| text.to_owned(), |redactor| redactor.text(text))
    }

    /// Who asked.
    pub(crate) fn principal(&mut self, header: &Header) -> String {
        let principal = &header.origin.principal;
        if *principal == purser_events::Principal::node() {
            return principal.as_str().to_owned();
        }
        self.text(principal.as_str())
    }

    /// What a record says.
    pub(crate) fn payload(&mut self, event: &Event) -> Value {
        let payload = event.payload_json();
        match &mut self.redactor {
            Some(redactor) => redactor.value(payload),
            None => payload,
        }
    }
}
