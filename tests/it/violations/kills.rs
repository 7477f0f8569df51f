//! Ladders of a service that is killed with SIGKILL on its way up, and processes that a node for pods alone ends.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use purser_tests::bounded;
use serde_json::Value;

use super::held::{FAST, Scene};

/// A process of the test's own, killed when it is dropped.
struct Own(Child);

impl Own {
    fn run(program: &str, args: &[&str]) -> Own {
        Own(Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// Waits for its end; says which signal it was.
    fn ended_by(&mut self) -> Option<i32> {
        bounded::wait(&mut self.0, "a process of no pod").signal()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_service_that_is_killed_on_the_ladder_goes_on_from_the_rung_and_evicts_once() {
    let mut scene = Scene::new(FAST);
    let (greedy, first) = scene.run("greedy", 40, "10Gi", "100m");
    let (_, second) = scene.run("fair", 40, "10Gi", "100m");
    let kind = "gpu_memory_over_quota";
    scene.say(50, &[(first, 20, 20), (second, 20, 9)]);
    scene.until_step(kind, "warn escalated");
    scene.purserd.kill9();
    scene.purserd.restart();
    scene.until_step(kind, "evict requested");
    scene.purserd.kill9();
    scene.purserd.restart();
    bounded::until("the pod has stopped", || scene.phase("greedy") != "Running");
    // Its memory goes with its process.
    scene.say(20, &[(second, 20, 9)]);
    bounded::until("it is over", || scene.violations(kind).iter().all(|it| it["until"] != Value::Null));
    let steps = scene.steps(kind);
    let expected = [
        "warn escalated",
        "throttle escalated",
        "throttle requested",
        "throttle skipped",
        "evict escalated",
        "evict requested",
        "evict completed",
        "evict resolved",
    ];
    assert_eq!(steps, expected);
    let all = scene.violations(kind);
    assert_eq!((all.len(), &all[0]["podUid"]), (1, &Value::from(greedy)), "{all:#?}");
    let events = scene.purserd.purser_ok(["events", "greedy", "-o", "json"]);
    assert_eq!(events.matches("pod.stop-requested").count(), 1, "{events}");
    assert_eq!(scene.phase("fair"), "Running");
    // For how much of its life nobody looked is told of the other pod, whose limits were all that there was to check.
    let told = scene.purserd.purser_ok(["describe", "pod", "fair"]);
    let checked = told.lines().find_map(|line| line.strip_prefix("Limits checked: ")).unwrap_or_default();
    let percent: f64 =
        checked.split(" % of its life; ").next().unwrap_or_default().parse().expect("a figure");
    assert!(0.0 < percent && percent < 100.0 && checked.contains(" gaps of "), "{told}");
    assert_eq!(told.matches(": service_down").count(), 2, "{told}");
}

/// The policy of a node for pods alone, which gives processes time to hear that they are to end.
fn for_pods_alone() -> String {
    let policy = FAST.replace("eviction-grace-s = 1\n", "eviction-grace-s = 10\n");
    assert_ne!(policy, FAST);
    format!("{policy}exclusive-node = true\n")
}

#[test]
fn a_node_for_pods_alone_ends_processes_of_nobody_and_leaves_those_that_are_allowed() {
    let policy = format!("{}allowed-processes = [\"tail\"]\n", for_pods_alone());
    let mut scene = Scene::new(&policy);
    let (_, of_pod) = scene.run("pod", 40, "10Gi", "100m");
    let mut soft = Own::run("/bin/sleep", &["600"]);
    // It says when it hears no request to end.
    let mut hard = Own(Command::new("/bin/sh")
        .args(["-c", "trap '' TERM; echo; exec sleep 600"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap());
    std::io::Read::read_exact(hard.0.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let allowed = Own::run("/usr/bin/tail", &["-f", "/dev/null"]);
    let (first, second, third) = (soft.0.id(), hard.0.id(), allowed.0.id());
    scene.say(50, &[(of_pod, 5, 1), (first, 5, 1), (second, 5, 1), (third, 5, 1)]);
    scene.until_step("unknown_process", "evict requested");
    scene.purserd.kill9();
    scene.purserd.restart();
    assert_eq!(soft.ended_by(), Some(Signal::SIGTERM as i32));
    // A driver that goes on to list what is gone has strangers for as long.
    scene.say(50, &[(of_pod, 5, 1), (second, 5, 1), (third, 5, 1)]);
    assert_eq!(hard.ended_by(), Some(Signal::SIGKILL as i32));
    scene.say(50, &[(of_pod, 5, 1), (third, 5, 1)]);
    scene.until_step("unknown_process", "evict completed");
    scene.until_step("unknown_process", "evict resolved");
    let asked = scene.steps("unknown_process").iter().filter(|it| *it == "evict requested").count();
    assert_eq!(asked, 1);
    assert!(std::fs::read_to_string(format!("/proc/{third}/stat")).is_ok_and(|stat| !stat.contains(" Z ")));
    assert_eq!(scene.phase("pod"), "Running");
}

#[test]
fn strangers_that_come_after_the_first_were_ended_are_ended_as_well() {
    let scene = Scene::new(&for_pods_alone());
    let (_, of_pod) = scene.run("pod", 40, "10Gi", "100m");
    let mut first = Own::run("/bin/sleep", &["600"]);
    // One that the driver goes on to list, and that nobody on this machine is.
    let nobody = 5_000_000;
    scene.say(50, &[(of_pod, 5, 1), (first.0.id(), 5, 1), (nobody, 5, 1)]);
    scene.until_step("unknown_process", "evict requested");
    assert_eq!(first.ended_by(), Some(Signal::SIGTERM as i32));
    scene.say(50, &[(of_pod, 5, 1), (nobody, 5, 1)]);
    scene.until_step("unknown_process", "evict failed");
    let all = scene.json(&["get", "violations"]).to_string();
    assert!(all.contains("of the processes 1 are not on this machine"), "{all}");
    let mut late = Own::run("/bin/sleep", &["600"]);
    scene.say(50, &[(of_pod, 5, 1), (late.0.id(), 5, 1), (nobody, 5, 1)]);
    assert_eq!(late.ended_by(), Some(Signal::SIGTERM as i32));
    assert_eq!(scene.violations("unknown_process").len(), 1);
    assert_eq!(scene.phase("pod"), "Running");
}
