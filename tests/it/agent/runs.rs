//! How tasks run.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use purser_tests::bounded;
use serde_json::json;

use super::place::{Agent, Place, inhabitants, shell, task, with};
use super::script::Fault;

#[test]
fn a_task_runs_once_its_start_is_on_record_and_its_output_and_end_are_told() {
    let place = Place::new();
    let script = place.script();
    let marker = place.path("ran");
    script.change(|state| state.not_yet.push((marker.clone(), false)));
    // The first is not done, the second is and nobody hears of it.
    script.fail("reports", [Fault::Refuse(503, "busy"), Fault::HangUp, Fault::Unheard]);
    let _agent = place.start();
    let text = format!(
        "echo out; echo err >&2; touch {}; echo fine >$PURSER_MESSAGE_FILE; exit 3",
        marker.display()
    );
    script.assign(shell(1, 7, &text));
    let finished = script.report(&task(1), "finished");
    let expected =
        json!({"exitCode": 3, "signal": null, "message": "fine", "timedOut": false, "cancelled": false});
    assert_eq!(finished, expected);
    assert_eq!(script.output(&task(1), 7), "out\nerr\n");
    assert_eq!(script.told(&task(1)), ["started", "started", "finished"]);
    script.until("no program before its start was acknowledged", |state| {
        state.not_yet.iter().all(|(_, was_there)| !was_there).then_some(())
    });
    bounded::until("nothing is left of the task", || {
        !place.task(&task(1)).exists() && fs::read_dir(place.path("work/has")).unwrap().count() == 0
    });
}

#[test]
fn an_agent_with_nothing_to_do_says_as_often_as_it_was_told_that_it_is_there() {
    let place = Place::new();
    let script = place.script();
    let _agent = place.start();
    // It was told to every 50 ms. By the service's own interval of 10 s so many would take longer than a test waits.
    script.until("beats", |state| (8 <= state.beats.len()).then_some(()));
    let beats = script.change(|state| state.beats.clone());
    assert!(beats.iter().all(|beat| beat["has"] == json!([]) && beat["leaving"] == false), "{beats:?}");
    assert_eq!(script.connections().len(), 1, "in one session");
}

#[test]
fn a_tasks_environment_is_made_for_it() {
    let place = Place::new();
    let script = place.script();
    let _agent = place.start();
    let fields = json!({
        "env": {"GIVEN": "a b", "PURSER_TASK": "forged"}, "workspace": "prod", "attempt": 2,
        "argv": ["sh", "-c", "env; echo cwd=$PWD; cat; echo argument=$1", "sh", "$HOME 'x'"],
    });
    script.assign(with(shell(1, 7, ""), fields));
    script.report(&task(1), "finished");
    let output = script.output(&task(1), 7);
    let lines: Vec<&str> = output.lines().collect();
    let folder = place.path("work").canonicalize().unwrap().join("tasks").join(task(1));
    for line in [
        "GIVEN=a b",
        "FOR_TASKS=yes",
        "PURSER_WORKSPACE=prod",
        "PURSER_ATTEMPT=2",
        "PURSER_KIND=work",
        "PURSER_PHASE=only",
        &format!("PURSER_TASK={}", task(1)),
        &format!("PURSER_TASK_DIR={}", folder.display()),
        &format!("cwd={}", folder.display()),
        "argument=$HOME 'x'",
    ] {
        assert!(lines.contains(&line), "no `{line}` in:\n{output}");
    }
    assert!(!output.contains("hunter2") && !output.contains("PURSER_AGENT_"), "{output}");
}

#[test]
fn as_many_run_at_once_as_there_are_slots() {
    let place = Place::new();
    let script = place.script();
    let _agent = place.start();
    // Each waits for all three.
    let meet = format!(
        "touch {0}/$PURSER_TASK; until [ $(ls {0} | wc -l) = 3 ]; do :; done",
        place.path("m").display()
    );
    fs::create_dir(place.path("m")).unwrap();
    for number in 1..=3 {
        script.assign(with(shell(number, 7, &meet), json!({"slot": number - 1})));
    }
    // In a slot that is taken: it comes when that is free.
    script.assign(shell(4, 8, "true"));
    for number in 1..=4 {
        assert_eq!(script.report(&task(number), "finished")["exitCode"], 0);
    }
    let first = script.until("all are told", |state| {
        let started = |number| {
            state.said.iter().position(|said| {
                said.body["task"] == task(number) && said.body["report"]["started"].is_object()
            })
        };
        let ended = state
            .said
            .iter()
            .position(|said| said.body["task"] == task(1) && said.body["report"]["finished"].is_object());
        Some((ended?, started(4)?))
    });
    assert!(first.0 < first.1, "two tasks had one slot");
}

