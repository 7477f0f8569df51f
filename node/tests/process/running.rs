//! How containers start and end.

use purser_actors::port::{Containers, Signal, Standing};
use purser_events::pod::event::{ExitReason, FailureClass};
use purser_events::pod::spec::{EnvVar, User};

use super::scene::{Scene, collected, container, lives, name, script};

#[tokio::test]
async fn a_container_runs_to_its_exit_code() {
    let scene = Scene::new();
    let (exit, log) = scene.run(script("echo out; echo err >&2; exit 7")).await;
    assert_eq!((exit.code, exit.reason), (7, ExitReason::Error));
    assert_eq!(log, "out\nerr\n");
    let Standing::Exited { started: Some(started), exit: seen } = scene.standing().await else {
        panic!("it has ended")
    };
    assert_eq!(seen, exit);
    assert!(started.started_at <= exit.finished_at);
    let scene = Scene::new();
    let (exit, _) = scene.run(script("exit 0")).await;
    assert_eq!((exit.code, exit.reason), (0, ExitReason::Completed));
}

#[tokio::test]
async fn arguments_follow_the_command_and_stdin_is_empty() {
    let scene = Scene::new();
    let mut spec = container(&["/bin/sh", "-c", "cat; echo \"$0|$1\""]);
    spec.args = vec!["a b".into(), "$HOME*".into()];
    let (exit, log) = scene.run(spec).await;
    assert_eq!((exit.code, log.as_str()), (0, "a b|$HOME*\n"));
}

#[tokio::test]
async fn the_environment_is_the_manifests_alone() {
    let scene = Scene::new();
    let mut spec = container(&["env"]);
    spec.env = vec![EnvVar { name: "GREETING".into(), value: "good day".into() }];
    let (_, log) = scene.run(spec).await;
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(lines, ["GREETING=good day", "HOME=/root", path]);
}

#[tokio::test]
async fn the_working_folder_and_the_user_are_as_asked() {
    let scene = Scene::new();
    let mut spec =
        script("pwd; id -u; id -g; id -G; echo named >>/dev/stdout; grep NoNewPrivs /proc/self/status");
    spec.working_dir = Some("/usr".into());
    spec.user = User { uid: Some(65534), gid: Some(12345), non_root: true, no_new_privileges: true };
    let (_, log) = scene.run(spec).await;
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines, ["/usr", "65534", "12345", "12345", "named", "NoNewPrivs:\t1"]);
}

#[tokio::test]
async fn nothing_of_the_node_is_open_in_a_container() {
    let scene = Scene::new();
    let (_, log) = scene.run(container(&["ls", "-l", "/proc/self/fd"])).await;
    let open: Vec<&str> = log.lines().filter(|line| line.contains(" -> ")).collect();
    let own =
        |line: &&&str| !["/dev/null", "main/1.log", "/proc/"].iter().any(|target| line.contains(target));
    assert_eq!(open.iter().filter(own).count(), 0, "{log}");
    assert!(!log.contains("lock") && open.len() <= 4, "{log}");
}

