//! Who is refused, and who waits and runs once there is room.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::{apply, ask, fine, get, manifest, node, read_shortages, resource, shortages, taken, until_phase};

fn named(kinds: &[&str], bound: &str, holders: &[&str]) -> Vec<(String, String, Vec<String>)> {
    let holders: Vec<String> = holders.iter().map(|name| (*name).to_owned()).collect();
    kinds.iter().map(|kind| ((*kind).to_owned(), bound.to_owned(), holders.clone())).collect()
}

#[test]
fn a_pod_beyond_its_quota_is_told_of_everything_at_once() {
    let purserd = node("1Gi", "wait");
    let quota = json!({ "quota": { "cpu": "100m", "memory": "64Mi", "pods": 1 }, "alertPercent": 50 });
    let set = fine(&purserd, "PUT", "/v1/tenants/default", &quota);
    assert_eq!(set["changed"], true);
    assert_eq!(fine(&purserd, "PUT", "/v1/tenants/default", &quota)["changed"], false);
    taken(&purserd, &manifest("default", "first", "50m", "32Mi"));
    let refused = apply(&purserd, &manifest("default", "second", "200m", "128Mi"));
    let mut short = shortages(&refused);
    short.sort();
    assert_eq!(short, named(&["cpu", "memory", "pods"], "quota", &["default/first"]), "{}", refused.body);
    let tenant = get(&purserd, "/v1/tenants/default");
    assert_eq!((&tenant["isDefault"], &tenant["used"]["memory"]), (&json!(false), &json!(32 << 20)));
    assert_eq!(tenant["alerts"], json!(["pods", "cpu", "memory"]), "{tenant}");
    let metrics = purserd.metrics();
    for line in [
        "purser_admissions_refused_total{resource=\"memory\"} 1",
        "purser_tenant_quota{tenant=\"default\",resource=\"cpu\"} 100",
        "purser_tenant_used{tenant=\"default\",resource=\"pods\"} 1",
        "purser_tenant_alert{tenant=\"default\",resource=\"memory\"} 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
    let said = purserd.purser(["describe", "tenant", "default"]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("memory     32Mi   64Mi"), "{said}");
    assert_eq!(ask(&purserd, "DELETE", "/v1/tenants/default", &Value::Null).status, 200);
    let gone = ask(&purserd, "DELETE", "/v1/tenants/default", &Value::Null);
    assert_eq!((gone.status, &gone.body["code"]), (404, &json!("no-such-tenant")));
    assert!(!purserd.metrics().contains("purser_tenant_alert{"), "the alert went with its bound");
    let left = get(&purserd, "/v1/tenants");
    assert_eq!((&left["items"][0]["id"], &left["items"][0]["isDefault"]), (&json!("default"), &json!(true)));
    taken(&purserd, &manifest("default", "second", "200m", "128Mi"));
}

#[test]
fn a_pod_waits_and_runs_once_another_is_gone() {
    let purserd = node("256Mi", "wait");
    taken(&purserd, &manifest("default", "big", "10m", "200Mi"));
    let big = until_phase(&purserd, "big", "Running");
    assert_eq!(big["status"]["purser"]["resources"]["amounts"]["memory"], "200Mi");
    taken(&purserd, &manifest("default", "next", "10m", "100Mi"));
    taken(&purserd, &manifest("default", "last", "10m", "100Mi"));
    let next = get(&purserd, "/v1/namespaces/default/pods/next");
    let (status, waiting) = (&next["status"], &next["status"]["purser"]["waiting"]);
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Pending"), &json!("Unschedulable")));
    assert_eq!(waiting["rank"], 0);
    assert_eq!(read_shortages(&waiting["shortages"]), named(&["memory"], "free", &["default/big"]));
    let list = get(&purserd, "/v1/pods");
    let ranks: Vec<&Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["status"]["purser"]["waiting"]["rank"])
        .collect();
    assert_eq!(ranks, [&Value::Null, &json!(1), &json!(0)], "big, last, next");
    let said = purserd.purser_ok(["describe", "pod", "next"]);
    assert!(said.contains("Insufficient memory: 100Mi asked, 56Mi free (held by default/big)"), "{said}");
    assert!(purserd.metrics().contains("purser_admission_waiting 2\n"));
    assert!(purserd.purser_ok(["get", "resources"]).contains("2 pods wait for resources"));
    purserd.purser_ok(["delete", "big", "--wait"]);
    for name in ["next", "last"] {
        let pod = until_phase(&purserd, name, "Running");
        assert_eq!(pod["status"]["purser"]["waiting"], Value::Null);
    }
    let memory = resource(&purserd, "memory");
    assert_eq!((&memory["allocated"], &memory["free"]), (&json!(200 << 20), &json!(56 << 20)));
    assert_eq!(memory["holders"].as_array().map(Vec::len), Some(2));
    let described = purserd.purser_ok(["describe", "next"]);
    assert!(described.contains("memory           100Mi"), "{described}");
}

