//! How a journal is read: again and again from standard input, on from where the last reading ended, and by names that are
//! not there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::sync::OnceLock;

use purser_events::{Event, StreamKind};
use purser_replay::{Exit, Surroundings};
use purser_storage::export::Writer;
use purser_storage::offline::Source;
use purser_storage::{Head, StoredRecord};
use serde_json::json;

use crate::answers::Lived;
use crate::support::{Fixture, surroundings, tool, tool_in};

/// The fixture's export as standard input, as if it came through a pipe.
fn piped() -> Box<dyn Read> {
    static EXPORT: OnceLock<Vec<u8>> = OnceLock::new();
    let read = || fs::read(Fixture::new().path("export")).unwrap();
    Box::new(Cursor::new(EXPORT.get_or_init(read).as_slice()))
}

#[test]
fn standard_input_is_as_good_as_a_file() {
    let fixture = Fixture::new();
    let surroundings = Surroundings { input: piped, ..surroundings() };
    for args in [
        &["log", "-o", "oneline"][..],
        &["log", "--graph"],
        &["log", "-b", "0", "-o", "oneline"],
        &["log", "--pod", "web", "-o", "oneline"],
        &["why", "web"],
        &["timeline", "web"],
        &["blame", "web"],
        &["bisect", "--where", "workersRegistered = 1"],
        &["bisect", "--monotone", "--where", "workersRegistered = 1", "-o", "json"],
    ] {
        let told = tool_in(&surroundings, &[args, &["--export", "-"]].concat());
        let wanted = fixture.tool(args);
        assert_eq!(told.exit, wanted.exit, "{args:?}: {}", told.notes);
        // Only what has to read it twice keeps it; of a search that does not, the number must do.
        let is_short = args[0] == "bisect" && args[1] == "--where";
        assert!(
            told.out == wanted.out || is_short && wanted.out.starts_with(told.out.trim_end()),
            "{args:?}: {}",
            told.out
        );
    }
}

#[test]
fn a_cursor_file_is_where_the_next_reading_begins() {
    let fixture = Fixture::new();
    let file = fixture.path("seen");
    let log =
        |args: &[&str]| fixture.tool(&[&["log", "-o", "oneline", "--cursor-file", &file], args].concat());
    let first = log(&["--seq", "..4"]);
    assert_eq!((first.exit, first.out.lines().count()), (Exit::Ok, 4), "{}", first.notes);
    assert!(fs::read_to_string(&file).unwrap().starts_with("4:"));
    assert_eq!(log(&[]).out.lines().count(), 7);
    let none = log(&[]);
    assert_eq!((none.exit, none.out.as_str()), (Exit::NothingMatched, ""));
    assert!(fs::read_to_string(&file).unwrap().starts_with("11:"), "it stays where it was");
    fs::write(&file, "yesterday").unwrap();
    let bad = log(&[]);
    assert_eq!((bad.exit, bad.out.as_str()), (Exit::Io, ""));
    assert!(
        bad.notes.contains("failed to read the cursor file") && bad.notes.contains("11:7fcc"),
        "{}",
        bad.notes
    );
    let nowhere = fixture.tool(&["log", "--cursor-file", "/nonexistent/seen"]);
    assert_eq!(nowhere.exit, Exit::Io);
    assert!(nowhere.notes.contains("failed to write the cursor file"), "{}", nowhere.notes);
}

#[test]
fn a_field_that_no_record_has_is_told() {
    let fixture = Fixture::new();
    let log = |args: &[&str]| fixture.tool(&[&["log", "-o", "oneline"], args].concat());
    let typo = log(&["--where", "exit.cod = 137"]);
    assert_eq!((typo.exit, typo.out.as_str()), (Exit::NothingMatched, ""));
    assert_eq!(
        typo.notes,
        "purser-replay: no record that --where was asked about has the field `exit.cod`\n"
    );
    let negated = log(&["--where", "not exit.cod = 137 and attempt = 1"]);
    assert_eq!((negated.exit, negated.out.lines().count()), (Exit::NothingMatched, 4), "{}", negated.notes);
    assert!(
        negated.notes.contains("`exit.cod`") && !negated.notes.contains("`attempt`"),
        "{}",
        negated.notes
    );
    let elsewhere = log(&["-t", "node.", "--where", "exit.code = 137"]);
    assert!(elsewhere.notes.contains("`exit.code`"), "no record of the node has it: {}", elsewhere.notes);
    let there = log(&["--where", "exit.code = 1"]);
    assert_eq!((there.exit, there.notes.as_str()), (Exit::NothingMatched, ""));
    let deep = log(&["--where", "spec.containers[*].ports[0].x or spec.containers[0].name = 'main'"]);
    assert!(deep.notes.contains("`spec.containers.*.ports[0].x`"), "{}", deep.notes);
}

