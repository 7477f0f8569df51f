//! Whole lives of a node, each from one number, with crashes and losses of power anywhere: see [`purser_tests::sim`].
//!
//! `PURSER_SIM_SEEDS` sets which: a count, or a range as in `100..200`. A seed that fails is printed and leaves an
//! export, which `purser-replay` opens, in the folder that `PURSER_SIM_EXPORTS` names, or in the temporary one.

use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use purser_tests::binaries::Binaries;
use purser_tests::sim::{Defect, Failure, Plan, Report, run};

/// Seeds, unless the environment says otherwise.
const SEEDS: u64 = 200;
/// Steps of a run before it comes to rest.
const STEPS: u32 = 600;
/// Runs at the same time.
const RUNNERS: usize = 2;

const PLAN: Plan = Plan { steps: STEPS, defect: None };

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("PURSER_SIM_SEEDS") else { return 0..SEEDS };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("not a count or range: {text:?}"));
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&text),
    }
}

/// Where exports of failing seeds are left.
fn exports() -> PathBuf {
    let folder = std::env::var_os("PURSER_SIM_EXPORTS").map_or_else(std::env::temp_dir, PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn told(failure: &Failure) -> String {
    let export = failure.save(&exports()).unwrap();
    format!(
        "{failure}\n    repeat with PURSER_SIM_SEEDS={}..{}; its journal is {}",
        failure.seed,
        failure.seed + 1,
        export.display()
    )
}

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = seeds();
    let (next, outcomes) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..RUNNERS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        break;
                    }
                    let outcome = run(seed, &PLAN);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let (mut reports, mut failures): (Vec<Report>, Vec<Failure>) = (Vec::new(), Vec::new());
    for outcome in outcomes.into_inner().unwrap() {
        match outcome {
            Ok(report) => reports.push(report),
            Err(failure) => failures.push(failure),
        }
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let crashes = sum(|report| report.kills + report.power_cuts);
    println!(
        "{} seeds: {} records, {} of them lazy, {} requests answered, {} asked again, {} refused, {} dealings with the outside; {} kills, \
         {} losses of power, {} of them in an opening; {} stores made again; {} stops, {} starts with a snapshot; \
         {} segments compressed, {} trimmed, {} rounds of house-keeping failed; {} slots given, {} taken back, {} phases of \
         tasks run",
        reports.len(),
        sum(|report| report.records),
        sum(|report| report.lazy),
        sum(|report| report.answered),
        sum(|report| report.asked_again),
        sum(|report| report.refused),
        sum(|report| report.turns),
        sum(|report| report.kills),
        sum(|report| report.power_cuts),
        sum(|report| report.in_opening),
        sum(|report| report.stores_made_again),
        sum(|report| report.stops),
        sum(|report| report.restored),
        sum(|report| report.compressed),
        sum(|report| report.trimmed),
        sum(|report| report.upkeep_failed),
        sum(|report| report.assigned),
        sum(|report| report.requeued),
        sum(|report| report.runs),
    );
    let told: Vec<String> = failures.iter().map(told).collect();
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), told.join("\n"));
    let enough = reports.len() < 20 || reports.len() as u64 * 3 < crashes;
    assert!(enough, "too few crashes to show anything");
    assert!(reports.len() < 20 || sum(|report| report.lazy) > 0, "nothing was lazy");
    let kept =
        [sum(|report| report.restored), sum(|report| report.trimmed), sum(|report| report.upkeep_failed)];
    let pooled = [sum(|report| report.assigned), sum(|report| report.requeued), sum(|report| report.runs)];
    assert!(reports.len() < 100 || pooled.iter().all(|count| *count > 0), "pools were quiet: {pooled:?}");
    assert!(reports.len() < 20 || kept.iter().all(|count| *count > 0), "house was not kept: {kept:?}");
}

#[test]
fn a_seed_repeats_its_run() {
    for seed in [3, 11] {
        let plan = Plan { steps: STEPS, ..PLAN };
        let (first, second) = (run(seed, &plan).unwrap(), run(seed, &plan).unwrap());
        assert_eq!(first, second, "seed {seed}");
        assert!(10 < first.records, "seed {seed} shows nothing");
    }
}

/// The first of some seeds that fails with a defect.
fn noticed(defect: Defect) -> Failure {
    let plan = Plan { defect: Some(defect), ..PLAN };
    (0..20).find_map(|seed| run(seed, &plan).err()).expect("the defect would not be noticed")
}

#[test]
fn a_disk_that_does_not_sync_is_noticed_and_leaves_an_export() {
    let failure = noticed(Defect::SyncsIgnored);
    println!("{failure}");
    assert!(failure.what.starts_with("lost") || failure.what.starts_with("does not open"), "{failure}");
    let folder = tempfile::tempdir().unwrap();
    let export = failure.save(folder.path()).unwrap();
    let replay = |verb: &str| {
        Command::new(&Binaries::built().purser_replay).args([verb, "--export"]).arg(&export).output()
    };
    let (verified, log) = (replay("verify").unwrap(), replay("log").unwrap());
    assert!(verified.status.success(), "{verified:?}");
    let lines = String::from_utf8(log.stdout).unwrap().lines().count();
    assert!(log.status.success() && failure.records.len() <= lines, "{lines} lines of the log");
}

#[test]
fn an_archive_that_keeps_nothing_is_noticed() {
    let failure = noticed(Defect::ArchiveForgotten);
    println!("{failure}");
    assert!(failure.what.contains("neither here nor in the archive"), "{failure}");
}

#[test]
fn a_runtime_that_does_not_remove_is_noticed() {
    let failure = noticed(Defect::RemovalsForgotten);
    println!("{failure}");
    assert!(failure.what.contains("not both") || failure.what.contains("left"), "{failure}");
}
