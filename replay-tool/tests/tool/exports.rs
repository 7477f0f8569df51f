//! Exports for other programs: each is read back by rules or a reader that are not the writer's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::process::Command;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use purser_events::{Cause, Timestamp};
use purser_replay::Exit;
use serde_json::{Value, json};

use crate::answers::Lived;
use crate::support::{Fixture, golden, tool};

#[test]
fn exports_are_as_on_file() {
    let fixture = Fixture::new();
    let export = |args: &[&str]| fixture.tool(&[&["export", "-"], args].concat());
    golden("export-csv.txt", &export(&["-f", "csv", "-t", "pod.container-started", "-t", "worker."]));
    let fields = "@time,container,exit.code,spec.containers[*].name";
    golden("export-csv-fields.txt", &export(&["-f", "csv", "--fields", fields]));
    golden("export-jsonl-redacted.txt", &export(&["-f", "jsonl", "--redact", "--seq", "1..7"]));
    golden("export-perfetto.txt", &export(&["-f", "perfetto"]));
    golden("export-otlp.txt", &export(&["-f", "otlp", "--pod", "web", "--redact"]));
}

#[test]
fn options_of_another_format_are_refused() {
    let fixture = Fixture::new();
    for args in [
        &["--redact"][..],
        &["-t", "pod."],
        &["-f", "jsonl", "--from", "3"],
        &["-f", "perfetto", "--fields", "@seq"],
        &["-f", "csv", "--fields", "@seq = 3"],
    ] {
        let told = fixture.tool(&[&["export", "-"], args].concat());
        assert_eq!((told.exit, told.out.as_str()), (Exit::Usage, ""), "{args:?}: {}", told.notes);
    }
    let none = fixture.tool(&["export", "-", "-f", "jsonl", "-t", "pod.failed"]);
    assert_eq!((none.exit, none.out.as_str()), (Exit::NothingMatched, ""));
}

#[test]
fn programs_are_told_what_was_written() {
    let fixture = Fixture::new();
    let told = |args: &[&str]| -> Value {
        let told = fixture.tool(&[args, &["-o", "json"]].concat());
        assert_eq!((told.exit, told.notes.as_str()), (Exit::Ok, ""), "{args:?}");
        serde_json::from_str(&told.out).unwrap()
    };
    let (journal, lines, page) = (fixture.path("a"), fixture.path("b"), fixture.path("c"));
    let made = told(&["export", &journal]);
    assert_eq!((&made["file"], &made["format"]), (&json!(journal), &json!("journal")));
    assert_eq!((&made["records"], &made["last"]), (&json!(11), &json!(11)));
    assert_eq!(made["hash"].as_str().unwrap().len(), 64);
    let made = told(&["export", &lines, "-f", "jsonl", "-t", "pod."]);
    assert_eq!(made["records"], json!(std::fs::read_to_string(&lines).unwrap().lines().count()));
    let made = told(&["report", &page]);
    assert_eq!((&made["records"], &made["damage"]), (&json!(11), &Value::Null));
    assert_eq!((&made["answers"]["admitted"], &made["answers"]["violations"]), (&json!(1), &json!(0)));
    for verb in ["export", "report"] {
        assert_eq!(fixture.tool(&[verb, "-", "-o", "json"]).exit, Exit::Usage, "{verb}");
    }
}

#[test]
fn lines_are_those_of_the_log() {
    for seed in 0..3 {
        let lived = Lived::new(seed, 60);
        let lines = lived.tool(&["export", "-", "-f", "jsonl", "--since", "2026-03-01T12:01:00Z"]);
        assert_eq!(lines.out, lived.tool(&["log", "-o", "jsonl", "--since", "2026-03-01T12:01:00Z"]).out);
        let redacted = lived.tool(&["export", "-", "-f", "jsonl", "--redact"]).out;
        let whole = lived.tool(&["log", "-o", "jsonl"]).out;
        assert!(whole.contains("uid:1000") && whole.contains("gpu-01"), "seed {seed}");
        assert!(!redacted.contains("uid:1000") && !redacted.contains("gpu-01"), "seed {seed}");
        assert_eq!(redacted.lines().count(), whole.lines().count());
        // What is the same stays the same: as many texts, each for one.
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        for (line, before) in redacted.lines().zip(whole.lines()) {
            let (line, before): (Value, Value) =
                (serde_json::from_str(line).unwrap(), serde_json::from_str(before).unwrap());
            assert_eq!(line["header"]["seq"], before["header"]["seq"]);
            for at in ["/header/origin/principal", "/event/payload/spec/id/name"] {
                let (Some(line), Some(before)) = (line.pointer(at), before.pointer(at)) else { continue };
                let shown = known.entry(before.to_string()).or_insert_with(|| line.to_string());
                assert_eq!(*shown, line.to_string(), "seed {seed}");
            }
        }
        assert_eq!(known.values().collect::<BTreeSet<_>>().len(), known.len());
    }
}

