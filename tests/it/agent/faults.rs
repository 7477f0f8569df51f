//! What the agent makes of a service that goes away, forgets, refuses, or talks nonsense; and of its own end.

use purser_tests::bounded;
use serde_json::json;

use super::place::{Place, inhabitants, shell, task, with};
use super::script::Fault;

/// A program that is up once its output says so, and then waits for a file.
fn waits_for(place: &Place, name: &str) -> String {
    format!("echo up; until [ -e {} ]; do sleep 0.02; done; echo on", place.path(name).display())
}

#[test]
fn a_service_that_comes_back_finds_its_tasks_still_running() {
    let place = Place::new();
    let script = place.script();
    let _agent = place.start();
    script.assign(shell(1, 7, &waits_for(&place, "go")));
    bounded::until("the program is up", || script.output(&task(1), 7) == "up\n");
    // Down, then up without a memory of the session.
    script.fail("sessions", [Fault::HangUp, Fault::Refuse(503, "stopping"), Fault::Say("not json")]);
    script.fail("heartbeat", [Fault::Refuse(410, "session-unknown")]);
    script.until("it connects again", |state| {
        let connects: Vec<_> = state.said.iter().filter(|said| said.route == "sessions").collect();
        let [first, second] = connects.as_slice() else { return None };
        assert_eq!(first.body["session"], second.body["session"]);
        assert_eq!((&first.body["fresh"], &second.body["fresh"]), (&json!(true), &json!(false)));
        assert_eq!(second.body["has"], json!([{"task": task(1), "token": 7, "slot": 0}]));
        Some(())
    });
    std::fs::write(place.path("go"), "").unwrap();
    assert_eq!(script.report(&task(1), "finished")["exitCode"], 0);
    assert_eq!(script.told(&task(1)), ["started", "finished"]);
    assert_eq!(script.output(&task(1), 7), "up\non\n");
}

#[test]
fn an_end_that_was_not_heard_is_told_by_the_next_agent() {
    let place = Place::new();
    let script = place.script();
    let agent = place.start();
    // They end once nobody hears of it any more, and not before.
    let waits = format!("until [ -e {} ]; do sleep 0.02; done", place.path("go").display());
    script.assign(shell(1, 7, &format!("{waits}; echo done; exit 4")));
    let plan = json!({"slot": 1, "phase": "plan", "kind": "plan_and_apply"});
    script.assign(with(shell(2, 8, &format!("{waits}; exit 2")), plan));
    for number in 1..=2 {
        script.report(&task(number), "started");
    }
    // From here on nobody hears how things end.
    script.fail("reports", std::iter::repeat_n(Fault::HangUp, 10_000));
    std::fs::write(place.path("go"), "").unwrap();
    bounded::until("both ends are on file", || {
        let files = std::fs::read_dir(place.path("work/has")).unwrap().map_while(Result::ok);
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        texts.filter(|text| text.contains("finished") || text.contains("planned")).count() == 2
    });
    agent.kill();
    script.change(|state| state.orders.clear());
    let _next = place.start();
    script.until("it connects with what it has", |state| {
        let again = state.said.iter().filter(|said| said.route == "sessions").nth(1)?;
        assert_eq!(again.body["has"].as_array().unwrap().len(), 2);
        assert_eq!((&again.body["fresh"], &again.body["keeps"]), (&json!(false), &json!([task(2)])));
        state.forgive("reports");
        Some(())
    });
    assert_eq!(script.report(&task(1), "finished")["exitCode"], 4);
    assert_eq!(script.report(&task(2), "planned")["changes"], true);
    assert!(place.task(&task(2)).exists());
}

#[test]
fn what_ran_when_the_agent_died_is_ended_before_the_next_one_connects() {
    let place = Place::new();
    let script = place.script();
    let agent = place.start();
    script.assign(shell(1, 7, "setsid sleep 1000 & echo up; sleep 1000"));
    bounded::until("the program is up", || script.output(&task(1), 7) == "up\n");
    agent.kill();
    assert!(!inhabitants(&place.task(&task(1))).is_empty(), "the program went with the agent");
    script.change(|state| state.orders.clear());
    let _next = place.start();
    script.until("it connects", |state| {
        let again = state.said.iter().filter(|said| said.route == "sessions").nth(1)?;
        assert_eq!((&again.body["has"], &again.body["keeps"]), (&json!([]), &json!([])));
        Some(())
    });
    bounded::until("nothing of it runs", || inhabitants(&place.path("work/tasks")).is_empty());
    assert!(!place.task(&task(1)).exists());
    assert_eq!(script.told(&task(1)), ["started"]);
}

#[test]
fn what_is_no_longer_its_own_ends_without_a_word() {
    let place = Place::new();
    let script = place.script();
    let _agent = place.start();
    script.assign(shell(1, 7, "echo up; sleep 1000"));
    bounded::until("the program is up", || script.output(&task(1), 7) == "up\n");
    script.change(|state| {
        state.orders.clear();
        state.drop.push(json!({"task": task(1), "token": 7}));
    });
    script.until_idle();
    bounded::until("nothing of it is left", || {
        inhabitants(&place.path("work/tasks")).is_empty() && !place.task(&task(1)).exists()
    });
    assert_eq!(script.told(&task(1)), ["started"]);
    // A start that is refused is none.
    script.fail("reports", [Fault::Refuse(409, "stale-token")]);
    script.assign(shell(2, 8, "echo ran"));
    script.assign(with(shell(3, 9, "echo ran"), json!({"slot": 1})));
    let ran = script.until("one of them ends", |state| {
        let ended = state.said.iter().filter(|said| said.body["report"]["finished"].is_object());
        ended.map(|said| said.body["task"].as_str().unwrap().to_owned()).next()
    });
    let other = if ran == task(2) { (task(3), 9) } else { (task(2), 8) };
    script.until_idle();
    assert_eq!((script.told(&other.0), script.output(&other.0, other.1)), (vec![], String::new()));
}

#[test]
fn nonsense_from_the_service_ends_nothing() {
    let place = Place::new();
    let script = place.script();
    script.fail("sessions", [Fault::Say(""), Fault::Say("{\"pool\": 1}")]);
    script.fail("heartbeat", [Fault::Say("nothing")]);
    script.fail("orders", [Fault::Say("null"), Fault::Say("{\"orders\": [{\"dance\": {}}], \"seen\": 3}")]);
    script.fail("output", [Fault::Say("{}"), Fault::Say("{\"offset\": -1}")]);
    let _agent = place.start();
    script.assign(shell(1, 7, "echo out"));
    assert_eq!(script.report(&task(1), "finished")["exitCode"], 0);
    assert_eq!(script.output(&task(1), 7), "out\n");
    assert!(!script.connections().is_empty());
}
