//! Input over the API that is broken or means harm: refused as a problem with code and field, and never recorded.

use purser_tests::purserd::{Purserd, Setup};
use serde_json::{Value, json};

use super::client::{apply, ask, assert_problem, assert_untouched, records_of_callers, sleeper};

const JSON: &str = "POST /v1/pods HTTP/1.1\r\nContent-Type: application/json\r\n";
const YAML: &str = "POST /v1/pods HTTP/1.1\r\nContent-Type: application/yaml\r\n";

/// The manifest of a sleeper with one value changed, given by JSON pointer; the value's parent must be there.
fn with(pointer: &str, value: Value) -> Value {
    let mut manifest = sleeper("web");
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match manifest.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.insert(key.to_owned(), value)),
        Value::Array(items) => items.push(value),
        other => panic!("{pointer} is in {other}"),
    }
    manifest
}

/// A manifest with fields wrong, and the path that the refusal must name.
fn wrong_fields() -> Vec<(Value, String)> {
    let first = "/spec/containers/0";
    let mut cases = vec![
        (with("/spec/replicas", json!(3)), "spec.replicas"),
        (with(&format!("{first}/comand"), json!(["x"])), "spec.containers[0].comand"),
        (with(&format!("{first}/command"), json!("x")), "spec.containers[0].command"),
        (with(&format!("{first}/command"), json!([1])), "spec.containers[0].command[0]"),
        (with(&format!("{first}/command"), json!(["a\u{0}b"])), "spec.containers[0].command[0]"),
        (
            with(&format!("{first}/env"), json!([{"name": "A=B", "value": ""}])),
            "spec.containers[0].env[0].name",
        ),
        (with(&format!("{first}/workingDir"), json!("../etc")), "spec.containers[0].workingDir"),
        (with("/spec/terminationGracePeriodSeconds", json!(-1)), "spec.terminationGracePeriodSeconds"),
        (with("/spec/containers", json!({})), "spec.containers"),
        (with("/spec/containers", json!([])), "spec.containers"),
        (with("/spec/containers", json!("none")), "spec.containers"),
        (
            with("/spec/containers/-", sleeper("x")["spec"]["containers"][0].clone()),
            "spec.containers[1].name",
        ),
        (with("/metadata/labels", json!({"a b": "c"})), "metadata.labels"),
        (with("/metadata/namespace", json!("..")), "metadata.namespace"),
        (with("/kind", json!("Deployment")), "kind"),
        (with("/apiVersion", json!("v2")), "apiVersion"),
        (with("/status", json!({"phase": "Running"})), "status"),
        (
            with("/spec/volumes", json!([{"name": "d", "hostPath": {"path": "/etc"}}])),
            "spec.volumes[0].hostPath",
        ),
    ];
    for (limit, amount) in
        [("memory", "-1"), ("memory", "0"), ("cpu", "-500m"), ("cpu", "lots"), ("gpu", "1")]
    {
        let resources = json!({"limits": {limit: amount}});
        cases.push((with(&format!("{first}/resources"), resources), "spec.containers[0].resources.limits"));
    }
    cases.into_iter().map(|(manifest, path)| (manifest, path.to_owned())).collect()
}

#[test]
fn a_wrong_field_is_named_by_its_path() {
    let purserd = Purserd::start(&Setup::default());
    for (manifest, path) in wrong_fields() {
        let answer = apply(&purserd, &manifest);
        assert_problem(&answer, 422, "invalid", &path);
        let errors = answer.body["errors"].as_array().unwrap();
        let named = |error: &Value| error["path"].as_str().is_some_and(|found| found.starts_with(&path));
        assert!(errors.iter().any(named), "{path} is not in {}", answer.body);
    }
    assert_untouched(&purserd, 0);
}

