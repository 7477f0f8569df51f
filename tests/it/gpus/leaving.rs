//! GPUs that are emptied of pods, and GPUs that are gone for good.

use purser_tests::gpus::FakeDriver;
use purser_tests::purserd::{Purserd, Setup};
use purser_tests::{bounded, http};
use serde_json::Value;

use super::{device, script, uuid};

fn node(driver: &FakeDriver) -> Purserd {
    let more = "[policy.gpus]\nprobation-ms = 1000\nsettle-ms = 1000\n".to_owned();
    Purserd::start(&Setup { gpu_library: driver.library(), more, ..Setup::default() })
}

fn json(purserd: &Purserd, args: &[&str]) -> Value {
    serde_json::from_str(&purserd.purser_ok(args.iter().chain(&["-o", "json"]))).unwrap()
}

/// Runs a pod on a GPU that ends when it is asked to, or only when it is killed.
fn run(purserd: &Purserd, name: &str, gpu: u32, ends: bool) {
    let command = match ends {
        true => serde_json::json!(["/bin/sleep", "600"]),
        false => serde_json::json!(["/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 600; done"]),
    };
    let manifest = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name,
            "annotations": { "purser.dev/gpu-share": "20", "purser.dev/gpu-uuids": uuid(gpu).to_string() },
        },
        "spec": {
            "terminationGracePeriodSeconds": 600,
            "containers": [{ "name": "main", "command": command }],
        },
    });
    purserd.apply(&manifest.to_string());
    bounded::until("the pod runs", || phase(purserd, name) == "Running");
    if !ends {
        bounded::until("it is deaf", || purserd.purser_ok(["logs", name]) == "up\n");
    }
}

fn phase(purserd: &Purserd, name: &str) -> String {
    json(purserd, &["get", "pod", name])["status"]["phase"].as_str().unwrap_or_default().to_owned()
}

fn health(purserd: &Purserd, number: u32) -> Option<String> {
    let gpus = json(purserd, &["get", "gpus"])["gpus"].clone();
    let gpu = gpus.as_array()?.iter().find(|gpu| gpu["uuid"] == uuid(number).as_str())?;
    gpu["health"].as_str().map(str::to_owned)
}

#[test]
fn a_drain_stops_the_pods_of_its_gpu_alone_also_over_a_kill_of_the_service() {
    let driver = FakeDriver::new(&script(2));
    let mut purserd = node(&driver);
    for (name, gpu, ends) in [("soft", 0, true), ("hard", 0, false), ("other", 1, true)] {
        run(&purserd, name, gpu, ends);
    }
    let name = uuid(0);
    let said =
        purserd.purser_ok(["drain", "gpu", name.as_str(), "--reason", "its fan is loud", "--wait=false"]);
    assert!(said.contains("its pods are stopped"), "{said}");
    bounded::until("the one that ends has", || phase(&purserd, "soft") == "Stopped");
    let described = || purserd.purser_ok(["describe", "gpu", name.as_str()]);
    bounded::until("it has given back what it had", || !described().contains("default/soft:"));
    let shown = described();
    assert!(shown.contains("Draining") && shown.contains("its fan is loud"), "{shown}");
    let late = purserd.purser(["drain", "gpu", name.as_str(), "--timeout", "1s"]);
    assert_eq!(late.status.code(), Some(4), "{late:?}");
    assert!(String::from_utf8_lossy(&late.stderr).contains("1 pods left: default/hard"), "{late:?}");

    purserd.kill9();
    purserd.restart();
    let shown = purserd.purser_ok(["describe", "gpu", name.as_str()]);
    assert!(shown.contains("Draining"), "{shown}");
    let said = purserd.purser_ok(["drain", "gpu", name.as_str(), "--grace-period", "1"]);
    assert!(said.contains("drained"), "{said}");
    assert_eq!((phase(&purserd, "hard"), phase(&purserd, "other")), ("Stopped".into(), "Running".into()));
    assert_eq!(health(&purserd, 0).as_deref(), Some("Cordoned"));
    let events = purserd.purser_ok(["events", "soft", "-o", "json"]);
    assert_eq!(events.matches("pod.stop-requested").count(), 1, "{events}");
    purserd.purser_ok(["uncordon", "gpu", name.as_str()]);
    bounded::until("it takes pods again", || health(&purserd, 0).as_deref() == Some("Healthy"));
    purserd.purser_ok(["start", "soft"]);
    bounded::until("the pod runs again", || phase(&purserd, "soft") == "Running");
}

