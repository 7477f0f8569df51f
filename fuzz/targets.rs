//! What is done with bytes from outside, one function for each decoder. None may panic, whatever the bytes are. They are
//! run by cargo-fuzz, see `Cargo.toml` beside this, and for a bounded number of mutations by a test of `replay-tool`.

use std::io::Cursor as Bytes;

use purser_replay::cursor::Cursor;
use purser_replay::expr::{RecordExpr, StateExpr};
use purser_replay::pattern::Pattern;
use purser_replay::when::{Span, When};
use purser_storage::StoredRecord;
use purser_storage::audit::parse_notes;
use purser_storage::checkpoint::VerifierKey;
use purser_storage::offline::{Item, Source};
use purser_storage::tlog_proof::TlogProof;

/// A decoder by its name.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every decoder.
pub(crate) const TARGETS: &[Target] = &[
    ("export", export),
    ("frame", frame),
    ("note", note),
    ("proof", proof),
    ("cursor", cursor),
    ("expression", expression),
    ("argument", argument),
];

/// An export with its records, their payloads and its evidence.
pub(crate) fn export(bytes: &[u8]) {
    let Ok(mut source) = Source::from_export(Bytes::new(bytes.to_vec())) else { return };
    while let Some(Ok(item)) = source.next_item() {
        if let Item::Record(record) = item {
            let _ = record.event();
        }
    }
}

/// One frame of a segment, and the payload in it.
pub(crate) fn frame(bytes: &[u8]) {
    if let Ok(record) = StoredRecord::parse(bytes.to_vec()) {
        let _ = record.event();
    }
}

/// Signed checkpoints.
pub(crate) fn note(bytes: &[u8]) {
    let _ = parse_notes(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<VerifierKey>();
    }
}

/// A proof that a record is under a checkpoint.
pub(crate) fn proof(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = TlogProof::parse(text);
    }
}

/// A place in a journal; what is read is written in the same way.
pub(crate) fn cursor(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(cursor) = text.parse::<Cursor>()
    {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
}

/// A condition on records or states.
pub(crate) fn expression(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<RecordExpr>();
        let _ = text.parse::<StateExpr>();
    }
}

/// A moment, a span of time, a pattern.
pub(crate) fn argument(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<When>();
        let _ = text.parse::<Span>();
        let _ = text.parse::<Pattern>();
    }
}
