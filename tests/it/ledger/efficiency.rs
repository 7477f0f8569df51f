//! How well what is given out is used: shown from what pods really use, and not from what they asked for.

use purser_tests::bounded;
use serde_json::{Value, json};

use super::{get, manifest, node, taken};

const MIB: u64 = 1 << 20;
/// What the pod was given, and the least of it that its program holds.
const GIVEN: u64 = 128 * MIB;
const HELD: u64 = 48 * MIB;

#[test]
fn what_is_used_of_what_was_given_is_measured_and_not_asked_for() {
    let purserd = node("1Gi", "wait");
    let memory = || get(&purserd, "/v1/resources")["managers"][1]["resources"][0].clone();
    let before = memory();
    assert_eq!((&before["kind"], &before["allocated"]), (&json!("memory"), &json!(0)), "{before}");
    assert_eq!(
        (&before["allocatedPercent"], &before["usedPercent"]),
        (&json!(0), &Value::Null),
        "of nothing"
    );
    let mut pod: Value = serde_json::from_str(&manifest("default", "half", "100m", "128Mi")).unwrap();
    // It reads that much before it writes any of it, and nobody reads what it writes.
    let script = format!("head -c {HELD} /dev/zero | tail -c {HELD} | sleep 600");
    pod["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", script]);
    taken(&purserd, &pod.to_string());
    let of = |shown: &Value, name: &str| shown[name].as_u64().unwrap_or_default();
    // Pods and the machine are measured one after the other.
    let is_measured = |shown: &Value| HELD <= of(shown, "usedByPods") && shown["usedByMachine"].is_u64();
    bounded::until("memory is measured", || is_measured(&memory()));
    let shown = memory();
    let (used, percent) = (of(&shown, "usedByPods"), of(&shown, "usedPercent"));
    assert_eq!((of(&shown, "allocated"), percent), (GIVEN, used * 100 / GIVEN), "{shown}");
    assert!(used < GIVEN && 0 < percent && percent < 100, "it asked for more than it uses: {shown}");
    assert_eq!(of(&shown, "allocatedPercent"), GIVEN * 100 / of(&shown, "capacity"), "{shown}");
    assert!(shown["usedAsOf"].is_string() && used < of(&shown, "usedByMachine"), "{shown}");
    let told = purserd.purser_ok(["get", "resources", "memory"]);
    assert!(told.contains("128Mi (") && told.contains("Healthy"), "{told}");
}
