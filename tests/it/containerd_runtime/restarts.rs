//! Restarts of containerd and of the node: containers go on, ends are kept, nothing is doubled.

use purser_actors::port::{Containers, Notice, Signal, Standing};
use purser_events::pod::event::{ExitReason, FailureClass};

use super::rig::{Planned, Rig, exec, until};

#[tokio::test]
async fn a_container_outlives_containerd_and_is_still_waited_for() {
    for crash in [true, false] {
        let mut rig = Rig::with_image().await;
        let plan = Planned::script("echo up; while [ ! -e /tmp/go ]; do sleep 0.01; done; exit 42");
        let started = rig.start(&plan).await.unwrap();
        rig.until_logged(&plan.key(), "up").await;
        let waiting = {
            let (runtime, key) = (rig.runtime.clone(), plan.key());
            tokio::spawn(async move { runtime.wait(&key).await })
        };
        if crash {
            rig.containerd.kill9();
        } else {
            rig.containerd.terminate();
        }
        let error = rig.runtime.inspect(&plan.key()).await.unwrap_err();
        assert_eq!(error.class, FailureClass::Unavailable, "{error}");
        rig.containerd.restart();
        assert_eq!(rig.runtime.inspect(&plan.key()).await.unwrap(), Standing::Running(started));
        let ran = exec(&rig.runtime, &plan.key(), &["touch", "/tmp/go"], None).await.unwrap();
        assert_eq!(ran.code, 0);
        let exit = waiting.await.unwrap().unwrap();
        assert_eq!((exit.code, exit.reason), (42, ExitReason::Error));
        rig.runtime.remove(&plan.key()).await.unwrap();
        rig.runtime.clean_up(plan.uid).await.unwrap();
        rig.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn an_end_while_containerd_is_away_is_kept() {
    let mut rig = Rig::with_image().await;
    let plan = Planned::script("echo up; sleep 0.3; exit 42");
    let started = rig.start(&plan).await.unwrap();
    rig.containerd.kill9();
    let process = format!("/proc/{}/exe", started.process.host_pid);
    until("the end of the container", || std::fs::read_link(&process).is_err()).await;
    rig.containerd.restart();
    let exit = rig.runtime.wait(&plan.key()).await.unwrap();
    assert_eq!((exit.code, exit.reason), (42, ExitReason::Error));
    rig.runtime.remove(&plan.key()).await.unwrap();
    rig.runtime.clean_up(plan.uid).await.unwrap();
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn containerds_absence_and_return_are_noticed() {
    let mut rig = Rig::with(|config, _| config);
    let mut notices = rig.runtime.notices().unwrap();
    assert!(matches!(notices.recv().await, Some(Notice::Found { .. })));
    rig.containerd.kill9();
    assert!(matches!(notices.recv().await, Some(Notice::Lost { .. })));
    rig.containerd.restart();
    assert!(matches!(notices.recv().await, Some(Notice::Found { .. })));
}

#[tokio::test]
async fn a_start_cut_off_by_a_crash_of_containerd_can_be_cleared_and_repeated() {
    let mut rig = Rig::with_image().await;
    // Killed at a different moment of the start each time, from its first call to after its end.
    for delay_ms in [0, 2, 5, 10, 20, 30, 45, 60, 80] {
        let plan = Planned::script("echo up; sleep 1000");
        let images = rig.runtime.set_up(&plan.pod()).await.unwrap();
        let start = {
            let (runtime, first) = (rig.runtime.clone(), plan.first(&images));
            tokio::spawn(async move { runtime.start(&first).await })
        };
        tokio::time::sleep(std::time::Duration::from_millis(delay_ms)).await;
        rig.containerd.kill9();
        if let Err(error) = start.await.unwrap() {
            assert_eq!(error.class, FailureClass::Unavailable, "{error}");
        }
        rig.containerd.restart();
        let standing = rig.runtime.inspect(&plan.key()).await.unwrap();
        if let Standing::Running(started) = standing {
            assert_eq!(rig.runtime.start(&plan.first(&images)).await.unwrap().process, started.process);
        } else {
            rig.runtime.remove(&plan.key()).await.unwrap();
            rig.runtime.start(&plan.first(&images)).await.unwrap();
        }
        rig.until_logged(&plan.key(), "up").await;
        let listed = rig.runtime.list().await.unwrap();
        assert_eq!(listed, [plan.key()]);
        rig.runtime.remove(&plan.key()).await.unwrap();
        rig.runtime.clean_up(plan.uid).await.unwrap();
        rig.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn a_second_runtime_adopts_what_the_first_started() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("trap 'exit 4' TERM; echo up; while :; do sleep 0.01; done");
    let started = rig.start(&plan).await.unwrap();
    rig.until_logged(&plan.key(), "up").await;
    let second = rig.second_runtime();
    assert_eq!(second.list().await.unwrap(), [plan.key()]);
    assert_eq!(second.inspect(&plan.key()).await.unwrap(), Standing::Running(started));
    second.signal(&plan.key(), Signal::Terminate).await.unwrap();
    assert_eq!(second.wait(&plan.key()).await.unwrap().code, 4);
    second.remove(&plan.key()).await.unwrap();
    second.clean_up(plan.uid).await.unwrap();
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn a_container_whose_task_went_without_a_word_is_lost() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("echo up; sleep 1000");
    let started = rig.start(&plan).await.unwrap();
    // As after a restart of the host: the record is there, the task is not.
    let id = rig.containerd.ctr(&["tasks", "ls", "-q"]);
    let _ended = rig.containerd.ctr(&["tasks", "rm", "-f", id.trim()]);
    let Standing::Exited { started: known, exit } = rig.runtime.inspect(&plan.key()).await.unwrap() else {
        panic!("it counts as something else")
    };
    assert_eq!((known, exit.reason), (Some(started), ExitReason::Lost));
    assert_eq!(rig.runtime.wait(&plan.key()).await.unwrap().reason, ExitReason::Lost);
    rig.runtime.remove(&plan.key()).await.unwrap();
    assert_eq!(rig.runtime.wait(&plan.key()).await.unwrap().reason, ExitReason::Lost);
    rig.runtime.clean_up(plan.uid).await.unwrap();
    rig.assert_nothing_left().await;
}
