//! Figures that are folded from a journal: metrics of the past and bills, each beside a count by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use purser_events::ledger::HolderId;
use purser_events::view::World;
use purser_events::{Event, NodeUid, Record, Seq, StreamId, StreamKind, StreamVersion};
use purser_events::{Header, Timestamp};
use purser_replay::Exit;
use serde_json::{Value, json};

use crate::life::{self, Step};
use crate::support::{NODE, START, Told, event, golden, tool};

const SECOND: i64 = 1_000_000;

/// A life of which every record is at a whole second, and pods' use is measured now and then.
struct Seconds {
    steps: Vec<Step>,
    worlds: Vec<World>,
    dir: tempfile::TempDir,
}

impl Seconds {
    fn new(seed: u64, turns: usize) -> Seconds {
        let mut steps = Vec::new();
        let (mut world, mut worlds) = (World::default(), Vec::new());
        let ledger = StreamId { kind: StreamKind::Ledger, id: NODE };
        let mut measured = START;
        for mut step in life::life(seed, turns) {
            step.time -= step.time.rem_euclid(SECOND);
            let time = step.time;
            let origin = step.origin.clone();
            push(step, &mut world, &mut steps, &mut worlds);
            if time - measured >= 30 * SECOND && world.node_uid == Some(NodeUid(NODE)) {
                let pods = world.ledger.holdings.keys().filter_map(|holder| match holder {
                    HolderId::Pod(pod) => Some(json!({
                        "pod": pod, "samples": 3, "cpuMean": 250, "cpuMax": 400, "memoryMean": 7_000,
                        "memoryMax": 9_000, "disk": 11_000,
                        "gpus": { "share": { "samples": 3, "mean": 40, "max": 60 }, "memory": null },
                    })),
                    HolderId::Reservation(_) => None,
                });
                let part = json!({
                    "from": Timestamp(measured), "to": Timestamp(time), "pods": pods.collect::<Vec<_>>(),
                    "node": { "cpuMean": 1, "memoryMean": 2, "disk": 3 },
                    "gpus": { "share": null, "memory": null },
                });
                measured = time;
                let event = event("ledger.use-recorded", &part);
                push(Step { stream: ledger, event, origin, time }, &mut world, &mut steps, &mut worlds);
            }
        }
        let dir = tempfile::tempdir().unwrap();
        life::write(&steps, &dir.path().join("journal"));
        Seconds { steps, worlds, dir }
    }

