//! Pods that make way: the right ones and no more than it takes, with time to end, and everybody can read why.

use purser_tests::feed::Feed;
use purser_tests::purserd::Purserd;
use purser_tests::{bounded, journal};
use serde_json::{Value, json};

use super::{fine, get, manifest, node, taken, until_phase};

/// Seconds that those have who make way.
const GRACE_S: u64 = 2;

/// A node of 256 MiB on which pods make way like this, as an operator says while it runs.
fn preempting(how: &str) -> Purserd {
    let purserd = node("256Mi", "wait");
    let mut policy = get(&purserd, "/v1/policy/resources");
    policy["preemption"] = json!(how);
    policy["preemptionGraceS"] = json!(GRACE_S);
    assert_eq!(fine(&purserd, "PUT", "/v1/policy/resources", &policy)["changed"], true);
    purserd
}

/// A pod with a priority that runs a shell's script.
fn pod(name: &str, priority: i32, memory: &str, script: &str) -> Value {
    let mut pod: Value = serde_json::from_str(&manifest("default", name, "1m", memory)).unwrap();
    pod["spec"]["priority"] = json!(priority);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(600);
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", script]);
    pod
}

/// Ends by itself once it is asked to.
const OBEYS: &str = "trap 'echo asked; exit 0' TERM; while :; do sleep 0.02; done";
/// Hears that it is asked to end, and goes on.
const STUBBORN: &str = "trap 'echo asked' TERM; echo up; while :; do sleep 0.02; done";

/// Starts pods one after the other, so that each is younger than the one before; gives their uids.
fn run(purserd: &Purserd, pods: &[Value]) -> Vec<Value> {
    let started = pods.iter().map(|pod| {
        taken(purserd, &pod.to_string());
        let pod = until_phase(purserd, pod["metadata"]["name"].as_str().unwrap(), "Running");
        pod["metadata"]["uid"].clone()
    });
    started.collect()
}

/// How often somebody was asked to make way.
fn requests(purserd: &Purserd) -> usize {
    let records = journal::records(purserd);
    records.iter().filter(|record| record.event.layout().name == "ledger.preemption-requested").count()
}

#[test]
fn the_fewest_of_the_lowest_make_way() {
    let purserd = preempting("lower-priority-only");
    // In the order in which they are looked at: the lowest first, and of equals the youngest. The first is too small to
    // help, so the second has to go, and then the first may stay.
    let low =
        [pod("third", 5, "64Mi", OBEYS), pod("second", 0, "128Mi", OBEYS), pod("first", 0, "64Mi", OBEYS)];
    let uids = run(&purserd, &low);
    let mut feed = Feed::live(&purserd);
    taken(&purserd, &pod("high", 100, "100Mi", OBEYS).to_string());
    let requested = feed.until(|event| event.kind == "ledger.preemption-requested");
    let high = until_phase(&purserd, "high", "Running");
    let payload = &requested.record["event"]["payload"];
    let wanted = json!({ "pod": high["metadata"]["uid"], "victims": [uids[1]], "graceS": GRACE_S });
    assert_eq!(*payload, wanted);
    for name in ["third", "first"] {
        assert_eq!(
            get(&purserd, &format!("/v1/namespaces/default/pods/{name}"))["status"]["phase"],
            "Running"
        );
    }
    let second = get(&purserd, "/v1/namespaces/default/pods/second");
    assert_eq!(second["status"]["phase"], "Stopped", "{second}");
    let why = json!([second["status"]["reason"], second["status"]["message"]]);
    assert_eq!(why, json!(["Preempted", "it made way for default/high, which matters more"]));
    let listed = purserd.purser_ok(["get", "pods", "second"]);
    assert!(listed.contains("Preempted"), "{listed}");
    assert_eq!(purserd.purser_ok(["logs", "second"]), "asked\n");

    // Why: from the stop's record to the request's, and to who asked for it.
    let records = journal::records(&purserd);
    let stop = records.iter().find(|record| record.event.layout().name == "pod.stop-requested").unwrap();
    assert_eq!(serde_json::to_value(&stop.event).unwrap()["payload"]["graceS"], GRACE_S);
    assert_eq!(
        serde_json::to_value(stop.header.origin.cause).unwrap(),
        json!({ "kind": "record", "of": requested.seq })
    );
    let says = |name: &str, what: &str| {
        let said = purserd.purser_ok(["describe", "pod", name]);
        assert!(said.contains(&format!("ledger.preemption-requested      {what}")), "{what}: {said}");
    };
    says("second", "makes way for default/high, within 2 s\n");
    says("high", "default/second makes way for it, within 2 s\n");
    assert_eq!(requests(&purserd), 1);

    // One that is no better than who is there waits, and nobody makes way.
    for priority in [5, -1] {
        let name = format!("equal-{}", priority + 1);
        taken(&purserd, &pod(&name, priority, "200Mi", OBEYS).to_string());
        let equal = get(&purserd, &format!("/v1/namespaces/default/pods/{name}"));
        assert_eq!(equal["status"]["reason"], "Unschedulable");
        assert_eq!(equal["status"]["purser"]["waiting"]["makeWay"], Value::Null);
    }
    assert_eq!(requests(&purserd), 1);
}

#[test]
fn who_does_not_end_in_time_is_killed_and_the_other_waits_for_that() {
    let purserd = preempting("lower-priority-only");
    run(&purserd, &[pod("stubborn", 0, "200Mi", STUBBORN)]);
    bounded::until("it listens", || purserd.purser_ok(["logs", "stubborn"]) == "up\n");
    let mut feed = Feed::live(&purserd);
    taken(&purserd, &pod("high", 1, "200Mi", OBEYS).to_string());
    bounded::until("it was asked", || purserd.purser_ok(["logs", "stubborn"]) == "up\nasked\n");
    let high = get(&purserd, "/v1/namespaces/default/pods/high");
    if !high["status"]["purser"]["waiting"].is_null() {
        assert_eq!(high["status"]["purser"]["waiting"]["makeWay"], json!(["default/stubborn"]));
    }
    let exited = feed.until(|event| event.kind == "worker.exited");
    assert_eq!(exited.record["event"]["payload"]["exit"]["code"], 137, "killed");
    let given = feed.until(|event| event.kind == "ledger.allocated");
    assert_eq!(given.record["event"]["payload"]["pod"], high["metadata"]["uid"]);
    until_phase(&purserd, "high", "Running");
}

#[test]
fn where_cost_counts_those_go_of_whom_least_is_lost() {
    let purserd = preempting("cost-aware");
    let mut rich = pod("rich", 0, "128Mi", OBEYS);
    rich["metadata"]["annotations"] = json!({ "purser.dev/gpu-share": "60", "purser.dev/ports": "2" });
    // It has the higher priority, but it is younger, and nothing is lost with it but what is needed.
    let uids = run(&purserd, &[rich, pod("plain", 5, "128Mi", OBEYS)]);
    let mut feed = Feed::live(&purserd);
    taken(&purserd, &pod("high", 6, "100Mi", OBEYS).to_string());
    let requested = feed.until(|event| event.kind == "ledger.preemption-requested");
    assert_eq!(requested.record["event"]["payload"]["victims"], json!([uids[1]]));
    until_phase(&purserd, "high", "Running");
    assert_eq!(get(&purserd, "/v1/namespaces/default/pods/rich")["status"]["phase"], "Running");
    assert_eq!(get(&purserd, "/v1/namespaces/default/pods/plain")["status"]["phase"], "Stopped");
}
