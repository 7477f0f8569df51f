//! What is done with bytes from outside, one function for each decoder. None may panic, whatever the bytes are. They are
//! run by cargo-fuzz, see `Cargo.toml` beside this, and for a bounded number of mutations by a test of `replay-tool`. Those
//! of the service are in `service.rs`.

use std::fs;
use std::io::Cursor as Bytes;

use purser_replay::cursor::Cursor;
use purser_replay::expr::{RecordExpr, StateExpr};
use purser_replay::overlay::{self, Form};
use purser_replay::pattern::Pattern;
use purser_replay::prices::Prices;
use purser_replay::when::{Span, When};
use purser_storage::StoredRecord;
use purser_storage::audit::parse_notes;
use purser_storage::checkpoint::VerifierKey;
use purser_storage::offline::{Item, Scanned, Source};
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
    ("segment", segment),
    ("prices", prices),
    ("policy", policy),
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

/// The only segment of a journal, plain or compressed, with its header, marks and footer. Read through on several threads
/// it is what it is when it is read in order.
pub(crate) fn segment(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("there is a folder for temporary files");
    let segments = dir.path().join("segments");
    // Compressed ones begin with a frame that decompressors pass over.
    let (first_at, end) =
        if bytes.starts_with(&[0x50, 0x2a, 0x4d, 0x18]) { (40, "seg.zst") } else { (12, "seg") };
    // Its name is the first record that its header names.
    let first = bytes
        .get(first_at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(1, |first| u64::from_le_bytes(*first));
    fs::create_dir(&segments).expect("a folder can be made");
    fs::write(dir.path().join("format"), "2\n").expect("a file can be written");
    fs::write(segments.join(format!("{first:020}.{end}")), bytes).expect("a file can be written");
    let (mut read, mut scanned) = (Vec::new(), Vec::new());
    let Ok(mut source) = Source::from_folder(dir.path()) else { return };
    let mut result = Ok(());
    while let Some(item) = source.next_item() {
        match item {
            Ok(Item::Record(record)) => {
                let _ = record.event();
                read.push(record.hash);
            }
            Ok(Item::Evidence(_)) => {}
            Err(error) => result = Err(error.to_string()),
        }
    }
    let scan = Source::from_folder(dir.path()).and_then(|mut source| {
        source.read_through(&|record: &StoredRecord| record.event().is_ok(), |item| {
            if let Scanned::Record(position, _) = item {
                scanned.push(position.hash);
            }
        })
    });
    assert_eq!((scanned, scan.map_err(|error| error.to_string())), (read, result));
}

/// A table of prices.
pub(crate) fn prices(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<Prices>();
    }
}

/// Other rules for `whatif`, in each of their forms.
pub(crate) fn policy(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        for form in [Form::Toml, Form::Yaml, Form::Json] {
            let _ = overlay::check(text, form);
        }
    }
}
