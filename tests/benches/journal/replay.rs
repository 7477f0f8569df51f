//! Reading a whole journal, against reading the same bytes plainly and decoding them.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use purser_events::{Event, Seq};
use purser_storage::{Codec, Journal, StoredRecord};
use purser_tests::bench::{Bound, Times, ratio};

use crate::child::{self, Report, Task};
use crate::ours;
use crate::place::Place;

const ROUNDS: u32 = 3;
/// Of the journal's rate to that of plain reading and decoding.
const WANTED: Bound = Bound::AtLeast(0.7);
/// How many times as long as the shorter journal the longer one is.
const LONGER: u32 = 5;
/// Bytes that the plain side reads at a time.
const READ_LEN: usize = 1 << 20;

pub(crate) fn run(place: &Place) {
    let (long, short) = (place.filled().to_owned(), place.empty("short"));
    let events = place.events();
    let _: Report = child::finish(Task::Fill, &short, events / u64::from(LONGER));
    let _: Report = child::finish(Task::Flatten, &long, events);
    let [mut read, mut ours, mut plain, mut shorter] = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        read.push(child::finish(Task::ReadOurs, &long, events));
        ours.push(child::finish(Task::ReplayOurs, &long, events));
        plain.push(child::finish(Task::ReplayPlain, &long, events));
        shorter.push(child::finish(Task::ReadOurs, &short, events / u64::from(LONGER)));
    }
    for report in read.iter().chain(&ours).chain(&plain) {
        assert_eq!(report.events, events, "each side reads every event");
    }
    println!(
        "replay: {events} events with checkpoints, pages in the kernel's cache, {ROUNDS} rounds in turn, a process each"
    );
    let plain_times = times(&plain);
    print("file of the same frames, read and decoded", &plain, &plain_times);
    // The bound is on rates: reading at the plain rate would be 1.
    for (what, reports) in [
        ("journal: read, checksums compared, decoded", &read),
        ("journal opened: chain of hashes as well", &ours),
    ] {
        let times = times(reports);
        let rate = ratio(&plain_times, &times);
        print(what, reports, &times);
        println!("    rate of the journal / plain rate {rate:.2}   {}", WANTED.verdict(rate, ""));
    }
    let shorter_times = times(&shorter);
    print(&format!("journal of a {LONGER}th of the events, read"), &shorter, &shorter_times);
    let longer = ratio(&times(&read), &shorter_times) / f64::from(LONGER);
    println!("    time for an event, long / short {longer:.2}   1 is linear");
    std::fs::remove_file(flat(&long)).expect("the file can be removed");
    place.remove(&short);
}

fn times(reports: &[Report]) -> Times {
    let mut times = Times::default();
    times.extend(reports.iter().map(Report::took));
    times
}

fn print(name: &str, reports: &[Report], times: &Times) {
    let report = reports.last().expect("there are rounds");
    let per_event = times.median().as_nanos() / u128::from(report.events);
    println!("  {name:42} {}   {per_event:6} ns an event   {}", times.line(), report.memory());
}

/// Opens the journal without a snapshot, which reads every record, checks its hashes and decodes it; timed is the opening.
pub(crate) fn replay_ours(dir: &Path) -> Report {
    let since = Instant::now();
    let (journal, events) = ours::open(dir);
    let report = Report::now(events, since);
    journal.close().expect("the journal can be closed");
    report
}

/// Reads and decodes every record of the open journal, one after the other; the time is that of the reading alone.
pub(crate) fn read_ours(dir: &Path) -> Report {
    let (journal, _) = ours::open(dir);
    let since = Instant::now();
    let mut events = 0;
    read_all(&journal, |record| {
        std::hint::black_box(record.event().expect("the payload is an event"));
        events += 1;
    });
    let report = Report::now(events, since);
    journal.close().expect("the journal can be closed");
    report
}

fn read_all(journal: &Journal, mut each: impl FnMut(StoredRecord)) {
    for record in journal.records(Seq(1)).expect("the journal can be read") {
        each(record.expect("the record can be read"));
    }
}

/// Reads the file of frames and decodes their payloads; nothing is checked.
pub(crate) fn replay_plain(dir: &Path) -> Report {
    let since = Instant::now();
    let file = File::open(flat(dir)).expect("the file is there");
    let mut file = BufReader::with_capacity(READ_LEN, file);
    let (mut prefix, mut body, mut events) = ([0; 8], Vec::new(), 0);
    while file.read_exact(&mut prefix).is_ok() {
        let len = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
        body.resize(usize::try_from(len).expect("it fits"), 0);
        file.read_exact(&mut body).expect("the frame is whole");
        std::hint::black_box(decode(&body));
        events += 1;
    }
    Report::now(events, since)
}

/// The event in a frame's body, by `docs/journal-format.md`; only what leads to it is read.
fn decode(body: &[u8]) -> Event {
    const FIXED_LEN: usize = 48;
    const HASH_LEN: usize = 32;
    let codec = Codec::from_number(body[1]).expect("the codec is known");
    assert_eq!(body[2] >> 4, 0, "the events of this benchmark have no cause but the node");
    let number = u16::from_le_bytes([body[3], body[4]]);
    let version = u16::from_le_bytes([body[5], body[6]]);
    let mut rest = &body[FIXED_LEN..];
    for _field in ["seq", "stream version", "epoch"] {
        varint(&mut rest);
    }
    rest = &rest[1 + usize::from(rest[0])..];
    let payload_len = varint(&mut rest);
    let payload = &rest[..rest.len() - HASH_LEN];
    assert_eq!(payload.len() as u64, payload_len, "the payload ends where the hash begins");
    Event::decode(number, version, payload, &codec).expect("the payload is an event")
}

fn varint(rest: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    while let [byte, after @ ..] = *rest {
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    number
}

/// Writes the journal's frames into one file, as they are.
pub(crate) fn flatten(dir: &Path) -> Report {
    let since = Instant::now();
    let (journal, _) = ours::open(dir);
    let head = journal.head().seq;
    let mut file = BufWriter::new(File::create_new(flat(dir)).expect("a file can be made"));
    read_all(&journal, |record| file.write_all(record.as_bytes()).expect("it can be written"));
    file.into_inner().expect("it can be written").sync_all().expect("it can be synced");
    journal.close().expect("the journal can be closed");
    Report::now(head.0, since)
}

/// Where the file of a journal's frames is.
fn flat(dir: &Path) -> PathBuf {
    dir.with_extension("frames")
}
