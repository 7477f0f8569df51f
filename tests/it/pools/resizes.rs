//! A pool whose template has other sizes: its pods get them while they and their tasks run.

use purser_tests::bounded;
use serde_json::Value;

use super::stage::{Shape, Stage, waits};

const SHAPE: Shape = Shape { policy: "seed", slots: 3, min: 1, max: 1 };

/// The name of the only member's pod, and its limit of processor time as the kernel has it.
fn pod(stage: &Stage) -> (u64, Value) {
    let member = stage.members("connected")[0];
    let shown = stage.ask("GET", &format!("/v1/namespaces/default/pods/iac-{member}"), "");
    (member, shown["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"].clone())
}

#[test]
fn a_busy_pod_gets_other_sizes_and_one_that_cannot_is_replaced_when_it_is_idle() {
    let mut stage = Stage::with(&SHAPE);
    stage.set_sized_pool(&SHAPE, "500m", "256Mi");
    bounded::until("a pod of that size is there", || {
        stage.members("connected").len() == 1
            && pod(&stage).1 == "500m"
            && stage.pool()["status"]["outdated"] == 0
    });
    let (first, _) = pod(&stage);
    let task = stage.submit("work", &waits("begun", "gate", 0));
    stage.await_file("begun");
    stage.set_sized_pool(&SHAPE, "700m", "300Mi");
    stage.purserd.kill9();
    stage.purserd.restart();
    bounded::until("the same pod has the new size", || {
        stage.members("connected") == [first] && pod(&stage) == (first, "700m".into())
    });
    bounded::until("it is of the new revision", || stage.pool()["status"]["outdated"] == 0);
    assert_eq!(stage.task(&task)["state"], "running");

    // There is not so much: it goes on with what it has until nothing of it runs.
    stage.set_sized_pool(&SHAPE, "701m", "900Ti");
    stage.purserd.await_event("pool.member-resize-failed");
    let described = stage.purserd.purser_ok(["describe", "pool", "iac"]);
    assert!(
        described.contains("could not be resized in place") && described.contains("memory"),
        "{described}"
    );
    assert_eq!(pod(&stage), (first, "700m".into()));
    stage.set_sized_pool(&SHAPE, "600m", "300Mi");
    bounded::until("it is smaller", || pod(&stage) == (first, "600m".into()));
    stage.open("gate");
    stage.await_state(&task, "success");
    assert_eq!((pod(&stage).0, &stage.task(&task)["attempts"]), (first, &Value::from(1)));
}
