//! A live node, followed.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use purser_events::Seq;
use purser_replay::Exit;
use purser_storage::export::Writer;
use purser_storage::offline::Source;
use purser_storage::{Head, StoredRecord};

use crate::real_run::RUN;
use crate::serve;
use crate::support::{Fixture, Told, golden, tool};

const EXPORT: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const FEED: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Some of a folder's records as the export of a node.
fn part(dir: &Path, first: u64, last: u64) -> Vec<u8> {
    part_of(Source::from_folder(dir).unwrap(), first, last)
}

/// Some of a journal's records as the export of a node.
fn part_of(journal: Source, first: u64, last: u64) -> Vec<u8> {
    let records: Vec<StoredRecord> = journal.map(Result::unwrap).collect();
    let before = records.iter().find(|record| record.header.seq.0 + 1 == first);
    let before = before.map_or(Head::GENESIS, |record| Head { seq: record.header.seq, hash: record.hash });
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, before).unwrap();
    let asked = Seq(first)..=Seq(last);
    records
        .iter()
        .filter(|record| asked.contains(&record.header.seq))
        .for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap();
    bytes
}

#[test]
fn a_node_is_followed_over_breaks_and_gaps() {
    let fixture = Fixture::new();
    let (dir, socket) = (fixture.path("journal"), fixture.path("purser.sock"));
    let parts = [(1, 5), (6, 7), (10, 11)].map(|(first, last)| part(Path::new(&dir), first, last));
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        // The connection of a feed is open while the export is asked for, and ends then.
        let feed = b": here\n\nid: 6\nevent: pod\ndata: {}\n\nid: 7\ndata: {}\n\n";
        [
            serve(&listener, EXPORT, &parts[0]),
            serve(&listener, FEED, feed),
            serve(&listener, EXPORT, &parts[1]),
            serve(&listener, FEED, b"id: 11\n\n"),
            serve(&listener, EXPORT, &parts[2]),
        ]
    });
    let cursor = fixture.path("seen");
    let follow = ["follow", "--socket", &socket, "-n", "3", "--seq", "..10", "--cursor-file", &cursor];
    let told = tool(&follow);
    let asked = server.join().unwrap();
    golden("follow.txt", &told);
    let seqs: Vec<&str> = told.out.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!((told.exit, seqs), (Exit::Ok, vec!["3", "4", "5", "6", "7", "10"]), "{}", told.notes);
    assert!(told.notes.contains("the feed ended; the node is asked again"), "{}", told.notes);
    assert!(told.notes.contains("records 8 to 9 are missing"), "{}", told.notes);
    assert!(fs::read_to_string(&cursor).unwrap().starts_with("10:"));
    let paths = asked.iter().map(|line| line.split(' ').nth(1).unwrap()).collect::<Vec<_>>();
    let wanted = [
        "/v1/journal/export?from=1",
        "/v1/events?follow=true&from=6",
        "/v1/journal/export?from=6",
        "/v1/events?follow=true&from=8",
        "/v1/journal/export?from=8",
    ];
    assert_eq!(paths, wanted);
}

#[test]
fn another_journal_behind_the_same_socket_is_noticed() {
    let (fixture, other) = (Fixture::new(), crate::answers::Lived::new(3, 20));
    let socket = fixture.path("purser.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let parts =
        [part(Path::new(&fixture.path("journal")), 1, 5), part(Path::new(&other.path("journal")), 6, 9)];
    let server = std::thread::spawn(move || {
        serve(&listener, EXPORT, &parts[0]);
        serve(&listener, FEED, b"id: 6\n\n");
        serve(&listener, EXPORT, &parts[1]);
    });
    let told = tool(&["follow", "--socket", &socket]);
    server.join().unwrap();
    assert_eq!(told.exit, Exit::Integrity, "{}", told.notes);
    assert_eq!(told.out.lines().count(), 5);
    assert!(told.notes.contains("record 5 is not the one"), "{}", told.notes);
}

#[test]
fn only_what_is_live_can_be_followed() {
    let fixture = Fixture::new();
    let told = fixture.tool(&["follow"]);
    assert_eq!(told.exit, Exit::Usage);
    assert!(told.notes.contains("only a live node can be followed"), "{}", told.notes);
    assert_eq!(tool(&["follow", "--socket", "/nonexistent/socket"]).exit, Exit::Io);
}

#[test]
fn a_run_is_followed_as_on_file() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("purser.sock").to_str().unwrap().to_owned();
    let run = || Source::from_export(fs::File::open(RUN).unwrap()).unwrap();
    let parts = [(1, 90), (91, 93), (94, 162)].map(|(first, last)| part_of(run(), first, last));
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        serve(&listener, EXPORT, &parts[0]);
        serve(&listener, FEED, b"id: 91\n\nid: 93\n\n");
        serve(&listener, EXPORT, &parts[1]);
        serve(&listener, FEED, b"id: 162\n\n");
        serve(&listener, EXPORT, &parts[2]);
    });
    let told = tool(&["follow", "--socket", &socket, "-n", "2", "-t", "gpu.,pool.scaled", "--seq", "..120"]);
    server.join().unwrap();
    golden("run-follow.txt", &Told { notes: told.notes.replace(&socket, "SOCKET"), ..told });
}

#[test]
fn a_node_whose_journal_is_shorter_than_what_was_seen_is_another_one() {
    let fixture = Fixture::new();
    let (socket, cursor) = (fixture.path("purser.sock"), fixture.path("seen"));
    let seen = fixture.tool(&["log", "--cursor-file", &cursor]);
    assert_eq!(seen.exit, Exit::Ok);
    let before = fs::read_to_string(&cursor).unwrap();
    let bytes = part(Path::new(&fixture.path("journal")), 1, 6);
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || serve(&listener, EXPORT, &bytes));
    let told = tool(&["follow", "--socket", &socket, "--cursor-file", &cursor]);
    server.join().unwrap();
    assert_eq!((told.exit, told.out.as_str()), (Exit::Integrity, ""), "{}", told.notes);
    assert!(told.notes.contains("ends with record 6"), "{}", told.notes);
    assert_eq!(fs::read_to_string(&cursor).unwrap(), before);
}
