//! The verbs on the journal of a real run, `run.export`: a service with two GPUs of a stand-in for their driver, pods of two
//! tenants of which one fails, a pool with agents and tasks of which one is planned and confirmed, a violation, a
//! reservation, other limits, a GPU that is drained, and a kill of the service in between.

use std::collections::BTreeSet;
use std::fs;

use purser_events::{StreamKind, Timestamp};
use purser_replay::Exit;
use purser_replay::audit::Journal;
use serde_json::Value;

use crate::exports::{checked_trace, read_by_pyarrow};
use crate::screens::Shown;
use crate::support::{Told, golden, tool};

pub(crate) const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run.export");

/// What `purserd keys setup` printed before the run.
const KEY: &str = "purser/gpu-01/3f7fc6c3+62511f10+Aaka8DrqCpgp746Uc2CB1wmgiDTPzra14HL+pHHODXzV";

/// The types that say what becomes of tasks.
const TASKS: &str =
    "pool.task-submitted,pool.task-assigned,pool.task-planned,pool.task-confirmed,pool.task-ended";

/// Runs a verb on the journal.
fn run(args: &[&str]) -> Told {
    let told = tool(&[&["--export", RUN], args].concat());
    // Where the checkout lies is no part of what is told.
    Told { out: told.out.replace(RUN, "RUN"), notes: told.notes.replace(RUN, "RUN"), ..told }
}

