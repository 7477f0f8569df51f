//! How the agent itself ends.

use std::process::Stdio;

use nix::sys::signal::Signal;
use purser_tests::bounded;
use serde_json::json;

use super::place::{Agent, Place, inhabitants, shell, task};
use super::script::Fault;

#[test]
fn one_that_is_asked_to_stop_lets_tasks_end_and_says_farewell() {
    let place = Place::new();
    let script = place.script();
    let agent = place.start();
    let go = place.path("go");
    let text = format!("echo up; until [ -e {} ]; do sleep 0.02; done", go.display());
    script.assign(shell(1, 7, &text));
    bounded::until("the program is up", || script.output(&task(1), 7) == "up\n");
    agent.signal(Signal::SIGTERM);
    script.until("it says that it takes nothing new", |state| {
        (state.beats.last()?["leaving"] == true).then_some(())
    });
    std::fs::write(go, "").unwrap();
    let (status, said) = agent.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(script.told(&task(1)), ["started", "finished"]);
    script.until("it said farewell", |state| (state.said.last()?.route == "leave").then_some(()));
    assert!(!said.contains("0123456789abcdef") && !said.contains("hunter2"), "{said}");
}

#[test]
fn one_that_has_no_time_left_ends_what_runs() {
    let place = Place::new();
    let script = place.script();
    let mut command = place.command();
    let agent = Agent::of(command.args(["--stop-grace-s", "0", "--log", "json"]));
    script.assign(shell(1, 7, "echo up; while :; do sleep 1000; done"));
    bounded::until("the program is up", || script.output(&task(1), 7) == "up\n");
    agent.signal(Signal::SIGTERM);
    let (status, said) = agent.end();
    assert_eq!(status.code(), Some(0), "{said}");
    bounded::until("nothing of it runs", || inhabitants(&place.path("work/tasks")).is_empty());
    assert_eq!(script.told(&task(1)), ["started"]);
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "the agent has left"), "{said}");
}

#[test]
fn one_whose_place_is_taken_makes_way() {
    let place = Place::new();
    let script = place.script();
    let agent = place.start();
    script.assign(shell(1, 7, "echo up; sleep 1000"));
    bounded::until("the program is up", || script.output(&task(1), 7) == "up\n");
    script.fail("heartbeat", [Fault::Refuse(410, "session-replaced")]);
    let (status, said) = agent.end();
    assert_eq!(status.code(), Some(3), "{said}");
    bounded::until("nothing of it runs", || inhabitants(&place.path("work/tasks")).is_empty());
    assert!(said.contains("another agent has connected"), "{said}");
}

#[test]
fn a_folder_has_one_agent() {
    let place = Place::new();
    let script = place.script();
    let _first = place.start();
    script.until("the first is connected", |state| (!state.beats.is_empty()).then_some(()));
    let (status, said) = place.start().end();
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("another agent works in") && said.contains("--work-dir"), "{said}");
}

#[test]
fn wrong_arguments_are_named() {
    let place = Place::new();
    for (arguments, code, word) in [
        (&["--stop-grace-s", "soon"][..], 2, "--stop-grace-s"),
        (&["--dir", "/no/such/folder"], 2, "/no/such/folder"),
        (&["--pass-env", "A=b"], 2, "A=b"),
        (&["--work-dir", "/proc/nothing"], 74, "/proc/nothing"),
    ] {
        let (status, said) = Agent::of(place.command().args(arguments)).end();
        assert_eq!(status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{said}");
    }
    for (argument, word) in [("--help", "PURSER_AGENT_DIR"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let output = bounded::output(place.command().arg(argument).stdout(Stdio::piped()));
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(word));
    }
}

#[test]
fn a_member_that_is_to_be_removed_takes_nothing_new() {
    let place = Place::new();
    let script = place.script();
    let _agent = place.start();
    script.change(|state| state.orders.push(json!({"drain": {}})));
    script.until("it takes nothing new", |state| (state.beats.last()?["leaving"] == true).then_some(()));
    script.assign(shell(1, 7, "true"));
    script.until_idle();
    assert_eq!(script.told(&task(1)), Vec::<String>::new());
}
