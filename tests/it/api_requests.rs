//! The API as a caller meets it: every failure is a problem, retries get the first answer, the feed misses nothing.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use purser_tests::bounded::PATIENCE;
use purser_tests::http::{self, Answer};
use purser_tests::ports::free_address;
use purser_tests::promtool;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::{Value, json};

/// A pod that sleeps until it is ended.
fn sleeper(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "runtimeClassName": "process",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "command": ["/bin/sleep", "600"]}],
        },
    })
}

fn apply(purserd: &Purserd, name: &str, key: Option<&str>) -> Answer {
    http::request(&purserd.socket(), "POST", "/v1/pods", key, &sleeper(name).to_string()).unwrap()
}

/// Sends a request with these lines of head, byte by byte as given, and reads the answer.
fn raw(purserd: &Purserd, head: &str, body: &[u8]) -> Answer {
    let stream = UnixStream::connect(purserd.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    talk(stream.try_clone().unwrap(), stream, head, body)
}

fn talk(mut out: impl Write, answer: impl Read, head: &str, body: &[u8]) -> Answer {
    let len = body.len();
    let head = format!("{head}Host: purser\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n");
    out.write_all(head.as_bytes()).unwrap();
    // The service may refuse before it has read a body that is too large.
    drop(out.write_all(body));
    let mut answer = BufReader::new(answer);
    let head = http::read_head(&mut answer).unwrap();
    let body = http::read_body(&mut answer, &head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Answer { status, head, body }
}

#[test]
fn every_failure_is_a_problem_with_a_code() {
    let purserd = Purserd::start(&Setup::default());
    let json = "Content-Type: application/json\r\n";
    let large = vec![b' '; 300 * 1024];
    let pod = sleeper("a").to_string();
    let mut wrong = sleeper("a");
    wrong["spec"]["containers"][0]["comand"] = json!("x");
    let wrong = wrong.to_string();
    let cases: [(&str, &str, &[u8], u16, &str); 16] = [
        ("GET /nothing", "", b"", 404, "no-such-route"),
        ("PUT /v1/pods", "", b"", 405, "method-not-allowed"),
        ("GET /v1/pods?colour=red", "", b"", 400, "malformed-query"),
        ("GET /v1/pods?label=a%20in%20b", "", b"", 400, "malformed-query"),
        ("GET /v1/namespaces/default/pods/a", "", b"", 404, "pod-not-found"),
        ("GET /v1/namespaces/default/pods/..%2fa", "", b"", 400, "malformed-name"),
        ("DELETE /v1/namespaces/default/pods/a", "", b"", 404, "pod-not-found"),
        ("POST /v1/namespaces/default/pods/a/exec", json, b"{\"command\":1}", 400, "malformed-body"),
        ("POST /v1/namespaces/default/pods/a/exec", json, b"{\"command\":[\"x\"]}", 404, "pod-not-found"),
        ("GET /v1/namespaces/default/pods/a/log", "", b"", 404, "pod-not-found"),
        ("POST /v1/pods", "Content-Type: text/html\r\n", b"<p>", 415, "unsupported-media-type"),
        ("POST /v1/pods", json, b"{", 400, "malformed-manifest"),
        ("POST /v1/pods", json, &large, 413, "body-too-large"),
        ("POST /v1/pods", json, wrong.as_bytes(), 422, "invalid"),
        ("POST /v1/pods", "Idempotency-Key: a b\r\n", pod.as_bytes(), 400, "malformed-header"),
        ("GET /v1/events", "Last-Event-ID: x\r\n", b"", 400, "malformed-header"),
    ];
    for (line, headers, body, status, code) in cases {
        let answer = raw(&purserd, &format!("{line} HTTP/1.1\r\n{headers}"), body);
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
        assert_eq!(answer.body["code"], code, "{line}: {}", answer.body);
        assert!(answer.head.contains("content-type: application/problem+json"), "{line}: {}", answer.head);
    }
    let wrong = raw(&purserd, &format!("POST /v1/pods HTTP/1.1\r\n{json}"), wrong.as_bytes());
    assert_eq!(wrong.body["errors"][0]["path"], "spec.containers[0].comand");
}

#[test]
fn every_described_route_is_served() {
    let purserd = Purserd::start(&Setup::default());
    let description = http::request(&purserd.socket(), "GET", "/openapi.json", None, "").unwrap().body;
    let mut routes = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        let path = path.replace("{namespace}", "none").replace("{name}", "none");
        for method in methods.as_object().unwrap().keys() {
            let line = format!("{} {path} HTTP/1.1\r\n", method.to_uppercase());
            let answer = raw(&purserd, &line, b"");
            let code = answer.body["code"].as_str().unwrap_or_default();
            assert!(!["no-such-route", "method-not-allowed"].contains(&code), "{line}: {}", answer.body);
            routes += 1;
        }
    }
    assert!(routes >= 16, "{routes} routes");
}

#[test]
fn a_retry_gets_the_first_answer_also_after_a_crash() {
    let mut purserd = Purserd::start(&Setup::default());
    let first = apply(&purserd, "web", Some("key-1"));
    assert_eq!((first.status, &first.body["outcome"]), (201, &json!("created")));
    purserd.kill9();
    purserd.restart();
    let again = apply(&purserd, "web", Some("key-1"));
    assert_eq!((again.status, &again.body["replayed"]), (201, &json!(true)));
    assert_eq!(again.body["uid"], first.body["uid"]);
    assert_eq!(again.body["seq"], first.body["seq"]);
    let other = apply(&purserd, "shop", Some("key-1"));
    assert_eq!((other.status, &other.body["code"]), (422, &json!("key-reused")));
    let fresh = apply(&purserd, "web", Some("key-2"));
    assert_eq!((fresh.status, &fresh.body["outcome"]), (200, &json!("unchanged")));
}

/// Opens the feed and leaves it unread.
fn feed(purserd: &Purserd, query: &str, headers: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(purserd.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET /v1/events?{query} HTTP/1.1\r\nHost: purser\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    BufReader::new(stream)
}

/// The sequence numbers that a feed sends, up to `last`.
fn seqs(feed: &mut impl BufRead, last: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    let mut line = String::new();
    while seqs.last().is_none_or(|seq| *seq < last) {
        line.clear();
        assert_ne!(feed.read_line(&mut line).unwrap(), 0, "the feed ended at {:?}", seqs.last());
        seqs.extend(line.strip_prefix("id: ").and_then(|seq| seq.trim().parse::<u64>().ok()));
    }
    seqs
}

fn head_seq(purserd: &Purserd) -> u64 {
    let status = http::request(&purserd.socket(), "GET", "/v1/status", None, "").unwrap();
    status.body["seq"].as_u64().unwrap()
}

#[test]
fn a_slow_reader_of_the_feed_holds_nobody_up_and_misses_nothing() {
    let purserd = Purserd::start(&Setup::default());
    let mut slow = feed(&purserd, "from=1&follow=true", "");
    for number in 0..20 {
        assert_eq!(apply(&purserd, &format!("pod-{number}"), None).status, 201);
    }
    let head = head_seq(&purserd);
    assert_eq!(seqs(&mut slow, head)[..usize::try_from(head).unwrap()], (1..=head).collect::<Vec<_>>());
    let mut resumed = feed(&purserd, "from=1", "Last-Event-ID: 7\r\n");
    assert_eq!(seqs(&mut resumed, head)[0], 8);
}

#[test]
fn the_feed_of_a_pod_has_every_incarnation_and_nothing_else() {
    let purserd = Purserd::start(&Setup::default());
    let first = apply(&purserd, "web", None).body["uid"].clone();
    apply(&purserd, "shop", None);
    purserd.purser_ok(["delete", "web", "--wait"]);
    let second = apply(&purserd, "web", None).body["uid"].clone();
    let text = purserd.purser_ok(["events", "web", "-o", "json", "-t", "pod."]);
    let streams: BTreeSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|record| record["header"]["stream"]["id"].as_str().unwrap().to_owned())
        .collect();
    let expected = [first, second].map(|uid| uid.as_str().unwrap().to_owned());
    assert_eq!(streams, BTreeSet::from(expected));
}

#[test]
fn tcp_needs_a_token_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "ci 0123456789abcdef0123\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let address = free_address();
    let more = format!("[api.tcp]\naddress = \"{address}\"\ntoken-file = {file:?}\n");
    let purserd = Purserd::start(&Setup { more, ..Setup::default() });
    let ask = |token: &str| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("POST /v1/pods HTTP/1.1\r\n{token}");
        talk(stream.try_clone().unwrap(), stream, &head, sleeper("web").to_string().as_bytes())
    };
    for token in ["", "Authorization: Bearer 0123456789abcdef0124\r\n", "Authorization: Basic YTpi\r\n"] {
        let answer = ask(token);
        assert_eq!((answer.status, &answer.body["code"]), (401, &json!("unauthorized")), "{token}");
    }
    assert_eq!(ask("Authorization: Bearer 0123456789abcdef0123\r\n").status, 201);
    let text = purserd.purser_ok(["events", "web", "-o", "json", "-t", "pod.admitted"]);
    let record: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(record["header"]["origin"]["principal"], "token:ci");
    assert!(!purserd.log().contains("0123456789abcdef"), "a token is in the log");
}

#[test]
fn prometheus_finds_nothing_wrong_and_series_go_with_their_pod() {
    let purserd = Purserd::start(&Setup::default());
    apply(&purserd, "web", None);
    purserd.await_event("pod.started");
    let text = purserd.metrics();
    assert!(text.contains("purser_pods{phase=\"Running\"} 1"), "{text}");
    assert!(text.contains("purser_journal_fsync_seconds_bucket"), "{text}");
    assert!(text.contains("pod=\"web\""), "{text}");
    promtool::check_metrics(&text);
    purserd.purser_ok(["delete", "web", "--wait"]);
    assert!(!purserd.metrics().contains("pod=\"web\""));
}
