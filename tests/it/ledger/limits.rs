//! What can be changed while the service runs: limits of resources, managers, and how often tenants may ask.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;

use purser_tests::bounded::PATIENCE;
use purser_tests::http;
use serde_json::{Value, json};

use super::{apply, ask, fine, get, manifest, node, resource, shortages, taken};

#[test]
fn limits_hold_from_the_next_decision_on() {
    let purserd = node("100Mi", "wait");
    let pod = manifest("default", "a", "10m", "150Mi");
    let short = shortages(&apply(&purserd, &pod));
    assert_eq!(short[0].1, "node", "it can never be had: {short:?}");
    purserd.purser_ok(["set", "limits", "memory", "--hard", "200Mi", "--reserve", "0"]);
    taken(&purserd, &pod);
    let lowered = purserd.purser_ok(["set", "limits", "memory", "--hard", "64Mi", "--soft", "32Mi"]);
    assert_eq!(lowered, "limits of memory set\n");
    let memory = resource(&purserd, "memory");
    let limits = json!({ "hard": 64 << 20, "soft": 32 << 20, "overcommitPercent": 100, "reservePercent": 0 });
    assert_eq!((&memory["limits"], &memory["free"]), (&limits, &json!(0)));
    let shown = purserd.purser_ok(["get", "resources", "memory"]);
    assert!(shown.contains("Degraded") && shown.contains("where 64Mi may be"), "{shown}");
    assert!(purserd.metrics().contains("purser_resource_health{resource=\"memory\",state=\"Degraded\"} 1\n"));

    let path = "/v1/resources/memory/limits";
    let wrong = |body: Value| {
        let answer = ask(&purserd, "PUT", path, &body);
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(wrong(json!({ "hard": "1Ei" })), (422, "bad-limits".to_owned()));
    assert_eq!(wrong(json!({ "overcommitPercent": 99 })), (422, "bad-limits".to_owned()));
    assert_eq!(wrong(json!({ "hard": "-1", "soft": "1GB" })), (422, "invalid".to_owned()));
    assert_eq!(wrong(json!({ "hard": 64 })), (400, "malformed-body".to_owned()));
    assert_eq!(wrong(json!({ "hardd": "1Gi" })), (400, "malformed-body".to_owned()));
    let nothing = ask(&purserd, "PUT", "/v1/resources/cores/limits", &json!({}));
    assert_eq!((nothing.status, &nothing.body["code"]), (404, &json!("no-such-resource")));
}

#[test]
fn a_preset_is_put_in_force_by_its_name_and_leaves_hard_limits_as_they_are() {
    let purserd = node("1Gi", "wait");
    let limits = |kind: &str| {
        let shown = resource(&purserd, kind)["limits"].clone();
        ["overcommitPercent", "reservePercent", "softPercent"].map(|field| shown[field].as_u64().unwrap())
    };
    let presets = [
        ("conservative", [[100, 10, 80]; 3]),
        ("moderate", [[200, 15, 90], [120, 15, 90], [110, 15, 90]]),
        ("aggressive", [[400, 5, 100], [150, 5, 100], [130, 5, 100]]),
    ];
    for (name, expected) in presets {
        // Of the machine's memory more may be kept than the hard limit lets be used.
        let kept = resource(&purserd, "memory")["capacity"].as_u64().unwrap() / 100 * expected[1][1];
        let hard = (kept * 2).to_string();
        fine(&purserd, "PUT", "/v1/resources/memory/limits", &json!({ "hard": hard }));
        let put = json!({ "preset": name });
        assert_eq!(fine(&purserd, "PUT", "/v1/policy/resources/preset", &put)["changed"], true);
        assert_eq!(["cpu", "memory", "disk"].map(limits), expected, "{name}");
        assert_eq!(resource(&purserd, "memory")["limits"]["hard"].to_string(), hard);
        assert_eq!(purserd.purser_ok(["set", "preset", name]), format!("preset {name} unchanged\n"));
    }
    let refused = ask(&purserd, "PUT", "/v1/policy/resources/preset", &json!({ "preset": "bold" }));
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!("malformed-body")));
    fine(&purserd, "PUT", "/v1/resources/memory/limits", &json!({ "hard": "1Mi" }));
    let refused = ask(&purserd, "PUT", "/v1/policy/resources/preset", &json!({ "preset": "moderate" }));
    assert_eq!(refused.body["errors"][0]["path"], "limits.memory.hard", "{}", refused.body);
    let put = ask(&purserd, "PUT", "/v1/policy/resources/preset", &json!({ "preset": "conservative" }));
    assert_eq!(put.status, 422, "{}", put.body);
}

