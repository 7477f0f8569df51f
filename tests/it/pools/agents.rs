//! What agents may say: for their own member alone, by a good token, within bounds.

use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_tests::bounded::{self, PATIENCE};
use purser_tests::http;
use serde_json::{Value, json};

use super::stage::{POOL, Shape, Stage, waits};

const SHAPE: Shape = Shape { policy: "seed", slots: 3, min: 1, max: 1 };

/// The folder of the pool's first member.
fn folder(stage: &Stage) -> PathBuf {
    stage.purserd.data_dir().join(format!("agents/members/{POOL}-1"))
}

/// What an agent that has this token is answered.
fn say(folder: &Path, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(folder.join("agent.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: purser\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = BufReader::new(stream);
    let head = http::read_head(&mut answer).unwrap();
    let body = http::read_body(&mut answer, &head).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn hello(session: &str) -> Value {
    json!({ "protocol": 1, "session": session, "version": "0", "fresh": true, "has": [], "keeps": [] })
}

const SESSION: &str = "0192f0c1-2a3b-7c4d-8e5f-001122334455";

#[test]
fn who_has_no_token_is_not_heard_and_what_is_malformed_is_refused() {
    let stage = Stage::with(&SHAPE);
    bounded::until("the agent is there", || !stage.members("connected").is_empty());
    let folder = folder(&stage);
    let token = fs::read_to_string(folder.join("token")).unwrap();
    let ask = |token: &str, path: &str, body: &Value| say(&folder, token, "POST", path, body);
    let sessions = "/v1/agent/sessions";
    assert_eq!(ask("", sessions, &hello(SESSION)).0, 401);
    assert_eq!(ask(&token.replace("-1.", "-2."), sessions, &hello(SESSION)).0, 401);
    let (status, problem) = ask(&token, &format!("{sessions}/{SESSION}/heartbeat"), &json!({}));
    assert_eq!((status, &problem["code"]), (410, &"session-replaced".into()), "{problem}");
    let mut future = hello(SESSION);
    future["protocol"] = 2.into();
    let (status, problem) = ask(&token, sessions, &future);
    assert_eq!((status, &problem["code"]), (422, &"unsupported-protocol".into()));
    let mut crowd = hello(SESSION);
    crowd["keeps"] = vec![SESSION; 513].into();
    assert_eq!(ask(&token, sessions, &crowd).0, 422);
    assert_eq!(say(&folder, &token, "GET", "/v1/pods", &Value::Null).0, 404, "nothing else is served here");
    // The token is in no log and on no record.
    let proof = token.split('.').next_back().unwrap();
    assert!(!stage.purserd.log().contains(proof));
    assert!(!http::text(&stage.purserd.socket(), "/v1/events?from=0").unwrap().contains(proof));
}

#[test]
fn another_session_takes_the_place_of_the_first_and_speaks_for_no_other_task() {
    let stage = Stage::with(&SHAPE);
    let task = stage.submit("work", &format!("echo $PPID > $GROUND/agent; {}", waits("begun", "gate", 0)));
    stage.await_file("begun");
    stage.await_state(&task, "running");
    // The agent that is there hears of nothing: it would end, and its pod with it.
    let agent = fs::read_to_string(stage.ground("agent")).unwrap();
    kill(Pid::from_raw(agent.trim().parse().unwrap()), Signal::SIGSTOP).unwrap();
    let folder = folder(&stage);
    let token = fs::read_to_string(folder.join("token")).unwrap();
    let (status, answer) = say(&folder, &token, "POST", "/v1/agent/sessions", &hello(SESSION));
    assert_eq!((status, &answer["pool"], &answer["slots"]), (200, &POOL.into(), &3.into()), "{answer}");
    assert_eq!(answer["heartbeatMs"], 10_000, "{answer}");
    stage.purserd.await_event("pool.task-requeued");
    let stranger = json!({ "task": task, "token": 1, "report": { "finished": { "exitCode": 0 } } });
    let reports = format!("/v1/agent/sessions/{SESSION}/reports");
    let (status, problem) = say(&folder, &token, "POST", &reports, &stranger);
    assert_eq!((status, &problem["code"]), (409, &"stale-token".into()), "{problem}");
    stage.purserd.await_event("pool.stale-token-refused");
    stage.open("gate");
}

/// Stops the pool's agent, so that another can speak in its place: it would end, and its pod with it.
fn freeze(stage: &Stage) -> Pid {
    let task = stage.submit("work", "echo $PPID > $GROUND/agent");
    stage.await_state(&task, "success");
    let agent = fs::read_to_string(stage.ground("agent")).unwrap();
    let agent = Pid::from_raw(agent.trim().parse().unwrap());
    kill(agent, Signal::SIGSTOP).unwrap();
    agent
}

#[test]
fn an_agent_that_is_leaving_gets_nothing_and_what_it_was_given_was_no_try() {
    let stage = Stage::with(&SHAPE);
    let agent = freeze(&stage);
    let folder = folder(&stage);
    let token = fs::read_to_string(folder.join("token")).unwrap();
    assert_eq!(say(&folder, &token, "POST", "/v1/agent/sessions", &hello(SESSION)).0, 200);
    let given = stage.submit("work", "true");
    assert_eq!(stage.task(&given)["state"], "running");
    let beat = json!({ "has": [], "keeps": [], "leaving": true });
    let heartbeat = format!("/v1/agent/sessions/{SESSION}/heartbeat");
    assert_eq!(say(&folder, &token, "POST", &heartbeat, &beat).0, 200);
    let waiting = stage.task(&given);
    assert_eq!((&waiting["state"], &waiting["attempts"]), (&"pending".into(), &0.into()), "{waiting}");
    // The pod ends with its real agent, whose place was taken, and the next has it. It may have been ended already.
    let _ = kill(agent, Signal::SIGCONT);
    assert_eq!(stage.await_state(&given, "success")["attempts"], 1);
}

#[test]
fn who_lies_a_hundred_times_is_recorded_once_and_counted() {
    let stage = Stage::with(&SHAPE);
    freeze(&stage);
    let folder = folder(&stage);
    let token = fs::read_to_string(folder.join("token")).unwrap();
    assert_eq!(say(&folder, &token, "POST", "/v1/agent/sessions", &hello(SESSION)).0, 200);
    let stranger = json!({ "task": SESSION, "token": 1, "report": { "finished": { "exitCode": 0 } } });
    for _ in 0..100 {
        let (status, problem) =
            say(&folder, &token, "POST", &format!("/v1/agent/sessions/{SESSION}/reports"), &stranger);
        assert_eq!(status, 409, "{problem}");
    }
    let records = http::text(&stage.purserd.socket(), "/v1/events?from=0").unwrap();
    assert_eq!(records.matches("event: pool.stale-token-refused").count(), 1, "{records}");
}

#[test]
fn a_secret_of_a_task_is_read_where_it_runs_and_on_no_record() {
    let stage = Stage::with(&SHAPE);
    let secrets = stage.references.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("cloud"), "hunter2\n").unwrap();
    let submit = |more: &[&str]| {
        let mut words = vec!["submit", POOL, "--wait"];
        words.extend(more);
        stage.purserd.purser(words)
    };
    let script = "[ \"$(printf %s \"$KEY\" | wc -c)\" = 7 ] && echo it is";
    let told = submit(&["--secret-env", "KEY=cloud", "--", "sh", "-c", script]);
    let said = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success() && said.contains("it is"), "{said}");
    let records = http::text(&stage.purserd.socket(), "/v1/events?from=0").unwrap();
    assert!(!records.contains("hunter2") && !stage.purserd.log().contains("hunter2"), "{records}");
    let strange = submit(&["--secret-env", "KEY=other", "--", "true"]);
    let said = String::from_utf8(strange.stderr).unwrap();
    assert!(said.contains("`secretRefs` do not name"), "{said}");
    let broken = submit(&["--secret-env", "KEY=cloud/key", "--", "true"]);
    let said = String::from_utf8(broken.stdout).unwrap();
    assert!(!broken.status.success() && said.contains("secret `cloud/key` cannot be read"), "{said}");
}

#[test]
fn an_id_is_that_of_one_task_of_the_node() {
    let stage = Stage::with(&SHAPE);
    let shown = stage.purserd.purser_ok(["get", "pool", POOL, "-o", "yaml"]);
    stage.purserd.apply(&shown.replace(&format!("name: {POOL}"), "name: other"));
    let submit = |pool: &str| stage.purserd.purser(["submit", pool, "--id", SESSION, "--", "true"]);
    assert!(submit(POOL).status.success() && submit(POOL).status.success());
    let refused = submit("other");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains(&format!("exists already in pool `{POOL}`")), "{said}");
}
