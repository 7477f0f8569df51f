//! The policy changed while the service runs, what pods use of their own limits, and violations as one asks for them.

use purser_events::Timestamp;
use purser_tests::bounded;
use serde_json::{Value, json};

use super::held::{Scene, uuid};

/// Nothing is a violation until somebody says otherwise.
const NEVER: &str = "[policy.monitor]\ninterval-ms = 1000\nraise-ms = 600000\nclear-ms = 0\nwarm-up-ms = 0\n\
                     cool-down-ms = 1000\ncpu-percent = 100\nmemory-percent = 100\n";

/// Runs a pod that is never done with its processor time, and holds most of its memory.
fn run_busy(scene: &Scene) {
    let script = "held=$(head -c 16777216 /dev/zero | tr '\\0' a); while [ -n \"$held\" ]; do :; done";
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "busy" },
        "spec": {
            "runtimeClassName": "process", "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "command": ["sh", "-c", script],
                "resources": { "limits": { "cpu": "200m", "memory": "64Mi" } },
            }],
        },
    });
    scene.purserd.apply(&manifest.to_string());
}

/// The kinds of the violations that one gets for these words.
fn kinds(scene: &Scene, words: &[&str]) -> Vec<String> {
    let list = scene.json(&[&["get", "violations"], words].concat());
    let kinds = list["items"].as_array().unwrap_or_else(|| panic!("{list}")).iter();
    let mut kinds: Vec<String> = kinds.map(|it| it["kind"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    kinds
}

fn open(scene: &Scene, kind: &str) -> bool {
    scene.violations(kind).iter().any(|it| it["until"].is_null())
}

#[test]
fn thresholds_hold_from_the_moment_on_that_they_are_set() {
    let mut scene = Scene::new(NEVER);
    run_busy(&scene);
    scene.purserd.purser_ok(["set", "monitor", "raise-ms=0", "cpu-percent=20", "memory-percent=20"]);
    for kind in ["cpu_usage", "memory_usage"] {
        bounded::until(kind, || open(&scene, kind));
    }
    let of = |scene: &Scene, kind: &str| scene.violations(kind)[0].clone();
    let (cpu, memory) = (of(&scene, "cpu_usage"), of(&scene, "memory_usage"));
    assert_eq!(
        (&cpu["limit"], &memory["limit"]),
        (&json!(200), &json!(200)),
        "in thousandths of the pod's own"
    );
    assert!(200 < memory["peak"].as_u64().unwrap() && memory["peak"].as_u64().unwrap() <= 1_000, "{memory}");
    let metrics = scene.purserd.metrics();
    let none_failed = "pod_management_monitoring_errors_total 0";
    assert!(
        metrics.lines().any(|line| line == none_failed),
        "that a first look says little is no error: {metrics}"
    );
    // What cannot be is refused by its name, and changes nothing.
    let refused = scene.purserd.purser(["set", "monitor", "cpu-percent=101"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("cpuPercent") && said.contains("101"), "{said}");
    // It is the policy after a kill too, and what is open stays so.
    scene.purserd.kill9();
    scene.purserd.restart();
    assert_eq!(of(&scene, "cpu_usage")["id"], cpu["id"]);
    scene.purserd.purser_ok(["set", "monitor", "cpu-percent=100", "memory-percent=100"]);
    bounded::until("it holds no more than it may", || !open(&scene, "memory_usage"));
    assert_eq!(of(&scene, "memory_usage")["area"], Value::Null, "nobody watched while the service was away");
    let policy = purser_tests::http::text(&scene.purserd.socket(), "/v1/policy/monitor").unwrap();
    let policy: Value = serde_json::from_str(&policy).unwrap();
    assert_eq!((&policy["memoryPercent"], &policy["raiseMs"]), (&json!(100), &json!(0)));
}

#[test]
fn one_gets_the_violations_that_one_asks_for() {
    let mut scene = Scene::new(NEVER);
    run_busy(&scene);
    let (_, greedy) = scene.run("greedy", 40, "10Gi", "100m");
    scene.say(50, &[(greedy, 20, 20)]);
    let on_gpu = "gpu_memory_over_quota";
    bounded::until("it holds too much", || open(&scene, on_gpu));
    scene.purserd.purser_ok(["set", "monitor", "raise-ms=0", "memory-percent=20"]);
    bounded::until("the other one as well", || open(&scene, "memory_usage"));
    let of_pods = |scene: &Scene| (kinds(scene, &["--pod", "busy"]), kinds(scene, &["--pod", "greedy"]));
    let told = of_pods(&scene);
    assert!(told.0.contains(&"memory_usage".to_owned()) && !told.0.contains(&on_gpu.to_owned()), "{told:?}");
    assert_eq!(told.1, [on_gpu]);
    assert_eq!(kinds(&scene, &["--gpu", uuid().as_str()]), [on_gpu]);
    for words in [["--gpu", "GPU-none"], ["--pod", "nobody"]] {
        let refused = scene.purserd.purser([&["get", "violations"][..], &words].concat());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains(words[1]), "{said}");
    }
    scene.say(10, &[]);
    bounded::until("it has given it back", || !open(&scene, on_gpu));
    let until = scene.violations(on_gpu)[0]["until"].as_str().unwrap().to_owned();
    let since = |moment: &str| kinds(&scene, &["--since", moment]);
    assert!(since(&until).contains(&on_gpu.to_owned()), "it had not ended before that");
    let later = Timestamp(until.parse::<Timestamp>().unwrap().0 + 1).to_string();
    assert!(!since(&later).contains(&on_gpu.to_owned()), "{later}");
    assert!(since(&later).contains(&"memory_usage".to_owned()), "it is open");
    scene.purserd.kill9();
    scene.purserd.restart();
    assert_eq!(of_pods(&scene), told);
}
