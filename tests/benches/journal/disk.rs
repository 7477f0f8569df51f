//! What an event takes on disk, by the parts of the journal's folder: as it is written, and once its segment is sealed and
//! compressed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use purser_events::Timestamp;
use purser_storage::{Journal, JournalConfig};
use purser_tests::bench::{BLOCK_LEN, Bound};

use crate::child::{self, Report, Task};
use crate::event::{self, FILL_BATCH, PAYLOAD_LEN};
use crate::ours::{self, COMMITTERS, Committer};
use crate::place::Place;

/// Of the payload, in the live window.
const LIVE_WANTED: Bound = Bound::AtMost(4.5);
/// Of the payload, once sealed and compressed.
const SEALED_WANTED: Bound = Bound::AtMost(1.5);
/// The journal of single events has this part of the events of the long one.
const SHORTER: u64 = 5;
/// Parts that take less are not printed by themselves, in bytes.
const PRINTED_MIN: u64 = 1 << 20;
/// Later than any record of a run, by the journal's clock.
const DAY_US: i64 = 86_400_000_000;

/// What the files of one kind take.
#[derive(Debug, Default, Clone, Copy)]
struct Part {
    files: u64,
    /// Bytes of blocks that are theirs, as `du` counts.
    allocated: u64,
    /// Bytes that their lengths add up to.
    len: u64,
}

/// Parts of a journal's folder, by folder and kind.
type Parts = BTreeMap<String, Part>;

pub(crate) fn run(place: &Place) {
    let (long, events) = (place.filled(), place.events());
    live(&format!("commits of {FILL_BATCH}"), long, events);
    let short = place.empty("one-by-one");
    let report = child::finish(Task::FillOneByOne, &short, events / SHORTER);
    live(&format!("{COMMITTERS} committers, one event each"), &short, report.events);
    place.remove(&short);
    let kept = place.copy(long, "kept");
    let report = child::finish(Task::KeepHouse, &kept, events);
    sealed("compressed", &kept, report.events);
    place.remove(&kept);
}

/// Prints what a closed journal takes of which nothing is compressed yet.
fn live(title: &str, dir: &Path, events: u64) {
    let parts = parts(dir);
    println!("disk: {events} events with payloads of {PAYLOAD_LEN} bytes, live: {title}, journal closed");
    print_parts(&parts, events);
    let ratio = of_payload(sum(&parts, |_| true).allocated, events);
    println!("    segments and store together {ratio:.2} x the payload   {}", LIVE_WANTED.verdict(ratio, ""));
}

/// Prints what a closed journal takes of which so many events are in compressed segments, all but the open one's.
fn sealed(title: &str, dir: &Path, events: u64) {
    let parts = parts(dir);
    println!("disk: {events} events in sealed segments, {title}, journal closed");
    print_parts(&parts, events);
    // Room for what is to come, whatever lies before it.
    let without_open = sum(&parts, |name| name != OPEN_SEGMENT);
    let ratio = of_payload(without_open.allocated, events);
    println!("    all but the open segment {ratio:.2} x the payload   {}", SEALED_WANTED.verdict(ratio, ""));
}

/// Seals what is open by an append at a later time and compresses every segment that is sealed, as the service does.
/// Reports the records that are sealed.
pub(crate) fn keep_house(dir: &Path) -> Report {
    let since = Instant::now();
    let config = JournalConfig { segment_age_ms: 0, ..ours::config(dir) };
    let later = Timestamp(event::START_US + DAY_US);
    let journal = Journal::open(config, move || later, |_| {}, |_| {}).expect("the journal opens");
    let mut committers = Committer::many(&journal, 1);
    drop(ours::runtime().block_on(committers[0].commit(1)));
    drop(committers);
    for segment in journal.segments() {
        journal.compress(segment.first).expect("it can be compressed");
    }
    let last = journal.segments().last().expect("the append sealed a segment").last.seq;
    let report = Report::now(last.0, since);
    journal.close().expect("the journal can be closed");
    report
}

fn print_parts(parts: &Parts, events: u64) {
    for (name, part) in parts.iter().filter(|(_, part)| part.allocated >= PRINTED_MIN) {
        print(name, *part, events);
    }
    for folder in ["segments/", "sled/"] {
        print(&format!("{folder} in all"), sum(parts, |name| name.starts_with(folder)), events);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a disk has less than 2^52 bytes")]
fn print(name: &str, part: Part, events: u64) {
    println!(
        "  {name:24} {:5} files   {:8.1} MiB on disk   {:8.1} MiB long   {:7.1} bytes an event   {:5.2} x the payload",
        part.files,
        part.allocated as f64 / f64::from(1 << 20),
        part.len as f64 / f64::from(1 << 20),
        part.allocated as f64 / events as f64,
        of_payload(part.allocated, events)
    );
}

#[expect(clippy::cast_precision_loss, reason = "a disk has less than 2^52 bytes")]
fn of_payload(bytes: u64, events: u64) -> f64 {
    bytes as f64 / (events * PAYLOAD_LEN as u64) as f64
}

fn sum(parts: &Parts, wanted: impl Fn(&str) -> bool) -> Part {
    let wanted = parts.iter().filter(|(name, _)| wanted(name));
    wanted.fold(Part::default(), |sum, (_, part)| Part {
        files: sum.files + part.files,
        allocated: sum.allocated + part.allocated,
        len: sum.len + part.len,
    })
}

/// The parts of a closed journal.
fn parts(dir: &Path) -> Parts {
    let mut parts = Parts::new();
    measure(dir, "", &mut parts);
    let aside = parts.keys().find(|name| name.contains(".aside/"));
    assert_eq!(aside, None, "no opening had a reason to set the store aside");
    parts
}

/// Adds up files by folder and kind: names that differ in their numbers only are of one kind.
fn measure(dir: &Path, inside: &str, parts: &mut Parts) {
    for entry in fs::read_dir(dir).expect("the folder can be listed") {
        let entry = entry.expect("the folder can be listed");
        let metadata = entry.metadata().expect("an entry can be looked at");
        let name = entry.file_name().to_string_lossy().into_owned();
        if metadata.is_dir() {
            measure(&entry.path(), &format!("{inside}{name}/"), parts);
            continue;
        }
        let part = parts.entry(format!("{inside}{}", kind(&name))).or_default();
        part.files += 1;
        part.allocated += metadata.blocks() * BLOCK_LEN;
        part.len += metadata.len();
    }
}

/// The kind of the segment that is written to: those that are compressed have another extension.
const OPEN_SEGMENT: &str = "segments/*.seg";

/// A name with `*` for its numbers: for any word of hex digits that has a decimal one.
fn kind(name: &str) -> String {
    let words = name.split('.').map(|word| {
        let is_number =
            word.bytes().all(|byte| byte.is_ascii_hexdigit()) && word.bytes().any(|b| b.is_ascii_digit());
        if is_number { "*" } else { word }
    });
    words.collect::<Vec<_>>().join(".")
}
