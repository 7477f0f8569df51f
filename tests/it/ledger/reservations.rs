//! The life of reservations: made, shown, given up, over; and tokens that are stale.

use purser_tests::feed::Feed;
use serde_json::{Value, json};

use super::{apply, ask, fine, get, manifest, node, resource, shortages, taken};

#[test]
fn a_reservation_holds_what_it_keeps_until_it_is_given_up() {
    let purserd = node("256Mi", "refuse");
    let wish = json!({ "namespace": "default", "ttlMs": 600_000, "resources": { "memory": "200Mi" } });
    let made = fine(&purserd, "POST", "/v1/reservations", &wish);
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_u64().unwrap());
    let memory = resource(&purserd, "memory");
    assert_eq!((&memory["reserved"], &memory["allocated"]), (&json!(200 << 20), &json!(0)));
    let pod = manifest("default", "a", "1m", "100Mi");
    let short = shortages(&apply(&purserd, &pod));
    assert_eq!(short[0].2, [format!("reservation/{id}")]);
    let shown = get(&purserd, &format!("/v1/reservations/{id}"));
    assert_eq!((&shown["token"], &shown["asked"]["memory"]), (&json!(token), &json!("200Mi")));
    assert!(purserd.purser_ok(["get", "reservations"]).contains(id));
    assert!(purserd.metrics().contains("purser_reservations 1\n"));

    let mut feed = Feed::live(&purserd);
    let stale = ask(&purserd, "DELETE", &format!("/v1/reservations/{id}?token={}", token + 1), &Value::Null);
    assert_eq!((stale.status, &stale.body["code"]), (409, &json!("stale-token")));
    let recorded = feed.until(|event| event.kind == "ledger.stale-token-refused");
    let payload = &recorded.record["event"]["payload"];
    assert_eq!((&payload["reservation"], &payload["reason"]), (&json!(id), &json!("token")));
    assert_eq!(get(&purserd, "/v1/reservations")["items"].as_array().map(Vec::len), Some(1));

    let said = purserd.purser_ok(["cancel-reservation", id, "--token", &token.to_string()]);
    assert_eq!(said, format!("reservation/{id} cancelled\n"));
    let again = ask(&purserd, "DELETE", &format!("/v1/reservations/{id}?token={token}"), &Value::Null);
    assert_eq!(again.body["code"], "stale-token", "{}", again.body);
    // Of one that nobody knows nothing is on record: whoever makes ids up would fill the journal. It is counted.
    let seq = || get(&purserd, "/v1/status")["seq"].clone();
    let before = seq();
    let unknown = "/v1/reservations/00000000-0000-4000-8000-000000000001?token=1";
    assert_eq!(ask(&purserd, "DELETE", unknown, &Value::Null).body["code"], "stale-token");
    assert_eq!(seq(), before);
    let metrics = purserd.metrics();
    for line in ["{reason=\"token\"} 1\n", "{reason=\"gone\"} 2\n"] {
        assert!(metrics.contains(&format!("purser_stale_tokens_refused_total{line}")), "{line}: {metrics}");
    }
    assert_eq!(ask(&purserd, "GET", &format!("/v1/reservations/{id}"), &Value::Null).status, 404);
    taken(&purserd, &pod);
}

#[test]
fn an_operator_gives_up_a_reservation_without_its_token() {
    let purserd = node("256Mi", "refuse");
    let wish = json!({ "namespace": "default", "ttlMs": 600_000, "resources": { "memory": "200Mi" } });
    let made = fine(&purserd, "POST", "/v1/reservations", &wish);
    let (id, token) = (made["id"].as_str().unwrap(), &made["token"]);
    for query in ["", "?force=true&token=1"] {
        let unclear = ask(&purserd, "DELETE", &format!("/v1/reservations/{id}{query}"), &Value::Null);
        assert_eq!((unclear.status, &unclear.body["code"]), (400, &json!("malformed-query")), "{query}");
    }
    let neither = purserd.purser(["cancel-reservation", id]);
    assert_eq!(neither.status.code(), Some(2));
    let said = purserd.purser_ok(["cancel-reservation", id, "--force"]);
    assert_eq!(said, format!("reservation/{id} cancelled\n"));
    assert_eq!(resource(&purserd, "memory")["reserved"], 0);
    let late = ask(&purserd, "DELETE", &format!("/v1/reservations/{id}?token={token}"), &Value::Null);
    assert_eq!((late.status, &late.body["code"]), (409, &json!("stale-token")));
    let again = ask(&purserd, "DELETE", &format!("/v1/reservations/{id}?force=true"), &Value::Null);
    assert_eq!((again.status, &again.body["code"]), (404, &json!("no-such-reservation")));
}

