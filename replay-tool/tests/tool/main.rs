//! The tool as an auditor uses it: what it prints, to where, and how it ends.
//!
//! Texts are in `golden/`; one that is absent is written by `PURSER_GOLDEN=write`.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod answers;
mod chains;
mod decided;
mod exports;
mod figures;
mod follow;
mod forged;
mod hostile;
mod library;
mod life;
mod long;
mod moments;
mod pages;
mod readings;
mod real_run;
mod salvaged;
mod screens;
mod segments;
mod several;
mod snapshots;
mod support;
mod watched;

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use purser_events::Timestamp;
use purser_replay::{Exit, Surroundings};
use purser_storage::{Journal, JournalConfig};
use serde_json::{Value, json};

use crate::support::{Fixture, NODE, POD, START, Told, WORKER, golden, history, surroundings, tool, tool_in};

#[test]
fn listings_are_as_on_file() {
    let fixture = Fixture::new();
    golden("log-oneline.txt", &fixture.tool(&["log", "-o", "oneline"]));
    golden("log-text.txt", &fixture.tool(&["log", "--seq", "1..2"]));
    golden("log-jsonl.txt", &fixture.tool(&["log", "-o", "jsonl", "-t", "worker."]));
    golden("log-json.txt", &fixture.tool(&["log", "-o", "json", "--seq", "3..4"]));
    golden("log-graph.txt", &fixture.tool(&["log", "--graph"]));
    golden("streams.txt", &fixture.tool(&["streams"]));
    golden("streams-json.txt", &fixture.tool(&["streams", "--kind", "worker", "-o", "json"]));
    golden("schema.txt", &tool(&["schema", "-t", "pod.container-exited", "-t", "node.started"]));
    golden("show.txt", &fixture.tool(&["show", "2", "--hex"]));
    golden("show-json.txt", &fixture.tool(&["show", "7", "-o", "json"]));
    golden("state.txt", &fixture.tool(&["state"]));
    golden("state-pod.txt", &fixture.tool(&["state", "--pod", "web", "--at", "5"]));
    golden("verify.txt", &fixture.tool(&["verify"]));
}