/// Checks what the trace-event format asks of a trace, and gives its events.
#[track_caller]
pub(crate) fn checked_trace(text: &str) -> Vec<Value> {
    let trace: Value = serde_json::from_str(text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap().clone();
    let number =
        |event: &Value, field: &str| event[field].as_i64().unwrap_or_else(|| panic!("{field}: {event}"));
    let mut stacks: BTreeMap<(i64, i64), Vec<String>> = BTreeMap::new();
    let mut times: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    let mut asyncs: BTreeSet<(String, String)> = BTreeSet::new();
    let (mut begun, mut ended) = (BTreeMap::new(), BTreeSet::new());
    let mut named = BTreeSet::new();
    for event in &events {
        let track = (number(event, "pid"), number(event, "tid"));
        let phase = event["ph"].as_str().unwrap();
        let text =
            |field: &str| event[field].as_str().unwrap_or_else(|| panic!("{field}: {event}")).to_owned();
        if phase == "M" {
            named.insert((track, text("name")));
            continue;
        }
        let ts = number(event, "ts");
        let last = times.entry(track).or_insert(ts);
        assert!(*last <= ts, "time goes back on {track:?}: {event}");
        *last = ts;
        let stack = stacks.entry(track).or_default();
        match phase {
            "B" => stack.push(text("name")),
            "E" => assert_eq!(stack.pop(), Some(text("name")), "{event}"),
            "b" => assert!(asyncs.insert((text("cat"), text("id"))), "begun twice: {event}"),
            "n" => assert!(asyncs.contains(&(text("cat"), text("id"))), "a mark on nothing: {event}"),
            "e" => assert!(asyncs.remove(&(text("cat"), text("id"))), "never begun: {event}"),
            "i" => assert_eq!(event["s"], "t"),
            "C" => assert!(event["args"]["amount"].is_u64(), "{event}"),
            "s" => {
                assert!(!stack.is_empty(), "an arrow from nowhere: {event}");
                assert!(begun.insert(text("id"), ts).is_none(), "begun twice: {event}");
            }
            "f" => {
                assert!(!stack.is_empty(), "an arrow to nowhere: {event}");
                assert!(begun.get(&text("id")).is_some_and(|from| *from <= ts), "{event}");
                assert!(ended.insert(text("id")), "ended twice: {event}");
            }
            other => panic!("phase {other}: {event}"),
        }
    }
    assert!(stacks.values().all(Vec::is_empty), "open slices: {stacks:?}");
    assert!(asyncs.is_empty(), "open requests: {asyncs:?}");
    assert!(begun.keys().eq(ended.iter()), "arrows without an end");
    for track in stacks.keys().filter(|(pid, tid)| *pid < 100 && *tid > 0) {
        assert!(named.contains(&(*track, "thread_name".to_owned())), "{track:?}");
    }
    events
}

#[test]
fn a_trace_keeps_the_rules_of_its_format() {
    for seed in 0..12 {
        let lived = Lived::new(seed, 120);
        let events = checked_trace(&lived.tool(&["export", "-", "-f", "perfetto"]).out);
        let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
        let records = lived.records();
        assert_eq!(of("i"), records.len(), "seed {seed}");
        let caused = records
            .iter()
            .filter(|record| !matches!(record.header.origin.cause, Cause::Command(_) | Cause::Node));
        let arrows = events.iter().filter(|event| event["ph"] == "f");
        let (slots, causes): (Vec<_>, Vec<_>) = arrows.partition(|event| event["cat"] == "slot");
        assert_eq!(causes.len(), caused.count(), "seed {seed}: an arrow for each record that led to one");
        let assigned = lived.steps.iter().filter(|step| step.event.layout().name == "pool.task-assigned");
        assert_eq!(slots.len(), assigned.count(), "seed {seed}: an arrow to each slot that a task got");
        // A part of a journal is a trace too.
        let part = lived.tool(&["export", "-", "-f", "perfetto", "-t", "pod.", "--seq", "20..", "--redact"]);
        checked_trace(&part.out);
    }
}

#[test]
fn gpus_are_drawn_with_who_holds_them() {
    let mut drawn = 0;
    for seed in 0..12 {
        let lived = Lived::new(seed, 120);
        let events = checked_trace(&lived.tool(&["export", "-", "-f", "perfetto"]).out);
        let worlds = lived.worlds();
        let held = |world: &purser_events::view::World| -> usize {
            world.ledger.holdings.values().map(|holding| holding.grant.gpus.len()).sum()
        };
        // Every time that somebody was given a GPU, by a count of worlds.
        let pairs = worlds.windows(2);
        let given: usize = pairs
            .map(|pair| {
                let is_new = |holder: &&purser_events::ledger::HolderId| {
                    !pair[0].ledger.holdings.contains_key(*holder)
                };
                let new = pair[1].ledger.holdings.keys().filter(is_new);
                new.map(|holder| pair[1].ledger.holdings[holder].grant.gpus.len()).sum::<usize>()
            })
            .sum();
        let begun = events.iter().filter(|event| event["ph"] == "b" && event["cat"] == "gpu").count();
        assert_eq!(begun, given, "seed {seed}: {} held at the end", held(worlds.last().unwrap()));
        drawn += begun;
    }
    assert!(drawn > 10, "the lives hold too few GPUs to show anything: {drawn}");
}

#[test]
fn spans_are_those_of_otlp() {
    for seed in 0..6 {
        let lived = Lived::new(seed, 100);
        let out = lived.tool(&["export", "-", "-f", "otlp"]).out;
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let spans: Vec<&Value> = lines
            .iter()
            .flat_map(|line| line["resourceSpans"].as_array().unwrap())
            .flat_map(|resource| resource["scopeSpans"].as_array().unwrap())
            .flat_map(|scope| scope["spans"].as_array().unwrap())
            .collect();
        let hex = |value: &Value, len: usize| {
            let text = value.as_str().unwrap().to_owned();
            let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            assert!(text.len() == 2 * len && is_hex && text.bytes().any(|byte| byte != b'0'), "{text}");
            text
        };
        let nanos = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
        let mut traces: BTreeMap<String, String> = BTreeMap::new();
        for span in &spans {
            let before = traces.insert(hex(&span["spanId"], 8), hex(&span["traceId"], 16));
            assert_eq!(before, None, "seed {seed}: a span's id is its own");
            assert!(nanos(&span["startTimeUnixNano"]) <= nanos(&span["endTimeUnixNano"]), "{span}");
            assert!(!span["name"].as_str().unwrap().is_empty() && span["kind"] == 1);
        }
        let records = lived.records();
        assert_eq!(spans.len(), records.len(), "seed {seed}");
        for span in spans {
            let seq = usize::from_str_radix(span["spanId"].as_str().unwrap(), 16).unwrap();
            let record = &records[seq - 1];
            let correlation = record.header.origin.correlation.simple().to_string();
            assert_eq!(span["traceId"], correlation.as_str());
            assert_eq!(nanos(&span["startTimeUnixNano"]), record.header.time.0.unsigned_abs() * 1_000);
            let cause = match record.header.origin.cause {
                Cause::Record(cause) | Cause::Timer(cause) | Cause::Observation(cause) => Some(cause),
                Cause::Command(_) | Cause::Node => None,
            };
            let parent = cause
                .filter(|cause| {
                    let at = usize::try_from(cause.0).unwrap() - 1;
                    records[at].header.origin.correlation == record.header.origin.correlation
                })
                .map_or_else(String::new, |cause| format!("{:016x}", cause.0));
            assert_eq!(span["parentSpanId"], parent.as_str(), "seed {seed}: {span}");
        }
    }
}

#[test]
fn parquet_is_read_back_by_another_implementation() {
    let lived = Lived::new(5, 150);
    let path = lived.path("all.parquet");
    let told = lived.tool(&["export", &path, "-f", "parquet"]);
    assert_eq!(told.exit, Exit::Ok, "{}", told.notes);
    let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let records = lived.records();
    assert_eq!(reader.metadata().file_metadata().num_rows(), i64::try_from(records.len()).unwrap());
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), records.len());
    for (row, record) in rows.iter().zip(&records) {
        let (header, origin) = (&record.header, &record.header.origin);
        assert_eq!(row.get_long(0).unwrap(), i64::try_from(header.seq.0).unwrap());
        assert_eq!(row.get_timestamp_micros(1).unwrap(), header.time.0);
        assert_eq!(row.get_string(2).unwrap(), record.event.layout().name);
        assert_eq!(row.get_string(4).unwrap(), header.stream.kind.word());
        assert_eq!(row.get_string(5).unwrap(), &header.stream.id.to_string());
        assert_eq!(row.get_long(6).unwrap(), i64::try_from(header.version.0).unwrap());
        match origin.cause {
            Cause::Record(cause) | Cause::Timer(cause) | Cause::Observation(cause) => {
                assert_eq!(row.get_long(9).unwrap(), i64::try_from(cause.0).unwrap());
                assert!(row.is_null(10).unwrap());
            }
            Cause::Command(id) => {
                assert!(row.is_null(9).unwrap());
                assert_eq!(row.get_string(10).unwrap(), &id.0.to_string());
            }
            Cause::Node => assert!(row.is_null(9).unwrap() && row.is_null(10).unwrap()),
        }
        assert_eq!(row.get_string(12).unwrap(), origin.principal.as_str());
        let payload: Value = serde_json::from_str(row.get_string(13).unwrap()).unwrap();
        assert_eq!(payload, record.event.payload_json());
        assert!(row.is_null(14).unwrap() && row.get_string(15).unwrap().len() == 64);
    }
}

