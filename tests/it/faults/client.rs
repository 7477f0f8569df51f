//! A client that sends whatever it is told to, well formed or not.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use purser_events::Principal;
use purser_tests::bounded::PATIENCE;
use purser_tests::http::{self, Answer};
use purser_tests::journal;
use purser_tests::purserd::Purserd;
use serde_json::{Value, json};

/// A manifest of a pod that sleeps until it is ended.
pub(super) fn sleeper(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "runtimeClassName": "process",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "command": ["/bin/sleep", "600"]}],
        },
    })
}

/// Opens a connection to the service.
pub(super) fn connect(purserd: &Purserd) -> UnixStream {
    let stream = UnixStream::connect(purserd.socket()).expect("the service listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("the time is not zero");
    stream
}

/// Sends a request with these lines of head and this body, byte by byte as given, and reads the answer.
#[track_caller]
pub(super) fn ask(purserd: &Purserd, head: &str, body: &[u8]) -> Answer {
    converse(connect(purserd), head, body)
}

/// The same on a connection that is open already.
#[track_caller]
pub(super) fn converse(mut stream: impl Read + Write, head: &str, body: &[u8]) -> Answer {
    let len = if head.contains("Transfer-Encoding") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let head = format!("{head}Host: purser\r\nConnection: close\r\n{len}\r\n");
    // The service may refuse before it has read everything; its answer counts.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    read_answer(&mut BufReader::new(stream))
}

/// Reads one answer.
#[track_caller]
pub(super) fn read_answer(answer: &mut impl BufRead) -> Answer {
    let head = http::read_head(answer).expect("the service answers");
    let body = http::read_body(answer, &head).expect("the answer is whole");
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Answer { status, head, body }
}

/// Asks for something and gives back the body, which must be JSON.
#[track_caller]
pub(super) fn get(purserd: &Purserd, path: &str) -> Value {
    let answer = ask(purserd, &format!("GET {path} HTTP/1.1\r\n"), b"");
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}

/// Asks for a pod to be run.
#[track_caller]
pub(super) fn apply(purserd: &Purserd, manifest: &Value) -> Answer {
    let head = "POST /v1/pods HTTP/1.1\r\nContent-Type: application/json\r\n";
    ask(purserd, head, manifest.to_string().as_bytes())
}

/// How many records the journal has that a caller is the cause of, and not the node itself.
#[track_caller]
pub(super) fn records_of_callers(purserd: &Purserd) -> usize {
    let records = journal::records(purserd);
    records.iter().filter(|record| record.header.origin.principal != Principal::node()).count()
}

/// Sees that an answer is a problem of this status and code, as every failure is.
#[track_caller]
pub(super) fn assert_problem(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{what}: {answer:?}");
    assert!(answer.head.contains("content-type: application/problem+json"), "{what}: {}", answer.head);
    assert_eq!(answer.body["status"], status, "{what}: {}", answer.body);
    for field in ["type", "title", "detail"] {
        let text = answer.body[field].as_str().unwrap_or_default();
        assert!(!text.is_empty() && text.len() < 2_000, "{what}: `{field}` of {}", answer.body);
    }
}

/// Sees that the service is up, has said nothing of a defect, and has this many records that callers caused.
#[track_caller]
pub(super) fn assert_untouched(purserd: &Purserd, records: usize) {
    assert_eq!(records_of_callers(purserd), records, "a refused request left a record");
    assert_no_panic(&purserd.log());
}

/// Sees that what a program said holds no panic.
#[track_caller]
pub(super) fn assert_no_panic(said: &str) {
    for word in ["internal error", "panicked", "RUST_BACKTRACE", "stack backtrace"] {
        assert!(!said.contains(word), "`{word}` in: {said}");
    }
}
