//! Comma-separated values, as RFC 4180 has them, with a line of column names.

use std::io::Write;

use purser_events::Event;
use purser_storage::{PayloadError, StoredRecord};
use serde_json::Value;

use super::{Shown, Sink};
use crate::expr::RecordField;
use crate::failure::Failure;
use crate::render;

/// The columns without `--fields`; the payload follows as JSON.
const COLUMNS: [&str; 9] =
    ["@seq", "@time", "@type", "@stream", "@version", "@epoch", "@principal", "@cause", "@correlation"];

/// Writes rows.
pub(crate) struct Csv<'a> {
    out: &'a mut dyn Write,
    shown: Shown,
    fields: Vec<RecordField>,
    /// Whether the payload is the last column.
    with_payload: bool,
}

impl<'a> Csv<'a> {
    /// Writes the line of names.
    pub(crate) fn new(
        out: &'a mut dyn Write,
        shown: Shown,
        fields: &[RecordField],
    ) -> Result<Csv<'a>, Failure> {
        let with_payload = fields.is_empty();
        let standard = || COLUMNS.iter().filter_map(|column| column.parse().ok()).collect();
        let fields = if with_payload { standard() } else { fields.to_vec() };
        let payload = with_payload.then_some("payload");
        let names: Vec<String> = fields
            .iter()
            .map(|field| field.text().trim_start_matches('@'))
            .chain(payload)
            .map(cell)
            .collect();
        writeln!(out, "{}\r", names.join(",")).map_err(Failure::Output)?;
        Ok(Csv { out, shown, fields, with_payload })
    }
}

impl Sink for Csv<'_> {
    fn record(
        &mut self,
        stored: &StoredRecord,
        event: &Result<Event, PayloadError>,
        wanted: bool,
    ) -> Result<(), Failure> {
        if !wanted {
            return Ok(());
        }
        let payload = event.as_ref().map(|event| self.shown.payload(event)).unwrap_or_default();
        let (kind, header) = (render::type_name(stored), self.shown.header(&stored.header));
        let mut cells = Vec::with_capacity(self.fields.len() + 1);
        cells.extend(self.fields.iter().map(|field| cell(&text(&field.value(&header, &kind, &payload)))));
        if self.with_payload {
            cells.push(cell(&text(&payload)));
        }
        writeln!(self.out, "{}\r", cells.join(",")).map_err(Failure::Output)
    }

    fn end(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// A value as a cell has it: texts as they are, nothing for null, the rest as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A cell, in quotes where it needs them.
fn cell(text: &str) -> String {
    let text = render::safe_lines(text);
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
