//! Commands in running containers.

use std::time::Duration;

use purser_actors::port::{Containers, ExecIo};
use purser_events::pod::event::FailureClass;
use tokio::sync::mpsc;

use super::rig::{Planned, Ran, Rig, exec, until};

#[tokio::test]
async fn a_command_gives_its_output_and_its_code() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("sleep 1000");
    rig.start(&plan).await.unwrap();
    let key = plan.key();
    let ran = exec(&rig.runtime, &key, &["sh", "-c", "echo out; echo err >&2; exit 5"], None).await.unwrap();
    assert_eq!(ran, Ran { code: 5, out: "out\n".into(), err: "err\n".into() });
    let ran = exec(&rig.runtime, &key, &["sh", "-c", "kill -9 $$"], None).await.unwrap();
    assert_eq!(ran.code, 137);
    let ran = exec(&rig.runtime, &key, &["dd", "if=/dev/zero", "bs=1000", "count=1000"], None).await.unwrap();
    assert_eq!((ran.code, ran.out.len()), (0, 1_000_000));
    rig.runtime.remove(&key).await.unwrap();
    rig.runtime.clean_up(plan.uid).await.unwrap();
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn a_command_reads_to_the_end_of_its_input() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("sleep 1000");
    rig.start(&plan).await.unwrap();
    let input: &'static [u8] = vec![b'x'; 300_000].leak();
    let ran = exec(&rig.runtime, &plan.key(), &["wc", "-c"], Some(input)).await.unwrap();
    assert_eq!((ran.code, ran.out.trim()), (0, "300000"));
    let ran = exec(&rig.runtime, &plan.key(), &["true"], Some(input)).await.unwrap();
    assert_eq!(ran.code, 0);
    let ran = exec(&rig.runtime, &plan.key(), &["cat"], None).await.unwrap();
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    rig.runtime.remove(&plan.key()).await.unwrap();
    rig.assert_nothing_left_but_cgroups().await;
}

#[tokio::test]
async fn a_command_that_cannot_run_says_why() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("sleep 1000");
    let absent = exec(&rig.runtime, &plan.key(), &["true"], None).await.unwrap_err();
    assert_eq!(absent.class, FailureClass::Invalid, "{absent}");
    rig.start(&plan).await.unwrap();
    let error = exec(&rig.runtime, &plan.key(), &["nosuch"], None).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Invalid, "{error}");
    assert!(error.message.contains("nosuch") && error.message.contains("not found"), "{error}");
    rig.runtime.remove(&plan.key()).await.unwrap();
    rig.assert_nothing_left_but_cgroups().await;
}

#[tokio::test]
async fn a_command_whose_caller_goes_away_is_killed() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("sleep 1000");
    rig.start(&plan).await.unwrap();
    let (output, mut chunks) = mpsc::channel(1);
    let argv = ["sh", "-c", "echo up; sleep 2000"].map(str::to_owned);
    let (runtime, key) = (rig.runtime.clone(), plan.key());
    let caller = tokio::spawn(async move { runtime.exec(&key, &argv, ExecIo { stdin: None, output }).await });
    assert_eq!(chunks.recv().await.unwrap().bytes, b"up\n");
    caller.abort();
    let pipes = rig.config.runtime_dir.join("exec");
    until("the removal of the command", || std::fs::read_dir(&pipes).is_ok_and(|held| held.count() == 0))
        .await;
    let look = ["sh", "-c", "cat /proc/[0-9]*/cmdline"];
    let ran = exec(&rig.runtime, &plan.key(), &look, None).await.unwrap();
    assert!(ran.out.contains("1000") && !ran.out.contains("2000"), "{}", ran.out);
    rig.runtime.remove(&plan.key()).await.unwrap();
}

#[tokio::test]
async fn what_a_command_leaves_running_does_not_hold_its_caller() {
    let rig = Rig::with_image().await;
    let plan = Planned::script("sleep 1000");
    rig.start(&plan).await.unwrap();
    let argv = ["sh", "-c", "sleep 1000 & echo done"];
    let key = plan.key();
    let ran = tokio::time::timeout(Duration::from_secs(60), exec(&rig.runtime, &key, &argv, None));
    let ran = ran.await.expect("the caller is not held").unwrap();
    assert_eq!((ran.code, ran.out.as_str()), (0, "done\n"));
    rig.runtime.remove(&plan.key()).await.unwrap();
}