#[test]
fn a_gpu_is_forgotten_once_it_is_gone_and_found_anew_when_it_comes_back() {
    let driver = FakeDriver::new(&script(2));
    let mut purserd = node(&driver);
    run(&purserd, "pod", 1, true);
    let name = uuid(1);
    let refused = |purserd: &Purserd, word: &str| {
        let refused = purserd.purser(["forget", "gpu", name.as_str()]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(word), "{told}");
    };
    refused(&purserd, "not Lost");
    driver.change(|script| drop(script.devices.pop()));
    bounded::until("it is lost", || health(&purserd, 1).as_deref() == Some("Lost"));
    // The driver no longer lists it, and its thread finds that out at its next look.
    let is_held = || {
        let refused = purserd.purser(["forget", "gpu", name.as_str()]);
        String::from_utf8_lossy(&refused.stderr)
            .contains("1 pods or reservations still have something of the GPU")
    };
    bounded::until("what holds it up is told", is_held);
    purserd.purser_ok(["stop", "pod", "--grace-period", "1"]);
    bounded::until("it is forgotten", || purserd.purser(["forget", "gpu", name.as_str()]).status.success());
    assert_eq!(health(&purserd, 1), None);
    assert_eq!(health(&purserd, 0).as_deref(), Some("Healthy"));
    purserd.kill9();
    purserd.restart();
    assert_eq!(health(&purserd, 1), None, "a restart knows nothing of it");
    driver.change(|script| script.devices.push(device(1)));
    bounded::until("it is found anew", || health(&purserd, 1).as_deref() == Some("Healthy"));
    let usage = purserd.purser(["forget", "everything"]);
    assert_eq!(usage.status.code(), Some(2), "{usage:?}");
}

#[test]
fn a_reservation_is_not_taken_up_on_a_gpu_that_is_cordoned() {
    let driver = FakeDriver::new(&script(1));
    let purserd = node(&driver);
    bounded::until("the GPU takes pods", || health(&purserd, 0).as_deref() == Some("Healthy"));
    let said =
        purserd.purser_ok(["reserve", "--ttl", "1h", "--gpu-count", "1", "--gpu-share", "50", "-o", "json"]);
    let made: Value = serde_json::from_str(&said).unwrap();
    let name = uuid(0);
    purserd.purser_ok(["cordon", "gpu", name.as_str(), "--reason", "its fan is loud"]);
    let reservation = format!("{}:{}", made["id"].as_str().unwrap(), made["token"]);
    let manifest = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "late",
            "annotations": { "purser.dev/gpu-share": "50", "purser.dev/reservation": reservation },
        },
        "spec": { "containers": [{ "name": "main", "command": ["/bin/sleep", "600"] }] },
    });
    let refused = http::request(&purserd.socket(), "POST", "/v1/pods", None, &manifest.to_string()).unwrap();
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(refused.body["shortages"][0]["bound"], "unknown-gpu", "{}", refused.body);
    purserd.purser_ok(["uncordon", "gpu", name.as_str()]);
    bounded::until("the GPU takes pods again", || health(&purserd, 0).as_deref() == Some("Healthy"));
    purserd.apply(&manifest.to_string());
    bounded::until("the pod runs on what was kept for it", || phase(&purserd, "late") == "Running");
}

#[test]
fn a_drain_with_less_time_brings_forward_the_end_of_a_pod_that_is_being_deleted() {
    let driver = FakeDriver::new(&script(1));
    let purserd = node(&driver);
    run(&purserd, "pod", 0, false);
    purserd.purser_ok(["delete", "pod", "--grace-period", "600"]);
    bounded::until("it is being deleted", || phase(&purserd, "pod") == "Terminating");
    let name = uuid(0);
    let said = purserd.purser_ok(["drain", "gpu", name.as_str(), "--grace-period", "1"]);
    assert!(said.contains("drained"), "{said}");
    let pods = json(&purserd, &["get", "pods", "-A"]);
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(0), "{pods:#}");
}
