//! Causes, effects, requests and searches: their texts on one life, and what they find on many against brute force.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::{Cause, Record, Seq, StreamId};
use purser_replay::Exit;
use serde_json::{Value, json};

use crate::answers::Lived;
use crate::life::{self, Step};
use crate::support::golden;

#[test]
fn chains_are_as_on_file() {
    let lived = Lived::new(3, 60);
    let request = lived.steps[4].origin.correlation.to_string();
    golden("why.txt", &lived.tool(&["why", "red/web-0"]));
    golden("why-json.txt", &lived.tool(&["why", "13", "-o", "json"]));
    golden("why-own.txt", &lived.tool(&["why", "2"]));
    golden("why-down.txt", &lived.tool(&["why", "11", "--down"]));
    golden("why-down-json.txt", &lived.tool(&["why", "11", "--down", "--depth", "1", "-o", "json"]));
    golden("why-dot.txt", &lived.tool(&["why", "17", "--dot"]));
    golden("trace.txt", &lived.tool(&["trace", &request]));
    golden("trace-json.txt", &lived.tool(&["trace", &request, "--depth", "1", "-o", "json"]));
    golden("intents.txt", &lived.tool(&["intents"]));
    golden("intents-json.txt", &lived.tool(&["intents", "--at", "22", "--all", "-o", "json"]));
    golden("bisect.txt", &lived.tool(&["bisect", "--where", "workersRegistered >= 2"]));
    let json = ["bisect", "--monotone", "--where", "workersRegistered >= 2", "-o", "json"];
    golden("bisect-json.txt", &lived.tool(&json));
    golden("stats.txt", &lived.tool(&["stats"]));
    golden("stats-json.txt", &lived.tool(&["stats", "--tenant", "red", "-t", "pod.", "-o", "json"]));
}

fn cause_of(record: &Record) -> Option<u64> {
    match record.header.origin.cause {
        Cause::Record(seq) | Cause::Timer(seq) | Cause::Observation(seq) => Some(seq.0),
        Cause::Command(_) | Cause::Node => None,
    }
}

fn seqs(rows: &Value) -> Vec<u64> {
    rows.as_array().unwrap().iter().map(|row| row["seq"].as_u64().unwrap()).collect()
}

#[test]
fn chains_lead_through_every_cause_and_effect() {
    let mut ends = 0;
    for seed in 0..10 {
        let lived = Lived::of(as_a_node_does(life::life(seed, 80)));
        let records = lived.records();
        let causes: BTreeMap<u64, Option<u64>> =
            records.iter().map(|record| (record.header.seq.0, cause_of(record))).collect();
        let follow = |seq: u64, led: &dyn Fn(u64) -> Option<u64>| {
            let mut chain = vec![seq];
            while let Some(cause) = led(*chain.last().unwrap()) {
                chain.push(cause);
            }
            chain
        };
        let asks = asks(&records);
        ends += asks.len();
        let asked = |seq: u64| follow(seq, &|seq| asks.get(&seq).copied().or(causes[&seq]));
        for seq in (1..=records.len() as u64).step_by(7).chain(asks.keys().copied()) {
            let told = lived.json(&["why", &seq.to_string()]);
            assert_eq!(seqs(&told["chain"]), asked(seq), "seed {seed}: why {seq}");
            let effects: Vec<u64> =
                causes.keys().copied().filter(|other| asked(*other).contains(&seq)).collect();
            let told = lived.json(&["why", &seq.to_string(), "--down"]);
            assert_eq!(seqs(&told), effects, "seed {seed}: down from {seq}");
            for row in told.as_array().unwrap() {
                let other = row["seq"].as_u64().unwrap();
                let away = asked(other).iter().position(|link| *link == seq).unwrap();
                assert_eq!(row["depth"], json!(away), "seed {seed}: {other} from {seq}");
            }
        }
    }
    assert!(ends > 5, "only {ends} ends were asked for and seen outside");
}

/// Steps of which the end of a worker names its registration as its cause.
fn as_a_node_does(mut steps: Vec<Step>) -> Vec<Step> {
    let mut registered: BTreeMap<StreamId, u64> = BTreeMap::new();
    for (step, seq) in steps.iter_mut().zip(1..) {
        match step.event.layout().name {
            "worker.registered" => {
                registered.insert(step.stream, seq);
            }
            "worker.exited" => step.origin.cause = Cause::Record(Seq(registered[&step.stream])),
            _ => {}
        }
    }
    steps
}

