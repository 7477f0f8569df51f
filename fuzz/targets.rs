//! What is done with bytes from outside, one function for each decoder. None may panic, whatever the bytes are. They are
//! run by cargo-fuzz, see `Cargo.toml` beside this, and for a bounded number of mutations by a test of `replay-tool`. Those
//! of the service are in `service.rs`.

#[path = "reseal.rs"]
pub(crate) mod reseal;

use std::fs;
use std::io::Cursor as Bytes;
use std::path::{Path, PathBuf};

use purser_events::view::WORLD_LAYOUT;
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
use purser_storage::salvage::Survivors;
use purser_storage::snapshot::at_rest::SnapshotFile;
use purser_storage::subjects::SubjectKeys;
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
    ("snapshot", snapshot),
    ("survivors", survivors),
    ("subject_key", subject_key),
];

/// An export with its records, their payloads and its evidence: as it is, and with checksums that are right.
pub(crate) fn export(bytes: &[u8]) {
    read_export(bytes.to_vec());
    read_export(reseal::export(bytes));
}

fn read_export(bytes: Vec<u8>) {
    let Ok(mut source) = Source::from_export(Bytes::new(bytes)) else { return };
    while let Some(Ok(item)) = source.next_item() {
        if let Item::Record(record) = item {
            let _ = record.event();
        }
    }
}

/// One frame of a segment, and the payload in it: as it is, and with a checksum that is right.
pub(crate) fn frame(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), reseal::frame(bytes)] {
        if let Ok(record) = StoredRecord::parse(bytes) {
            let _ = record.event();
        }
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

/// Whether bytes are those of a compressed segment, which begins with a frame that decompressors pass over.
fn is_compressed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x50, 0x2a, 0x4d, 0x18])
}

/// Writes the only segment of a journal under its name: the first record that its header names.
fn write_segment(dir: &Path, bytes: &[u8]) -> PathBuf {
    let (first_at, end) = if is_compressed(bytes) { (40, "seg.zst") } else { (12, "seg") };
    let first = bytes
        .get(first_at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(1, |first| u64::from_le_bytes(*first));
    let path = dir.join(format!("{first:020}.{end}"));
    fs::write(&path, bytes).expect("a file can be written");
    path
}

/// The only segment of a journal, plain or compressed, with its header, marks and footer: as it is, and a plain one with
/// checksums that are right. Read through on several threads it is what it is when it is read in order.
pub(crate) fn segment(bytes: &[u8]) {
    read_segment(bytes);
    if !is_compressed(bytes) {
        read_segment(&reseal::segment(bytes));
    }
}

fn read_segment(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("there is a folder for temporary files");
    write_segment(dir.path(), bytes);
    let (mut read, mut scanned) = (Vec::new(), Vec::new());
    let Ok(mut source) = Source::from_segments(dir.path()) else { return };
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
    let scan = Source::from_segments(dir.path()).and_then(|mut source| {
        source.read_through(&|record: &StoredRecord| record.event().is_ok(), |item| {
            if let Scanned::Record(position, _) = item {
                scanned.push(position.hash);
            }
        })
    });
    assert_eq!((scanned, scan.map_err(|error| error.to_string())), (read, result));
}

/// What survives in a damaged segment or export.
pub(crate) fn survivors(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("there is a folder for temporary files");
    let path = write_segment(dir.path(), bytes);
    let Ok(mut survivors) = Survivors::of(&path) else { return };
    while let Ok(Some(item)) = survivors.next_survivor() {
        if let Item::Record(record) = item {
            let _ = record.event();
        }
    }
}

/// A snapshot's file: as it is, and with checksums that are right.
pub(crate) fn snapshot(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), reseal::snapshot(bytes)] {
        let _ = SnapshotFile::parse(&bytes, WORLD_LAYOUT);
    }
}

/// The file of a pod's key, and behind it a frame whose payload is opened with it.
pub(crate) fn subject_key(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("there is a folder for temporary files");
    let (key, frame) = reseal::key_and_frame(bytes);
    let Ok(mut record) = StoredRecord::parse(frame) else { return };
    for key in [&key, &bytes.get(..key.len()).unwrap_or_default().to_vec()] {
        let path = dir.path().join(record.header.stream.id.to_string());
        fs::write(path, key).expect("a file can be written");
        let _ = SubjectKeys::to_read(dir.path()).open(&mut record);
        let _ = record.event();
    }
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
