//! What operators see of a pool, and what they may ask of it, by the command line.

use std::process::Output;

use purser_tests::http;
use serde_json::Value;

use super::stage::{POOL, Shape, Stage, waits};

const SHAPE: Shape = Shape { policy: "seed", slots: 3, min: 1, max: 2 };

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("purser is not ended by a signal")
}

/// A file in the test's folder.
#[track_caller]
fn file(stage: &Stage, name: &str, content: &str) -> String {
    let path = stage.ground(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_is_shown_of_a_pool_may_be_applied_again_and_a_change_is_one() {
    let stage = Stage::with(&SHAPE);
    let shown = stage.purserd.purser_ok(["get", "pool", POOL, "-o", "yaml"]);
    assert_eq!(stage.purserd.apply(&shown), format!("pool/{POOL} unchanged\n"));
    let other = shown.replace("max: 2", "max: 3");
    assert_eq!(stage.purserd.apply(&other), format!("pool/{POOL} changed\n"));
    let wrong = file(
        &stage,
        "wrong.yaml",
        &shown.replace("policy: seed", "policy: first").replace("max: 2", "max: 0"),
    );
    let refused = stage.purserd.purser(["apply", "--dry-run", "-f", &wrong]);
    let said = text(&refused.stderr);
    assert_eq!(code(&refused), 1, "{said}");
    assert!(
        said.contains("spec.slots.policy: must be one of") && said.contains("spec.replicas.max: must be"),
        "{said}"
    );
    let absent = stage.purserd.purser(["describe", "pool", "nobody"]);
    assert_eq!((code(&absent), text(&absent.stderr)), (1, "purser: there is no pool `nobody`\n".to_owned()));
}

#[test]
fn a_task_is_handed_in_watched_and_told_of() {
    let stage = Stage::with(&SHAPE);
    let submit = |more: &[&str]| {
        let ground = format!("GROUND={}", stage.purserd.folder().display());
        let mut words = vec!["submit", POOL, "--wait", "-e", &ground];
        words.extend(more);
        stage.purserd.purser(words)
    };
    let good = submit(&["--kind", "plan", "--workspace", "net", "--", "sh", "-c", "echo one; echo two >&2"]);
    let said = text(&good.stdout);
    assert_eq!(code(&good), 0, "{said} {}", text(&good.stderr));
    assert!(
        said.contains("one\n") && said.contains("two\n") && said.contains(" planned_and_finished"),
        "{said}"
    );
    assert_eq!(code(&submit(&["--", "sh", "-c", "exit 7"])), 7);
    let half = submit(&["--kind", "plan_and_apply", "--", "true"]);
    assert_eq!(code(&half), 2, "{}", text(&half.stderr));
    let planned =
        submit(&["--kind", "plan_and_apply", "--", "sh", "-c", "exit 2", "--", "echo", "applied it"]);
    assert_eq!(code(&planned), 0, "{}", text(&planned.stderr));
    let list = stage.purserd.purser_ok(["get", "tasks", "--state", "apply_pending", "-o", "name"]);
    let id = list.trim().strip_prefix("task/").unwrap();
    let described = stage.purserd.purser_ok(["describe", "task", id]);
    for part in ["apply_pending", "its plan waits for somebody", "pool.task-submitted", "pool.task-planned"] {
        assert!(described.contains(part), "{part}: {described}");
    }
    stage.purserd.purser_ok(["confirm", id]);
    stage.await_state(id, "applied");
    assert!(stage.purserd.purser_ok(["task-log", id, "--follow"]).ends_with("applied it\n"));
    let late = stage.purserd.purser(["discard", id]);
    assert_eq!(code(&late), 1, "{}", text(&late.stderr));
    // Of one moment: the autoscaler may decide at any.
    let (described, pool) = loop {
        let before = stage.pool();
        let described = stage.purserd.purser_ok(["describe", "pool", POOL]);
        if stage.pool()["status"]["decisions"] == before["status"]["decisions"] {
            break (described, before);
        }
    };
    for part in ["Members:", "connected", "0:idle 1:idle 2:idle", "Queue: nobody waits", "Why 1 pods now:"] {
        assert!(described.contains(part), "{part}: {described}");
    }
    // Each decision with its rule and what it was made from.
    let decisions = pool["status"]["decisions"].as_array().unwrap();
    let shown: Vec<&str> =
        described.lines().skip_while(|line| *line != "Decisions (the last ten):").skip(1).collect();
    assert!(!decisions.is_empty() && decisions.len() <= 10, "{pool}");
    for (decision, line) in decisions.iter().zip(shown) {
        let [at, rule, reason] = ["at", "rule", "reason"].map(|field| decision[field].as_str().unwrap());
        let is_told = line.contains(at) && line.contains(&format!("{rule}: {reason}"));
        assert!(is_told && line.contains(" slots used ("), "{decision}: {line}");
    }
}

#[test]
fn who_waits_is_told_why_and_a_pool_goes_when_nothing_runs() {
    let stage = Stage::with(&Shape { max: 1, ..SHAPE });
    let holder = stage.submit_plan_and_apply(&waits("planning", "planned", 0), "true");
    stage.await_file("planning");
    let behind = stage.submit_plan_and_apply("true", "true");
    let described = stage.purserd.purser_ok(["describe", "task", &behind]);
    assert!(
        described.contains("waiting") && described.contains(&format!("task {holder} has workspace `w`")),
        "{described}"
    );
    let wide = stage.purserd.purser_ok(["get", "tasks", "-o", "wide", "--pool", POOL]);
    assert!(wide.lines().count() == 3 && wide.contains("has workspace"), "{wide}");
    assert!(stage.purserd.purser_ok(["cancel-task", &behind]).contains("(cancelled)"));
    let going = stage.purserd.purser_ok(["delete", "pool", POOL]);
    assert_eq!(going, format!("pool/{POOL} is being deleted\n"));
    assert_eq!(stage.pool()["status"]["state"], "leaving");
    let refused = stage.purserd.purser(["submit", POOL, "--", "true"]);
    assert_eq!(
        (code(&refused), text(&refused.stderr)),
        (1, "purser: the pool is being removed\n".to_owned())
    );
    let gone = stage.purserd.purser_ok(["delete", "pool", POOL, "--force", "--wait"]);
    assert_eq!(gone, format!("pool/{POOL} deleted\n"));
    let again = stage.purserd.purser(["delete", "pool", POOL]);
    assert_eq!(code(&again), 1, "{}", text(&again.stderr));
}

#[test]
fn another_policy_is_tried_on_what_is_on_record() {
    let stage = Stage::with(&SHAPE);
    let task = stage.submit("plan", "sleep 1");
    stage.await_state(&task, "planned_and_finished");
    let shown = stage.purserd.purser_ok(["get", "pool", POOL, "-o", "yaml"]);
    let policy = file(&stage, "policy.yaml", &shown.replace("min: 1", "min: 2"));
    let told =
        stage.purserd.purser_ok(["pool", "simulate", "--policy", &policy, "--since", "1h", "-o", "json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    // Whether it would have ended by now with pods that come up as these did is a matter of seconds.
    assert_eq!((&told["tasks"], &told["recorded"]["ended"]), (&1.into(), &1.into()));
    assert_eq!((&told["held"]["podsMax"], &told["other"]["podsMax"]), (&1.into(), &2.into()), "{told}");
    assert_eq!(told["firstDifference"]["other"]["to"], 2, "{told}");
    let series = http::text(&stage.purserd.socket(), "/metrics").unwrap();
    for line in [
        format!("purser_pool_state{{pool=\"{POOL}\",state=\"active\"}} 1"),
        format!("purser_pool_tasks_ended_total{{pool=\"{POOL}\"}} 1"),
        format!("purser_pool_members{{pool=\"{POOL}\",state=\"connected\"}} 1"),
    ] {
        assert!(series.contains(&line), "{line}: {series}");
    }
}

#[test]
fn the_values_of_variables_are_in_no_answer_and_not_in_the_feed() {
    let stage = Stage::with(&SHAPE);
    let word = "swordfish-of-a-task";
    let variable = format!("PASSWORD={word}");
    let told = stage.purserd.purser(["submit", POOL, "--wait", "-e", &variable, "--", "true"]);
    assert_eq!(code(&told), 0, "{}", text(&told.stderr));
    let feed = http::text(&stage.purserd.socket(), "/v1/events?from=0").unwrap();
    assert!(feed.contains("pool.task-submitted") && feed.contains("PASSWORD"), "{feed}");
    let tasks = http::text(&stage.purserd.socket(), "/v1/tasks").unwrap();
    assert!(tasks.contains("PASSWORD"), "{tasks}");
    assert!(!feed.contains(word) && !tasks.contains(word), "{feed}");
    // The journal has it whole, as the manual says: so this would find it.
    let export = purser_tests::journal::export(&stage.purserd);
    assert!(String::from_utf8_lossy(&export).contains(word));
}
