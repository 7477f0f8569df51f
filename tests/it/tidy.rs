//! The never-list of ARCHITECTURE.md, checked as far as text can show it. Each check is tried on bad examples in
//! its own module.

mod dependencies;
mod documents;
mod rules;
mod source;

use std::collections::BTreeSet;
use std::process::Command;

use purser_tests::binaries::Binaries;
use purser_tests::bounded;
use rules::{Finding, Part, forbidden_names};
use source::{SourceFile, files, root};

/// Folders of the packages.
const PACKAGES: [&str; 6] = ["events", "storage", "actors", "node", "replay-tool", "tests"];

/// Files over the limit of lines, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

#[track_caller]
fn assert_none(findings: &[Finding]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn manifest(path: &str) -> toml::Table {
    read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The sources of a package, without the tests beside them.
fn sources(package: &str) -> Vec<SourceFile> {
    let sources = files(&format!("{package}/src"), &["rs"]);
    assert!(!sources.is_empty(), "{package} has no sources");
    sources
}

fn every_rust_file() -> Vec<SourceFile> {
    PACKAGES.iter().flat_map(|package| files(package, &["rs"])).collect()
}

#[test]
fn dependencies_point_one_way() {
    let mut findings = dependencies::unruled(&manifest("Cargo.toml"));
    for allowance in dependencies::ALLOWANCES {
        let manifest = manifest(&format!("{}/Cargo.toml", allowance.folder));
        findings.extend(dependencies::against(allowance, &manifest));
    }
    assert_none(&findings);
}

#[test]
fn the_core_does_no_io() {
    let outside = [
        "actix",
        "tokio",
        "sled",
        "bincode",
        "postcard",
        "nvml_wrapper",
        "containerd_client",
        "rand",
        "tracing",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::env",
        "std::os",
        "println!",
        "eprintln!",
    ];
    let differs = [
        "SystemTime",
        "Instant",
        "Timestamp::now",
        "Zoned::now",
        "now_v7",
        "new_v4",
        "HashMap",
        "HashSet",
        "RandomState",
    ];
    let mut findings = forbidden_names(&sources("events"), Part::Shipped, &outside, "the core does no I/O");
    let why = "no two runs have it alike; it comes in as an argument";
    findings.extend(forbidden_names(&sources("events"), Part::Shipped, &differs, why));
    assert_none(&findings);
}

#[test]
fn the_journal_does_not_interpret() {
    let names = [
        "NodeEvent",
        "PodEvent",
        "WorkerEvent",
        "GpuEvent",
        "Event::Node",
        "Event::Pod",
        "Event::Worker",
        "Event::Ledger",
        "Event::Gpu",
        "PoolEvent",
        "Event::Pool",
        "purser_events::node",
        "purser_events::pod",
        "purser_events::pool",
        "purser_events::worker",
    ];
    assert_none(&forbidden_names(&sources("storage"), Part::Shipped, &names, "storage names no event"));
}

#[test]
fn one_file_names_the_codecs_and_one_package_the_store() {
    let codec = "storage/src/codec.rs";
    let mut findings = Vec::new();
    for package in PACKAGES.iter().filter(|package| **package != "tests") {
        let others: Vec<SourceFile> =
            sources(package).into_iter().filter(|file| file.path != codec).collect();
        let codecs = ["bincode", "postcard"];
        findings.extend(forbidden_names(&others, Part::Shipped, &codecs, "only the codec names it"));
        if *package != "storage" {
            findings.extend(forbidden_names(
                &others,
                Part::Shipped,
                &["sled", "redb"],
                "only storage names it",
            ));
        }
    }
    assert_none(&findings);
}

#[test]
fn actors_reach_the_outside_through_ports_alone() {
    let names = [
        "nvml_wrapper",
        "containerd_client",
        "tonic",
        "axum",
        "hyper",
        "reqwest",
        "oci_client",
        "std::fs",
        "std::net",
        "std::process",
        "tokio::fs",
        "tokio::net",
        "tokio::process",
        "nix",
    ];
    assert_none(&forbidden_names(&sources("actors"), Part::Shipped, &names, "actors know ports only"));
}

#[test]
fn the_auditor_runs_no_service() {
    let names = ["purser_actors", "purser_node", "actix", "tokio", "futures_util", "async_std", "smol"];
    assert_none(&forbidden_names(&sources("replay-tool"), Part::Shipped, &names, "the auditor reads, alone"));
}

/// The one place where a decision becomes records and records become state, in that order.
const ENTITY: &str = "actors/src/entity.rs";

#[test]
fn one_place_decides_writes_and_changes_state() {
    let mut findings = Vec::new();
    for package in ["actors", "node", "replay-tool"] {
        let others: Vec<SourceFile> =
            sources(package).into_iter().filter(|file| file.path != ENTITY).collect();
        findings.extend(forbidden_names(
            &others,
            Part::Shipped,
            &["StreamWrite"],
            "an entity writes its own stream",
        ));
        findings.extend(forbidden_names(
            &others,
            Part::Shipped,
            &["evolve"],
            "state changes where it was written",
        ));
    }
    assert_none(&findings);
}

/// Files that may ask for the time or draw an id, each with its reason.
const CLOCKS: &[(&str, &str)] = &[
    ("node/src/adapter/clock.rs", "the clock adapter itself"),
    ("replay-tool/src/main.rs", "`yesterday` is seen from where the tool runs"),
    ("node/src/adapter/process/records.rs", "a shim outlives the service and says when its process ended"),
];

#[test]
fn only_the_clock_asks_the_time() {
    let names = ["SystemTime::now", "Timestamp::now", "Zoned::now", "Uuid::now_v7", "Uuid::new_v4"];
    let is_clock =
        |file: &SourceFile| CLOCKS.iter().any(|(path, reason)| *path == file.path && !reason.is_empty());
    let mut findings = Vec::new();
    for package in ["events", "storage", "actors", "node", "replay-tool"] {
        let others: Vec<SourceFile> = sources(package).into_iter().filter(|file| !is_clock(file)).collect();
        findings.extend(forbidden_names(
            &others,
            Part::Shipped,
            &names,
            "time and ids come from their ports",
        ));
    }
    assert_none(&findings);
}

#[test]
fn every_file_says_what_it_is() {
    assert_none(&rules::without_opening(&every_rust_file()));
}

#[test]
fn files_stay_readable() {
    assert_none(&rules::too_long(&every_rust_file(), LONG_FILES));
}

#[test]
fn nothing_is_left_unfinished() {
    assert_none(&rules::unfinished(&every_rust_file()));
}

/// Test code that looks again and again, because what it waits for tells nobody; each with its reason.
const LOOKERS: &[(&str, &str)] = &[
    ("tests/support/containerd.rs", "containerd says nowhere that its socket answers"),
    ("tests/support/registry.rs", "the registry says nowhere that it answers"),
    ("tests/benches/purser/memory.rs", "what is measured is that nothing is asked for a while"),
    ("tests/benches/purser/gpus.rs", "what is measured is what goes on by itself for a while"),
    (
        "tests/fake-nvml/src/change.rs",
        "a wait for faults ends when the script has one, and the kernel may have no more to tell of files with",
    ),
    (
        "tests/fake-nvml/src/answer.rs",
        "a call that hangs ends when its script says so, and a file tells nobody",
    ),
    ("tests/support/bounded.rs", "no event tells of a stranger's end, or that a stranger listens"),
];

#[test]
fn tests_wait_for_events_and_not_for_time() {
    let mut files = every_rust_file();
    files.retain(|file| !LOOKERS.iter().any(|(path, reason)| *path == file.path && !reason.is_empty()));
    assert_none(&rules::sleeping_tests(&files));
}

#[test]
fn every_layout_has_golden_bytes() {
    let golden: Vec<String> = std::fs::read_dir(root().join("storage/golden"))
        .expect("storage/golden holds the golden bytes")
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let missing = purser_events::event::LAYOUTS.iter().filter(|layout| {
        let start = format!("{}.v{}.", layout.name, layout.version);
        !golden.iter().any(|file| file.starts_with(&start))
    });
    let say =
        |layout: &purser_events::Layout| format!("{} v{} has no golden file", layout.name, layout.version);
    assert_none(&missing.map(say).collect::<Vec<_>>());
}

#[test]
fn every_metric_is_described() {
    let packages: Vec<String> =
        PACKAGES.iter().map(|package| format!("purser_{}", package.trim_end_matches("-tool"))).collect();
    let files: Vec<SourceFile> = ["actors", "node"].into_iter().flat_map(sources).collect();
    let names = documents::metric_names(&files, &packages);
    assert_none(&documents::undescribed(&names, &read("docs/metrics.md")));
}

#[test]
fn nothing_names_a_private_folder() {
    let mut texts = every_rust_file();
    texts.retain(|file| file.path != "tests/it/tidy/documents.rs");
    texts.extend(files("", &["md", "toml", "sh", "yaml", "yml", "service"]));
    texts.push(SourceFile { path: "Makefile".to_owned(), text: read("Makefile") });
    assert_none(&documents::private_folders(&texts));
}

#[test]
fn documents_name_targets_that_exist() {
    let targets = documents::make_targets(&read("Makefile"));
    let mut findings = Vec::new();
    for document in files("", &["md"]) {
        let named: BTreeSet<String> = documents::words_after(&document.text, "make");
        let unknown = named.difference(&targets);
        findings.extend(unknown.map(|target| format!("{}: there is no `make {target}`", document.path)));
    }
    assert_none(&findings);
}

#[test]
fn documents_name_verbs_that_exist() {
    let binaries = Binaries::built();
    let mut findings = Vec::new();
    for (program, path) in [("purser", &binaries.purser), ("purser-replay", &binaries.purser_replay)] {
        let help = bounded::output(Command::new(path).arg("--help"));
        let verbs = documents::verbs(&String::from_utf8_lossy(&help.stdout));
        assert!(!verbs.is_empty(), "`{program} --help` lists no verbs");
        for document in files("", &["md"]) {
            let named = documents::words_after(&document.text, program);
            let unknown = named.difference(&verbs);
            findings.extend(unknown.map(|verb| format!("{}: there is no `{program} {verb}`", document.path)));
        }
    }
    assert_none(&findings);
}

#[test]
fn every_dependency_has_its_reason() {
    let page = read("docs/dependencies.md");
    let manifests: Vec<toml::Table> = dependencies::ALLOWANCES
        .iter()
        .map(|allowance| manifest(&format!("{}/Cargo.toml", allowance.folder)))
        .collect();
    let mut named: BTreeSet<&str> = manifests.iter().flat_map(dependencies::named).collect();
    named.retain(|name| !name.starts_with("purser-"));
    let missing = named.into_iter().filter(|name| !page.contains(&format!("| `{name}` |")));
    assert_none(
        &missing.map(|name| format!("docs/dependencies.md: no reason for `{name}`")).collect::<Vec<_>>(),
    );
}
