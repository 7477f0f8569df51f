//! Journals as earlier releases wrote them: `tests/formats/<format>/journal` is such a folder, without a store and
//! without the empty room behind its last segment, `records.txt` what is in it.
//!
//! The one of the present format is made by `PURSER_FORMATS=write cargo test -p purser-storage --test journal
//! formats`, if there is none. What is there is never made again.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use purser_events::Record;
use purser_storage::disk::{Disk, SystemDisk};
use purser_storage::offline::{Item, Source};
use purser_storage::redaction::{Subject, forget_progress, redact};
use purser_storage::{Append, Codec, Journal, JournalConfig, PayloadError, SEGMENT_BYTES_MIN};
use uuid::Uuid;

use crate::folders::copy;
use crate::sealing::{self, Sealed};
use crate::support::*;

/// The format that this release writes.
const PRESENT: &str = "2";

/// Characters that are kept of what a record says; its hash is over all of it.
const SAYS_LEN: usize = 120;

/// Stands in what was taken out, and nowhere else.
const WORD: &str = "hapaxlegomenon";

fn folder(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(format)
}

/// A record a line: where it stands, its hash, and what it says.
fn listed(dir: &Path) -> String {
    let mut told = String::new();
    let mut source = Source::from_folder(dir).unwrap();
    while let Some(item) = source.next_item() {
        let line = match item.unwrap() {
            Item::Record(stored) => {
                let hash: String = stored.hash.iter().map(|byte| format!("{byte:02x}")).collect();
                let says = match stored.record() {
                    Ok(Record { event, .. }) => {
                        serde_json::to_string(&event).unwrap().chars().take(SAYS_LEN).collect()
                    }
                    Err(error) if PayloadError::is_withheld(&error) => "withheld".to_owned(),
                    Err(error) => panic!("record {}: {error}", stored.header.seq),
                };
                format!("{} {hash} {:?} {says}", stored.header.seq, stored.header.origin.principal)
            }
            Item::Evidence(_) => "evidence".to_owned(),
        };
        writeln!(told, "{line}").unwrap();
    }
    told
}

fn config(dir: &Path, codec: Codec) -> JournalConfig {
    JournalConfig { codec, segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(dir) }
}

fn opened(dir: &Path, codec: Codec) -> Journal {
    Journal::open(config(dir, codec), || NOW, |_| {}, |_| {}).unwrap()
}

/// A journal with all that a folder can hold: both codecs, commits of several streams, answers, checkpoints, a
/// segment that is compressed and one that is not, records whose payload was taken out.
async fn make(home: &Path) {
    let sealed = Sealed::new();
    let journal = sealed.open(1);
    sealing::write(&journal, 0, 40, "checked").await;
    journal.close().unwrap();
    let dir = sealed.dir();
    for (round, codec) in [Codec::Bincode, Codec::Postcard].into_iter().enumerate() {
        let journal = opened(&dir, codec);
        for number in 0..15 {
            let version = 15 * round as u64 + number;
            let writes = vec![write(stream(8), version, &["of two"]), write(stream(9), version, &[WORD])];
            let answer = command(u128::from(version), b"the first answer");
            journal.append(Append { writes, origin: origin(), command: Some(answer) }).await.unwrap();
        }
        let mut version = 0;
        while codec == Codec::Bincode && journal.segments().is_empty() {
            journal.append(append(stream(10), version, &[&"long ".repeat(2_000)])).await.unwrap();
            version += 1;
        }
        for segment in journal.segments() {
            journal.compress(segment.first).unwrap();
        }
        journal.close().unwrap();
    }
    let streams = BTreeSet::from([stream(9)]);
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    let subject = Subject { streams: &streams, answer: &|_| None };
    redact(&disk, &dir, Uuid::from_u128(77), &subject).unwrap();
    forget_progress(&*disk, &dir).unwrap();
    let journal = opened(&dir, Codec::Bincode);
    journal.append(append(stream(24), 0, &["the last"])).await.unwrap();
    journal.close().unwrap();
    keep(&dir, home);
}

/// Keeps what a reader needs, without the room that nothing was written to.
fn keep(dir: &Path, home: &Path) {
    for store in ["sled", "sled.aside", "ballast", "lock"] {
        let path = dir.join(store);
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
    for entry in fs::read_dir(dir.join("segments")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
        fs::write(&path, bytes).unwrap();
    }
    copy(dir, &home.join("journal"));
    fs::write(home.join("records.txt"), listed(dir)).unwrap();
}

#[tokio::test]
async fn journals_of_every_format_are_read_and_written_on() {
    if std::env::var("PURSER_FORMATS").is_ok_and(|value| value == "write") && !folder(PRESENT).exists() {
        make(&folder(PRESENT)).await;
    }
    let mut formats = BTreeSet::new();
    for entry in fs::read_dir(folder("")).unwrap() {
        let home = entry.unwrap().path();
        formats.insert(home.file_name().unwrap().to_owned().into_string().unwrap());
        let dir = tempfile::tempdir().unwrap();
        copy(&home.join("journal"), dir.path());
        let wanted = fs::read_to_string(home.join("records.txt")).unwrap();
        assert_eq!(listed(dir.path()), wanted, "{}", home.display());
        for kind in ["withheld", "evidence", "node.cordoned"] {
            assert!(wanted.contains(kind), "{}: there is no `{kind}` in it", home.display());
        }
        assert!(!wanted.contains(WORD), "{}", home.display());
        let records = wanted.lines().filter(|line| *line != "evidence").count();
        let mut replayed = 0;
        let journal =
            Journal::open(config(dir.path(), Codec::Bincode), || NOW, |_| replayed += 1, |_| {}).unwrap();
        journal.append(append(stream(25), 0, &["written on"])).await.unwrap();
        journal.close().unwrap();
        assert_eq!(replayed, records, "{}", home.display());
        assert!(listed(dir.path()).starts_with(wanted.trim_end()), "{}", home.display());
    }
    assert!(formats.contains(PRESENT), "the present format has no folder: see the head of this file");
}
