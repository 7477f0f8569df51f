//! Limits: what the kernel was told, and what it does about it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::{Signal as HostSignal, kill};
use nix::unistd::Pid;
use purser_actors::port::{Containers, Notice, Signal};
use purser_events::pod::event::{ExitReason, FailureClass};
use purser_events::pod::spec::Resources;
use purser_events::{Bytes, MilliCpu};

use super::scene::{PATIENCE, Scene, container, lives, script};

fn held(scene: &Scene, controller: &str, files: [&str; 2]) -> String {
    let group = scene.cgroup(controller);
    let read = |file: &str| fs::read_to_string(group.join(file)).ok();
    let text = files.into_iter().find_map(read).unwrap_or_else(|| panic!("{group:?} has none of {files:?}"));
    text.trim().to_string()
}

#[tokio::test]
async fn limits_reach_the_kernel() {
    let scene = Scene::with(|settings| settings.pids_max = Some(77));
    let mut spec = container(&["sleep", "1000"]);
    spec.resources = Resources {
        cpu_limit: Some(MilliCpu(250)),
        cpu_request: Some(MilliCpu(500)),
        memory_limit: Some(Bytes(64 << 20)),
        memory_request: None,
        ..Resources::default()
    };
    scene.start(spec).await.unwrap();
    assert_eq!(held(&scene, "memory", ["memory.limit_in_bytes", "memory.max"]), "67108864");
    assert_eq!(held(&scene, "pids", ["pids.max", "pids.max"]), "77");
    let quota = held(&scene, "cpu", ["cpu.cfs_quota_us", "cpu.max"]);
    assert!(quota == "25000" || quota == "25000 100000", "{quota}");
    let weight = held(&scene, "cpu", ["cpu.shares", "cpu.weight"]);
    assert!(weight == "512" || weight == "20", "{weight}");
    let main = scene.record("state.json")["main"]["hostPid"].to_string();
    assert!(held(&scene, "memory", ["cgroup.procs", "tasks"]).lines().any(|pid| pid == main));
}

#[tokio::test]
async fn too_much_memory_is_seen_as_that() {
    let scene = Scene::new();
    let mut notices = scene.runtime.notices().expect("nobody has taken it");
    let mut spec = container(&["dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"]);
    spec.resources.memory_limit = Some(Bytes(32 << 20));
    let (exit, _) = scene.run(spec).await;
    assert_eq!((exit.code, exit.reason), (137, ExitReason::OomKilled));
    assert_eq!(notices.recv().await, Some(Notice::OutOfMemory(scene.key(1))));
    assert!(scene.runtime.notices().is_none(), "there is one receiver");
}

#[tokio::test]
async fn a_child_out_of_memory_is_told_while_the_container_runs_and_only_once() {
    let mut scene = Scene::new();
    let mut notices = scene.runtime.notices().expect("nobody has taken it");
    let mut spec = script("dd if=/dev/zero of=/dev/null bs=256M count=1; echo killed; sleep 1000");
    spec.resources.memory_limit = Some(Bytes(32 << 20));
    let started = scene.start(spec).await.unwrap();
    // Where the kernel kills a group as a whole, the container ends with its child.
    let whole_group = scene.cgroup("memory").join("memory.oom.group").exists();
    {
        let end = async {
            let exit = scene.wait().await;
            assert!(whole_group, "it ended instead: {exit:?}");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            notice = notices.recv() => assert_eq!(notice, Some(Notice::OutOfMemory(scene.key(1)))),
            () = end => unreachable!("it never ends"),
        }
    }
    assert!(whole_group || lives(i32::try_from(started.process.host_pid).unwrap()));
    scene.runtime.signal(&scene.key(1), Signal::Kill).await.unwrap();
    scene.wait().await;
    assert!(notices.try_recv().is_err(), "its end tells of the same kill again");
    scene.runtime = scene.another_runtime();
    let mut notices = scene.runtime.notices().expect("nobody has taken it");
    scene.wait().await;
    assert!(notices.try_recv().is_err(), "a node that comes back tells of the same kill again");
}

#[tokio::test]
async fn limits_that_cannot_be_held_are_refused() {
    let mut spec = script("exit 0");
    spec.resources.memory_limit = Some(Bytes(32 << 20));
    let scene = Scene::with(|settings| settings.cgroup_mount = "/no/such/mount".into());
    let error = scene.start(spec.clone()).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Invalid);
    assert!(error.message.contains("resource limits need control groups"), "{error}");
    let scene = Scene::with(|settings| {
        settings.cgroup_mount = "/no/such/mount".into();
        settings.unlimited_ok = true;
    });
    assert!(!scene.runtime.enforces_limits());
    assert!(Scene::new().runtime.enforces_limits());
    assert_eq!(scene.run(spec).await.0.code, 0);
}

#[tokio::test]
async fn groups_are_gone_after_the_pod() {
    let scene = Scene::new();
    let (_, _) = scene.run(script("exit 0")).await;
    let group = scene.cgroup("memory");
    scene.runtime.clean_up(scene.pod).await.unwrap();
    assert!(!group.parent().unwrap().exists());
    assert!(!scene.paths.pod(scene.pod).exists());
    scene.runtime.clean_up(scene.pod).await.expect("once more is fine");
}

#[tokio::test]
async fn what_is_left_in_the_groups_of_a_container_that_has_ended_is_killed() {
    let scene = Scene::new();
    scene.run(script("true")).await;
    // As a process that the driver held fast while all the others were killed.
    let mut left = Command::new("/bin/sleep").arg("600").spawn().unwrap();
    let pid = left.id();
    fs::write(scene.cgroup("pids").join("cgroup.procs"), pid.to_string()).unwrap();
    scene.runtime.end_rest(&scene.key(1)).await.unwrap();
    let ended = tokio::task::spawn_blocking(move || left.wait().unwrap());
    let ended = tokio::time::timeout(PATIENCE, ended).await;
    if ended.is_err() {
        let _ = kill(Pid::from_raw(pid.cast_signed()), HostSignal::SIGKILL);
    }
    assert_eq!(ended.expect("it was not killed").unwrap().signal(), Some(9));
    scene.runtime.end_rest(&scene.key(1)).await.expect("that nothing is left is fine");
}
