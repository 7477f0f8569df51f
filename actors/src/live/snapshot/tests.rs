//! Snapshots of this release and of those before it.
//!
//! `golden/world.v<layout>.json` is what a world with everything in it is put away as. A field that is added, taken
//! away, renamed or of another type shows there: it takes a new layout. `formats/<layout>/journal` is a journal as a
//! release with that layout left it, trimmed, so that its snapshot is the only way in; `world.json` is what it knew.
//!
//! Those of today's layout are made, if they are not there, by `PURSER_GOLDEN=write` and `PURSER_FORMATS=write` with
//! `cargo test -p purser-actors snapshot`. What is there is never made again.

mod sample;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use purser_events::node::NodeEvent;
use purser_events::node::event::{Cordoned, Started, Uncordoned};
use purser_events::pod::PodEvent;
use purser_events::pod::event::ProvisioningStarted;
use purser_events::{Cause, Event, Origin, PodUid, Principal, StreamVersion, Timestamp};
use purser_storage::{Append, AppendError, Journal, JournalConfig, SEGMENT_BYTES_MIN, StreamWrite};
use serde_json::Value;
use uuid::Uuid;

use super::*;

const NOW: Timestamp = Timestamp(1_772_368_245_000_000);

/// The pod of the journals on file.
const POD: PodUid = PodUid(Uuid::from_u128(1));

