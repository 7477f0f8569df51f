//! Vertical scaling, from the command line and the manifest to the kernel: containers get other limits and go on.

use purser_tests::bounded;
use serde_json::{Value, json};

use super::containers::limit;
use super::stage::{Runtime, Stage, on_both, pid_of, play, script, status_of};

on_both!(
    a_pod_gets_other_limits_and_does_not_notice,
    a_manifest_with_other_sizes_alone_resizes,
    memory_below_what_is_used_is_refused_with_the_figure,
    a_resize_is_taken_up_by_the_next_start,
);

const MI: u64 = 1 << 20;

/// A pod of one container with limits.
fn sized(text: &str, cpu: &str, memory: &str) -> Value {
    let mut main = script("main", text);
    main["resources"] = json!({ "limits": { "cpu": cpu, "memory": memory } });
    json!({ "containers": [main] })
}

/// Microseconds of processor time in a window of 100 ms, and bytes of memory, that the kernel allows.
fn held(pid: i32) -> (String, u64) {
    let quota = limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
    let memory = limit(pid, "memory", "memory.limit_in_bytes", "memory.max");
    (quota.split(' ').next().unwrap_or_default().to_owned(), memory.parse().unwrap_or(u64::MAX))
}

fn as_held(quota: &str, mebibytes: u64) -> (String, u64) {
    (quota.to_owned(), mebibytes * MI)
}

/// What the ledger has for a pod.
fn granted(pod: &Value) -> (&str, &str) {
    let amounts = &pod["status"]["purser"]["resources"]["amounts"];
    (amounts["cpu"].as_str().unwrap_or_default(), amounts["memory"].as_str().unwrap_or_default())
}

fn a_pod_gets_other_limits_and_does_not_notice(stage: &mut Stage) {
    stage.apply("web", &sized("exec sleep 600", "200m", "64Mi"));
    let before = stage.until_ready("web");
    let pid = pid_of(&before, "main");
    assert_eq!(held(pid), as_held("20000", 64));

    let said = stage.purser("resize web --cpu 400m --memory 96Mi --memory-request 48Mi");
    assert!(said.ends_with("pod/web resized\n") && said.contains("main: cpu 200m to 400m"), "{said}");
    assert_eq!(held(pid), as_held("40000", 96));
    let shares = limit(pid, "cpu", "cpu.shares", "cpu.weight");
    // Version 2 has a weight, which runc derives in another way since 1.3.2.
    assert!(["409", "16", "49"].contains(&&*shares), "{shares}: weighed by the new request");
    let pod = stage.until("web", |pod| granted(pod) == ("400m", "48Mi"));
    assert_eq!((&pod["metadata"]["generation"], pid_of(&pod, "main")), (&json!(2), pid));
    let status = status_of(&pod, "main");
    let expected = json!({ "limits": { "cpu": "400m", "memory": "96Mi" }, "requests": { "cpu": "400m", "memory": "48Mi" } });
    assert_eq!((&status["resources"], &status["restartCount"]), (&expected, &json!(0)));
    let described = stage.purser("describe pod web");
    for part in [
        "In force:      cpu 400m, memory 96Mi",
        "Allocated:     cpu 400m, memory 48Mi",
        "Completed (generation 2)",
    ] {
        assert!(described.contains(part), "{part}: {described}");
    }
    assert_eq!(stage.purser("resize web --cpu 400m"), "pod/web unchanged\n");

    stage.purserd.kill9();
    stage.purserd.restart();
    let pod = stage.until_ready("web");
    assert_eq!((pid_of(&pod, "main"), held(pid)), (pid, as_held("40000", 96)));
    stage.purser("resize web --tier dev.small");
    assert_eq!(held(pid), as_held("50000", 1_024));
    stage.purser("resize web --cpu 100m --memory none --memory-request 32Mi");
    assert_eq!(held(pid).0, "10000");
    assert!(held(pid).1 > 1_024 * MI * MI, "there is no limit any more: {:?}", held(pid));
    stage.until("web", |pod| granted(pod) == ("100m", "32Mi"));
    // A container that comes after has the new limits from its beginning.
    stage.purser("stop web --grace-period 0");
    stage.purser("start web");
    assert_eq!(held(pid_of(&stage.until_ready("web"), "main")).0, "10000");
    let of = |kind: &str| stage.events("web", kind).len();
    assert_eq!((of("pod.resize-requested"), of("pod.resized"), of("pod.container-started")), (3, 3, 2));
}

