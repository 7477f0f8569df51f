//! Commands that are run in a running container.

use std::time::Duration;

use purser_actors::port::{Containers, ExecIo, Signal};
use purser_events::pod::event::FailureClass;
use purser_events::pod::spec::{EnvVar, User};
use tokio::sync::mpsc;

use super::scene::{Scene, container, gone, script};

#[tokio::test]
async fn a_command_has_input_outputs_and_an_exit_code() {
    let scene = Scene::new();
    scene.start(container(&["sleep", "1000"])).await.unwrap();
    let (code, out, err) = scene.exec(&["/bin/sh", "-c", "cat; echo bad >&2; exit 3"], b"hello").await;
    assert_eq!((code.unwrap(), out.as_str(), err.as_str()), (3, "hello", "bad\n"));
    let (code, out, _) = scene.exec(&["cat"], b"").await;
    assert_eq!((code.unwrap(), out.as_str()), (0, ""), "no input is an empty one");
    let (code, _, _) = scene.exec(&["/bin/sh", "-c", "kill -KILL $$"], b"").await;
    assert_eq!(code.unwrap(), 137);
    let (code, out, _) = scene.exec(&["seq", "200000"], b"").await;
    assert_eq!((code.unwrap(), out.lines().count()), (0, 200_000));
    let left = std::fs::read_dir(scene.paths.process(&scene.key(1))).unwrap();
    let reports =
        left.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("exec-"));
    assert_eq!(reports.count(), 0, "a report stayed");
}

#[tokio::test]
async fn a_command_is_in_the_containers_place() {
    let scene = Scene::new();
    let mut spec = container(&["sleep", "1000"]);
    spec.env = vec![EnvVar { name: "COLOUR".into(), value: "blue".into() }];
    spec.working_dir = Some("/usr".into());
    spec.user = User { uid: Some(65534), gid: Some(12345), ..User::default() };
    scene.start(spec).await.unwrap();
    let group = scene.cgroup("pids");
    let (code, out, _) =
        scene.exec(&["/bin/sh", "-c", "pwd; id -u; id -g; echo $COLOUR; cat /proc/self/cgroup"], b"").await;
    assert_eq!(code.unwrap(), 0);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..4], ["/usr", "65534", "12345", "blue"]);
    let tail = group.strip_prefix("/sys/fs/cgroup/pids").unwrap_or(&group).to_str().unwrap().to_string();
    assert!(lines.iter().any(|line| line.ends_with(&tail)), "`{tail}` is not in {lines:?}");
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let scene = Scene::new();
    let (code, _, _) = scene.exec(&["true"], b"").await;
    assert_eq!(code.unwrap_err().message, "the container does not run");
    scene.start(container(&["sleep", "1000"])).await.unwrap();
    for (argv, expected) in [(&["no-such-program"][..], "was not found in PATH"), (&[][..], "no command")] {
        let error = scene.exec(argv, b"").await.0.unwrap_err();
        assert_eq!(error.class, FailureClass::Invalid);
        assert!(error.message.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_background_process_does_not_hold_up_a_command() {
    let scene = Scene::new();
    scene.start(container(&["sleep", "1000"])).await.unwrap();
    let (code, out, _) = scene.exec(&["/bin/sh", "-c", "sleep 1000 & echo $!"], b"").await;
    assert_eq!(code.unwrap(), 0);
    let child: i32 = out.trim().parse().unwrap();
    scene.runtime.remove(&scene.key(1)).await.unwrap();
    gone(child).await;
}

#[tokio::test]
async fn dropping_a_command_kills_it() {
    let scene = Scene::new();
    scene.start(container(&["sleep", "1000"])).await.unwrap();
    let (output, mut chunks) = mpsc::channel(1);
    let argv = ["/bin/sh", "-c", "sleep 1000 & echo $! $$; wait"].map(String::from);
    let key = scene.key(1);
    let command = scene.runtime.exec(&key, &argv, ExecIo { stdin: None, output });
    let chunk = tokio::select! {
        chunk = chunks.recv() => chunk.expect("it prints"),
        _ = command => panic!("it does not end"),
    };
    for pid in String::from_utf8(chunk.bytes).unwrap().split_whitespace() {
        gone(pid.parse().unwrap()).await;
    }
}

#[tokio::test]
async fn a_command_ends_with_its_container() {
    for mount in ["/sys/fs/cgroup", "/no/such/mount"] {
        let scene = Scene::with(|settings| settings.cgroup_mount = mount.into());
        scene.start(script("echo up; sleep 1000")).await.unwrap();
        let end = async {
            scene.printed("begun").await;
            scene.runtime.signal(&scene.key(1), Signal::Kill).await.unwrap();
        };
        let log = scene.paths.log(&scene.key(1));
        let text = format!("echo begun >> {}; sleep 1000", log.display());
        let argv = ["/bin/sh", "-c", &text];
        let ((code, _, _), ()) = tokio::join!(scene.exec(&argv, b""), end);
        assert_eq!(code.unwrap(), 137);
    }
}

#[tokio::test]
async fn a_listener_that_left_does_not_end_a_command() {
    let scene = Scene::new();
    scene.start(container(&["sleep", "1000"])).await.unwrap();
    let (output, chunks) = mpsc::channel(1);
    drop(chunks);
    let argv = ["/bin/sh", "-c", "seq 100000; exit 6"].map(String::from);
    let key = scene.key(1);
    let command = scene.runtime.exec(&key, &argv, ExecIo { stdin: None, output });
    let code = tokio::time::timeout(Duration::from_secs(60), command).await.expect("it ends");
    assert_eq!(code.unwrap(), 6);
}
