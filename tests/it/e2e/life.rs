//! A pod's life by command line, from its manifest to its end.

use std::io::Write;
use std::process::Stdio;

use purser_tests::bounded;
use serde_json::{Value, json};

use super::stage::{Stage, alone, on_both, pid_of, read, script, status_of};

on_both!(
    a_pod_is_shown_as_it_stands,
    commands_run_in_its_containers,
    its_output_is_kept_and_followed,
    it_stops_and_starts_again,
    what_is_deleted_can_be_applied_again,
    a_wait_ends_in_time,
    a_cordoned_node_takes_nothing_new,
);

/// Says that it is up and waits to be ended.
const SERVER: &str = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 600 & wait $!; done";

fn a_pod_is_shown_as_it_stands(stage: &mut Stage) {
    let spec = json!({ "containers": [script("one", SERVER), script("two", SERVER)] });
    stage.apply("web", &spec);
    let pod = stage.until_up("web");
    assert_eq!(pod["status"]["phase"], "Running");
    for name in ["one", "two"] {
        let status = status_of(&pod, name);
        assert_eq!((&status["ready"], &status["restartCount"]), (&json!(true), &json!(0)), "{status}");
        let said = read(format!("/proc/{}/cmdline", pid_of(&pod, name)));
        assert!(said.contains("echo bye"), "{said}");
    }
    let table = stage.purser("get pods");
    let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..4], ["web", "2/2", "Running", "0"], "{table}");
    let workers = stage.purser("get workers");
    assert!(workers.contains(&pid_of(&pod, "two").to_string()), "{workers}");
    let described = stage.purser("describe pod web");
    for word in ["one:", "two:", "pod.started", "Ready            True"] {
        assert!(described.contains(word), "no `{word}` in {described}");
    }
}

