//! How often may be asked by whom for whom nothing was set, and by whom that names no namespace.

use std::process::Command;

use purser_tests::binaries::Binaries;
use purser_tests::bounded;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ask, fine, get, manifest, taken};

/// A service whose policy says so of the requests of tenants that were not set.
fn node(requests: &str) -> Purserd {
    let more = format!("[policy.resources]\ndefault-requests = {requests}\n");
    Purserd::start(&Setup { more, ..Setup::default() })
}

fn code(purserd: &Purserd, method: &str, path: &str) -> (u16, String) {
    let answer = ask(purserd, method, path, &Value::Null);
    (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
}

fn limited() -> (u16, String) {
    (429, "tenant-rate-limited".to_owned())
}

#[test]
fn tenants_that_were_not_set_have_the_default_each_for_itself() {
    let purserd = node("{ concurrent = 9, rates = { read = { count = 1, per = \"hour\" } } }");
    get(&purserd, "/v1/pods?namespace=red");
    assert_eq!(code(&purserd, "GET", "/v1/pods?namespace=red"), limited());
    get(&purserd, "/v1/pods?namespace=blue");
    let shown = get(&purserd, "/v1/tenants/red")["requests"].clone();
    assert_eq!((&shown["isDefault"], &shown["concurrent"]), (&json!(true), &json!(9)));
    assert_eq!(shown["rates"]["read"], json!({ "count": 1, "per": "hour", "burst": null }));
    assert!(purserd.purser_ok(["describe", "tenant", "red"]).contains("read 1/h, 9 at once (default)"));
    // Whoever was set has what was set, even if that is nothing.
    fine(&purserd, "PUT", "/v1/tenants/red", &json!({ "quota": { "pods": 3 } }));
    assert_eq!(get(&purserd, "/v1/tenants/red")["requests"]["isDefault"], false);
    (0..3).for_each(|_| drop(get(&purserd, "/v1/pods?namespace=red")));
    // The policy is the journal's: it can be changed while the service runs.
    let mut policy = get(&purserd, "/v1/policy/resources");
    policy["defaultRequests"]["rates"]["read"]["count"] = json!(0);
    let refused = ask(&purserd, "PUT", "/v1/policy/resources", &policy);
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("bad-tenant")));
    assert!(refused.body["detail"].as_str().unwrap().starts_with("defaultRequests.rates.read "));
    policy["defaultRequests"] = json!({ "rates": {}, "concurrent": null });
    fine(&purserd, "PUT", "/v1/policy/resources", &policy);
    (0..3).for_each(|_| drop(get(&purserd, "/v1/pods?namespace=blue")));
}

#[test]
fn who_looks_and_names_no_namespace_counts_as_the_default_one() {
    let purserd = node("{ rates = { read = { count = 2, per = \"hour\" } } }");
    get(&purserd, "/v1/resources");
    get(&purserd, "/v1/pods");
    for path in ["/v1/pods", "/v1/history", "/v1/advice", "/v1/pods?namespace=default"] {
        assert_eq!(code(&purserd, "GET", path), limited(), "{path}");
    }
    get(&purserd, "/v1/pods?namespace=red");
    for path in ["/v1/status", "/v1/tenants", "/v1/tenants/default", "/v1/policy/resources"] {
        (0..3).for_each(|_| drop(get(&purserd, path)));
    }
    assert!(purserd.metrics().contains("purser_tenant_requests_refused_total{tenant=\"other\""));
}

#[test]
fn speaking_for_a_reservation_that_is_not_there_counts_too() {
    let purserd = node("{ rates = { delete = { count = 2, per = \"hour\" } } }");
    let path = |number| format!("/v1/reservations/{}?token=1", Uuid::from_u128(number));
    for number in [1, 2] {
        let (status, code) = code(&purserd, "DELETE", &path(number));
        assert!(status == 409 || status == 404, "{status} {code}");
    }
    assert_eq!(code(&purserd, "DELETE", &path(3)), limited());
}

#[test]
fn what_the_ledger_has_done_since_the_start_is_shown_by_manager() {
    let mut purserd = node("{ rates = {} }");
    taken(&purserd, &manifest("default", "a", "10m", "1Mi"));
    let manager = |purserd: &Purserd, name: &str| {
        let resources = get(purserd, "/v1/resources");
        let managers = resources["managers"].as_array().unwrap().clone();
        managers.into_iter().find(|manager| manager["name"] == name).unwrap()
    };
    let counts =
        |given, refused, taken| json!({ "allocations": given, "refusals": refused, "releases": taken });
    assert_eq!(manager(&purserd, "cpu")["sinceStart"], counts(1, 0, 0));
    assert_eq!(manager(&purserd, "disk")["sinceStart"], counts(0, 0, 0));
    let wish = json!({ "ttlMs": 60_000, "resources": { "memory": "1Ei" } });
    assert_eq!(ask(&purserd, "POST", "/v1/reservations", &wish).status, 409);
    assert_eq!(manager(&purserd, "memory")["sinceStart"], counts(1, 1, 0));
    let decisions = get(&purserd, "/v1/resources")["decisions"].clone();
    let figure = |name: &str| decisions[name].as_u64().unwrap();
    assert!(figure("count") > 0 && figure("medianUs") <= figure("percentile99Us"), "{decisions}");
    let metrics = purserd.metrics();
    for line in [
        "purser_resource_allocations_total{resource=\"cpu\"} 1\n",
        "purser_admissions_refused_total{resource=\"memory\"} 1\n",
        "purser_decision_seconds_count{entity=\"ledger\"} ",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    let shown: Value = serde_json::from_str(&purserd.purser_ok(["get", "resources", "-o", "json"])).unwrap();
    assert_eq!(shown["managers"][0]["sinceStart"], counts(1, 0, 0));
    // The tallies go on, the counts begin anew.
    purserd.kill9();
    purserd.restart();
    let cpu = manager(&purserd, "cpu");
    assert_eq!((&cpu["allocations"], &cpu["sinceStart"]), (&json!(1), &counts(0, 0, 0)));
}

#[test]
fn limits_beyond_the_machine_are_refused_wherever_they_are_written() {
    let mut purserd = node("{ rates = {} }");
    let mut policy = get(&purserd, "/v1/policy/resources");
    let limits = json!({ "hard": u64::MAX, "soft": null, "overcommitPercent": 100, "reservePercent": 0 });
    policy["limits"] = json!({ "memory": limits });
    let refused = ask(&purserd, "PUT", "/v1/policy/resources", &policy);
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("bad-limits")));
    assert_eq!(refused.body["errors"][0]["path"], "limits.memory.hard");
    let refused = ask(&purserd, "PUT", "/v1/resources/memory/limits", &json!({ "hard": "1Ei" }));
    assert_eq!(refused.body["errors"][0]["path"], "hard");
    assert!(purserd.stop().success());
    let mut config = std::fs::read_to_string(purserd.config()).unwrap();
    config.push_str("\n[policy.resources.limits.memory]\nhard = \"1Ei\"\n");
    std::fs::write(purserd.config(), config).unwrap();
    let mut command = Command::new(&Binaries::built().purserd);
    let output = bounded::output(command.arg("--config").arg(purserd.config()));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("`policy.resources.limits.memory.hard`"), "{told}");
}
