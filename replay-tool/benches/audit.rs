//! The auditor's tool on a long journal, each part beside its reference in the same run. It prints and never fails on a
//! time: machines differ.
//!
//! `PURSER_BENCH_EVENTS` says how many records (10 million need about 7 GB), `PURSER_BENCH_ROUNDS` how many rounds,
//! `PURSER_BENCH_DIR` where; what is there of the same size is used again and left.

#[path = "../tests/tool/long.rs"]
#[expect(dead_code, reason = "a benchmark adds nothing to the journal that it wrote")]
mod long;
#[path = "../tests/tool/support.rs"]
#[expect(dead_code, reason = "of what the tests have, a benchmark needs only the events")]
#[expect(clippy::unwrap_used, reason = "what tests share fails by a panic")]
mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use purser_storage::JournalConfig;
use sha2::{Digest, Sha256};

use crate::long::write;

/// Records that `jq` reads: what it makes of all of them takes more room than the journal.
const LINES: u64 = 1_000_000;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("a benchmark's variable is a number"),
        Err(_) => default,
    }
}

fn main() {
    if std::env::var("ONLY").is_ok_and(|only| !only.is_empty() && only != "audit") {
        return;
    }
    let (events, rounds) =
        (number("PURSER_BENCH_EVENTS", 10_000_000), number("PURSER_BENCH_ROUNDS", 3).max(1));
    let own = tempfile::tempdir().expect("there is a folder for temporary files");
    let dir = std::env::var_os("PURSER_BENCH_DIR").map_or_else(|| own.path().to_owned(), PathBuf::from);
    let journal = dir.join(format!("journal-{events}"));
    if !journal.exists() {
        write(JournalConfig::new(&journal), events, 0);
    }
    let bytes: u64 = segments(&journal).iter().map(|path| path.metadata().expect("it is there").len()).sum();
    println!("audit: {events} records in {} MiB of segments, {rounds} rounds in turn", bytes >> 20);
    verifies(&journal, rounds);
    filters(&dir, &journal, events.min(LINES), rounds);
    tells_states(&dir, &journal, events, rounds);
    let most = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts").max_rss();
    println!("    most memory of any of them (jq and the tool): {} MiB", most >> 10);
    let _ = fs::remove_dir_all(dir.join("snapshots"));
    let _ = fs::remove_file(dir.join("lines.jsonl"));
}

fn segments(journal: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(journal.join("segments")).expect("a journal has segments");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    paths
}

/// Reading and hashing the same bytes, and the tool's scan with all of its checks.
fn verifies(journal: &Path, rounds: u64) {
    let (mut reference, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        reference.push(timed(|| {
            let mut hash = Sha256::new();
            let mut buffer = vec![0; 1 << 20];
            for path in segments(journal) {
                let mut file = File::open(path).expect("it can be read");
                loop {
                    let len = file.read(&mut buffer).expect("it can be read");
                    if len == 0 {
                        break;
                    }
                    hash.update(&buffer[..len]);
                }
            }
            std::hint::black_box(hash.finalize());
        }));
        ours.push(timed(|| drop(tool(&["verify", "--dir", &text(journal)]))));
    }
    let rate = median(&reference).as_secs_f64() / median(&ours).as_secs_f64();
    told("read and hashed with SHA-256", &reference);
    told("purser-replay verify", &ours);
    println!("    rate of the tool / of reading and hashing {rate:.2}, wanted at least 0.5");
    let most = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts").max_rss();
    println!("    its memory at most {} MiB, wanted at most 200", most >> 10);
}

/// `jq` on the lines, and the tool on the journal.
fn filters(dir: &Path, journal: &Path, lines_max: u64, rounds: u64) {
    let part = dir.join("part");
    let lines = dir.join("lines.jsonl");
    let _ = fs::remove_dir_all(&part);
    write(JournalConfig::new(&part), lines_max, 0);
    let _ = fs::remove_file(&lines);
    drop(tool(&["export", &text(&lines), "-f", "jsonl", "--dir", &text(&part)]));
    let (mut reference, mut ours) = (Vec::new(), Vec::new());
    let mut counts = Vec::new();
    for _ in 0..rounds {
        reference.push(timed(|| {
            let filter =
                "select(.event.payload.ready == false and (.event.payload.message | test(\"status 5.7\")))";
            counts.push(count(Command::new("jq").args(["-c", filter]).arg(&lines)));
        }));
        ours.push(timed(|| {
            let expr = "ready = false and message ~ 'status 5.7'";
            counts.push(count(
                purser_replay().args(["log", "-o", "jsonl", "--where", expr, "--dir"]).arg(&part),
            ));
        }));
    }
    assert!(counts.iter().all(|count| *count == counts[0] && *count > 0), "both find the same: {counts:?}");
    let times = median(&reference).as_secs_f64() / median(&ours).as_secs_f64();
    told(&format!("jq on {lines_max} lines of JSON, {} found", counts[0]), &reference);
    told("purser-replay log --where on the journal", &ours);
    println!("    the tool is {times:.2} times as fast, wanted at least 2");
    let whole = timed(|| {
        let expr = "ready = false and message ~ 'status 5.77'";
        count(purser_replay().args(["log", "-o", "oneline", "--where", expr, "--dir"]).arg(journal));
    });
    told("the same on the whole journal, once", &[whole]);
    fs::remove_dir_all(&part).expect("it can be removed");
}

/// The world in the middle, without snapshots and with them.
fn tells_states(dir: &Path, journal: &Path, events: u64, rounds: u64) {
    let (snapshots, middle) = (dir.join("snapshots"), (events / 2 - 7).to_string());
    let folder = text(journal);
    let without = timed(|| drop(tool(&["state", "--digest", "--at", &middle, "--dir", &folder])));
    let with = ["state", "--digest", "--at", &middle, "--dir", &folder, "--snapshots", &text(&snapshots)];
    let first = timed(|| drop(tool(&with)));
    let mut ours = Vec::new();
    for _ in 0..rounds {
        ours.push(timed(|| drop(tool(&with))));
    }
    assert_eq!(tool(&with), tool(&["state", "--digest", "--at", &middle, "--dir", &folder]));
    told("state --at the middle, without snapshots", &[without]);
    told("the same, putting snapshots away", &[first]);
    told("the same, with them", &ours);
    println!("    wanted at most 1 s");
}

fn timed<T>(does: impl FnOnce() -> T) -> Duration {
    let since = Instant::now();
    does();
    since.elapsed()
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn told(what: &str, times: &[Duration]) {
    println!("    {what}: {:.2} s", median(times).as_secs_f64());
}

fn text(path: &Path) -> String {
    path.to_str().expect("the folder's name is text").to_owned()
}

fn purser_replay() -> Command {
    Command::new(env!("CARGO_BIN_EXE_purser-replay"))
}

/// What the tool says.
fn tool(args: &[&str]) -> Vec<u8> {
    let output = purser_replay().args(args).output().expect("it can be run");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Lines that a program prints.
fn count(command: &mut Command) -> usize {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it can be run: `jq` is a package");
    let lines = BufReader::new(child.stdout.take().expect("its output is a pipe")).split(b'\n').count();
    // Whether it found something is in how it ended, too.
    child.wait().expect("it can be waited for");
    lines
}