    fn tool(&self, args: &[&str]) -> Told {
        tool(&[args, &["--dir", self.path("journal").as_str()]].concat())
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// What was true after every record of a moment or before.
    fn at(&self, time: i64) -> Option<&World> {
        let after = self.steps.partition_point(|step| step.time <= time);
        after.checked_sub(1).map(|last| &self.worlds[last])
    }

    fn last(&self) -> i64 {
        self.steps.last().unwrap().time
    }
}

fn push(step: Step, world: &mut World, steps: &mut Vec<Step>, worlds: &mut Vec<World>) {
    let seq = Seq(steps.len() as u64 + 1);
    let (stream, origin, time) = (step.stream, step.origin.clone(), Timestamp(step.time));
    let header = Header { seq, stream, version: StreamVersion(1), time, epoch: 1, origin };
    world.apply(&Record { header, event: step.event.clone() }).unwrap();
    steps.push(step);
    worlds.push(world.clone());
}

/// The value of a series at a moment.
fn sample(text: &str, series: &str, time: i64) -> Option<u64> {
    let end = format!(" {}", time / SECOND);
    let line = text.lines().find(|line| line.starts_with(&format!("{series} ")) && line.ends_with(&end))?;
    line.split(' ').nth_back(1)?.parse().ok()
}

#[test]
fn metrics_are_those_of_the_world_at_each_step() {
    for seed in 0..4 {
        let lived = Seconds::new(seed, 100);
        let told = lived.tool(&["metrics", "--step", "30s"]);
        assert_eq!(told.exit, Exit::Ok, "{}", told.notes);
        let first = (START + 30 * SECOND - 1) / (30 * SECOND) * (30 * SECOND);
        let mut time = first;
        let mut steps = 0;
        while time <= lived.last() {
            let Some(world) = lived.at(time) else {
                time += 30 * SECOND;
                continue;
            };
            let running = world.pods.values().filter(|pod| pod.word() == "Running").count() as u64;
            assert_eq!(
                sample(&told.out, "purser_pods{phase=\"Running\"}", time),
                Some(running),
                "seed {seed}"
            );
            let had: u64 = world
                .ledger
                .holdings
                .iter()
                .filter(|(holder, _)| matches!(holder, HolderId::Pod(_)))
                .map(|(_, holding)| holding.grant.cpu.0)
                .sum();
            let series = "purser_resource_allocated{resource=\"cpu\"}";
            assert_eq!(sample(&told.out, series, time), Some(had), "seed {seed} at {time}");
            assert_eq!(sample(&told.out, "purser_journal_head_seq", time), Some(world.head.0), "seed {seed}");
            (steps, time) = (steps + 1, time + 30 * SECOND);
        }
        let heads = told.out.lines().filter(|line| line.starts_with("purser_journal_head_seq "));
        assert_eq!(heads.count(), steps, "seed {seed}");
        assert!(told.out.contains("purser_pod_used_cpu_millicores{") && told.out.ends_with("# EOF\n"));
        // A part is a part of the whole.
        let (from, to) = (Timestamp(first + 60 * SECOND), Timestamp(first + 150 * SECOND));
        let part = lived.tool(&[
            "metrics",
            "--step",
            "30s",
            "--since",
            &from.to_string(),
            "--until",
            &to.to_string(),
        ]);
        let times = part.out.lines().filter(|line| line.starts_with("purser_journal_head_seq ")).count();
        assert_eq!(times, 4, "seed {seed}");
        for line in part.out.lines() {
            assert!(told.out.lines().any(|other| other == line), "seed {seed}: {line}");
        }
    }
    let none = Seconds::new(1, 5).tool(&["metrics", "--step", "0s"]);
    assert_eq!((none.exit, none.out.as_str()), (Exit::Usage, ""));
}

#[test]
fn prometheus_takes_the_metrics_of_the_past() {
    let lived = Seconds::new(7, 150);
    let told = lived.tool(&["metrics", "--step", "15s"]);
    let (file, data) = (lived.path("past.om"), lived.path("data"));
    fs::write(&file, &told.out).unwrap();
    let output = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", &file, &data])
        .output()
        .expect("promtool is needed: install the package `prometheus`");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && Path::new(&data).is_dir(), "promtool: {said}");
    // A database has this folder, also if all of it is in blocks.
    fs::create_dir(Path::new(&data).join("wal")).unwrap();
    let dump = Command::new("promtool")
        .args(["tsdb", "dump", &data])
        .output()
        .expect("promtool is needed: install the package `prometheus`");
    let dumped = String::from_utf8(dump.stdout).unwrap();
    let of = |line: &&str, series: &str| !line.starts_with('#') && line.contains(series);
    let count = |text: &str, series: &str| text.lines().filter(|line| of(line, series)).count();
    let lines = told.out.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(dumped.lines().filter(|line| line.starts_with('{')).count(), lines);
    assert_eq!(count(&dumped, "\"purser_journal_head_seq\""), count(&told.out, "purser_journal_head_seq "));
}

const PRICES: &str = "currency = 'EUR'\ndecimals = 4\n[allocated]\ncpu = '36'\nmemory = '386547056.64'\ngpus = '7.2'\n\
                      pods = '0.036'\n[reserved]\ncpu = '18'\n[used]\ncpu = '3.6'\ngpu-share = '0.36'\nmemory = '386547.05664'\n";

#[test]
fn a_bill_is_what_every_second_adds_up_to() {
    let mut billed = 0;
    for seed in 0..6 {
        let lived = Seconds::new(seed, 120);
        fs::write(lived.path("prices"), PRICES).unwrap();
        for by in ["all", "hour", "day"] {
            let args = ["bill", "--prices", &lived.path("prices"), "-o", "json", "--by", by];
            let told = lived.tool(&args);
            assert_eq!(told.exit, Exit::Ok, "{}", told.notes);
            assert_eq!(told.out, lived.tool(&args).out, "the same bytes again");
            let bill: Value = serde_json::from_str(&told.out).unwrap();
            let mut sums: BTreeMap<(String, String, String), u128> = BTreeMap::new();
            for line in bill["lines"].as_array().unwrap() {
                let text = |field: &str| line[field].as_str().unwrap().to_owned();
                let amount: u128 = text("amountMicroseconds").parse().unwrap();
                *sums.entry((text("tenant"), text("basis"), text("resource"))).or_default() += amount;
            }
            assert_eq!(sums, by_hand(&lived), "seed {seed} by {by}");
            let part = |value: &Value| value.as_str().unwrap().replace('.', "").parse::<u128>().unwrap();
            let lines: u128 = bill["lines"].as_array().unwrap().iter().map(|line| part(&line["cost"])).sum();
            let totals: u128 = bill["totals"].as_object().unwrap().values().map(part).sum();
            assert_eq!(
                (lines, totals),
                (part(&bill["total"]), part(&bill["total"])),
                "seed {seed}: it adds up"
            );
            billed += usize::from(lines > 0);
        }
    }
    assert!(billed > 10, "there is nothing on most bills");
}

