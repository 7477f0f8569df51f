//! How containers end, and what follows from it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_events::Timestamp;
use purser_tests::bounded;
use serde_json::{Value, json};

use super::stage::{Stage, alone, on_both, pid_of, script, status_of};

on_both!(
    a_pod_that_is_never_restarted_fails,
    a_pod_is_restarted_until_it_succeeds,
    a_pod_is_always_restarted_with_growing_waits,
    a_container_out_of_memory_is_said_to_be,
    a_container_may_end_by_itself_when_asked,
    a_container_that_does_not_listen_is_killed,
    a_container_killed_from_outside_is_restarted,
    a_program_that_is_not_there_is_said_to_be,
    children_of_a_container_go_with_it,
);

/// A specification with this restart policy of one container `main` that runs a shell's script.
fn policy(policy: &str, text: &str) -> Value {
    let mut spec = alone(text);
    spec["restartPolicy"] = json!(policy);
    spec
}

fn a_pod_that_is_never_restarted_fails(stage: &mut Stage) {
    stage.apply("job", &policy("Never", "echo no; exit 3"));
    let pod = stage.until_phase("job", "Failed");
    assert_eq!(pod["status"]["reason"], "ContainerFailed");
    assert_eq!(pod["status"]["message"], "container `main` ended with exit code 3");
    let status = status_of(&pod, "main");
    assert_eq!((&status["restartCount"], &status["word"]), (&json!(0), &json!("Error")));
    bounded::until("its output is there", || stage.purser("logs job") == "no\n");
    stage.apply("fine", &policy("Never", "echo yes"));
    let pod = stage.until_phase("fine", "Stopped");
    assert_eq!(
        (&pod["status"]["reason"], &status_of(&pod, "main")["word"]),
        (&json!("Completed"), &json!("Completed"))
    );
    // A pod that has failed can be started again.
    stage.purser("start job");
    stage.until("job", |pod| pod["status"]["phase"] == "Failed" && pod["status"]["purser"]["run"] == 2);
}

fn a_pod_is_restarted_until_it_succeeds(stage: &mut Stage) {
    let mut main = script("main", "echo x >> /mnt/runs; [ $(wc -l < /mnt/runs) = 3 ]");
    main["volumeMounts"] = json!([{ "name": "state", "mountPath": "/mnt" }]);
    let volumes = json!([{ "name": "state", "emptyDir": {} }]);
    stage.apply("job", &json!({ "restartPolicy": "OnFailure", "containers": [main], "volumes": volumes }));
    let pod = stage.until_phase("job", "Stopped");
    assert_eq!(pod["status"]["reason"], "Completed");
    assert_eq!(status_of(&pod, "main")["restartCount"], 2);
    let exits = stage.events("job", "pod.container-exited");
    let codes: Vec<&Value> = exits.iter().map(|exited| &exited["exit"]["code"]).collect();
    assert_eq!(codes, [1, 1, 0]);
}

fn a_pod_is_always_restarted_with_growing_waits(stage: &mut Stage) {
    stage.apply("loop", &policy("Always", "exit 0"));
    stage.until("loop", |pod| status_of(pod, "main")["word"] == "CrashLoopBackOff");
    stage.until("loop", |pod| 6 <= status_of(pod, "main")["restartCount"].as_u64().unwrap_or(0));
    let time = |text: &Value| -> Timestamp {
        text.as_str().expect("a time is text").parse().expect("a record has a time")
    };
    let scheduled = stage.records("loop", "pod.restart-scheduled");
    let ends = stage.events("loop", "pod.container-exited");
    // The first restart comes at once, the others later and later, up to the bound of 400 ms. A wait begins when it is
    // decided on: after the end, and before that is on record.
    for ((scheduled, end), wait) in scheduled.iter().zip(&ends).zip([0, 50, 100, 200, 400, 400]) {
        let until = time(&scheduled["event"]["payload"]["until"]);
        let since_end = until.ms_since(time(&end["exit"]["finishedAt"]));
        let since_record = until.ms_since(time(&scheduled["header"]["time"]));
        assert!(since_record <= wait && wait <= since_end, "{wait} ms: {scheduled} after {end}");
    }
    let created = stage.records("loop", "pod.container-create-requested");
    for (scheduled, created) in scheduled.iter().zip(&created[1..]) {
        let until = time(&scheduled["event"]["payload"]["until"]);
        assert!(until <= time(&created["header"]["time"]), "{created} came before {scheduled}");
    }
}

