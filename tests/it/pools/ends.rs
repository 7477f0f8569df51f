//! How tasks end otherwise than by themselves: cancelled, too late, discarded, or never confirmed.

use purser_tests::bounded;
use serde_json::json;

use super::stage::{Shape, Stage, waits};

const SHAPE: Shape = Shape { policy: "seed", slots: 3, min: 1, max: 1 };

/// A script that says it has begun, and that it was asked to end.
const OBEYS: &str =
    "trap 'touch $GROUND/asked; exit 5' TERM; touch $GROUND/begun; while :; do sleep 0.05; done";
/// One that hears it, and goes on.
const STUBBORN: &str = "trap 'touch $GROUND/asked' TERM; touch $GROUND/begun; while :; do sleep 0.05; done";

/// The slots of the only member are all idle, and take a task.
fn takes_another(stage: &Stage) {
    let next = stage.submit("work", "true");
    let ended = stage.await_state(&next, "success");
    assert_eq!(ended["attempts"], 1, "{ended}");
    assert_eq!(stage.members("connected"), [1], "it is the pod of before");
}

#[test]
fn a_task_that_is_cancelled_is_asked_to_end_and_its_slot_takes_another() {
    let stage = Stage::with(&SHAPE);
    let task = stage.submit("work", OBEYS);
    stage.await_file("begun");
    stage.purserd.purser_ok(["cancel-task", &task]);
    let ended = stage.await_state(&task, "cancelled");
    assert!(stage.ground("asked").exists(), "it could clean up: {ended}");
    takes_another(&stage);
    let late = stage.purserd.purser(["confirm", &task]);
    assert!(!late.status.success(), "what is over is not confirmed");
}

#[test]
fn a_task_that_takes_too_long_is_ended_and_killed_if_it_does_not_obey() {
    let mut manifest = Stage::manifest(&SHAPE);
    manifest["spec"]["agents"]["cancelGraceSeconds"] = json!(1);
    let stage = Stage::of(&manifest);
    let task = stage.hand_in(json!({ "argv": ["sh", "-c", STUBBORN], "timeoutSeconds": 1 }));
    stage.await_file("begun");
    let ended = stage.await_state(&task, "failed");
    assert!(stage.ground("asked").exists(), "it was asked first: {ended}");
    assert!(ended.to_string().contains("it took too long"), "{ended}");
    takes_another(&stage);
}

#[test]
fn a_plan_that_is_discarded_gives_its_slot_and_its_workspace_free() {
    let stage = Stage::with(&SHAPE);
    let first = stage.submit_plan_and_apply("exit 2", "touch $GROUND/first");
    stage.await_state(&first, "apply_pending");
    let second = stage.submit_plan_and_apply("exit 2", "touch $GROUND/second");
    assert_eq!(stage.task(&second)["state"], "waiting", "behind the other of its workspace");
    stage.purserd.purser_ok(["discard", &first]);
    let ended = stage.await_state(&first, "cancelled");
    assert!(ended.to_string().contains("its plan was discarded"), "{ended}");
    stage.await_state(&second, "apply_pending");
    stage.purserd.purser_ok(["confirm", &second]);
    stage.await_state(&second, "applied");
    assert!(stage.ground("second").exists() && !stage.ground("first").exists());
    stage.purserd.await_event("pool.task-discarded");
}

#[test]
fn a_plan_that_nobody_confirms_in_time_fails_and_gives_its_slot_free() {
    let mut manifest = Stage::manifest(&SHAPE);
    manifest["spec"]["tasks"]["reservationSeconds"] = json!(1);
    let stage = Stage::of(&manifest);
    let task = stage.submit_plan_and_apply("exit 2", "touch $GROUND/applied");
    let ended = stage.await_state(&task, "failed");
    assert!(ended.to_string().contains("its confirmation did not come in time"), "{ended}");
    stage.purserd.await_event("pool.reservation-expired");
    let late = stage.purserd.purser(["confirm", &task]);
    assert!(!late.status.success() && !stage.ground("applied").exists());
    bounded::until("its slot is idle", || {
        let slots = stage.pool()["status"]["members"][0]["slots"].to_string();
        !slots.contains("reserved")
    });
    takes_another(&stage);
}

#[test]
fn what_waits_is_cancelled_at_once_and_what_runs_beside_it_goes_on() {
    let stage = Stage::with(&Shape { slots: 1, ..SHAPE });
    let running = stage.submit("work", &waits("begun", "gate", 0));
    stage.await_file("begun");
    let waiting = stage.submit("work", "touch $GROUND/ran");
    stage.purserd.purser_ok(["cancel-task", &waiting]);
    assert_eq!(stage.task(&waiting)["state"], "cancelled");
    stage.open("gate");
    stage.await_state(&running, "success");
    takes_another(&stage);
    assert!(!stage.ground("ran").exists(), "it never ran");
}