fn commands_run_in_its_containers(stage: &mut Stage) {
    stage.apply("web", &json!({ "containers": [script("one", SERVER), script("two", SERVER)] }));
    stage.until_up("web");
    let failing = "echo out; echo err >&2; exit 42";
    let ended = stage.purserd.purser(["exec", "web", "-c", "two", "--", "/bin/sh", "-c", failing]);
    assert_eq!(ended.status.code(), Some(42));
    assert_eq!((&*ended.stdout, &*ended.stderr), (&b"out\n"[..], &b"err\n"[..]));
    let absent = stage.purserd.purser(["exec", "web", "-c", "one", "--", "/no/such/program"]);
    assert_ne!(absent.status.code(), Some(0));
    assert!(!absent.stderr.is_empty(), "nothing says that there is no such program");
    let which = stage.purserd.purser(["exec", "web", "--", "/bin/true"]);
    assert_eq!(which.status.code(), Some(1), "one of two containers was chosen");
    let mut cat = stage
        .purserd
        .command()
        .args(["exec", "web", "-c", "one", "-i", "--", "/bin/cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("purser can be started");
    let sent = "line\n".repeat(50_000);
    let mut input = cat.stdin.take().expect("it is piped");
    input.write_all(sent.as_bytes()).expect("the command reads");
    drop(input);
    let answered = cat.wait_with_output().expect("a child can be waited for");
    assert!(answered.status.success());
    assert!(
        answered.stdout == sent.as_bytes(),
        "{} of {} bytes came back",
        answered.stdout.len(),
        sent.len()
    );
    let finished = stage.events("web", "pod.exec-finished");
    assert_eq!(finished[0]["outcome"], json!({ "Exited": { "code": 42 } }));
    assert_eq!(stage.pod("web")["status"]["purser"]["openExecs"], 0);
    assert_eq!(stage.pod("web")["status"]["purser"]["limitsEnforced"], true);
}

/// A pod with it that has all the time that it takes to end.
fn server() -> Value {
    let mut spec = alone(SERVER);
    spec["terminationGracePeriodSeconds"] = json!(600);
    spec
}

fn its_output_is_kept_and_followed(stage: &mut Stage) {
    stage.apply("web", &server());
    stage.until_up("web");
    let follower = stage.purserd.command().args(["logs", "web", "-f"]).stdout(Stdio::piped()).spawn();
    let mut follower = follower.expect("purser can be started");
    let mut output = follower.stdout.take().expect("it is piped");
    // Once the first line has come, the follower follows.
    let mut first = [0; 3];
    std::io::Read::read_exact(&mut output, &mut first).expect("there is output");
    assert_eq!(&first, b"up\n");
    stage.purser("stop web");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut output, &mut rest).expect("the output ends");
    assert_eq!(rest, "bye\n");
    assert!(follower.wait().expect("a child can be waited for").success());
    bounded::until("its last words are kept", || stage.purser("logs web --tail 1") == "bye\n");
    stage.until_phase("web", "Stopped");
    stage.purser("start web");
    stage.until_up("web");
    assert_eq!(stage.purser("logs web --previous"), "up\nbye\n");
    let absent = stage.purserd.purser(["logs", "web", "-c", "absent"]);
    assert_eq!(absent.status.code(), Some(1));
}

fn it_stops_and_starts_again(stage: &mut Stage) {
    stage.apply("web", &server());
    let before = stage.until_up("web");
    stage.purser("stop web");
    let stopped = stage.until_phase("web", "Stopped");
    assert_eq!(stopped["status"]["reason"], "Requested");
    assert_eq!(status_of(&stopped, "main")["state"]["terminated"]["exitCode"], 0);
    assert!(!std::path::Path::new(&format!("/proc/{}", pid_of(&before, "main"))).exists());
    assert_eq!(stage.events("web", "pod.container-kill-requested"), Vec::<Value>::new());
    stage.purser("start web");
    let again = stage.until_up("web");
    assert_ne!(pid_of(&again, "main"), pid_of(&before, "main"));
    assert_eq!(
        (&again["status"]["purser"]["run"], &again["metadata"]["uid"]),
        (&json!(2), &before["metadata"]["uid"])
    );
    assert_eq!(status_of(&again, "main")["restartCount"], 0, "a start by request is no restart");
}

fn what_is_deleted_can_be_applied_again(stage: &mut Stage) {
    stage.apply("web", &alone(SERVER));
    let first = stage.until_up("web");
    let same = stage.manifest("web", &alone(SERVER));
    assert_eq!(stage.purserd.apply(&same), "pod/web unchanged\n");
    let other = stage.manifest("web", &alone("sleep 600"));
    let said = stage.refused(&other);
    assert!(said.contains("spec.containers[0]") && said.contains("delete it first"), "{said}");
    assert_eq!(stage.pod("web")["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(stage.purser("delete web --wait"), "pod/web deleted\n");
    stage.assert_nothing_left();
    assert_eq!(stage.purserd.purser(["get", "pods", "web"]).status.code(), Some(1));
    assert_eq!(stage.purserd.apply(&other), "pod/web created\n");
    let second = stage.until_ready("web");
    assert_ne!(second["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(second["status"]["purser"]["supersedes"], first["metadata"]["uid"]);
    let admitted = stage.events("web", "pod.admitted");
    assert_eq!(admitted.len(), 2, "events of a name are those of each of its incarnations");
}

fn a_wait_ends_in_time(stage: &mut Stage) {
    stage.apply("web", &alone(SERVER));
    stage.purser("wait web --for=phase=Running");
    let late = stage.purserd.purser(["wait", "web", "--for=delete", "--timeout", "50ms"]);
    assert_eq!(late.status.code(), Some(4));
    let mut waiting = stage.purserd.command();
    let waiting = waiting.args(["wait", "web", "--for=delete", "--timeout=170s"]).spawn();
    stage.purser("delete web");
    assert!(waiting.expect("purser can be started").wait().expect("a child can be waited for").success());
    let absent = stage.purserd.purser(["wait", "web", "--for=condition=Ready", "--timeout", "5s"]);
    assert_eq!(absent.status.code(), Some(1), "a pod that is not there is waited for");
}

fn a_cordoned_node_takes_nothing_new(stage: &mut Stage) {
    stage.apply("old", &alone(SERVER));
    let old = stage.until_up("old");
    stage.purserd.purser_ok(["cordon", "--reason", "disk swap"]);
    let said = stage.refused(&stage.manifest("new", &alone(SERVER)));
    assert!(said.contains("disk swap"), "{said}");
    assert_eq!(stage.pod("old"), old);
    stage.purser("uncordon");
    stage.apply("new", &alone(SERVER));
    stage.until_up("new");
}