fn lines(told: &str) -> Vec<Value> {
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn listings_of_a_run_are_as_on_file() {
    golden("run-info.txt", &run(&["info"]));
    golden("run-streams.txt", &run(&["streams"]));
    let listed = run(&["log", "--oneline"]);
    assert_eq!(listed.out, run(&["log", "-o", "oneline"]).out);
    golden("run-log.txt", &listed);
    golden("run-log-pool.txt", &run(&["log", "--graph", "--stream", "pool/ci"]));
    golden("run-show.txt", &run(&["show", "48"]));
    golden("run-state.txt", &run(&["state", "--at", "90"]));
    golden("run-state-pool.txt", &run(&["state", "--at", "90", "pool/ci"]));
    let views = [
        "pods",
        "workers",
        "gpus",
        "pools",
        "slots",
        "tasks",
        "resources",
        "tenants",
        "reservations",
        "waiting",
    ];
    let (mut text, mut json) = (String::new(), String::new());
    for view in [&views[..], &["node", "gone", "violations", "quarantined"]].concat() {
        let told = run(&["state", "--at", "90", "--view", view]);
        assert_eq!((told.exit, told.notes.as_str()), (Exit::Ok, ""), "{view}");
        let items = run(&["state", "--at", "90", "--view", view, "-o", "json"]).out;
        let count = serde_json::from_str::<Value>(&items).unwrap()["items"].as_array().unwrap().len();
        let first = told.out.lines().next().unwrap();
        // A GPU that somebody holds has one line more for each who does.
        assert!(view == "gpus" || first.ends_with(&format!(": {count}")), "{first}, {count} items");
        text.push_str(&told.out);
        json.push_str(&items);
    }
    golden("run-state-views.txt", &Told { exit: Exit::Ok, out: text, notes: String::new() });
    golden("run-state-views-json.txt", &Told { exit: Exit::Ok, out: json, notes: String::new() });
    let unknown = run(&["state", "--view", "gpu-share"]);
    assert_eq!(unknown.exit, Exit::Usage);
    let sides = views.iter().all(|view| unknown.notes.contains(view));
    assert!(sides && tool(&["state", "--help"]).out.contains("violations"), "{}", unknown.notes);
    golden("run-diff.txt", &run(&["diff", "86", "90"]));
    golden("run-timeline.txt", &run(&["timeline", "team-red/web"]));
}

#[test]
fn answers_about_a_run_are_as_on_file() {
    golden("run-blame.txt", &run(&["blame", "pool/ci", "--at", "90"]));
    golden("run-bisect.txt", &run(&["bisect", "--stream", "pool/ci", "--where", "reserved[0]"]));
    golden("run-why.txt", &run(&["why", "87"]));
    // A GPU is drained: its pod is stopped, and what it had is given back.
    golden("run-why-evicted.txt", &run(&["why", "126"]));
    golden("run-why-down.txt", &run(&["why", "119", "--down"]));
    // A task needs a pod of its own, so there is to be one more.
    golden("run-why-scaled.txt", &run(&["why", "80"]));
    golden("run-why-down-scaled.txt", &run(&["why", "62", "--down"]));
    let asked = lines(&run(&["log", "-o", "jsonl", "--seq", "119"]).out);
    let correlation = asked[0]["header"]["origin"]["correlation"].as_str().unwrap();
    golden("run-trace.txt", &run(&["trace", correlation]));
    golden("run-intents.txt", &run(&["intents", "--all", "--at", "90"]));
    golden("run-verify.txt", &run(&["verify", "--key", KEY]));
    golden("run-proof.txt", &run(&["proof", "87", "--key", KEY]));
    golden("run-stats.txt", &run(&["stats"]));
    golden("run-stats-json.txt", &run(&["stats", "-o", "json"]));
    golden("run-replay-check.txt", &run(&["replay-check"]));
}

#[test]
fn exports_of_a_run_are_as_on_file() {
    let trace = run(&["export", "-", "-f", "perfetto"]);
    golden("run-perfetto.txt", &trace);
    golden("run-otlp.txt", &run(&["export", "-", "-f", "otlp", "--stream", "pool/ci"]));
    let fields = "@seq,@time,task,slot.member,slot.slot,result";
    golden("run-csv.txt", &run(&["export", "-", "-f", "csv", "-t", TASKS, "--fields", fields]));
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(
        path("prices"),
        "currency = 'EUR'\ndecimals = 6\n[allocated]\ncpu = '3.6'\nmemory = '7.2'\ngpu-share = '36'\n",
    )
    .unwrap();
    golden("run-bill.txt", &run(&["bill", "--prices", &path("prices")]));
    fs::write(path("tight"), "[policy.limits.memory]\nhard = 67108864\n").unwrap();
    golden("run-whatif.txt", &run(&["whatif", "--policy", &path("tight")]));
    let pools = "[pools.ci.scaling]\nmin-replicas = 2\nmax-replicas = 4\nup-stable-ms = 1000\n";
    fs::write(path("wider"), pools).unwrap();
    golden("run-whatif-pools.txt", &run(&["whatif", "--policy", &path("wider")]));
    let told = run(&["whatif", "--policy", &path("wider"), "-o", "json"]);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((&told["pools"][0]["pool"], &told["pools"][0]["loop"]), (&"ci".into(), &"closed".into()));
    // Other slots, and other rules for tasks, lead to other waits and ends.
    let figures = |rules: &str| -> Value {
        fs::write(path("rules"), rules).unwrap();
        let told = run(&["whatif", "--policy", &path("rules"), "-o", "json"]);
        let value: Value = serde_json::from_str(&told.out).unwrap();
        let pool = value["pools"][0].clone();
        assert_eq!(told.exit == Exit::Ok, pool["held"] != pool["other"], "{rules}: {pool}");
        pool
    };
    let same = figures("[pools.ci]");
    assert_eq!(same["held"], same["other"]);
    let few = figures("[pools.ci.slots]\nrule = 'exclusive'\ncount = 1");
    assert_eq!((&few["held"], &few["recorded"]), (&same["held"], &same["recorded"]));
    assert!(few["other"]["waitMaxMs"].as_u64() > few["held"]["waitMaxMs"].as_u64(), "{few}");
    let short = figures("[pools.ci.tasks]\nqueue-max = 1");
    assert!(short["other"]["ended"].as_u64() < short["held"]["ended"].as_u64(), "{short}");
    fs::write(path("none"), "[pools.cd.scaling]\nmax-replicas = 4\n").unwrap();
    let told = run(&["whatif", "--policy", &path("none")]);
    assert!(
        told.exit == Exit::Usage && told.notes.contains("no pool `cd` in the journal: here are ci"),
        "{}",
        told.notes
    );
    let step =
        ["metrics", "--step", "5s", "--since", "2026-11-22T17:29:45Z", "--until", "2026-11-22T17:29:55Z"];
    golden("run-metrics.txt", &run(&step));
    let (page, black) = (path("page"), path("black"));
    assert_eq!(run(&["report", &page]).exit, Exit::Ok);
    let out = fs::read_to_string(&page).unwrap().replace(RUN, "RUN");
    golden("run-report.html", &Told { exit: Exit::Ok, out, notes: String::new() });
    let told = run(&["blackbox", "team-red/web", &black]);
    golden("run-blackbox.txt", &Told { out: told.out.replace(&black, "FILE"), ..told });
    let told = tool(&["verify", "--key", KEY, "--export", &black]);
    assert_eq!(told.exit, Exit::Ok, "{}{}", told.out, told.notes);
}

/// The text of the manual's table of metrics, by name: counters with their ending.
#[test]
fn every_metric_of_the_past_is_one_of_the_services() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let manual = fs::read_to_string(manual).unwrap();
    let described: BTreeSet<&str> = manual
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let told = run(&["metrics", "--step", "1s"]);
    assert_eq!(told.exit, Exit::Ok, "{}", told.notes);
    let mut named = BTreeSet::new();
    for line in told.out.lines() {
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        // What pods were measured to use is on record and no figure of the service.
        assert!(
            described.contains(&*name) || name.starts_with("purser_pod_used_"),
            "{name} is not in the manual"
        );
        named.insert(name);
    }
    for wanted in ["purser_pool_slots", "purser_gpu_health", "purser_violations_active", "purser_tenant_used"]
    {
        assert!(named.contains(wanted), "{wanted} is not among {named:?}");
    }
    // Beside what the state at the moment of the last sample says.
    let last = |series: &str| told.out.lines().rfind(|line| line.starts_with(series)).unwrap().split(' ');
    let seconds: i64 = last("purser_pool_slots").nth(2).unwrap().parse().unwrap();
    let last = |series: &str| last(series).nth(1).unwrap().to_owned();
    let at = Timestamp(seconds * 1_000_000).to_string();
    let view = |view: &str| -> Value {
        let told = run(&["state", "--at", &at, "--view", view, "-o", "json"]);
        serde_json::from_str(&told.out).unwrap()
    };
    let pool = &view("pools")["items"][0];
    for (series, field) in [
        ("purser_pool_members_wanted{pool=\"ci\"}", "wanted"),
        ("purser_pool_tasks_submitted_total{pool=\"ci\"}", "submitted"),
        ("purser_pool_tasks_ended_total{pool=\"ci\"}", "ended"),
    ] {
        assert_eq!(last(series), pool[field].to_string(), "{series}");
    }
    let slots = view("slots");
    // Slots of members that go, or are lost, are not counted.
    let counts = |slot: &&Value| slot["state"] == "idle" && slot["memberState"] == "connected";
    let idle = slots["items"].as_array().unwrap().iter().filter(counts).count();
    assert_eq!(last("purser_pool_slots{pool=\"ci\",state=\"idle\"}"), idle.to_string());
}

