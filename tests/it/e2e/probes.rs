//! Probes of a pod: what they see becomes its readiness, or its restart.

use purser_tests::bounded;
use serde_json::{Value, json};

use super::listener::Listener;
use super::stage::{Stage, on_both, script, status_of};

on_both!(
    a_failing_liveness_probe_restarts_the_container,
    readiness_by_http_comes_and_goes,
    readiness_by_tcp_comes_and_goes,
    other_probes_wait_for_the_startup_probe,
    a_startup_probe_that_never_succeeds_restarts_the_container,
);

/// Waits to be ended, and is then no longer dead. Once it says which run it is, it hears that it is to end.
const MORTAL: &str = "trap 'rm -f /mnt/dead; exit 5' TERM; echo x >> /mnt/runs; \
                      echo run $(wc -l < /mnt/runs); while :; do sleep 600 & wait $!; done";

/// A specification of one container `main` with a folder at `/mnt` and these probes.
fn probed(text: &str, probes: &Value) -> Value {
    let mut main = script("main", text);
    main["volumeMounts"] = json!([{ "name": "state", "mountPath": "/mnt" }]);
    for (name, probe) in probes.as_object().expect("probes have names") {
        main[name.as_str()] = probe.clone();
    }
    json!({ "containers": [main], "volumes": [{ "name": "state", "emptyDir": {} }] })
}

fn a_failing_liveness_probe_restarts_the_container(stage: &mut Stage) {
    let check = json!(["/bin/sh", "-c", "test ! -e /mnt/dead"]);
    let liveness = json!({
        "exec": { "command": check }, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 60,
    });
    let mut spec = probed(MORTAL, &json!({ "livenessProbe": liveness }));
    // That it ends by itself is what is looked at.
    spec["terminationGracePeriodSeconds"] = json!(600);
    stage.apply("web", &spec);
    stage.until_ready("web");
    bounded::until("its first run is up", || stage.purser("logs web") == "run 1\n");
    stage.shell("web", "main", "touch /mnt/dead");
    let pod = stage.until_restarted("web", "main", 1);
    let last = &status_of(&pod, "main")["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(5), &json!("Error")), "{pod}");
    let failed = stage.events("web", "pod.probe-failed");
    assert_eq!((&failed[0]["probe"], &failed[0]["failures"]), (&json!("liveness"), &json!(1)), "{failed:?}");
    assert_eq!(stage.events("web", "pod.container-stop-requested")[0]["reason"], "LivenessFailed");
    assert_eq!(stage.events("web", "pod.container-exited")[0]["attempt"], 1);
    assert_eq!(stage.purser("logs web --previous"), "run 1\n");
    stage.until_ready("web");
    bounded::until("its second run is up", || stage.purser("logs web") == "run 2\n");
    let table = stage.purser("get pods");
    assert_eq!(table.lines().nth(1).and_then(|row| row.split_whitespace().nth(3)), Some("1"), "{table}");
}

fn readiness_by_http_comes_and_goes(stage: &mut Stage) {
    let listener = Listener::start();
    let headers = json!([{ "name": "X-Probe", "value": "of the pod" }]);
    let get = json!({ "path": "/ready", "port": listener.port, "httpHeaders": headers });
    let readiness =
        json!({ "httpGet": get, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 60 });
    stage.apply("web", &probed(MORTAL, &json!({ "readinessProbe": readiness })));
    let head = listener.next_request();
    assert!(head.starts_with("GET /ready ") && head.contains("of the pod"), "{head}");
    let pod = stage.until_phase("web", "Running");
    assert_eq!(status_of(&pod, "main")["ready"], false, "{pod}");
    listener.set("/ready", true);
    stage.until_ready("web");
    listener.set("/ready", false);
    let pod = stage.until("web", |pod| status_of(pod, "main")["ready"] == false);
    assert_eq!(status_of(&pod, "main")["restartCount"], 0, "{pod}");
    let changes = stage.events("web", "pod.readiness-changed");
    let ready: Vec<&Value> = changes.iter().map(|change| &change["ready"]).collect();
    assert_eq!(ready, [true, false], "{changes:?}");
    assert!(changes[1]["message"].as_str().unwrap_or_default().contains("500"), "{changes:?}");
}

fn readiness_by_tcp_comes_and_goes(stage: &mut Stage) {
    // A port that somebody listens on already is given to no pod.
    let port = Listener::start().port;
    let socket = json!({ "port": "web" });
    let probe =
        json!({ "tcpSocket": socket, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 60 });
    let mut spec = probed(MORTAL, &json!({ "readinessProbe": probe }));
    spec["containers"][0]["ports"] = json!([{ "name": "web", "containerPort": port }]);
    stage.apply("web", &spec);
    stage.until_phase("web", "Running");
    let listener = Listener::at(port);
    stage.until_ready("web");
    drop(listener);
    let pod = stage.until("web", |pod| status_of(pod, "main")["ready"] == false);
    assert_eq!(status_of(&pod, "main")["restartCount"], 0, "{pod}");
}

fn other_probes_wait_for_the_startup_probe(stage: &mut Stage) {
    let listener = Listener::start();
    let probe = |path: &str, failures: u32| {
        let get = json!({ "path": path, "port": listener.port });
        json!({ "httpGet": get, "periodSeconds": 1, "failureThreshold": failures, "timeoutSeconds": 60 })
    };
    let probes = json!({ "startupProbe": probe("/startup", 600), "livenessProbe": probe("/live", 1) });
    stage.apply("web", &probed(MORTAL, &probes));
    for _ in 0..2 {
        let head = listener.next_request();
        assert!(head.starts_with("GET /startup "), "{head}");
    }
    let pod = stage.until_phase("web", "Running");
    let status = status_of(&pod, "main");
    assert_eq!((&status["started"], &status["ready"]), (&json!(false), &json!(false)), "{pod}");
    listener.set("/live", true);
    listener.set("/startup", true);
    stage.until_event("pod.startup-passed", |event| event["container"] == "main");
    stage.until_ready("web");
    listener.until_asked_for("/live");
    assert_eq!(stage.container("web", "main")["restartCount"], 0);
}

fn a_startup_probe_that_never_succeeds_restarts_the_container(stage: &mut Stage) {
    let probe = json!({ "exec": { "command": ["/bin/false"] }, "periodSeconds": 1, "failureThreshold": 1 });
    stage.apply("web", &probed(MORTAL, &json!({ "startupProbe": probe })));
    let pod = stage.until_restarted("web", "main", 1);
    assert_eq!(status_of(&pod, "main")["ready"], false, "{pod}");
    assert_eq!(stage.events("web", "pod.container-stop-requested")[0]["reason"], "StartupFailed");
    assert_eq!(stage.events("web", "pod.probe-failed")[0]["probe"], "startup");
}
