//! What callers entrust to the service goes no further than it must: not to the log, not into refusals, and what
//! is no part of a pod's specification not to the journal either.

use std::net::TcpStream;

use purser_tests::bounded::PATIENCE;
use purser_tests::http::Answer;
use purser_tests::ports::free_address;
use purser_tests::purserd::{Purserd, Setup};
use purser_tests::{http, journal};
use serde_json::json;

use super::client::{apply, ask, converse, sleeper};
use super::tcp::{TOKEN, token_file};

const VALUE: &str = "swordfish-in-a-variable";
const ARGUMENT: &str = "swordfish-in-an-argument";
const INPUT: &str = "swordfish-on-standard-input";
const WRONG_TOKEN: &str = "swordfish-as-a-wrong-token";

fn exec(purserd: &Purserd, command: &[&str]) -> Answer {
    let head = "POST /v1/namespaces/default/pods/web/exec HTTP/1.1\r\nContent-Type: application/json\r\n";
    let body = json!({"command": command, "stdin": INPUT}).to_string();
    ask(purserd, head, body.as_bytes())
}

#[test]
fn secrets_are_neither_told_nor_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = token_file(folder.path(), &format!("ci {TOKEN}\n"));
    let address = free_address();
    let more =
        format!("[api.tcp]\naddress = \"{address}\"\ntoken-file = {file:?}\n\n[log]\nlevel = \"trace\"\n");
    let mut purserd = Purserd::start(&Setup { more, ..Setup::default() });
    let mut told = String::new();
    for token in [TOKEN, WRONG_TOKEN] {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("GET /v1/status HTTP/1.1\r\nAuthorization: Bearer {token}\r\n");
        told.push_str(&format!("{:?}", converse(stream, &head, b"")));
    }
    let mut manifest = sleeper("web");
    manifest["spec"]["containers"][0]["env"] = json!([{"name": "PASSWORD", "value": VALUE}]);
    assert_eq!(apply(&purserd, &manifest).status, 201);
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    // The same pod with other values, and a manifest that is wrong elsewhere.
    let mut other = manifest.clone();
    other["spec"]["containers"][0]["env"][0]["value"] = json!(format!("{VALUE}-2"));
    told.push_str(&format!("{:?}", apply(&purserd, &other)));
    other["spec"]["containers"][0]["comand"] = json!([ARGUMENT]);
    other["spec"]["containers"][0]["env"] =
        json!([{"name": "A=B", "value": VALUE}, {"name": 1, "value": [VALUE]}]);
    told.push_str(&format!("{:?}", apply(&purserd, &other)));
    for command in [
        &["/bin/sh", "-c", "exit 3", ARGUMENT][..],
        &["/no/such/program", ARGUMENT],
        &["/bin/cat", ARGUMENT, "\0"],
    ] {
        // What the command itself says is the caller's own.
        let answer = exec(&purserd, command);
        told.push_str(&format!("{answer:?}"));
    }
    told.push_str(&purserd.purser_ok(["describe", "pod", "web"]));
    told.push_str(&purserd.purser_ok(["get", "pods", "-o", "wide"]));
    told.push_str(&purserd.purser_ok(["events", "web"]));
    let feed = http::text(&purserd.socket(), "/v1/events?from=0").unwrap();
    assert!(feed.contains("PASSWORD"), "names are told");
    told.push_str(&feed);
    let export = String::from_utf8_lossy(&journal::export(&purserd)).into_owned();
    assert!(purserd.stop().success());
    purserd.restart();
    let log = purserd.log();
    assert!(log.contains("DEBUG") || log.contains("TRACE"), "the log is not as talkative as it can be");
    for secret in [VALUE, ARGUMENT, INPUT, TOKEN, WRONG_TOKEN] {
        assert!(!log.contains(secret), "`{secret}` is in the log");
        assert!(!told.contains(secret), "`{secret}` is in an answer: {told}");
    }
    for secret in [ARGUMENT, INPUT, TOKEN, WRONG_TOKEN] {
        assert!(!export.contains(secret), "`{secret}` is in the journal");
    }
    // The specification is on record whole, as the manual says: so this would find the others.
    assert!(export.contains(VALUE));
}
