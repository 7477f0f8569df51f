//! Pods that are gone, taken out of the journal of a real service: nothing of them is left in its folder, a kill at any
//! moment is made good, and the journal is sound and the same before and after.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use purser_events::PodUid;
use purser_storage::disk::{Disk, SystemDisk};
use purser_storage::redaction::{Subject, redact};
use purser_tests::binaries::Binaries;
use purser_tests::bounded;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::{Value, json};
use uuid::Uuid;

/// Stands in the pod's specification and nowhere else.
const WORD: &str = "hapaxlegomenon";

/// A pod that says the word in its environment and in its arguments, and is named by it.
fn telling() -> String {
    let container = json!({
        "name": "main",
        "command": ["/bin/sh"],
        "args": ["-c", format!("sleep 600; : {WORD}")],
        "env": [{ "name": "SECRET", "value": WORD }],
    });
    pod(WORD, &container)
}

fn pod(name: &str, container: &Value) -> String {
    let metadata = json!({ "name": name });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": { "containers": [container] } })
        .to_string()
}

/// A service with such a pod that came and went, and another that stays; its segments are small, and it was started
/// again in between.
fn service() -> Purserd {
    let more = "[journal]\nsegment-bytes = 262144\nsnapshot-every = 4\n".to_owned();
    let mut purserd = Purserd::start(&Setup { more, ..Setup::default() });
    purserd.apply(&pod("stays", &json!({ "name": "main", "command": ["/bin/sleep", "600"] })));
    purserd.apply(&telling());
    for name in ["stays", WORD] {
        purserd.purser_ok(["wait", name, "--for=condition=Ready"]);
    }
    // A refusal that names it is remembered too.
    let conflict = telling().replace("SECRET", "OTHER");
    let path = purserd.folder().join("conflict.yaml");
    fs::write(&path, conflict).unwrap();
    assert!(!purserd.purser(["apply", "-f", path.to_str().unwrap()]).status.success());
    purserd.kill9();
    purserd.restart();
    purserd.purser_ok(["delete", WORD, "--wait"]);
    purserd
}

fn journal(config: &Path, args: &[&str]) -> Output {
    bounded::output(
        Command::new(&Binaries::built().purserd).arg("--config").arg(config).arg("journal").args(args),
    )
}

#[track_caller]
fn journal_ok(config: &Path, args: &[&str]) -> String {
    let output = journal(config, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn replay(data_dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let dir = data_dir.join("journal");
    let mut command = Command::new(&Binaries::built().purser_replay);
    let output = bounded::output(command.arg("--dir").arg(dir).args(args));
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// Files that have the word in their bytes or in their names.
fn with_the_word(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().contains(WORD) {
            found.push(path.clone());
        }
        if path.is_dir() {
            found.extend(with_the_word(&path));
        } else if path.is_file()
            && fs::read(&path).unwrap().windows(WORD.len()).any(|it| it == WORD.as_bytes())
        {
            found.push(path);
        }
    }
    found
}

/// Sees that the word is nowhere, compressed or not, and that the journal is sound.
#[track_caller]
fn assert_gone(what: &str, data_dir: &Path) {
    assert_eq!(with_the_word(data_dir), Vec::<PathBuf>::new(), "{what}");
    let (code, log) = replay(data_dir, &["log", "-o", "jsonl"]);
    assert_eq!((code, log.contains(WORD)), (Some(0), false), "{what}");
    let (code, verdict) = replay(data_dir, &["verify"]);
    assert_eq!(code, Some(0), "{what}: {verdict}");
    assert!(
        verdict.starts_with("verdict   sound") && verdict.contains("payloads were redacted"),
        "{what}: {verdict}"
    );
}

fn status(purserd: &Purserd) -> Value {
    serde_json::from_str(&purserd.purser_ok(["status", "-o", "json"])).unwrap()
}

#[test]
fn nothing_of_a_redacted_pod_is_left_and_the_journal_is_sound() {
    let mut purserd = service();
    let (config, data_dir) = (purserd.config(), purserd.data_dir());
    let in_use = journal(&config, &["redact", WORD, "--reason", "asked for"]);
    assert_eq!(in_use.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&in_use.stderr).contains("stop it first; its pods go on"));
    assert!(purserd.stop().success());
    assert!(!with_the_word(&data_dir).is_empty());

    let refused = journal(&config, &["redact", "stays", "--reason", "asked for"]);
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not gone: delete it first"));
    let unknown = journal(&config, &["redact", "nobody", "--reason", "asked for"]);
    assert_eq!(unknown.status.code(), Some(1));
    let unsayable = journal(&config, &["redact", WORD, "--reason", "two\nlines"]);
    assert_eq!(unsayable.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unsayable.stderr).contains("one line of text"));
    let plan = journal_ok(&config, &["redact", WORD, "--reason", "asked for", "--dry-run", "--json"]);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let payloads = plan["pods"][0]["payloads"].as_u64().unwrap();
    assert!(payloads > 5 && plan["workers"].as_array().unwrap().len() == 1, "{plan}");
    assert!(!with_the_word(&data_dir).is_empty());

    let done = journal_ok(&config, &["redact", WORD, "--reason", "ticket 4711", "--json"]);
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!(done["records"], payloads, "{done}");
    assert_gone("redacted", &data_dir);
    let told: Value = serde_json::from_str(&journal_ok(&config, &["status", "--json"])).unwrap();
    assert_eq!((&told["redactions"]["over"], &told["redactions"]["pending"]), (&json!(1), &Value::Null));
    let uid = plan["pods"][0]["uid"].as_str().unwrap();
    let again = journal_ok(&config, &["redact", "--uid", uid, "--reason", "once more"]);
    assert!(again.contains("nothing left"), "{again}");

    purserd.restart();
    let lived = status(&purserd);
    assert_eq!((&lived["inconsistencies"], &lived["unreadableRecords"]), (&json!([]), &json!(0)));
    assert!(purserd.purser_ok(["get", "pods"]).contains("stays"));
    assert!(purserd.stop().success());
    let (seq, digest) = (lived["seq"].to_string(), lived["worldDigest"].as_str().unwrap());
    let (_, replayed) = replay(&data_dir, &["state", "--digest", "--at", &seq]);
    assert!(replayed.contains(digest), "{replayed} of record {seq}, where the node had {digest}");
    assert_gone("after another life", &data_dir);
    // While it was there, the pod is told as one of which nothing more is known.
    let (_, log) = replay(&data_dir, &["log", "--stream", &format!("pod/{uid}"), "-o", "oneline"]);
    assert!(log.contains("pod.admitted") && log.contains("payload was redacted"), "{log}");
    let admitted = log.split(' ').next().unwrap();
    let (code, state) = replay(&data_dir, &["state", "--pod", uid, "--at", admitted]);
    assert!(code == Some(0) && state.contains("withheld"), "{state}");
}

