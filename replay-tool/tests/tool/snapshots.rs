//! Worlds that are put away, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use purser_events::view::WORLD_LAYOUT;
use purser_events::{Record, StreamId, Timestamp, World};
use purser_replay::Exit;
use purser_storage::disk::{Disk, SystemDisk};
use purser_storage::redaction::{Subject, redact};
use purser_storage::{
    Capture, Journal, JournalConfig, Replayed, SEGMENT_BYTES_MIN, SnapshotError, Snapshots, StoredSnapshot,
    Streams,
};
use serde_json::{Value, json};

use crate::long;
use crate::support::{Fixture, START, Told, append_history, event, tool};

/// A journal's segments.
pub(crate) fn segments(journal: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(journal.join("segments")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_was_put_away_is_what_is_folded() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, other) = (dir.path().join("journal"), dir.path().join("other"));
    let snapshots = dir.path().join("snapshots");
    // So small that what comes before is sealed.
    let config = |dir: &Path| JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(dir) };
    long::write(config(&journal), 50_500, 0);
    let digest = |journal: &Path, at: &str, more: &[&str]| -> Told {
        let dir = ["--dir", journal.to_str().unwrap()];
        tool(&[&["state", "--digest", "--at", at], more, &dir].concat())
    };
    let put = ["--snapshots", snapshots.to_str().unwrap()];
    let same = |journal: &Path, at: &str| {
        let (fresh, put) = (digest(journal, at, &[]), digest(journal, at, &put));
        assert_eq!((put.exit, &put.notes), (Exit::Ok, &String::new()), "{at}");
        assert_eq!(put.out, fresh.out, "{at}");
    };
    let files = || fs::read_dir(&snapshots).map(Iterator::count).unwrap_or_default();
    same(&journal, "400");
    assert_eq!(files(), 0, "nothing is put away before it is time to");
    for at in ["50400", "50001", "50000", "49999", "2026-03-01T14:00:00Z"] {
        same(&journal, at);
        assert_eq!(files(), 1, "{at}");
    }
    // Of another journal they are not taken.
    long::write(config(&other), 50_050, 7);
    same(&other, "50020");
    // What was put away is not read as something else.
    let file = fs::read_dir(&snapshots).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    same(&journal, "50400");
    // It was put away anew; what came before it is not read again.
    let first = segments(&journal).remove(0);
    let mut bytes = fs::read(&first).unwrap();
    bytes[1_000] ^= 1;
    fs::write(&first, bytes).unwrap();
    assert_eq!(digest(&journal, "50400", &put).exit, Exit::Ok);
    assert_eq!(digest(&journal, "50400", &[]).exit, Exit::Integrity);
    assert_eq!(digest(&journal, "49000", &put).exit, Exit::Integrity);
}

/// A journal whose worlds are put away, and the first of its pods.
struct Kept {
    dir: tempfile::TempDir,
}

impl Kept {
    fn new() -> Kept {
        let kept = Kept { dir: tempfile::tempdir().unwrap() };
        long::write(kept.config(), 50_500, 0);
        assert_eq!((kept.state(&[]).exit, kept.files()), (Exit::Ok, 1));
        kept
    }