/// What pyarrow reads in a Parquet file: its columns, each with its type and whether it may be null, and its rows.
pub(crate) fn read_by_pyarrow(path: &str) -> (Value, Vec<Value>) {
    // Where `.ci/pyarrow.sh` puts it.
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../pyarrow/bin/python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_parquet.py");
    let read = Command::new(&python).args([script, path]).output();
    let remedy = "run `.ci/pyarrow.sh`, as `make test` does";
    let read = read.unwrap_or_else(|error| panic!("{}: {error}: {remedy}", python.display()));
    assert!(read.status.success(), "{}: {remedy}", String::from_utf8_lossy(&read.stderr));
    let mut lines = read.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut next = || lines.next().map(|line| serde_json::from_slice(line).unwrap());
    let columns = next().expect("the columns come first");
    (columns, std::iter::from_fn(next).collect())
}

/// The row that a line of JSONL stands for.
fn row_of(record: &Value) -> Value {
    let (header, event) = (&record["header"], &record["event"]);
    let (origin, cause) = (&header["origin"], &header["origin"]["cause"]);
    let kind = cause["kind"].as_str().unwrap();
    let cause_seq =
        if matches!(kind, "record" | "timer" | "observation") { &cause["of"] } else { &Value::Null };
    let cause_command = if kind == "command" { &cause["of"] } else { &Value::Null };
    let time: Timestamp = header["time"].as_str().unwrap().parse().unwrap();
    json!({
        "seq": header["seq"], "time": time.0, "type": event["type"], "type_version": event["version"],
        "stream_kind": header["stream"]["kind"], "stream": header["stream"]["id"], "version": header["version"],
        "epoch": header["epoch"], "cause_kind": kind, "cause_seq": cause_seq, "cause_command": cause_command,
        "correlation": origin["correlation"], "principal": origin["principal"], "payload": event["payload"],
        "unread": event.get("withheld").or(event.get("error")), "hash": record["hash"],
    })
}

