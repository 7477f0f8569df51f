//! A pool that stands still, and is told to go on.

use purser_tests::bounded;
use serde_json::{Value, json};

use super::stage::{POOL, Shape, Stage};

#[test]
fn a_frozen_pool_makes_no_pod_until_it_is_unfrozen() {
    let mut manifest = Stage::manifest(&Shape { policy: "seed", slots: 3, min: 0, max: 2 });
    manifest["spec"]["freezeWindows"] = json!([{ "from": "00:00", "to": "24:00" }]);
    let stage = Stage::of(&manifest);
    let task = stage.submit("work", "true");
    let decided = |rule: &str| {
        let pool = stage.pool();
        let decisions = pool["status"]["decisions"].as_array().cloned().unwrap_or_default();
        decisions.iter().any(|decision| decision["rule"] == rule)
    };
    bounded::until("it is decided that nothing is begun", || decided("frozen"));
    assert!(!decided("cold-start"));
    assert_eq!(stage.pool()["status"]["members"].as_array().map_or(0, Vec::len), 0);
    assert_eq!(stage.task(&task)["state"], "pending");
    let said = stage.purserd.purser_ok(["unfreeze", POOL, "--for", "1h"]);
    assert_eq!(said, format!("pool/{POOL} is unfrozen for 60 min\n"));
    stage.await_state(&task, "success");
    assert!(decided("cold-start"));
    // The order is on record: still, unfrozen, and only then a pod.
    let types = "pool.scaled,pool.unfrozen,pool.member-requested";
    let events = stage.purserd.purser_ok(["events", "-t", types, "-o", "json"]);
    let kinds: Vec<String> = events.lines().map(kind).collect();
    let place = |wanted: &str| kinds.iter().position(|kind| kind == wanted).unwrap();
    assert!(place("pool.scaled") < place("pool.unfrozen"), "{kinds:?}");
    assert!(place("pool.unfrozen") < place("pool.member-requested"), "{kinds:?}");
}

fn kind(line: &str) -> String {
    let record: Value = serde_json::from_str(line).unwrap();
    record["event"]["type"].as_str().unwrap().to_owned()
}
