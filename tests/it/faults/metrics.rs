//! The metrics of a node that runs pods, as Prometheus' own tool judges them.

use purser_tests::promtool::check_metrics;
use purser_tests::purserd::{Purserd, Setup};

use super::client::{apply, sleeper};

#[test]
fn metrics_stay_clean_while_pods_come_fail_and_go() {
    let purserd = Purserd::start(&Setup::default());
    check_metrics(&purserd.metrics());
    for name in ["web", "shop"] {
        assert_eq!(apply(&purserd, &sleeper(name)).status, 201);
    }
    let mut failing = sleeper("failing");
    failing["spec"]["containers"][0]["command"] = serde_json::json!(["/bin/false"]);
    assert_eq!(apply(&purserd, &failing).status, 201);
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    purserd.purser_ok(["wait", "shop", "--for=condition=Ready"]);
    purserd.await_event("pod.container-exited");
    // A request that fails is counted too.
    assert!(!purserd.purser(["get", "pods", "none"]).status.success());
    let text = purserd.metrics();
    check_metrics(&text);
    for pod in ["web", "shop", "failing"] {
        assert!(text.contains(&format!("pod=\"{pod}\"")), "no series of {pod}: {text}");
    }
    purserd.purser_ok(["delete", "web", "failing", "--wait"]);
    let text = purserd.metrics();
    check_metrics(&text);
    assert!(text.contains("pod=\"shop\""), "{text}");
    for pod in ["web", "failing"] {
        assert!(!text.contains(&format!("pod=\"{pod}\"")), "series of {pod} are left: {text}");
    }
}
