//! Records as text and as JSON.

use std::fmt::Write as _;

use purser_events::event::LAYOUTS;
use purser_events::{Event, Layout, causes};
use purser_storage::{Codec, PayloadError, StoredRecord};
use serde_json::{Value, json};

/// The name of a record's type; its number if this release does not know it.
pub(crate) fn type_name(stored: &StoredRecord) -> String {
    layout_name(stored.layout_number)
}

/// The name of a type; its number if this release does not know it.
pub(crate) fn layout_name(number: u16) -> String {
    let known: Option<&Layout> = LAYOUTS.iter().find(|layout| layout.number == number);
    known.map_or_else(|| format!("unknown.{number:#06x}"), |layout| layout.name.to_owned())
}

/// The codec of a record's payload, by name if it is known.
pub(crate) fn codec_name(stored: &StoredRecord) -> String {
    let number = stored.codec_number;
    Codec::from_number(number).map_or_else(|| format!("codec {number}"), |codec| codec.word().to_owned())
}

/// A record in the form of the node's event feed, with its hash.
pub(crate) fn record_json(stored: &StoredRecord, event: &Result<Event, PayloadError>) -> Value {
    let event = match event {
        Ok(event) => json!(event),
        Err(error) if error.is_withheld() => json!({
            "type": type_name(stored),
            "version": stored.layout_version,
            "withheld": payload_error(error),
        }),
        Err(error) => json!({
            "type": type_name(stored),
            "version": stored.layout_version,
            "error": payload_error(error),
        }),
    };
    json!({ "header": stored.header, "event": event, "hash": hex(&stored.hash) })
}

/// A record in one line.
pub(crate) fn oneline(stored: &StoredRecord, event: &Result<Event, PayloadError>) -> String {
    let payload = match event {
        Ok(event) => compact(&event.payload_json()),
        Err(error) => payload_error(error),
    };
    format!("{} {payload}", brief(stored))
}

/// A record in one line, without what it says.
pub(crate) fn brief(stored: &StoredRecord) -> String {
    let header = &stored.header;
    format!("{} {} {} {}@{}", header.seq, header.time, type_name(stored), header.stream, header.version)
}

/// A record in a few lines.
pub(crate) fn text(stored: &StoredRecord, event: &Result<Event, PayloadError>) -> String {
    let header = &stored.header;
    let origin = &header.origin;
    let mut text = format!("{} {} {}\n", header.seq, header.time, type_name(stored));
    let _ = writeln!(text, "    {} version {}, epoch {}", header.stream, header.version, header.epoch);
    let _ = writeln!(text, "    by {}, because of {}", safe(origin.principal.as_str()), origin.cause);
    match event {
        Ok(event) => {
            for (name, value) in event.payload_json().as_object().into_iter().flatten() {
                let _ = writeln!(text, "    {name}: {}", plain(value));
            }
        }
        Err(error) => {
            let _ = writeln!(text, "    {}", payload_error(error));
        }
    }
    text
}

/// Why a payload cannot be shown, with its causes.
pub(crate) fn payload_error(error: &PayloadError) -> String {
    safe(&causes::told(error))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => safe(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            compact(value)
        }
    }
}

/// JSON in one line.
pub(crate) fn compact(value: &Value) -> String {
    safe(&value.to_string())
}

/// JSON in many lines.
pub(crate) fn pretty(value: &Value) -> String {
    let text = format!("{value:#}");
    text.lines().map(safe).collect::<Vec<_>>().join("\n")
}

/// Text that a terminal shows as it is: what pods and callers wrote must not move the cursor or turn the line
/// around. The escapes are those of JSON, so JSON stays JSON.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        let turns = matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let breaks = matches!(char, '\u{2028}' | '\u{2029}');
        if char.is_control() || turns || breaks {
            let _ = write!(out, "\\u{:04x}", u32::from(char));
        } else {
            out.push(char);
        }
    }
    out
}

/// Text as [`safe`] has it, in which lines stay lines.
pub(crate) fn safe_lines(text: &str) -> String {
    text.split('\n').map(safe).collect::<Vec<_>>().join("\n")
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(safe("a\x1b[2J\n\u{9b}b\u{202e}c ü"), "a\\u001b[2J\\u000a\\u009bb\\u202ec ü");
        assert_eq!(safe("\u{61c}\u{2028}\u{2029}"), "\\u061c\\u2028\\u2029");
        let value = json!({ "message": "\u{9b}31m\u{7f}" });
        let back: Value = serde_json::from_str(&compact(&value)).unwrap();
        assert_eq!(back, value, "what is escaped is still the same JSON");
    }
}
