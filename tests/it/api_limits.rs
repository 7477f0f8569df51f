//! What one caller may not do to the others, and what a refused caller gets to read.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;

use purser_tests::bounded::PATIENCE;
use purser_tests::http;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::json;

/// A pod whose only container sleeps until it is ended.
const SLEEPER: &str = "apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  runtimeClassName: process
  terminationGracePeriodSeconds: 1
  containers: [{name: main, command: [/bin/sleep, '600']}]
";

/// Sends a request without a body and gives the head of the answer; the connection stays open.
fn open(purserd: &Purserd, path: &str) -> (BufReader<UnixStream>, String) {
    let mut stream = UnixStream::connect(purserd.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: purser\r\n\r\n").as_bytes()).unwrap();
    let mut answer = BufReader::new(stream);
    let head = http::read_head(&mut answer).unwrap();
    (answer, head)
}

fn status_of(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

#[test]
fn a_refused_command_is_never_answered_as_if_it_had_run() {
    let purserd = Purserd::start(&Setup::default());
    purserd.apply(SLEEPER);
    purserd.await_event("pod.started");
    purserd.purser_ok(["stop", "web"]);
    purserd.await_event("pod.stopped");
    let command = json!({"command": ["/bin/true"]}).to_string();
    for _ in 0..30 {
        let path = "/v1/namespaces/default/pods/web/exec";
        let answer = http::request(&purserd.socket(), "POST", path, None, &command).unwrap();
        assert_eq!(answer.status, 409, "{}", answer.body);
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
    }
}

#[test]
fn feeds_of_one_caller_leave_room_for_others_and_hide_nothing_from_who_watches() {
    let setup = Setup { api_more: "requests-open-max = 4".to_owned(), ..Setup::default() };
    let purserd = Purserd::start(&setup);
    let feeds = [(); 2].map(|()| open(&purserd, "/v1/events?follow=true"));
    for (_, head) in &feeds {
        assert_eq!(status_of(head), "200", "{head}");
    }
    let refused = http::request(&purserd.socket(), "GET", "/v1/status", None, "").unwrap();
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!("too-many-open-requests")));
    for path in ["/healthz", "/readyz", "/metrics"] {
        let (_, head) = open(&purserd, path);
        assert_eq!(status_of(&head), "200", "{path}: {head}");
    }
}

#[test]
fn a_caller_over_its_rate_can_send_its_body_and_read_why() {
    let api_more = "requests-per-second = 1\nrequests-burst = 1".to_owned();
    let purserd = Purserd::start(&Setup { api_more, ..Setup::default() });
    // Larger than what the socket itself takes: it is written whole only if it is read.
    let body = " ".repeat(250 * 1024);
    let mut refused = 0;
    for _ in 0..30 {
        let answer = http::request(&purserd.socket(), "POST", "/v1/pods", None, &body).unwrap();
        refused += u32::from(answer.status == 429);
    }
    assert!(refused > 0, "no request was over the rate");
}

#[test]
fn a_container_may_have_as_many_processes_as_the_config_says() {
    let purserd = Purserd::start(&Setup { runtime_more: "pids-max = 77".to_owned(), ..Setup::default() });
    purserd.apply(SLEEPER);
    purserd.await_event("pod.started");
    let groups = purserd.control_groups();
    let limits = groups.iter().filter_map(|group| std::fs::read_to_string(group.join("pids.max")).ok());
    assert!(limits.into_iter().any(|limit| limit.trim() == "77"), "none of {groups:?} has the limit");
}
