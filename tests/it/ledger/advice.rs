//! Advice: what was really used over the last hours is put into the journal of a node, as the node itself would have over
//! that time, and the service and the command line say what follows from it.

use purser_actors::port::Clock;
use purser_events::ledger::LedgerEvent;
use purser_events::ledger::event::{GpuUsed, NodeUse, PodUse, UseRecorded};
use purser_events::{Bytes, Cause, Event, MilliCpu, Origin, PodUid, Principal, Seq, StreamKind, Timestamp};
use purser_node::adapter::clock::SystemClock;
use purser_storage::{Append, Journal, JournalConfig, StreamWrite};
use purser_tests::bounded;
use purser_tests::purserd::Purserd;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{get, manifest, node, taken, until_phase};

/// Windows of five minutes that are on record.
const WINDOWS: u64 = 36;
const WINDOW_MS: u64 = 300_000;
const MIB: u64 = 1 << 20;

/// Processor time in thousandths of a core and memory in MiB that a pod used in a window, which is counted from 0.
type Use = fn(u64) -> (u64, u64);

/// Starts a pod and waits until it runs; gives its uid.
fn run(purserd: &Purserd, name: &str, memory_limit: &str) -> PodUid {
    let mut pod: Value = serde_json::from_str(&manifest("default", name, "500m", "400Mi")).unwrap();
    pod["spec"]["containers"][0]["resources"]["limits"] = json!({ "memory": memory_limit });
    taken(purserd, &pod.to_string());
    let pod = until_phase(purserd, name, "Running");
    PodUid(pod["metadata"]["uid"].as_str().unwrap().parse().unwrap())
}

/// Every window, the last of which has just ended.
fn windows(now: Timestamp, used: &[(PodUid, Use)]) -> Vec<Event> {
    let past_us = i64::try_from(WINDOWS * WINDOW_MS * 1_000).unwrap();
    let began = Timestamp(now.0 - past_us);
    let window = |number: u64| {
        let from = began.plus_ms(number * WINDOW_MS);
        let of = |(pod, used): &(PodUid, Use)| {
            let (cpu, memory) = used(number);
            PodUse {
                pod: *pod,
                samples: 30,
                cpu_mean: MilliCpu(cpu),
                cpu_max: MilliCpu(2 * cpu),
                memory_mean: Bytes(memory * MIB),
                memory_max: Bytes(memory * MIB),
                disk: Bytes(0),
                gpus: GpuUsed::default(),
            }
        };
        let pods = used.iter().map(of).collect();
        let recorded = UseRecorded {
            from,
            to: from.plus_ms(WINDOW_MS),
            pods,
            node: NodeUse::default(),
            gpus: GpuUsed::default(),
        };
        Event::Ledger(LedgerEvent::UseRecorded(Box::new(recorded)))
    };
    (0..WINDOWS).map(window).collect()
}

/// Has a service know that this was used.
fn record(purserd: &mut Purserd, used: &[(PodUid, Use)]) {
    happened(purserd, windows(SystemClock.now(), used));
}

/// Has this have happened to the ledger of a service while it did not run.
pub(super) fn happened(purserd: &mut Purserd, events: Vec<Event>) {
    assert!(purserd.stop().success());
    write(purserd, events);
    purserd.restart();
}

/// Writes events into the ledger's stream of a service that does not run.
fn write(purserd: &Purserd, events: Vec<Event>) {
    let config = JournalConfig::new(purserd.data_dir().join("journal"));
    let journal = Journal::open(config, || SystemClock.now(), |_| {}, |_| {}).unwrap();
    let headers = journal.records(Seq(1)).unwrap().map(|record| record.unwrap().header);
    let last = headers.filter(|header| header.stream.kind == StreamKind::Ledger).last().unwrap();
    let origin = Origin { cause: Cause::Node, correlation: Uuid::from_u128(1), principal: Principal::node() };
    let write = StreamWrite { stream: last.stream, expected: last.version, events };
    let append = Append { writes: vec![write], origin, command: None };
    tokio::runtime::Runtime::new().unwrap().block_on(journal.append(append)).unwrap();
    journal.close().unwrap();
}

fn advised(purserd: &Purserd) -> Vec<Value> {
    let said: Value = serde_json::from_str(&purserd.purser_ok(["advise", "-o", "json"])).unwrap();
    assert_eq!(said, get(purserd, "/v1/advice"), "the command line says what the service does");
    said["items"].as_array().unwrap().clone()
}

/// Sees that these are among the figures of a piece of advice.
#[track_caller]
fn has(advice: &Value, figures: &Value) {
    for (name, figure) in figures.as_object().unwrap() {
        assert_eq!(advice["figures"][name], *figure, "{name} of {advice}");
    }
}

#[test]
fn without_recorded_use_there_is_too_little_to_go_by() {
    let purserd = node("4Gi", "wait");
    run(&purserd, "idle", "1Gi");
    assert_eq!(advised(&purserd), Vec::<Value>::new());
    let said = purserd.purser_ok(["advise"]);
    assert_eq!(said, "nothing to advise: use is recorded every five minutes, and an hour of it is needed\n");
}

