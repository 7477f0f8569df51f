//! The tool as an auditor uses it: what it prints, to where, and how it ends.
//!
//! Texts are in `golden/`; one that is absent is written by `PURSER_GOLDEN=write`.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use purser_events::event::LAYOUTS;
use purser_events::{
    Cause, CommandId, Decode, Event, NodeUid, Origin, PodUid, Principal, Seq, StreamId, StreamVersion,
    Timestamp, WorkerUid,
};
use purser_replay::{Exit, Surroundings};
use purser_storage::{Append, Journal, JournalConfig, StreamWrite};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

const NODE: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0001);
const POD: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0002);
const WORKER: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0003);
const BOOT: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0004);
const COMMAND: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0005);

/// 2026-03-01T12:00:00Z; each record is a second later than the one before.
const START: i64 = 1_772_366_400_000_000;

struct Json;

impl Decode for Json {
    type Error = serde_json::Error;

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

fn event(name: &str, payload: &Value) -> Event {
    let layout = LAYOUTS.iter().find(|layout| layout.name == name).unwrap();
    Event::decode(layout.number, layout.version, payload.to_string().as_bytes(), &Json).unwrap()
}

/// A short life: the node starts, a pod is admitted, runs, and its process ends.
fn history() -> Vec<(StreamId, Event)> {
    let (node, pod, worker) = (NodeUid(NODE).stream(), PodUid(POD).stream(), WorkerUid(WORKER).stream());
    let process = json!({ "hostPid": 4242, "startTimeTicks": 777, "bootId": BOOT, "containerPid": 4242 });
    let at = "2026-03-01T12:00:05.500000Z";
    let container = json!({
        "name": "main", "image": null, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "5"], "args": [],
        "env": [{ "name": "GREETING", "value": "hi\u{1b}[2J" }], "workingDir": null,
        "resources": { "cpuLimit": 500, "cpuRequest": null, "memoryLimit": null, "memoryRequest": null },
        "ports": [], "mounts": [], "liveness": null, "readiness": null, "startup": null,
        "user": { "uid": null, "gid": null, "nonRoot": false, "noNewPrivileges": false },
    });
    let spec = json!({
        "id": { "namespace": "default", "name": "web" }, "labels": {}, "annotations": {}, "runtime": "process",
        "restartPolicy": "Always", "terminationGraceS": 30, "fsGroup": null, "volumes": [],
        "initContainers": [], "containers": [container],
    });
    let started = json!({
        "node": NODE, "hostname": "gpu-01", "bootId": BOOT, "version": "0.1.0", "kernel": "6.12", "cores": 8,
        "memory": 16_000_000_000_u64, "pid": 99,
        "recovery": { "closed": true, "tornBytes": 0, "snapshot": null, "store": "kept" },
    });
    let registered = json!({ "pod": POD, "container": "main", "attempt": 1, "process": process });
    let create = json!({ "container": "main", "attempt": 1, "worker": WORKER });
    let up = json!({ "container": "main", "attempt": 1, "process": process, "startedAt": at });
    let exit = json!({ "code": 137, "reason": "Error", "finishedAt": at });
    vec![
        (node, event("node.started", &started)),
        (pod, event("pod.admitted", &json!({ "uid": POD, "spec": spec, "supersedes": null }))),
        (pod, event("pod.provisioning-started", &json!({ "run": 1 }))),
        (pod, event("pod.setup-requested", &json!({ "attempt": 1 }))),
        (pod, event("pod.setup-completed", &json!({ "images": [] }))),
        (pod, event("pod.container-create-requested", &create)),
        (worker, event("worker.registered", &registered)),
        (pod, event("pod.container-started", &up)),
        (pod, event("pod.started", &json!({ "at": at }))),
        (worker, event("worker.exited", &json!({ "exit": exit }))),
        (node, event("node.stopped", &json!({ "reason": "SIGTERM" }))),
    ]
}

