//! A pool that is made of a Deployment: old and new side by side, until nobody misses the old.

use purser_tests::binaries::Binaries;
use purser_tests::bounded;
use serde_json::{Value, json};

use super::stage::{Shape, Stage};

const NAME: &str = "runners";

/// The Deployment whose pods run the agent.
fn deployment() -> Value {
    let agent = &Binaries::built().purser_agent;
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": NAME },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": NAME } },
            "template": {
                "metadata": { "labels": { "app": NAME } },
                "spec": {
                    "runtimeClassName": "process",
                    "containers": [{ "name": "agent", "command": [agent] }],
                },
            },
        },
    })
}

#[test]
fn a_deployment_and_its_pool_run_side_by_side_until_tasks_go_to_the_pool() {
    let stage = Stage::with(&Shape { policy: "seed", slots: 3, min: 0, max: 1 });
    let purserd = &stage.purserd;
    // A pod of the old ones, by the Deployment's own template but for what it runs.
    let mut old = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "runners-7d9c6-x2x" } });
    old["metadata"]["labels"] = deployment()["spec"]["template"]["metadata"]["labels"].clone();
    old["spec"] = deployment()["spec"]["template"]["spec"].clone();
    old["spec"]["containers"][0]["command"] = json!(["sleep", "100000"]);
    purserd.apply(&old.to_string());
    let old_pod = || stage.ask("GET", "/v1/namespaces/default/pods/runners-7d9c6-x2x", "");
    bounded::until("the old one runs", || old_pod()["status"]["phase"] == "Running");
    let old_uid = old_pod()["metadata"]["uid"].clone();

    let file = stage.ground("deployment.json");
    std::fs::write(&file, deployment().to_string()).unwrap();
    let file = file.to_str().unwrap();
    let shown = purserd.purser_ok(["import", "deployment", file]);
    assert!(shown.contains("kind: Pool"), "{shown}");
    let applied = purserd.purser(["import", "deployment", file, "--min", "2", "--max", "2", "--apply"]);
    let steps = String::from_utf8(applied.stderr).unwrap();
    assert!(applied.status.success(), "{steps}");
    assert!(steps.contains(&format!("deployment/{NAME} and pool/{NAME} share nothing")), "{steps}");

    let connected = || {
        let pool = stage.ask("GET", &format!("/v1/pools/{NAME}"), "");
        let members = pool["status"]["members"].as_array().cloned().unwrap_or_default();
        members.iter().filter(|member| member["state"] == "connected").count()
    };
    bounded::until("the pool's agents are there", || connected() == 2);
    let submit = || {
        let told = purserd.purser(["submit", NAME, "--wait", "--", "sh", "-c", "echo from $PURSER_TASK"]);
        let said = String::from_utf8(told.stdout).unwrap();
        assert!(told.status.success() && said.contains("from "), "{said}");
    };
    submit();
    let still = old_pod();
    assert_eq!((&still["status"]["phase"], &still["metadata"]["uid"]), (&"Running".into(), &old_uid));
    // It is switched: the old one goes, and the pool neither takes its place nor loses a pod.
    purserd.purser_ok(["delete", "runners-7d9c6-x2x", "--wait"]);
    submit();
    assert_eq!(connected(), 2);
    // And back: the pool goes, and what else there is stays.
    purserd.apply(&old.to_string());
    bounded::until("the old one is back", || old_pod()["status"]["phase"] == "Running");
    purserd.purser_ok(["delete", "pool", NAME, "--wait"]);
    assert_eq!(old_pod()["status"]["phase"], "Running");
}