/// Of every record of a decision that tells of an end which was seen outside: the last request for that end, if there is
/// one since the end before it.
fn asks(records: &[Record]) -> BTreeMap<u64, u64> {
    let mut found = BTreeMap::new();
    let mut goes_on: BTreeMap<u64, u64> = BTreeMap::new();
    for (at, record) in records.iter().enumerate() {
        let (header, name) = (&record.header, record.event.layout().name);
        let payload = record.event.payload_json();
        let (pod, container) = match name {
            "worker.exited" => {
                let born = records.iter().find(|other| other.header.stream == header.stream).unwrap();
                let born = born.event.payload_json();
                (born["pod"].clone(), born["container"].clone())
            }
            _ => (json!(header.stream.id), payload["container"].clone()),
        };
        let of_it = |other: &&Record| {
            json!(other.header.stream.id) == pod && other.event.payload_json()["container"] == container
        };
        let last = records[..at].iter().rev().filter(of_it).find(|other| {
            let name = other.event.layout().name;
            ["pod.container-exited", "pod.container-stop-requested", "pod.container-kill-requested"]
                .contains(&name)
        });
        let ask = last.filter(|_| name.ends_with(".exited") || name == "pod.container-exited");
        let ask = ask.filter(|last| last.event.layout().name != "pod.container-exited");
        let before = records[..at].last().filter(|before| {
            before.header.stream == header.stream && before.header.origin.cause == header.origin.cause
        });
        let before = before.and_then(|before| goes_on.get(&before.header.seq.0).copied());
        if let Some(ask) = ask.map(|ask| ask.header.seq.0).or(before) {
            goes_on.insert(header.seq.0, ask);
            if cause_of(record).is_some_and(|cause| cause < ask) {
                found.insert(header.seq.0, ask);
            }
        }
    }
    found
}

#[test]
fn a_trace_is_every_record_of_a_request_with_each_below_its_cause() {
    for seed in 0..6 {
        let lived = Lived::new(seed, 80);
        let records = lived.records();
        let requests: BTreeSet<_> = records.iter().map(|record| record.header.origin.correlation).collect();
        for request in requests {
            let of_request: BTreeMap<u64, Option<u64>> = records
                .iter()
                .filter(|record| record.header.origin.correlation == request)
                .map(|record| (record.header.seq.0, cause_of(record)))
                .collect();
            let told = lived.json(&["trace", &request.to_string()]);
            let rows = told.as_array().unwrap();
            let found: BTreeSet<u64> = seqs(&told).into_iter().collect();
            assert!(
                found.iter().eq(of_request.keys()) && found.len() == rows.len(),
                "seed {seed}: {request}"
            );
            for (at, row) in rows.iter().enumerate() {
                let depth = row["depth"].as_u64().unwrap();
                let above = rows[..at].iter().rev().find(|other| other["depth"].as_u64().unwrap() < depth);
                let cause = of_request[&row["seq"].as_u64().unwrap()].filter(|cause| found.contains(cause));
                assert_eq!(above.map(|row| row["seq"].as_u64().unwrap()), cause, "seed {seed}: {row}");
            }
        }
    }
}

#[test]
fn a_search_finds_the_first_moment_there_is() {
    for seed in 0..6 {
        let lived = Lived::new(seed, 80);
        let worlds: Vec<Value> = lived.worlds().iter().map(|world| json!(world)).collect();
        let first = |holds: &dyn Fn(&Value) -> bool| worlds.iter().position(holds).map(|at| at as u64);
        let ask = |args: &[&str]| lived.json(&[&["bisect"], args].concat())["first"].as_u64();
        for count in 1..6 {
            let condition = format!("workersRegistered >= {count}");
            let wanted = first(&|world| world["workersRegistered"].as_u64() >= Some(count));
            assert_eq!(ask(&["--where", &condition]), wanted, "seed {seed}: {condition}");
            assert_eq!(ask(&["--monotone", "--where", &condition]), wanted, "seed {seed}: {condition}");
        }
        let failed = |world: &Value| {
            let pods = world["pods"].as_object().unwrap();
            pods.values().any(|pod| {
                pod["setup"]["Failed"].is_object() || !pod["execs"].as_object().unwrap().is_empty()
            })
        };
        let condition = "pods.*.setup.Failed or pods.*.execs.* = 'main'";
        assert_eq!(ask(&["--where", condition]), first(&failed), "seed {seed}");
        let after = ask(&["--where", condition]);
        // From a moment at which it does not hold, it is the next one that is found.
        let next = (40..worlds.len()).find(|at| failed(&worlds[*at])).map(|at| at as u64);
        if !failed(&worlds[39]) {
            assert_eq!(ask(&["--where", condition, "--good", "39"]), next, "seed {seed}: after {after:?}");
        }
    }
}