fn a_container_out_of_memory_is_said_to_be(stage: &mut Stage) {
    let mut main = script("main", "exec /bin/busybox tail /dev/zero");
    main["resources"] = json!({ "limits": { "memory": "24Mi" } });
    stage.apply("job", &json!({ "restartPolicy": "Never", "containers": [main] }));
    // The kill and the end are told apart: which of them is on record first is nobody's promise.
    let pod = stage.until("job", |pod| {
        pod["status"]["phase"] == "Failed" && status_of(pod, "main")["oomKills"].as_u64() >= Some(1)
    });
    let status = status_of(&pod, "main");
    let ended = &status["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)), "{pod}");
    assert!(stage.purser("describe pod job").contains("OOMKilled"));
}

fn a_container_may_end_by_itself_when_asked(stage: &mut Stage) {
    let text = "trap 'echo bye; exit 7' TERM; touch /mnt/up; while :; do sleep 600 & wait $!; done";
    let mut main = script("main", text);
    main["volumeMounts"] = json!([{ "name": "state", "mountPath": "/mnt" }]);
    let check =
        json!({ "exec": { "command": ["/bin/cat", "/mnt/up"] }, "periodSeconds": 1, "timeoutSeconds": 60 });
    main["readinessProbe"] = check;
    let volumes = json!([{ "name": "state", "emptyDir": {} }]);
    let spec = json!({ "terminationGracePeriodSeconds": 600, "containers": [main], "volumes": volumes });
    stage.apply("web", &spec);
    stage.until_ready("web");
    stage.purser("stop web");
    let pod = stage.until_phase("web", "Stopped");
    assert_eq!(status_of(&pod, "main")["state"]["terminated"]["exitCode"], 7, "{pod}");
    bounded::until("its output is there", || stage.purser("logs web") == "bye\n");
    assert_eq!(stage.events("web", "pod.container-kill-requested"), Vec::<Value>::new());
}

fn a_container_that_does_not_listen_is_killed(stage: &mut Stage) {
    let mut spec = alone("trap '' TERM; echo up; while :; do sleep 600; done");
    spec["terminationGracePeriodSeconds"] = json!(1);
    stage.apply("web", &spec);
    stage.until_up("web");
    stage.purser("stop web");
    let pod = stage.until_phase("web", "Stopped");
    assert_eq!(status_of(&pod, "main")["state"]["terminated"]["exitCode"], 137, "{pod}");
    assert_eq!(stage.events("web", "pod.container-kill-requested").len(), 1);
}

fn a_container_killed_from_outside_is_restarted(stage: &mut Stage) {
    stage.apply("web", &alone("echo up; exec sleep 600"));
    let before = pid_of(&stage.until_up("web"), "main");
    kill(Pid::from_raw(before), Signal::SIGKILL).expect("it can be killed");
    let pod = stage.until_restarted("web", "main", 1);
    assert_ne!(pid_of(&pod, "main"), before);
    let exits = stage.events("web", "pod.container-exited");
    assert_eq!((&exits[0]["exit"]["code"], &exits[0]["exit"]["reason"]), (&json!(137), &json!("Error")));
    bounded::until("its output is there", || stage.purser("logs web --previous") == "up\n");
}

fn a_program_that_is_not_there_is_said_to_be(stage: &mut Stage) {
    stage.apply("web", &json!({ "containers": [{ "name": "main", "command": ["/no/such/program"] }] }));
    stage.until_event("pod.container-create-failed", |event| event["container"] == "main");
    let failed = stage.events("web", "pod.container-create-failed");
    assert_eq!(failed[0]["class"], "Invalid", "{failed:?}");
    assert!(failed[0]["message"].as_str().unwrap_or_default().contains("/no/such/program"), "{failed:?}");
    stage.purser("delete web --wait");
}

fn children_of_a_container_go_with_it(stage: &mut Stage) {
    // Another for each service: the scenario runs on both runtimes at once.
    let mark = format!("6{:05}", stage.purserd.pid() % 100_000);
    stage.apply("job", &policy("Never", &format!("setsid sleep {mark} & echo left; exit 0")));
    stage.until_phase("job", "Stopped");
    stage.until_event("pod.container-removed", |event| event["container"] == "main");
    let processes = std::fs::read_dir("/proc").expect("/proc can be read").flatten();
    let commands = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    let left: Vec<String> = commands.filter(|line| *line == format!("sleep\0{mark}\0")).collect();
    assert_eq!(left, Vec::<String>::new());
}