#[test]
fn parquet_is_what_jsonl_is_to_an_independent_reader() {
    let lived = Lived::new(11, 400);
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run.export");
    // A black box has payloads that are withheld.
    let black = lived.path("black");
    assert_eq!(tool(&["blackbox", "team-red/web", &black, "--export", run]).exit, Exit::Ok);
    let columns = json!([
        ["seq", "int64", false],
        ["time", "timestamp[us, tz=UTC]", false],
        ["type", "string", false],
        ["type_version", "int64", false],
        ["stream_kind", "string", false],
        ["stream", "string", false],
        ["version", "int64", false],
        ["epoch", "int64", false],
        ["cause_kind", "string", false],
        ["cause_seq", "int64", true],
        ["cause_command", "string", true],
        ["correlation", "string", false],
        ["principal", "string", false],
        ["payload", "extension<arrow.json>", true],
        ["unread", "string", true],
        ["hash", "string", true],
    ]);
    let mut unread = 0;
    for export in [&lived.path("export")[..], run, &black] {
        if !Path::new(export).exists() {
            assert_eq!(lived.tool(&["export", export]).exit, Exit::Ok);
        }
        let path =
            format!("{}.parquet", lived.path(Path::new(export).file_name().unwrap().to_str().unwrap()));
        let told = tool(&["export", &path, "-f", "parquet", "--export", export]);
        assert_eq!(told.exit, Exit::Ok, "{export}: {}", told.notes);
        let lines = tool(&["log", "-o", "jsonl", "--export", export]).out;
        let wanted: Vec<Value> =
            lines.lines().map(|line| row_of(&serde_json::from_str(line).unwrap())).collect();
        let (found, mut rows) = read_by_pyarrow(&path);
        assert_eq!(found, columns, "{export}");
        assert_eq!(rows.len(), wanted.len(), "{export}");
        for (row, wanted) in rows.iter_mut().zip(&wanted) {
            unread += u32::from(row["payload"].is_null());
            if let Some(payload) = row["payload"].as_str() {
                row["payload"] = serde_json::from_str(payload).unwrap();
            }
            assert_eq!(row, wanted, "{export}");
        }
    }
    assert!(unread > 10, "{unread} payloads are withheld");
}