/// Payloads that were taken out without a word about it are damage, and so is a segment that is not the recorded one.
#[test]
fn what_was_taken_out_without_a_record_is_named_as_damage() {
    let mut purserd = service();
    purserd.apply(&pod("more", &json!({ "name": "main", "command": ["/bin/sleep", "600"] })));
    assert!(purserd.stop().success());
    let (config, data_dir) = (purserd.config(), purserd.data_dir());
    // Seals a segment, which the next life of the service puts on record.
    journal_ok(&config, &["redact", WORD, "--reason", "asked for"]);
    purserd.restart();
    purserd.await_event("node.segment-sealed");
    assert!(purserd.stop().success());
    assert_gone("redacted", &data_dir);
    let (_, state) = replay(&data_dir, &["state", "-o", "json"]);
    let state: Value = serde_json::from_str(&state).unwrap();
    let uid = state["world"]["registry"]["entries"]["default/stays"]["uid"].as_str().unwrap();
    let streams = BTreeSet::from([PodUid(uid.parse().unwrap()).stream()]);
    let subject = Subject { streams: &streams, answer: &|_| None };
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    redact(&disk, &data_dir.join("journal"), Uuid::from_u128(1), &subject).unwrap();
    let (code, verdict) = replay(&data_dir, &["verify"]);
    assert_eq!(code, Some(4), "{verdict}");
    let uncovered = format!("of pod/{uid} is redacted, and no record says that it was to be");
    assert!(verdict.contains(&uncovered), "{verdict}");
    assert!(verdict.contains("is not the one that was sealed"), "{verdict}");
}

/// A stopped service's folder, to be copied for each of many ends.
struct Template {
    purserd: Purserd,
    uid: String,
}

impl Template {
    fn new() -> Template {
        let mut purserd = service();
        assert!(purserd.stop().success());
        let plan =
            journal_ok(&purserd.config(), &["redact", WORD, "--reason", "plan", "--dry-run", "--json"]);
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let uid = plan["pods"][0]["uid"].as_str().unwrap().to_owned();
        Template { purserd, uid }
    }

    /// A copy of the data folder with a config of its own.
    fn copy(&self, to: &Path) -> (PathBuf, PathBuf) {
        let (data_dir, config) = (to.join("data"), to.join("purserd.toml"));
        let copied =
            bounded::output(Command::new("cp").arg("-a").arg(self.purserd.data_dir()).arg(&data_dir));
        assert!(copied.status.success());
        let text = fs::read_to_string(self.purserd.config()).unwrap();
        let own = self.purserd.folder().to_str().unwrap();
        fs::write(&config, text.replace(own, to.to_str().unwrap())).unwrap();
        (data_dir, config)
    }