#[test]
fn what_is_made_of_a_run_is_as_on_file() {
    golden("run-jsonl.txt", &run(&["export", "-", "-f", "jsonl", "--pod", "team-red/web", "--redact"]));
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let table = path("all.parquet");
    assert_eq!(run(&["export", &table, "-f", "parquet"]).exit, Exit::Ok);
    let (columns, rows) = read_by_pyarrow(&table);
    let out = format!("{}\n{} rows, the first: {}\n", columns, rows.len(), rows[0]);
    golden("run-parquet.txt", &Told { exit: Exit::Ok, out, notes: String::new() });
    // One record in the middle is damaged: what is behind it stands by itself.
    let (damaged, to) = (path("damaged"), path("salvaged"));
    let mut bytes = fs::read(RUN).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&damaged, bytes).unwrap();
    let told = tool(&["salvage", "--to", &to, "--export", &damaged]);
    golden("run-salvage.txt", &Told { out: told.out.replace(&damaged, "DAMAGED"), ..told });
    let mut shown = Shown::of(Journal::export(RUN), 140, 40);
    shown.press(":90\n3");
    let world = shown.screen();
    shown.press(":126\n2");
    let out = format!("{world}\n{}\n", shown.screen()).replace(RUN, "RUN");
    golden("run-tui.txt", &Told { exit: Exit::Ok, out, notes: String::new() });
}