#[test]
fn a_name_that_would_break_a_path_is_refused() {
    let purserd = Purserd::start(&Setup::default());
    let long = "a".repeat(254);
    for name in
        ["../../etc", "a/b", "..", ".", "", "A", "a\0b", "a\nb", "-a", "a-", "é", "a b", long.as_str()]
    {
        let answer = apply(&purserd, &sleeper(name));
        assert_problem(&answer, 422, "invalid", name);
        assert_eq!(answer.body["errors"][0]["path"], "metadata.name", "{name:?}: {}", answer.body);
    }
    for path in ["%2e%2e", "a%2fb", "%00", "A", "%c3%a9", "..%2f..%2fetc"] {
        for line in [
            format!("GET /v1/namespaces/default/pods/{path}"),
            format!("DELETE /v1/namespaces/{path}/pods/a"),
        ] {
            let answer = ask(&purserd, &format!("{line} HTTP/1.1\r\n"), b"");
            assert_problem(&answer, 400, "malformed-name", &line);
        }
    }
    let answer = ask(&purserd, "GET /v1/namespaces/default/pods/%ff HTTP/1.1\r\n", b"");
    assert_problem(&answer, 400, "malformed-path", "%ff");
    assert_untouched(&purserd, 0);
}

/// Ten levels of ten aliases each: ten thousand million scalars once they are expanded.
fn bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    text
}

#[test]
fn text_that_is_no_manifest_is_refused_before_it_costs_anything() {
    let purserd = Purserd::start(&Setup::default());
    let deep_json = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_yaml = format!("a: {}", "[".repeat(50_000));
    let deep_keys: String = (0..300).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    let twice = "apiVersion: v1\nkind: Pod\nkind: Pod\n";
    let cases: [(&str, &[u8]); 14] = [
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b"null"),
        (JSON, b"{} {}"),
        (JSON, deep_json.as_bytes()),
        (YAML, deep_yaml.as_bytes()),
        (YAML, deep_keys.as_bytes()),
        (YAML, twice.as_bytes()),
        (YAML, b"a: 1\n---\nb: 2\n"),
        (YAML, b"a: *nobody\n"),
        (YAML, b"a: !!python/object:os.system x\n"),
        (YAML, b"name: \xff\xfe\n"),
        (YAML, b"\x7fELF\x02\x01\x01\x00\x00"),
        (YAML, b"a: \x00\n"),
    ];
    for (head, body) in cases {
        let what = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_problem(&ask(&purserd, head, body), 400, "malformed-manifest", &what);
    }
    let answer = ask(&purserd, YAML, bomb().as_bytes());
    assert!([400, 413].contains(&answer.status), "{answer:?}");
    assert_problem(&answer, answer.status, answer.body["code"].as_str().unwrap(), "a bomb of aliases");
    assert_untouched(&purserd, 0);
}

#[test]
fn a_body_that_is_too_large_is_cut_off() {
    let purserd = Purserd::start(&Setup::default());
    let large = vec![b' '; 10 << 20];
    assert_problem(&ask(&purserd, JSON, &large), 413, "body-too-large", "10 MiB with their length");
    let mut pieces = Vec::new();
    for piece in large.chunks(64 << 10) {
        pieces.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        pieces.extend_from_slice(piece);
        pieces.extend_from_slice(b"\r\n");
    }
    pieces.extend_from_slice(b"0\r\n\r\n");
    let head = format!("{JSON}Transfer-Encoding: chunked\r\n");
    assert_problem(&ask(&purserd, &head, &pieces), 413, "body-too-large", "10 MiB in pieces");
    let claimed = ask(&purserd, &format!("{JSON}Expect: 100-continue\r\n"), &large);
    assert_problem(&claimed, 413, "body-too-large", "10 MiB announced");
    let wide = with("/spec/containers/0/args", json!(vec!["x".repeat(1_000); 100]));
    let answer = apply(&purserd, &wide);
    assert!([413, 422].contains(&answer.status), "{answer:?}");
    assert_untouched(&purserd, 0);
}

