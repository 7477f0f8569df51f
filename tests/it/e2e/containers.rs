//! What the containers of a pod are given: their order, environment, user, folders and limits.

use std::fs;

use purser_tests::bounded;
use serde_json::{Value, json};

use super::stage::{Runtime, Stage, on_both, pid_of, read, script, status_of};

on_both!(
    init_containers_run_one_after_the_other,
    a_pod_fails_with_its_init_container,
    an_init_container_is_tried_again,
    variables_user_and_folder_are_as_in_the_manifest,
    two_containers_share_a_folder,
    folders_of_the_host_are_mounted_where_allowed,
    limits_are_the_kernels,
);

fn mounting(mut container: Value, mounts: &Value) -> Value {
    container["volumeMounts"] = mounts.clone();
    container
}

/// A container with the volume `shared` at `/mnt`.
fn sharing(name: &str, text: &str) -> Value {
    mounting(script(name, text), &json!([{ "name": "shared", "mountPath": "/mnt" }]))
}

fn with_shared(init: &[Value], apps: &[Value], policy: &str) -> Value {
    json!({
        "restartPolicy": policy,
        "volumes": [{ "name": "shared", "emptyDir": {} }],
        "initContainers": init,
        "containers": apps,
    })
}

fn init_containers_run_one_after_the_other(stage: &mut Stage) {
    let one = sharing("one", "echo one >> /mnt/steps");
    let two = sharing("two", "cat /mnt/steps; echo two >> /mnt/steps");
    let app = sharing("app", "cat /mnt/steps; echo up; exec sleep 600");
    stage.apply("web", &with_shared(&[one, two], &[app], "Always"));
    let pod = stage.until_up("web");
    for name in ["one", "two"] {
        assert_eq!(status_of(&pod, name)["state"]["terminated"]["reason"], "Completed", "{pod}");
    }
    assert_eq!(pod["status"]["conditions"][0], json!({ "type": "Initialized", "status": "True" }));
    bounded::until("its output is there", || stage.purser("logs web -c two") == "one\n");
    let names = |kind: &str| -> Vec<Value> {
        stage.events("web", kind).iter().map(|event| event["container"].clone()).collect()
    };
    assert_eq!(names("pod.container-started"), ["one", "two", "app"]);
    assert_eq!(names("pod.container-exited"), ["one", "two"]);
    assert_eq!(stage.purserd.purser_ok(["logs", "web", "-c", "app"]), "one\ntwo\nup\n");
}

fn a_pod_fails_with_its_init_container(stage: &mut Stage) {
    let init = sharing("first", "exit 4");
    let app = sharing("app", "echo never");
    stage.apply("web", &with_shared(&[init], &[app], "Never"));
    let pod = stage.until_phase("web", "Failed");
    assert_eq!(pod["status"]["reason"], "InitContainerFailed");
    assert_eq!(pod["status"]["message"], "init container `first` ended with exit code 4");
    assert!(status_of(&pod, "app")["state"]["waiting"].is_object(), "{pod}");
    assert_eq!(stage.events("web", "pod.container-started").len(), 1);
}

fn an_init_container_is_tried_again(stage: &mut Stage) {
    let init = sharing("first", "[ -e /mnt/tried ] || { touch /mnt/tried; exit 4; }");
    let app = sharing("app", "exec sleep 600");
    stage.apply("web", &with_shared(&[init], &[app], "OnFailure"));
    let pod = stage.until_ready("web");
    assert_eq!(status_of(&pod, "first")["restartCount"], 1, "{pod}");
    assert_eq!(status_of(&pod, "app")["restartCount"], 0, "{pod}");
}

