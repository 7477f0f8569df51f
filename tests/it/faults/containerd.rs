//! containerd that is away or has no image: on record, visible to an operator, and made good when it is back.

use purser_tests::containerd::Containerd;
use purser_tests::feed::Feed;
use purser_tests::images::Images;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{apply, assert_no_panic, get};
use super::pods::assert_told;

const IMAGE: &str = "test.invalid/plain:1";

/// A service over a containerd of its own; dropped in this order.
struct Scene {
    purserd: Purserd,
    containerd: Containerd,
    _images: TempDir,
}

impl Scene {
    fn start() -> Scene {
        let images = Images::folder();
        let containerd = Containerd::start();
        let setup = Setup::with_containerd(&containerd, images.path());
        Scene { purserd: Purserd::start(&setup), containerd, _images: images }
    }

    /// Deletes every pod and waits until they are gone.
    fn clear(&self) {
        self.purserd.purser_ok(["delete", "--all", "--grace-period", "0", "--wait", "--timeout", "170s"]);
        assert_no_panic(&self.purserd.log());
    }
}

fn pod(name: &str, image: &str, policy: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "runtimeClassName": "containerd",
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {"name": "main", "image": image, "imagePullPolicy": policy, "command": ["sleep", "600"]},
            ],
        },
    })
}

#[test]
fn an_absent_image_or_program_is_named_in_the_description() {
    let scene = Scene::start();
    let absent = pod("absent", "test.invalid/absent:1", "Never");
    assert_told(&scene.purserd, &absent, &["test.invalid/absent:1"]);
    let mut program = pod("program", IMAGE, "IfNotPresent");
    program["spec"]["containers"][0]["command"] = json!(["/no/such/program"]);
    assert_told(&scene.purserd, &program, &["/no/such/program"]);
    scene.clear();
}

#[test]
fn a_pod_that_was_asked_for_while_containerd_was_away_comes_up() {
    let mut scene = Scene::start();
    assert!(scene.purserd.stop().success());
    scene.containerd.kill9();
    scene.purserd.restart();
    let mut feed = Feed::live(&scene.purserd);
    assert_eq!(apply(&scene.purserd, &pod("web", IMAGE, "IfNotPresent")).status, 201);
    feed.until(|event| event.kind == "pod.setup-failed");
    let described = scene.purserd.purser_ok(["describe", "pod", "web"]);
    assert!(described.contains("containerd"), "{described}");
    assert_eq!(get(&scene.purserd, "/healthz"), Value::Null);
    scene.containerd.restart();
    scene.purserd.purser_ok(["wait", "web", "--for=condition=Ready", "--timeout=170s"]);
    scene.clear();
}

#[test]
fn pods_recover_when_containerd_is_killed_while_they_are_created() {
    let mut scene = Scene::start();
    // The first pod fetches the image; the others meet the crash at different places of their creation.
    for (number, kind) in
        ["pod.setup-requested", "pod.setup-completed", "pod.container-create-requested", "worker.registered"]
            .into_iter()
            .enumerate()
    {
        let name = format!("web-{number}");
        let mut feed = Feed::live(&scene.purserd);
        assert_eq!(apply(&scene.purserd, &pod(&name, IMAGE, "IfNotPresent")).status, 201);
        feed.until(|event| event.kind == kind);
        scene.containerd.kill9();
        scene.containerd.restart();
        scene.purserd.purser_ok(["wait", &name, "--for=condition=Ready", "--timeout=170s"]);
    }
    let tasks = scene.containerd.ctr(&["tasks", "ls", "-q"]);
    assert_eq!(tasks.lines().count(), 4, "one task a pod, none doubled: {tasks}");
    scene.clear();
    assert_eq!(scene.containerd.ctr(&["containers", "ls", "-q"]), "");
}
