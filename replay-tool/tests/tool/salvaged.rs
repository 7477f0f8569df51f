//! What survives of damaged journals: as it was, under the numbers that it had, and all else is told as lost.

use std::fs;
use std::path::Path;

use purser_events::{Seq, StreamVersion, Timestamp};
use purser_replay::Exit;
use purser_storage::offline::Source;
use purser_storage::{Append, Journal, JournalConfig, StreamWrite};
use serde_json::{Value, json};

use crate::answers::Lived;
use crate::support::{START, event, golden, tool};

const SEGMENT: &str = "journal/segments/00000000000000000001.seg";

/// The frames of a folder's records, by their numbers.
fn frames(dir: &str) -> Vec<(u64, Vec<u8>)> {
    let records = Source::from_folder(Path::new(dir)).unwrap();
    records
        .map(|stored| {
            let stored = stored.unwrap();
            (stored.header.seq.0, stored.as_bytes().to_vec())
        })
        .collect()
}

#[test]
fn what_stands_before_and_behind_a_damage_is_as_it_was() {
    for seed in 0..6 {
        let lived = Lived::new(seed, 60);
        let all = frames(&lived.path("journal"));
        let bytes = fs::read(lived.path(SEGMENT)).unwrap();
        // One record in three of its bytes: in the middle, or near either end.
        let count = all.len();
        let bad = [2, count / 2, count - 2][usize::try_from(seed % 3).unwrap()];
        let frame = &all[bad].1;
        let at = bytes.windows(frame.len()).position(|window| window == frame.as_slice()).unwrap();
        let mut bytes = bytes.clone();
        bytes[at + frame.len() / 2] ^= 4;
        fs::write(lived.path(SEGMENT), bytes).unwrap();
        let to = lived.path("salvaged");
        let told = lived.tool(&["salvage", "--to", &to, "-o", "json"]);
        assert_eq!(told.exit, Exit::Integrity, "seed {seed}: {}{}", told.out, told.notes);
        let told: Value = serde_json::from_str(&told.out).unwrap();
        let report: Value =
            serde_json::from_str(&fs::read_to_string(format!("{to}/report.json")).unwrap()).unwrap();
        assert_eq!(told, report);
        let journal = format!("{to}/journal");
        assert_eq!(tool(&["verify", "--dir", &journal]).exit, Exit::Ok, "seed {seed}");
        assert_eq!(frames(&journal), all[..bad], "seed {seed}");
        assert_eq!(told["lost"], json!([{ "first": bad + 1, "last": bad + 1 }]), "seed {seed}");
        // The one behind it is told, the others follow on that.
        let part = &told["parts"][0];
        assert_eq!((&part["first"], &part["last"]), (&json!(bad + 2), &json!(count)), "seed {seed}");
        assert_eq!(part["knownByChecksumAlone"]["header"]["seq"], json!(bad + 2));
        if bad + 2 < count {
            let export = format!("{to}/{}", part["export"].as_str().unwrap());
            assert_eq!(tool(&["verify", "--export", &export]).exit, Exit::Ok);
            let behind = tool(&["log", "-o", "oneline", "--export", &export]);
            let whole = tool(&["log", "-o", "oneline", "--dir", &journal]);
            assert_eq!(behind.out.lines().count() + whole.out.lines().count() + 2, count, "seed {seed}");
        }
    }
}

#[test]
fn a_node_goes_on_with_what_was_salvaged() {
    let lived = Lived::new(3, 40);
    let bytes = fs::read(lived.path(SEGMENT)).unwrap();
    let all = frames(&lived.path("journal"));
    let frame = &all[30].1;
    let at = bytes.windows(frame.len()).position(|window| window == frame.as_slice()).unwrap();
    let mut bytes = bytes.clone();
    bytes[at + 9] ^= 1;
    fs::write(lived.path(SEGMENT), bytes).unwrap();
    let to = lived.path("salvaged");
    let told = lived.tool(&["salvage", "--to", &to]);
    let out = told.out.replace(&to, "TO");
    golden("salvage.txt", &crate::support::Told { out, ..told });
    let journal = format!("{to}/journal");
    let mut replayed = 0;
    let opened = Journal::open(
        JournalConfig::new(&journal),
        || Timestamp(START + 90_000_000_000),
        |_| replayed += 1,
        |_| {},
    );
    let opened = opened.unwrap();
    assert_eq!(opened.head().seq, Seq(30));
    let stopped = event("node.stopped", &json!({ "reason": "salvaged" }));
    let node = lived.steps[0].stream;
    let version = lived.steps[..30].iter().filter(|step| step.stream == node).count() as u64;
    let write = StreamWrite { stream: node, expected: StreamVersion(version), events: vec![stopped] };
    let append = Append { writes: vec![write], origin: lived.steps[0].origin.clone(), command: None };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(opened.append(append)).unwrap().records[0].header.seq, Seq(31));
    opened.close().unwrap();
    assert_eq!(replayed, 30);
    assert_eq!(tool(&["verify", "--dir", &journal]).exit, Exit::Ok);
    // Nothing that is there is written over.
    assert_eq!(lived.tool(&["salvage", "--to", &to]).exit, Exit::Io);
}

#[test]
fn of_a_sound_journal_all_survives() {
    let lived = Lived::new(5, 60);
    let to = lived.path("salvaged");
    let told = lived.tool(&["salvage", "--to", &to]);
    assert_eq!(told.exit, Exit::Ok, "{}{}", told.out, told.notes);
    assert_eq!(frames(&format!("{to}/journal")), frames(&lived.path("journal")));
    let export = lived.path("export");
    assert_eq!(lived.tool(&["export", &export]).exit, Exit::Ok);
    let mut bytes = fs::read(&export).unwrap();
    bytes.truncate(bytes.len() - 100);
    fs::write(&export, bytes).unwrap();
    let cut = lived.path("cut");
    let told = tool(&["salvage", "--to", &cut, "--export", &export]);
    assert_eq!(told.exit, Exit::Integrity);
    assert!(told.out.contains("does not say how many records there were"), "{}", told.out);
    let all = frames(&lived.path("journal"));
    let kept = frames(&format!("{cut}/journal"));
    assert_eq!(kept, all[..kept.len()]);
    assert!(kept.len() + 3 > all.len(), "{} of {}", kept.len(), all.len());
}
