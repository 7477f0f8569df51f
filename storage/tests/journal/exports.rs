//! Exports and copies of folders, read without a node.

use std::io::Cursor;
use std::path::Path;

use purser_events::{Record, Seq};
use purser_storage::export::{self, ExportError};
use purser_storage::offline::{Source, SourceError, SourceFailure};
use purser_storage::{Fault, FolderError};

use crate::support::*;

fn records(source: Source) -> Result<Vec<Record>, SourceError> {
    source.map(|stored| stored.map(|stored| stored.record().unwrap())).collect()
}

fn from_bytes(bytes: &[u8]) -> Result<Vec<Record>, SourceError> {
    records(Source::from_export(Cursor::new(bytes.to_vec()))?)
}

async fn export_of(dir: &Path, count: u64) -> (Vec<Record>, Vec<u8>) {
    let written = fill(dir, count).await;
    let (journal, _, _) = open(dir).unwrap();
    let mut bytes = Vec::new();
    let head = journal.export(Seq(1), &mut bytes).unwrap();
    assert_eq!(head, journal.head());
    (written, bytes)
}

#[tokio::test]
async fn an_export_holds_what_the_journal_held() {
    let dir = tempfile::tempdir().unwrap();
    let (written, bytes) = export_of(dir.path(), 30).await;
    assert_eq!(from_bytes(&bytes).unwrap(), written);
    // From the middle, too: the chain is checked from there.
    let (journal, _, _) = open(dir.path()).unwrap();
    for from in [0, 1, 2, 17, 30, 31, 99, u64::MAX] {
        let mut bytes = Vec::new();
        journal.export(Seq(from), &mut bytes).unwrap();
        let start = usize::try_from(from.clamp(1, 31) - 1).unwrap();
        assert_eq!(from_bytes(&bytes).unwrap(), written[start..], "from {from}");
    }
}

#[tokio::test]
async fn every_cut_of_an_export_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (written, bytes) = export_of(dir.path(), 3).await;
    for len in 0..bytes.len() {
        let mut sound = Vec::new();
        let error = match Source::from_export(Cursor::new(bytes[..len].to_vec())) {
            Err(error) => error,
            Ok(source) => source
                .map(|stored| stored.map(|stored| sound.push(stored.record().unwrap())))
                .collect::<Result<Vec<()>, _>>()
                .expect_err("a part of an export passed for the whole"),
        };
        // Without the eight bytes that an export begins with, it is none.
        let expected = if len < 8 { SourceFailure::Io } else { SourceFailure::Integrity };
        assert_eq!(error.failure(), expected, "{len} bytes: {}", told(&error));
        assert_eq!(sound, written[..sound.len()]);
        if let SourceError::Export(ExportError::CutShort { last }) = error {
            assert_eq!(last.0, sound.len() as u64, "{len} bytes");
        }
    }
}

#[tokio::test]
async fn every_flipped_bit_of_an_export_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (_, bytes) = export_of(dir.path(), 2).await;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(from_bytes(&flipped).is_err(), "bit {bit} of {} went unnoticed", bytes.len() * 8);
    }
}

#[tokio::test]
async fn foreign_and_newer_exports_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (_, bytes) = export_of(dir.path(), 1).await;
    let mut newer = bytes.clone();
    newer[8] = 3;
    let error = from_bytes(&newer).unwrap_err();
    assert_eq!(error.failure(), SourceFailure::Unknown);
    assert!(told(&error).contains("format 3"), "{}", told(&error));
    let error = from_bytes(b"{\"kind\":\"Pod\"}").unwrap_err();
    assert!(matches!(error, SourceError::Export(ExportError::NotAnExport)), "{}", told(&error));
    let error = from_bytes(&[&bytes[..], b"more"].concat()).unwrap_err();
    assert!(matches!(error, SourceError::Export(ExportError::WrongEnd { .. })), "{}", told(&error));
}

#[tokio::test]
async fn an_export_of_the_first_format_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (written, mut bytes) = export_of(dir.path(), 3).await;
    bytes[8] = 1;
    let checksum = crc32c::crc32c(&bytes[..52]).to_le_bytes();
    bytes[52..56].copy_from_slice(&checksum);
    assert_eq!(from_bytes(&bytes).unwrap(), written);
}

#[tokio::test]
async fn a_writer_takes_records_in_order_only() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 3).await;
    let (journal, _, _) = open(dir.path()).unwrap();
    let stored = journal.read(Seq(1), 3).unwrap();
    let mut writer = export::Writer::new(Vec::new(), purser_storage::Head::GENESIS).unwrap();
    writer.write(&stored[0]).unwrap();
    let error = writer.write(&stored[2]).unwrap_err();
    let gap = Fault::Gap { expected: Seq(2), found: Seq(3) };
    assert!(matches!(error, ExportError::Fault { source, .. } if source == gap));
}

#[tokio::test]
async fn a_copied_folder_is_read_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let written = fill(dir.path(), 50).await;
    let before = std::fs::read(dir.path().join("sled/db")).unwrap();
    for _ in 0..2 {
        assert_eq!(records(Source::from_folder(dir.path()).unwrap()).unwrap(), written);
    }
    assert_eq!(std::fs::read(dir.path().join("sled/db")).unwrap(), before);
}

#[tokio::test]
async fn a_live_folder_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1).await;
    let (journal, _, _) = open(dir.path()).unwrap();
    match Source::from_folder(dir.path()).map(|_| ()) {
        Err(SourceError::Folder(FolderError::Locked { pid, .. })) => {
            assert_eq!(pid, Some(std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    journal.append(append(stream(1), 1, &["goes on"])).await.unwrap();
}

#[test]
fn a_folder_that_is_no_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Source::from_folder(dir.path()).map(|_| ()).unwrap_err();
    assert_eq!(error.failure(), SourceFailure::Io);
    let error = Source::from_folder(&dir.path().join("absent")).map(|_| ()).unwrap_err();
    assert!(told(&error).contains("format"), "{}", told(&error));
}
