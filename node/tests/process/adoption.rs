//! A node that comes back: what it finds of the containers that an earlier one started.

use std::fs;

use nix::sys::signal::{Signal as HostSignal, kill};
use nix::unistd::Pid;
use purser_actors::port::{Containers, Signal, Standing};
use purser_events::pod::event::ExitReason;

use super::scene::{Scene, container, gone, lives, script, shim};

#[tokio::test]
async fn a_second_node_adopts_what_runs() {
    let mut scene = Scene::new();
    let started =
        scene.start(script("trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done")).await.unwrap();
    scene.printed("up").await;
    scene.runtime = scene.another_runtime();
    assert_eq!(scene.standing().await, Standing::Running(started.clone()));
    let again = scene.runtime.start(&scene.plan(script("echo twice"), 1)).await.unwrap();
    assert_eq!(again, started, "asking again starts nothing");
    scene.runtime.signal(&scene.key(1), Signal::Terminate).await.unwrap();
    assert_eq!(scene.wait().await.code, 9);
    assert_eq!(scene.log(1), "up\n");
}

#[tokio::test]
async fn an_end_that_no_node_was_there_for_is_known() {
    let mut scene = Scene::new();
    let started = scene.start(script("exit 11")).await.unwrap();
    gone(scene.shim_pid()).await;
    scene.runtime = scene.another_runtime();
    assert_eq!(scene.wait().await.code, 11);
    let again = scene.runtime.start(&scene.plan(script("echo twice"), 1)).await.unwrap();
    assert_eq!(again, started, "what has run under a key does not run again");
    assert_eq!(scene.log(1), "");
}

#[tokio::test]
async fn a_killed_shim_ends_its_container() {
    let scene = Scene::new();
    let started = scene.start(script("sleep 1000 & echo $!; echo up; wait")).await.unwrap();
    scene.printed("up").await;
    let child: i32 = scene.log(1).lines().next().unwrap().parse().unwrap();
    let waiting = scene.wait();
    kill(Pid::from_raw(scene.shim_pid()), HostSignal::SIGKILL).unwrap();
    let exit = waiting.await;
    assert_eq!(exit.reason, ExitReason::Lost);
    assert!(!lives(i32::try_from(started.process.host_pid).unwrap()));
    gone(child).await;
    let Standing::Exited { started: Some(seen), exit: same } = scene.standing().await else {
        panic!("it ended")
    };
    assert_eq!((seen, same), (started, exit), "its end is told the same way every time");
}

#[tokio::test]
async fn after_a_reboot_of_the_host_it_is_lost() {
    let scene = Scene::new();
    scene.start(container(&["sleep", "1000"])).await.unwrap();
    scene.runtime.signal(&scene.key(1), Signal::Kill).await.unwrap();
    scene.wait().await;
    gone(scene.shim_pid()).await;
    let bystander = std::process::Command::new("sleep").arg("1000").spawn();
    let mut bystander = bystander.unwrap();
    let folder = scene.paths.process(&scene.key(1));
    fs::remove_file(folder.join("exit.json")).unwrap();
    let mut state: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("state.json")).unwrap()).unwrap();
    state["content"]["main"]["bootId"] = "00000000-0000-4000-8000-000000000000".into();
    // Since then the pid has come to be somebody else's.
    state["content"]["main"]["hostPid"] = bystander.id().into();
    fs::write(folder.join("state.json"), state.to_string()).unwrap();
    scene.runtime.signal(&scene.key(1), Signal::Kill).await.unwrap();
    assert_eq!(scene.wait().await.reason, ExitReason::Lost);
    assert!(bystander.try_wait().unwrap().is_none(), "a stranger was killed");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[tokio::test]
async fn a_plan_without_a_shim_never_ran() {
    let scene = Scene::new();
    scene.start(script("echo ran")).await.unwrap();
    scene.wait().await;
    gone(scene.shim_pid()).await;
    let folder = scene.paths.process(&scene.key(1));
    for file in ["state.json", "exit.json"] {
        fs::remove_file(folder.join(file)).unwrap();
    }
    assert_eq!(scene.standing().await, Standing::Created);
    assert_eq!(scene.wait().await.reason, ExitReason::Lost);
    scene.start(script("echo again")).await.expect("it can be tried again");
    scene.wait().await;
    assert_eq!(scene.log(1), "again\n");
}

/// The node dies right after it handed the lock to the shim: whoever looks next waits for the shim's word.
#[tokio::test]
async fn a_start_under_way_is_waited_for() {
    let scene = Scene::new();
    scene.start(script("echo ran; sleep 0.2")).await.unwrap();
    scene.wait().await;
    gone(scene.shim_pid()).await;
    let folder = scene.paths.process(&scene.key(1));
    for file in ["state.json", "exit.json"] {
        fs::remove_file(folder.join(file)).unwrap();
    }
    let lock = fs::File::options().read(true).write(true).open(folder.join("lock")).unwrap();
    lock.try_lock().unwrap();
    let begin = async move {
        let mut shim = std::process::Command::new(shim());
        // Let the look come first.
        tokio::task::yield_now().await;
        shim.arg("shim").arg(&folder).stdin(lock).stdout(std::process::Stdio::null());
        let child = shim.spawn().unwrap();
        drop(shim);
        child
    };
    let key = scene.key(1);
    let (standing, mut child) = tokio::join!(scene.runtime.inspect(&key), begin);
    assert!(matches!(standing.unwrap(), Standing::Running(_) | Standing::Exited { .. }));
    assert_eq!(scene.wait().await.code, 0);
    child.wait().unwrap();
    assert_eq!(scene.log(1), "ran\nran\n");
}

#[tokio::test]
async fn a_shim_is_not_run_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(shim());
    command.arg("shim").arg(folder.path()).stdin(std::process::Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(2));
}

#[tokio::test]
async fn damaged_files_are_named_and_can_be_removed() {
    let scene = Scene::new();
    let started = scene.start(container(&["sleep", "1000"])).await.unwrap();
    let group = scene.cgroup("pids");
    kill(Pid::from_raw(scene.shim_pid()), HostSignal::SIGKILL).unwrap();
    gone(scene.shim_pid()).await;
    fs::write(scene.paths.process(&scene.key(1)).join("state.json"), "{").unwrap();
    let error = scene.runtime.inspect(&scene.key(1)).await.unwrap_err();
    assert!(error.message.contains("state.json` is damaged"), "{error}");
    scene.runtime.remove(&scene.key(1)).await.unwrap();
    assert_eq!(scene.standing().await, Standing::Absent);
    assert!(!group.exists());
    gone(i32::try_from(started.process.host_pid).unwrap()).await;
}