/// Writes the history into a folder and gives it as an export, too.
fn journal(dir: &Path) -> Vec<u8> {
    // The opening of the journal asks for the time too.
    let clock = std::cell::Cell::new(START - 1_000_000);
    let now = move || {
        clock.set(clock.get() + 1_000_000);
        Timestamp(clock.get())
    };
    let journal = Journal::open(JournalConfig::new(dir), now, |_| {}, |_| {}).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut versions = std::collections::BTreeMap::new();
    for (number, (stream, event)) in history().into_iter().enumerate() {
        let version: &mut u64 = versions.entry(stream).or_default();
        let cause = match number {
            0 => Cause::Node,
            1 => Cause::Command(CommandId(COMMAND)),
            _ => Cause::Record(Seq(number as u64)),
        };
        let origin = Origin { cause, correlation: COMMAND, principal: Principal::new("uid:1000") };
        let writes = vec![StreamWrite { stream, expected: StreamVersion(*version), events: vec![event] }];
        runtime.block_on(journal.append(Append { writes, origin, command: None })).unwrap();
        *version += 1;
    }
    let mut export = Vec::new();
    journal.export(Seq(1), &mut export).unwrap();
    journal.close().unwrap();
    export
}

struct Told {
    exit: Exit,
    out: String,
    notes: String,
}

fn surroundings() -> Surroundings {
    let standard_sockets = vec![PathBuf::from("/nonexistent/purser.sock")];
    Surroundings {
        socket: None,
        standard_sockets,
        input: || Box::new(Cursor::new(*b"PURSERX\n\x01\0and then nothing")),
    }
}

fn tool_in(surroundings: &Surroundings, args: &[&str]) -> Told {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let args = ["purser-replay"].iter().chain(args).map(OsString::from);
    let exit = purser_replay::run(args, surroundings, &mut out, &mut notes);
    Told { exit, out: String::from_utf8(out).unwrap(), notes: String::from_utf8(notes).unwrap() }
}

fn tool(args: &[&str]) -> Told {
    tool_in(&surroundings(), args)
}

/// A folder with an export of the history in it.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let export = journal(&dir.path().join("journal"));
        fs::write(dir.path().join("export"), export).unwrap();
        Fixture { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs a verb on the export.
    fn tool(&self, args: &[&str]) -> Told {
        tool(&[args, &["--export", &self.path("export")]].concat())
    }
}

#[track_caller]
fn golden(name: &str, told: &Told) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let notes = if told.notes.is_empty() { String::new() } else { format!("--- notes\n{}", told.notes) };
    let text = format!("--- exit {}\n{}{notes}", told.exit.code(), told.out);
    if !path.exists() && std::env::var("PURSER_GOLDEN").is_ok_and(|value| value == "write") {
        fs::write(&path, &text).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, wanted, "golden/{name}");
}

#[test]
fn listings_are_as_on_file() {
    let fixture = Fixture::new();
    golden("log-oneline.txt", &fixture.tool(&["log", "-o", "oneline"]));
    golden("log-text.txt", &fixture.tool(&["log", "--seq", "1..2"]));
    golden("log-jsonl.txt", &fixture.tool(&["log", "-o", "jsonl", "-t", "worker."]));
    golden("log-json.txt", &fixture.tool(&["log", "-o", "json", "--seq", "3..4"]));
    golden("show.txt", &fixture.tool(&["show", "2", "--hex"]));
    golden("show-json.txt", &fixture.tool(&["show", "7", "-o", "json"]));
    golden("state.txt", &fixture.tool(&["state"]));
    golden("state-pod.txt", &fixture.tool(&["state", "--pod", "web", "--at", "5"]));
    golden("verify.txt", &fixture.tool(&["verify"]));
}

