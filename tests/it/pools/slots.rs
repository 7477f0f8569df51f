//! Who has which slot, and whose pod stays: the integration cases that slot pools were first planned with.

use purser_tests::bounded;

use super::stage::{Shape, Stage, waits};

const SEED: Shape = Shape { policy: "seed", slots: 3, min: 1, max: 1 };

#[test]
fn three_plans_run_at_once_in_one_pod() {
    let stage = Stage::with(&SEED);
    let tasks = [0, 1, 2].map(|n| stage.submit("plan", &waits(&format!("begun-{n}"), "gate", 0)));
    for n in [0, 1, 2] {
        stage.await_file(&format!("begun-{n}"));
    }
    let slots = tasks.each_ref().map(|task| stage.await_state(task, "running")["slot"].clone());
    assert!(slots.iter().all(|slot| slot["member"] == slots[0]["member"]), "{slots:?}");
    let fourth = stage.submit("plan", "true");
    assert_eq!(stage.task(&fourth)["state"], "pending");
    stage.open("gate");
    for task in tasks.iter().chain([&fourth]) {
        assert_eq!(stage.await_state(task, "planned_and_finished")["attempts"], 1);
    }
}

#[test]
fn a_plan_and_apply_has_the_pod_for_itself_while_it_runs() {
    let stage = Stage::with(&Shape { policy: "exclusive", ..SEED });
    let apply =
        stage.submit_plan_and_apply(&waits("planning", "planned", 2), &waits("applying", "applied", 0));
    stage.await_file("planning");
    let plan = stage.submit("plan", "true");
    assert_eq!(stage.task(&plan)["state"], "pending", "the pod is taken");
    stage.open("planned");
    // While the plan waits for its confirmation, the other slots take plans.
    stage.await_state(&plan, "planned_and_finished");
    let waiting = stage.await_state(&apply, "apply_pending");
    stage.ask("POST", &format!("/v1/tasks/{apply}/confirm"), "");
    stage.await_file("applying");
    let applying = stage.await_state(&apply, "running");
    assert_eq!(applying["slot"]["member"], waiting["slot"]["member"]);
    assert_eq!(applying["slot"]["slot"], waiting["slot"]["slot"]);
    let other = stage.submit("plan", "true");
    assert_eq!(stage.task(&other)["state"], "pending", "the pod is taken again");
    stage.open("applied");
    stage.await_state(&apply, "applied");
    stage.await_state(&other, "planned_and_finished");
}

#[test]
fn a_pod_that_works_outlives_those_that_do_not() {
    let stage = Stage::with(&Shape { policy: "flexible", slots: 1, min: 0, max: 2 });
    let tasks = [0, 1].map(|n| stage.submit("work", &waits(&format!("begun-{n}"), &format!("gate-{n}"), 0)));
    for n in [0, 1] {
        stage.await_file(&format!("begun-{n}"));
    }
    let [first, second] = tasks.each_ref().map(|task| stage.await_state(task, "running"));
    assert_ne!(first["slot"]["member"], second["slot"]["member"]);
    // The pool may have one at most from now on, and one of the two is idle.
    stage.open("gate-0");
    stage.await_state(&tasks[0], "success");
    stage.set_pool(&Shape { policy: "flexible", slots: 1, min: 0, max: 1 });
    let working = second["slot"]["member"].as_u64().unwrap();
    bounded::until("one pod is left", || {
        let members = stage.pool()["status"]["members"].as_array().map_or(0, Vec::len);
        members == 1 && stage.members("connected") == [working]
    });
    assert_eq!(stage.task(&tasks[1])["state"], "running");
    stage.open("gate-1");
    assert_eq!(stage.await_state(&tasks[1], "success")["attempts"], 1);
    bounded::until("nothing is left to be done, and no pod", || {
        stage.pool()["status"]["members"].as_array().is_none_or(Vec::is_empty)
    });
}

#[test]
fn a_plan_that_waits_for_its_confirmation_keeps_its_pod() {
    let stage = Stage::with(&Shape { policy: "seed", slots: 3, min: 0, max: 1 });
    let task =
        stage.submit_plan_and_apply("echo plan > $PURSER_TASK_DIR/plan; exit 2", "cat $PURSER_TASK_DIR/plan");
    let member = stage.await_state(&task, "apply_pending")["slot"]["member"].as_u64().unwrap();
    // A pod of an older revision goes once it is idle: this one is not.
    stage.set_pool(&Shape { policy: "seed", slots: 2, min: 0, max: 1 });
    let rule = || stage.pool()["status"]["decisions"].to_string();
    bounded::until("the autoscaler has looked at it", || rule().contains("reserv"));
    assert_eq!(stage.members("connected"), [member]);
    stage.ask("POST", &format!("/v1/tasks/{task}/confirm"), "");
    let applied = stage.await_state(&task, "applied");
    assert_eq!(applied["attempts"], 1, "{applied}");
    let log = purser_tests::http::text(&stage.purserd.socket(), &format!("/v1/tasks/{task}/log")).unwrap();
    assert!(log.contains("plan"), "the apply found what the plan had left: {log:?}");
}

#[test]
fn a_confirmed_apply_waits_until_the_others_of_its_pod_have_ended() {
    let stage = Stage::with(&Shape { policy: "exclusive", ..SEED });
    let apply = stage.submit_plan_and_apply("exit 2", "touch $GROUND/applied");
    stage.await_state(&apply, "apply_pending");
    let plan = stage.submit("plan", &waits("planning", "gate", 0));
    stage.await_file("planning");
    stage.ask("POST", &format!("/v1/tasks/{apply}/confirm"), "");
    let waiting = stage.task(&apply);
    assert_eq!((&waiting["state"], &waiting["confirmed"]), (&"apply_pending".into(), &true.into()));
    assert!(waiting["waitsBecause"].as_str().unwrap().contains("1 other task"), "{waiting}");
    let other = stage.submit("plan", "true");
    assert_eq!(stage.task(&other)["state"], "pending", "the pod is taken from now on");
    assert!(!stage.ground("applied").exists());
    stage.open("gate");
    stage.await_state(&plan, "planned_and_finished");
    stage.await_state(&apply, "applied");
    stage.await_state(&other, "planned_and_finished");
}