#[test]
fn what_a_task_leaves_running_ends_with_it() {
    let place = Place::new();
    let script = place.script();
    let agent = place.start();
    // One in its group, one that has left it and holds the output open, one that became the agent's own child.
    let text = "sleep 1000 & setsid sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000 &'; echo begun";
    script.assign(shell(1, 7, text));
    assert_eq!(script.report(&task(1), "finished")["exitCode"], 0);
    assert_eq!(script.output(&task(1), 7), "begun\n");
    bounded::until("nothing runs in the task's folder", || {
        inhabitants(&place.path("work")).iter().all(|pid| pid.as_raw().unsigned_abs() == agent.pid())
    });
    bounded::until("every child is collected", || {
        let own = agent.pid();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        children.trim().is_empty()
    });
}

#[test]
fn much_output_needs_little_memory_and_arrives_whole() {
    let place = Place::new();
    let script = place.script();
    let agent = place.start();
    script.fail(
        "output",
        [Fault::Refuse(503, "busy"), Fault::Unheard, Fault::HangUp, Fault::Refuse(429, "rate-limited")],
    );
    script.assign(shell(1, 7, "seq 1 3000000"));
    script.report(&task(1), "finished");
    let output = script.output(&task(1), 7);
    assert_eq!(output.lines().count(), 3_000_000);
    assert!(output.lines().zip(1..).all(|(line, number)| line == number.to_string()));
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 20 << 10, "{kib} KiB for {} bytes of output", output.len());
}

#[test]
fn a_log_that_is_full_holds_nobody_back() {
    let place = Place::new();
    let script = place.script();
    script.change(|state| state.output_max = 100_000);
    let _agent = place.start();
    script.assign(shell(1, 7, "seq 1 200000"));
    assert_eq!(script.report(&task(1), "finished")["exitCode"], 0);
    assert!(script.output(&task(1), 7).len() <= 100_000);
}

#[test]
fn what_was_planned_is_applied_in_the_same_folder_or_forgotten() {
    let place = Place::new();
    let script = place.script();
    let _agent = place.start();
    let plan = |number: u128, text: &str| {
        with(shell(number, 7, text), json!({"phase": "plan", "kind": "plan_and_apply", "slot": number - 1}))
    };
    script.assign(plan(1, "echo first >plan; echo '1 to add' >$PURSER_MESSAGE_FILE; exit 2"));
    script.assign(plan(2, "echo second >plan; exit 2"));
    script.assign(plan(3, "true"));
    let planned = script.report(&task(1), "planned");
    assert_eq!(planned, json!({"changes": true, "summary": "1 to add"}));
    assert_eq!(script.report(&task(2), "planned")["changes"], true);
    assert_eq!(script.report(&task(3), "planned")["changes"], false);
    let kept = json!([task(1), task(2)]);
    script.until("two folders are kept", |state| {
        let beat = state.beats.last()?;
        (beat["keeps"] == kept && beat["has"] == json!([])).then_some(())
    });
    let fields = json!({"phase": "apply", "kind": "plan_and_apply", "token": 9});
    script.change(|state| {
        state.forget.push(task(2));
        state.orders = vec![json!({"assign": with(shell(1, 9, "cat plan"), fields.clone())})];
    });
    assert_eq!(script.report(&task(1), "finished")["exitCode"], 0);
    assert_eq!(script.output(&task(1), 9), "first\n");
    bounded::until("the folders are gone", || (1..=3).all(|number| !place.task(&task(number)).exists()));
    // A plan that is not there any more is not applied.
    script.assign(with(shell(2, 10, "echo applied"), with(fields, json!({"token": 10}))));
    let finished = script.report(&task(2), "finished");
    assert_eq!(finished["exitCode"], 126);
    assert!(finished["message"].as_str().unwrap().contains("no longer there"), "{finished}");
    assert_eq!(script.output(&task(2), 10), "");
}

#[test]
fn every_signal_that_ends_a_task_is_told() {
    let place = Place::new();
    let script = place.script();
    let _agent = place.start();
    // The last one is a real-time signal, which has no name.
    for (number, signal) in (1..).zip([9, 11, 34]) {
        let text = format!("kill -{signal} $$; sleep 1000");
        script.assign(with(shell(number, 7, &text), json!({"slot": number - 1})));
    }
    for (number, signal) in (1..).zip([9, 11, 34]) {
        let finished = script.report(&task(number), "finished");
        assert_eq!((&finished["signal"], &finished["exitCode"]), (&json!(signal), &json!(null)));
    }
}