fn seqs(told: &Told) -> Vec<u64> {
    // Lanes of a graph may stand before the number.
    let number = |line: &str| line.split(' ').find_map(|word| word.parse().ok()).unwrap();
    told.out.lines().map(number).collect()
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
    assert_eq!(seqs(&log(&["-t", "node.,worker.exited"])), [1, 10, 11]);
    assert_eq!(log(&["-t", "node.,love"]).exit, Exit::Usage);
    assert_eq!(seqs(&log(&["-n", "2"])), [10, 11]);
    assert_eq!(seqs(&log(&["-n", "2", "-r"])), [11, 10]);
    assert_eq!(seqs(&log(&["-r", "--seq", "..3"])), [3, 2, 1]);
    // An hour has passed since noon.
    assert_eq!(seqs(&log(&["--since", "59m 53s ago"])), [7, 8, 9, 10, 11]);
    assert_eq!(seqs(&log(&["-S", "-2h", "-U", "-59m51s"])), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(log(&["-S", "today"]).out, log(&["-S", "2026-03-01"]).out);
    assert_eq!(log(&["--until", "yesterday"]).exit, Exit::NothingMatched);
    assert_eq!(seqs(&log(&["--boot", "1", "-t", "node."])), [1, 11]);
    assert_eq!(seqs(&log(&["-b", "0", "--seq", "10.."])), [10, 11]);
    assert_eq!(log(&["-b", "2"]).exit, Exit::NothingMatched);
    let none = log(&["-b", "-1"]);
    assert_eq!(none.exit, Exit::NothingMatched);
    assert!(none.notes.contains("has 1 starts of the node"), "{}", none.notes);
    assert_eq!(seqs(&log(&["--where", "exit.code > 100 or container and attempt = 1"])), [6, 7, 8, 10]);
    assert_eq!(seqs(&log(&["--where", "@cause ~ '^record' and @seq < 5"])), [3, 4]);
    assert_eq!(seqs(&log(&["-g", r#""(hostname|reason)":"[gS]"#])), [1, 11]);
    assert_eq!(seqs(&log(&["-g", r"worker\.exited"])), [10]);
    assert_eq!(seqs(&fixture.tool(&["log", "--graph", "-n", "2"])), [10, 11]);
    let none = log(&["--pod", "default/absent"]);
    assert_eq!((none.exit, none.out.as_str()), (Exit::NothingMatched, ""));
    assert_eq!(none.notes, "purser-replay: there is no pod `default/absent` in the journal\n");
    let quiet = log(&["--pod", "web", "-t", "pod.failed"]);
    assert_eq!((quiet.exit, quiet.notes.as_str()), (Exit::NothingMatched, ""), "the pod is known");
}

#[test]
fn a_listing_goes_on_where_the_last_one_ended() {
    let fixture = Fixture::new();
    let log = |args: &[&str]| fixture.tool(&[&["log", "-o", "oneline", "--show-cursor"], args].concat());
    let first = log(&["--seq", "..4", "-t", "pod.admitted"]);
    assert_eq!(seqs(&first), [2]);
    let cursor = first.notes.trim_end().strip_prefix("cursor ").unwrap().to_owned();
    assert!(cursor.starts_with("4:"), "what does not match was looked at too: {cursor}");
    let rest = log(&["--after-cursor", &cursor]);
    assert_eq!(seqs(&rest), [5, 6, 7, 8, 9, 10, 11]);
    let last = rest.notes.trim_end().strip_prefix("cursor ").unwrap().to_owned();
    let none = log(&["--after-cursor", &last]);
    assert_eq!((none.exit, none.out.as_str()), (Exit::NothingMatched, ""));
    assert_eq!(none.notes, rest.notes);
    let foreign = log(&["--after-cursor", "4:0123456789abcdef"]);
    assert_eq!((foreign.exit, foreign.out.as_str()), (Exit::Integrity, ""));
    assert!(foreign.notes.contains("record 4 is not the one"), "{}", foreign.notes);
    assert_eq!(log(&["--after-cursor", "4"]).exit, Exit::Usage);
}

#[test]
fn a_journal_says_what_it_is() {
    let fixture = Fixture::new();
    let info = |args: &[&str]| {
        let told = fixture.tool(&[&["info"], args].concat());
        let out = told.out.replace(&fixture.path("export"), "FILE");
        Told { out, ..told }
    };
    golden("info.txt", &info(&[]));
    golden("info-json.txt", &info(&["-o", "json"]));
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
pub(crate) fn serve(listener: &UnixListener, head: &str, body: &[u8]) -> String {
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
        // The name of a pod is looked up first.
        let names = serve(&listener, OK, &export);
        let whole = serve(&listener, OK, &export);
        let cut = serve(&listener, OK, &export[..export.len() - 60]);
        let refused = serve(&listener, REFUSED, b"{\"title\":\"not for you\"}");
        (names, whole, cut, refused)
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
    let (names, whole, cut, refused) = server.join().unwrap();
    for asked in [names, whole, cut, refused] {
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
        &["log", "--where", "exit.code >"],
        &["log", "--where", "@weather = 'fine'"],
        &["log", "-g", "("],
        &["log", "--graph", "-r"],
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

#[test]
fn who_asked_and_for_what_are_filters() {
    let fixture = Fixture::new();
    let log = |args: &[&str]| fixture.tool(&[&["log", "-o", "oneline"], args].concat());
    let all = log(&[]);
    assert_eq!(log(&["--principal", "uid:1000"]).out, all.out);
    assert_eq!(log(&["--correlation", &support::COMMAND.to_string()]).out, all.out);
    for args in [["--principal", "uid:1001"], ["--correlation", "019a0000-0000-7000-8000-00000000ffff"]] {
        assert_eq!((log(&args).exit, log(&args).out.as_str()), (Exit::NothingMatched, ""), "{args:?}");
    }
    assert_eq!(log(&["--correlation", "x"]).exit, Exit::Usage);
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run.export");
    let count =
        |args: &[&str]| tool(&[&["log", "--oneline", "--export", run], args].concat()).out.lines().count();
    let (node, rest) = (count(&["--principal", "node"]), count(&["--where", "@principal != 'node'"]));
    assert!(node > 0 && rest > 0 && node + rest == count(&[]), "{node} of the node, {rest} of others");
    let part = fixture.tool(&["log", "-o", "jsonl", "--seq", "10", "--output-fields", "@seq, exit.code"]);
    assert_eq!(part.out, "{\"@seq\":10,\"exit.code\":137}\n");
    assert_eq!(fixture.tool(&["log", "--output-fields", "@seq"]).exit, Exit::Usage);
}

#[test]
fn notes_can_be_left_out_and_failures_cannot() {
    let fixture = Fixture::new();
    let told = fixture.tool(&["log", "--pod", "nobody"]);
    assert!(told.notes.contains("there is no pod"), "{}", told.notes);
    let quiet = fixture.tool(&["-q", "--utc", "--no-pager", "log", "--pod", "nobody"]);
    assert_eq!((quiet.exit, quiet.out, quiet.notes.as_str()), (told.exit, told.out, ""));
    let failed = tool(&["log", "-q", "--export", "/nonexistent"]);
    assert!(failed.exit == Exit::Io && failed.notes.contains("failed to open"), "{}", failed.notes);
}

/// The manual names every verb, and every option of each.
#[test]
fn the_manual_is_whole() {
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/replay.md")).unwrap();
    let cli = <purser_replay::cli::Cli as clap::CommandFactory>::command();
    for verb in cli.get_subcommands() {
        let name = verb.get_name();
        assert!(manual.contains(&format!("`purser-replay {name}")), "{name}");
        for option in verb.get_arguments().filter_map(clap::Arg::get_long).filter(|option| *option != "help")
        {
            assert!(manual.contains(&format!("--{option}")), "{name} --{option}");
        }
    }
}