    /// Redacts a copy and kills the program at the n-th such call to the system; then does it again. Gives whether it
    /// came to a kill.
    fn killed_at(&self, call: &str, number: usize) -> bool {
        let what = format!("killed at {call} {number}");
        let folder = tempfile::tempdir().unwrap();
        let (data_dir, config) = self.copy(folder.path());
        let redact = ["journal", "redact", "--uid", &self.uid, "--reason", "asked for"];
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .args([
                format!("trace={call}"),
                "-e".to_owned(),
                format!("inject={call}:signal=KILL:when={number}"),
            ])
            .arg(&Binaries::built().purserd)
            .arg("--config")
            .arg(&config)
            .args(redact);
        let output = bounded::output(&mut strace);
        let killed = output.status.signal() == Some(9) || output.status.code() == Some(137);
        assert!(killed || output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        if killed {
            // What is there can be read as it is.
            let (code, verdict) = replay(&data_dir, &["verify"]);
            assert_eq!(code, Some(0), "{what}: {verdict}");
            journal_ok(&config, &redact[1..]);
        }
        assert_gone(&what, &data_dir);
        killed
    }
}

#[test]
fn a_redaction_that_is_killed_at_any_change_of_names_is_finished() {
    let template = Template::new();
    for (call, step) in [("rename", 1), ("unlink", 2), ("unlinkat", 5), ("fdatasync", 5), ("fsync", 7)] {
        let kills = (1..).step_by(step).take_while(|&number| template.killed_at(call, number)).count();
        eprintln!("{call}: {kills} kills");
        assert!(kills > 0, "{call} is never called");
    }
}

/// Whoever starts the service next needs to know nothing of a redaction that a kill cut short.
#[test]
fn a_redaction_that_was_killed_is_finished_before_the_service_opens() {
    let template = Template::new();
    let mut purserd = template.purserd;
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=rename"])
        // The first segment that was written anew takes its place; a snapshot and the list came before.
        .args(["-e", "inject=rename:signal=KILL:when=3"])
        .arg(&Binaries::built().purserd)
        .arg("--config")
        .arg(purserd.config())
        .args(["journal", "redact", WORD, "--reason", "asked for"]);
    assert!(!bounded::output(&mut strace).status.success());
    let told: Value = serde_json::from_str(&journal_ok(&purserd.config(), &["status", "--json"])).unwrap();
    assert_ne!(told["redactions"]["pending"], Value::Null);
    purserd.restart();
    assert!(purserd.log().contains("a redaction was finished"), "{}", purserd.log());
    assert!(purserd.stop().success());
    assert_gone("started", &purserd.data_dir());
}

/// A pod with the word in its specification alone, and others that fill a segment.
fn quiet_and_bulky(purserd: &Purserd) {
    purserd.apply(&telling().replace(&format!("\"name\":\"{WORD}\""), "\"name\":\"quiet\""));
    for number in 0..12 {
        let bulk = json!([{ "name": "BULK", "value": format!("{number:08}").repeat(3_900) }]);
        let container = json!({ "name": "main", "command": ["/bin/sleep", "600"], "env": bulk });
        purserd.apply(&pod(&format!("bulky-{number}"), &container));
    }
}

/// With keys, the word is nowhere on disk from the start, and no copy of it can be read once the key is destroyed.
#[test]
fn what_was_sealed_with_a_key_is_unreadable_everywhere_once_the_key_is_destroyed() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let more = format!(
        "[journal]\nsegment-bytes = 262144\nsnapshot-every = 0\nencryption = \"subjects\"\n\n\
         [journal.archive]\nfolder = {archive:?}\n"
    );
    let mut purserd = Purserd::start(&Setup { more, ..Setup::default() });
    quiet_and_bulky(&purserd);
    purserd.await_event("node.segment-sealed");
    bounded::until("a segment in the archive", || {
        archive.is_dir() && fs::read_dir(&archive).unwrap().count() > 0
    });
    bounded::until("nothing to archive", || status(&purserd)["segmentsToArchive"] == 0);
    let (config, data_dir) = (purserd.config(), purserd.data_dir());
    let keys = data_dir.join("keys/subjects");
    let keys = keys.to_str().unwrap();
    let live = |more: &[&str]| {
        let socket = purserd.socket();
        let args = [&["--socket", socket.to_str().unwrap(), "log", "-o", "jsonl"][..], more].concat();
        let output = bounded::output(Command::new(&Binaries::built().purser_replay).args(args));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(live(&["--subject-keys", keys]).contains(WORD));
    let sealed = live(&[]);
    assert!(!sealed.contains(WORD) && sealed.contains("payload is sealed"));
    purserd.purser_ok(["delete", "quiet", "--wait"]);
    assert!(purserd.stop().success());

    assert_eq!(with_the_word(folder.path()), Vec::<PathBuf>::new());
    assert_eq!(with_the_word(&data_dir), Vec::<PathBuf>::new());
    // What an auditor, or a thief, would make of the archive.
    let copy = folder.path().join("copy");
    fs::create_dir_all(copy.join("journal/segments")).unwrap();
    fs::copy(data_dir.join("journal/format"), copy.join("journal/format")).unwrap();
    for entry in fs::read_dir(&archive).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join("journal/segments").join(path.file_name().unwrap())).unwrap();
    }
    let read = |more: &[&str]| replay(&copy, &[&["log", "-o", "jsonl"][..], more].concat()).1;
    assert!(!read(&[]).contains(WORD) && read(&["--subject-keys", keys]).contains(WORD));

    let done = journal_ok(&config, &["redact", "quiet", "--reason", "asked for", "--json"]);
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!((&done["keysDestroyed"], &done["archived"]), (&json!(1), &json!([1])), "{done}");
    assert!(!read(&["--subject-keys", keys]).contains(WORD));
    let (code, verdict) = replay(&copy, &["verify", "--subject-keys", keys]);
    assert!(code == Some(0) && verdict.contains("sealed with keys that are not at hand"), "{verdict}");
    let (code, verdict) = replay(&data_dir, &["verify", "--subject-keys", keys]);
    assert!(code == Some(0) && verdict.contains("payloads were redacted"), "{verdict}");

    purserd.restart();
    let lived = status(&purserd);
    assert_eq!((&lived["inconsistencies"], &lived["unreadableRecords"]), (&json!([]), &json!(0)));
    assert!(purserd.stop().success());
    let (seq, digest) = (lived["seq"].to_string(), lived["worldDigest"].as_str().unwrap());
    let (_, replayed) = replay(&data_dir, &["state", "--digest", "--at", &seq, "--subject-keys", keys]);
    assert!(replayed.contains(digest), "{replayed} of record {seq}, where the node had {digest}");
}

