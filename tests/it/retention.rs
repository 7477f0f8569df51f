//! A service with small segments: they are sealed, put on record, compressed, archived and, once snapshots make them
//! unneeded, trimmed; what is left of its journal and what the archive has are the whole history.

use std::fs;
use std::path::Path;
use std::process::Command;

use purser_tests::binaries::Binaries;
use purser_tests::purserd::{Purserd, Setup};
use purser_tests::{bounded, http};
use serde_json::{Value, json};

/// Enough of them fill a segment of 256 KiB.
const PODS: usize = 16;
/// Where a compressed segment's first block begins: behind its front.
const FIRST_BLOCK: usize = 104;

fn setup(archive: &Path) -> Setup {
    let more = format!(
        "[journal]\nsegment-bytes = 262144\nsnapshot-every = 8\n\n[journal.archive]\nfolder = {archive:?}\n\n\
         [journal.retention]\nage-ms = 0\nsegments-min = 0\n"
    );
    Setup { more, ..Setup::default() }
}

/// A pod that ends at once and whose specification takes 31 KB.
fn bulky(number: usize) -> String {
    let container = json!({
        "name": "main",
        "command": ["/bin/true"],
        "env": [{ "name": "BULK", "value": format!("{number:08}").repeat(3_900) }],
    });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": format!("bulky-{number}") },
        "spec": { "restartPolicy": "Never", "containers": [container] },
    })
    .to_string()
}

fn status(purserd: &Purserd) -> Value {
    serde_json::from_str(&purserd.purser_ok(["status", "-o", "json"])).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).map(|entries| entries.map(|it| it.unwrap().file_name())).unwrap();
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn replay(args: &[&str]) -> (Option<i32>, String) {
    let output = bounded::output(Command::new(&Binaries::built().purser_replay).args(args));
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// A service that has trimmed its journal, and was killed before and after. One pod is older than what is left.
fn trimmed(archive: &Path) -> Purserd {
    let mut purserd = Purserd::start(&setup(archive));
    for number in 0..PODS {
        purserd.apply(&bulky(number));
    }
    purserd.await_event("node.segment-sealed");
    bounded::until("two segments in the archive", || archive.is_dir() && names(archive).len() >= 2);
    bounded::until("nothing to archive", || status(&purserd)["segmentsToArchive"] == 0);
    for number in 1..PODS {
        purserd.purser_ok(["delete", &format!("bulky-{number}"), "--wait"]);
    }
    purserd.kill9();
    purserd.restart();
    bounded::until("the first segments are gone", || {
        status(&purserd)["journalFirst"].as_u64().is_some_and(|first| first > 1)
    });
    purserd.kill9();
    purserd.restart();
    purserd
}

#[test]
fn what_was_trimmed_is_archived_and_the_whole_can_be_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let mut purserd = trimmed(&archive);
    // Who asks for what is gone is told so, and where to go on.
    let feed =
        |from: u64| http::request(&purserd.socket(), "GET", &format!("/v1/events?from={from}"), None, "");
    let first = || status(&purserd)["journalFirst"].as_u64().unwrap();
    // More may go between two questions, as long as there is more to go.
    let (begins, gone) = loop {
        let (begins, gone) = (first(), feed(1).unwrap());
        if first() == begins {
            break (begins, gone);
        }
    };
    assert_eq!((gone.status, &gone.body["code"]), (410, &json!("journal-trimmed")));
    assert!(gone.body["errors"][0]["message"].as_str().unwrap().contains(&begins.to_string()), "{gone:?}");
    let said = purserd.purser_ok(["describe", "pod", "bulky-0"]);
    assert!(
        said.contains("\nEvents:\n"),
        "a pod that was admitted before that is described by what is left: {said}"
    );
    let beyond = feed(1_000_000).unwrap();
    assert_eq!((beyond.status, &beyond.body["code"]), (400, &json!("beyond-head")));
    let history: Value = serde_json::from_str(&purserd.purser_ok(["history", "-o", "json"])).unwrap();
    assert!(history["first"].as_u64().unwrap() >= begins, "{history}");
    purserd.apply(&bulky(PODS));
    bounded::until("nothing to archive", || status(&purserd)["segmentsToArchive"] == 0);
    let lived = status(&purserd);
    let (first, seq) = (lived["journalFirst"].as_u64().unwrap(), lived["seq"].to_string());
    let digest = lived["worldDigest"].as_str().unwrap();
    assert!(purserd.stop().success());

    let journal = purserd.data_dir().join("journal");
    let left = names(&journal.join("segments"));
    assert!(left.iter().all(|name| name[..20].parse::<u64>().unwrap() >= first), "{first}: {left:?}");
    let (dir, kept) = (journal.to_str().unwrap(), archive.to_str().unwrap());
    let (code, verdict) = replay(&["--dir", dir, "verify"]);
    assert_eq!(code, Some(0), "{verdict}");
    assert!(verdict.starts_with("verdict   sound") && verdict.contains("\nassumed   record "), "{verdict}");
    // What was true cannot be told without the first records, and is what the node lived with them.
    assert_eq!(replay(&["--dir", dir, "state", "--digest"]).0, Some(2));
    let (code, told) = replay(&["--dir", dir, "--archive", kept, "state", "--digest", "--at", &seq]);
    assert_eq!(code, Some(0));
    assert!(told.contains(digest), "{told} of record {seq}, where the node had {digest}");
    let (code, verdict) = replay(&["--dir", dir, "--archive", kept, "verify"]);
    assert_eq!(code, Some(0), "{verdict}");
    assert!(verdict.contains("\ntrusted   records 1 to "), "{verdict}");
    let (_, log) = replay(&["--dir", dir, "--archive", kept, "log", "-o", "jsonl"]);
    let count = |kind| log.lines().filter(|line| line.contains(kind)).count();
    let (seals, trims) = (count("node.segment-sealed"), count("node.journal-trimmed"));
    assert!(seals >= 2 && names(&archive).len() >= seals, "{seals} seals, {:?}", names(&archive));
    assert!((1..=seals).contains(&trims), "{trims} trims");
    // By itself it is a source as well, whose end nobody knows.
    let (code, alone) = replay(&["--archive", kept, "verify"]);
    assert_eq!(code, Some(0), "{alone}");
    assert!(alone.contains("\ntrusted   records 1 to ") && alone.contains("\nend       "), "{alone}");
    let (code, listed) = replay(&["--dir", kept, "log", "-o", "jsonl"]);
    assert_eq!(code, Some(0));
    assert!(
        log.starts_with(&listed) && listed.lines().count() > 1,
        "what is archived is the journal's beginning"
    );
}