#[test]
fn a_pod_that_took_up_a_reservation_can_be_started_again() {
    let purserd = node("256Mi", "refuse");
    let wish =
        json!({ "namespace": "default", "ttlMs": 600_000, "resources": { "cpu": "1m", "memory": "200Mi" } });
    let made = fine(&purserd, "POST", "/v1/reservations", &wish);
    let held = format!("{}:{}", made["id"].as_str().unwrap(), made["token"]);
    let mut pod: Value = serde_json::from_str(&manifest("default", "a", "1m", "150Mi")).unwrap();
    pod["metadata"]["annotations"] = json!({ "purser.dev/reservation": held });
    taken(&purserd, &pod.to_string());
    assert_eq!(resource(&purserd, "memory")["allocated"], 200 << 20, "it has all that was kept");
    let mut feed = Feed::live(&purserd);
    purserd.purser_ok(["stop", "a", "--wait"]);
    purserd.purser_ok(["start", "a"]);
    feed.until(|event| event.kind == "pod.started");
    assert_eq!(resource(&purserd, "memory")["allocated"], 150 << 20, "it asks as any other");
    let stale = purserd.purser_ok(["events", "-t", "ledger.stale-token-refused", "-o", "json"]);
    assert_eq!(stale, "");
}

#[test]
fn a_reservation_is_over_when_its_time_is_up() {
    let purserd = node("256Mi", "refuse");
    let line = ["reserve", "--ttl", "50ms", "--memory", "200Mi", "--port", "9124/TCP", "-o", "json"];
    let made: Value = serde_json::from_str(&purserd.purser_ok(line)).unwrap();
    let ports = resource(&purserd, "ports");
    assert_eq!(
        (&ports["allocated"], &ports["reserved"]),
        (&json!(0), &json!(0)),
        "it is none of the node's range"
    );
    purserd.await_event("ledger.reservation-expired");
    let (id, token) = (made["id"].as_str().unwrap(), &made["token"]);
    let late = ask(&purserd, "DELETE", &format!("/v1/reservations/{id}?token={token}"), &Value::Null);
    assert_eq!((late.status, &late.body["code"]), (409, &json!("stale-token")));
    assert_eq!(resource(&purserd, "memory")["reserved"], 0);
}

#[test]
fn a_retry_gets_the_same_reservation_and_a_wish_that_is_none_is_refused() {
    let purserd = node("256Mi", "refuse");
    let wish = json!({ "ttlMs": 60_000, "resources": { "memory": "100Mi" } }).to_string();
    let reserve = |key| {
        let answer =
            purser_tests::http::request(&purserd.socket(), "POST", "/v1/reservations", Some(key), &wish);
        answer.expect("the service answers")
    };
    let (first, again) = (reserve("k"), reserve("k"));
    assert_eq!((first.status, &first.body["id"]), (201, &again.body["id"]));
    assert_eq!(first.body["token"], again.body["token"]);
    assert_eq!(resource(&purserd, "memory")["reserved"], 100 << 20);
    let wrong = |body: Value| {
        let answer = ask(&purserd, "POST", "/v1/reservations", &body);
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };
    let invalid = (422, "invalid".to_owned());
    assert_eq!(wrong(json!({ "ttlMs": 1_000, "resources": {} })), invalid);
    assert_eq!(wrong(json!({ "ttlMs": 1_000, "resources": { "memory": "0.5GB", "cpu": "-1" } })), invalid);
    assert_eq!(wrong(json!({ "ttlMs": 0, "resources": { "cpu": "1m" } })), (422, "bad-ttl".to_owned()));
    let vague = json!({ "ttlMs": 1_000, "resources": { "gpuMemory": "1Gi" } });
    assert_eq!(wrong(vague), invalid);
    assert_eq!(wrong(json!({ "ttlMs": 1_000, "resources": { "memory": "128m" } })), invalid);
    let nowhere = json!({ "namespace": "No", "ttlMs": 1_000, "resources": { "cpu": "1m" } });
    assert_eq!(wrong(nowhere), (422, "bad-namespace".to_owned()));
}
