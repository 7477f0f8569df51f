//! A disk that fills up step by step: what matters least is refused first, pods can be stopped and deleted to the last,
//! and all comes back once there is room.

use std::fs;

use purser_events::node::NodeEvent;
use purser_events::node::event::{DiskPressure, DiskPressureChanged};
use purser_events::{Event, Record};
use purser_tests::bounded;
use purser_tests::http::{self, Answer};
use purser_tests::journal;
use purser_tests::purserd::Purserd;
use serde_json::{Value, json};

use super::client::{apply, assert_no_panic, assert_problem, get, sleeper};
use super::disk::{MIB, Scene};

/// On 128 MiB, a ballast of 4 MiB; the room that it takes counts as free.
const TABLES: &str = "[journal]\nsegment-bytes = 1048576\n\n[journal.reserve]\nballast-bytes = 4194304\n";

fn await_pressure(purserd: &Purserd, pressure: &Value) {
    bounded::until(&format!("disk pressure is {pressure}"), || {
        get(purserd, "/v1/status")["diskPressure"] == *pressure
    });
}

fn apply_with_key(purserd: &Purserd, manifest: &Value, key: &str) -> Answer {
    let answer = http::request(&purserd.socket(), "POST", "/v1/pods", Some(key), &manifest.to_string());
    answer.expect("the service answers")
}

fn metric(purserd: &Purserd, series: &str) -> Option<String> {
    let text = purserd.metrics();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map(str::to_owned)
}

fn pressures(records: &[Record]) -> Vec<DiskPressure> {
    let changed = records.iter().filter_map(|record| match &record.event {
        Event::Node(NodeEvent::DiskPressureChanged(DiskPressureChanged { pressure, .. })) => Some(*pressure),
        _ => None,
    });
    changed.collect()
}

#[test]
fn a_disk_that_fills_up_takes_stops_and_deletes_to_the_last() {
    let mut scene = Scene::start(128, 0, TABLES);
    let ballast = scene.disk.0.join("journal").join("ballast");
    let ballast_len = || fs::metadata(&ballast).map(|file| file.len()).ok();
    assert_eq!(ballast_len(), Some(4 << 20));
    for name in ["web", "shop", "idle"] {
        assert_eq!(apply(&scene.purserd, &sleeper(name)).status, 201);
        scene.purserd.purser_ok(["wait", name, "--for=condition=Ready"]);
    }

    scene.leave(6 * MIB);
    await_pressure(&scene.purserd, &json!("Low"));
    assert_eq!(apply(&scene.purserd, &sleeper("extra")).status, 201, "90 % is a warning");
    scene.purserd.purser_ok(["wait", "extra", "--for=condition=Ready"]);

    scene.leave(2 * MIB);
    await_pressure(&scene.purserd, &json!("Full"));
    let refused = apply_with_key(&scene.purserd, &sleeper("late"), "late");
    assert_problem(&refused, 507, "disk-full", "a pod on a disk that is nearly full");
    let detail = refused.body["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("journal.reserve") && detail.contains("delete pods"), "{detail}");
    assert_eq!(apply(&scene.purserd, &sleeper("web")).status, 200, "nothing new is asked for");
    assert_eq!(metric(&scene.purserd, "purser_node_disk_pressure"), Some("2".to_owned()));
    scene.purserd.purser_ok(["exec", "web", "--", "/bin/true"]);

    // Less than a quarter of the ballast: only what ends pods is recorded from here on.
    scene.leave(MIB / 2);
    let refused = scene.purserd.purser(["exec", "web", "--", "/bin/true"]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nearly full"), "{refused:?}");
    assert_eq!(ballast_len(), Some(4 << 20), "a refusal needs no room");
    scene.purserd.purser_ok(["delete", "web", "--wait"]);
    assert_eq!(ballast_len(), None);
    scene.purserd.purser_ok(["stop", "shop"]);
    assert_eq!(metric(&scene.purserd, "purser_journal_ballast_bytes"), Some("0".to_owned()));

    // Also over a restart.
    scene.purserd.kill9();
    scene.purserd.restart();
    scene.purserd.purser_ok(["delete", "extra", "--wait"]);

    scene.give_back();
    await_pressure(&scene.purserd, &Value::Null);
    assert_eq!(ballast_len(), Some(4 << 20));
    assert_eq!(apply_with_key(&scene.purserd, &sleeper("late"), "late").status, 201);
    assert!(scene.purserd.purser_ok(["get", "pods", "idle"]).contains("Running"));
    // Checks every record and the chain of hashes.
    let seen = pressures(&journal::records(&scene.purserd));
    let expected = [DiskPressure::Low, DiskPressure::Full, DiskPressure::Fine];
    assert_eq!(seen, expected);
    assert_no_panic(&scene.purserd.log());
}

/// A pool whose pods never get an agent.
fn pool(min: u32) -> String {
    let template = json!({ "spec": {
        "runtimeClassName": "process",
        "terminationGracePeriodSeconds": 0,
        "containers": [{ "name": "agent", "command": ["sleep", "1000"] }],
    }});
    let spec = json!({ "replicas": { "min": min, "max": 3 }, "template": template });
    json!({ "apiVersion": "purser.dev/v1", "kind": "Pool", "metadata": { "name": "late" }, "spec": spec })
        .to_string()
}

#[test]
fn a_pool_on_a_disk_that_fills_up_gets_no_pods_and_can_be_removed() {
    let scene = Scene::start(128, 0, TABLES);
    let ballast = scene.disk.0.join("journal").join("ballast");
    scene.purserd.apply(&pool(1));
    bounded::until("the pool has a pod", || {
        get(&scene.purserd, "/v1/pods")["items"].as_array().is_some_and(|pods| pods.len() == 1)
    });
    scene.purserd.purser_ok(["submit", "late", "--", "true"]);

    scene.leave(2 * MIB);
    await_pressure(&scene.purserd, &json!("Full"));
    scene.purserd.apply(&pool(3));
    bounded::until("the pool says why it has no more pods", || {
        scene.purserd.purser_ok(["describe", "pool", "late"]).contains("nearly full")
    });
    assert_eq!(get(&scene.purserd, "/v1/pods")["items"].as_array().map(Vec::len), Some(1));

    // Less than a quarter of the ballast: only what ends something is recorded from here on.
    scene.leave(MIB / 2);
    let refused = scene.purserd.purser(["submit", "late", "--", "true"]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(ballast.exists(), "a refusal needs no room");
    scene.purserd.purser_ok(["delete", "pool", "late", "--force"]);
    bounded::until("the pool and its pod are gone", || {
        let gone = |path: &str| get(&scene.purserd, path)["items"].as_array().is_some_and(Vec::is_empty);
        gone("/v1/pods") && gone("/v1/pools")
    });
    assert!(!ballast.exists());
    scene.give_back();
    await_pressure(&scene.purserd, &Value::Null);
    assert_no_panic(&scene.purserd.log());
}