fn seqs(told: &Told) -> Vec<u64> {
    told.out.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn filters_must_all_match() {
    let fixture = Fixture::new();
    let log = |args: &[&str]| fixture.tool(&[&["log", "-o", "oneline"], args].concat());
    assert_eq!(seqs(&log(&["--seq", "3..5"])), [3, 4, 5]);
    assert_eq!(seqs(&log(&["--seq", "10.."])), [10, 11]);
    assert_eq!(seqs(&log(&["--seq", "..2"])), [1, 2]);
    assert_eq!(seqs(&log(&["--seq", "7"])), [7]);
    assert_eq!(seqs(&log(&["--since", "2026-03-01T12:00:10Z"])), [10, 11]);
    assert_eq!(seqs(&log(&["-U", "2026-03-01T12:00:02Z"])), [1, 2]);
    assert_eq!(seqs(&log(&["--pod", "default/web"])), [2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(seqs(&log(&["--pod", &POD.to_string(), "--seq", "9.."])), [9, 10]);
    assert_eq!(seqs(&log(&["--worker", &WORKER.to_string()])), [7, 10]);
    assert_eq!(seqs(&log(&["--stream", &format!("node/{NODE}")])), [1, 11]);
    assert_eq!(seqs(&log(&["-t", "node.", "-t", "worker.exited"])), [1, 10, 11]);
    assert_eq!(seqs(&log(&["-t", "node.", "--since", "2026-03-01T12:00:05Z"])), [11]);
    assert_eq!(seqs(&log(&["-n", "2"])), [10, 11]);
    assert_eq!(seqs(&log(&["-n", "2", "-r"])), [11, 10]);
    assert_eq!(seqs(&log(&["-r", "--seq", "..3"])), [3, 2, 1]);
    let none = log(&["--pod", "default/absent"]);
    assert_eq!((none.exit, none.out.as_str()), (Exit::NothingMatched, ""));
    assert_eq!(none.notes, "purser-replay: there is no pod `default/absent` in the journal\n");
    let quiet = log(&["--pod", "web", "-t", "pod.failed"]);
    assert_eq!((quiet.exit, quiet.notes.as_str()), (Exit::NothingMatched, ""), "the pod is known");
}

#[test]
fn json_is_json() {
    let fixture = Fixture::new();
    let log: Value = serde_json::from_str(&fixture.tool(&["log", "-o", "json"]).out).unwrap();
    assert_eq!(log.as_array().unwrap().len(), history().len());
    assert_eq!(log[1]["event"]["payload"]["spec"]["containers"][0]["env"][0]["value"], "hi\u{1b}[2J");
    let none = fixture.tool(&["log", "-o", "json", "-t", "pod.failed"]);
    assert_eq!((none.exit, none.out.as_str()), (Exit::NothingMatched, "[]\n"));
    for line in fixture.tool(&["log", "-o", "jsonl"]).out.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["header"]["epoch"], 1);
    }
    let state: Value = serde_json::from_str(&fixture.tool(&["state", "-o", "json"]).out).unwrap();
    assert_eq!(state["at"]["seq"], 11);
    let digest = fixture.tool(&["state", "--digest"]).out;
    assert_eq!(digest, format!("11 {}\n", state["digest"].as_str().unwrap()));
    let verdict: Value = serde_json::from_str(&fixture.tool(&["verify", "-o", "json"]).out).unwrap();
    assert_eq!((&verdict["sound"], &verdict["records"]), (&json!(true), &json!(11)));
}

#[test]
fn history_can_be_seen_from_any_moment() {
    let fixture = Fixture::new();
    let at = |moment: &str| fixture.tool(&["state", "--at", moment, "--digest"]);
    assert!(at("4").out.starts_with("4 "));
    assert_eq!(at("4").out, at("2026-03-01T12:00:04Z").out);
    assert_eq!(at("4").out, at("2026-03-01T12:00:04.9Z").out);
    assert_ne!(at("4").out, at("5").out);
    assert!(at("0").out.starts_with("0 "));
    let later = at("12");
    assert_eq!(later.exit, Exit::NothingMatched);
    assert!(later.notes.contains("records 1 to 11, not record 12"), "{}", later.notes);
    let absent = fixture.tool(&["state", "--pod", "web", "--at", "1"]);
    assert_eq!((absent.exit, absent.out.as_str()), (Exit::NothingMatched, ""));
    let beyond = fixture.tool(&["show", "12"]);
    assert_eq!(beyond.exit, Exit::NothingMatched);
}

#[test]
fn every_way_to_the_journal_tells_the_same() {
    let fixture = Fixture::new();
    let wanted = fixture.tool(&["log", "-o", "jsonl"]).out;
    let dir = fixture.path("journal");
    assert_eq!(tool(&["log", "-o", "jsonl", "--dir", &dir]).out, wanted);
    assert_eq!(tool(&["verify", "--dir", &dir]).exit, Exit::Ok);
    let again = fixture.path("again");
    let told = tool(&["export", "--dir", &dir, &again]);
    assert_eq!((told.exit, told.out.as_str()), (Exit::Ok, ""));
    assert_eq!(fs::read(&again).unwrap(), fs::read(fixture.path("export")).unwrap());
    // An existing file is left alone.
    assert_eq!(tool(&["export", "--dir", &dir, &again]).exit, Exit::Io);
    let part = fixture.path("part");
    assert_eq!(fixture.tool(&["export", "--from", "5", &part]).exit, Exit::Ok);
    assert_eq!(seqs(&tool(&["log", "-o", "oneline", "--export", &part])), [5, 6, 7, 8, 9, 10, 11]);
    let partial = tool(&["state", "--export", &part]);
    assert_eq!(partial.exit, Exit::Usage);
    assert!(partial.notes.contains("begins after record 4"), "{}", partial.notes);
}

/// Answers one request with what a node's export would be, and gives what was asked.
fn serve(listener: &UnixListener, head: &str, body: &[u8]) -> String {
    let (stream, _) = listener.accept().unwrap();
    let mut asked = String::new();
    let mut lines = BufReader::new(&stream);
    lines.read_line(&mut asked).unwrap();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        lines.read_line(&mut line).unwrap();
    }
    match send(&stream, head, body) {
        // Who has seen the records that it was asked for hangs up before the rest.
        Err(err) if err.kind() == ErrorKind::BrokenPipe => {}
        sent => sent.unwrap(),
    }
    asked
}