#[test]
fn what_the_ledger_decides_about_a_pod_is_listed_with_it() {
    let mut of_ledger = 0;
    for seed in 0..4 {
        let lived = Lived::new(seed, 80);
        let records = lived.records();
        for pod in lived.pods() {
            let workers: BTreeSet<_> = records
                .iter()
                .filter(|record| record.event.payload_json()["pod"] == json!(pod))
                .filter(|record| record.header.stream.kind == StreamKind::Worker)
                .map(|record| record.header.stream)
                .collect();
            let is_of = |stream| stream == pod.stream() || workers.contains(&stream);
            let wanted: Vec<u64> = records
                .iter()
                .filter(|record| match &record.event {
                    Event::Ledger(_) => record.event.payload_json()["pod"] == json!(pod),
                    Event::Pod(_) | Event::Worker(_) | Event::Node(_) | Event::Gpu(_) | Event::Pool(_) => {
                        is_of(record.header.stream)
                    }
                })
                .map(|record| record.header.seq.0)
                .collect();
            of_ledger += wanted
                .iter()
                .filter(|seq| {
                    records[usize::try_from(**seq).unwrap() - 1].event.payload_json()["pod"] == json!(pod)
                })
                .count();
            let told = lived.json(&["log", "--pod", &pod.to_string()]);
            let told: Vec<u64> =
                told.as_array().unwrap().iter().map(|row| row["header"]["seq"].as_u64().unwrap()).collect();
            assert_eq!(told, wanted, "seed {seed}: {pod}");
        }
        // By its name, an incarnation has what was decided before it was on record, too.
        let named = lived.json(&["log", "--pod", "red/web-0", "-t", "ledger.allocated"]);
        let admitted = lived.json(&["log", "--pod", "red/web-0", "-t", "pod.admitted"]);
        assert_eq!(named.as_array().unwrap().len(), admitted.as_array().unwrap().len(), "seed {seed}");
    }
    assert!(of_ledger > 20, "{of_ledger}");
}

/// A copy that lost its end, or another journal that is not as long yet, is no reason to begin again.
#[test]
fn a_cursor_never_goes_back() {
    let fixture = Fixture::new();
    let (file, part) = (fixture.path("seen"), fixture.path("part"));
    let log = |export: &str, args: &[&str]| {
        tool(&[&["log", "-o", "oneline", "--cursor-file", &file, "--export", export], args].concat())
    };
    let whole = fixture.path("export");
    assert_eq!(log(&whole, &[]).exit, Exit::Ok);
    let seen = fs::read_to_string(&file).unwrap();
    assert!(seen.starts_with("11:"), "{seen}");
    // What is earlier can be looked at, and the place stays.
    assert_eq!(log(&whole, &["--seq", "..4"]).exit, Exit::NothingMatched);
    assert_eq!(fs::read_to_string(&file).unwrap(), seen);
    // An export with an end mark of its own, of fewer records.
    let records: Vec<StoredRecord> =
        Source::from_export(fs::File::open(&whole).unwrap()).unwrap().map(Result::unwrap).collect();
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, Head::GENESIS).unwrap();
    records.iter().take(5).for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap();
    fs::write(&part, bytes).unwrap();
    assert_eq!(tool(&["verify", "--export", &part]).exit, Exit::Ok, "by itself it is sound");
    for args in [&[][..], &["--graph"], &["--seq", "3.."]] {
        let args: Vec<&str> = if args == ["--graph"] {
            ["log", "--graph", "--cursor-file", &file, "--export", &part].to_vec()
        } else {
            [&["log", "-o", "oneline", "--cursor-file", &file, "--export", &part], args].concat()
        };
        let told = tool(&args);
        assert_eq!(told.exit, Exit::Integrity, "{args:?}: {}", told.notes);
        assert!(
            told.notes.contains("ends with record 5") && told.notes.contains("record 11"),
            "{}",
            told.notes
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), seen);
    }
    let told = tool(&["log", "--after-cursor", seen.trim_end(), "--export", &part]);
    assert_eq!((told.exit, told.out.as_str()), (Exit::Integrity, ""), "{}", told.notes);
}

/// Takes nothing, as a pipe whose reader has gone: at once, or only once it is told to let go of what it holds.
struct Gone {
    holds: bool,
}

impl Write for Gone {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.holds { Ok(bytes.len()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_verdict_is_the_same_without_a_reader() {
    let fixture = Fixture::new();
    let path = fixture.path("changed");
    let mut bytes = fs::read(fixture.path("export")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    for (args, holds, wanted) in [
        (&["verify", "--export", &path][..], true, Exit::Integrity),
        (&["verify", "--export", &path], false, Exit::Integrity),
        (&["verify", "--export", &fixture.path("export")], false, Exit::Ok),
        (&["log", "--export", &path], true, Exit::Integrity),
        (&["state", "--export", &fixture.path("export"), "--pod", "absent"], true, Exit::NothingMatched),
        // A listing that nobody reads ends there, as before `head`.
        (&["log", "--export", &path], false, Exit::Ok),
    ] {
        let args_os = ["purser-replay"].iter().chain(args).map(OsString::from);
        let exit = purser_replay::run(args_os, &surroundings(), &mut Gone { holds }, &mut io::sink());
        assert_eq!(exit, wanted, "{args:?}, holds: {holds}");
    }
}