/// A start from a snapshot does not read the oldest segments: what was damaged in them must be noticed all the same.
#[test]
fn a_segment_that_is_damaged_later_is_named_by_the_running_service() {
    // Longer than a compressed block, of which a start reads the last: there the footer is.
    let more = "[journal]\nsegment-bytes = 1310720\nsnapshot-every = 8\n";
    let mut purserd = Purserd::start(&Setup { more: more.to_owned(), ..Setup::default() });
    for number in 0..3 * PODS {
        purserd.apply(&bulky(number));
    }
    let segments = purserd.data_dir().join("journal/segments");
    let first = segments.join("00000000000000000001.seg.zst");
    bounded::until("the first segment is compressed", || first.exists());
    purserd.purser_ok(["delete", "--all", "--wait"]);
    assert!(purserd.stop().success());
    let mut bytes = fs::read(&first).unwrap();
    bytes[FIRST_BLOCK + 100] ^= 1;
    fs::write(&first, bytes).unwrap();

    purserd.restart();
    bounded::until("the damage is found", || status(&purserd)["damagedSegments"] == json!([1]));
    let told = purserd.purser_ok(["status"]);
    assert!(told.contains("Damaged:") && told.contains("segments from records 1:"), "{told}");
    assert!(purserd.metrics().contains("\npurser_journal_segments_damaged 1\n"));
    // What goes on is not touched by it.
    purserd.apply(&bulky(0));
    assert!(purserd.stop().success());
    let journal = purserd.data_dir().join("journal");
    let (code, verdict) = replay(&["--dir", journal.to_str().unwrap(), "verify"]);
    assert_eq!(code, Some(4), "{verdict}");
}