fn send(mut stream: &UnixStream, head: &str, body: &[u8]) -> io::Result<()> {
    stream.write_all(head.as_bytes())?;
    for chunk in body.chunks(100) {
        write!(stream, "{:x}\r\n", chunk.len())?;
        stream.write_all(chunk)?;
        stream.write_all(b"\r\n")?;
    }
    stream.write_all(b"0\r\n\r\n")
}

#[test]
fn a_live_node_is_asked_over_its_socket() {
    const OK: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    const REFUSED: &str = "HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\n\r\n";
    let fixture = Fixture::new();
    let export = fs::read(fixture.path("export")).unwrap();
    let socket = fixture.path("purser.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let whole = serve(&listener, OK, &export);
        let cut = serve(&listener, OK, &export[..export.len() - 60]);
        let refused = serve(&listener, REFUSED, b"{\"title\":\"not for you\"}");
        (whole, cut, refused)
    });
    let chosen = Surroundings { socket: Some(PathBuf::from(&socket)), ..surroundings() };
    let told = tool_in(&chosen, &["log", "-o", "oneline", "--pod", "web", "--seq", "5..6"]);
    assert_eq!((told.exit, seqs(&told)), (Exit::Ok, vec![5, 6]));
    let told = tool(&["verify", "--socket", &socket]);
    assert_eq!(told.exit, Exit::Integrity, "{}", told.out);
    assert!(told.out.contains("cut short after record"), "{}", told.out);
    let told = tool(&["log", "--socket", &socket]);
    assert_eq!(told.exit, Exit::Io);
    assert!(told.notes.contains("it answered 403: {\"title\":\"not for you\"}"), "{}", told.notes);
    let (whole, cut, refused) = server.join().unwrap();
    for asked in [whole, cut, refused] {
        assert_eq!(asked, "GET /v1/journal/export?from=1 HTTP/1.1\r\n");
    }
}

