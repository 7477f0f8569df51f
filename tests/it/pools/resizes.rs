//! A pool whose template has other sizes: its pods get them while they and their tasks run.

use purser_tests::{bounded, http};
use serde_json::Value;

use super::stage::{Shape, Stage, waits};

const SHAPE: Shape = Shape { policy: "seed", slots: 3, min: 1, max: 1 };

/// The number of the only member, and its pod's limit of processor time as the kernel has it; none while there is none.
fn pod(stage: &Stage) -> Option<(u64, Value)> {
    let member = stage.members("connected").first().copied()?;
    let path = format!("/v1/namespaces/default/pods/iac-{member}");
    let shown = http::request(&stage.purserd.socket(), "GET", &path, None, "").unwrap().body;
    Some((member, shown["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"].clone()))
}

#[test]
fn a_busy_pod_gets_other_sizes_and_one_that_cannot_is_replaced_when_it_is_idle() {
    let mut stage = Stage::with(&SHAPE);
    stage.set_sized_pool(&SHAPE, "500m", "256Mi");
    bounded::until("a pod of that size is there", || {
        stage.members("connected").len() == 1
            && pod(&stage).is_some_and(|(_, cpu)| cpu == "500m")
            && stage.pool()["status"]["outdated"] == 0
    });
    let (first, _) = pod(&stage).expect("it is there");
    let task = stage.submit("work", &waits("begun", "gate", 0));
    stage.await_file("begun");
    stage.set_sized_pool(&SHAPE, "700m", "300Mi");
    stage.purserd.kill9();
    stage.purserd.restart();
    bounded::until("the same pod has the new size", || {
        stage.members("connected") == [first] && pod(&stage) == Some((first, "700m".into()))
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
    assert_eq!(pod(&stage), Some((first, "700m".into())));
    stage.set_sized_pool(&SHAPE, "600m", "300Mi");
    bounded::until("it is smaller", || pod(&stage) == Some((first, "600m".into())));
    stage.open("gate");
    stage.await_state(&task, "success");
    let member = pod(&stage).map(|(member, _)| member);
    assert_eq!((member, &stage.task(&task)["attempts"]), (Some(first), &Value::from(1)));
}