#[test]
fn a_program_that_cannot_be_started_says_why() {
    let place = Place::new();
    let script = place.script();
    let _agent = place.start();
    script.assign(with(shell(1, 7, ""), json!({"argv": ["no-such-program-anywhere"]})));
    script.assign(with(shell(2, 8, ""), json!({"argv": ["/etc/passwd"], "slot": 1})));
    script.assign(with(shell(3, 9, "true"), json!({"workingDir": "not/there", "slot": 2})));
    for (number, code) in [(1, 127), (2, 126), (3, 127)] {
        let finished = script.report(&task(number), "finished");
        assert_eq!(finished["exitCode"], code, "{finished}");
        assert!(finished["message"].as_str().unwrap().contains("could not be started"), "{finished}");
    }
}

#[test]
fn a_task_is_ended_when_its_time_is_over_or_somebody_wants_it_to() {
    let place = Place::new();
    let script = place.script();
    let _agent = place.start();
    let polite = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 1000 & wait $!; done";
    let deaf = "trap '' TERM; echo up; while :; do sleep 1000; done";
    script.assign(with(shell(1, 7, polite), json!({"timeoutS": 1})));
    script.assign(with(shell(2, 8, polite), json!({"slot": 1})));
    script.assign(with(shell(3, 9, deaf), json!({"slot": 2})));
    for (number, token) in [(2, 8), (3, 9)] {
        bounded::until("the program is up", || script.output(&task(number), token).contains("up"));
        let grace = if number == 3 { 1 } else { 1_000 };
        let cancel = json!({"task": task(number), "token": token, "reason": "asked", "graceS": grace});
        script.change(|state| state.orders.push(json!({ "cancel": cancel })));
    }
    let timed_out = script.report(&task(1), "finished");
    // Its time may be over before its shell has read the trap.
    let by_itself = timed_out["exitCode"] == 5;
    assert!(by_itself || timed_out["signal"] == Signal::SIGTERM as i32, "{timed_out}");
    assert_eq!((&timed_out["timedOut"], &timed_out["cancelled"]), (&json!(true), &json!(false)));
    let cancelled = script.report(&task(2), "finished");
    assert_eq!((&cancelled["exitCode"], &cancelled["cancelled"]), (&json!(5), &json!(true)));
    // Between the two the shell may tell of the program that was ended with it.
    let said = script.output(&task(2), 8);
    assert!(said.starts_with("up\n") && said.ends_with("bye\n"), "{said}");
    let killed = script.report(&task(3), "finished");
    assert_eq!((&killed["signal"], &killed["cancelled"]), (&json!(Signal::SIGKILL as i32), &json!(true)));
}

#[test]
fn the_agent_of_the_documents_runs_tasks_too() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agent-protocol.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```bash\n").expect("the page shows an agent");
    let place = Place::new();
    fs::write(place.path("agent.sh"), rest.split("```").next().unwrap()).unwrap();
    let script = place.script();
    script.fail("sessions", [Fault::HangUp]);
    script.fail("reports", [Fault::Refuse(503, "busy"), Fault::Refuse(409, "stale-token")]);
    let mut command = Command::new("bash");
    command.arg(place.path("agent.sh")).env("PURSER_AGENT_DIR", place.path("")).process_group(0);
    let agent = Agent::of(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()));
    script.assign(shell(1, 7, "echo never"));
    script.until("the first is refused", |state| state.is_forgiven("reports").then_some(()));
    script.assign(with(shell(2, 8, "echo $A; exit 3"), json!({"env": {"A": "b c"}})));
    assert_eq!(script.report(&task(2), "finished")["exitCode"], 3);
    assert_eq!((script.output(&task(1), 7), script.output(&task(2), 8)), (String::new(), "b c\n".into()));
    // The shell acts once curl has ended, which the same signal does.
    killpg(Pid::from_raw(i32::try_from(agent.pid()).unwrap()), Signal::SIGTERM).unwrap();
    let (_, said) = agent.end();
    script.until("it has left", |state| (state.said.last()?.route == "leave").then_some(()));
    assert!(!said.contains("0123456789abcdef"), "{said}");
}

#[test]
fn whoever_goes_on_writing_does_not_hold_up_the_end() {
    let place = Place::new();
    let script = place.script();
    let _agent = place.start();
    // It leaves the group and its mark behind: nobody finds it. It ends once nobody reads what it writes.
    let stray = "setsid -f env -i PATH=\"$PATH\" sh -c 'touch '$PWD'/there; exec yes'; \
                 until [ -e there ]; do sleep 0.01; done; echo done";
    script.assign(shell(1, 7, stray));
    assert_eq!(script.report(&task(1), "finished")["exitCode"], 0);
    let output = script.output(&task(1), 7);
    assert!(output.ends_with("something that outlived the task goes on writing]\n"), "{}", output.len());
}