#[test]
fn damage_is_named_with_what_can_be_trusted() {
    let fixture = Fixture::new();
    let mut export = fs::read(fixture.path("export")).unwrap();
    let middle = export.len() / 2;
    export[middle] ^= 1;
    fs::write(fixture.path("export"), export).unwrap();
    let told = fixture.tool(&["verify"]);
    assert_eq!(told.exit, Exit::Integrity);
    assert!(told.out.starts_with("verdict   DAMAGED\n"), "{}", told.out);
    let trusted = told.out.lines().find_map(|line| line.strip_prefix("trusted   records 1 to ")).unwrap();
    let bad = trusted.parse::<u64>().unwrap() + 1;
    assert!(told.out.contains(&format!("record {bad} is damaged")), "{}", told.out);
    // A listing shows what is sound, and does not pass it off as all there is.
    let listing = fixture.tool(&["log", "-o", "oneline"]);
    assert_eq!(listing.exit, Exit::Integrity);
    assert_eq!(seqs(&listing), (1..bad).collect::<Vec<_>>());
    let target = fixture.path("copy");
    assert_eq!(fixture.tool(&["export", &target]).exit, Exit::Integrity);
    assert!(!Path::new(&target).exists(), "a part of an export was left");
}

#[test]
fn a_live_folder_is_never_opened() {
    let fixture = Fixture::new();
    let dir = fixture.path("journal");
    let _live = Journal::open(JournalConfig::new(&dir), || Timestamp(START), |_| {}, |_| {}).unwrap();
    let told = tool(&["log", "--dir", &dir]);
    assert_eq!((told.exit, told.out.as_str()), (Exit::Io, ""));
    assert!(told.notes.contains("this folder is live: use --socket"), "{}", told.notes);
    assert!(told.notes.contains(&std::process::id().to_string()), "{}", told.notes);
}

#[test]
fn usage_and_files_that_are_not_there_have_codes_of_their_own() {
    for args in [
        &["log", "--seq", "5..3"][..],
        &["log", "-t", "pod.exploded"],
        &["log", "--pod", "../etc"],
        &["log", "--stream", "gpu/1"],
        &["log", "--since", "yesterday-ish"],
        &["log", "--export", "a", "--dir", "b"],
        &["--socket", "a", "log", "--dir", "b"],
        &["show"],
        &["show", "0"],
        &["state", "--at", "noon"],
        &["frobnicate"],
        &["log"],
    ] {
        let told = tool(args);
        assert_eq!((told.exit, told.out.as_str()), (Exit::Usage, ""), "{args:?}: {}", told.notes);
        assert!(!told.notes.is_empty());
    }
    for args in [&["log", "--export", "/nonexistent/file"][..], &["log", "--socket", "/nonexistent/socket"]] {
        assert_eq!(tool(args).exit, Exit::Io, "{args:?}");
    }
    assert_eq!(tool(&["log", "--export", "-"]).exit, Exit::Integrity, "standard input is no whole export");
    assert_eq!(tool(&["log", "--export", "/proc/self/exe"]).exit, Exit::Io, "it never was an export");
    assert_eq!(tool(&["--help"]).exit, Exit::Ok);
    for shell in ["bash", "zsh", "fish"] {
        let told = tool(&["completion", shell]);
        assert!(told.exit == Exit::Ok && told.out.contains("verify"), "{shell}");
    }
}

/// Only the segments are evidence: damage to the store behind them is nobody's concern here.
#[test]
fn damage_to_a_folders_segments_ends_with_code_4_and_to_its_store_with_nothing() {
    let fixture = Fixture::new();
    let verify = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_purser-replay"))
            .args(["verify", "--dir", &fixture.path("journal")])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    fs::remove_dir_all(fixture.path("journal/sled")).unwrap();
    assert_eq!(verify().0, Some(0));
    let segment = fixture.path("journal/segments/00000000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    // In the middle of the second record: others follow.
    bytes[700] ^= 0x10;
    fs::write(&segment, bytes).unwrap();
    let (code, told) = verify();
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("is damaged at byte") && told.contains("00000000000000000001.seg"), "{told}");
    assert!(!told.contains("panicked"), "{told}");
}
