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

/// What operators alone change is on no tenant's account: no tenant is to keep it from being changed. Each caller's own
/// limit holds for it.
const OPERATORS: [&str; 17] = [
    "delete /v1/tenants/{tenant}",
    "post /v1/gpus/{uuid}/cordon",
    "post /v1/gpus/{uuid}/drain",
    "post /v1/gpus/{uuid}/forget",
    "post /v1/gpus/{uuid}/uncordon",
    "post /v1/images",
    "post /v1/node/cordon",
    "post /v1/node/uncordon",
    "post /v1/projections/{name}/rebuild",
    "post /v1/resources/{kind}/start",
    "post /v1/resources/{kind}/stop",
    "put /v1/policy/gpus",
    "put /v1/policy/monitor",
    "put /v1/policy/resources",
    "put /v1/policy/resources/preset",
    "put /v1/resources/{kind}/limits",
    "put /v1/tenants/{tenant}",
];

/// A pool that has no pods of its own accord.
fn pool(namespace: &str) -> Value {
    let agent = &Binaries::built().purser_agent;
    json!({
        "apiVersion": "purser.dev/v1", "kind": "Pool",
        "metadata": { "name": "empty", "namespace": namespace },
        "spec": {
            "replicas": { "min": 0, "max": 1 },
            "template": { "spec": {
                "runtimeClassName": "process", "restartPolicy": "Never",
                "containers": [{ "name": "agent", "command": [agent] }],
            } },
        },
    })
}

#[test]
fn every_route_that_changes_something_counts_or_is_an_operators() {
    let purserd = node("{ rates = { any = { count = 1, per = \"hour\" } } }");
    get(&purserd, "/v1/pods");
    let routes = get(&purserd, "/openapi.json")["paths"].clone();
    let mut operators = vec![];
    for (path, methods) in routes.as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|method| *method != "get") {
            let route = format!("{method} {path}");
            let body = match &*route {
                "post /v1/pods" => serde_json::from_str(&manifest("default", "a", "1m", "1Mi")).unwrap(),
                "post /v1/reservations" => json!({ "ttlMs": 1, "resources": { "cpu": "1m" } }),
                "put /v1/pools/{name}" => pool("default"),
                "post /v1/pools/{name}/tasks" => json!({ "argv": ["true"] }),
                _ => json!({}),
            };
            let id = Uuid::from_u128(1).to_string();
            let path = path.replace("{namespace}", "default").replace("{id}", &id).replace("{name}", "empty");
            let path = if path.ends_with(&id) { format!("{path}?token=1") } else { path };
            let method = method.to_uppercase();
            let is_operators = OPERATORS.contains(&&*route);
            // Nothing is asked of the others: they would do it.
            if is_operators {
                operators.push(route);
                continue;
            }
            let answer = ask(&purserd, &method, &path, &body);
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (429, &json!("tenant-rate-limited")),
                "{route}"
            );
        }
    }
    operators.sort();
    assert_eq!(operators, OPERATORS);
}

#[test]
fn what_is_done_to_a_pool_and_its_tasks_counts_against_its_own_tenant() {
    let purserd = node("{ rates = { change = { count = 2, per = \"hour\" } } }");
    fine(&purserd, "PUT", "/v1/pools/empty", &pool("red"));
    let task = fine(&purserd, "POST", "/v1/pools/empty/tasks", &json!({ "argv": ["true"] }))["task"].clone();
    let task = format!("/v1/tasks/{}", task.as_str().unwrap());
    let unfreeze = json!({ "forMs": 1_000 });
    fine(&purserd, "POST", "/v1/pools/empty/unfreeze", &unfreeze);
    // A plan is none of this task's: that is asked for all the same.
    assert_eq!(code(&purserd, "POST", &format!("{task}/confirm")).0, 409);
    assert_eq!(ask(&purserd, "POST", "/v1/pools/empty/unfreeze", &unfreeze).status, 429);
    for verb in ["confirm", "discard", "cancel"] {
        assert_eq!(code(&purserd, "POST", &format!("{task}/{verb}")), limited(), "{verb}");
    }
    // Others have used nothing.
    assert_eq!(code(&purserd, "POST", &format!("/v1/tasks/{}/cancel", Uuid::from_u128(1))).0, 404);
    let rates = json!({ "delete": { "count": 1, "per": "hour" } });
    fine(&purserd, "PUT", "/v1/tenants/red", &json!({ "requests": { "rates": rates } }));
    assert_eq!(code(&purserd, "DELETE", "/v1/namespaces/red/pods/none").0, 404);
    assert_eq!(code(&purserd, "DELETE", "/v1/pools/empty"), limited());
    assert_eq!(get(&purserd, "/v1/pools/empty")["metadata"]["name"], "empty");
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
    for hard in ["1Ei", "0"] {
        let refused = ask(&purserd, "PUT", "/v1/resources/memory/limits", &json!({ "hard": hard }));
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!("bad-limits")), "{hard}");
        assert_eq!(refused.body["errors"][0]["path"], "hard");
    }
    policy["limits"]["memory"]["hard"] = json!(0);
    let refused = ask(&purserd, "PUT", "/v1/policy/resources", &policy);
    assert_eq!((refused.status, &refused.body["errors"][0]["path"]), (422, &json!("limits.memory.hard")));
    policy["limits"] = json!({});
    let numbers = [
        ("defaultPriorityMax", json!(-1), "bad-priority"),
        ("defaultPriorityMax", json!(1_000_000_001), "bad-priority"),
        ("preemptionGraceS", json!(3_601), "bad-grace"),
    ];
    for (field, value, code) in numbers {
        let mut wrong = policy.clone();
        wrong[field] = value;
        let refused = ask(&purserd, "PUT", "/v1/policy/resources", &wrong);
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!(code)), "{}", refused.body);
        assert_eq!(refused.body["errors"][0]["path"], field);
    }
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