#[test]
fn a_command_can_be_asked() {
    let lived = Lived::new(3, 60);
    let ask = |args: &[&str], script: &str| {
        lived.tool(&[&["bisect", "-o", "json"], args, &["run", "sh", "-c", script]].concat())
    };
    let first = |told: &crate::support::Told| {
        assert_eq!(told.exit, Exit::Ok, "{}", told.notes);
        let found: Value = serde_json::from_str(&told.out).unwrap();
        (found["first"].as_u64().unwrap(), found["untold"].clone())
    };
    let wanted = lived.json(&["bisect", "--where", "workersRegistered >= 2"])["first"].as_u64().unwrap();
    let script = "! grep -q '\"workersRegistered\":[01],'";
    assert_eq!(first(&ask(&[], script)), (wanted, Value::Null));
    assert_eq!(first(&ask(&["--monotone"], script)), (wanted, Value::Null));
    // About some moments right before it, and some long before, nobody can tell.
    let (from, to) = (wanted - 3, wanted - 1);
    let script = format!(
        "case $PURSER_SEQ in {from}|{}|{to}|3) exit 125;; esac; test $PURSER_SEQ -ge {wanted}",
        wanted - 2
    );
    assert_eq!(first(&ask(&[], &script)), (wanted, json!({ "first": from, "last": to })));
    assert_eq!(first(&ask(&["--monotone"], &script)).0, wanted);
    assert_eq!(ask(&[], "exit 1").exit, Exit::NothingMatched);
    let broken = ask(&[], "exit 127");
    assert_eq!(broken.exit, Exit::Io);
    assert!(broken.notes.contains("`sh` did not answer"), "{}", broken.notes);
    let none = lived.tool(&["bisect", "run", "/nonexistent/program"]);
    assert_eq!(none.exit, Exit::Io);
    let already = lived.tool(&["bisect", "--where", "@seq >= 0"]);
    assert_eq!(already.exit, Exit::Usage);
    assert!(already.notes.contains("holds already after record 0"), "{}", already.notes);
    assert_eq!(lived.tool(&["bisect"]).exit, Exit::Usage);
}

#[test]
fn intents_are_what_the_pods_states_say_is_open() {
    let (mut setups, mut creations, mut garbage, mut execs) = (0, 0, 0, 0);
    for seed in 0..8 {
        let lived = Lived::new(seed, 80);
        let worlds = lived.worlds();
        for at in (5..worlds.len()).step_by(9) {
            let told = lived.json(&["intents", "--at", &at.to_string()]);
            let rows = told.as_array().unwrap();
            let count = |kind: &str| rows.iter().filter(|row| row["type"] == kind).count();
            let pods: Vec<Value> = worlds[at].pods.values().map(|pod| json!(pod)).collect();
            let of = |holds: &dyn Fn(&Value) -> usize| pods.iter().map(holds).sum::<usize>();
            let active =
                |pod: &Value| pod["phase"] == "Provisioning" || pod["phase"].get("Stopping").is_some();
            let open = of(&|pod| usize::from(active(pod) && pod["setup"].get("Requested").is_some()));
            assert!(count("pod.setup-requested") >= open, "seed {seed} at {at}: {told}");
            let creating = of(&|pod| usize::from(pod["containers"][0]["state"].get("Creating").is_some()));
            assert_eq!(count("pod.container-create-requested"), creating, "seed {seed} at {at}: {told}");
            let removing = of(&|pod| pod["containers"][0]["garbage"].as_array().unwrap().len());
            let failed = of(&|pod| {
                let garbage = pod["containers"][0]["garbage"].as_array().unwrap();
                garbage.iter().filter(|attempt| is_failed(&lived, at, pod, attempt)).count()
            });
            assert_eq!(count("pod.container-exited"), removing - failed, "seed {seed} at {at}: {told}");
            let running = of(&|pod| pod["execs"].as_object().unwrap().len());
            assert_eq!(count("pod.exec-requested"), running, "seed {seed} at {at}: {told}");
            (setups, creations) = (setups + open, creations + creating);
            (garbage, execs) = (garbage + removing, execs + running);
        }
    }
    assert!(
        setups > 0 && creations > 0 && garbage > 0 && execs > 0,
        "{setups} {creations} {garbage} {execs}"
    );
}

/// Whether an attempt never ran: what is left of it is removed too, and no exit says so.
fn is_failed(lived: &Lived, at: usize, pod: &Value, attempt: &Value) -> bool {
    lived.steps[..at].iter().any(|step| {
        step.event.layout().name == "pod.container-create-failed"
            && json!(step.stream.id) == pod["uid"]
            && step.event.payload_json()["attempt"] == *attempt
    })
}

#[test]
fn statistics_are_those_of_a_count_by_hand() {
    for seed in 0..4 {
        let lived = Lived::new(seed, 80);
        let told = lived.json(&["stats"]);
        let mut types: BTreeMap<&str, u64> = BTreeMap::new();
        lived.steps.iter().for_each(|step| *types.entry(step.event.layout().name).or_default() += 1);
        assert_eq!(told["all"]["records"], json!(lived.steps.len()), "seed {seed}");
        for (name, count) in &types {
            assert_eq!(told["types"][name]["records"], json!(count), "seed {seed}: {name}");
        }
        assert_eq!(told["types"].as_object().unwrap().len(), types.len(), "seed {seed}");
        // A worker is registered once and ends once.
        let mut spans: Vec<i64> = Vec::new();
        for end in lived.steps.iter().filter(|step| step.event.layout().name == "worker.exited") {
            let start = lived.steps.iter().find(|step| step.stream == end.stream).unwrap();
            spans.push(end.time - start.time);
        }
        let took = &told["took"]["worker.registered"];
        assert_eq!(took["count"], json!(spans.len()), "seed {seed}");
        assert_eq!(took["maxUs"], json!(spans.iter().max()), "seed {seed}");
        assert_eq!(took["sumUs"], json!(spans.iter().sum::<i64>()), "seed {seed}");
    }
}
