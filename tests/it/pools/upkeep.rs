//! What upkeep sees: secrets that change, and agents that fall silent.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_tests::bounded;

use super::stage::{POOL, Shape, Stage, waits};

const SHAPE: Shape = Shape { policy: "seed", slots: 3, min: 1, max: 1 };

#[test]
fn an_idle_pod_is_made_again_when_a_secret_changes_and_the_secret_is_on_no_record() {
    let stage = Stage::with(&SHAPE);
    bounded::until("the agent is there", || stage.members("connected") == [1]);
    let secrets = stage.references.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("cloud"), "hunter2").unwrap();
    stage.purserd.await_event("pool.references-changed");
    bounded::until("another pod is there in its place", || {
        let connected = stage.members("connected");
        connected.iter().all(|member| 1 < *member) && connected.len() == 1
    });
    let records = purser_tests::http::text(&stage.purserd.socket(), "/v1/events?from=0").unwrap();
    assert!(!records.contains("hunter2") && !stage.purserd.log().contains("hunter2"));
}

#[test]
fn the_task_of_an_agent_that_fell_silent_runs_in_another_pod() {
    let stage = Stage::with(&SHAPE);
    let task = stage.submit("work", &format!("echo $PPID >> $GROUND/agents; {}", waits("begun", "gate", 0)));
    stage.await_file("begun");
    let first = stage.await_state(&task, "running")["slot"]["member"].clone();
    let agents = || fs::read_to_string(stage.ground("agents")).unwrap_or_default();
    kill(Pid::from_raw(agents().trim().parse().unwrap()), Signal::SIGSTOP).unwrap();
    bounded::until("another agent has begun with it", || agents().lines().count() == 2);
    assert_ne!(stage.await_state(&task, "running")["slot"]["member"], first);
    stage.open("gate");
    let ended = stage.await_state(&task, "success");
    assert_eq!(ended["attempts"], 2, "{ended}");
}

/// The folders of members that there are on disk.
fn folders(stage: &Stage) -> Vec<String> {
    let entries = fs::read_dir(stage.purserd.data_dir().join("agents/members")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn of_a_pod_that_was_refused_no_folder_stays() {
    let mut stage = Stage::with(&Shape { min: 0, ..SHAPE });
    stage.purserd.purser_ok(["cordon", "--reason", "new disks"]);
    let task = stage.submit("work", "true");
    stage.purserd.await_event("pool.member-no-room");
    bounded::until("its folder is gone", || folders(&stage).is_empty());
    stage.purserd.kill9();
    // As a stop between the refusal and its clean-up would have left it.
    fs::create_dir_all(stage.purserd.data_dir().join(format!("agents/members/{POOL}-9999"))).unwrap();
    stage.purserd.restart();
    bounded::until("strays are gone", || !folders(&stage).contains(&format!("{POOL}-9999")));
    let described = stage.purserd.purser_ok(["describe", "pool", POOL]);
    assert!(described.contains("no room for another pod") && described.contains("new disks"), "{described}");
    bounded::until("it waits for room", || {
        stage.task(&task)["waitsBecause"].as_str().is_some_and(|why| why.contains("no room"))
    });
    stage.purserd.purser_ok(["uncordon"]);
    stage.await_state(&task, "success");
    assert_eq!(stage.pool()["status"]["message"], serde_json::Value::Null);
}