fn a_manifest_with_other_sizes_alone_resizes(stage: &mut Stage) {
    stage.apply("web", &sized("exec sleep 600", "200m", "64Mi"));
    let pid = pid_of(&stage.until_ready("web"), "main");
    let other = stage.manifest("web", &sized("exec sleep 600", "300m", "80Mi"));
    assert_eq!(stage.purserd.apply(&other), "pod/web resized\n");
    stage.until("web", |pod| pod["status"]["purser"]["resize"]["state"] == "Completed");
    assert_eq!(held(pid), as_held("30000", 80));
    assert_eq!(stage.purserd.apply(&other), "pod/web unchanged\n");

    let mut more = sized("exec sleep 601", "400m", "80Mi");
    let said = stage.refused(&stage.manifest("web", &more));
    assert!(said.contains("`spec.containers[0].command` differs"), "{said}");
    more = sized("exec sleep 600", "400m", "80Mi");
    more["containers"][0]["ports"] = json!([{ "containerPort": 8_080 }]);
    let said = stage.refused(&stage.manifest("web", &more));
    assert!(said.contains("`spec.containers[0].ports` differs"), "{said}");
    let said = stage.refused(&stage.manifest("web", &sized("exec sleep 600", "900", "900Ti")));
    assert!(
        said.contains("cpu: 900 asked") && said.contains("memory: 900Ti asked"),
        "every shortage: {said}"
    );
    assert_eq!(held(pid), as_held("30000", 80));
}

fn memory_below_what_is_used_is_refused_with_the_figure(stage: &mut Stage) {
    let hold = "v=$(head -c 30000000 /dev/zero | tr '\\0' x); echo up; while :; do sleep 600; done";
    stage.apply("web", &sized(hold, "1", "256Mi"));
    let pid = pid_of(&stage.until_up("web"), "main");
    let output = stage.purserd.purser(["resize", "web", "--memory", "16Mi"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("of memory in use, which is more than the limit of 16Mi"), "{said}");
    assert_eq!(held(pid), as_held("100000", 256));
    assert_eq!(stage.events("web", "pod.resize-requested"), Vec::<Value>::new());
    assert_eq!(granted(&stage.pod("web")).1, "256Mi");
    stage.purser("resize web --memory 128Mi");
    assert_eq!(held(pid), as_held("100000", 128));
}

/// The service is killed as soon as a resize is on record, before or after the kernel was told.
fn a_resize_is_taken_up_by_the_next_start(stage: &mut Stage) {
    stage.apply("web", &sized("exec sleep 600", "200m", "64Mi"));
    let pid = pid_of(&stage.until_ready("web"), "main");
    for (cpu, memory) in [(300_u64, 96_u64), (100, 48), (250, 32), (150, 112)] {
        stage.purser(&format!("resize web --cpu {cpu}m --memory {memory}Mi --wait=false"));
        stage.purserd.kill9();
        stage.purserd.restart();
        let (cpu_text, memory_text) = (format!("{cpu}m"), format!("{memory}Mi"));
        stage.until("web", |pod| granted(pod) == (&*cpu_text, &*memory_text));
        // A start takes it up beside all else that it does.
        let wanted = as_held(&(cpu * 100).to_string(), memory);
        bounded::until("the kernel holds it", || held(pid) == wanted);
        stage.audit();
    }
    assert_eq!(pid_of(&stage.until_ready("web"), "main"), pid);
    assert_eq!(stage.events("web", "pod.resized").len(), 4);
}

#[test]
fn a_resize_waits_for_containerd_also_over_a_kill_of_the_service() {
    play(Runtime::Containerd, |stage| {
        stage.apply("web", &sized("exec sleep 600", "200m", "64Mi"));
        let pid = pid_of(&stage.until_ready("web"), "main");
        let containerd = stage.containerd.as_mut().expect("the stage has one");
        containerd.kill9();
        stage.purser("resize web --cpu 300m --wait=false");
        let pod = stage.pod("web");
        let conditions = pod["status"]["conditions"].as_array().expect("there are some");
        assert!(
            conditions.iter().any(|it| it["type"] == "PodResizeInProgress" && it["status"] == "True"),
            "{pod}"
        );
        assert_eq!((held(pid), granted(&pod).0), (as_held("20000", 64), "300m"), "given, and not yet used");
        let output = stage.purserd.purser(["resize", "web", "--cpu", "400m"]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("is being resized (generation 2)"));
        stage.purserd.kill9();
        stage.containerd.as_mut().expect("the stage has one").restart();
        stage.purserd.restart();
        bounded::until("the kernel holds it to the new limit", || held(pid) == as_held("30000", 64));
        stage.until("web", |pod| pod["status"]["purser"]["resize"]["state"] == "Completed");
    });
}
