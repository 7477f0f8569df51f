//! Pods of pools and pods that matter more: nobody makes way out of a pool.

use purser_tests::bounded;
use purser_tests::feed::Feed;
use serde_json::{Value, json};

use super::stage::{POOL, Shape, Stage, waits};

const SHAPE: Shape = Shape { policy: "seed", slots: 3, min: 1, max: 1 };
const MIB: u64 = 1 << 20;

/// A pod that sleeps.
fn pod(name: &str, priority: i32, memory: &str) -> String {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "runtimeClassName": "process", "priority": priority, "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "command": ["sleep", "100000"],
                "resources": { "limits": { "cpu": "1m", "memory": memory } },
            }],
        },
    });
    pod.to_string()
}

fn phase(stage: &Stage, name: &str) -> Value {
    stage.ask("GET", &format!("/v1/namespaces/default/pods/{name}"), "")["status"]["phase"].clone()
}

#[test]
fn a_pod_of_a_pool_makes_way_for_nobody_while_others_do() {
    let mut stage = Stage::of(&Stage::sized(&SHAPE, "100m", "128Mi"));
    bounded::until("its agent is there", || stage.members("connected") == [1]);
    let kept = stage.submit_plan_and_apply("exit 2", "true");
    stage.await_state(&kept, "apply_pending");
    let running = stage.submit("plan", &waits("begun", "gate", 0));
    stage.await_file("begun");
    // As a start has it from the journal, and not as it was put down.
    stage.purserd.kill9();
    stage.purserd.restart();

    let mut policy = stage.ask("GET", "/v1/policy/resources", "");
    policy["preemption"] = json!("lower-priority-only");
    policy["preemptionGraceS"] = json!(1);
    policy["limits"]["memory"] = json!({ "hard": 256 * MIB, "overcommitPercent": 100, "reservePercent": 0 });
    stage.ask("PUT", "/v1/policy/resources", &policy.to_string());
    // It matters more than the pool's, is younger, and the pool's alone would be enough.
    stage.purserd.apply(&pod("plain", 5, "100Mi"));
    bounded::until("it runs", || phase(&stage, "plain") == "Running");
    let mut feed = Feed::live(&stage.purserd);
    stage.purserd.apply(&pod("high", 100, "120Mi"));
    let requested = feed.until(|event| event.kind == "ledger.preemption-requested");
    let plain = stage.ask("GET", "/v1/namespaces/default/pods/plain", "")["metadata"]["uid"].clone();
    assert_eq!(requested.record["event"]["payload"]["victims"], json!([plain]));
    bounded::until("it runs", || phase(&stage, "high") == "Running");

    // Where only the pool's pod could make room, who asks for it waits.
    stage.purserd.apply(&pod("higher", 101, "140Mi"));
    let waiting = stage.ask("GET", "/v1/namespaces/default/pods/higher", "");
    assert_eq!(waiting["status"]["reason"], "Unschedulable", "{waiting}");
    assert_eq!(waiting["status"]["purser"]["waiting"]["makeWay"], Value::Null, "{waiting}");
    assert_eq!(phase(&stage, &format!("{POOL}-1")), "Running");
    stage.open("gate");
    assert_eq!(stage.await_state(&running, "planned_and_finished")["attempts"], 1);
    stage.purserd.purser_ok(["confirm", &kept]);
    assert_eq!(stage.await_state(&kept, "applied")["attempts"], 1);
}
