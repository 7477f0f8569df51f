//! Callers that are slow, or ask too much: they are held to their limits and hold nobody else up.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use purser_tests::purserd::{Purserd, Setup};

use super::client::{ask, assert_problem, assert_untouched, connect, get, read_answer};

/// A service that waits this long for what a caller has to say.
fn patient_for(head_timeout_ms: u32) -> Purserd {
    let purserd = Purserd::start(&Setup::default());
    with_api_keys(purserd, &format!("head-timeout-ms = {head_timeout_ms}\n"))
}

/// The service started again with more keys in the table `api` of its config.
pub(super) fn with_api_keys(mut purserd: Purserd, keys: &str) -> Purserd {
    assert!(purserd.stop().success());
    let text = std::fs::read_to_string(purserd.config()).unwrap();
    std::fs::write(purserd.config(), text.replace("[api]\n", &format!("[api]\n{keys}"))).unwrap();
    purserd.restart();
    purserd
}

/// Sends the beginning of something and leaves it at that.
fn begin(purserd: &Purserd, bytes: &[u8]) -> UnixStream {
    let mut stream = connect(purserd);
    stream.write_all(bytes).unwrap();
    stream
}

/// What comes until the service closes the connection.
fn rest(mut stream: UnixStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        // What was sent is still unread when the connection is closed.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection is not closed: {error}"),
    }
    rest
}

const UNFINISHED: [&str; 4] = [
    "",
    "GET /v1/st",
    "GET /v1/status HTTP/1.1\r\nX-Slow: ",
    "POST /v1/pods HTTP/1.1\r\nHost: purser\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
];

#[test]
fn callers_that_never_finish_hold_nobody_up() {
    let purserd = patient_for(600_000);
    let slow: Vec<UnixStream> =
        (0..200).map(|number| begin(&purserd, UNFINISHED[number % 4].as_bytes())).collect();
    for stream in slow.iter().step_by(3) {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    for _ in 0..20 {
        assert_eq!(get(&purserd, "/v1/pods")["items"].as_array().unwrap().len(), 0);
    }
    drop(slow);
    assert_untouched(&purserd, 0);
}

#[test]
fn a_caller_that_trickles_is_cut_off() {
    // Enough for a whole request on a busy machine: each of those that never are is waited for as long.
    let purserd = patient_for(2_000);
    for head in &UNFINISHED[..3] {
        assert_eq!(rest(begin(&purserd, head.as_bytes())), b"", "{head:?}");
    }
    let answer = read_answer(&mut BufReader::new(begin(&purserd, UNFINISHED[3].as_bytes())));
    assert_problem(&answer, 408, "body-too-slow", "a body that does not come");
    let half = begin(&purserd, UNFINISHED[3].as_bytes());
    half.shutdown(Shutdown::Write).unwrap();
    let answer = String::from_utf8(rest(half)).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // One request, then silence.
    let mut idle = connect(&purserd);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: purser\r\n\r\n").unwrap();
    assert!(rest(idle).starts_with(b"HTTP/1.1 200 "));
    assert_untouched(&purserd, 0);
}

#[test]
fn a_caller_over_its_allowance_is_told_when_to_come_back() {
    let purserd = Purserd::start(&Setup::default());
    let purserd = with_api_keys(purserd, "requests-per-second = 1\nrequests-burst = 5\n");
    let answers: Vec<_> = (0..20).map(|_| ask(&purserd, "GET /v1/status HTTP/1.1\r\n", b"")).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(refused.len() >= 5, "{} of 20 requests were refused", refused.len());
    for answer in refused {
        assert_problem(answer, 429, "rate-limited", "too many requests");
        assert!(answer.head.contains("retry-after: 1\r\n"), "{}", answer.head);
        assert!(answer.body["retryAfterMs"].as_u64().is_some_and(|ms| (1..=1_000).contains(&ms)));
    }
    assert_eq!(answers[0].status, 200);
}

#[test]
fn more_open_requests_than_allowed_are_refused_until_one_ends() {
    let purserd = with_api_keys(Purserd::start(&Setup::default()), "requests-open-max = 4\n");
    let follow = b"GET /v1/events?follow=true&from=1 HTTP/1.1\r\nHost: purser\r\n\r\n";
    let mut feeds: Vec<_> = (0..2).map(|_| BufReader::new(begin(&purserd, follow))).collect();
    for feed in &mut feeds {
        assert!(purser_tests::http::read_head(feed).unwrap().starts_with("HTTP/1.1 200 "));
    }
    let refused = ask(&purserd, "GET /v1/status HTTP/1.1\r\n", b"");
    assert_problem(
        &refused,
        429,
        "too-many-open-requests",
        "the third request of a caller, who gets half of all",
    );
    assert!(refused.head.contains("retry-after: 1\r\n"), "{}", refused.head);
    drop(feeds);
    // The service learns of it when it next looks at those connections.
    while ask(&purserd, "GET /v1/status HTTP/1.1\r\n", b"").status != 200 {
        std::thread::yield_now();
    }
}
