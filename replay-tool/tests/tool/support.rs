//! Journals to read, and the tool run on them.

use std::ffi::OsString;
use std::fs;
use std::io::Cursor;
use std::ops::Range;
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

pub(crate) const NODE: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0001);
pub(crate) const POD: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0002);
pub(crate) const WORKER: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0003);
pub(crate) const BOOT: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0004);
pub(crate) const COMMAND: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0005);

/// 2026-03-01T12:00:00Z; each record is a second later than the one before.
pub(crate) const START: i64 = 1_772_366_400_000_000;

pub(crate) struct Json;

impl Decode for Json {
    type Error = serde_json::Error;

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

pub(crate) fn event(name: &str, payload: &Value) -> Event {
    let layout = LAYOUTS.iter().find(|layout| layout.name == name).unwrap();
    Event::decode(layout.number, layout.version, payload.to_string().as_bytes(), &Json).unwrap()
}

/// A pod's specification as it is recorded.
pub(crate) fn spec(namespace: &str, name: &str) -> Value {
    let container = json!({
        "name": "main", "image": null, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "5"], "args": [],
        "env": [{ "name": "GREETING", "value": "hi\u{1b}[2J" }], "workingDir": null,
        "resources": { "cpuLimit": 500, "cpuRequest": null, "memoryLimit": null, "memoryRequest": null },
        "ports": [], "mounts": [], "liveness": null, "readiness": null, "startup": null,
        "user": { "uid": null, "gid": null, "nonRoot": false, "noNewPrivileges": false },
    });
    json!({
        "id": { "namespace": namespace, "name": name }, "labels": {}, "annotations": {}, "runtime": "process",
        "restartPolicy": "Always", "terminationGraceS": 30, "fsGroup": null, "volumes": [],
        "initContainers": [], "containers": [container],
    })
}

/// The node's facts at its start.
pub(crate) fn started() -> Value {
    json!({
        "node": NODE, "hostname": "gpu-01", "bootId": BOOT, "version": "0.1.0", "kernel": "6.12", "cores": 8,
        "memory": 16_000_000_000_u64, "pid": 99,
        "recovery": { "closed": true, "tornBytes": 0, "snapshot": null, "store": "kept" },
    })
}

/// A short life: the node starts, a pod is admitted, runs, and its process ends.
pub(crate) fn history() -> Vec<(StreamId, Event)> {
    let (node, pod, worker) = (NodeUid(NODE).stream(), PodUid(POD).stream(), WorkerUid(WORKER).stream());
    let process = json!({ "hostPid": 4242, "startTimeTicks": 777, "bootId": BOOT, "containerPid": 4242 });
    let at = "2026-03-01T12:00:05.500000Z";
    let spec = spec("default", "web");
    let started = started();
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
pub(crate) fn journal(dir: &Path) -> Vec<u8> {
    // The opening of the journal asks for the time too.
    let clock = std::cell::Cell::new(START - 1_000_000);
    let now = move || {
        clock.set(clock.get() + 1_000_000);
        Timestamp(clock.get())
    };
    let journal = Journal::open(JournalConfig::new(dir), now, |_| {}, |_| {}).unwrap();
    append_history(&journal, 0..usize::MAX);
    let mut export = Vec::new();
    journal.export(Seq(1), &mut export).unwrap();
    journal.close().unwrap();
    export
}

/// Appends a part of the history, of which what comes before is there.
pub(crate) fn append_history(journal: &Journal, part: Range<usize>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut versions = std::collections::BTreeMap::new();
    for (number, (stream, event)) in history().into_iter().enumerate() {
        let version: &mut u64 = versions.entry(stream).or_default();
        if !part.contains(&number) {
            *version += 1;
            continue;
        }
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
}

pub(crate) struct Told {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) notes: String,
}

pub(crate) fn surroundings() -> Surroundings {
    let standard_sockets = vec![PathBuf::from("/nonexistent/purser.sock")];
    Surroundings {
        socket: None,
        standard_sockets,
        input: || Box::new(Cursor::new(*b"PURSERX\n\x01\0and then nothing")),
        now: || Timestamp(START + 3_600_000_000),
        terminal: None,
    }
}

pub(crate) fn tool_in(surroundings: &Surroundings, args: &[&str]) -> Told {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let args = ["purser-replay"].iter().chain(args).map(OsString::from);
    let exit = purser_replay::run(args, surroundings, &mut out, &mut notes);
    Told { exit, out: String::from_utf8(out).unwrap(), notes: String::from_utf8(notes).unwrap() }
}

pub(crate) fn tool(args: &[&str]) -> Told {
    tool_in(&surroundings(), args)
}

/// A folder with an export of the history in it.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let export = journal(&dir.path().join("journal"));
        fs::write(dir.path().join("export"), export).unwrap();
        Fixture { dir }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs a verb on the export.
    pub(crate) fn tool(&self, args: &[&str]) -> Told {
        tool(&[args, &["--export", &self.path("export")]].concat())
    }
}

#[track_caller]
pub(crate) fn golden(name: &str, told: &Told) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let notes = if told.notes.is_empty() { String::new() } else { format!("--- notes\n{}", told.notes) };
    let text = format!("--- exit {}\n{}{notes}", told.exit.code(), told.out);
    if !path.exists() && std::env::var("PURSER_GOLDEN").is_ok_and(|value| value == "write") {
        fs::write(&path, &text).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, wanted, "golden/{name}");
}