fn variables_user_and_folder_are_as_in_the_manifest(stage: &mut Stage) {
    let text = "echo $A,$B,$C,$D,$0,$1; pwd; id -u; id -g; touch /mnt/mine && stat -c %u:%g /mnt/mine";
    let mut main = sharing("main", text);
    main["args"] = json!(["$(A)", "$(NONE)"]);
    main["workingDir"] = json!("/etc");
    main["env"] = json!([
        { "name": "A", "value": "1" },
        { "name": "B", "value": "$(A)2" },
        { "name": "C", "value": "$$(A)" },
        { "name": "D", "value": "$(LATER)" },
        { "name": "LATER", "value": "x" },
    ]);
    let mut spec = with_shared(&[], &[main], "Never");
    spec["securityContext"] = json!({ "runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000 });
    stage.apply("web", &spec);
    let pod =
        stage.until("web", |pod| pod["status"]["phase"] == "Stopped" || pod["status"]["phase"] == "Failed");
    assert_eq!(pod["status"]["reason"], "Completed", "{pod}");
    let is_whole = |said: &str| said.lines().count() == 5 && said.ends_with('\n');
    bounded::until("its output is there", || is_whole(&stage.purser("logs web")));
    let said = stage.purser("logs web");
    assert_eq!(said, "1,12,$(A),$(LATER),1,$(NONE)\n/etc\n1000\n3000\n1000:2000\n");
}

fn two_containers_share_a_folder(stage: &mut Stage) {
    let writer = sharing("writer", "exec sleep 600");
    let mounts = json!([{ "name": "shared", "mountPath": "/srv", "readOnly": true }]);
    let reader = mounting(script("reader", "exec sleep 600"), &mounts);
    stage.apply("web", &with_shared(&[], &[writer, reader], "Always"));
    let pod = stage.until_ready("web");
    stage.shell("web", "writer", "echo hello > /mnt/page");
    assert_eq!(stage.shell("web", "reader", "cat /srv/page"), "hello\n");
    let refused = stage.purserd.purser(["exec", "web", "-c", "reader", "--", "/bin/touch", "/srv/page"]);
    assert_ne!(refused.status.code(), Some(0), "a mount that is read only was written to");
    let uid = pod["metadata"]["uid"].as_str().expect("a pod has a uid");
    let folder = stage.purserd.data_dir().join("pods").join(uid).join("volumes/shared");
    assert_eq!(read(folder.join("page")), "hello");
    // The folder lives as long as the pod: a stop and a start keep what is in it.
    stage.purser("stop web --grace-period 0");
    stage.until_phase("web", "Stopped");
    stage.purser("start web");
    stage.until_ready("web");
    assert_eq!(stage.shell("web", "reader", "cat /srv/page"), "hello\n");
    stage.purser("delete web --wait --grace-period 0");
    assert!(!folder.exists());
}

fn folders_of_the_host_are_mounted_where_allowed(stage: &mut Stage) {
    let host = stage.host();
    fs::create_dir(host.join("pages")).expect("a folder can be made");
    std::os::unix::fs::symlink("/", host.join("out")).expect("a link can be made");
    let on = |path: &str| {
        let volume = json!({ "name": "shared", "hostPath": { "path": path, "type": "Directory" } });
        let main = sharing("main", "echo from the pod > /mnt/page; exec sleep 600");
        json!({ "volumes": [volume], "containers": [main] })
    };
    let path = |name: &str| host.join(name).to_string_lossy().into_owned();
    stage.apply("web", &on(&path("pages")));
    stage.until_ready("web");
    stage.shell("web", "main", "while [ ! -s /mnt/page ]; do :; done");
    assert_eq!(read(host.join("pages/page")), "from the pod");
    for (name, forbidden) in [("link", path("out/etc")), ("absent", path("absent"))] {
        stage.apply(name, &on(&forbidden));
        let pod = stage.until(name, |pod| pod["status"]["reason"] == "ErrVolume");
        assert!(pod["status"]["message"].as_str().unwrap_or_default().contains("shared"), "{pod}");
        assert_eq!(stage.events(name, "pod.container-create-requested"), Vec::<Value>::new());
    }
    for outside in ["/srv/../etc", "/etc"] {
        let said = stage.refused(&stage.manifest("up", &on(outside)));
        assert!(said.contains("spec.volumes[0].hostPath.path:"), "{said}");
    }
    stage.purser("delete web --wait --grace-period 0");
    assert_eq!(read(host.join("pages/page")), "from the pod", "a folder of the host went with the pod");
}

/// What a control file of a process holds, by its name in version 1 and version 2 of control groups.
pub(super) fn limit(pid: i32, controller: &str, v1: &str, v2: &str) -> String {
    let groups = read(format!("/proc/{pid}/cgroup"));
    let find = |wanted: &str| {
        let mut fields = groups.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
        let found = fields.find(|fields| fields[1].split(',').any(|name| name == wanted));
        found.map(|fields| fields[2].trim_start_matches('/').to_owned())
    };
    match find(controller) {
        Some(group) => read(format!("/sys/fs/cgroup/{controller}/{group}/{v1}")),
        None => {
            read(format!("/sys/fs/cgroup/{}/{v2}", find("").expect("every process is in a control group")))
        }
    }
}

fn limits_are_the_kernels(stage: &mut Stage) {
    let mut main = script("main", "exec sleep 600");
    main["resources"] = json!({ "limits": { "cpu": "500m", "memory": "64Mi" }, "requests": { "cpu": "250m", "memory": "32Mi" } });
    stage.apply("web", &json!({ "containers": [main] }));
    let pid = pid_of(&stage.until_ready("web"), "main");
    let bytes = (64 << 20).to_string();
    assert_eq!(limit(pid, "memory", "memory.limit_in_bytes", "memory.max"), bytes);
    let quota = limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("50000"), "half of a window of 100 ms");
    let shares = limit(pid, "cpu", "cpu.shares", "cpu.weight");
    // Version 2 has a weight, which runc derives in another way since 1.3.2.
    assert!(["256", "10", "35"].contains(&&*shares), "{shares}: a quarter of 1024");
    let most = limit(pid, "pids", "pids.max", "pids.max");
    assert!(most.parse::<u32>().is_ok(), "{most}: a container may fill the node with processes");
    // A command in the container is held by the same limits, as both see it.
    let main = if stage.runtime == Runtime::Containerd { 1 } else { pid };
    let groups = stage.shell("web", "main", &format!("cat /proc/self/cgroup; echo; cat /proc/{main}/cgroup"));
    let (of_command, of_main) = groups.split_once("\n\n").expect("both were printed");
    assert_eq!(of_command.trim(), of_main.trim());
}