/// Amounts times microseconds, second by second.
fn by_hand(lived: &Seconds) -> BTreeMap<(String, String, String), u128> {
    let mut sums = BTreeMap::new();
    let mut add = |tenant: &str, basis: &str, kind: &str, amount: u64| {
        if amount > 0 {
            let key = (tenant.to_owned(), basis.to_owned(), kind.to_owned());
            *sums.entry(key).or_default() += u128::from(amount) * 1_000_000;
        }
    };
    let mut time = lived.steps[0].time;
    while time < lived.last() {
        for (holder, holding) in &lived.at(time).unwrap().ledger.holdings {
            let (tenant, grant) = (holding.tenant.as_str(), &holding.grant);
            match holder {
                HolderId::Pod(_) => {
                    add(tenant, "allocated", "cpu", grant.cpu.0);
                    add(tenant, "allocated", "memory", grant.memory.0);
                    add(
                        tenant,
                        "allocated",
                        "gpus",
                        grant.gpus.iter().filter(|gpu| gpu.whole).count() as u64,
                    );
                    add(tenant, "allocated", "pods", 1);
                }
                HolderId::Reservation(_) => add(tenant, "reserved", "cpu", grant.cpu.0),
            }
        }
        time += SECOND;
    }
    for (step, world) in lived.steps.iter().zip(&lived.worlds) {
        let Event::Ledger(purser_events::ledger::LedgerEvent::UseRecorded(part)) = &step.event else {
            continue;
        };
        for _ in 0..(part.to.0 - part.from.0) / SECOND {
            for used in &part.pods {
                let tenant = world.ledger.holdings[&HolderId::Pod(used.pod)].tenant.as_str();
                add(tenant, "used", "cpu", used.cpu_mean.0);
                add(tenant, "used", "memory", used.memory_mean.0);
                add(tenant, "used", "gpu-share", used.gpus.share.map_or(0, |share| share.mean));
            }
        }
    }
    sums
}

#[test]
fn figures_are_as_on_file() {
    let lived = Seconds::new(3, 40);
    fs::write(lived.path("prices"), PRICES).unwrap();
    golden("metrics.txt", &lived.tool(&["metrics", "--step", "1m"]));
    let bill = |args: &[&str]| lived.tool(&[&["bill", "--prices", &lived.path("prices")], args].concat());
    golden("bill.txt", &bill(&[]));
    golden("bill-csv.txt", &bill(&["-o", "csv", "--by", "hour", "--since", "2026-03-01T12:00:30Z"]));
    golden("bill-json.txt", &bill(&["-o", "json"]));
    fs::write(lived.path("wrong"), "currency = 'EUR'\ndecimals = 2\n[allocated]\nflops = '1'\n").unwrap();
    let wrong = lived.tool(&["bill", "--prices", &lived.path("wrong")]);
    assert_eq!(wrong.exit, Exit::Usage);
    assert!(wrong.notes.contains("`allocated.flops`"), "{}", wrong.notes);
}

/// Slots of all moments, from the worlds themselves: how many there were, were taken and were kept, times microseconds.
#[test]
fn use_of_slots_is_what_worlds_add_up_to() {
    let mut taken = 0;
    for seed in 0..6 {
        let lived = crate::answers::Lived::new(seed, 100);
        let mut sums = [0_u64; 3];
        let mut most = [0_u64; 2];
        let times: Vec<i64> = lived.steps.iter().map(|step| step.time).collect();
        for (at, world) in lived.worlds().iter().enumerate().skip(1) {
            let us = times.get(at).map_or(0, |next| u64::try_from(next - times[at - 1]).unwrap());
            let members = || world.pools.values().flat_map(|pool| pool.members.values());
            let slots = || members().filter(|member| member.pod.is_some()).flat_map(|member| &member.slots);
            let count = |word: &str| slots().filter(|slot| slot.word() == word).count() as u64;
            let all = slots().count() as u64;
            let held = all - count("idle");
            most = [most[0].max(all), most[1].max(held)];
            for (sum, slots) in sums.iter_mut().zip([all, held, count("reserved")]) {
                *sum += us * slots;
            }
        }
        let told = lived.json(&["stats"]);
        let pool = &told["slots"][0];
        assert_eq!(
            [&pool["slotsUs"], &pool["takenUs"], &pool["keptUs"]],
            [&json!(sums[0]), &json!(sums[1]), &json!(sums[2])],
            "seed {seed}"
        );
        assert_eq!([&pool["slotsMax"], &pool["takenMax"]], [&json!(most[0]), &json!(most[1])], "seed {seed}");
        let count = |name: &str| lived.steps.iter().filter(|step| step.event.layout().name == name).count();
        assert_eq!(pool["waited"]["count"], json!(count("pool.task-assigned")), "seed {seed}");
        assert_eq!(pool["whole"]["count"], json!(count("pool.task-ended")), "seed {seed}");
        assert_eq!(pool["lost"], json!(count("pool.task-requeued")), "seed {seed}");
        taken += pool["takenUs"].as_u64().unwrap();
    }
    assert!(taken > 0);
}
