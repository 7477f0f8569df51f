//! Restarts of the service and of containerd: pods do not notice, and what ended meanwhile is recorded.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_tests::bounded;
use purser_tests::feed::Feed;
use purser_tests::leftovers::running_processes;
use serde_json::{Value, json};
use std::path::Path;

use super::stage::{Runtime, Stage, alone, on_both, pid_of, play, script, status_of};

on_both!(
    pods_do_not_notice_that_the_service_is_killed,
    what_ends_while_the_service_is_away_is_recorded,
    a_pod_cut_off_in_its_start_comes_up,
    a_stop_cut_off_is_finished,
    a_container_that_nobody_saw_end_is_lost,
    a_command_does_not_outlive_the_service_that_began_it,
);

/// Ends with 9 when it is asked to.
const MORTAL: &str = "trap 'exit 9' TERM; echo up; while :; do sleep 600 & wait $!; done";

/// What must stay the same of each container over a restart.
fn identities(pod: &Value) -> Vec<Value> {
    let statuses = pod["status"]["containerStatuses"].as_array().expect("a pod has containers");
    let facts = ["name", "hostPid", "containerID", "restartCount", "state", "ready"];
    statuses.iter().map(|status| facts.map(|fact| status[fact].clone()).into_iter().collect()).collect()
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("a running process can be signalled");
}

/// Waits until a process has ended.
fn until_ended(pid: i32) {
    bounded::until(&format!("process {pid} has ended"), || !is_running(pid));
}

fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

/// The processes that were run with just these arguments.
fn running_as(argv: &[&str]) -> Vec<i32> {
    let wanted: String = argv.iter().flat_map(|word| [word, "\0"]).collect();
    let entries = std::fs::read_dir("/proc").expect("there are processes").filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|argv| argv == wanted.as_bytes())
    })
    .collect()
}

fn a_command_does_not_outlive_the_service_that_began_it(stage: &mut Stage) {
    stage.apply("web", &alone(MORTAL));
    let before = stage.until_up("web");
    // Nobody else sleeps for just this long.
    let seconds = (1_000_000 + stage.purserd.pid()).to_string();
    let argv = ["/bin/sleep", seconds.as_str()];
    let mut command = stage.purserd.command();
    command.args(["exec", "web", "--"]).args(argv);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut caller = command.spawn().expect("purser can be started");
    bounded::until("the command runs", || !running_as(&argv).is_empty());
    stage.purserd.kill9();
    bounded::wait(&mut caller, "purser exec");
    assert!(!running_as(&argv).is_empty(), "the command went with the service: this shows nothing");
    stage.purserd.restart();
    bounded::until("the command is gone", || running_as(&argv).is_empty());
    let after = stage.until_up("web");
    assert_eq!(identities(&after), identities(&before), "the container noticed");
    assert_eq!(stage.purser("exec web -- /bin/echo still here").trim(), "still here");
}

fn pods_do_not_notice_that_the_service_is_killed(stage: &mut Stage) {
    stage.apply("web", &json!({ "containers": [script("one", MORTAL), script("two", MORTAL)] }));
    stage.apply("db", &alone(MORTAL));
    let before = [stage.until_up("web"), stage.until_up("db")];
    for kill9 in [true, true, false] {
        if kill9 {
            stage.purserd.kill9();
        } else {
            assert!(stage.purserd.stop().success());
        }
        for (pod, container) in [(&before[0], "one"), (&before[0], "two"), (&before[1], "main")] {
            assert!(is_running(pid_of(pod, container)), "{container} has ended with the service");
        }
        stage.purserd.restart();
        let after = [stage.until_up("web"), stage.until_up("db")];
        assert_eq!(after.each_ref().map(identities), before.each_ref().map(identities));
    }
    assert_eq!(stage.events("web", "pod.container-create-requested").len(), 2);
    assert_eq!(stage.events("web", "pod.container-exited"), Vec::<Value>::new());
    // They are watched again, not only shown.
    signal(pid_of(&before[1], "main"), Signal::SIGTERM);
    let pod = stage.until_restarted("db", "main", 1);
    assert_eq!(status_of(&pod, "main")["lastState"]["terminated"]["exitCode"], 9, "{pod}");
    assert_eq!(stage.purser("logs db --previous"), "up\n");
    let starts: Value = serde_json::from_str(&stage.purser("status -o json")).expect("the status is JSON");
    assert_eq!((&starts["starts"], &starts["uncleanStarts"]), (&json!(4), &json!(2)));
}

