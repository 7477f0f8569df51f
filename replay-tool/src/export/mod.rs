//! Formats that other programs read: each is a sink, to which records come in order.

pub(crate) mod arrows;
pub(crate) mod csv;
pub(crate) mod jsonl;
pub(crate) mod otlp;
pub(crate) mod parquet;
pub(crate) mod perfetto;
mod redactor;
mod thrift;

use purser_events::{Cause, Event, Header, Principal};
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

    /// A record's place, cause and principal.
    pub(crate) fn header(&mut self, header: &Header) -> Header {
        let mut shown = header.clone();
        let Some(redactor) = &mut self.redactor else { return shown };
        let origin = &mut shown.origin;
        if origin.principal != Principal::node() {
            origin.principal = Principal::new(&redactor.text(origin.principal.as_str()));
        }
        origin.correlation = redactor.uuid(origin.correlation);
        if let Cause::Command(id) = &mut origin.cause {
            id.0 = redactor.uuid(id.0);
        }
        shown.stream.id = redactor.uuid(shown.stream.id);
        shown
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