#[test]
fn recorded_use_leads_to_advice_with_its_figures() {
    let mut purserd = node("4Gi", "wait");
    let used: [(PodUid, Use); 3] = [
        (run(&purserd, "idle", "1Gi"), |_| (100, 100)),
        (run(&purserd, "leaky", "1Gi"), |number| (250, 200 + number)),
        (run(&purserd, "odd", "1Gi"), |number| (250, if number + 1 < WINDOWS { 350 } else { 900 })),
    ];
    record(&mut purserd, &used);

    let advice = advised(&purserd);
    let heads: Vec<[&str; 3]> =
        advice.iter().map(|it| ["name", "kind", "resource"].map(|key| it[key].as_str().unwrap())).collect();
    // Nobody is told to ask for less of what will run out.
    let expected = [
        ["default/odd", "anomaly", "memory"],
        ["default/leaky", "exhaustion", "memory"],
        ["default/idle", "right-sizing", "cpu"],
        ["default/idle", "right-sizing", "memory"],
        ["default/odd", "right-sizing", "memory"],
    ];
    assert_eq!(heads, expected);
    assert!(advice.iter().all(|it| it["looked"]["windows"] == WINDOWS && it["looked"]["leftOut"] == 0));
    let [odd, leaky, cpu, memory, ..] = &advice[..] else { panic!("{advice:?}") };
    has(odd, &json!({ "amount": 900 * MIB, "median": 350 * MIB, "earlier": 35, "deviation": 550 * MIB }));
    has(
        leaky,
        &json!({ "bound": 1_024 * MIB, "level": 235 * MIB + MIB / 2, "slope": 12 * MIB, "slopes": 630 }),
    );
    let moment = |value: &Value| serde_json::from_value::<Timestamp>(value.clone()).unwrap();
    let left_ms = moment(&leaky["figures"]["at"]).ms_since(moment(&leaky["looked"]["to"]));
    assert_eq!(left_ms, (2 * 1_024 - 471) * 3_600_000 / 24);
    has(cpu, &json!({ "requested": 500, "suggested": 200, "basis": "percentile95-of-maxima" }));
    has(memory, &json!({ "requested": 400 * MIB, "suggested": 115 * MIB, "headroomPercent": 15 }));

    let said = purserd.purser_ok(["advise"]);
    for (advice, line) in advice.iter().zip(said.lines().skip(1)) {
        let [name, sentence, sure, why] = [
            &advice["name"],
            &advice["sentence"],
            &advice["certainty"]["sureness"],
            &advice["certainty"]["why"],
        ]
        .map(|it| it.as_str().unwrap());
        let sure = format!("{sure}: {why}");
        assert!(line.starts_with(name) && line.contains(sentence) && line.ends_with(&sure), "{line}");
    }
    assert_eq!(said.lines().count(), 1 + advice.len(), "{said}");
    assert!(said.contains("memory reaches its limit of 1Gi in about "), "{said}");
    // A pod that is gone is not advised.
    purserd.purser_ok(["delete", "leaky", "--wait"]);
    assert!(advised(&purserd).iter().all(|it| it["name"] != "default/leaky"));
}

/// Starts a pool of two members that ask for this, and waits until both run; gives their uids.
fn run_pool(purserd: &Purserd) -> [PodUid; 2] {
    let requests = json!({ "cpu": "500m", "memory": "400Mi" });
    let pool = json!({
        "apiVersion": "purser.dev/v1", "kind": "Pool", "metadata": { "name": "crew" },
        "spec": {
            "replicas": { "min": 2, "max": 2 },
            "template": { "spec": {
                "runtimeClassName": "process", "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "agent", "command": ["/bin/sleep", "600"], "resources": { "requests": requests },
                }],
            } },
        },
    });
    purserd.apply(&pool.to_string());
    let running = || {
        let pods = get(purserd, "/v1/pods?label=purser.dev/pool%3Dcrew");
        let pods = pods["items"].as_array().unwrap().iter();
        let uid = |pod: &Value| PodUid(pod["metadata"]["uid"].as_str().unwrap().parse().unwrap());
        pods.filter(|pod| pod["status"]["phase"] == "Running").map(uid).collect::<Vec<_>>()
    };
    bounded::until("both members run", || running().len() == 2);
    running().try_into().unwrap()
}

#[test]
fn the_members_of_a_pool_are_advised_together() {
    let mut purserd = node("4Gi", "wait");
    let [first, second] = run_pool(&purserd);
    let used: [(PodUid, Use); 2] = [(first, |_| (100, 100)), (second, |_| (150, 120))];
    record(&mut purserd, &used);
    let advice = advised(&purserd);
    let pool: Vec<&Value> = advice.iter().filter(|it| it["name"] == "pool/crew").collect();
    let resources: Vec<&Value> = pool.iter().map(|it| &it["resource"]).collect();
    assert_eq!(resources, ["cpu", "memory"], "{advice:?}");
    has(pool[0], &json!({ "requested": 1_000, "suggested": 600, "suggestedEach": 300, "pods": 2 }));
    has(pool[1], &json!({ "requested": 800 * MIB, "suggested": 276 * MIB, "suggestedEach": 138 * MIB }));
    let said = purserd.purser_ok(["advise"]);
    let sentence =
        "its 2 pods together ask for 800Mi of memory; the most that was seen is 120Mi, so 138Mi for each";
    assert!(said.contains(sentence), "{said}");
}