/// A key that is not there for a while costs the pod nothing.
#[test]
fn a_pod_whose_key_is_missing_is_left_alone_until_it_is_back() {
    let more = "[journal]\nencryption = \"subjects\"\n".to_owned();
    let mut purserd = Purserd::start(&Setup { more, ..Setup::default() });
    purserd.apply(&pod("kept", &json!({ "name": "main", "command": ["/bin/sleep", "600"] })));
    purserd.await_event("pod.started");
    let worker = purserd.purser_ok(["get", "workers", "-o", "json"]);
    purserd.kill9();
    let (keys, away) = (purserd.data_dir().join("keys"), purserd.folder().join("away"));
    fs::rename(&keys, &away).unwrap();
    purserd.restart();
    assert!(!purserd.purser_ok(["get", "pods"]).contains("kept"));
    let lived = status(&purserd);
    assert_eq!((&lived["inconsistencies"], &lived["unreadableRecords"]), (&json!([]), &json!(0)));
    assert!(purserd.stop().success());
    fs::rename(&away, &keys).unwrap();
    purserd.restart();
    assert!(purserd.purser_ok(["get", "pods"]).contains("kept"));
    assert_eq!(purserd.purser_ok(["get", "workers", "-o", "json"]), worker);
}

#[test]
fn the_store_can_be_migrated_ahead_of_a_change_of_the_config() {
    let mut purserd = Purserd::start(&Setup::default());
    purserd.apply(&telling());
    let in_use = journal(&purserd.config(), &["migrate", "--to", "redb"]);
    assert_eq!(in_use.status.code(), Some(75));
    assert!(purserd.stop().success());
    let told = journal_ok(&purserd.config(), &["migrate", "--to", "redb"]);
    assert!(told.contains("set `journal.backend = \"redb\"`"), "{told}");
    let text = fs::read_to_string(purserd.config()).unwrap();
    fs::write(purserd.config(), format!("{text}\n[journal]\nbackend = \"redb\"\n")).unwrap();
    purserd.restart();
    assert!(!purserd.log().contains("made again from the segments"), "{}", purserd.log());
    assert!(purserd.purser_ok(["get", "pods"]).contains(WORD));
    assert!(purserd.stop().success());
    let journal = purserd.data_dir().join("journal");
    assert!(journal.join("redb").exists() && !journal.join("sled").exists());
}