fn asked_to_write(what: &str) -> bool {
    std::env::var(what).is_ok_and(|value| value == "write")
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn golden(layout: u32) -> PathBuf {
    package().join(format!("golden/world.v{layout}.json"))
}

/// What a view is put away as.
fn stored(inner: &Inner) -> Stored {
    let Inner { world, heads, unreadable, assumed_upto } = inner.clone();
    let digest = hex(&world.digest());
    Stored { digest, unreadable, assumed_upto, heads: heads.into_iter().collect(), world }
}

#[test]
fn no_snapshot_has_changed_within_a_layout() {
    let made = format!("{}\n", serde_json::to_string_pretty(&stored(&sample::inner())).unwrap());
    let path = golden(LAYOUT);
    if !path.exists() && asked_to_write("PURSER_GOLDEN") {
        fs::write(&path, &made).unwrap();
    }
    let on_file = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; see the head of this file", path.display()));
    assert!(
        made == on_file,
        "what a snapshot holds is not what layout {LAYOUT} was: raise `LAYOUT`, give what is new a default or an \
         upcast, and have {} made",
        golden(LAYOUT + 1).display()
    );
}

#[test]
fn the_sample_leaves_nothing_empty() {
    /// Notes of every place whether there is something in it anywhere.
    fn look(path: &str, value: &Value, filled: &mut BTreeMap<String, bool>) {
        let is_empty = match value {
            Value::Null => true,
            Value::Array(items) => {
                items.iter().for_each(|item| look(&format!("{path}[]"), item, filled));
                items.is_empty()
            }
            Value::Object(fields) => {
                for (name, item) in fields {
                    // A number is a port, and one is like another.
                    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
                    let name = if is_number { "#" } else { name };
                    look(&format!("{path}.{name}"), item, filled);
                }
                fields.is_empty()
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        *filled.entry(path.to_owned()).or_default() |= !is_empty;
    }
    let mut filled = BTreeMap::new();
    look("", &serde_json::to_value(stored(&sample::inner())).unwrap(), &mut filled);
    for (path, is_filled) in filled {
        // What a pod is to be is of the events' layouts, which have a check of their own.
        // And a soft limit in percent stands in the place of an amount.
        let is_exempt = path.contains(".spec.") || path.ends_with(".softPercent");
        assert!(is_filled || is_exempt, "{path} is empty");
    }
}

#[test]
fn snapshots_of_every_layout_are_read() {
    for layout in 1..=LAYOUT {
        let body = fs::read(golden(layout)).unwrap();
        let read = read(layout, &body).unwrap();
        let today = stored(&sample::inner());
        assert_eq!((read.heads.len(), read.world.pods.len()), (today.heads.len(), today.world.pods.len()));
        assert!(layout < LAYOUT || read == today);
    }
    assert!(read(LAYOUT + 1, &fs::read(golden(LAYOUT)).unwrap()).is_err());
}

fn restore(live: &mut LiveWorld, body: &[u8], is_only_way: bool) -> Result<Streams, SnapshotError> {
    live.restore(&StoredSnapshot { layout: LAYOUT, seq: Seq(42), body, is_only_way })
}

#[test]
fn what_is_read_otherwise_than_it_was_put_away_counts_only_where_nothing_else_can() {
    let mut inner = sample::inner();
    inner.assumed_upto = None;
    let sound = serde_json::to_vec(&stored(&inner)).unwrap();
    let mut live = LiveWorld::new();
    let streams = restore(&mut live, &sound, false).unwrap();
    assert_eq!((streams.len(), live.assumed_upto(), live.unreadable()), (2, None, 2));
    // As of a release whose world had a field that is no more.
    let mut otherwise: Value = serde_json::from_slice(&sound).unwrap();
    otherwise["digest"] = "00".repeat(32).into();
    otherwise["world"]["bygone"] = 1.into();
    let otherwise = serde_json::to_vec(&otherwise).unwrap();
    let mut live = LiveWorld::new();
    assert!(restore(&mut live, &otherwise, false).is_err());
    assert_eq!(live.read(World::digest), World::default().digest(), "it is as it was");
    assert_eq!(restore(&mut live, &otherwise, true).unwrap(), streams);
    assert_eq!((live.read(World::clone), live.assumed_upto()), (inner.world, Some(Seq(42))));
    // It is told on by the snapshots after it, which are folded again as well once the records are back.
    let next = serde_json::to_vec(&stored(&live.inner.read().unwrap())).unwrap();
    let mut later = LiveWorld::new();
    assert!(restore(&mut later, &next, false).is_err());
    restore(&mut later, &next, true).unwrap();
    assert_eq!(later.assumed_upto(), Some(Seq(42)));
}

fn open(dir: &Path, live: &LiveWorld) -> Journal {
    let config = JournalConfig {
        segment_bytes: SEGMENT_BYTES_MIN,
        snapshot_every: u64::MAX,
        ..JournalConfig::new(dir)
    };
    let (replayed, committed) = (live.clone(), live.clone());
    let replay = move |record| replayed.replay(record);
    let commit = move |records: &[_]| committed.commit(records);
    Journal::open_with_snapshots(config, || NOW, replay, commit, live.clone()).unwrap()
}

async fn append(
    journal: &Journal,
    stream: StreamId,
    expected: u64,
    events: Vec<Event>,
) -> Result<(), AppendError> {
    let origin = Origin { cause: Cause::Node, correlation: Uuid::from_u128(1), principal: Principal::node() };
    let writes = vec![StreamWrite { stream, expected: StreamVersion(expected), events }];
    journal.append(Append { writes, origin, command: None }).await.map(|_| ())
}

/// A journal without its first records; a pod has all of its own there.
async fn make(home: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let (dir, live) = (folder.path().join("journal"), LiveWorld::new());
    let journal = open(&dir, &live);
    let started: Started = sample::golden("node.started.v2");
    let node = started.node.stream();
    append(&journal, node, 0, vec![NodeEvent::from(started).into()]).await.unwrap();
    let admitted = PodEvent::Admitted(Box::new(sample::admitted(POD.0.as_u128())));
    let begun = PodEvent::from(ProvisioningStarted { run: 1 });
    append(&journal, POD.stream(), 0, vec![admitted.into(), begun.into()]).await.unwrap();
    let mut version = 1;
    while journal.segments().len() < 2 {
        let reason = "a long reason ".repeat(1_000);
        append(&journal, node, version, vec![NodeEvent::from(Cordoned { reason }).into()]).await.unwrap();
        version += 1;
    }
    append(&journal, node, version, vec![NodeEvent::from(Uncordoned {}).into()]).await.unwrap();
    journal.close().unwrap();
    let journal = open(&dir, &LiveWorld::new());
    for segment in journal.segments() {
        journal.compress(segment.first).unwrap();
    }
    assert_eq!(journal.trim(Seq(u64::MAX), |_| true).unwrap().segments, 2);
    journal.close().unwrap();
    keep(&dir, &home.join("journal"));
    let world = serde_json::to_string_pretty(&live.read(World::clone)).unwrap();
    fs::write(home.join("world.json"), format!("{world}\n")).unwrap();
}

/// Keeps what a start without a store needs, without the room that nothing was written to.
fn keep(dir: &Path, to: &Path) {
    for part in ["", "segments", "snapshots"] {
        fs::create_dir_all(to.join(part)).unwrap();
        for entry in fs::read_dir(dir.join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && !path.ends_with("lock") {
                let mut bytes = fs::read(&path).unwrap();
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                if path.extension().is_some_and(|extension| extension == "seg") {
                    bytes.truncate(used);
                }
                fs::write(to.join(part).join(path.file_name().unwrap()), bytes).unwrap();
            }
        }
    }
}

#[test]
fn trimmed_journals_of_every_layout_are_opened() {
    actix::System::new().block_on(async {
        let home = |layout: u32| package().join(format!("formats/{layout}"));
        if !home(LAYOUT).exists() && asked_to_write("PURSER_FORMATS") {
            make(&home(LAYOUT)).await;
        }
        for layout in 1..=LAYOUT {
            let text = fs::read(home(layout).join("world.json")).unwrap_or_else(|error| {
                panic!("layout {layout} has no journal ({error}): see the head of this file")
            });
            let wanted: World = serde_json::from_slice(&text).unwrap();
            let (folder, live) = (tempfile::tempdir().unwrap(), LiveWorld::new());
            keep(&home(layout).join("journal"), folder.path());
            let journal = open(folder.path(), &live);
            assert!(journal.before().seq > Seq(3), "layout {layout}: the pod's records are there");
            assert_eq!(live.read(World::clone), wanted, "layout {layout}");
            // The pod's stream goes on where it was.
            let begun = || vec![PodEvent::from(ProvisioningStarted { run: 1 }).into()];
            let wrong = append(&journal, POD.stream(), 0, begun()).await.unwrap_err();
            assert!(matches!(wrong, AppendError::Conflict { actual: StreamVersion(2), .. }), "{wrong}");
            append(&journal, POD.stream(), 2, begun()).await.unwrap();
            journal.close().unwrap();
        }
    });
}