#[test]
fn a_pod_that_is_started_again_asks_again() {
    let purserd = node("256Mi", "refuse");
    taken(&purserd, &manifest("default", "a", "10m", "200Mi"));
    until_phase(&purserd, "a", "Running");
    purserd.purser_ok(["stop", "a"]);
    taken(&purserd, &manifest("default", "b", "10m", "200Mi"));
    let refused = ask(&purserd, "POST", "/v1/namespaces/default/pods/a/start", &json!({}));
    assert_eq!(shortages(&refused), named(&["memory"], "free", &["default/b"]));
    let said = purserd.purser(["start", "a"]);
    let told = String::from_utf8(said.stderr).unwrap();
    assert!(told.contains("Insufficient memory: 200Mi asked, 56Mi free (held by default/b)"), "{told}");
    assert_eq!(said.status.code(), Some(1));
}

#[test]
fn a_dry_run_tells_what_the_ledger_would_and_changes_nothing() {
    let purserd = node("256Mi", "wait");
    let folder = tempfile::tempdir().unwrap();
    let try_out = |manifest: &str| {
        let file = folder.path().join("pod.json");
        std::fs::write(&file, manifest).unwrap();
        let ended = purserd.purser(["apply", "--dry-run", "-f", file.to_str().unwrap()]);
        (
            ended.status.code(),
            String::from_utf8(ended.stdout).unwrap(),
            String::from_utf8(ended.stderr).unwrap(),
        )
    };
    taken(&purserd, &manifest("default", "big", "10m", "200Mi"));
    until_phase(&purserd, "big", "Running");
    let fits = try_out(&manifest("default", "small", "10m", "50Mi"));
    assert_eq!(fits, (Some(0), "pod/small created (dry run)\n".to_owned(), String::new()));
    let waits = try_out(&manifest("default", "next", "10m", "100Mi"));
    let short = "    Insufficient memory: 100Mi asked, 56Mi free (held by default/big)\n";
    assert_eq!(waits.1, format!("pod/next created (dry run)\n  it would wait now:\n{short}"));
    let (code, said, told) = try_out(&manifest("default", "huge", "10m", "1Gi"));
    assert_eq!((code, &*said), (Some(1), ""));
    assert!(told.contains("memory: 1Gi asked, the node gives out 256Mi in all"), "{told}");
    let admitted = purserd.purser_ok(["events", "-t", "pod.admitted", "-o", "json"]);
    assert_eq!(admitted.lines().count(), 1, "nothing was recorded: {admitted}");
    assert_eq!(purserd.purser_ok(["events", "-t", "ledger.queued", "-o", "json"]), "");
    purserd.purser_ok(["cordon", "--reason", "repair"]);
    let (code, _, told) = try_out(&manifest("default", "small", "10m", "50Mi"));
    assert_eq!(code, Some(1));
    assert!(told.contains("cordoned"), "{told}");
}

