//! How well what is given out is used: shown from what pods really use, and not from what they asked for.

use std::cell::RefCell;

use purser_tests::bounded;
use purser_tests::purserd::Purserd;
use serde_json::{Value, json};

use super::{get, manifest, node, resource, taken};

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
    let value = |name: &str, resource: &str| {
        let (metrics, begin) =
            (purserd.metrics(), format!("purser_resource_{name}{{resource=\"{resource}\"}} "));
        metrics.lines().find_map(|line| line.strip_prefix(&begin)?.parse::<f64>().ok())
    };
    let (used, ratio) = (value("used", "memory").unwrap(), value("used_ratio", "memory").unwrap());
    assert!(amount(HELD) <= used && 0.0 < ratio && ratio < 1.0, "{used} {ratio}");
    let part = value("allocated", "memory").unwrap() / value("capacity", "memory").unwrap();
    assert!((value("allocated_ratio", "memory").unwrap() - part).abs() < 1e-9, "{part}");
    assert!(used < value("used_by_machine", "memory").unwrap(), "other programs use some too");
    // Nobody measures what an operator counts, and nobody has any of it.
    assert_eq!(value("capacity", "example.com/dongle"), Some(4.0));
    assert_eq!(["used", "used_ratio"].map(|name| value(name, "example.com/dongle")), [None, None]);
}

fn amount(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).unwrap())
}

/// What is measured of a resource of the node, once it is so.
fn measured(purserd: &Purserd, kind: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let shown = RefCell::new(Value::Null);
    bounded::until("it is measured", || {
        shown.replace(resource(purserd, kind));
        is_so(&shown.borrow())
    });
    shown.into_inner()
}

#[test]
fn processor_time_is_measured_of_the_pods_that_have_it() {
    let purserd = node("1Gi", "wait");
    let mut pod: Value = serde_json::from_str(&manifest("default", "busy", "1", "64Mi")).unwrap();
    pod["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", "while :; do :; done"]);
    taken(&purserd, &pod.to_string());
    let used = |shown: &Value| shown["usedByPods"].as_u64().unwrap_or_default();
    let cpu = measured(&purserd, "cpu", |shown| 50 <= used(shown));
    assert_eq!((&cpu["allocated"], &cpu["usedPercent"]), (&json!(1_000), &json!(used(&cpu) / 10)), "{cpu}");
}
