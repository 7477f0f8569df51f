//! What the tool says of a sealed journal, and of one that somebody was at.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::ffi::OsString;
use std::fs;
use std::io::Cursor;
use std::num::NonZeroU64;
use std::path::Path;

use purser_events::node::NodeEvent;
use purser_events::node::event::Cordoned;
use purser_events::{Cause, Event, NodeUid, Origin, Principal, StreamVersion, Timestamp};
use purser_replay::{Exit, Surroundings};
use purser_storage::checkpoint::Seed;
use purser_storage::offline::{Item, Source};
use purser_storage::sealer::{SealingConfig, SealingParts};
use purser_storage::sealing::{KeyFile, SealingKey};
use purser_storage::{Append, Evidence, Head, Journal, JournalConfig, StreamWrite, export};
use serde_json::Value;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_772_366_400_000_000);

fn seed(number: u8) -> Seed {
    Seed::read_from(&mut Cursor::new([number; Seed::LEN])).unwrap()
}

/// A journal of so many records, sealed over three periods, with its verifier key.
fn sealed(folder: &Path, records: u64) -> String {
    let key = SealingKey::first("purser/test", &seed(1), NOW).unwrap();
    let file = folder.join("seal.key");
    KeyFile::create(&file, &key).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let stream = NodeUid(Uuid::from_u128(1)).stream();
    for generation in 0..3 {
        let journal =
            Journal::open(JournalConfig::new(folder.join("journal")), || NOW, |_| {}, |_| {}).unwrap();
        let mut number = 10 * (generation + 1);
        let config = SealingConfig { interval_ms: NonZeroU64::MIN, ..SealingConfig::new(&file) };
        let seeds = Box::new(move || {
            number += 1;
            Ok(seed(number))
        });
        let now = Box::new(|| Timestamp(NOW.0 + 60_000_000));
        journal.seal(SealingParts { config, seeds, now, observer: Box::new(()) }).unwrap();
        let first = records * u64::from(generation) / 3;
        let next = records * (u64::from(generation) + 1) / 3;
        let event = |seq: u64| Event::Node(NodeEvent::Cordoned(Cordoned { reason: format!("reason {seq}") }));
        let events = (first..next).map(event).collect();
        let writes = vec![StreamWrite { stream, expected: StreamVersion(first), events }];
        let origin = Origin { cause: Cause::Node, correlation: Uuid::nil(), principal: Principal::node() };
        runtime.block_on(journal.append(Append { writes, origin, command: None })).unwrap();
        journal.close().unwrap();
    }
    key.verifier().to_string()
}

struct Told {
    exit: Exit,
    out: String,
    notes: String,
}

fn tool(args: &[&str]) -> Told {
    let surroundings = Surroundings {
        socket: None,
        standard_sockets: Vec::new(),
        input: || Box::new(Cursor::new([])),
        now: || NOW,
        terminal: None,
    };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let args = ["purser-replay"].iter().chain(args).map(OsString::from);
    let exit = purser_replay::run(args, &surroundings, &mut out, &mut notes);
    Told { exit, out: String::from_utf8(out).unwrap(), notes: String::from_utf8(notes).unwrap() }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn verify_says_how_far_the_evidence_reaches() {
    let folder = tempfile::tempdir().unwrap();
    let key = sealed(folder.path(), 30);
    let dir = path(folder.path(), "journal");
    let told = tool(&["verify", "--dir", &dir, "--key", &key]);
    assert_eq!(told.exit, Exit::Ok, "{}{}", told.out, told.notes);
    assert!(told.out.contains("sealed    records up to 30, by the key of period"), "{}", told.out);
    let told = tool(&["verify", "--dir", &dir]);
    assert!(told.exit == Exit::Ok && told.out.contains("give --key"), "{}", told.out);
    let other = SealingKey::first("purser/test", &seed(99), NOW).unwrap().verifier().to_string();
    let told = tool(&["verify", "--dir", &dir, "--key", &other, "-o", "json"]);
    assert_eq!(told.exit, Exit::Integrity);
    let verdict: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(verdict["sound"], false);
    assert_eq!(verdict["evidence"]["sealed"], Value::Null);
    // An export of an export is as good.
    let (first, second) = (path(folder.path(), "first"), path(folder.path(), "second"));
    assert_eq!(tool(&["export", &first, "--dir", &dir]).exit, Exit::Ok);
    assert_eq!(tool(&["export", &second, "--export", &first]).exit, Exit::Ok);
    let told = tool(&["verify", "--export", &second, "--key", &key]);
    assert!(told.exit == Exit::Ok && told.out.contains("records up to 30"), "{}", told.out);
}

#[test]
fn a_checkpoint_kept_elsewhere_shows_that_the_end_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let key = sealed(folder.path(), 30);
    let dir = path(folder.path(), "journal");
    let mut source = Source::from_folder(Path::new(&dir)).unwrap();
    let mut kept = String::new();
    let mut writer = export::Writer::new(Vec::new(), Head::GENESIS).unwrap();
    while let Some(item) = source.next_item() {
        match item.unwrap() {
            Item::Record(record) if record.header.seq.0 <= 20 => writer.write(&record).unwrap(),
            Item::Record(_) => {}
            Item::Evidence(evidence) => {
                if let Evidence::Checkpoint(tree) = &evidence {
                    kept.push_str(&format!("{}\n", tree.note()));
                }
                if writer.head().seq.0 < 20 {
                    writer.write_evidence(&evidence).unwrap();
                }
            }
        }
    }
    let (cut, notes) = (path(folder.path(), "cut"), path(folder.path(), "kept"));
    fs::write(&cut, writer.finish().unwrap()).unwrap();
    fs::write(&notes, kept).unwrap();
    let told = tool(&["verify", "--dir", &dir, "--key", &key, "--checkpoint", &notes]);
    assert!(told.exit == Exit::Ok && told.out.contains("continues the checkpoint of 30"), "{}", told.out);
    let told = tool(&["verify", "--export", &cut, "--key", &key]);
    assert_eq!(told.exit, Exit::Ok, "by itself a shorter journal is whole: {}", told.out);
    let told = tool(&["verify", "--export", &cut, "--checkpoint", &notes]);
    assert_eq!(told.exit, Exit::Integrity);
    assert!(told.out.contains("its end was cut off"), "{}", told.out);
    fs::write(&notes, "no note\n").unwrap();
    assert_eq!(tool(&["verify", "--dir", &dir, "--checkpoint", &notes]).exit, Exit::Io);
}