#[test]
fn resources_are_shown_again_when_they_change() {
    let purserd = node("256Mi", "wait");
    let mut watch = purserd.command();
    watch.args(["get", "resources", "memory", "-w"]).stdout(Stdio::piped());
    let mut watch = Reaped(watch.spawn().unwrap());
    let mut rows = BufReader::new(watch.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(rows.next().unwrap().starts_with("RESOURCE"));
    assert!(rows.next().unwrap().contains("256Mi"));
    taken(&purserd, &manifest("default", "a", "10m", "64Mi"));
    let row = rows.find(|row| row.starts_with("memory")).unwrap();
    assert!(row.contains(" 64Mi ("), "{row}");
    let others = purserd.purser(["get", "tenants", "-w"]);
    assert_eq!(others.status.code(), Some(2));
}

/// A program that ends with its test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // One that has ended is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_refusal_says_what_is_kept_for_those_who_wait_in_front() {
    let purserd = node("256Mi", "wait");
    taken(&purserd, &manifest("default", "big", "10m", "100Mi"));
    until_phase(&purserd, "big", "Running");
    taken(&purserd, &manifest("default", "next", "10m", "200Mi"));
    let mut late: Value = serde_json::from_str(&manifest("default", "late", "10m", "50Mi")).unwrap();
    late["metadata"]["annotations"] = json!({ "purser.dev/when-full": "refuse" });
    let refused = apply(&purserd, &late.to_string());
    assert_eq!(shortages(&refused), named(&["memory"], "free", &["default/big"]));
    assert_eq!(
        (&refused.body["shortages"][0]["free"], &refused.body["shortages"][0]["inFront"]),
        (&json!(0), &json!(1))
    );
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(
        detail.ends_with("; 1 pod waits in front, and what is kept for it is not free: memory"),
        "{detail}"
    );
    taken(&purserd, &manifest("default", "behind", "10m", "50Mi"));
    let said = purserd.purser_ok(["describe", "pod", "behind"]);
    let line =
        "50Mi asked, 0 free (held by default/big); what is kept for 1 pod that waits in front is not free\n";
    assert!(said.contains(line) && said.contains("  1 pod waits in front\n"), "{said}");
}

#[test]
fn a_priority_is_bounded_by_its_tenant() {
    let purserd = node("256Mi", "wait");
    for (wrong, at) in [(json!("10"), "priorityMax"), (json!(1.5), "priorityMax")] {
        let refused = ask(&purserd, "PUT", "/v1/tenants/default", &json!({ "priorityMax": wrong }));
        assert_eq!(
            (refused.status, &refused.body["errors"][0]["path"]),
            (422, &json!(at)),
            "{}",
            refused.body
        );
    }
    let mut pod: Value = serde_json::from_str(&manifest("default", "a", "10m", "16Mi")).unwrap();
    assert!(purserd.purser_ok(["describe", "tenant", "default"]).contains("up to 1000 (default)"));
    pod["spec"]["priority"] = json!(1_001);
    assert_eq!(apply(&purserd, &pod.to_string()).body["code"], "priority-too-high");
    fine(&purserd, "PUT", "/v1/tenants/default", &json!({ "alertPercent": 80 }));
    assert_eq!(apply(&purserd, &pod.to_string()).body["code"], "priority-too-high", "it was set without one");
    let shown = fine(&purserd, "GET", "/v1/tenants/default", &Value::Null);
    assert_eq!(shown["priority"], json!({ "isDefault": true, "max": 1_000 }));
    fine(&purserd, "PUT", "/v1/tenants/default", &json!({ "priorityMax": 10 }));
    pod["spec"]["priority"] = json!(11);
    let refused = apply(&purserd, &pod.to_string());
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (409, &json!("priority-too-high")),
        "{}",
        refused.body
    );
    pod["spec"]["priority"] = json!(10);
    taken(&purserd, &pod.to_string());
    assert!(purserd.purser_ok(["describe", "tenant", "default"]).contains("up to 10\n"));
}