fn what_ends_while_the_service_is_away_is_recorded(stage: &mut Stage) {
    stage.apply("always", &alone(MORTAL));
    let mut never = alone(MORTAL);
    never["restartPolicy"] = json!("Never");
    stage.apply("never", &never);
    let pids = ["always", "never"].map(|name| pid_of(&stage.until_up(name), "main"));
    stage.purserd.kill9();
    signal(pids[0], Signal::SIGTERM);
    signal(pids[1], Signal::SIGKILL);
    pids.into_iter().for_each(until_ended);
    stage.purserd.restart();
    let always = stage.until_restarted("always", "main", 1);
    let last = &status_of(&always, "main")["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(9), &json!("Error")), "{always}");
    let never = stage.until_phase("never", "Failed");
    assert_eq!(status_of(&never, "main")["state"]["terminated"]["exitCode"], 137, "{never}");
}

fn a_pod_cut_off_in_its_start_comes_up(stage: &mut Stage) {
    let moments =
        ["pod.admitted", "pod.setup-requested", "pod.container-create-requested", "pod.container-started"];
    for (number, moment) in moments.into_iter().enumerate() {
        let name = format!("web-{number}");
        let mut feed = Feed::live(&stage.purserd);
        stage.apply(&name, &alone(MORTAL));
        feed.until(|event| event.kind == moment);
        stage.purserd.kill9();
        stage.purserd.restart();
        let pod = stage.until_up(&name);
        assert_eq!(status_of(&pod, "main")["restartCount"], 0, "{pod}");
        assert!(is_running(pid_of(&pod, "main")));
    }
}

fn a_stop_cut_off_is_finished(stage: &mut Stage) {
    let mut spec = alone("trap 'echo asked' TERM; echo up; while :; do sleep 600 & wait $!; done");
    spec["terminationGracePeriodSeconds"] = json!(2);
    stage.apply("web", &spec);
    stage.until_up("web");
    stage.purser("stop web");
    stage.purserd.kill9();
    stage.purserd.restart();
    let pod = stage.until_phase("web", "Stopped");
    assert_eq!(status_of(&pod, "main")["state"]["terminated"]["exitCode"], 137, "{pod}");
    stage.purser("start web");
    stage.until_up("web");
    stage.purser("delete web --grace-period 0");
    stage.purserd.kill9();
    stage.purserd.restart();
    stage.purser("wait web --for=delete");
    stage.assert_nothing_left();
}

/// What watches the container is killed with it while the service is away: as after a restart of the host, nobody
/// knows how it ended.
fn a_container_that_nobody_saw_end_is_lost(stage: &mut Stage) {
    stage.apply("web", &alone(MORTAL));
    let pid = pid_of(&stage.until_up("web"), "main");
    stage.purserd.kill9();
    match &stage.containerd {
        None => {
            let data = stage.purserd.data_dir();
            let shim = running_processes(&data).into_iter().find(|process| process.pid != pid);
            signal(shim.expect("a shim watches the container").pid, Signal::SIGKILL);
            signal(pid, Signal::SIGKILL);
        }
        Some(containerd) => {
            let task = containerd.ctr(&["tasks", "ls", "-q"]);
            let _ended = containerd.ctr(&["tasks", "rm", "-f", task.trim()]);
        }
    }
    until_ended(pid);
    stage.purserd.restart();
    let pod = stage.until_restarted("web", "main", 1);
    assert_eq!(status_of(&pod, "main")["lastState"]["terminated"]["reason"], "Lost", "{pod}");
    assert!(Path::new(&format!("/proc/{}", pid_of(&pod, "main"))).exists());
}

#[test]
fn pods_do_not_notice_that_containerd_is_killed() {
    play(Runtime::Containerd, |stage| {
        stage.apply("web", &json!({ "containers": [script("one", MORTAL), script("two", MORTAL)] }));
        stage.apply("db", &alone(MORTAL));
        let before = [stage.until_up("web"), stage.until_up("db")];
        for kill9 in [true, false] {
            let mut feed = Feed::live(&stage.purserd);
            stop_containerd(stage, kill9);
            feed.until(|event| event.kind == "node.runtime-lost");
            assert!(is_running(pid_of(&before[1], "main")));
            assert_eq!(stage.purserd.purser(["exec", "db", "--", "/bin/true"]).status.code(), Some(126));
            start_containerd(stage);
            stage.until("db", |_| runtime_is_up(stage));
            let after = [stage.until_up("web"), stage.until_up("db")];
            assert_eq!(after.each_ref().map(identities), before.each_ref().map(identities));
            stage.shell("db", "main", "true");
        }
        // An end in the gap, and one after it.
        stop_containerd(stage, true);
        signal(pid_of(&before[1], "main"), Signal::SIGTERM);
        until_ended(pid_of(&before[1], "main"));
        start_containerd(stage);
        let db = stage.until_restarted("db", "main", 1);
        assert_eq!(status_of(&db, "main")["lastState"]["terminated"]["exitCode"], 9, "{db}");
        signal(pid_of(&before[0], "two"), Signal::SIGTERM);
        let web = stage.until_restarted("web", "two", 1);
        assert_eq!(status_of(&web, "two")["lastState"]["terminated"]["exitCode"], 9, "{web}");
        assert_eq!(pid_of(&web, "one"), pid_of(&before[0], "one"));
    });
}

#[test]
fn pods_do_not_notice_that_containerd_and_the_service_are_killed() {
    play(Runtime::Containerd, |stage| {
        stage.apply("web", &alone(MORTAL));
        stage.apply("db", &alone(MORTAL));
        let before = [stage.until_up("web"), stage.until_up("db")];
        stage.purserd.kill9();
        stop_containerd(stage, true);
        signal(pid_of(&before[1], "main"), Signal::SIGTERM);
        until_ended(pid_of(&before[1], "main"));
        // First the service comes back, and waits for containerd.
        stage.purserd.restart();
        assert_eq!(status_of(&stage.pod("web"), "main")["hostPid"], json!(pid_of(&before[0], "main")));
        start_containerd(stage);
        let db = stage.until_restarted("db", "main", 1);
        assert_eq!(status_of(&db, "main")["lastState"]["terminated"]["exitCode"], 9, "{db}");
        assert_eq!(identities(&stage.until_up("web")), identities(&before[0]));
        // Then both the other way round.
        let before = [stage.until_up("web"), stage.until_up("db")];
        stage.purserd.kill9();
        stop_containerd(stage, true);
        start_containerd(stage);
        stage.purserd.restart();
        let after = [stage.until_up("web"), stage.until_up("db")];
        assert_eq!(after.each_ref().map(identities), before.each_ref().map(identities));
    });
}

#[test]
fn what_is_asked_while_containerd_is_away_is_done_when_it_is_back() {
    play(Runtime::Containerd, |stage| {
        stage.apply("old", &alone(MORTAL));
        stage.until_up("old");
        stop_containerd(stage, true);
        stage.apply("new", &alone(MORTAL));
        stage.purser("delete old --grace-period 1");
        let new = stage.until("new", |pod| !pod["status"]["reason"].is_null());
        assert_eq!(new["status"]["reason"], "RuntimeUnavailable", "{new}");
        start_containerd(stage);
        stage.until_up("new");
        stage.purser("wait old --for=delete");
    });
}

fn stop_containerd(stage: &mut Stage, kill9: bool) {
    let containerd = stage.containerd.as_mut().expect("the stage has a containerd");
    if kill9 { containerd.kill9() } else { containerd.terminate() }
}

fn start_containerd(stage: &mut Stage) {
    stage.containerd.as_mut().expect("the stage has a containerd").restart();
}

fn runtime_is_up(stage: &Stage) -> bool {
    let status: Value = serde_json::from_str(&stage.purser("status -o json")).expect("the status is JSON");
    status["runtimes"]["containerd"]["up"] == true
}