#[tokio::test]
async fn what_cannot_run_says_why_and_leaves_nothing() {
    let scene = Scene::new();
    let mut no_folder = script("true");
    no_folder.working_dir = Some("/no/such/folder".into());
    let file = scene.folder.path().join("plain");
    std::fs::write(&file, "#!/bin/sh\n").unwrap();
    let broken = scene.folder.path().join("broken");
    std::fs::write(&broken, "#!/no/such/interpreter\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&broken, executable).unwrap();
    let mut as_root = script("true");
    as_root.user.non_root = true;
    let cases = [
        (container(&["no-such-program"]), "program `no-such-program` was not found in PATH (/usr/local/sbin"),
        (container(&["/no/such/program"]), "program `/no/such/program` cannot be run: No such file"),
        (container(&["/usr"]), "program `/usr` is a folder"),
        (container(&[file.to_str().unwrap()]), "is not executable"),
        (container(&[broken.to_str().unwrap()]), "needs an interpreter that is not there"),
        (no_folder, "failed to enter the working folder `/no/such/folder`"),
        (as_root, "runAsNonRoot"),
    ];
    for (spec, expected) in cases {
        let error = scene.start(spec).await.expect_err("it cannot run");
        assert_eq!(error.class, FailureClass::Invalid, "{error}");
        assert!(error.message.contains(expected), "expected `{expected}` in `{error}`");
        assert_eq!(scene.standing().await, Standing::Absent);
    }
    scene.start(script("exit 3")).await.expect("the same key can be tried again after a failure");
    assert_eq!(scene.wait().await.code, 3);
}

#[tokio::test]
async fn an_absent_shim_is_named() {
    let scene = Scene::with(|settings| settings.shim = "/no/such/purserd".into());
    let error = scene.start(script("true")).await.unwrap_err();
    assert!(error.message.contains("failed to start the shim `/no/such/purserd`"), "{error}");
    assert_eq!(scene.standing().await, Standing::Absent);
}

#[tokio::test]
async fn terminate_asks_the_main_process_and_kill_ends_all() {
    let scene = Scene::new();
    scene
        .start(script("trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.01; done"))
        .await
        .unwrap();
    scene.printed("ready").await;
    scene.runtime.signal(&scene.key(1), Signal::Terminate).await.unwrap();
    assert_eq!(scene.wait().await.code, 5);
    assert_eq!(scene.log(1), "ready\nasked\n");
    // Asking again is fine.
    scene.runtime.signal(&scene.key(1), Signal::Kill).await.unwrap();

    let scene = Scene::new();
    // A child in a session of its own, which no group of the main process reaches.
    scene.start(script("trap '' TERM; setsid sleep 1000 & echo $!; echo ready; wait")).await.unwrap();
    scene.printed("ready").await;
    let child: i32 = scene.log(1).lines().next().unwrap().parse().unwrap();
    scene.runtime.signal(&scene.key(1), Signal::Terminate).await.unwrap();
    assert!(lives(child), "only the main process is asked");
    scene.runtime.signal(&scene.key(1), Signal::Kill).await.unwrap();
    let exit = scene.wait().await;
    assert_eq!((exit.code, exit.reason), (137, ExitReason::Error));
    assert!(!lives(child), "a child outlived its container");
}

#[tokio::test]
async fn what_the_main_process_leaves_behind_ends_with_it() {
    // Once with control groups and once without: then only descent tells what belongs to the container.
    let without = |settings: &mut purser_node::adapter::process::Settings| {
        settings.cgroup_mount = "/no/such/mount".into();
    };
    for scene in [Scene::new(), Scene::with(without)] {
        let text = "for i in 1 2 3; do (setsid sleep 1000 & echo $!) ; done; sleep 1000 & echo $!; exit 4";
        let (exit, log) = scene.run(script(text)).await;
        assert_eq!(exit.code, 4);
        let children: Vec<i32> = log.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(children.len(), 4);
        assert!(!children.into_iter().any(lives), "something outlived its container");
    }
}

#[tokio::test]
async fn a_main_process_killed_from_outside_is_seen() {
    let scene = Scene::new();
    let started = scene.start(container(&["sleep", "1000"])).await.unwrap();
    let pid = i32::try_from(started.process.host_pid).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSEGV).unwrap();
    let exit = scene.wait().await;
    assert_eq!((exit.code, exit.reason), (139, ExitReason::Error));
    collected(scene.shim_pid()).await;
}

#[tokio::test]
async fn removal_kills_and_keeps_the_log() {
    let scene = Scene::new();
    let started = scene.start(script("echo kept; exec sleep 1000")).await.unwrap();
    scene.printed("kept").await;
    assert_eq!(scene.runtime.list().await.unwrap(), [scene.key(1)]);
    let group = scene.cgroup("memory");
    assert!(group.exists());
    for _ in 0..2 {
        scene.runtime.remove(&scene.key(1)).await.unwrap();
    }
    assert!(!lives(i32::try_from(started.process.host_pid).unwrap()));
    assert_eq!(scene.standing().await, Standing::Absent);
    assert_eq!(scene.runtime.list().await.unwrap(), []);
    assert!(!group.exists(), "the control group is still there");
    assert_eq!(scene.log(1), "kept\n");
    assert_eq!(scene.wait().await.reason, ExitReason::Lost, "nobody knows it any more");
}

#[tokio::test]
async fn two_outputs_are_kept() {
    let scene = Scene::new();
    for attempt in 1..=4 {
        scene.runtime.start(&scene.plan(script("echo $$"), attempt)).await.unwrap();
        scene.runtime.wait(&scene.key(attempt)).await.unwrap();
    }
    let mut held: Vec<_> = std::fs::read_dir(scene.paths.logs(scene.pod, &name("main")))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    held.sort();
    assert_eq!(held, ["3.log", "4.log"]);
    assert_eq!(scene.runtime.list().await.unwrap().len(), 4);
}

#[tokio::test]
async fn images_are_refused_by_their_path() {
    let scene = Scene::new();
    let mut spec = container(&[]);
    spec.image = Some("busybox".into());
    let errors = scene.runtime.unsupported(&scene.spec(spec));
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["spec.containers[0].image", "spec.containers[0].command"]);
    assert_eq!(scene.runtime.unsupported(&scene.spec(script("true"))), []);
}