#[test]
fn what_operators_count_has_a_slash_in_its_name_and_limits_all_the_same() {
    let purserd = node("1Gi", "wait");
    fine(&purserd, "PUT", "/v1/resources/example.com%2Fdongle/limits", &json!({ "hard": "1" }));
    assert_eq!(resource(&purserd, "example.com/dongle")["allocatable"], 1);
    purserd.purser_ok(["set", "limits", "example.com/dongle", "--hard", "none"]);
    assert_eq!(resource(&purserd, "example.com/dongle")["allocatable"], 4);
    purserd.purser_ok(["resources", "stop", "example.com/dongle", "--reason", "being replaced"]);
    let shown = purserd.purser_ok(["get", "resources", "example.com/dongle"]);
    assert!(shown.contains("Stopped") && shown.contains("being replaced"), "{shown}");
    let wish = json!({ "ttlMs": 60_000, "resources": { "custom": { "example.com/dongle": "1" } } });
    assert_eq!(shortages(&ask(&purserd, "POST", "/v1/reservations", &wish))[0].1, "stopped");
    purserd.purser_ok(["resources", "start", "example.com/dongle"]);
    fine(&purserd, "POST", "/v1/reservations", &wish);
}

#[test]
fn the_whole_policy_is_replaced_or_refused() {
    let mut purserd = node("1Gi", "wait");
    let mut policy = get(&purserd, "/v1/policy/resources");
    policy["strict"] = json!(true);
    assert_eq!(fine(&purserd, "PUT", "/v1/policy/resources", &policy)["changed"], true);
    policy["stricter"] = json!(true);
    let refused = ask(&purserd, "PUT", "/v1/policy/resources", &policy);
    assert_eq!((refused.status, &refused.body["errors"][0]["path"]), (422, &json!("stricter")));
    let short = shortages(&apply(&purserd, &manifest("default", "a", "0", "1Mi")));
    assert_eq!((short[0].0.as_str(), short[0].1.as_str()), ("cpu", "unstated"));
    purserd.kill9();
    purserd.restart();
    assert_eq!(get(&purserd, "/v1/policy/resources")["strict"], true, "it holds until the config changes");
}

#[test]
fn a_tenant_that_asks_too_often_is_told_when_to_come_back() {
    let purserd = node("1Gi", "wait");
    let requests = json!({ "requests": { "rates": { "create": { "count": 1, "per": "hour" } } } });
    fine(&purserd, "PUT", "/v1/tenants/ml", &requests);
    taken(&purserd, &manifest("ml", "a", "1m", "1Mi"));
    let refused = apply(&purserd, &manifest("ml", "b", "1m", "1Mi"));
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!("tenant-rate-limited")));
    let wait_ms = refused.body["retryAfterMs"].as_u64().unwrap();
    assert!((1..=3_600_000).contains(&wait_ms), "{wait_ms}");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.starts_with("tenant ml may make 1 `create` requests an hour"), "{detail}");
    let wish = json!({ "namespace": "ml", "ttlMs": 1_000, "resources": { "cpu": "1m" } });
    assert_eq!(ask(&purserd, "POST", "/v1/reservations", &wish).body["code"], "tenant-rate-limited");
    taken(&purserd, &manifest("default", "b", "1m", "1Mi"));
    get(&purserd, "/v1/namespaces/ml/pods/a");
    let counted = "purser_tenant_requests_refused_total{tenant=\"ml\",operation=\"create\"} 2\n";
    assert!(purserd.metrics().contains(counted), "{}", purserd.metrics());
    // A change takes effect with the next request.
    fine(&purserd, "PUT", "/v1/tenants/ml", &json!({}));
    taken(&purserd, &manifest("ml", "b", "1m", "1Mi"));
    let bad = json!({ "requests": { "rates": { "create": { "count": 0, "per": "hour" } } } });
    assert_eq!(ask(&purserd, "PUT", "/v1/tenants/ml", &bad).body["code"], "bad-tenant");
}

#[test]
fn an_answer_that_streams_is_under_way_until_it_ends() {
    let purserd = node("1Gi", "wait");
    taken(&purserd, &manifest("ml", "a", "1m", "1Mi"));
    purserd.await_event("pod.started");
    fine(&purserd, "PUT", "/v1/tenants/ml", &json!({ "requests": { "concurrent": 1 } }));
    let mut stream = UnixStream::connect(purserd.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let path = "/v1/namespaces/%6dl/pods/a/log?follow=true";
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: purser\r\n\r\n").as_bytes()).unwrap();
    let mut follower = BufReader::new(stream);
    let head = http::read_head(&mut follower).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let refused = ask(&purserd, "GET", "/v1/namespaces/ml/pods/a", &Value::Null);
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!("tenant-too-many-requests")));
    assert_eq!(get(&purserd, "/v1/tenants/ml")["requests"]["open"], 1);
    fine(&purserd, "PUT", "/v1/tenants/ml", &json!({ "requests": { "concurrent": 2 } }));
    get(&purserd, "/v1/namespaces/ml/pods/a");
}