/// What others ran, and with what, is not told to whoever gets the file.
#[test]
fn a_black_box_has_a_pods_own_tasks_alone() {
    let folder = tempfile::tempdir().unwrap();
    let submitted = |export: &str| {
        let told = tool(&["--export", export, "log", "-t", "pool.task-submitted", "-o", "jsonl"]);
        let commands =
            lines(&told.out).into_iter().map(|line| line["event"]["payload"]["spec"]["argv"].clone());
        let told = commands.filter(|argv| !argv.is_null()).map(|argv| argv.to_string());
        told.collect::<BTreeSet<String>>()
    };
    let of = |pod: &str| {
        let file = folder.path().join(pod.replace('/', "-")).to_string_lossy().into_owned();
        assert_eq!(run(&["blackbox", pod, &file]).exit, Exit::Ok);
        submitted(&file)
    };
    assert!(submitted(RUN).len() > 4);
    assert_eq!(of("team-red/web"), BTreeSet::new());
    let (own, other) = (r#"["sh","-c","sleep 2"]"#, r#"["sh","-c","exit 3"]"#);
    let boxes = ["ci-1", "ci-2"].map(of);
    assert_eq!(boxes.each_ref().map(|told| told.contains(own)), [true, false]);
    assert_eq!(boxes.each_ref().map(|told| told.contains(other)), [false, true]);
}

/// All entities are in it, and all that is on record of pools is decided again.
#[test]
fn a_run_has_all_entities() {
    let told = run(&["replay-check", "-o", "json"]);
    assert_eq!(told.exit, Exit::Ok, "{}", told.notes);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    let kinds: BTreeSet<&str> = told["kinds"].as_object().unwrap().keys().map(String::as_str).collect();
    let all = [
        StreamKind::Node,
        StreamKind::Pod,
        StreamKind::Worker,
        StreamKind::Ledger,
        StreamKind::Gpu,
        StreamKind::Pool,
    ];
    assert_eq!(kinds, all.map(StreamKind::word).into());
    let pool = &told["kinds"]["pool"];
    assert_eq!(
        (&pool["records"], &pool["seen"], &pool["untold"]),
        (&49.into(), &0.into(), &0.into()),
        "{pool}"
    );
}

#[test]
fn slots_of_a_run_are_tracks_with_arrows_from_tasks() {
    let events = checked_trace(&run(&["export", "-", "-f", "perfetto"]).out);
    let records = lines(&run(&["log", "-o", "jsonl", "-t", TASKS]).out);
    let count = |name: &str| records.iter().filter(|record| record["event"]["type"] == name).count();
    let of = |phase: &str| {
        let fits = |event: &&Value| event["ph"] == phase && event["cat"] == "slot";
        events.iter().filter(fits).collect::<Vec<_>>()
    };
    assert!(count("pool.task-assigned") > 5);
    assert_eq!(of("s").len(), count("pool.task-assigned"), "an arrow from each task that waited");
    assert_eq!(of("f").len(), count("pool.task-assigned"));
    let slices = count("pool.task-assigned") + count("pool.task-planned") + count("pool.task-confirmed");
    assert_eq!(of("B").len(), slices);
    let assigned = records.iter().filter(|record| record["event"]["type"] == "pool.task-assigned");
    let slots: BTreeSet<String> = assigned
        .map(|record| {
            let slot = &record["event"]["payload"]["slot"];
            format!("member {} slot {}", slot["member"], slot["slot"])
        })
        .collect();
    let named = |event: &&Value| event["name"] == "thread_name" && event["pid"].as_u64() >= Some(100_000);
    let tracks = events.iter().filter(named).map(|event| event["args"]["name"].as_str().unwrap().to_owned());
    assert_eq!(tracks.collect::<BTreeSet<_>>(), slots);
    let group =
        events.iter().find(|event| event["name"] == "process_name" && event["args"]["name"] == "pool ci");
    assert!(group.is_some(), "the pool is a group");
}

#[test]
fn a_pools_records_are_its_own_and_those_of_its_pods() {
    let seqs = |args: &[&str]| -> BTreeSet<u64> {
        let told = run(&[&["ls", "-o", "jsonl"], args].concat());
        lines(&told.out).iter().map(|record| record["header"]["seq"].as_u64().unwrap()).collect()
    };
    let parts = [["--stream", "pool/ci"], ["--pod", "ci-1"], ["--pod", "ci-2"]].map(|args| seqs(&args));
    assert!(parts.iter().all(|part| part.len() > 10), "{parts:?}");
    assert_eq!(seqs(&["--pool", "ci"]), parts.into_iter().flatten().collect());
    assert_eq!(seqs(&["--pool", "cd"]), BTreeSet::new());
    assert_eq!(run(&["log", "--pool", "../etc"]).exit, Exit::Usage);
}