#[test]
fn checkpoints_vouch_for_an_excerpt_too() {
    let folder = tempfile::tempdir().unwrap();
    let key = sealed(folder.path(), 30);
    let dir = path(folder.path(), "journal");
    let mut source = Source::from_folder(Path::new(&dir)).unwrap();
    let mut writer = export::Writer::excerpt(Vec::new(), Head::GENESIS).unwrap();
    while let Some(item) = source.next_item() {
        match item.unwrap() {
            Item::Record(record) if record.header.seq.0 % 3 == 0 => writer.write(&record).unwrap(),
            Item::Record(record) => writer.write_without_payload(&record).unwrap(),
            Item::Evidence(evidence) => writer.write_evidence(&evidence).unwrap(),
        }
    }
    let excerpt = path(folder.path(), "excerpt");
    fs::write(&excerpt, writer.finish().unwrap()).unwrap();
    let told = tool(&["verify", "--export", &excerpt, "--key", &key]);
    assert_eq!(told.exit, Exit::Ok, "{}{}", told.out, told.notes);
    assert!(told.out.contains("sealed    records up to 30, by the key of period"), "{}", told.out);
    assert!(told.out.contains("excerpt ") && told.out.contains("20 payloads were redacted"), "{}", told.out);
    // A proof is the same, of a record whose payload is there or not.
    for seq in ["6", "7"] {
        let of = |source: [&str; 2]| tool(&["proof", seq, source[0], source[1], "--key", &key]);
        let (whole, part) = (of(["--dir", &dir]), of(["--export", &excerpt]));
        assert_eq!((part.exit, part.out), (Exit::Ok, whole.out), "{}", part.notes);
    }
    // The header is under a checksum, its flags too.
    let mut bytes = fs::read(&excerpt).unwrap();
    assert_eq!(bytes[10], 1);
    bytes[10] = 2;
    fs::write(&excerpt, &bytes).unwrap();
    assert_eq!(tool(&["verify", "--export", &excerpt]).exit, Exit::Integrity);
}

#[test]
fn a_proof_is_of_one_record_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let key = sealed(folder.path(), 30);
    let dir = path(folder.path(), "journal");
    let file = path(folder.path(), "7.tlog-proof");
    let told = tool(&["proof", "7", "--dir", &dir, "--key", &key]);
    assert_eq!(told.exit, Exit::Ok, "{}", told.notes);
    assert!(told.out.starts_with("c2sp.org/tlog-proof@v1\nindex 6\n"), "{}", told.out);
    fs::write(&file, &told.out).unwrap();
    let checked = tool(&["proof", "7", "--dir", &dir, "--key", &key, "--check", &file]);
    assert!(checked.exit == Exit::Ok && checked.out.contains("record 7 is under"), "{}", checked.notes);
    let checked = tool(&["proof", "8", "--dir", &dir, "--key", &key, "--check", &file]);
    assert_eq!(checked.exit, Exit::Integrity, "{}", checked.notes);
    // Every hash of it counts.
    let lines: Vec<&str> = told.out.lines().collect();
    for line in 2..lines.iter().position(|line| line.is_empty()).unwrap() {
        let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let first = if changed[line].starts_with('A') { "B" } else { "A" };
        changed[line].replace_range(..1, first);
        fs::write(&file, format!("{}\n", changed.join("\n"))).unwrap();
        let checked = tool(&["proof", "7", "--dir", &dir, "--key", &key, "--check", &file]);
        assert_eq!(checked.exit, Exit::Integrity, "line {line}: {}", checked.notes);
    }
    let told = tool(&["proof", "31", "--dir", &dir, "--key", &key]);
    assert_eq!(told.exit, Exit::NothingMatched, "{}", told.notes);
}