    fn config(&self) -> JournalConfig {
        JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(self.journal()) }
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path().join("snapshots")).unwrap().count()
    }

    /// What is told of a moment behind the world that was put away.
    fn state(&self, more: &[&str]) -> Told {
        self.state_of(&self.journal(), more)
    }

    fn state_of(&self, journal: &Path, more: &[&str]) -> Told {
        let snapshots = self.dir.path().join("snapshots");
        let at = ["state", "--at", "50400", "--dir", journal.to_str().unwrap()];
        tool(&[&at[..], &["--snapshots", snapshots.to_str().unwrap()], more].concat())
    }

    /// Puts on record that a pod is to be redacted, as so many records of the node are there.
    fn ask_to_redact(&self, pod: u64, node_records: u64) {
        let uid = long::uid(pod);
        let payload = json!({ "redaction": uid, "pods": [uid], "workers": [], "reason": "asked for" });
        long::append_to_node(self.config(), node_records, event("node.redaction-requested", &payload));
    }

    /// What is told by a copy of which the first segments were trimmed.
    fn state_of_trimmed(&self) -> Told {
        let copy = tempfile::tempdir_in(self.dir.path()).unwrap();
        self.trim_into(copy.path());
        self.state_of(copy.path(), &[])
    }

    /// Copies all but the first segments.
    fn trim_into(&self, copy: &Path) {
        let journal = self.journal();
        fs::create_dir(copy.join("segments")).unwrap();
        fs::copy(journal.join("format"), copy.join("format")).unwrap();
        for segment in segments(&journal).iter().skip(3) {
            fs::copy(segment, copy.join("segments").join(segment.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn what_was_redacted_since_is_not_shown() {
    let kept = Kept::new();
    let pod = ["--pod", "default/web-3"];
    assert!(kept.state(&pod).out.contains("web-3"), "it was not redacted");
    kept.ask_to_redact(3, 1);
    assert!(kept.state(&pod).out.contains("web-3"), "it is still there");
    let subject = Subject { streams: &BTreeSet::from([long::stream(3)]), answer: &|_| None };
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    redact(&disk, &kept.journal(), long::uid(3).0, &subject).unwrap();
    let told = kept.state(&pod);
    assert_eq!((told.exit, told.out.as_str()), (Exit::NothingMatched, ""), "{}", told.notes);
    assert_eq!(kept.files(), 0, "what had it in the clear is gone");
    assert!(kept.state(&[]).out.contains("withheld"), "the journal is folded from its beginning");
}

#[test]
fn of_a_trimmed_journal_they_stand_until_what_they_tell_of_is_redacted() {
    let kept = Kept::new();
    let whole = kept.state(&[]).out;
    let of_trimmed = || {
        let told = kept.state_of_trimmed();
        assert_eq!((told.exit, told.out.as_str()), (Exit::Ok, whole.as_str()), "{}", told.notes);
    };
    of_trimmed();
    kept.ask_to_redact(long::PODS + 7, 1);
    of_trimmed();
    kept.ask_to_redact(3, 2);
    let told = kept.state_of_trimmed();
    assert_eq!((told.exit, told.out.as_str()), (Exit::Usage, ""), "{}", told.notes);
    assert!(told.notes.contains("begins after record"), "{}", told.notes);
}

#[test]
fn only_a_folder_has_them() {
    let fixture = Fixture::new();
    // Nor are they of use to anything else.
    for verb in [&["log"][..], &["diff", "1"], &["tui"], &["salvage", "--to", "/nonexistent"]] {
        let dir = fixture.path("journal");
        let told = tool(&[verb, &["--dir", &dir, "--snapshots", "/nonexistent"]].concat());
        assert!(
            told.exit == Exit::Usage && told.notes.contains("--snapshots is for `state`"),
            "{}",
            told.notes
        );
    }
    let told = tool(&["state", "--socket", "/nonexistent/socket", "--snapshots", "/nonexistent"]);
    assert_eq!(told.exit, Exit::Usage);
    assert_eq!(fixture.tool(&["state", "--snapshots", "/nonexistent"]).exit, Exit::Usage);
}

/// What `verify` says of a folder, with the worlds in another.
fn verified(journal: &Path, snapshots: &Path) -> Told {
    tool(&["verify", "--dir", journal.to_str().unwrap(), "--snapshots", snapshots.to_str().unwrap()])
}

#[test]
fn worlds_that_were_put_away_are_compared_with_the_records() {
    let kept = Kept::new();
    let snapshots = kept.dir.path().join("snapshots");
    let told = verified(&kept.journal(), &snapshots);
    assert_eq!((told.exit, told.notes.as_str()), (Exit::Ok, ""), "{}", told.out);
    assert!(told.out.contains("50000.world: what the records give\n"), "{}", told.out);
    // Of a trimmed journal nobody can tell.
    let trimmed = tempfile::tempdir_in(kept.dir.path()).unwrap();
    kept.trim_into(trimmed.path());
    let told = verified(trimmed.path(), &snapshots);
    assert!(told.exit == Exit::Ok && told.out.contains("50000.world: taken on trust"), "{}", told.out);
    // One of another journal is none of this.
    let other = kept.dir.path().join("other");
    long::write(JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(&other) }, 50_050, 7);
    let told = verified(&other, &snapshots);
    assert_eq!(told.exit, Exit::Integrity, "{}", told.out);
    assert!(told.out.contains("is of a record that this journal does not have"), "{}", told.out);
    // What was redacted since cannot be folded, so nothing is wrong with a world that has it.
    kept.ask_to_redact(3, 1);
    let subject = Subject { streams: &BTreeSet::from([long::stream(3)]), answer: &|_| None };
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    redact(&disk, &kept.journal(), long::uid(3).0, &subject).unwrap();
    let told = verified(&kept.journal(), &snapshots);
    let says = told.out.contains("50000.world: not compared: payloads that it was made from are withheld");
    assert!(says && !told.out.contains("BAD SNAPSHOT"), "{}", told.out);
    let file = fs::read_dir(&snapshots).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let told = verified(&kept.journal(), &snapshots);
    assert!(told.exit == Exit::Integrity && told.out.contains("50000.world: DAMAGED"), "{}", told.out);
}

/// The world as a node has it, which puts it away as nodes do.
#[derive(Clone, Default)]
struct Lived(Arc<Mutex<Life>>);

#[derive(Default)]
struct Life {
    world: World,
    heads: BTreeMap<StreamId, Value>,
    /// Whether something else is put away than what was lived through.
    is_wrong: bool,
}

impl Lived {
    fn note(&self, record: &Record) {
        let mut life = self.0.lock().unwrap();
        life.world.apply(record).unwrap();
        let header = &record.header;
        let head = json!({
            "version": header.version, "seq": header.seq, "correlation": header.origin.correlation,
        });
        life.heads.insert(header.stream, head);
    }
}

impl Snapshots for Lived {
    fn layout(&self) -> u32 {
        WORLD_LAYOUT
    }

    fn capture(&self) -> Capture {
        let life = self.0.lock().unwrap();
        let (mut world, heads) = (life.world.clone(), life.heads.iter().collect::<Vec<_>>());
        if life.is_wrong {
            world.workers_registered += 1;
        }
        let digest: String = world.digest().iter().map(|byte| format!("{byte:02x}")).collect();
        let stored = json!({ "digest": digest, "unreadable": 0, "heads": heads, "world": world });
        Box::new(move || Ok(serde_json::to_vec(&stored)?))
    }

    fn restore(&mut self, _: &StoredSnapshot<'_>) -> Result<Streams, SnapshotError> {
        Err("everything is folded again".into())
    }
}

/// A journal with a node's snapshots, of its fifth record and of its last.
fn with_snapshots(dir: &Path, is_wrong: bool) {
    for part in [0..5, 5..11] {
        let lived = Lived::default();
        lived.0.lock().unwrap().is_wrong = is_wrong;
        let (replayed, committed) = (lived.clone(), lived.clone());
        let replay = move |found: Replayed| {
            let Replayed::Record(record) = found else { panic!("{found:?}") };
            replayed.note(&record);
        };
        let commit = move |records: &[Record]| records.iter().for_each(|record| committed.note(record));
        let config = JournalConfig { snapshot_every: 1_000, ..JournalConfig::new(dir) };
        let journal =
            Journal::open_with_snapshots(config, || Timestamp(START), replay, commit, lived).unwrap();
        append_history(&journal, part);
        // The close in order takes one.
        journal.close().unwrap();
    }
}

#[test]
fn snapshots_of_a_node_are_compared_with_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let journal = |name: &str| dir.path().join(name);
    let verify = |name: &str| tool(&["verify", "--dir", journal(name).to_str().unwrap()]);
    let file = |name: &str, seq: u64| journal(name).join(format!("snapshots/{seq:020}.snap"));
    with_snapshots(&journal("right"), false);
    let told = verify("right");
    assert_eq!((told.exit, told.notes.as_str()), (Exit::Ok, ""), "{}", told.out);
    for seq in [5, 11] {
        let line = format!("{}: what the records give\n", file("right", seq).display());
        assert!(told.out.contains(&line), "{}", told.out);
    }
    with_snapshots(&journal("wrong"), true);
    let told = verify("wrong");
    assert_eq!(told.exit, Exit::Integrity, "{}", told.out);
    assert!(
        told.out.starts_with("verdict   SOUND RECORDS, BAD SNAPSHOT\ntrusted   records 1 to 11\n"),
        "{}",
        told.out
    );
    let line =
        format!("{}: DIFFERS from what the records give, in workersRegistered;", file("wrong", 5).display());
    assert!(told.out.contains(&line) && told.out.contains("remove it"), "{}", told.out);
    let told = tool(&["verify", "-o", "json", "--dir", journal("wrong").to_str().unwrap()]);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((&told["sound"], &told["snapshots"][1]["standing"]), (&json!(false), &json!("differs")));

    // Of another record, damaged, and of a newer release.
    let whole = fs::read(file("right", 5)).unwrap();
    let told_of = |bytes: &[u8], seq: u64| {
        fs::write(file("right", seq), bytes).unwrap();
        let told = verify("right");
        fs::remove_file(file("right", seq)).unwrap();
        told
    };
    let foreign = told_of(&whole, 7);
    assert!(foreign.exit == Exit::Integrity && foreign.out.contains("does not have"), "{}", foreign.out);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        // What is reserved in the header is under its checksum as well.
        let told = told_of(&bytes, 5);
        assert_eq!(told.exit, Exit::Integrity, "byte {at}: {}", told.out);
        assert!(told.out.contains("05.snap: DAMAGED: "), "byte {at}: {}", told.out);
        assert!(told.out.contains("11.snap: what the records give"), "byte {at}: {}", told.out);
        if at > 120 {
            break;
        }
    }
    let mut newer = whole.clone();
    newer[12] = u8::try_from(WORLD_LAYOUT + 1).unwrap();
    let checksum = crc32c::crc32c(&newer[..96]);
    newer[96..100].copy_from_slice(&checksum.to_le_bytes());
    let told = told_of(&newer, 5);
    assert!(told.exit == Exit::Unknown && told.out.contains("a newer release wrote it"), "{}", told.out);
    assert!(told.out.starts_with("verdict   SOUND RECORDS;"), "{}", told.out);
}
