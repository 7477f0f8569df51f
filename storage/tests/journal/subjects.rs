//! Payloads sealed with keys of their subjects: read wherever the key is, told as sealed where it is not, and never
//! written without it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use purser_events::pod::PodEvent;
use purser_events::pod::event::StartRequested;
use purser_events::{Event, PodUid, Record, Seq, StreamId, StreamVersion};
use purser_storage::offline::Source;
use purser_storage::subjects::{SubjectKeys, SubjectsConfig};
use purser_storage::{
    Append, AppendError, Journal, JournalConfig, JournalError, PayloadError, Replayed, StoredRecord,
    StreamWrite,
};
use uuid::Uuid;

use crate::support::*;

fn counting(buffer: &mut [u8]) -> io::Result<()> {
    buffer.iter_mut().zip(1..).for_each(|(byte, number)| *byte = number);
    Ok(())
}

fn keys_dir(dir: &Path) -> PathBuf {
    dir.join("keys/subjects")
}

/// Opens the journal in a folder beside its keys; also gives what it replayed and could not read.
fn open_sealing(dir: &Path, seals: bool) -> Result<(Journal, Vec<Record>, Vec<Seq>), JournalError> {
    let subjects = SubjectsConfig { dir: keys_dir(dir), seals, random: counting };
    let config = JournalConfig { subjects: Some(subjects), ..JournalConfig::new(dir.join("journal")) };
    let (mut replayed, mut withheld) = (Vec::new(), Vec::new());
    let replay = |found| match found {
        Replayed::Record(record) => replayed.push(record),
        Replayed::Unreadable { seq, reason, layout_number, .. } => {
            assert!(reason.is_withheld() && layout_number == 0x0216, "{reason}");
            withheld.push(seq);
        }
    };
    let journal = Journal::open(config, || NOW, replay, |_| {})?;
    Ok((journal, replayed, withheld))
}

fn pod(number: u128) -> StreamId {
    PodUid(Uuid::from_u128(number)).stream()
}

fn to_pod(stream: StreamId, expected: u64) -> Append {
    let event = Event::Pod(PodEvent::from(StartRequested {}));
    let write = StreamWrite { stream, expected: StreamVersion(expected), events: vec![event.clone(), event] };
    Append { writes: vec![write], origin: origin(), command: None }
}

fn offline_with(dir: &Path, keys: Option<&Path>) -> Vec<StoredRecord> {
    let source = Source::from_folder(&dir.join("journal")).unwrap();
    let source = match keys {
        Some(keys) => source.with_keys(SubjectKeys::to_read(keys)),
        None => source,
    };
    source.map(Result::unwrap).collect()
}

#[tokio::test]
async fn sealed_payloads_are_read_with_their_key_and_withheld_without() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, _) = open_sealing(dir.path(), false).unwrap();
    journal.append(to_pod(pod(1), 0)).await.unwrap();
    journal.close().unwrap();
    // One that began without a key goes on without; one that begins now has one, and the node's records never do.
    let (journal, _, _) = open_sealing(dir.path(), true).unwrap();
    journal.append(to_pod(pod(1), 2)).await.unwrap();
    let written = journal.append(to_pod(pod(2), 0)).await.unwrap().records;
    journal.append(append(stream(1), 0, &["the node's"])).await.unwrap();
    let sealed: Vec<bool> = journal.read(Seq(1), 100).unwrap().iter().map(StoredRecord::is_sealed).collect();
    assert_eq!(sealed, [false, false, false, false, true, true, false]);
    let of_stream = journal.read_stream(pod(2), StreamVersion(1), 10).unwrap();
    let of_stream: Vec<Record> = of_stream.iter().map(|stored| stored.record().unwrap()).collect();
    assert_eq!(of_stream, written);
    journal.close().unwrap();

    let (journal, replayed, withheld) = open_sealing(dir.path(), false).unwrap();
    assert_eq!((replayed.len(), withheld.len()), (7, 0));
    journal.close().unwrap();
    let keys = keys_dir(dir.path());
    assert!(offline_with(dir.path(), Some(&keys)).iter().all(|record| record.event().is_ok()));
    let without = offline_with(dir.path(), None);
    assert!(matches!(without[4].event(), Err(PayloadError::Sealed)));
    assert!(without[3].event().is_ok() && without[6].event().is_ok());

    // Damaged, the key is as good as none; destroyed, it is none.
    let path = keys.join(Uuid::from_u128(2).to_string());
    let key = fs::read(&path).unwrap();
    fs::write(&path, &key[1..]).unwrap();
    let (journal, _, withheld) = open_sealing(dir.path(), true).unwrap();
    assert_eq!(withheld, [Seq(5), Seq(6)]);
    let refused = journal.append(to_pod(pod(2), 2)).await.unwrap_err();
    assert!(matches!(refused, AppendError::NoKey { stream, .. } if stream == pod(2)), "{refused}");
    journal.close().unwrap();
    fs::write(&path, &key).unwrap();
    let subject = SubjectsConfig { dir: keys.clone(), seals: true, random: counting };
    assert!(SubjectKeys::new(subject).destroy(PodUid(Uuid::from_u128(2))).unwrap());
    let (_, replayed, withheld) = open_sealing(dir.path(), true).unwrap();
    assert_eq!((replayed.len(), withheld), (5, vec![Seq(5), Seq(6)]));
}

#[tokio::test]
async fn nothing_is_written_where_no_key_can_be_made() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keys"), "in the way").unwrap();
    let (journal, _, _) = open_sealing(dir.path(), true).unwrap();
    let refused = journal.append(to_pod(pod(1), 0)).await.unwrap_err();
    assert!(matches!(&refused, AppendError::NoKey { stream, .. } if *stream == pod(1)), "{refused}");
    assert!(refused.to_string().contains("keys/subjects"), "{refused}");
    assert_eq!(journal.head().seq, Seq::ZERO);
    fs::remove_file(dir.path().join("keys")).unwrap();
    journal.append(to_pod(pod(1), 0)).await.unwrap();
    assert!(journal.read(Seq(1), 1).unwrap()[0].is_sealed());
}
