//! The harness itself: a service can be killed, started again and stopped, and nothing is left of it.

use purser_tests::http;
use purser_tests::leftovers::running_processes;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::json;

/// Starts a pod that runs until it is ended, and waits until the node says that it runs.
fn run_sleeper(purserd: &Purserd) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sleeper"},
        "spec": {
            "runtimeClassName": "process",
            "containers": [{"name": "main", "command": ["/bin/sleep", "600"]}],
        },
    });
    let answer = http::request(&purserd.socket(), "POST", "/v1/pods", None, &pod.to_string()).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
    purserd.await_event("pod.started");
}

#[test]
fn nothing_is_left_of_a_service_that_is_dropped() {
    let mut purserd = Purserd::start(&Setup::default());
    let data_dir = purserd.data_dir();
    run_sleeper(&purserd);
    let before = running_processes(&data_dir);
    assert_eq!(before.len(), 2, "a shim and its container");
    purserd.kill9();
    assert_eq!(running_processes(&data_dir), before, "pods outlive the service");
    purserd.restart();
    assert!(purserd.stop().success());
    assert_eq!(running_processes(&data_dir), before, "pods outlive a stop too");
    drop(purserd);
    assert!(before.iter().all(|process| !process.runs()));
    assert!(!data_dir.exists());
}