#[test]
fn requests_that_cannot_be_read_are_problems_too() {
    let purserd = Purserd::start(&Setup::default());
    let pod = "/v1/namespaces/default/pods/web";
    let key = "k".repeat(129);
    let cases = [
        ("GET /v1/events?from=-1".into(), 400, "malformed-query"),
        ("GET /v1/events?from=1&from=2".into(), 400, "malformed-query"),
        ("GET /v1/events?follow=perhaps".into(), 400, "malformed-query"),
        ("GET /v1/events?pod=..%2f..%2fa".into(), 400, "malformed-name"),
        ("GET /v1/events?from=%ff".into(), 400, "malformed-query"),
        ("GET /v1/journal/export?from=x".into(), 400, "malformed-query"),
        (format!("DELETE {pod}?gracePeriodSeconds=-1"), 400, "malformed-query"),
        (format!("DELETE {pod}?gracePeriodSeconds=99999999999"), 400, "malformed-query"),
        (format!("GET {pod}/log?tailLines=-5"), 400, "malformed-query"),
        (format!("GET {pod}/log?container=..%2f..%2fetc"), 400, "malformed-name"),
        ("GET /".into(), 404, "no-such-route"),
        (format!("GET /{}", "x".repeat(20_000)), 404, "no-such-route"),
        ("GET /v1/../../etc/passwd".into(), 404, "no-such-route"),
        ("BREW /v1/pods".into(), 405, "method-not-allowed"),
        ("PATCH /v1/status".into(), 405, "method-not-allowed"),
    ];
    for (line, status, code) in &cases {
        let answer = ask(&purserd, &format!("{line} HTTP/1.1\r\n"), b"");
        assert_problem(&answer, *status, code, &line.chars().take(80).collect::<String>());
    }
    for header in ["Idempotency-Key: ", "Idempotency-Key: a b", "Idempotency-Key: é", "X-Request-Id: é"] {
        let answer = ask(&purserd, &format!("{JSON}{header}\r\n"), sleeper("web").to_string().as_bytes());
        assert_problem(&answer, 400, "malformed-header", header);
    }
    let answer = ask(&purserd, &format!("{JSON}Idempotency-Key: {key}\r\n"), b"{}");
    assert_problem(&answer, 400, "malformed-header", "a long key");
    for media in ["text/html", "multipart/form-data; boundary=x", "application/octet-stream", "é"] {
        let head = format!("POST /v1/pods HTTP/1.1\r\nContent-Type: {media}\r\n");
        assert_problem(&ask(&purserd, &head, b"{}"), 415, "unsupported-media-type", media);
    }
    assert_untouched(&purserd, 0);
}

#[test]
fn what_is_no_http_is_refused_and_the_connection_closed() {
    let purserd = Purserd::start(&Setup::default());
    let large = format!("GET /healthz HTTP/1.1\r\nX-Large: {}\r\n", "x".repeat(200 << 10));
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let path = format!("GET /{} HTTP/1.1\r\n", "x".repeat(200 << 10));
    let cases = [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n", 400),
        ("GET /healthz\r\n", 400),
        ("GET /healthz HTTP/9.9\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nno colon\r\n", 400),
        ("POST /v1/pods HTTP/1.1\r\nTransfer-Encoding: nonsense\r\n", 400),
        (&large, 431),
        (&format!("GET /healthz HTTP/1.1\r\n{many}"), 431),
        (&path, 431),
    ];
    for (head, status) in cases {
        let answer = ask(&purserd, head, b"");
        let what: String = head.chars().take(60).collect();
        assert_eq!(answer.status, status, "{what}: {answer:?}");
    }
    assert_untouched(&purserd, 0);
}

#[test]
fn a_key_is_good_for_one_request() {
    let purserd = Purserd::start(&Setup::default());
    let head = format!("{JSON}Idempotency-Key: once\r\n");
    let first = ask(&purserd, &head, sleeper("web").to_string().as_bytes());
    assert_eq!(first.status, 201, "{first:?}");
    purserd.await_event("pod.started");
    let before = records_of_callers(&purserd);
    for (head, body) in [
        (head.clone(), sleeper("shop").to_string()),
        (head.replace("/v1/pods", "/v1/pods?namespace=other"), sleeper("web").to_string()),
        (head.replace("/v1/pods", "/v1/namespaces/default/pods/web/stop"), String::new()),
    ] {
        let answer = ask(&purserd, &head, body.as_bytes());
        assert_problem(&answer, 422, "key-reused", &head);
    }
    assert_untouched(&purserd, before);
}
